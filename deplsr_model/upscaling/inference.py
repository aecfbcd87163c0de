"""Enlarges photos with a trained model: the class behind `basicsr upscale`, for use from Python too."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from basicsr_plugin.errors import UserError, first_line, warn
from deplsr_arch.image_sides import mirrored
from deplsr_arch.protocols import is_conditioned
from deplsr_data.degradation.level_tables import LevelTable, level_table
from deplsr_model.precision import autocast
from deplsr_model.tiling import Tile, tiled_bands
from deplsr_model.upscaling.edits import PhotoEstimate, Steering, check_edits, names, parse_edit, stated_levels
from deplsr_model.upscaling.execution import CompiledNetwork, device_named
from deplsr_model.upscaling.model_files import LoadedModel, file_hash, find_model, load_model
from deplsr_model.upscaling.photo_prior import LOCAL_CROP, local_prior, observe
from deplsr_model.upscaling.pixels import resized, to_pixels, to_tensor
from deplsr_model.upscaling.steering import Prior, SteeredEstimator, steered
from deplsr_model.upscaling.tile_size import LEAST_TILE, bytes_per_pixel, choose_tile, free_memory, is_out_of_memory

__all__ = ['Precision', 'Upscaler', 'device_named']

Precision = Literal['fp32', 'fp16', 'bf16']
Photo = TypeVar('Photo', np.ndarray, Image.Image)
Progress = Callable[[float], object]

_LOCAL_OVERLAP = 32


class Upscaler:
    """A trained model, ready to enlarge photos.

    >>> upscaler = Upscaler('experiments/my_run')  # doctest: +SKIP
    >>> upscaler(Image.open('photo.jpg'), noise='-50%').save('large.png')  # doctest: +SKIP

    Args:
        model: Checkpoint (``.pth``, ``.safetensors``) or folder of an experiment; None for what ``options`` names.
        options: Its option file; not needed for the folder of an experiment or for weights of a stock network.
        device: Such as ``cpu``, ``cuda`` or ``cuda:1``; by default a GPU if there is one.
        precision: Of the network; the prior is always estimated in ``fp32``.
        tile: Side of a tile in LR pixels; 0 for no tiles, None for what the free memory allows.
        overlap: LR pixels that neighbouring tiles share.
        compiled: Whether to compile the network (torch.compile), which takes a minute and pays off for many photos.

    Raises:
        UserError: A file is missing, corrupt or of another network; one line.
    """

    def __init__(
        self,
        model: str | Path | None,
        options: str | Path | None = None,
        *,
        device: str | None = None,
        precision: Precision = 'fp32',
        tile: int | None = None,
        overlap: int = 16,
        compiled: bool = False,
    ) -> None:
        self.device = device_named(device)
        if precision == 'fp16' and self.device.type == 'cpu':
            raise UserError('--fp16: expected a GPU, got the CPU; take --bf16, or leave it out')
        if tile and not 0 <= overlap < tile:
            raise UserError(f'--tile-overlap: expected less than the tile ({tile}), got {overlap}')
        self.model: LoadedModel = load_model(find_model(model, options))
        self.precision = precision
        self.overlap = overlap
        self._net: Callable[..., Tensor] = self.model.net.to(self.device).to(memory_format=torch.channels_last)
        if compiled:
            self._net = CompiledNetwork(self._net)
        self._tile = tile
        self.estimator: SteeredEstimator | None = None
        if self.model.estimator is not None:
            self.model.estimator.to(self.device)  # type: ignore[attr-defined]
            opt = self.model.files.opt
            template = (opt.get('val') or {}).get('template') or '{}'
            self.estimator = steered(self.model.estimator, self._table, opt.get('prior_form') or 'mixture', template)

    @property
    def scale(self) -> int:
        """Enlargement of the network."""
        return self.model.scale

    @cached_property
    def model_hash(self) -> str:
        """SHA-256 of the weights' file."""
        return file_hash(self.model.files.weights)

    def info(self) -> str:
        """Returns what is known about the model, a line each."""
        model, files = self.model, self.model.files
        estimator = type(model.estimator).__name__ if model.estimator is not None else 'none'
        licence = model.facts.get('license') or model.facts.get('licence') or 'not stated'
        rows = {
            'weights': files.weights,
            'sha256': self.model_hash,
            'option file': files.options or f'none: {"stated in" if files.opt else "recognised from"} the weights',
            'network': f'{model.name}, {sum(one.numel() for one in model.net.parameters()):,d} parameters',
            'scale': model.scale,
            'estimator': estimator,
            'levels': ', '.join(one.name for one in self.estimator.types) if self.estimator else 'none',
            'licence': licence,
            'source': model.facts.get('source', 'not stated'),
        }
        return '\n'.join(f'{name + ":":13}{value}' for name, value in rows.items())

    @property
    def tile(self) -> int:
        """Side of a tile in LR pixels; it shrinks when memory runs out."""
        if self._tile is None:
            content, degradation = self._no_prior()
            prior = (content, degradation) if self._is_conditioned else None
            pixel = bytes_per_pixel(lambda x: self._forward(x, prior), self.device)
            self._tile = choose_tile(pixel, free_memory(self.device))
        return self._tile

    def steering(self, **choices: Any) -> Steering:
        """Returns checked choices: ``prior``, ``strength``, ``local``, ``edits``, and a level by its name.

        Raises:
            UserError: A choice cannot be used with this model; one line.
        """
        edits = list(choices.pop('edits', ()))
        names = [name for name in choices if name not in ('prior', 'strength', 'local')]
        edits += [parse_edit(name, str(choices.pop(name))) for name in names if choices[name] is not None]
        choices = {key: value for key, value in choices.items() if value is not None}
        asked = Steering(tuple(edits), **choices)
        if asked.is_default:
            return asked
        if self.estimator is None:
            what = f'--{edits[0].name}' if edits else '--prior, --strength or --local-prior'
            raise UserError(
                f'{what}: expected a model with a degradation estimator, got {self.model.name} without; leave it out'
            )
        resolved = check_edits(asked.edits, self.estimator.types)
        if asked.prior not in (None, 'none', 'estimated'):
            stated_levels(str(asked.prior), resolved, self._table)
        prior = None if asked.prior == 'estimated' else asked.prior
        return Steering(resolved, prior, asked.strength, asked.local)

    def observe(self, pixels: np.ndarray) -> Tensor | None:
        """Returns what the estimator sees in a photo, for the methods that take it; None without an estimator."""
        return None if self.estimator is None else observe(self.estimator, pixels, self.device)

    def estimate(self, pixels: np.ndarray, seen: Tensor | None = None) -> PhotoEstimate | None:
        """Returns the degradation that is estimated; None for a model without an estimator."""
        if self.estimator is None:
            return None
        return self.estimator.estimate(self._observed(self.estimator, pixels, seen))

    def used(self, pixels: np.ndarray, steering: Steering, seen: Tensor | None = None) -> PhotoEstimate | None:
        """Returns the degradation that the network is conditioned on, after edits; None for no prior."""
        source = self._source(steering)
        if self.estimator is None or source == 'none':
            return None
        if source != 'estimated':
            levels = stated_levels(source, steering.edits, self._table)
            return PhotoEstimate(names(self.estimator.types), levels[: len(self.estimator.types)])
        return self.estimator.estimate(self._observed(self.estimator, pixels, seen), steering.edits)

    def _observed(self, estimator: SteeredEstimator, pixels: np.ndarray, seen: Tensor | None) -> Tensor:
        return observe(estimator, pixels, self.device) if seen is None else seen

    def __call__(
        self, image: Photo, *, scale: int | None = None, outscale: float | None = None, **choices: Any
    ) -> Photo:
        """Enlarges a photo.

        Args:
            image: A PIL image, or an array (h, w, 3), (h, w) gray or (h, w, 4) with alpha: uint8, uint16, or float32
                in 0..1.
            scale: Enlargement, reached by running the network again or by resizing; that of the network by default.
            outscale: Enlargement by resizing the network's output.
            **choices: See :meth:`steering`; an edit of a level by its name, such as ``noise='-50%'``, ``jpeg=40``.

        Returns:
            The same type.

        Raises:
            UserError: A choice cannot be used; one line.
        """
        steering = self.steering(**choices)
        if isinstance(image, Image.Image):
            return self._pil(image, scale, outscale, steering)
        if image.ndim == 3 and image.shape[2] == 4:
            large = self.enlarge(image[..., :3], steering, scale=scale, outscale=outscale)
            return np.dstack([large, resized(image[..., 3], large.shape[:2])])
        return self.enlarge(image, steering, scale=scale, outscale=outscale)

    def _pil(self, image: Image.Image, scale: int | None, outscale: float | None, steering: Steering) -> Image.Image:
        if image.mode not in ('L', 'RGB', 'RGBA'):
            image = image.convert('RGBA' if 'transparency' in image.info or image.mode in ('LA', 'PA') else 'RGB')
        pixels = np.asarray(image)
        colours = pixels[..., :3] if pixels.ndim == 3 else pixels
        large = self.enlarge(colours, steering, scale=scale, outscale=outscale)
        if image.mode == 'RGBA':
            large = np.dstack([large, resized(pixels[..., 3], large.shape[:2])])
        return Image.fromarray(large)

    @torch.no_grad()
    def enlarge(
        self,
        pixels: np.ndarray,
        steering: Steering | None = None,
        *,
        scale: int | None = None,
        outscale: float | None = None,
        progress: Progress = lambda share: None,
        seen: Tensor | None = None,
    ) -> np.ndarray:
        """Enlarges pixels.

        Args:
            pixels: (h, w, 3) RGB or (h, w) gray; uint8, uint16, or float32 in 0..1.
            steering: What :meth:`steering` returned.
            scale: See :meth:`__call__`.
            outscale: See :meth:`__call__`.
            progress: Is called with the share of the work that is done, 0..1.
            seen: What :meth:`observe` returned for these pixels, if that is known.

        Returns:
            The same type, with height and width multiplied.
        """
        steering = steering or Steering()
        height, width = pixels.shape[:2]
        factor = outscale or scale or self.scale
        passes = 1 if outscale else self.passes(scale)
        work = [self.scale ** (2 * index) for index in range(passes)]
        large = pixels
        for index in range(passes):
            last = index == passes - 1
            dtype = pixels.dtype if last or pixels.dtype == np.float32 else np.dtype(np.uint16)
            one = steering if index == 0 else Steering(strength=steering.strength)

            def share(done: float, before: int = sum(work[:index]), now: int = work[index]) -> None:
                progress((before + done * now) / sum(work))

            large = self._run(large, one, dtype, share, seen if index == 0 else None)
        return resized(large, (max(1, round(height * factor)), max(1, round(width * factor))))

    def passes(self, scale: int | None) -> int:
        """Returns how often the network runs on a photo to reach an enlargement."""
        if scale is None or self.scale == 1:
            return 1
        return max(1, math.ceil(math.log(scale) / math.log(self.scale) - 1e-9))

    def _run(
        self, pixels: np.ndarray, steering: Steering, dtype: np.dtype, progress: Progress, seen: Tensor | None
    ) -> np.ndarray:
        """Runs the network once, with smaller tiles if memory runs out."""
        prior_at = self._prior(pixels, steering, seen)
        height, width = pixels.shape[:2]
        large = np.empty((height * self.scale, width * self.scale, *pixels.shape[2:]), dtype)
        while True:
            tile = self.tile
            if steering.local:
                tile = min(tile, LOCAL_CROP) if tile else LOCAL_CROP
            try:
                self._fill(large, pixels, prior_at, tile, steering.local, progress)
                return large
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                smaller = _half(tile, max(height, width))
                if smaller < LEAST_TILE:
                    raise UserError(
                        f'expected memory for tiles of {LEAST_TILE} pixels, got too little on {self.device} '
                        f'({first_line(error)}); close other programs, or take --device cpu'
                    ) from error
                self._tile = smaller
            if self.device.type == 'cuda':
                torch.cuda.empty_cache()
            warn(f'out of memory; tiles are {self._tile} pixels from here on')

    def _fill(
        self,
        large: np.ndarray,
        pixels: np.ndarray,
        prior_at: Callable[[Tile], Prior] | None,
        tile: int,
        local: bool,
        progress: Progress,
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

    def _forward(self, lq: Tensor, prior: Prior | None) -> Tensor:
        """Runs the network on (1, 3, h, w)."""
        height, width = lq.shape[-2:]
        x = mirrored(lq, self.model.multiple)
        with autocast(self.device, None if self.precision == 'fp32' else self.precision):
            out = self._net(x, *(prior or ())).float()
        return out[..., : height * self.scale, : width * self.scale]

    @property
    def _table(self) -> LevelTable:
        return self.model.table or level_table('effective')

    @property
    def _is_conditioned(self) -> bool:
        return is_conditioned(self.model.net)

    def _source(self, steering: Steering) -> str:
        """Returns ``none``, ``estimated`` or fine captions."""
        if self.estimator is None:
            return 'none'
        source = steering.prior or str(self.model.files.opt.get('prior') or 'estimated')
        return 'estimated' if source == 'captions' else source  # photos have no captions

    def _prior(self, pixels: np.ndarray, steering: Steering, seen: Tensor | None) -> Callable[[Tile], Prior] | None:
        """Returns a function that returns the prior of a tile; None for a network that takes none."""
        if not self._is_conditioned:
            return None
        source = self._source(steering)
        if self.estimator is None or source == 'none':
            nothing = self._no_prior()
            return lambda tile: nothing
        if source != 'estimated':
            prior = self.estimator.stated(stated_levels(source, steering.edits, self._table))
        elif steering.local:
            at = local_prior(self.estimator, pixels, self.device, steering.edits)
            return lambda tile: _weakened(at(tile), steering.strength)
        else:
            prior = self.estimator.prior(self._observed(self.estimator, pixels, seen), steering.edits)
        prior = _weakened(prior, steering.strength)
        return lambda tile: prior

    def _no_prior(self) -> Prior:
        dim = getattr(self.model.net, 'prior_dim', 1)
        count = getattr(self.model.net, 'num_degradation_types', 1)
        return torch.zeros(1, 1, dim, device=self.device), torch.zeros(1, count, dim, device=self.device)


def _weakened(prior: Prior, strength: float) -> Prior:
    if strength == 1:
        return prior
    return prior[0] * strength, prior[1] * strength


def _half(tile: int, longest: int) -> int:
    return (min(tile, longest) if tile else longest) // 2
