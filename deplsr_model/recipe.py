"""`recipe: paper` of an option file: the published form of both stages by one key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from basicsr_plugin.errors import OptionError

__all__ = ['PAPER', 'apply_recipe']

#: What the published method has where our defaults differ; only sections that an option file has are set.
PAPER: dict[str, Any] = {
    'prior_form': 'embedding',
    'network_g': {'fusion': 'paper'},
    'network_da': {'view': 'resize', 'stem': 'patch', 'logit_init': 'siglip'},
    'train': {'contrastive_opt': {'type': 'DegradationSigmoidLoss', 'weights': [0.2, 0.3, 0.5]}},
}


def apply_recipe(opt: dict[str, Any], known: tuple[str, ...]) -> None:
    """Sets the published form in the options of a run that says ``recipe: paper``; others are left as they are.

    Args:
        opt: Options as read from the file; changed in place.
        known: Top-level keys of PAPER that this kind of run has.

    Raises:
        OptionError: The recipe is unknown, or the file asks for something else by a key of its own.
    """
    recipe = opt.get('recipe')
    if recipe not in (None, 'paper'):
        raise OptionError(f"recipe: expected 'paper' or none, got {recipe!r}; leave it out for the measured defaults")
    if recipe == 'paper':
        _set(opt, {key: PAPER[key] for key in known}, '')


def _set(section: dict[str, Any], published: Mapping[str, Any], where: str) -> None:
    for key, value in published.items():
        if isinstance(value, Mapping):
            if key == 'contrastive_opt':
                section.setdefault(key, {})
            if isinstance(section.get(key), dict):
                _set(section[key], value, f'{where}{key}.')
        elif section.setdefault(key, value) != value:
            raise OptionError(
                f'{where}{key}: expected {value!r} with recipe: paper, got {section[key]!r}; remove one of the two'
            )
