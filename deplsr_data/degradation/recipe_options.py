"""Types of the options of recipes, and the options of the semantic and of Real-ESRGAN's recipe."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field

__all__ = ['RealESRGANRecipe', 'SemanticRecipe', 'kernel_reach', 'range_of']


Range = tuple[float, float]


def _show(values: tuple[float, ...]) -> str:
    return '[' + ', '.join(f'{value:g}' for value in values) + ']'


def range_of(
    what: str, low: float, high: float, grid: bool = False
) -> Callable[[tuple[float, float]], tuple[float, float]]:
    """Returns the check of a range; with ``grid`` it must contain a multiple of 0.1, the step of the levels."""
    bound = f'{low:g} <= low <= high' + (f' <= {high:g}' if math.isfinite(high) else '')

    def check(values: tuple[float, float]) -> tuple[float, float]:
        if not low <= values[0] <= values[1] <= high:
            swappable = low <= values[1] <= values[0] <= high
            hint = 'swap them' if swappable else 'keep both within these bounds'
            raise ValueError(f'expected two {what} {bound}, got {_show(values)}; {hint}')
        if grid and math.ceil(values[0] * 10 - 1e-9) > math.floor(values[1] * 10 + 1e-9):
            raise ValueError(f'expected a range that contains a multiple of 0.1, got {_show(values)}; widen it')
        return values

    return check


def _odd_sizes(values: tuple[int, ...]) -> tuple[int, ...]:
    if not values or any(value < 3 or value % 2 == 0 for value in values):
        raise ValueError(f'expected odd kernel sizes of 3 or more, got {_show(values)}; such as [7, 9, 11]')
    return values


def _around_one(values: tuple[float, float]) -> tuple[float, float]:
    if not 0 < values[0] <= 1 <= values[1]:
        raise ValueError(f'expected two numbers 0 < low <= 1 <= high, got {_show(values)}; include 1')
    return values


def _weights(values: tuple[float, ...]) -> tuple[float, ...]:
    if min(values, default=-1) < 0 or not sum(values) > 0:
        raise ValueError(f'expected weights of 0 or more, not all 0, got {_show(values)}; such as [0.2, 0.7, 0.1]')
    return values


def _largest_kernel(value: int) -> int:
    if value < 7 or value % 2 == 0:
        raise ValueError(f'expected an odd kernel size of 7 or more, got {value}; take {max(7, value + 1)}')
    return value


def _not_empty(values: tuple[str, ...]) -> tuple[str, ...]:
    if not values:
        raise ValueError('expected one name or more, got none; name some')
    return values


def kernel_reach(sigma: float) -> int:
    """Returns the size of a kernel that reaches three sigma to each side."""
    return 2 * math.ceil(3 * sigma) + 1


Probability = Annotated[float, Field(ge=0, le=1)]
SigmaRange = Annotated[tuple[float, float], AfterValidator(range_of('blur sigmas', 0, math.inf, grid=True))]
RatioRange = Annotated[tuple[float, float], AfterValidator(range_of('ratios of sigmas', 1, math.inf))]
NoiseRange = Annotated[tuple[float, float], AfterValidator(range_of('noise sigmas of 255', 0, 255, grid=True))]
PoissonRange = Annotated[tuple[float, float], AfterValidator(range_of('poisson scales', 0, math.inf, grid=True))]
QualityRange = Annotated[tuple[float, float], AfterValidator(range_of('quality factors', 1, 100, grid=True))]
CutoffRange = Annotated[tuple[float, float], AfterValidator(range_of('cutoffs in units of pi', 0.05, 1))]
OddSizes = Annotated[tuple[int, ...], AfterValidator(_odd_sizes)]
# Real-ESRGAN's ranges are continuous, so no grid
PlainSigmaRange = Annotated[tuple[float, float], AfterValidator(range_of('blur sigmas', 0.01, math.inf))]
PlainNoiseRange = Annotated[tuple[float, float], AfterValidator(range_of('noise sigmas of 255', 0, 255))]
PlainPoissonRange = Annotated[tuple[float, float], AfterValidator(range_of('poisson scales', 0, math.inf))]
PlainQualityRange = Annotated[tuple[float, float], AfterValidator(range_of('quality factors', 1, 100))]
AroundOne = Annotated[tuple[float, float], AfterValidator(_around_one)]
UpDownKeep = Annotated[tuple[float, float, float], AfterValidator(_weights)]
Weights = Annotated[tuple[float, ...], AfterValidator(_weights)]
ResizeMode = Literal['area', 'bilinear', 'bicubic']
ResizeModes = Annotated[tuple[ResizeMode, ...], AfterValidator(_not_empty)]
LargestKernel = Annotated[int, AfterValidator(_largest_kernel)]
KernelName = Literal['iso', 'aniso', 'generalized_iso', 'generalized_aniso', 'plateau_iso', 'plateau_aniso']
_KERNELS: tuple[KernelName, ...] = get_args(KernelName)
_KERNEL_PROB = (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)


@dataclass(frozen=True)
class SemanticRecipe:
    """The Semantic-driven Degradation Pipeline: blur, noise, JPEG, ringing, each with a level that a caption can name.

    Levels are drawn in steps of 0.1, so captions are exact. ``resize: before_noise`` runs blur, shrink, noise, JPEG,
    sinc, so that noise and JPEG levels are those of the LR image which an SR network sees; ``last`` is the published
    order, all at GT size, then shrink. With ``second_order`` the captions name the levels of one pass, and a blur that
    acts on the LR image keeps its sigma in GT pixels; off is what the research code amounts to, whose second pass
    starts again from the clean photo.

    Source: Sci. Rep. 15, 28837 (2025), research settings.

    Attributes:
        type: ``semantic``.
        resize: When the image shrinks: ``before_noise``, after the blur; or ``last``, at the end (published order).
        second_order: Blur and noise a second time before the JPEG, with the same levels and a fresh noise field.
        resize_mode: Interpolation of the shrink, antialiased.
        blur_sigma: Range of sigma, in GT pixels.
        aniso_prob: Share of anisotropic blurs: two sigmas with the named one as geometric mean, at a random angle.
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
        gt_usm: Sharpen GT before it is degraded; the sharpened GT is then the target.
    """

    type: Literal['semantic'] = 'semantic'
    resize: Literal['last', 'before_noise'] = 'before_noise'
    second_order: bool = False
    resize_mode: ResizeMode = 'bicubic'
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
    gt_usm: bool = False

    @property
    def largest_kernel(self) -> int:
        """Taps of the largest kernel that can be drawn."""
        return max(kernel_reach(self.blur_sigma[1] * math.sqrt(self.aniso_ratio[1])), *self.sinc_kernel_size)


@dataclass(frozen=True)
class RealESRGANRecipe:
    """Real-ESRGAN's degradation: blur, resize, noise, JPEG, all twice; a last resize and sinc before or after JPEG.

    The keys are those of a Real-ESRGAN option file, which has them in two places (top level and ``datasets.train``);
    here they are in one block. The defaults are the published values. Keys that end in 2 belong to the second order.

    Source: Real-ESRGAN (ICCVW 2021), sections 3.1 to 3.4, and the option files of its x4plus models.

    Attributes:
        type: ``realesrgan``.
        gt_usm: Sharpen GT before it is degraded; the sharpened GT is then the target.
        blur_kernel_size: Largest kernel; sizes are drawn evenly from the odd numbers from 7 to this.
        kernel_list: Families of blur kernels.
        kernel_prob: Their weights.
        sinc_prob: Share of sinc kernels in place of the blur.
        blur_sigma: Range of sigma in pixels of the image it acts on; for both axes if the kernel is anisotropic.
        betag_range: Range of the generalized Gaussian's beta: half of the draws below 1, half above.
        betap_range: Range of the plateau kernel's beta, drawn in the same way.
        resize_prob: Weights of up, down and keep.
        resize_range: Smallest and largest factor of the resize, relative to the GT size.
        gaussian_noise_prob: Share of Gaussian noise; the others get Poisson noise.
        noise_range: Range of the Gaussian sigma, in grey levels of 255.
        poisson_scale_range: Range of the factor on Poisson noise.
        gray_noise_prob: Share of noise that is equal in all channels.
        jpeg_range: Range of the quality factor.
        second_blur_prob: Share of photos that get the second blur.
        blur_kernel_size2: As blur_kernel_size, in the second order.
        kernel_list2: As kernel_list, in the second order.
        kernel_prob2: As kernel_prob, in the second order.
        sinc_prob2: As sinc_prob, in the second order.
        blur_sigma2: As blur_sigma, in the second order.
        betag_range2: As betag_range, in the second order.
        betap_range2: As betap_range, in the second order.
        resize_prob2: As resize_prob, in the second order.
        resize_range2: Smallest and largest factor of the second resize, relative to the LR size.
        gaussian_noise_prob2: As gaussian_noise_prob, in the second order.
        noise_range2: As noise_range, in the second order.
        poisson_scale_range2: As poisson_scale_range, in the second order.
        gray_noise_prob2: As gray_noise_prob, in the second order.
        jpeg_range2: As jpeg_range, in the second order.
        final_sinc_prob: Share of photos that get the final sinc filter.
    """

    type: Literal['realesrgan'] = 'realesrgan'
    gt_usm: bool = True
    blur_kernel_size: LargestKernel = 21
    kernel_list: tuple[KernelName, ...] = _KERNELS
    kernel_prob: Weights = _KERNEL_PROB
    sinc_prob: Probability = 0.1
    blur_sigma: PlainSigmaRange = (0.2, 3.0)
    betag_range: AroundOne = (0.5, 4.0)
    betap_range: AroundOne = (1.0, 2.0)
    resize_prob: UpDownKeep = (0.2, 0.7, 0.1)
    resize_range: AroundOne = (0.15, 1.5)
    gaussian_noise_prob: Probability = 0.5
    noise_range: PlainNoiseRange = (1.0, 30.0)
    poisson_scale_range: PlainPoissonRange = (0.05, 3.0)
    gray_noise_prob: Probability = 0.4
    jpeg_range: PlainQualityRange = (30.0, 95.0)
    second_blur_prob: Probability = 0.8
    blur_kernel_size2: LargestKernel = 21
    kernel_list2: tuple[KernelName, ...] = _KERNELS
    kernel_prob2: Weights = _KERNEL_PROB
    sinc_prob2: Probability = 0.1
    blur_sigma2: PlainSigmaRange = (0.2, 1.5)
    betag_range2: AroundOne = (0.5, 4.0)
    betap_range2: AroundOne = (1.0, 2.0)
    resize_prob2: UpDownKeep = (0.3, 0.4, 0.3)
    resize_range2: AroundOne = (0.3, 1.2)
    gaussian_noise_prob2: Probability = 0.5
    noise_range2: PlainNoiseRange = (1.0, 25.0)
    poisson_scale_range2: PlainPoissonRange = (0.05, 2.5)
    gray_noise_prob2: Probability = 0.4
    jpeg_range2: PlainQualityRange = (30.0, 95.0)
    final_sinc_prob: Probability = 0.8

    def __post_init__(self) -> None:
        for order in ('', '2'):
            names, weights = getattr(self, f'kernel_list{order}'), getattr(self, f'kernel_prob{order}')
            if len(names) != len(weights):
                raise ValueError(
                    f'expected as many numbers in kernel_prob{order} as names in kernel_list{order}, got '
                    f'{len(weights)} and {len(names)}; add a weight for each kernel'
                )

    @property
    def largest_kernel(self) -> int:
        """Taps of the largest kernel that can be drawn; the final sinc filter has up to 21."""
        return max(self.blur_kernel_size, self.blur_kernel_size2, 21)
