"""Draws docs/degradations.png: one photo under a grid of degradations, each with its caption.

python -m benchmarks.degradation.grid
"""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path

import cv2
import numpy as np
import skimage
from PIL import Image, ImageDraw, ImageFont

from deplsr_data.degradation.apply import apply
from deplsr_data.degradation.level_tables import level_table
from deplsr_data.degradation.records import Blur, Jpeg, Noise, Record, Resize, Sinc, Step

SIDE, SCALE, LINE = 208, 2, 15


def steps(blur: float = 0, noise: float = 0, poisson: float = 0, quality: float = 0, ringing: bool = False) -> Record:
    """Puts a record together in the classical order: blur, shrink, noise, JPEG, ringing."""
    chain: list[Step] = [Blur(2 * int(np.ceil(3 * blur)) + 1, blur, blur)] if blur else []
    chain.append(Resize(SIDE // SCALE, SIDE // SCALE, 'bicubic'))
    chain += [Noise('gaussian', noise, False, 1)] if noise else []
    chain += [Noise('poisson', poisson, False, 1)] if poisson else []
    chain += [Jpeg(quality)] if quality else []
    chain += [Sinc(21, 1.2)] if ringing else []
    return Record(SCALE, tuple(chain))


GRID = (
    (steps(), steps(blur=1.0), steps(blur=2.0), steps(blur=2.9)),
    (steps(noise=10), steps(noise=30), steps(poisson=1.0), steps(poisson=3.0)),
    (steps(quality=90), steps(quality=60), steps(quality=30), steps(ringing=True)),
    (
        steps(blur=0.8, noise=5, quality=90),
        steps(blur=1.6, noise=12, quality=65),
        steps(blur=2.6, noise=25, quality=35),
        steps(blur=1.6, poisson=1.5, quality=65, ringing=True),
    ),
)


def _caption(record: Record, gt: np.ndarray) -> str:
    table = level_table('effective')
    return table.whole_caption(table.levels(record, table.statistics(gt)))


def main() -> None:
    """Writes the image."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--output', type=Path, default=Path('docs/degradations.png'))
    args = parser.parse_args()
    photo = cv2.imread(str(Path(skimage.__file__).parent / 'data/chelsea.png'))[40 : 40 + SIDE, 110 : 110 + SIDE, ::-1]
    gt = np.ascontiguousarray(photo, np.float32) / 255
    font = ImageFont.load_default(11)
    texts = [[textwrap.wrap(_caption(record, gt), 38) for record in records] for records in GRID]
    heights = [SIDE + LINE * max(map(len, row)) + 8 for row in texts]
    sheet = Image.new('RGB', (len(GRID[0]) * (SIDE + 4), sum(heights)), 'white')
    draw = ImageDraw.Draw(sheet)
    for row, records in enumerate(GRID):
        for column, record in enumerate(records):
            lq = Image.fromarray((apply(record, gt) * 255).round().astype(np.uint8))
            place = column * (SIDE + 4), sum(heights[:row])
            sheet.paste(lq.resize((SIDE, SIDE), Image.Resampling.NEAREST), place)
            draw.text((place[0] + 2, place[1] + SIDE + 2), '\n'.join(texts[row][column]), 'black', font)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(args.output, optimize=True)
    print(f'wrote {args.output}')


if __name__ == '__main__':
    main()
