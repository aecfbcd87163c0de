"""The networks that are shipped, and those that they are compared with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from benchmarks.gain.batches import Patches
from benchmarks.gain.estimators import PRIOR_DIM, TYPES
from benchmarks.gain.settings import SCALE

RATE, WARM_UP, DECAY = 1e-3, 200, 0.999  #: learning rate, steps until it is reached, decay of the moving average
DRAWS = 2  #: degradations of each held-out photo in a validation
#: Shares of the steps after which a network is validated.
VALIDATED = (1 / 16, 1 / 8, 1 / 4, 3 / 8, 1 / 2, 5 / 8, 3 / 4, 7 / 8, 1)


def plain(width: int, blocks: int, scale: int = 4, unshuffle: int = 1) -> dict[str, Any]:
    """A PlainResNet with FiLM before every other block."""
    backbone = {'type': 'PlainResNet', 'num_feat': width, 'num_block': blocks, 'scale': scale, 'unshuffle': unshuffle}
    return _film(backbone, [f'body.{block}' for block in range(0, blocks, 2)])


def _film(backbone: dict[str, Any], places: list[str]) -> dict[str, Any]:
    return {
        'type': 'Fused', 'backbone': backbone, 'fuse_at': places, 'fusion': 'film', 'prior_dim': PRIOR_DIM,
        'num_degradation_types': len(TYPES),
    }  # fmt: skip


def pools_of(scale: int) -> str:
    """Folder of the pairs of a scale."""
    return 'pools' if scale == SCALE else f'pools_x{scale}'


def graded_of(scale: int) -> str:
    """Folder of the held-out degradations of a scale."""
    return f'graded{"" if scale == SCALE else f"_x{scale}"}/heldout'


@dataclass(frozen=True)
class Model:
    """An SR network to train on the mixture of recipes.

    Attributes:
        name: Name of its files.
        network: Its block of an option file.
        prior: ``estimated`` or ``constant``, without a prior.
        steps: Steps of the training.
        patches: What a batch is made of.
        start: Model whose weights it starts from, where names and shapes are equal.
        published: Whether it is shipped.
    """

    name: str
    network: dict[str, Any]
    prior: str = 'estimated'
    steps: int = 10_000
    patches: Patches = field(default_factory=Patches)
    start: str = ''
    published: bool = True


_X2 = Patches(crops=4000, scale=2)
#: In the order of training. ``constant-x4`` is the baseline without a prior: the same network, batches and steps.
MODELS = {
    model.name: model
    for model in (
        Model('small-x4', plain(32, 16), steps=13_000),
        Model('constant-x4', plain(32, 16), 'constant', steps=13_000, published=False),
        Model('small-x2', plain(32, 16, scale=2), steps=2_500, patches=_X2, start='small-x4'),
    )
}
