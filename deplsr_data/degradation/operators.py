"""The one table of operators: how each step of a record is applied to an image, packed, and applied to a batch.

Records (JSON), :mod:`~deplsr_data.degradation.apply`, :mod:`~deplsr_data.degradation.packing` and
:mod:`~deplsr_data.degradation.apply_batch` follow from :data:`OPERATORS`. :func:`register_operator` adds a row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Generic, TypeVar

import numpy as np
from torch import Tensor

from deplsr_data.degradation.steps import Blur, ChromaNoise, Codec, Jpeg, Noise, Resize, Sharpen, Sinc, Step
from deplsr_data.ops.chroma_noise import add_chroma_noise, batched_chroma_noise
from deplsr_data.ops.codecs import CODECS, batched_recode, recode
from deplsr_data.ops.filter_resize_batch import separable_terms
from deplsr_data.ops.jpeg import compress, compress_each
from deplsr_data.ops.jpeg_batch import batched_jpeg, tables_of
from deplsr_data.ops.kernels import blur_kernel, convolve, sharpening_kernel, sinc_kernel
from deplsr_data.ops.noise import (
    add_gaussian_noise,
    add_poisson_noise,
    batched_gaussian_noise,
    batched_poisson_noise,
)
from deplsr_data.ops.resize import resize
from deplsr_data.ops.resize_batch import mode_of

__all__ = [
    'OPERATORS',
    'BatchFunction',
    'Filter',
    'Operator',
    'Resizing',
    'SameSize',
    'kernel_of',
    'operator_of',
    'register_operator',
]

S = TypeVar('S', bound=Step)
#: Takes images (B, H, 3, W) float32, the parameters (B, ...) by name and the sizes (B, 2) of the images, which lie in
#: the upper left corner of H x W; returns the new images in the same shape.
BatchFunction = Callable[[Tensor, Mapping[str, Tensor], Tensor], Tensor]


@dataclass(frozen=True)
class Filter(Generic[S]):
    """Batch form of a convolution; it is carried out together with the resize before or after it.

    Attributes:
        terms: Takes the step, the mode of the resize that follows (an index into
            :data:`deplsr_data.ops.resize_batch.MODES`) and the integer factor by which it shrinks; returns separable
            kernels (T, 2, k), none for the identity.
    """

    terms: Callable[[S, int, int], np.ndarray]


@dataclass(frozen=True)
class Resizing(Generic[S]):
    """Batch form of a change of size.

    Attributes:
        target: Returns height, width and mode, an index into :data:`deplsr_data.ops.resize_batch.MODES`.
    """

    target: Callable[[S], tuple[int, int, int]]


@dataclass(frozen=True)
class SameSize(Generic[S]):
    """Batch form of an operator that keeps the size of the image, such as noise or JPEG.

    Attributes:
        functions: What is applied to the samples of a batch; most operators have one function.
        empty: Parameters of a sample without this step, by name: they fix type and shape.
        pack: Returns the parameters of a step, by the same names.
        choose: Returns which of ``functions`` a step needs.
    """

    functions: tuple[BatchFunction, ...]
    empty: Mapping[str, np.generic | np.ndarray]
    pack: Callable[[S], Mapping[str, float | np.ndarray]]
    choose: Callable[[S], int] = lambda step: 0


@dataclass(frozen=True)
class Operator(Generic[S]):
    """A row of the table.

    Attributes:
        step: The step class; its ``op`` is the name of the operator.
        apply: Applies a step to one image, (h, w, 3) float32 RGB, on the CPU.
        batch: The same for a batch; None if there is no such form, so that ``degrade_on: device`` is refused.
    """

    step: type[S]
    apply: Callable[[S, np.ndarray], np.ndarray]
    batch: Filter[S] | Resizing[S] | SameSize[S] | None = None


#: All operators by name.
OPERATORS: dict[str, Operator[Any]] = {}


def register_operator(
    step: type[S],
    apply: Callable[[S, np.ndarray], np.ndarray],
    batch: Filter[S] | Resizing[S] | SameSize[S] | None = None,
) -> None:
    """Adds an operator to :data:`OPERATORS`; see :class:`Operator` for the arguments.

    Raises:
        TypeError: ``step`` has no field ``op`` with a name as default.
        ValueError: Another step class has the same ``op``.
    """
    name = next((field.default for field in fields(step) if field.name == 'op'), None)  # type: ignore[arg-type]
    if not isinstance(name, str):
        raise TypeError(f"{step.__name__}: expected a field op: Literal['name'] = 'name', got {name!r}; add it")
    if name in OPERATORS and OPERATORS[name].step is not step:
        raise ValueError(f"{step.__name__}.op: expected a new name, got '{name}', which is taken; choose another")
    OPERATORS[name] = Operator(step, apply, batch)


def operator_of(step: Step) -> Operator[Any]:
    """Returns the operator that carries out a step.

    Raises:
        TypeError: Its class is not registered.
    """
    operator = OPERATORS.get(getattr(step, 'op', ''))
    if operator is None or not isinstance(step, operator.step):
        raise TypeError(f'expected a step of a registered class, got {step!r}; call register_operator')
    return operator


def kernel_of(step: Blur) -> np.ndarray:
    """Returns the kernel of a blur, (k, k) float32."""
    return blur_kernel(step.kernel_size, step.sigma_x, step.sigma_y, step.angle, step.family, step.beta)


def _blur_terms(step: Blur, mode: int, shrink: int) -> np.ndarray:
    if step.sigma_x == 0 or step.kernel_size == 1:
        return np.zeros((0, 2, 1))
    if step.family == 'gaussian' and step.sigma_x == step.sigma_y:
        place = np.arange(step.kernel_size) - step.kernel_size // 2
        bell = np.exp(-0.5 * (place / step.sigma_x) ** 2)
        return np.tile(bell / bell.sum(), (1, 2, 1))
    return separable_terms(kernel_of(step), mode, shrink)


def _sharpening_terms(step: Sharpen, mode: int, shrink: int) -> np.ndarray:
    """The image itself, and the Gaussian that is subtracted from it."""
    place = np.arange(step.kernel_size) - step.kernel_size // 2
    bell = np.exp(-0.5 * (place / step.sigma) ** 2)
    bell /= bell.sum()
    middle = (place == 0).astype(float)
    return np.array([[(1 + step.amount) * middle, middle], [-step.amount * bell, bell]])


register_operator(Blur, lambda step, image: convolve(image, kernel_of(step)), Filter(_blur_terms))
register_operator(
    Sinc,
    lambda step, image: convolve(image, sinc_kernel(step.kernel_size, step.omega_c)),
    Filter(lambda step, mode, shrink: separable_terms(sinc_kernel(step.kernel_size, step.omega_c), mode, shrink)),
)
register_operator(
    Sharpen,
    lambda step, image: convolve(image, sharpening_kernel(step.kernel_size, step.sigma, step.amount)),
    Filter(_sharpening_terms),
)
register_operator(
    Resize,
    lambda step, image: resize(image, step.height, step.width, step.mode, step.antialias),
    Resizing(lambda step: (step.height, step.width, mode_of(step.mode, step.antialias))),
)

_NOISES = {'gaussian': add_gaussian_noise, 'poisson': add_poisson_noise}
register_operator(
    Noise,
    lambda step, image: _NOISES[step.distribution](image, step.level, step.gray, step.seed),
    SameSize(
        functions=(
            lambda x, p, size: batched_gaussian_noise(x, p['level'], p['gray'], p['seed']),
            lambda x, p, size: batched_poisson_noise(x, p['level'], p['gray'], p['seed']),
        ),
        empty={'level': np.float32(0), 'gray': np.bool_(False), 'seed': np.int64(0)},
        pack=lambda step: {'level': step.level, 'gray': step.gray, 'seed': step.seed & 0xFFFFFFFF},
        choose=lambda step: list(_NOISES).index(step.distribution),
    ),
)
register_operator(
    ChromaNoise,
    lambda step, image: add_chroma_noise(image, step.level, step.size, step.seed),
    SameSize(
        functions=(lambda x, p, size: batched_chroma_noise(x, p['level'], p['size'], p['seed']),),
        empty={'level': np.float32(0), 'size': np.float32(1), 'seed': np.int64(0)},
        pack=lambda step: {'level': step.level, 'size': step.size, 'seed': step.seed & 0xFFFFFFFF},
    ),
)


def _jpeg_choice(step: Jpeg) -> int:
    return 2 * (step.subsampling == '4:4:4') + (step.grid_offset != (0, 0))


def _jpeg_function(halve: bool, off_grid: bool) -> BatchFunction:
    def function(x: Tensor, p: Mapping[str, Tensor], size: Tensor) -> Tensor:
        if x.device.type == 'cpu' and not (len(x) >= 8 and x.shape[1] * x.shape[3] <= 80**2):  # measured, same result
            return compress_each(x, p['tables'], size, halve, p['offset'] if off_grid else None)
        return batched_jpeg(x, p['tables'], size[:, 0], size[:, 1], halve, p['offset'] if off_grid else None)

    return function


register_operator(
    Jpeg,
    lambda step, image: compress(image, step.quality, step.subsampling, step.grid_offset),
    SameSize(
        functions=tuple(_jpeg_function(halve, off_grid) for halve in (True, False) for off_grid in (False, True)),
        empty={'tables': np.ones((2, 64), np.float32), 'offset': np.zeros(2, np.int64)},
        pack=lambda step: {'tables': tables_of(step.quality), 'offset': np.array(step.grid_offset)},
        choose=_jpeg_choice,
    ),
)
register_operator(
    Codec,
    lambda step, image: recode(image, step.codec, step.quality),
    SameSize(
        functions=(lambda x, p, size: batched_recode(x, p['codec'], p['quality'], size),),
        empty={'codec': np.int64(0), 'quality': np.int64(0)},
        pack=lambda step: {'codec': CODECS.index(step.codec), 'quality': step.quality},
    ),
)
