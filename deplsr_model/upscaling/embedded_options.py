"""The part of an option file that a model needs after training, in the metadata of a ``.safetensors`` file.

`basicsr export` writes it, so that its files need no option file. Metadata are texts by name; networks are JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from basicsr_plugin.checkpoint import read_metadata
from basicsr_plugin.errors import UserError, first_line

__all__ = ['embedded_options', 'to_metadata']

_BLOCKS = ('network_g', 'network_da')
_TEXTS = ('prior', 'prior_form')


def to_metadata(opt: Mapping[str, Any]) -> dict[str, str]:
    """Returns what :func:`embedded_options` reads, from an option file.

    A ``pretrained`` of the estimator is left out: it only starts a training.
    """
    found: dict[str, str] = {}
    for name in _BLOCKS:
        if opt.get(name):
            found[name] = json.dumps({key: value for key, value in opt[name].items() if key != 'pretrained'})
    found |= {name: str(opt[name]) for name in _TEXTS if opt.get(name) is not None}
    template = (opt.get('val') or {}).get('template')
    if template:
        found['template'] = template
    if opt.get('plugins'):
        found['plugins'] = json.dumps(list(opt['plugins']))
    return found


def embedded_options(path: Path) -> dict[str, Any]:
    """Returns the options in the metadata of a file; empty if it has none.

    Plug-ins that the file names are not imported, so that a file of weights runs no code.

    Raises:
        UserError: They are corrupt, or a plug-in that they name is not loaded; one line.
    """
    metadata = read_metadata(path, '-m')
    try:
        opt: dict[str, Any] = {name: json.loads(metadata[name]) for name in _BLOCKS if name in metadata}
        plugins = json.loads(metadata.get('plugins', '[]'))
        if not isinstance(plugins, list) or not all(isinstance(block, dict) for block in opt.values()):
            raise ValueError('other JSON')
    except (ValueError, RecursionError) as error:
        raise UserError(
            f'-m: expected networks as JSON in the metadata of {path}, got {first_line(error)}; '
            'export the model again, or name its option file with -opt'
        ) from None
    if not opt:
        return {}
    for name in plugins:
        if name not in sys.modules:
            raise UserError(f'-m: {path} needs the plug-in {name}; if you trust it, add --plugin {name}')
    opt |= {name: metadata[name] for name in _TEXTS if name in metadata}
    if 'template' in metadata:
        opt['val'] = {'template': metadata['template']}
    if 'network_da' in opt:
        opt['path'] = {'pretrain_network_da': str(path)}
    return opt
