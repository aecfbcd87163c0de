"""Ranges and probabilities from which a degradation is drawn, read from YAML and checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from basicsr_plugin.errors import OptionError
from basicsr_plugin.options import nearest, read_options

__all__ = ['RECIPES', 'SemanticRecipe', 'read_recipe']


def _show(values: tuple[float, ...]) -> str:
    return '[' + ', '.join(f'{value:g}' for value in values) + ']'


def _ordered(what: str, low: float, high: float, grid: bool = False) -> Callable[[tuple[float, float]], Any]:
    """Makes the check of a range; with ``grid`` it must hold a multiple of 0.1, the step in which levels are drawn."""
    bound = f'{low:g} <= low <= high' + (f' <= {high:g}' if math.isfinite(high) else '')

    def check(values: tuple[float, float]) -> tuple[float, float]:
        if not low <= values[0] <= values[1] <= high:
            swappable = low <= values[1] <= values[0] <= high
            mend = 'swap them' if swappable else 'keep both within these bounds'
            raise ValueError(f'expected two {what} {bound}, got {_show(values)}; {mend}')
        if grid and math.ceil(values[0] * 10 - 1e-9) > math.floor(values[1] * 10 + 1e-9):
            raise ValueError(f'expected a range that holds a multiple of 0.1, got {_show(values)}; widen it')
        return values

    return check


def _odd_sizes(values: tuple[int, ...]) -> tuple[int, ...]:
    if not values or any(value < 3 or value % 2 == 0 for value in values):
        raise ValueError(f'expected odd kernel sizes of 3 or more, got {_show(values)}; such as [7, 9, 11]')
    return values


Probability = Annotated[float, Field(ge=0, le=1)]
SigmaRange = Annotated[tuple[float, float], AfterValidator(_ordered('blur sigmas', 0, math.inf, grid=True))]
RatioRange = Annotated[tuple[float, float], AfterValidator(_ordered('ratios of sigmas', 1, math.inf))]
NoiseRange = Annotated[tuple[float, float], AfterValidator(_ordered('noise sigmas of 255', 0, 255, grid=True))]
PoissonRange = Annotated[tuple[float, float], AfterValidator(_ordered('poisson scales', 0, math.inf, grid=True))]
QualityRange = Annotated[tuple[float, float], AfterValidator(_ordered('quality factors', 1, 100, grid=True))]
CutoffRange = Annotated[tuple[float, float], AfterValidator(_ordered('cutoffs in units of pi', 0.05, 1))]
OddSizes = Annotated[tuple[int, ...], AfterValidator(_odd_sizes)]


@dataclass(frozen=True)
class SemanticRecipe:
    """The Semantic-driven Degradation Pipeline: blur, noise, JPEG, ringing, each with a level that words can name.

    Source: Sci. Rep. 15, 28837 (2025), research settings. Levels are drawn in steps of 0.1, so captions are exact.

    Attributes:
        type: ``semantic``.
        resize: Where the picture shrinks. ``before_noise``: blur, shrink, noise, JPEG, sinc, so that noise and JPEG
            levels are those of the LR picture which an SR network sees. ``last``: the published order, all at GT size,
            then shrink.
        second_order: Blur and noise a second time with the same levels and a fresh noise field, before the JPEG; a blur
            that now acts on the LR picture keeps its sigma in GT pixels. The captions name the levels of one pass. Off
            is what the research code amounts to, whose second pass starts again from the clean photo.
        resize_mode: Interpolation of the shrink, antialiased.
        blur_sigma: Range of sigma, in GT pixels.
        aniso_prob: Share of anisotropic blurs: two sigmas whose geometric mean is the named one, at a random angle.
        aniso_ratio: Range of the ratio of these two sigmas, drawn log-uniformly.
        gaussian_noise_prob: Share of Gaussian noise; the others get Poisson noise.
        noise_range: Range of the Gaussian sigma, in grey levels of 255.
        poisson_scale_range: Range of the factor on Poisson noise.
        gray_noise_prob: Share of noise that is equal in all channels.
        jpeg_prob: Share of photos that get a JPEG.
        jpeg_range: Range of the quality factor.
        sinc_prob: Share of photos that get the final ringing filter.
        sinc_kernel_size: Odd sizes of that filter, drawn evenly.
        sinc_cutoff: Range of its cutoff, in units of pi radians per pixel.
    """

    type: Literal['semantic'] = 'semantic'
    resize: Literal['last', 'before_noise'] = 'before_noise'
    second_order: bool = False
    resize_mode: Literal['area', 'bilinear', 'bicubic'] = 'bicubic'
    blur_sigma: SigmaRange = (0.0, 2.9)
    aniso_prob: Probability = 0.5
    aniso_ratio: RatioRange = (1.0, 4.0)
    gaussian_noise_prob: Probability = 0.5
    noise_range: NoiseRange = (0.0, 30.0)
    poisson_scale_range: PoissonRange = (0.0, 3.0)
    gray_noise_prob: Probability = 0.0
    jpeg_prob: Probability = 1.0
    jpeg_range: QualityRange = (30.0, 95.0)
    sinc_prob: Probability = 0.2
    sinc_kernel_size: OddSizes = (7, 9, 11, 13, 15, 17, 19, 21)
    sinc_cutoff: CutoffRange = (1 / 3, 1.0)


#: The recipes by the name that ``type:`` picks them with.
RECIPES: dict[str, type[SemanticRecipe]] = {'semantic': SemanticRecipe}


def read_recipe(opt: Mapping[str, Any] | None, where: str) -> SemanticRecipe:
    """Reads the ``recipe:`` block of a data set; without one, the semantic recipe with its defaults.

    Raises:
        OptionError: Unknown ``type``, unknown key, wrong type or range; one line that begins with ``where``.
    """
    if opt is None:
        return SemanticRecipe()
    if not isinstance(opt, Mapping):
        raise OptionError(f'{where}: expected a mapping such as {{type: semantic}}, got {opt!r}')
    name = opt.get('type', 'semantic')
    if name not in RECIPES:
        raise OptionError(f'{where}.type: expected one of {sorted(RECIPES)}, got {name!r}{nearest(str(name), RECIPES)}')
    return read_options(RECIPES[name], opt, where)
