"""Fix of how BasicSR builds networks: arguments that one cannot be built with are one line."""

from __future__ import annotations

from typing import Any

from basicsr_plugin.errors import OptionError, UserError, cause
from basicsr_plugin.fixes.source import contains, replace_everywhere

__all__ = ['fix_building']


def fix_building() -> bool:
    """Arguments that a network cannot be built with end in an error of torch that does not name the network."""
    from basicsr import archs

    build = archs.build_network
    if not contains(build, 'ARCH_REGISTRY.get(network_type)(**opt)'):
        return False

    def build_network(opt: dict[str, Any]) -> Any:
        try:
            return build(opt)
        except UserError:
            raise
        except Exception as error:  # a constructor may fail in any way
            raise OptionError(
                f'network_*: {opt["type"]} cannot be built with these arguments: {cause(error)}; correct them'
            ) from error

    replace_everywhere('build_network', build, build_network)
    return True
