"""Where and how networks run: devices and compilation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from basicsr_plugin.errors import UserError, first_line, warn
from deplsr_model.compilation import compile_for_all_sizes
from deplsr_model.upscaling.tile_size import is_out_of_memory

__all__ = ['CompiledNetwork', 'device_named']


class CompiledNetwork:
    """A network compiled for all sizes; where the machine cannot compile, the network itself, with a warning."""

    def __init__(self, net: Callable[..., Tensor]) -> None:
        self._plain = net
        self._run: Callable[..., Tensor] = compile_for_all_sizes(net)
        self._works = False

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Runs the network."""
        try:
            out = self._run(*inputs)
        except Exception as error:
            if self._works or is_out_of_memory(error):
                raise
            warn(f'--compile: this machine cannot compile the network ({first_line(error)}); it runs as it is')
            self._run = self._plain
            return self._plain(*inputs)
        self._works = True
        return out


def device_named(name: str | None) -> torch.device:
    """Returns a device that exists; by default a GPU if there is one.

    Raises:
        UserError: There is no such device; one line.
    """
    if name is None:
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"--device: expected cpu, cuda or cuda:1, got '{name}' ({first_line(error)})") from None
    return device
