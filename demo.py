"""Upscales three bad photos with the weights that are installed with the package, and compares: `make demo`.

The photos come with scikit-image and were not trained on. They are degraded by the semantic recipe at a fixed seed, as
phones, web pages and old lenses do it, so the ground truth is known.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from skimage import data

from deplsr_data.degradation.apply import apply
from deplsr_data.degradation.level_tables import level_table
from deplsr_data.degradation.recipes import draw, read_recipe
from deplsr_data.degradation.sampling import rng_for
from deplsr_model import Upscaler
from deplsr_model.benchmark.pairs import bicubic
from deplsr_model.presets import sr_preset
from deplsr_model.upscaling.edits import PhotoEstimate

# isort: split
from basicsr.metrics.psnr_ssim import calculate_psnr

OUTPUT = Path('results/demo')
#: What is bad about each photo of scikit-image, with the ranges that the recipe draws from.
PHOTOS: dict[str, tuple[str, dict[str, Any]]] = {
    'astronaut': ('noisy', {'blur_sigma': [0.8, 1.2], 'noise_range': [14, 18], 'jpeg_range': [88, 92]}),
    'coffee': ('compressed', {'blur_sigma': [0.8, 1.2], 'noise_range': [2, 3], 'jpeg_range': [28, 34]}),
    'chelsea': ('soft', {'blur_sigma': [2.4, 2.8], 'noise_range': [2, 3], 'jpeg_range': [88, 92]}),
}
_RECIPE = {
    'type': 'semantic', 'resize_mode': 'area', 'aniso_prob': 0.0, 'gaussian_noise_prob': 1.0, 'gray_noise_prob': 0.0,
    'sinc_prob': 0.0, 'second_order': False,
}  # fmt: skip
_TABLE = level_table('effective')
_SIDE, _GAP = 280, 4


class Shown(NamedTuple):
    """A photo: images (h, w, 3) uint8 by the title of their column, PSNR on Y by the same, and its degradation."""

    title: str
    images: dict[str, np.ndarray]
    psnr: dict[str, float]
    applied: str
    estimated: PhotoEstimate


def main() -> None:
    """Makes everything and prints the table."""
    upscaler = Upscaler(sr_preset(None), device='cpu')
    shown = [degrade_and_restore(name, upscaler, seed) for seed, name in enumerate(PHOTOS)]
    draw_image(shown, OUTPUT / 'demo.png')
    print_table(shown, upscaler)
    print(f'\nImage: {OUTPUT}/demo.png, photos and outputs next to it. For your photos:')
    print('  .venv/bin/basicsr upscale photo.jpg -o large   # and basicsr describe photo.jpg')
    print('To train both stages yourself, on photos of scikit-image (7 to 11 minutes on 2 cores):\n  make demo-train')


def degrade_and_restore(name: str, upscaler: Upscaler, seed: int) -> Shown:
    """Degrades a photo, and enlarges it by bicubic interpolation and by the preset."""
    title, ranges = PHOTOS[name]
    pixels = getattr(data, name)()
    height, width = (side // upscaler.scale * upscaler.scale for side in pixels.shape[:2])
    gt = np.ascontiguousarray(pixels[:height, :width])
    clean = gt.astype(np.float32) / 255
    recipe = read_recipe({**_RECIPE, **ranges}, 'recipe')
    record = draw(recipe, upscaler.scale, rng_for(0, 0, seed, 0, 'degradation'), (height, width))
    lr = (apply(record, clean) * 255).round().astype(np.uint8)
    levels = _TABLE.levels(record, _TABLE.statistics(clean))
    found = upscaler.estimate(lr)
    assert found is not None
    restored = {'bicubic': bicubic(lr, upscaler.scale), 'ours': upscaler(lr)}
    OUTPUT.mkdir(parents=True, exist_ok=True)
    for end, image in {'lr': lr, 'bicubic': restored['bicubic'], 'upscaled': restored['ours']}.items():
        Image.fromarray(image).save(OUTPUT / f'{name}_{end}.png')
    repeated = lr.repeat(upscaler.scale, axis=0).repeat(upscaler.scale, axis=1)
    psnr = {
        key: calculate_psnr(image[..., ::-1], gt[..., ::-1], crop_border=upscaler.scale, test_y_channel=True)
        for key, image in restored.items()
    }
    images = {'LR': repeated, **restored, 'GT': gt}
    return Shown(f'{name}, {title}', images, psnr, _TABLE.whole_caption(levels), found)


def print_table(shown: list[Shown], upscaler: Upscaler) -> None:
    """Prints PSNR, and levels with their intervals."""
    name = upscaler.model.files.weights.stem
    print(f'\n| photo | bicubic, PSNR-Y | {name} | gain, dB |\n| --- | --- | --- | --- |')
    for one in shown:
        base, ours = one.psnr['bicubic'], one.psnr['ours']
        print(f'| {one.title} | {base:.2f} | {ours:.2f} | {ours - base:+.2f} |')
    for one in shown:
        print(f'\n{one.title}\n  applied:   {one.applied}\n  estimated: {one.estimated}')


def draw_image(shown: list[Shown], path: Path) -> None:
    """Writes LR, bicubic, ours and GT in columns, one photo a row, with the applied and the estimated levels."""
    font, small = ImageFont.load_default(16), ImageFont.load_default(13)
    lines = [_lines(one) for one in shown]
    heights = [_SIDE + 8 + 17 * len(text) for text in lines]
    sheet = Image.new('RGB', (4 * (_SIDE + _GAP) - _GAP, 24 + sum(heights)), 'white')
    draw_on, top = ImageDraw.Draw(sheet), 24
    for column, title in enumerate(shown[0].images):
        draw_on.text((column * (_SIDE + _GAP) + 4, 2), title, 'black', font)
    for one, text, height in zip(shown, lines, heights, strict=True):
        for column, image in enumerate(one.images.values()):
            y, x = (side - _SIDE for side in image.shape[:2])
            crop = np.ascontiguousarray(image[y // 4 :, x // 2 :][:_SIDE, :_SIDE])
            sheet.paste(Image.fromarray(crop), (column * (_SIDE + _GAP), top))
        for number, line in enumerate(text):
            draw_on.text((4, top + _SIDE + 2 + 17 * number), line, 'black', small)
        top += height
    sheet.save(path)


def _lines(one: Shown) -> list[str]:
    texts = (
        f'{one.title}. PSNR-Y: bicubic {one.psnr["bicubic"]:.2f} dB, ours {one.psnr["ours"]:.2f} dB. '
        f'Applied: {one.applied}',
        f'Estimated, with 90% intervals: {one.estimated}',
    )
    return [line for text in texts for line in textwrap.wrap(text, 165)]


if __name__ == '__main__':
    main()
