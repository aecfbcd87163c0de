"""The steps of a record: what one operator does to an image, with all of its parameters.

A step class is a frozen dataclass with a field ``op``, its name in JSON. The operator that carries it out is in
:mod:`deplsr_data.degradation.operators`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import AliasChoices, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from deplsr_data.ops.codecs import jpeg_quality_of

__all__ = ['Blur', 'ChromaNoise', 'Codec', 'Jpeg', 'Noise', 'Resize', 'Sharpen', 'Sinc', 'Step']


class Step:
    """Base class of all steps.

    A subclass is a frozen dataclass. It has a field ``op`` whose type is a ``Literal`` of one name and whose default is
    that name, for example ``op: Literal['blur'] = 'blur'``.
    """

    op: str
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra='forbid', strict=True, allow_inf_nan=False)


def _expect(holds: bool, what: str, got: object) -> None:
    if not holds:
        raise ValueError(f'expected {what}, got {got!r}')


@dataclass(frozen=True)
class Blur(Step):
    """A bell-shaped blur; lengths in pixels of the image it acts on.

    Attributes:
        kernel_size: Odd width of the kernel.
        sigma_x: Standard deviation along the first axis of the ellipse; 0 (for both) is the identity.
        sigma_y: The same along the second axis.
        angle: Radians from the image's x axis to the first axis of the ellipse.
        family: ``gaussian``; ``generalized`` (exponent to the power ``beta``); ``plateau`` (flat, 1 / (1 + q^beta)).
        beta: Shape of the latter two; a generalized Gaussian of beta 1 is a Gaussian.
        op: Name of the operator.
    """

    kernel_size: int
    sigma_x: float
    sigma_y: float
    angle: float = 0.0
    family: Literal['gaussian', 'generalized', 'plateau'] = 'gaussian'
    beta: float = 1.0
    op: Literal['blur'] = 'blur'

    def __post_init__(self) -> None:
        _expect(self.kernel_size > 0 and self.kernel_size % 2 == 1, 'an odd kernel_size', self.kernel_size)
        sigmas = (self.sigma_x, self.sigma_y)
        _expect(sigmas == (0, 0) or min(sigmas) > 0, 'two sigmas above 0, or 0 for both', sigmas)
        _expect(self.beta > 0, 'beta above 0', self.beta)

    @property
    def sigma(self) -> float:
        """The sigma that the captions name: the geometric mean of both."""
        return math.sqrt(self.sigma_x * self.sigma_y)


@dataclass(frozen=True)
class Resize(Step):
    """A change of size to ``height`` x ``width`` pixels.

    Attributes:
        height: Output rows.
        width: Output columns.
        mode: Interpolation.
        antialias: Widen the bilinear or bicubic kernel when the image shrinks; ``area`` always averages.
        op: Name of the operator.
    """

    height: int
    width: int
    mode: Literal['area', 'bilinear', 'bicubic'] = 'bicubic'
    antialias: bool = True
    op: Literal['resize'] = 'resize'

    def __post_init__(self) -> None:
        _expect(min(self.height, self.width) > 0, 'height and width above 0', (self.height, self.width))


@dataclass(frozen=True)
class Noise(Step):
    """Noise added to the image, which is then clipped to 0..1.

    Attributes:
        distribution: ``gaussian`` or ``poisson`` (shot noise). Records of version 0.1 call this field ``kind``.
        level: Gaussian: sigma in grey levels of 255. Poisson: factor on the shot noise (:mod:`deplsr_data.ops.noise`).
        gray: The same noise in all three channels.
        seed: Seed of the noise field: equal seeds, equal fields.
        op: Name of the operator.
    """

    distribution: Annotated[
        Literal['gaussian', 'poisson'], Field(validation_alias=AliasChoices('distribution', 'kind'))
    ]
    level: float
    gray: bool
    seed: int
    op: Literal['noise'] = 'noise'

    def __post_init__(self) -> None:
        _expect(self.level >= 0, 'level of 0 or more', self.level)
        _expect(self.seed >= 0, 'seed of 0 or more', self.seed)


@dataclass(frozen=True)
class Jpeg(Step):
    """Compression by a baseline JPEG codec.

    Attributes:
        quality: Quality factor, 1 to 100, not necessarily an integer.
        subsampling: ``4:2:0`` halves the colour, ``4:4:4`` does not.
        grid_offset: Rows and columns, 0 to 15, by which the grid of blocks begins above and to the left of the image,
            as it does after a crop; 16 is a complete unit of blocks in 4:2:0.
        op: Name of the operator.
    """

    quality: float
    subsampling: Literal['4:2:0', '4:4:4'] = '4:2:0'
    grid_offset: tuple[int, int] = (0, 0)
    op: Literal['jpeg'] = 'jpeg'

    def __post_init__(self) -> None:
        _expect(1 <= self.quality <= 100, 'a quality of 1 to 100', self.quality)
        _expect(all(0 <= offset <= 15 for offset in self.grid_offset), 'offsets of 0 to 15', self.grid_offset)

    @model_serializer(mode='wrap')
    def _short(self, handler: SerializerFunctionWrapHandler) -> dict[str, object]:
        """Leaves out what is as in version 0.1, so that records of the same draws stay the same text."""
        values: dict[str, object] = handler(self)
        for name, usual in (('subsampling', '4:2:0'), ('grid_offset', (0, 0))):
            if getattr(self, name) == usual:
                del values[name]
        return values

    @property
    def jpeg_quality(self) -> float:
        """The quality factor that the captions name."""
        return self.quality


@dataclass(frozen=True)
class Sinc(Step):
    """A circular low-pass filter, which rings at edges.

    Attributes:
        kernel_size: Odd width of the kernel.
        omega_c: Cutoff in radians per pixel, above 0 and up to pi.
        op: Name of the operator.
    """

    kernel_size: int
    omega_c: float
    op: Literal['sinc'] = 'sinc'

    def __post_init__(self) -> None:
        _expect(self.kernel_size > 0 and self.kernel_size % 2 == 1, 'an odd kernel_size', self.kernel_size)
        _expect(0 < self.omega_c <= math.pi, 'omega_c in (0, pi]', self.omega_c)


@dataclass(frozen=True)
class Sharpen(Step):
    """An unsharp mask, which adds a part of what a Gaussian blur removes; the result is not clipped.

    Attributes:
        kernel_size: Odd width of the kernel.
        sigma: Standard deviation of the Gaussian, in pixels.
        amount: How much is added: image + amount * (image - blurred image).
        op: Name of the operator.
    """

    kernel_size: int
    sigma: float
    amount: float
    op: Literal['sharpen'] = 'sharpen'

    def __post_init__(self) -> None:
        _expect(self.kernel_size > 0 and self.kernel_size % 2 == 1, 'an odd kernel_size', self.kernel_size)
        _expect(self.sigma > 0, 'sigma above 0', self.sigma)
        _expect(self.amount >= 0, 'amount of 0 or more', self.amount)


@dataclass(frozen=True)
class ChromaNoise(Step):
    """Smooth noise in the chroma of the image, which is then clipped to 0..1 (:mod:`deplsr_data.ops.chroma_noise`).

    Attributes:
        level: Sigma in grey levels of 255, root mean square over R, G, B; the luma stays as it is.
        size: Width of its spots in pixels: standard deviation of the Gaussian that white noise is smoothed with.
        seed: Seed of the noise: equal seeds, equal noise.
        op: Name of the operator.
    """

    level: float
    size: float
    seed: int
    op: Literal['chroma_noise'] = 'chroma_noise'

    def __post_init__(self) -> None:
        _expect(self.level >= 0, 'level of 0 or more', self.level)
        _expect(self.size >= 1, 'size of 1 or more', self.size)
        _expect(self.seed >= 0, 'seed of 0 or more', self.seed)


@dataclass(frozen=True)
class Codec(Step):
    """Compression by another codec than JPEG, 4:2:0.

    Attributes:
        codec: ``webp`` or ``avif``; both as Pillow has them, AVIF from version 11.3 on.
        quality: 0 to 100, as the codec defines it.
        op: Name of the operator.
    """

    codec: Literal['webp', 'avif']
    quality: int
    op: Literal['codec'] = 'codec'

    def __post_init__(self) -> None:
        _expect(0 <= self.quality <= 100, 'a quality of 0 to 100', self.quality)

    @property
    def jpeg_quality(self) -> float:
        """The quality factor that the captions name: that of the JPEG that changes photos as much."""
        return jpeg_quality_of(self.codec, self.quality)
