"""What is measured: the accuracy of degradation estimators, and PSNR and SSIM of SR networks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from basicsr.archs import build_network
from basicsr.metrics import calculate_metric
from basicsr.utils import tensor2img
from scipy.stats import spearmanr
from torch import Tensor

import deplsr_model  # noqa: F401  registers
from benchmarks.figures import ridge
from benchmarks.prior.controls import UnwhitenedLevels
from benchmarks.prior.photos import (
    COLUMNS,
    IN_CROPS,
    ON_TEST_SETS,
    OTHER,
    POINTS,
    SIZES,
    TYPES,
    Case,
    Photos,
    cases,
    photos,
    to_tensor,
    true_levels,
)
from benchmarks.prior.runs import CONTEXT, ESTIMATORS, RECIPES, SCALE, TABLE, VARIANTS, Estimator, Setup
from deplsr_arch.clip_backbone import clip_views
from deplsr_data.tokens import tokenize
from deplsr_model.checkpoint import load_into
from deplsr_model.level_text import LevelEmbeddings, embed_levels, positions_to_levels
from deplsr_model.prior import PriorInputs, PriorSetup, build_prior

LAYOUT = 2  #: of the measurements next to the weights; count up when something else is measured
DRAWS = 20  #: degradations of each held-out photo
SET_DRAWS = 5  #: the same for each photo of the test sets
PROBE_TILES = 1  #: every how many of the training tiles the linear probe is fitted on

#: Folders, crop size, recipe, draws of each photo, and the estimator as a function.
EvaluationInput = tuple[list[Photos], int | None, dict[str, Any], int, Callable[[Tensor], Tensor]]


def load_estimator(setup: Setup, name: str) -> torch.nn.Module:
    """A trained estimator."""
    net = build_network(setup.network_da(name)).eval()
    load_into(net, f'experiments/estimator_{name}/models/net_da_latest.pth')
    return net


@torch.no_grad()
def accuracy(setup: Setup, name: str, heldout: str, sets: tuple[str, ...] = ()) -> dict[str, Any]:
    """Spearman and mean error of the estimated levels for each input, and that of a linear probe.

    Of each input also ``median_level_error``, the mean error of the best constant answer. ``points`` are true and
    estimated levels of the inputs in ``POINTS``, a row a photo.
    """
    net = load_estimator(setup, name)
    estimator = ESTIMATORS[name]
    estimate, fine = _functions(net, estimator)
    result: dict[str, Any] = {}
    for size, question in _evaluation_inputs(setup, estimator, heldout, sets, estimate, fine is None).items():
        folders, side, recipe, draws, function = question
        pairs = [(function(lq), true) for folder in folders for lq, true in folder.mixed(side, recipe, draws)]
        estimated, true = (torch.cat(column) for column in zip(*pairs, strict=True))
        result[size] = {
            'spearman': {one: _spearman(estimated[:, k], true[:, k]) for one, k in TYPES.items()},
            'mean_error': _mean_error(estimated, true),
            'median_level_error': _mean_error(true.median(dim=0).values, true),
        }
        if estimator.recipe == 'all_types':
            result[size]['confusion'] = _confusion(estimated, true)
        if estimator.long and size in POINTS:
            result.setdefault('points', {})[size] = _points(estimated, true, draws)
    if fine is not None:
        recipe = RECIPES[estimator.recipe]
        result['probe'] = _probe(fine, photos(heldout), photos(estimator.photos, PROBE_TILES), recipe)
    return result


def _evaluation_inputs(
    setup: Setup,
    estimator: Estimator,
    heldout: str,
    sets: tuple[str, ...],
    estimate: Callable[[Tensor], Tensor],
    regressor: bool,
) -> dict[str, EvaluationInput]:
    """The inputs of an estimator.

    The long trained ones are also measured on crops of the test sets and on Real-ESRGAN's recipe, which they were not
    trained on, and the regressor in crops as the small adaptor sees them.
    """
    held, recipe = [photos(heldout)], RECIPES[estimator.recipe]
    questions: dict[str, EvaluationInput] = {
        size: (held, side, recipe, DRAWS, estimate) for size, side in SIZES.items()
    }
    if not estimator.long:
        return questions if estimator.recipe == 'all_types' else {size: questions[size] for size in ('64', '128')}
    questions[OTHER] = held, 64, RECIPES[OTHER], DRAWS, estimate
    if sets:
        questions[ON_TEST_SETS] = [photos(folder) for folder in sets], 64, recipe, SET_DRAWS, estimate
    if regressor and not setup.clip:
        questions[IN_CROPS] = held, 128, recipe, DRAWS, lambda lq: in_crops(estimate, lq)
    return questions


def in_crops(estimate: Callable[[Tensor], Tensor], lq: Tensor) -> Tensor:
    """The mean estimate over the crops that the small adaptor sees of an image (1, 3, h, w)."""
    return estimate(clip_views(lq, CONTEXT, 'native').flatten(0, 1)).mean(dim=0, keepdim=True)


def _functions(net: Any, estimator: Estimator) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor] | None]:
    """Functions from an image to its levels (1, 5) and, for an adaptor, to its fine embeddings."""
    if estimator.loss == 'regression':
        return lambda lq: positions_to_levels(net(lq), TABLE), None
    whitened = estimator.loss == 'ordinal' and estimator.whitened
    texts = (LevelEmbeddings if whitened else UnwhitenedLevels)(embed_levels(net, TABLE))

    def fine(lq: Tensor) -> Tensor:
        return net(lq).fine_degradation

    return lambda lq: texts.estimate(fine(lq), net.logit_scale.exp()), fine


def _spearman(estimated: Tensor, true: Tensor) -> float:
    if estimated.unique().numel() < 2:
        return 0.0
    return round(float(spearmanr(estimated, true).statistic), 3)


def _mean_error(estimated: Tensor, true: Tensor) -> dict[str, float]:
    mean = (estimated - true).abs().mean(dim=0)
    return {name: round(float(mean[k]), 3) for name, k in TYPES.items()}


def _points(estimated: Tensor, true: Tensor, draws: int) -> dict[str, list[Any]]:
    """True and estimated levels of each degradation type, a row a photo."""
    return {
        name: [column[:, k].double().round(decimals=3).view(-1, draws).tolist() for column in (true, estimated)]
        for name, k in TYPES.items()
    }


def _confusion(estimated: Tensor, true: Tensor) -> dict[str, Any]:
    """Shares of photos: rows are the true type of noise, columns the type estimated as stronger; ringing likewise."""
    strength = torch.tensor([30.0, 3.0])
    stronger, right = (part[:, 1:3].div(strength).argmax(1) for part in (estimated, true))
    noisy = true[:, 1:3].div(strength).amax(1) > 0.1
    noise = [[round(float((stronger[noisy & (right == a)] == b).double().mean()), 3) for b in (0, 1)] for a in (0, 1)]
    rings, ringing = estimated[:, 4] > 0.5, true[:, 4] > 0.5
    ring = [[round(float((rings[ringing == a] == b).double().mean()), 3) for b in (0, 1)] for a in (0, 1)]
    return {'noise (gaussian, poisson)': noise, 'ringing (no, yes)': ring}


def _probe(fine: Callable[[Tensor], Tensor], held: Photos, train: Photos, recipe: dict[str, Any]) -> dict[str, float]:
    """Spearman at 64 pixels of ridge regressions from the fine embedding of each degradation type to its level."""
    sides = []
    for part, draws in ((train, 1), (held, DRAWS)):
        pairs = [(fine(lq), true) for lq, true in part.mixed(64, recipe, draws)]
        sides.append([torch.cat(column) for column in zip(*pairs, strict=True)])
    (x, y), (at, true) = sides
    return {name: _spearman(ridge(x[:, k], y[:, k], at[:, k]), true[:, k]) for name, k in TYPES.items()}


@torch.no_grad()
def restoration(setup: Setup, name: str, part: str, folder: str) -> dict[str, Any]:
    """PSNR-Y and SSIM-Y of a variant, or of ``bicubic``, for each photo of a set, by degradation."""
    upscale = _bicubic if name == 'bicubic' else load_variant(setup, name)
    result: dict[str, Any] = {}
    for column in COLUMNS:
        scores = []
        for case in cases(folder, column, part == 'whole'):
            images = {'img': tensor2img([upscale(case)]), 'img2': tensor2img([to_tensor(case.gt)])}
            scores.append([
                round(calculate_metric(dict(images), {'type': f'calculate_{m}', 'crop_border': SCALE,
                                                        'test_y_channel': True}), 4)
                for m in ('psnr', 'ssim')
            ])  # fmt: skip
        result[f'{part}/{column}'] = {m: [one[i] for one in scores] for i, m in enumerate(('psnr', 'ssim'))}
    return result


def _bicubic(case: Case) -> Tensor:
    return torch.nn.functional.interpolate(case.lq, scale_factor=SCALE, mode='bicubic', align_corners=False).clamp(0, 1)


def load_variant(setup: Setup, name: str) -> Callable[[Case], Tensor]:
    """A trained SR network with its prior."""
    net = build_network(setup.network_g(VARIANTS[name])).eval()
    load_into(net, f'experiments/{setup.run_of(name)}/models/net_g_latest.pth')
    prior = load_prior(setup, name)
    return lambda case: net(case.lq, *prior(case)).clamp(0, 1)


def load_prior(setup: Setup, name: str) -> Callable[[Case], tuple[Tensor, Tensor]]:
    """The prior of a variant, from the source that it was trained with; that source takes of a case what it needs."""
    variant = VARIANTS[name]
    estimator = load_estimator(setup, variant.estimator) if variant.needs_estimator else None
    source = build_prior(variant.prior, PriorSetup(estimator, setup.prior_dim, TABLE, variant.form))

    def prior(case: Case) -> tuple[Tensor, Tensor]:
        texts = TABLE.captions(TABLE.levels(case.record))
        tokens = tokenize(texts, setup.tokenizer, setup.context_length)[None]
        return source(PriorInputs(case.seen, tokens, true_levels(case.record)))

    return prior


def kept(path: Path, weights: Path | None, measure: Callable[[], Any]) -> Any:
    """Returns the stored measurement, or measures again if the weights are newer or the layout has changed."""
    if path.exists() and (weights is None or path.stat().st_mtime > weights.stat().st_mtime):
        found = json.loads(path.read_text(encoding='utf-8'))
        if found.get('layout') == LAYOUT:
            return found['result']
    path.parent.mkdir(exist_ok=True)
    result = measure()
    path.write_text(json.dumps({'layout': LAYOUT, 'result': result}), encoding='utf-8')
    return result
