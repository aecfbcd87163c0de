"""Estimates how photos were degraded: the function behind `basicsr describe`, for use from Python too."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from basicsr_plugin.errors import UserError
from deplsr_model.presets import ESTIMATOR
from deplsr_model.upscaling.edits import PhotoEstimate
from deplsr_model.upscaling.execution import device_named
from deplsr_model.upscaling.inference import Upscaler
from deplsr_model.upscaling.model_files import ModelFiles, find_model, load_estimator
from deplsr_model.upscaling.photo_prior import observe
from deplsr_model.upscaling.steering import SteeredEstimator, steered

__all__ = ['Describer', 'describe', 'to_csv', 'to_table']

OUTSIDE = 'outside what the estimator was trained on'


class Describer:
    """A trained degradation estimator.

    Args:
        model: Checkpoint, folder of an experiment (stage 1 or 2) or name of a preset; None for what ``options`` names.
        options: Its option file; not needed for the folder of an experiment or a preset.
        device: Such as ``cpu`` or ``cuda``; by default a GPU if there is one.

    Raises:
        UserError: There is no estimator, or a file is missing, corrupt or of another network; one line.
    """

    def __init__(self, model: str | Path | None, options: str | Path | None = None, device: str | None = None) -> None:
        self.device = device_named(device)
        files, weights = _estimator_files(model, options)
        net, table = load_estimator(files, weights)
        net.to(self.device)  # type: ignore[attr-defined]
        template = (files.opt.get('val') or {}).get('template') or '{}'
        self.estimator: SteeredEstimator = steered(net, table, files.opt.get('prior_form') or 'mixture', template)
        if not self.estimator.types:
            raise UserError(f'-m: expected an estimator of levels, got {type(net).__name__}')

    def __call__(self, image: Image.Image | np.ndarray) -> PhotoEstimate:
        """Estimates a PIL image, or an array (h, w, 3) or (h, w) of uint8, uint16, or float32 in 0..1."""
        with torch.no_grad():
            return self.estimator.estimate(observe(self.estimator, _pixels(image), self.device))


def describe(
    image: Image.Image | np.ndarray,
    model: str | Path | Upscaler | Describer = ESTIMATOR,
    options: str | Path | None = None,
) -> PhotoEstimate:
    """Estimates how a photo was degraded.

    Args:
        image: A PIL image, or an array (h, w, 3) or (h, w) of uint8, uint16, or float32 in 0..1.
        model: A model with a degradation estimator: loaded, or as :class:`Describer` takes it; by default a preset.
        options: Its option file, for a checkpoint.

    Raises:
        UserError: The model has no estimator, or cannot be loaded; one line.
    """
    if isinstance(model, Upscaler):
        found = model.estimate(_pixels(image))
        if found is None:
            raise UserError(f'model: expected one with a degradation estimator, got {model.model.name} without')
        return found
    return (model if isinstance(model, Describer) else Describer(model, options))(image)


def _pixels(image: Image.Image | np.ndarray) -> np.ndarray:
    if isinstance(image, Image.Image):
        return np.asarray(image.convert('RGB'))
    return image[..., :3] if image.ndim == 3 else image


def _estimator_files(model: str | Path | None, options: str | Path | None) -> tuple[ModelFiles, Path | None]:
    """Returns the files of a model and the estimator's weights, if they are not those that the option file names."""
    if model is not None and Path(model).is_dir():
        own = any(Path(model, 'models').glob('net_da_*.pth'))
        files = find_model(model, options, 'da' if own else 'g')
        return files, files.weights if own else None
    if model is None:
        return find_model(None, options, 'da'), None
    files = find_model(model, options)
    if not files.opt:
        raise UserError(f'-m: expected the option file of {model} too, got none; name it with -opt')
    return files, None if files.opt.get('network_g') else files.weights


def to_table(estimates: Mapping[str, PhotoEstimate]) -> str:
    """Returns a table: for one photo a line for each degradation type, otherwise a line for each photo."""
    if len(estimates) == 1:
        return '\n'.join(_lines(next(iter(estimates.values()))))
    first = next(iter(estimates.values()))
    rows = [['photo', *first.names, '']]
    for path, found in estimates.items():
        rows.append([path, *(f'{level:.1f}{_ends(found, k)}' for k, level in enumerate(found.levels)), _remark(found)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = ('  '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return '\n'.join(line.rstrip() for line in aligned)


def _lines(found: PhotoEstimate) -> list[str]:
    width = max(map(len, found.names))
    lines = [f'{"".ljust(width)}   level{"" if found.low is None else " (90% interval)"}']
    lines += [
        f'{name.ljust(width)}  {level:6.1f}{_ends(found, k)}'
        for k, (name, level) in enumerate(zip(found.names, found.levels, strict=True))
    ]
    return [*lines, _remark(found)] if _remark(found) else lines


def _ends(found: PhotoEstimate, k: int) -> str:
    if found.low is None or found.high is None:
        return ''
    return f' ({found.low[k]:.1f} to {found.high[k]:.1f})'


def _remark(found: PhotoEstimate) -> str:
    remarks = [OUTSIDE] if found.out_of_range else []
    remarks += ['intervals are not calibrated'] if found.low is not None and not found.calibrated else []
    return '; '.join(remarks)


def to_csv(estimates: Mapping[str, PhotoEstimate]) -> str:
    """Returns a CSV: photo, then for each degradation type its level and interval, then distance and range."""
    names = next(iter(estimates.values())).names
    out = io.StringIO()
    rows = csv.writer(out, lineterminator='\n')
    rows.writerow(
        ['photo', *(f'{name}{end}' for name in names for end in ('', '_low', '_high')), 'distance', 'outside']
    )
    for path, found in estimates.items():
        cells = []
        for k, level in enumerate(found.levels):
            ends = ('', '') if found.low is None or found.high is None else (found.low[k], found.high[k])
            cells += [_cell(level), *map(_cell, ends)]
        distance = '' if found.distance is None else f'{found.distance:.3f}'
        rows.writerow([path, *cells, distance, '' if found.distance is None else int(found.out_of_range)])
    return out.getvalue()


def _cell(value: float | str) -> str:
    return value if isinstance(value, str) else f'{value:.3f}'
