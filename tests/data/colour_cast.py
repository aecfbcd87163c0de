"""A degradation type from outside, as CONTRIBUTING describes it: a colour cast, which brightens the red channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from deplsr_data.degradation.operators import SameSize, register_operator
from deplsr_data.degradation.recipes import register_recipe
from deplsr_data.degradation.records import Jpeg, Record, Resize, Step
from deplsr_data.degradation.types import DegradationType, register_degradation_type


@dataclass(frozen=True)
class ColourCast(Step):
    red: float  # grey levels of 255
    op: Literal['colour_cast'] = 'colour_cast'


def apply_to_image(step, image):
    return image + np.array([step.red / 255, 0, 0], np.float32)


def apply_to_batch(x, parameters, size):
    x = x.clone()
    x[:, :, 0] += parameters['red'][:, None, None] / 255
    return x


@dataclass(frozen=True)
class ColourCastRecipe:
    type: Literal['colour_cast'] = 'colour_cast'
    red_range: tuple[float, float] = (0.0, 40.0)
    gt_usm: bool = False
    largest_kernel: ClassVar[int] = 7


def draw(recipe, scale, rng, gt_size):
    cast = ColourCast(round(rng.uniform(*recipe.red_range), 1))
    return Record(scale, (Resize(gt_size[0] // scale, gt_size[1] // scale), cast, Jpeg(80.0)))


def level_of(record):
    return sum(step.red for step in record.steps if isinstance(step, ColourCast))


def register():
    batch = SameSize((apply_to_batch,), empty={'red': np.float32(0)}, pack=lambda step: {'red': step.red})
    register_operator(ColourCast, apply_to_image, batch)
    register_recipe(ColourCastRecipe, draw)
    register_degradation_type(
        DegradationType(
            name='cast',
            prompt='colour cast of red',
            zero_level=0.0,
            evaluation_levels=(0.0, 20.0, 40.0),
            training_levels=(0.0, 10.0, 20.0, 30.0, 40.0),
            tolerance=10.0,
            level_of=level_of,
        )
    )
