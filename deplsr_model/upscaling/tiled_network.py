"""Runs an SR network on photos of any size: in tiles that fit the memory, which shrink when it runs out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from basicsr_plugin.errors import UserError, first_line, warn
from deplsr_arch.image_sides import mirrored
from deplsr_model.precision import autocast
from deplsr_model.tiling import Tile, tiled_bands
from deplsr_model.upscaling.photo_prior import LOCAL_CROP
from deplsr_model.upscaling.pixels import to_pixels, to_tensor
from deplsr_model.upscaling.steering import Prior
from deplsr_model.upscaling.tile_size import LEAST_TILE, bytes_per_pixel, choose_tile, free_memory, is_out_of_memory

__all__ = ['Precision', 'TiledNetwork']

Precision = Literal['fp32', 'fp16', 'bf16']

_LOCAL_OVERLAP = 32


class TiledNetwork:
    """An SR network with its way to run.

    Args:
        run: The network: (1, 3, h, w) and, if it is conditioned, content and degradation prior to an enlarged image.
        scale: Its enlargement.
        multiple: What the sides of its input must be multiples of.
        device: Where it runs.
        precision: Of the network.
        tile: Side of a tile in LR pixels; 0 for no tiles, None for what the free memory allows.
        overlap: LR pixels that neighbouring tiles share.
        no_prior: What a conditioned network is run with to measure its memory.
    """

    def __init__(
        self,
        run: Callable[..., Tensor],
        *,
        scale: int,
        multiple: int,
        device: torch.device,
        precision: Precision,
        tile: int | None,
        overlap: int,
        no_prior: Prior | None,
    ) -> None:
        self.run = run
        self.scale = scale
        self.device = device
        self.precision: Precision = precision
        self.overlap = overlap
        self._multiple = multiple
        self._tile = tile
        self._no_prior = no_prior

    @property
    def tile(self) -> int:
        """Side of a tile in LR pixels; it shrinks when memory runs out."""
        if self._tile is None:
            pixel = bytes_per_pixel(lambda x: self._forward(x, self._no_prior), self.device)
            self._tile = choose_tile(pixel, free_memory(self.device))
        return self._tile

    @tile.setter
    def tile(self, side: int | None) -> None:
        self._tile = side

    @torch.no_grad()
    def enlarge(
        self,
        pixels: np.ndarray,
        prior_at: Callable[[Tile], Prior] | None,
        *,
        local: bool,
        dtype: np.dtype,
        progress: Callable[[float], object],
    ) -> np.ndarray:
        """Runs the network once, with smaller tiles if memory runs out.

        Args:
            pixels: (h, w, 3) RGB or (h, w) gray.
            prior_at: Returns the prior of a tile; None for a network that takes none.
            local: Whether the prior varies over the photo; then tiles are small and overlap more.
            dtype: Of the result.
            progress: Is called with the share of the work that is done, 0..1.

        Raises:
            UserError: The memory does not suffice for the smallest tiles; one line.
        """
        height, width = pixels.shape[:2]
        large = np.empty((height * self.scale, width * self.scale, *pixels.shape[2:]), dtype)
        while True:
            tile = self.tile
            if local:
                tile = min(tile, LOCAL_CROP) if tile else LOCAL_CROP
            try:
                self._fill(large, pixels, prior_at, tile, local, progress)
                return large
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                smaller = (min(tile, max(height, width)) if tile else max(height, width)) // 2
                if smaller < LEAST_TILE:
                    raise UserError(
                        f'expected memory for tiles of {LEAST_TILE} pixels, got too little on {self.device} '
                        f'({first_line(error)}); close other programs, or take --device cpu'
                    ) from error
                self.tile = smaller
            if self.device.type == 'cuda':
                torch.cuda.empty_cache()
            warn(f'out of memory; tiles are {self.tile} pixels from here on')

    def _fill(
        self,
        large: np.ndarray,
        pixels: np.ndarray,
        prior_at: Callable[[Tile], Prior] | None,
        tile: int,
        local: bool,
        progress: Callable[[float], object],
    ) -> None:
        height, width = pixels.shape[:2]
        overlap = max(self.overlap, _LOCAL_OVERLAP) if local else self.overlap
        overlap = min(overlap, tile // 2) if tile else 0

        def run(part: Tile) -> Tensor:
            crop = pixels[part.top : part.top + part.height, part.left : part.left + part.width]
            out = self._forward(to_tensor(crop, self.device), prior_at(part) if prior_at else None).cpu()
            progress(((part.top * width) + (part.left + part.width) * part.height) / (height * width))
            return out

        row = 0
        for band in tiled_bands(run, height, width, self.scale, tile, overlap):
            rows = band.shape[-2]
            large[row : row + rows] = to_pixels(band[0], large)
            row += rows
            del band  # before the next tiles run

    def _forward(self, lq: Tensor, prior: Prior | None) -> Tensor:
        """Runs the network on (1, 3, h, w)."""
        height, width = lq.shape[-2:]
        x = mirrored(lq, self._multiple)
        with autocast(self.device, None if self.precision == 'fp32' else self.precision):
            out = self.run(x, *(prior or ())).float()
        return out[..., : height * self.scale, : width * self.scale]
