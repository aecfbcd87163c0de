"""Effective levels computed from records, compared with what is measured on degraded images.

Blur: the filters and resizes of a record are applied to Gaussian spots, and the width of the spots is measured. Noise
and compression: the photo is degraded with and without these steps, and the difference is measured.

The same resize measures between 0 and 0.25 pixels of blur on spots in different places, and noise below half a grey
level is lost in the rounding to 8 bits. So measured and computed levels below :data:`LEAST` count as equal to it in the
Spearman correlation and in relative errors. For each recipe the script prints the share of records above, Spearman
correlation, median and 90% relative error over all records, the median error of those above alone, and the CPU time of
a record and of the statistics of its photo; the last line is JSON.

  python -m benchmarks.degradation.effective --photos ../shared/data/photos/train --records 1000
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable

import numpy as np
from scipy.stats import spearmanr

from deplsr_data.degradation.apply import apply
from deplsr_data.degradation.effective import effective_levels, statistics_of
from deplsr_data.degradation.level_tables import level_table
from deplsr_data.degradation.operators import operator_of
from deplsr_data.degradation.recipes import draw, read_recipe
from deplsr_data.degradation.records import Record
from deplsr_data.degradation.sampling import rng_for
from deplsr_data.degradation.steps import Blur, ChromaNoise, Codec, Jpeg, Noise, Resize, Sharpen, Sinc, Step
from deplsr_data.files.photos import PhotoReader, list_photos, to_float

SIDE, SCALE, SPOT, SPACING = 256, 4, 3.0, 64
RECIPES = ('semantic', 'realesrgan', 'bsrgan', 'camera', 'clean')
LUMA = np.array([0.299, 0.587, 0.114])
#: Lower levels count as this one: blur in GT pixels, noise and compression in grey levels.
LEAST = {'blur': 0.3, 'noise': 0.5, 'color_noise': 0.5, 'compression': 0.5}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__.split('\n')[0], epilog=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--photos', required=True, metavar='DIR', help='folder of photos of at least 256 x 256 pixels')
    parser.add_argument('--records', type=int, default=200, metavar='N', help='records of each recipe (default 200)')
    args = parser.parse_args()
    paths = [photo.path for photo in list_photos(args.photos, None, False, '--photos', ('--photos', '--photos'))]
    summary = {name: compare(name, paths, args.photos, args.records) for name in RECIPES}
    print(json.dumps(summary))


def compare(name: str, paths: list[str], root: str, count: int) -> dict[str, dict[str, float]]:
    """Compares the levels of ``count`` records of a recipe; prints a table and returns its figures."""
    recipe, read = read_recipe({'type': name}, 'recipe'), PhotoReader(root, {'type': 'disk'})
    rows: list[dict[str, tuple[float, float]]] = []
    nominal, seconds = [], [0.0, 0.0]
    effective_levels(draw(recipe, SCALE, rng_for(0, 0, 0, 0, 'degradation'), (SIDE, SIDE)))  # makes the tables
    for index in range(count):
        rng = np.random.default_rng((1, index))
        gt = crop(to_float(read(paths[index % len(paths)])), rng)
        record = draw(recipe, SCALE, rng_for(1, 0, index, 0, 'degradation'), (SIDE, SIDE))
        start = time.process_time()
        photo = statistics_of(gt)
        between = time.process_time()
        computed = effective_levels(record, photo)
        seconds[0] += time.process_time() - between
        seconds[1] += between - start
        measured = measure(record, gt, rng)
        rows.append({key: (value, getattr(computed, key)) for key, value in measured.items()})
        nominal.append(level_table('nominal').levels(record)[0])
    levels_, photo_ = (1000 * one / count for one in seconds)
    print(f'\n{name}: {count} records, {levels_:.2f} ms a record and {photo_:.2f} ms for its photo')
    print(
        'level        mean measured  mean computed  above least  Spearman  median error  90% error  median above least'
    )
    figures = {}
    for key, least in LEAST.items():
        measured_, computed_ = np.maximum(np.array([row[key] for row in rows]).T, least)
        error, above = np.abs(computed_ - measured_) / measured_, measured_ > least
        figures[key] = {
            'above_least': round(float(above.mean()), 4),
            'spearman': round(float(spearmanr(measured_, computed_)[0]), 4),
            'median_error': round(float(np.median(error)), 4),
            'median_error_above': round(float(np.median(error[above])), 4) if above.any() else 0.0,
        }
        print(
            f'{key:<12} {measured_.mean():>13.2f}  {computed_.mean():>13.2f}  {above.mean():>11.0%}  '
            f'{figures[key]["spearman"]:>8.3f}  {figures[key]["median_error"]:>12.1%}  '
            f'{np.quantile(error, 0.9):>9.1%}  {figures[key]["median_error_above"]:>18.1%}'
        )
    if len(set(nominal)) > 1:
        figures['nominal_blur'] = {'spearman': round(float(spearmanr([row['blur'][0] for row in rows], nominal)[0]), 4)}
        print(f"the caption's nominal blur has a Spearman correlation of {figures['nominal_blur']['spearman']:.3f}")
    return figures


def crop(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cuts a random square of 256 pixels."""
    top, left = (int(rng.integers(length - SIDE + 1)) for length in photo.shape[:2])
    return np.ascontiguousarray(photo[top : top + SIDE, left : left + SIDE])


def measure(record: Record, gt: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
    """Measures blur on spots, noise and compression on a photo."""
    lq = apply(record, gt)
    noise = lq - apply(without(record, lambda step: isinstance(step, Noise | ChromaNoise)), gt)
    change = lq - apply(without(record, lambda step: isinstance(step, Jpeg | Codec)), gt)
    plain = Record(SCALE, (Resize(SIDE // SCALE, SIDE // SCALE),))
    seeds = [int(seed) for seed in rng.integers(2**32, size=3)]
    wide, reference = (
        np.mean([spot_covariance(one, np.random.default_rng(seed)) for seed in seeds], axis=0)
        for one in (record, plain)
    )
    blur = math.sqrt(max(0.0, math.sqrt(np.linalg.det(wide)) - math.sqrt(np.linalg.det(reference))))
    return {
        'blur': blur,
        'noise': 255 * float((noise @ LUMA).std()),
        'color_noise': 255 * float(noise.std()),
        'compression': 255 * float(change.std()),
    }


def without(record: Record, drop: Callable[[Step], bool]) -> Record:
    """Returns the record without some of its steps."""
    return Record(record.scale, tuple(step for step in record.steps if not drop(step)), record.named)


def spot_covariance(record: Record, rng: np.random.Generator) -> np.ndarray:
    """Covariance (2, 2) in GT pixels of spots behind the filters and resizes of a record, as adaptive moments."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    # anywhere relative to the grids of the resizes, whose phases may repeat with the spacing of the spots
    all_, (by_column, by_row) = rng.uniform(-16, 16, 2), rng.uniform(-16, 16, (2, 3))
    centres = [
        (SPACING * (i + 1) + all_[0] + by_column[j], SPACING * (j + 1) + all_[1] + by_row[i])
        for i in range(3)
        for j in range(3)
    ]
    spots = sum(np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * SPOT**2)) for y, x in centres)
    image = np.repeat(np.asarray(spots)[..., None], 3, axis=2).astype(np.float32)
    for step in record.steps:
        if isinstance(step, Blur | Sinc | Sharpen | Resize):
            image = operator_of(step).apply(step, image)
    pixel = SIDE / image.shape[0]
    y, x = (pixel * (grid + 0.5) - 0.5 for grid in np.mgrid[: image.shape[0], : image.shape[1]])
    parts = [(abs(y - cy) < 30) & (abs(x - cx) < 30) for cy, cx in centres]
    place = np.concatenate(
        [np.stack([y[part] - cy, x[part] - cx]) for part, (cy, cx) in zip(parts, centres, strict=True)], 1
    )
    value = np.concatenate([image[..., 0][part] for part in parts])
    return adaptive_covariance(place, value)


def adaptive_covariance(place: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Moments of samples (2, N) under a Gaussian weight of their own shape, iterated until both agree."""
    covariance = np.eye(2) * (SPOT**2 + 4)
    for _ in range(100):
        inverse = np.linalg.inv(covariance)
        weight = value * np.exp(-0.5 * np.einsum('in,ij,jn->n', place, inverse, place))
        moments = (place * weight) @ place.T / weight.sum()
        new = np.linalg.inv(np.linalg.inv(moments) - inverse)  # exact in one step for a Gaussian
        if not (np.isfinite(new).all() and np.linalg.eigvalsh(new)[0] > 0.5):
            new = 2 * moments  # the same fixed point, approached slowly
        if np.abs(new - covariance).max() < 1e-3:
            break
        covariance = 0.5 * covariance + 0.5 * new
    return covariance


if __name__ == '__main__':
    main()
