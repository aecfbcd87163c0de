"""Measures which JPEG quality factor changes a photo as much as WebP or AVIF of a given quality.

Prints the table `EQUIVALENT` of deplsr_data/ops/codecs.py: for each codec and quality the factor of the JPEG (4:2:0)
whose mean squared error over all photos is the same, by linear interpolation between factors. The photos are those of
scikit-image, 4 times smaller, as LR images are:

python -m benchmarks.degradation.codec_quality
"""

from __future__ import annotations

import numpy as np
from skimage import data

from deplsr_data.ops.codecs import CODECS, recode
from deplsr_data.ops.jpeg import compress
from deplsr_data.ops.resize import resize

QUALITIES = (5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100)
FACTORS = np.concatenate([np.arange(1, 90), np.arange(90, 100.01, 0.25)])
NAMES = ('astronaut', 'chelsea', 'coffee', 'rocket', 'cat', 'retina')


def photos() -> list[np.ndarray]:
    """Returns colour photos of scikit-image that come with it, shrunk by 4."""
    found = []
    for name in NAMES:
        try:
            image = getattr(data, name)()[..., :3].astype(np.float32) / 255
        except (OSError, ModuleNotFoundError):  # some are downloaded
            continue
        found.append(resize(image, image.shape[0] // 4, image.shape[1] // 4).clip(0, 1))
    return found


def main() -> None:
    """Prints the table."""
    clean = photos()
    print(f'# {len(clean)} photos')
    of_jpeg = [_error([compress(photo, float(factor)) for photo in clean], clean) for factor in FACTORS]
    of_jpeg = np.minimum.accumulate(of_jpeg)  # rounding makes it rise here and there
    for codec in CODECS:
        errors = [_error([recode(photo, codec, quality) for photo in clean], clean) for quality in QUALITIES]
        factors = np.interp(-np.log(errors), -np.log(of_jpeg), FACTORS)
        print(f'{codec!r}: ({QUALITIES}, ({", ".join(f"{factor:.0f}" for factor in factors)})),', flush=True)


def _error(changed: list[np.ndarray], clean: list[np.ndarray]) -> float:
    return float(np.mean([np.square(one - photo).mean() for one, photo in zip(changed, clean, strict=True)]))


if __name__ == '__main__':
    main()
