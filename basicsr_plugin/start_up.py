"""Imports BasicSR, its fixes and the plug-ins, in less time than plain imports take."""

from __future__ import annotations

import contextlib
import gc
import importlib
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

from basicsr_plugin.compat import apply_fixes
from basicsr_plugin.discovery import load_entry_points, load_plugins
from basicsr_plugin.memory import keep_freed_memory

__all__ = ['load_basicsr', 'paused_collection', 'postponed_imports']

#: Functions that BasicSR, torchvision and this project's packages import from slow modules, and call later. Together
#: these modules take as long as torch itself.
_POSTPONED = {
    'torch._dynamo.utils': ('is_compile_supported',),
    'scipy.stats': ('multivariate_normal',),
    'scipy.special': ('gamma', 'j1', 'ndtr', 'ndtri', 'pdtr'),
    'scipy.ndimage.filters': ('convolve',),
    'distutils.version': ('LooseVersion',),
}


def load_basicsr(plugins: Sequence[str] = ()) -> None:
    """Imports BasicSR, fixes it, and imports every installed plug-in and those that are named.

    Raises:
        UserError: One of ``plugins`` cannot be imported.
    """
    keep_freed_memory()
    with paused_collection(), postponed_imports():
        apply_fixes()
        load_entry_points()
        load_plugins(plugins)


@contextlib.contextmanager
def paused_collection() -> Iterator[None]:
    """Pauses the garbage collector while torch, BasicSR and plug-ins are imported.

    The imports make about a million objects that live as long as the process, and the collector scans them
    repeatedly: without it ``basicsr list`` takes 3.6 s instead of 5.2 s (2 cores). Afterwards the collector is on again
    and leaves these objects alone. Once torch is imported this does nothing.
    """
    if 'torch' in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextlib.contextmanager
def postponed_imports() -> Iterator[None]:
    """Postpones the import of some slow modules until one of their functions is called.

    Inside the context such a module is a placeholder with the functions that are known to be imported; any other
    attribute imports the module at once.
    """
    placeholders = {name: _Placeholder(name) for name in _POSTPONED if name not in sys.modules}
    sys.modules.update(placeholders)
    try:
        yield
    finally:
        for placeholder in placeholders.values():
            placeholder.remove()


class _Placeholder(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith('__'):
            raise AttributeError(name)
        if name not in _POSTPONED[self.__name__]:
            return getattr(self._module(), name)
        return lambda *args, **kwargs: getattr(self._module(), name)(*args, **kwargs)

    def _module(self) -> ModuleType:
        self.remove()
        return importlib.import_module(self.__name__)

    def remove(self) -> None:
        """Lets the next import find the module itself."""
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
