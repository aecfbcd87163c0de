"""The recipes on one image at a time, as research code does it: the baseline of benchmarks/degradation/speed.py."""

from __future__ import annotations

import io
import math
import random

import cv2
import numpy as np
import torch
from PIL import Image
from scipy.special import j1
from torch.nn import functional as F

from deplsr_data.degradation.recipes import (
    BSRGANRecipe,
    CameraRecipe,
    CleanRecipe,
    MixtureRecipe,
    RealESRGANRecipe,
    Recipe,
    SemanticRecipe,
)

SCALE = 4
INTERPOLATIONS = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)


def naive(photo: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Degrades one image by any of the built-in recipes."""
    if isinstance(recipe, MixtureRecipe):
        weights = [part.weight for part in recipe.recipes]
        return naive(photo, random.choices(recipe.recipes, weights)[0].recipe)
    return _WAYS[type(recipe)](photo, recipe)


def naive_semantic(photo: np.ndarray, recipe: SemanticRecipe) -> np.ndarray:
    """Blur, antialiased bicubic shrink, noise, JPEG, sinc on one image."""
    sigma = random.randrange(30) / 10
    if sigma:
        stretch = math.exp(0.5 * random.uniform(0, math.log(recipe.aniso_ratio[1]))) if random.random() < 0.5 else 1.0
        size = 2 * math.ceil(3 * sigma * stretch) + 1
        kernel = gaussian_kernel(size, sigma * stretch, sigma / stretch, random.uniform(0, math.pi))
        photo = cv2.filter2D(photo, -1, kernel)
    lq = naive_noise(naive_antialiased(photo, photo.shape[0] // SCALE, 'bicubic'), 0.5, (0, 30), (0, 3), 0.0)
    lq = naive_jpeg(lq, random.uniform(*recipe.jpeg_range))
    if random.random() < recipe.sinc_prob:
        lq = cv2.filter2D(lq, -1, naive_sinc(math.pi / 3))
    return np.clip((lq * 255).round(), 0, 255) / 255


def naive_realesrgan(photo: np.ndarray, recipe: RealESRGANRecipe) -> np.ndarray:
    """Real-ESRGAN's two orders on one image."""
    side = photo.shape[0] // SCALE
    photo = naive_usm(photo) if recipe.gt_usm else photo
    lq = naive_blur(photo, recipe.blur_sigma, recipe.sinc_prob)
    lq = naive_resize(lq, recipe.resize_prob, recipe.resize_range, photo.shape[0])
    lq = naive_noise(lq, 0.5, recipe.noise_range, recipe.poisson_scale_range, recipe.gray_noise_prob)
    lq = naive_jpeg(lq, random.uniform(*recipe.jpeg_range))
    if random.random() < recipe.second_blur_prob:
        lq = naive_blur(lq, recipe.blur_sigma2, recipe.sinc_prob2)
    lq = naive_resize(lq, recipe.resize_prob2, recipe.resize_range2, side)
    lq = naive_noise(lq, 0.5, recipe.noise_range2, recipe.poisson_scale_range2, recipe.gray_noise_prob2)
    jpeg_first = random.random() < 0.5
    if jpeg_first:
        lq = naive_jpeg(lq, random.uniform(*recipe.jpeg_range2))
    lq = cv2.resize(lq, (side, side), interpolation=random.choice(INTERPOLATIONS))
    if random.random() < recipe.final_sinc_prob:
        lq = cv2.filter2D(lq, -1, naive_sinc(math.pi / 3))
    if not jpeg_first:
        lq = naive_jpeg(lq, random.uniform(*recipe.jpeg_range2))
    return np.clip((lq * 255).round(), 0, 255) / 255


def naive_bsrgan(photo: np.ndarray, recipe: BSRGANRecipe) -> np.ndarray:
    """BSRGAN's shuffled steps on one image."""
    side, left, lq = photo.shape[0] // SCALE, SCALE, photo
    if random.random() < recipe.halve_prob:
        left, lq = 2, cv2.resize(photo, (2 * side,) * 2, interpolation=random.choice(INTERPOLATIONS))
    order = random.sample(range(6), 6)  # 0 and 1: blur, 2 and 3: resize, 4: noise, 5: JPEG
    first, second = sorted((order.index(2), order.index(3)))
    order[first], order[second] = 2, 3
    for step in order:
        if step < 2:
            lq = cv2.filter2D(lq, -1, bsrgan_kernel(left))
        elif step == 2 and random.random() < recipe.random_shrink_prob:
            small = int(lq.shape[0] / random.uniform(1, 2 * left))
            lq = cv2.resize(lq, (small, small), interpolation=random.choice(INTERPOLATIONS))
        elif step == 2:
            sigma = random.uniform(0.1, 0.6 * left)
            lq = cv2.filter2D(lq, -1, gaussian_kernel(25, sigma, sigma, 0))
            lq = cv2.resize(lq, (side, side), interpolation=cv2.INTER_LINEAR)
        elif step == 3:
            lq = cv2.resize(lq, (side, side), interpolation=random.choice(INTERPOLATIONS))
        elif step == 4:
            lq = naive_noise(lq, 1.0, recipe.noise_range, (0, 0), recipe.gray_noise_prob)
        elif random.random() < recipe.jpeg_prob:
            lq = naive_jpeg(lq, random.uniform(*recipe.jpeg_range))
    return naive_jpeg(lq, random.uniform(*recipe.jpeg_range))


def bsrgan_kernel(left: int) -> np.ndarray:
    size = random.choice(range(7, 26, 2))
    if random.random() < 0.5:
        sigmas = [max(math.sqrt((4 + left) * random.random()), 0.01) for _ in range(2)]
        return gaussian_kernel(size, *sigmas, random.uniform(0, math.pi))
    sigma = max((2 + 0.2 * left) * random.random(), 0.01)
    return gaussian_kernel(size, sigma, sigma, 0)


def naive_clean(photo: np.ndarray, recipe: CleanRecipe) -> np.ndarray:
    """A shrink, sometimes with mild noise and JPEG."""
    lq = naive_any_resize(photo, photo.shape[0] // SCALE, recipe.antialias_prob)
    which = random.choice(('noise', 'jpeg', 'both')) if random.random() >= recipe.identity_prob else ''
    if which in ('noise', 'both'):
        lq = naive_noise(lq, 1.0, recipe.noise_range, (0, 0), recipe.gray_noise_prob)
    if which in ('jpeg', 'both'):
        lq = naive_jpeg(lq, random.uniform(*recipe.jpeg_range))
    return np.clip((lq * 255).round(), 0, 255) / 255


def naive_camera(photo: np.ndarray, recipe: CameraRecipe) -> np.ndarray:
    """Camera and web on one image."""
    side = photo.shape[0] // SCALE
    taken = side if random.random() < recipe.same_size_prob else int(side * random.uniform(*recipe.resize_range))
    lq = naive_gaussian(photo, recipe.blur_sigma) if random.random() < recipe.blur_prob else photo
    lq = naive_any_resize(lq, taken, recipe.antialias_prob)
    if random.random() < recipe.noise_prob:
        ranges = recipe.noise_range, recipe.poisson_scale_range
        lq = naive_noise(lq, recipe.gaussian_noise_prob, *ranges, recipe.gray_noise_prob)
    if random.random() < recipe.chroma_noise_prob:
        lq = naive_chroma_noise(
            lq, random.uniform(*recipe.chroma_noise_range), random.uniform(*recipe.chroma_noise_size)
        )
    if random.random() < recipe.smooth_prob:
        lq = naive_gaussian(lq, recipe.smooth_sigma)
    if random.random() < recipe.sharpen_prob:
        lq = lq + random.uniform(*recipe.sharpen_amount) * (lq - naive_gaussian(lq, recipe.sharpen_sigma))
    if random.random() < recipe.jpeg_prob:
        lq = naive_jpeg(lq, random.uniform(*recipe.jpeg_range))
    if taken != side:
        lq = naive_any_resize(lq, side, recipe.antialias_prob)
        if random.random() < recipe.sharpen_prob2:
            lq = lq + random.uniform(*recipe.sharpen_amount) * (lq - naive_gaussian(lq, recipe.sharpen_sigma))
    codec = random.choices(recipe.codec_list, recipe.codec_prob)[0]
    if codec == 'jpeg':
        lq = naive_jpeg(lq, random.uniform(*recipe.jpeg_range2))
    elif codec != 'none':
        lq = naive_codec(lq, codec, int(random.uniform(*recipe.webp_range)))
    return np.clip((lq * 255).round(), 0, 255) / 255


def naive_gaussian(photo: np.ndarray, sigmas: tuple[float, float]) -> np.ndarray:
    sigma = random.uniform(*sigmas)
    return cv2.filter2D(photo, -1, gaussian_kernel(2 * math.ceil(3 * sigma) + 1, sigma, sigma, 0))


def naive_any_resize(photo: np.ndarray, side: int, antialias_prob: float) -> np.ndarray:
    way = random.choice(INTERPOLATIONS)
    if way == cv2.INTER_AREA or random.random() >= antialias_prob:
        return cv2.resize(photo, (side, side), interpolation=way)
    return naive_antialiased(photo, side, 'bilinear' if way == cv2.INTER_LINEAR else 'bicubic')


def naive_antialiased(photo: np.ndarray, side: int, mode: str) -> np.ndarray:
    batch = torch.from_numpy(photo.transpose(2, 0, 1).copy())[None]
    return F.interpolate(batch, (side, side), mode=mode, antialias=True)[0].numpy().transpose(1, 2, 0)


def naive_chroma_noise(photo: np.ndarray, level: float, size: float) -> np.ndarray:
    noise = cv2.GaussianBlur(np.random.normal(0, 1, (*photo.shape[:2], 2)).astype(np.float32), (0, 0), size)
    noise *= level / 255 / 1.38 / noise.std()
    ycrcb = cv2.cvtColor(photo.astype(np.float32), cv2.COLOR_RGB2YCrCb)
    ycrcb[..., 1:] += noise
    return np.clip(cv2.cvtColor(ycrcb, cv2.COLOR_YCrCb2RGB), 0, 1)


def naive_codec(photo: np.ndarray, codec: str, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    settings = {'speed': 8} if codec == 'avif' else {}
    pixels = (np.clip(photo, 0, 1) * 255).round().astype(np.uint8)
    Image.fromarray(pixels).save(buffer, codec.upper(), quality=quality, **settings)
    return np.asarray(Image.open(buffer).convert('RGB'), np.float32) / 255


def gaussian_kernel(size: int, sigma_x: float, sigma_y: float, angle: float, beta: float = 1.0) -> np.ndarray:
    axis = np.arange(size) - size // 2
    x, y = np.meshgrid(axis, axis)
    along, across = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    kernel = np.exp(-0.5 * ((along / sigma_x) ** 2 + (across / sigma_y) ** 2) ** beta)
    return (kernel / kernel.sum()).astype(np.float32)


def naive_sinc(lowest: float) -> np.ndarray:
    size, cutoff = random.choice(range(7, 22, 2)), random.uniform(lowest, math.pi)
    axis = np.arange(size) - size // 2
    radius = np.hypot(*np.meshgrid(axis, axis))
    radius[size // 2, size // 2] = 1
    kernel = cutoff * j1(cutoff * radius) / (2 * np.pi * radius)
    kernel[size // 2, size // 2] = cutoff**2 / (4 * np.pi)
    return (kernel / kernel.sum()).astype(np.float32)


def naive_blur(photo: np.ndarray, sigmas: tuple[float, float], sinc_prob: float) -> np.ndarray:
    if random.random() < sinc_prob:
        return cv2.filter2D(photo, -1, naive_sinc(math.pi / 3))
    size, isotropic = random.choice(range(7, 22, 2)), random.random() < 0.69
    sigma_x = random.uniform(*sigmas)
    sigma_y = sigma_x if isotropic else random.uniform(*sigmas)
    beta = 1.0 if random.random() < 0.7 else random.uniform(0.5, 4)
    return cv2.filter2D(photo, -1, gaussian_kernel(size, sigma_x, sigma_y, random.uniform(-math.pi, math.pi), beta))


def naive_resize(photo: np.ndarray, weights: tuple, factors: tuple[float, float], side: int) -> np.ndarray:
    way = random.choices(('up', 'down', 'keep'), weights)[0]
    factor = {'up': random.uniform(1, factors[1]), 'down': random.uniform(factors[0], 1), 'keep': 1.0}[way]
    return cv2.resize(photo, (int(side * factor),) * 2, interpolation=random.choice(INTERPOLATIONS))


def naive_noise(photo: np.ndarray, gaussian_prob: float, sigmas: tuple, scales: tuple, gray_prob: float) -> np.ndarray:
    gray = random.random() < gray_prob
    if random.random() < gaussian_prob:
        shape = (*photo.shape[:2], 1) if gray else photo.shape
        noise = np.random.normal(0, random.uniform(*sigmas) / 255, shape).astype(np.float32)
    else:
        clean = np.clip((photo * 255).round(), 0, 255) / 255
        clean = cv2.cvtColor(clean, cv2.COLOR_RGB2GRAY)[..., None] if gray else clean
        noise = (np.random.poisson(clean * 256) / 256 - clean).astype(np.float32) * random.uniform(*scales)
    return np.clip(photo + noise, 0, 1)


def naive_jpeg(photo: np.ndarray, quality: float) -> np.ndarray:
    pixels = (np.clip(photo, 0, 1) * 255).round().astype(np.uint8)
    coded = cv2.imencode('.jpg', pixels, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])[1]
    return cv2.imdecode(coded, cv2.IMREAD_COLOR).astype(np.float32) / 255


def naive_usm(photo: np.ndarray) -> np.ndarray:
    residual = photo - cv2.GaussianBlur(photo, (51, 51), 0)
    mask = cv2.GaussianBlur((np.abs(residual) * 255 > 10).astype(np.float32), (51, 51), 0)
    return mask * np.clip(photo + 0.5 * residual, 0, 1) + (1 - mask) * photo


_WAYS = {
    SemanticRecipe: naive_semantic,
    RealESRGANRecipe: naive_realesrgan,
    BSRGANRecipe: naive_bsrgan,
    CameraRecipe: naive_camera,
    CleanRecipe: naive_clean,
}
