"""The image of the README: crops of held-out photos at 100%, by the shipped model and by the one without a prior.

    python -m benchmarks.models.showcase --photos data/photos

The photos were not trained on. Each is degraded by a recipe of the training at a fixed seed.
"""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path
from typing import NamedTuple

import numpy as np
from basicsr.metrics.psnr_ssim import calculate_psnr
from PIL import Image, ImageDraw, ImageFont

from benchmarks.gain.settings import RECIPES
from deplsr_data.degradation.apply import apply
from deplsr_data.degradation.recipes import draw, read_recipe
from deplsr_data.degradation.sampling import rng_for
from deplsr_model import Upscaler
from deplsr_model.benchmark.pairs import bicubic, read_image

PAGE = Path(__file__).resolve().parents[2] / 'docs' / 'models.jpg'
BLIND = Path(__file__).parent / 'weights' / 'constant-x4.safetensors'


class Shown(NamedTuple):
    """A row: photo, recipe, seed, and the corner (y, x) of the crop in the photo's GT."""

    photo: str
    recipe: str
    seed: int
    corner: tuple[int, int]


ROWS = (
    Shown('gb82_city.png', 'camera', 0, (160, 160)),
    Shown('ski_coffee.png', 'camera', 0, (60, 180)),
    Shown('gb82_dog.png', 'realesrgan', 0, (120, 160)),
)
_SIDE, _GAP, _LINE = 256, 4, 15


def main() -> None:
    """Writes the image."""
    parser = argparse.ArgumentParser(
        'python -m benchmarks.models.showcase',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--photos', type=Path, required=True, help='folder with heldout/')
    parser.add_argument('--out', type=Path, default=PAGE, help='image to write (docs/models.jpg)')
    options = parser.parse_args()
    ours, blind = Upscaler('small-x4', device='cpu'), Upscaler(str(BLIND), device='cpu')
    columns = ('LR', 'bicubic', 'without prior', 'with prior (small-x4)', 'ground truth')
    sheet = Image.new('RGB', (len(columns) * (_SIDE + _GAP) - _GAP, 22 + len(ROWS) * (_SIDE + 2 * _LINE + 12)), 'white')
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for column, title in enumerate(columns):
        pen.text((column * (_SIDE + _GAP) + 2, 3), title, 'black', ImageFont.load_default(14))
    for number, row in enumerate(ROWS):
        top = 22 + number * (_SIDE + 2 * _LINE + 12)
        gt, lr, estimate = _degraded(options.photos / 'heldout' / row.photo, row, ours)
        images = [lr.repeat(4, axis=0).repeat(4, axis=1), bicubic(lr, 4), blind(lr), ours(lr), gt]
        y, x = row.corner
        for column, image in enumerate(images):
            crop = Image.fromarray(np.ascontiguousarray(image[y : y + _SIDE, x : x + _SIDE]))
            sheet.paste(crop, (column * (_SIDE + _GAP), top))
        scores = ' / '.join(f'{_psnr(image, gt):.2f}' for image in images[1:4])
        pen.text((2, top + _SIDE + 2), f'{row.recipe}; PSNR-Y of the photo: {scores} dB', 'black', font)
        for line, text in enumerate(textwrap.wrap(f'estimated: {estimate}', 215)[:1]):
            pen.text((2, top + _SIDE + 2 + (line + 1) * _LINE), text, 'black', font)
    sheet.save(options.out, quality=90)


def _degraded(path: Path, row: Shown, ours: Upscaler) -> tuple[np.ndarray, np.ndarray, str]:
    photo = read_image(path)
    height, width = (side // 4 * 4 for side in photo.shape[:2])
    gt = np.ascontiguousarray(photo[:height, :width])
    recipe = read_recipe(dict(RECIPES[row.recipe]), row.recipe)
    record = draw(recipe, 4, rng_for(row.seed, 0, 0, 0, 'degradation'), (height, width))
    lr = (apply(record, gt.astype(np.float32) / 255) * 255).round().astype(np.uint8)
    return gt, lr, str(ours.estimate(lr))


def _psnr(image: np.ndarray, gt: np.ndarray) -> float:
    return float(calculate_psnr(image[..., ::-1], gt[..., ::-1], crop_border=4, test_y_channel=True))


if __name__ == '__main__':
    main()
