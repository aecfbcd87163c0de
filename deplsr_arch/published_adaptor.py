"""The layout of the authors' adaptor files (SRCLIP)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

__all__ = ['rename_published']

_PUBLISHED_PREFIXES = (
    ('visual_control.transformer.transformer.', 'visual_control.transformer.'),
    ('visual_control.transformer.zero_modules.', 'zero_modules.'),
    ('visual.', 'clip.visual.'),  # a second name of the frozen image tower
)


def rename_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames the keys of the authors' SRCLIP layout to ours; a state dict of ours passes unchanged.

    The control tower loses its doubled ``transformer``, the zero layers come to the top level, ``visual.*`` (the frozen
    tower's second name) is merged with ``clip.visual.*``, which takes precedence. A ``module.`` prefix is dropped.
    """
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        name = key.removeprefix('module.')
        target = next((new + name[len(old) :] for old, new in _PUBLISHED_PREFIXES if name.startswith(old)), name)
        if target == name or target not in renamed:
            renamed[target] = value
    return renamed
