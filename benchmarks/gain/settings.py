"""What is drawn, trained and compared; everything that a figure depends on is set here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

SCALE, LQ_SIZE, CONTEXT = 4, 32, 64  #: patch of the SR networks and input of the estimators, in LR pixels

#: The semantic recipe as in ``benchmarks.prior``: blur, noise and JPEG at LR size.
SEMANTIC = {
    'type': 'semantic', 'resize_mode': 'area', 'blur_sigma': [0.0, 3.0], 'aniso_prob': 0.0, 'noise_range': [0.0, 30.0],
    'gaussian_noise_prob': 1.0, 'gray_noise_prob': 0.0, 'jpeg_range': [30.0, 95.0], 'sinc_prob': 0.0,
    'second_order': False,
}  # fmt: skip
#: Recipes by name, each with its weight in the mixture.
RECIPES: dict[str, dict[str, Any]] = {
    'semantic': SEMANTIC,
    'realesrgan': {'type': 'realesrgan', 'gt_usm': False},
    'bsrgan': {'type': 'bsrgan'},
    'camera': {'type': 'camera'},
    'clean': {'type': 'clean'},
}
WEIGHTS = {'semantic': 0.2, 'realesrgan': 0.3, 'bsrgan': 0.15, 'camera': 0.2, 'clean': 0.15}
MIXTURE = 'mixture'


def parts_of(training: str) -> dict[str, float]:
    """Returns the weights of the recipes of a training: a recipe, ``mixture`` or ``mixture-RECIPE``, one left out."""
    if training in RECIPES:
        return {training: 1.0}
    left_out = training.partition('-')[2]
    kept = {name: weight for name, weight in WEIGHTS.items() if name != left_out}
    return {name: weight / sum(kept.values()) for name, weight in kept.items()}


@dataclass(frozen=True)
class Sizes:
    """How much is made and trained.

    Attributes:
        lq: LR crops of each recipe; those from ``pairs`` on train the estimators.
        pairs: The first so many have a GT crop and train the SR networks: crops that no estimator has seen.
        estimator_steps: Steps of 32 crops.
        steps: Steps of 16 patches, SR networks.
        draws: Degradations of each held-out photo.
        beyond: Crops of each of :data:`BEYOND`.
        set14se: The first so many degradations of Set14-SE.
    """

    lq: int = 26000
    pairs: int = 12000
    estimator_steps: int = 16000
    steps: int = 8000
    draws: int = 6
    set14se: int = 100
    beyond: int = 1200


SMOKE = Sizes(lq=96, pairs=48, estimator_steps=20, steps=20, draws=1, set14se=2, beyond=24)


@dataclass(frozen=True)
class Run:
    """An SR network.

    Attributes:
        recipe: What it is trained on, see :func:`parts_of`.
        prior: ``constant``, ``estimated``, ``true_effective`` or ``true_nominal``.
        seed: Seed of weights and batches.
        estimator: Training of the estimator, see :func:`parts_of`; the recipe's own by default.
        share: Share of ``Sizes.steps`` that it is trained for.
        blocks: Residual blocks. channels: Their width.
        fusion: How the network is conditioned (:data:`benchmarks.gain.fusions.FUSIONS`).
    """

    recipe: str
    prior: str
    seed: int = 0
    estimator: str = MIXTURE
    share: float = 1.0
    blocks: int = 8
    channels: int = 32
    fusion: str = 'film'

    @property
    def name(self) -> str:
        """Name of its files."""
        size = '' if (self.blocks, self.channels) == (8, 32) else f'_{self.blocks}x{self.channels}'
        length = '' if self.share == 1 else f'_{self.share:g}'
        fusion = '' if self.fusion == 'film' else f'_{self.fusion}'
        return f'{self.recipe}_{self.prior}_{self.seed}{size}{length}{fusion}'

    @property
    def usual(self) -> bool:
        """Whether it has the usual size, steps and fusion."""
        return (self.blocks, self.channels, self.share, self.fusion) == (8, 32, 1, 'film')

    def against(self) -> Run:
        """The constant run that it is compared with."""
        return replace(self, prior='constant', estimator=MIXTURE, fusion='film')


#: Degradations beyond the training range of every recipe.
OUT_OF_RANGE: dict[str, dict[str, Any]] = {
    'blur_out': {**SEMANTIC, 'blur_sigma': [24.0, 28.0]},
    'noise_out': {**SEMANTIC, 'noise_range': [60.0, 90.0]},
    'jpeg_out': {**SEMANTIC, 'jpeg_range': [3.0, 12.0]},
}

#: Levels beyond the training range, weaker than those of OUT_OF_RANGE, that the calibration is shown; by type.
BEYOND: dict[str, dict[str, Any]] = {
    'blur': {**SEMANTIC, 'blur_sigma': [14.0, 22.0]},
    'noise': {**SEMANTIC, 'noise_range': [36.0, 56.0]},
    'jpeg': {**SEMANTIC, 'jpeg_range': [13.0, 26.0]},
}

#: Estimators in the order of training, and the share of ``Sizes.estimator_steps`` that each is trained for.
ESTIMATORS = {MIXTURE: 1.0, 'mixture-realesrgan': 0.5, 'mixture-bsrgan': 0.5, 'mixture-camera': 0.5}
SHORT = 0.125  #: share of the steps in the comparison of fusions
SHARES = (0.25, 1.0, 4.0)  #: in the curve of gain against steps
LARGE = {'blocks': 10, 'channels': 64}  #: 1 M parameters
FUSIONS = ('film', 'film_all', 'film_upsampler', 'hypernetwork', 'kernels')
_CURVE = tuple(
    Run(recipe, prior) for prior in ('constant', 'true_effective', 'estimated')
    for recipe in ('realesrgan', MIXTURE, 'semantic')
)  # fmt: skip
#: SR networks, in the order of training.
RUNS = (
    *(replace(run, share=SHARES[-1]) for run in _CURVE if run.recipe != 'semantic'),
    *_CURVE,
    *(
        run for left_out in ('realesrgan', 'bsrgan', 'camera')
        for run in (
            Run(f'mixture-{left_out}', 'constant'),
            Run(f'mixture-{left_out}', 'estimated', estimator=f'mixture-{left_out}'),
        )
    ),
    *(Run(MIXTURE, prior, **LARGE) for prior in ('constant', 'true_effective', 'estimated')),
    *(replace(run, seed=1) for run in _CURVE if run.recipe != MIXTURE),
    *(replace(run, share=SHARES[0]) for run in _CURVE),
    *(Run('realesrgan', 'true_nominal', seed) for seed in (0, 1)),
    *(Run(MIXTURE, prior, 1) for prior in ('constant', 'estimated')),
    Run(MIXTURE, 'constant', share=SHORT),
    *(Run(MIXTURE, 'true_effective', share=SHORT, fusion=fusion) for fusion in FUSIONS),
    *(replace(run, share=SHARES[-1]) for run in _CURVE if run.recipe == 'semantic'),
)  # fmt: skip

#: Estimators and SR networks of a smoke run.
SMOKE_ESTIMATORS = (MIXTURE,)
SMOKE_RUNS = tuple(Run(recipe, prior) for recipe in ('realesrgan', MIXTURE) for prior in ('constant', 'estimated'))
