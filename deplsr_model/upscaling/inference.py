"""Enlarges photos with a trained model: the class behind `basicsr upscale`, for use from Python too."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from basicsr_plugin.errors import UserError
from basicsr_plugin.presets import preset_of
from deplsr_arch.protocols import is_conditioned
from deplsr_data.degradation.level_tables import LevelTable, level_table
from deplsr_model.tiling import Tile
from deplsr_model.upscaling.edits import PhotoEstimate, Steering, check_edits, names, parse_edit, stated_levels
from deplsr_model.upscaling.execution import CompiledNetwork, device_named
from deplsr_model.upscaling.model_files import LoadedModel, file_hash, find_model, load_model
from deplsr_model.upscaling.photo_prior import local_prior, observe, weakened
from deplsr_model.upscaling.pixels import resized
from deplsr_model.upscaling.steering import Prior, SteeredEstimator, steered
from deplsr_model.upscaling.tiled_network import Precision, TiledNetwork

__all__ = ['Precision', 'Upscaler', 'device_named']

Photo = TypeVar('Photo', np.ndarray, Image.Image)
Progress = Callable[[float], object]


class Upscaler:
    """A trained model, ready to enlarge photos.

    >>> upscaler = Upscaler('small-x4')  # doctest: +SKIP
    >>> upscaler(Image.open('photo.jpg'), noise='-50%').save('large.png')  # doctest: +SKIP

    Args:
        model: Checkpoint (``.pth``, ``.safetensors``), folder of an experiment or name of a preset; None for what
            ``options`` names.
        options: Its option file; not needed for the folder of an experiment, a preset or weights of a stock network.
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
        net = self.model.net.to(self.device).to(memory_format=torch.channels_last)
        self.network = TiledNetwork(
            CompiledNetwork(net) if compiled else net,
            scale=self.model.scale,
            multiple=self.model.multiple,
            device=self.device,
            precision=precision,
            tile=tile,
            overlap=overlap,
            no_prior=self._no_prior() if self._is_conditioned else None,
        )
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
        """Returns what is known about the model, a line each, and the model card of a preset."""
        model, files = self.model, self.model.files
        estimator = type(model.estimator).__name__ if model.estimator is not None else 'none'
        preset = preset_of(files.weights)
        card = preset.card if preset is not None and preset.card.is_file() else None
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
            **({} if card is None else {'card': card}),
        }
        text = '' if card is None else f'\n\n{card.read_text(encoding="utf-8").rstrip()}'
        return '\n'.join(f'{name + ":":13}{value}' for name, value in rows.items()) + text

    @property
    def precision(self) -> Precision:
        """Precision of the network."""
        return self.network.precision

    @property
    def tile(self) -> int:
        """Side of a tile in LR pixels; it shrinks when memory runs out."""
        return self.network.tile

    @property
    def overlap(self) -> int:
        """LR pixels that neighbouring tiles share."""
        return self.network.overlap

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
        if not isinstance(image, Image.Image):
            return self._with_alpha(image, scale, outscale, steering)
        if image.mode not in ('L', 'RGB', 'RGBA'):
            image = image.convert('RGBA' if 'transparency' in image.info or image.mode in ('LA', 'PA') else 'RGB')
        return Image.fromarray(self._with_alpha(np.asarray(image), scale, outscale, steering))

    def _with_alpha(self, pixels: np.ndarray, scale: int | None, outscale: float | None, used: Steering) -> np.ndarray:
        if pixels.ndim == 2 or pixels.shape[2] != 4:
            return self.enlarge(pixels, used, scale=scale, outscale=outscale)
        large = self.enlarge(pixels[..., :3], used, scale=scale, outscale=outscale)
        return np.dstack([large, resized(pixels[..., 3], large.shape[:2])])

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

            prior_at = self._prior(large, one, seen if index == 0 else None)
            large = self.network.enlarge(large, prior_at, local=one.local, dtype=dtype, progress=share)
        return resized(large, (max(1, round(height * factor)), max(1, round(width * factor))))

    def passes(self, scale: int | None) -> int:
        """Returns how often the network runs on a photo to reach an enlargement."""
        if scale is None or self.scale == 1:
            return 1
        return max(1, math.ceil(math.log(scale) / math.log(self.scale) - 1e-9))

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
            return lambda tile: weakened(at(tile), steering.strength)
        else:
            prior = self.estimator.prior(self._observed(self.estimator, pixels, seen), steering.edits)
        prior = weakened(prior, steering.strength)
        return lambda tile: prior

    def _no_prior(self) -> Prior:
        dim = getattr(self.model.net, 'prior_dim', 1)
        count = getattr(self.model.net, 'num_degradation_types', 1)
        return torch.zeros(1, 1, dim, device=self.device), torch.zeros(1, count, dim, device=self.device)
