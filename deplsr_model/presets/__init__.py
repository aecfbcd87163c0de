"""Trained weights that are installed with this package, and which of them a command takes by default.

Each preset is a file as `basicsr export` writes it, with its model card (``NAME.md``), the facts that the card is made
of (``NAME.json``), and the photos of the training with their authors and licences (``training_photos.tsv``).
"""

from __future__ import annotations

from pathlib import Path

from basicsr_plugin.presets import find_preset, register_presets

__all__ = ['ESTIMATOR', 'FOLDER', 'SR', 'sr_preset']

FOLDER = Path(__file__).parent
#: The degradation estimator, and the SR network without its scale.
ESTIMATOR, SR = 'small', 'small'
_SCALE = 4

register_presets(FOLDER, 'deplsr_model')


def sr_preset(scale: int | None) -> str:
    """Returns the name of the SR network for an enlargement: that of the same scale, otherwise x4."""
    name = f'{SR}-x{scale}'
    return name if scale is not None and find_preset(name) else f'{SR}-x{_SCALE}'
