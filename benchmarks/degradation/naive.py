"""The recipes on one image at a time, as research code does it: the baseline of benchmarks/degradation/speed.py."""

from __future__ import annotations

import math
import random

import cv2
import numpy as np
import torch
from scipy.special import j1
from torch.nn import functional as F

from deplsr_data.degradation.recipes import RealESRGANRecipe, SemanticRecipe

SCALE = 4
INTERPOLATIONS = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)


def naive_semantic(photo: np.ndarray, recipe: SemanticRecipe) -> np.ndarray:
    """Blur, antialiased bicubic shrink, noise, JPEG, sinc on one image."""
    sigma = random.randrange(30) / 10
    if sigma:
        stretch = math.exp(0.5 * random.uniform(0, math.log(recipe.aniso_ratio[1]))) if random.random() < 0.5 else 1.0
        size = 2 * math.ceil(3 * sigma * stretch) + 1
        kernel = gaussian_kernel(size, sigma * stretch, sigma / stretch, random.uniform(0, math.pi))
        photo = cv2.filter2D(photo, -1, kernel)
    small = torch.from_numpy(photo.transpose(2, 0, 1).copy())[None]
    shape = photo.shape[0] // SCALE, photo.shape[1] // SCALE
    small = F.interpolate(small, shape, mode='bicubic', antialias=True)[0].numpy().transpose(1, 2, 0)
    lq = naive_noise(small, 0.5, (0, 30), (0, 3), 0.0)
    lq = naive_jpeg(lq, random.uniform(*recipe.jpeg_range))
    if random.random() < recipe.sinc_prob:
        lq = cv2.filter2D(lq, -1, naive_sinc(math.pi / 3))
    return np.clip((lq * 255).round(), 0, 255) / 255


def naive_realesrgan(photo: np.ndarray, recipe: RealESRGANRecipe) -> np.ndarray:
    """Real-ESRGAN's two orders on one image."""
    side = photo.shape[0] // SCALE
    photo = naive_usm(photo)
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
