"""Makes BasicSR 1.4.2 work with today's torch, torchvision and OpenCV; a fix is applied only where its fault exists."""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
from collections.abc import Callable
from functools import cache
from importlib.machinery import ModuleSpec
from types import ModuleType

from basicsr_plugin.fixes.building import fix_building
from basicsr_plugin.fixes.datasets import fix_decoding, fix_lists, fix_lmdb
from basicsr_plugin.fixes.images import fix_filter2d, fix_jpeg, fix_tensor2img
from basicsr_plugin.fixes.loop import fix_exact_resume, fix_loop
from basicsr_plugin.fixes.models import fix_distributed, fix_ema, fix_real_esrgan
from basicsr_plugin.fixes.saving import fix_archive, fix_image_files, fix_saving
from basicsr_plugin.fixes.schedule import fix_last_iteration, fix_warmup
from basicsr_plugin.fixes.split_validation import fix_validation
from basicsr_plugin.fixes.steps import fix_steps
from basicsr_plugin.fixes.training import fix_epochs, fix_options, fix_prefetch, fix_resume, fix_sampler
from basicsr_plugin.fixes.validation import fix_metrics, fix_output_names
from basicsr_plugin.fixes.weights import fix_load_network, fix_vgg

__all__ = ['FIXES', 'alias_functional_tensor', 'apply_fixes']

_FUNCTIONAL_TENSOR = 'torchvision.transforms.functional_tensor'

FIXES: dict[str, Callable[[], bool]] = {
    'epochs': fix_epochs,
    'resume': fix_resume,
    'options': fix_options,
    'sampler': fix_sampler,
    'ema': fix_ema,
    'load_network': fix_load_network,
    'vgg': fix_vgg,
    'real_esrgan': fix_real_esrgan,
    'distributed': fix_distributed,
    'prefetch': fix_prefetch,
    'jpeg': fix_jpeg,
    'filter2d': fix_filter2d,
    'tensor2img': fix_tensor2img,
    'lists': fix_lists,
    'lmdb': fix_lmdb,
    'decoding': fix_decoding,
    'output_names': fix_output_names,
    'saving': fix_saving,
    'image_files': fix_image_files,
    'archive': fix_archive,
    'steps': fix_steps,
    'validation': fix_validation,
    'loop': fix_loop,
    'exact_resume': fix_exact_resume,
    'warmup': fix_warmup,
    'last_iteration': fix_last_iteration,
    'building': fix_building,
    'metrics': fix_metrics,
}


class _FunctionalTensor(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Replaces a module that torchvision dropped; holds the one function that BasicSR uses of it."""

    def find_spec(self, fullname: str, path: object = None, target: ModuleType | None = None) -> ModuleSpec | None:
        return importlib.util.spec_from_loader(fullname, self) if fullname == _FUNCTIONAL_TENSOR else None

    def exec_module(self, module: ModuleType) -> None:
        from torchvision.transforms.functional import rgb_to_grayscale

        module.rgb_to_grayscale = rgb_to_grayscale  # type: ignore[attr-defined]


def alias_functional_tensor() -> None:
    """``import basicsr`` fails: torchvision 0.17 dropped ``torchvision.transforms.functional_tensor``.

    The replacement comes last among the finders, so a torchvision that has the module keeps its own, and nothing is
    imported before it is needed. A spawned worker of a data loader needs this fix alone.
    """
    if not any(isinstance(finder, _FunctionalTensor) for finder in sys.meta_path):
        sys.meta_path.append(_FunctionalTensor())


@cache
def apply_fixes() -> list[str]:
    """Applies the fixes that are needed and returns their names; safe to repeat. Call it before ``import basicsr``."""
    alias_functional_tensor()
    importlib.import_module('basicsr')
    aliased = isinstance(getattr(sys.modules[_FUNCTIONAL_TENSOR], '__loader__', None), _FunctionalTensor)
    return ['functional_tensor'] * aliased + [name for name, fix in FIXES.items() if fix()]
