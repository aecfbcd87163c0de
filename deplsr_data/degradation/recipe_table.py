"""The one table of recipes: what a degradation is drawn from, its options and the function that draws.

:func:`register_recipe` adds a row. A recipe is a frozen dataclass that the ``recipe:`` block of a data set is read
into. The built-in rows are added by :mod:`deplsr_data.degradation.recipes`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np

from basicsr_plugin.errors import OptionError
from basicsr_plugin.names import nearest
from basicsr_plugin.options import read_options
from deplsr_data.degradation.packing import ROUNDS
from deplsr_data.degradation.records import Record

__all__ = ['RECIPES', 'Recipe', 'RecipeEntry', 'draw', 'read_recipe', 'register_recipe', 'rounds_of']


class Recipe(Protocol):
    """What every recipe has; it is a dataclass.

    Attributes:
        type: Its name, which ``type:`` of the block selects; a field whose default is the name.
        gt_usm: Sharpen GT before it is degraded (:mod:`deplsr_data.ops.usm`); the sharpened one is then the target.
        largest_kernel: Number of taps of the largest kernel that can be drawn.

    One whose steps do not fit into the usual rounds of a packed record has a class attribute ``rounds`` as well
    (:func:`rounds_of`).
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def type(self) -> str: ...  # noqa: D102

    @property
    def gt_usm(self) -> bool: ...  # noqa: D102

    @property
    def largest_kernel(self) -> int: ...  # noqa: D102


R = TypeVar('R', bound=Recipe)
#: Takes a recipe, the scale, the source of all randomness, and height and width of GT.
DrawFunction = Callable[[R, int, np.random.Generator, tuple[int, int]], Record]
#: Takes the block of an option file and its place; returns the recipe, or raises OptionError.
ReadFunction = Callable[[Mapping[str, Any], str], R]


@dataclass(frozen=True)
class RecipeEntry(Generic[R]):
    """A row of the table.

    Attributes:
        options_class: The recipe's dataclass.
        draw: Draws a record; the arguments are those of :func:`draw`. It draws from the given generator only.
        read: Reads the block of an option file; None if its keys are just the fields of ``options_class``.
    """

    options_class: type[R]
    draw: DrawFunction[R]
    read: ReadFunction[R] | None = None


#: All recipes by name.
RECIPES: dict[str, RecipeEntry[Any]] = {}


def register_recipe(options_class: type[R], draw: DrawFunction[R], read: ReadFunction[R] | None = None) -> None:
    """Adds a recipe to :data:`RECIPES`, by the default of its field ``type``.

    Args:
        options_class: A frozen dataclass with the attributes of :class:`Recipe`; options are checked against it.
        draw: Draws a record; see :class:`RecipeEntry`.
        read: Reads a block of options, if that takes more than checking each field.

    Raises:
        TypeError: The field ``type`` has no name as default.
        ValueError: Another recipe has the same ``type``.
    """
    name = getattr(options_class, 'type', None)
    if not isinstance(name, str):
        raise TypeError(f"{options_class.__name__}: expected a field type: Literal['name'] = 'name', got none; add it")
    if name in RECIPES and RECIPES[name].options_class is not options_class:
        raise ValueError(f"{options_class.__name__}.type: expected a new name, got '{name}', which is taken")
    RECIPES[name] = RecipeEntry(options_class, draw, read)


def rounds_of(recipe: Recipe) -> int:
    """Returns how many rounds of slots the packed records of a recipe need (:mod:`deplsr_data.degradation.packing`)."""
    return int(getattr(recipe, 'rounds', ROUNDS))


def draw(recipe: Recipe, scale: int, rng: np.random.Generator, gt_size: tuple[int, int]) -> Record:
    """Draws the degradation of one photo.

    Args:
        recipe: What to draw from.
        scale: Size of GT over that of LR.
        rng: Source of all randomness.
        gt_size: Height and width of the clean image, multiples of ``scale``.

    Raises:
        ValueError: ``gt_size`` is not a multiple of ``scale``.
    """
    height, width = gt_size
    if height % scale or width % scale:
        raise ValueError(f'expected a gt_size that is a multiple of scale {scale}, got {height} x {width}')
    record: Record = RECIPES[recipe.type].draw(recipe, scale, rng, gt_size)
    return record


_DATA_SET_KEYS = (
    *('name', 'dataroot_gt', 'meta_info', 'io_backend', 'gt_size', 'use_hflip', 'use_rot', 'use_shuffle'),
    *('num_worker_per_gpu', 'batch_size_per_gpu', 'dataset_enlarge_ratio', 'prefetch_mode', 'pin_memory'),
)
_TOP_LEVEL_KEYS = ('scale', 'queue_size', 'manual_seed', 'num_gpu', 'model_type', 'high_order_degradation')
_TARGET_KEYS = ('l1_gt_usm', 'percep_gt_usm', 'gan_gt_usm')


def read_recipe(opt: Mapping[str, Any] | None, where: str) -> Recipe:
    """Reads the ``recipe:`` block of a data set; without one, the semantic recipe with its defaults.

    Raises:
        OptionError: Unknown ``type``, unknown key, a key of an option file that belongs elsewhere, wrong type or range;
            one line that begins with ``where``.
    """
    if opt is None:
        opt = {}
    if not isinstance(opt, Mapping):
        raise OptionError(f'{where}: expected a mapping such as {{type: semantic}}, got {opt!r}')
    name = opt.get('type', 'semantic')
    if 'type' not in opt and (misspelt := [key for key in opt if "'type'" in nearest(str(key), ['type'])]):
        raise OptionError(f"{where}: unknown key '{misspelt[0]}'; did you mean 'type'?")
    if not isinstance(name, str) or name not in RECIPES:
        raise OptionError(f'{where}.type: expected one of {sorted(RECIPES)}, got {name!r}{nearest(str(name), RECIPES)}')
    _refuse_foreign_keys(opt, where)
    entry = RECIPES[name]
    recipe: Recipe = entry.read(opt, where) if entry.read else read_options(entry.options_class, opt, where)
    return recipe


def _refuse_foreign_keys(opt: Mapping[str, Any], where: str) -> None:
    """Refuses keys that come along when a complete option file is pasted, and names their place."""
    data_set = where.partition('.recipes[')[0].rpartition('.')[0]  # also of a part of a mixture
    for key in opt:
        hint = ''
        if key in _DATA_SET_KEYS:
            hint = f"move it one level up, to '{data_set}'" if '.recipes[' not in where else f"move it to '{data_set}'"
        elif key in _TOP_LEVEL_KEYS:
            hint = 'move it to the top level of the option file'
        elif key in _TARGET_KEYS:
            hint = 'DePLSRGANModel has it at the top level; with another model remove it, all losses share one target'
        if hint:
            raise OptionError(f"{where}: expected keys of a degradation, got '{key}'; {hint}")
