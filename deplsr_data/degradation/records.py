"""What was done to a photo, as data: typed, frozen, and exact as text.

A record is drawn once (:mod:`deplsr_data.degradation.sampling`); the image and its captions are both made from it, so they cannot
disagree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

__all__ = ['Blur', 'Jpeg', 'Noise', 'Record', 'Resize', 'Sinc', 'Step', 'from_json', 'to_json']

_STRICT = ConfigDict(extra='forbid', strict=True, allow_inf_nan=False)


def _expect(holds: bool, what: str, got: object) -> None:
    if not holds:
        raise ValueError(f'expected {what}, got {got!r}')


@dataclass(frozen=True)
class Blur:
    """A bell-shaped blur; lengths in pixels of the image it acts on.

    Attributes:
        kernel_size: Odd width of the kernel.
        sigma_x: Standard deviation along the first axis of the ellipse; 0 (for both) is the identity.
        sigma_y: The same along the second axis.
        angle: Radians from the image's x axis to the first axis of the ellipse.
        family: ``gaussian``; ``generalized`` (exponent to the power ``beta``); ``plateau`` (flat, 1 / (1 + q^beta)).
        beta: Shape of the latter two; a generalized Gaussian of beta 1 is a Gaussian.
    """

    kernel_size: int
    sigma_x: float
    sigma_y: float
    angle: float = 0.0
    family: Literal['gaussian', 'generalized', 'plateau'] = 'gaussian'
    beta: float = 1.0
    op: Literal['blur'] = 'blur'
    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    def __post_init__(self) -> None:
        _expect(self.kernel_size > 0 and self.kernel_size % 2 == 1, 'an odd kernel_size', self.kernel_size)
        sigmas = (self.sigma_x, self.sigma_y)
        _expect(sigmas == (0, 0) or min(sigmas) > 0, 'two sigmas above 0, or 0 for both', sigmas)
        _expect(self.beta > 0, 'beta above 0', self.beta)

    @property
    def sigma(self) -> float:
        """The sigma that names this blur: the geometric mean of both."""
        return math.sqrt(self.sigma_x * self.sigma_y)


@dataclass(frozen=True)
class Resize:
    """A change of size to ``height`` x ``width`` pixels.

    Attributes:
        height: Rows that come out.
        width: Columns that come out.
        mode: Interpolation.
        antialias: Widen the bilinear or bicubic kernel when the image shrinks; ``area`` always averages.
    """

    height: int
    width: int
    mode: Literal['area', 'bilinear', 'bicubic'] = 'bicubic'
    antialias: bool = True
    op: Literal['resize'] = 'resize'
    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    def __post_init__(self) -> None:
        _expect(min(self.height, self.width) > 0, 'height and width above 0', (self.height, self.width))


@dataclass(frozen=True)
class Noise:
    """Noise added to the image, which is then clipped to 0..1.

    Attributes:
        distribution: ``gaussian`` or ``poisson`` (shot noise).
        level: Gaussian: sigma in grey levels of 255. Poisson: factor on the shot noise (:mod:`deplsr_data.ops.noise`).
        gray: The same noise in all three channels.
        seed: Gives the noise field: equal seeds, equal fields.
    """

    distribution: Literal['gaussian', 'poisson']
    level: float
    gray: bool
    seed: int
    op: Literal['noise'] = 'noise'
    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    def __post_init__(self) -> None:
        _expect(self.level >= 0, 'level of 0 or more', self.level)
        _expect(self.seed >= 0, 'seed of 0 or more', self.seed)


@dataclass(frozen=True)
class Jpeg:
    """A trip through a baseline JPEG codec, 4:2:0, at a quality factor of 1 to 100 that need not be whole."""

    quality: float
    op: Literal['jpeg'] = 'jpeg'
    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    def __post_init__(self) -> None:
        _expect(1 <= self.quality <= 100, 'a quality of 1 to 100', self.quality)


@dataclass(frozen=True)
class Sinc:
    """A circular low-pass filter, which rings at edges; cutoff ``omega_c`` in radians per pixel, up to pi."""

    kernel_size: int
    omega_c: float
    op: Literal['sinc'] = 'sinc'
    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    def __post_init__(self) -> None:
        _expect(self.kernel_size > 0 and self.kernel_size % 2 == 1, 'an odd kernel_size', self.kernel_size)
        _expect(0 < self.omega_c <= math.pi, 'omega_c in (0, pi]', self.omega_c)


Step = Annotated[Blur | Resize | Noise | Jpeg | Sinc, Field(discriminator='op')]


@dataclass(frozen=True)
class Record:
    """All that happens between the clean photo and the LR image, in order.

    Attributes:
        scale: Size of the clean photo over that of the LR image.
        steps: The operators with their parameters, first to last.
        named: What the level of blur stands for (:func:`deplsr_data.degradation.captions.levels`): the ``first`` blur, or all blurs
            in ``total``.
    """

    scale: int
    steps: tuple[Step, ...]
    named: Literal['first', 'total'] = 'first'
    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    def __post_init__(self) -> None:
        _expect(self.scale > 0, 'scale above 0', self.scale)


_RECORDS = TypeAdapter(Record)


def to_json(record: Record) -> str:
    """Writes a record as one line of JSON; :func:`from_json` gives back an equal one."""
    return _RECORDS.dump_json(record).decode()


def from_json(text: str) -> Record:
    """Reads what :func:`to_json` wrote.

    Raises:
        ValueError: Not JSON, or not a record: an unknown operator or key, a wrong type, a value out of its range.
    """
    try:
        return _RECORDS.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = '.'.join(str(part) for part in first['loc']) or 'text'
        raise ValueError(f'record.{where}: {first["msg"]}') from None
