"""A mixture of recipes: each record is drawn from one of them, chosen by weight."""

from __future__ import annotations

import dataclasses
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from basicsr_plugin.errors import OptionError
from basicsr_plugin.options import TypedBlock, read_options
from deplsr_data.degradation.recipe_table import RECIPES, Recipe, draw, read_recipe, rounds_of
from deplsr_data.degradation.records import Record

__all__ = ['MixturePart', 'MixtureRecipe', 'draw_mixture', 'read_mixture']

Weight = Annotated[float, Field(gt=0)]


@dataclass(frozen=True)
class MixturePart:
    """A recipe of a mixture.

    Attributes:
        weight: How often it is chosen, compared with the other weights; above 0.
        recipe: What is then drawn from.
    """

    weight: float
    recipe: Recipe


class _WeightedBlocks(Mapping[str, Any]):
    """Describes the parts of a mixture in the schema: the options of every other recipe, and a weight."""

    def __getitem__(self, name: str) -> Any:
        if name == MixtureRecipe.type:
            raise KeyError(name)
        options_class: Any = RECIPES[name].options_class
        return _weighted(options_class)

    def __iter__(self) -> Iterator[str]:
        return (name for name in RECIPES if name != MixtureRecipe.type)

    def __len__(self) -> int:
        return len(list(iter(self)))


@cache
def _weighted(options_class: Any) -> Any:
    made = dataclasses.make_dataclass(
        f'Weighted{options_class.__name__}', [('weight', Weight)], bases=(options_class,), frozen=True, kw_only=True
    )
    made.__doc__ = f'{options_class.__doc__}    weight: How often it is chosen, compared with the other weights.\n'
    return made


@dataclass(frozen=True)
class MixtureRecipe:
    """A mixture: each photo gets a degradation of one recipe, chosen by weight.

    Attributes:
        type: ``mixture``.
        recipes: One block for each recipe: its ``type`` and its keys, and ``weight``, a number above 0.
        gt_usm: Sharpen GT before it is degraded; needed where the recipes differ in it, and replaces what they have.
    """

    recipes: Annotated[tuple[Any, ...], TypedBlock(_WeightedBlocks(), default='semantic', listed=True)]
    type: Literal['mixture'] = 'mixture'
    gt_usm: bool = False

    @property
    def largest_kernel(self) -> int:
        """Taps of the largest kernel that can be drawn."""
        return max(part.recipe.largest_kernel for part in self.recipes)

    @property
    def rounds(self) -> int:
        """Rounds that the packed records need."""
        return max(rounds_of(part.recipe) for part in self.recipes)


def draw_mixture(recipe: MixtureRecipe, scale: int, rng: np.random.Generator, gt_size: tuple[int, int]) -> Record:
    """Chooses a recipe by weight and draws from it, both with ``rng``.

    The arguments are those of :func:`deplsr_data.degradation.recipe_table.draw`.
    """
    ends = list(accumulate(part.weight for part in recipe.recipes))
    place = bisect_right(ends, rng.random() * ends[-1])
    return draw(recipe.recipes[min(place, len(ends) - 1)].recipe, scale, rng, gt_size)


def read_mixture(opt: Mapping[str, Any], where: str) -> MixtureRecipe:
    """Reads the block of a mixture; each part is checked as the recipe that it is.

    Raises:
        OptionError: A wrong key or value, no part, a part without a weight, a mixture in a mixture, or recipes that
            differ in ``gt_usm`` without one of the mixture; one line.
    """
    if 'recipes' not in opt:
        raise OptionError(f"{where}: missing key 'recipes'; expected a list of recipes, each with a weight")
    read = read_options(MixtureRecipe, opt, where)
    if not read.recipes:
        raise OptionError(f'{where}.recipes: expected recipes, got an empty list; add {{weight: 1, type: semantic}}')
    parts = tuple(_read_part(part, f'{where}.recipes[{place}]') for place, part in enumerate(read.recipes))
    if opt.get('gt_usm') is None:
        return MixtureRecipe(parts, gt_usm=_common_gt_usm(parts, where))
    for place, part in enumerate(read.recipes):
        if part.get('gt_usm', read.gt_usm) != read.gt_usm:
            raise OptionError(
                f'{where}.recipes[{place}].gt_usm: expected {_yaml(read.gt_usm)} as in the mixture, got '
                f"{_yaml(part['gt_usm'])}; remove it here, the mixture's is used for all"
            )
    return MixtureRecipe(parts, gt_usm=read.gt_usm)


@dataclass(frozen=True)
class _Weight:
    weight: Weight


def _read_part(opt: Any, where: str) -> MixturePart:
    if not isinstance(opt, Mapping):
        raise OptionError(f'{where}: expected a mapping such as {{weight: 1, type: semantic}}, got {opt!r}')
    if opt.get('type') == MixtureRecipe.type:
        raise OptionError(f'{where}.type: expected a recipe that is no mixture, got one; list its recipes here instead')
    weight = read_options(_Weight, {key: opt[key] for key in opt if key == 'weight'}, where).weight
    return MixturePart(weight, read_recipe({key: value for key, value in opt.items() if key != 'weight'}, where))


def _common_gt_usm(parts: tuple[MixturePart, ...], where: str) -> bool:
    first = parts[0].recipe.gt_usm
    for place, part in enumerate(parts):
        if part.recipe.gt_usm != first:
            raise OptionError(
                f'{where}: expected gt_usm, since recipes[0] ({parts[0].recipe.type}) has {_yaml(first)} and '
                f'recipes[{place}] ({part.recipe.type}) has {_yaml(not first)}, got none; set it next to recipes'
            )
    return first


def _yaml(value: object) -> str:
    return str(value).lower()
