"""Where the published method and what measures best differ: one key of an option file, ``recipe``, chooses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from basicsr_plugin.errors import OptionError
from basicsr_plugin.options import nearest

__all__ = ['RECIPES', 'RecipeName', 'apply_recipe']

RecipeName = Literal['measured', 'paper']

#: What each recipe sets (measured: docs/prior.md); the fusion that measures best is the networks' own default.
RECIPES: dict[str, dict[str, Any]] = {
    'measured': {
        'prior_form': 'words',
        'network_da': {'view': 'native', 'stem': 'conv', 'logit_init': 'clip'},
        'train': {'contrastive_opt': {'type': 'DegradationOrdinalLoss'}},
    },
    'paper': {
        'prior_form': 'embedding',
        'network_g': {'fusion': 'paper'},
        'network_da': {'view': 'resize', 'stem': 'patch', 'logit_init': 'siglip'},
        'train': {'contrastive_opt': {'type': 'DegradationSigmoidLoss'}},
    },
}


def apply_recipe(opt: dict[str, Any], known: tuple[str, ...]) -> None:
    """Sets what the option file leaves open as its ``recipe`` has it.

    ``measured``, the default, gives way to every key of the file. ``paper`` is the published form and nothing else.

    Args:
        opt: Options as read from the file; changed in place.
        known: Top-level keys that this degradation type of run has.

    Raises:
        OptionError: The recipe is unknown, or the file contradicts ``paper`` by a key of its own.
    """
    name = opt.get('recipe') or 'measured'
    if name not in RECIPES:
        hint = nearest(str(name), RECIPES)
        raise OptionError(f'recipe: expected one of {", ".join(RECIPES)}, got {name!r}{hint}')
    for key, value in RECIPES[name].items():
        if key not in known:
            continue
        if not isinstance(value, Mapping):
            _set(opt, {key: value}, '', name)
        elif key == 'train' and isinstance(opt.get(key), dict):
            loss = opt[key].get('contrastive_opt')
            if loss is None or name == 'paper':
                opt[key]['contrastive_opt'] = loss = loss or {}
                _set(loss, value['contrastive_opt'], 'train.contrastive_opt.', name)
        elif isinstance(opt.get(key), dict) and opt[key].get('type') != 'LevelRegressor':
            _set(opt[key], value, f'{key}.', name)


def _set(section: dict[str, Any], values: Mapping[str, Any], where: str, name: str) -> None:
    for key, value in values.items():
        if section.setdefault(key, value) != value and name == 'paper':
            raise OptionError(
                f'{where}{key}: expected {value!r} with recipe: paper, got {section[key]!r}; remove one of the two'
            )
