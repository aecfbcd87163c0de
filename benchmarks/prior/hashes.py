"""Perceptual hashes, to check that no held-out photo and no test image is among the training photos.

    python -m benchmarks.prior.hashes --photos data/photos --sets data/sets    # writes benchmarks/results/photos.tsv

The file has the name, split and hashes of every photo of docs/prior_nominal.md; a test compares all pairs in it.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

import cv2
import numpy as np

#: Ground truth of the test sets, by split.
SETS = {'RealSR100': 'RealSR100/GT', 'Set14SE': 'Set14SE/GTmod12'}
#: Two images with fewer different bits (of 256) count as the same photo; unrelated ones differ in about 128.
SAME = 48


def photo_hash(image: np.ndarray) -> int:
    """Returns 256 bits: whether each of 16 x 16 places of an image (h, w, 3) is brighter than its right neighbour."""
    gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if image.ndim == 3 else image
    small = cv2.resize(gray, (17, 16), interpolation=cv2.INTER_AREA).astype(int)
    return int(''.join('01'[int(bit)] for bit in (small[:, :-1] > small[:, 1:]).ravel()), 2)


def hash_folder(folder: Path) -> dict[str, tuple[int, int]]:
    """Returns the hashes of each photo and of its mirror image, by file name."""
    hashes = {}
    for path in sorted(folder.iterdir()):
        image = cv2.imread(str(path))
        if image is not None:
            hashes[path.name] = photo_hash(image), photo_hash(image[:, ::-1])
    return hashes


def same_photos(train: dict[str, tuple[int, int]], heldout: dict[str, tuple[int, int]]) -> list[tuple[str, str, int]]:
    """Returns pairs with the same name or the same content, mirrored or not, and the count of different bits."""
    pairs = []
    for (one, (upright, _)), (other, hashes) in product(train.items(), heldout.items()):
        distance = min((upright ^ hashed).bit_count() for hashed in hashes)
        if distance < SAME or Path(one).stem == Path(other).stem:
            pairs.append((one, other, distance))
    return pairs


def main() -> None:
    """Writes the file, or lists the pairs and fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--photos', required=True, type=Path, help='folder with train/ and heldout/')
    parser.add_argument('--sets', required=True, type=Path, help='folder of RealSR100 and Set14SE')
    parser.add_argument('--output', type=Path, default=Path(__file__).parents[1] / 'results' / 'photos.tsv')
    options = parser.parse_args()
    splits = {part: hash_folder(options.photos / part) for part in ('train', 'heldout')}
    splits |= {name: hash_folder(options.sets / folder) for name, folder in SETS.items()}
    lines = [
        f'train/{one} is {part}/{other} ({bits} bits differ)'
        for part in splits
        if part != 'train'
        for one, other, bits in same_photos(splits['train'], splits[part])
    ]
    if lines:
        raise SystemExit('\n'.join(lines))
    lines = [
        f'{name}\t{part}\t{upright:064x}\t{mirrored:064x}'
        for part, hashes in splits.items()
        for name, (upright, mirrored) in hashes.items()
    ]
    options.output.write_text('name\tsplit\thash\tmirrored\n' + '\n'.join(lines) + '\n', encoding='utf-8')
    print(f'{len(lines)} photos, no pair')


if __name__ == '__main__':
    main()
