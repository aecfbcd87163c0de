"""Trains an SR network on pairs made ahead, with a moving average of its weights and validation on held-out photos."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from basicsr.archs import build_network
from torch import nn

import deplsr_arch  # noqa: F401  registers
from basicsr_plugin.atomic import write_file
from benchmarks.gain.batches import Batches
from benchmarks.gain.estimators import PRIOR_DIM, TYPES, cosine, load_estimator
from benchmarks.gain.graphs import GraphTraining, load_crops
from benchmarks.gain.measure import Sample, psnr, samples
from benchmarks.gain.networks import Pairs, estimated_tokens, make_step
from benchmarks.gain.pairs import load_pool
from benchmarks.gain.progress import Training
from benchmarks.gain.settings import MIXTURE, RECIPES, SCALE, Sizes, parts_of
from benchmarks.models.settings import DECAY, DRAWS, RATE, VALIDATED, WARM_UP, Model, pools_of
from deplsr_arch.level_distribution_arch import LevelDistribution

__all__ = ['load_model', 'pairs_of', 'train_model', 'validate', 'validation_samples']


def train_model(
    model: Model, folder: Path, work: Path, validation: dict[str, list[Sample]], device: str = 'cpu'
) -> None:
    """Trains a model; resumed from its last state. Models of one scale see the same batches.

    Args:
        model: What is trained.
        folder: Where weights, state, log and ``validation.json`` are written.
        work: Folder with ``pools`` (``pools_xSCALE`` for other scales), ``estimators`` and ``models``.
        validation: Images by recipe, see :func:`validation_samples`.
        device: ``cpu``, or ``cuda`` for bfloat16 and CUDA graphs.
    """
    if (folder / 'weights.pth').exists():
        return
    estimator = load_estimator(work / 'estimators' / MIXTURE).to(device) if model.prior == 'estimated' else None
    torch.manual_seed(0)
    net = build_network(deepcopy(model.network)).to(device, memory_format=torch.channels_last).train()
    if model.start:
        _start_from(net, torch.load(work / 'models' / model.start / 'weights.pth', weights_only=True))
    average = deepcopy(net).eval().requires_grad_(False)
    scores = _Scores(folder / 'validation.json', validation)
    validated = sorted(round(share * model.steps) for share in VALIDATED)
    train = _train_on_cpu if device == 'cpu' else _train_on_gpu
    for step in train(model, net, average, folder, work, validated):
        scores.add(step, average, estimator)


def _train_on_cpu(
    model: Model, net: nn.Module, average: nn.Module, folder: Path, work: Path, validated: list[int]
) -> Iterator[int]:
    """Yields after each of some numbers of steps."""
    pairs, batches = pairs_of(model, work), Batches(0, parts_of(MIXTURE), model.patches)
    optimizer = torch.optim.Adam(net.parameters(), RATE, betas=(0.9, 0.99))
    training = Training(folder, net, optimizer, model.steps, average)
    for step in training.steps():
        loss = make_step(net, optimizer, _rate(step, model.steps), pairs, model.patches, batches[step])
        torch._foreach_lerp_(list(average.parameters()), [p.detach() for p in net.parameters()], 1 - _decay(step))
        if step + 1 in validated:
            yield step + 1
        training.record(step, loss)
    training.finish()


def _train_on_gpu(
    model: Model, net: nn.Module, average: nn.Module, folder: Path, work: Path, validated: list[int]
) -> Iterator[int]:
    """As :func:`_train_on_cpu`."""
    torch.backends.cudnn.benchmark = True
    parts, steps = parts_of(MIXTURE), range(model.steps)
    crops = load_crops(work / pools_of(model.patches.scale), [*parts], model.patches.crops)
    tokens = torch.cat([one.tokens for one in pairs_of(model, work, 'cuda')]).cuda()
    training = GraphTraining(
        folder, net, crops, [*parts], tokens, Batches(0, parts, model.patches),
        [_rate(step, model.steps) for step in steps], average, [_decay(step) for step in steps], amp=True,
    )  # fmt: skip
    for stop in [step for step in validated if step > training.step]:
        while not training.advance(stop):
            time.sleep(0.001)
        yield stop
    training.finish()


def _rate(step: int, total: int) -> float:
    """The learning rate of a step."""
    return RATE * min(1, (step + 1) / WARM_UP) * cosine(step / total)


def _decay(step: int) -> float:
    """The decay of the moving average at a step."""
    return min(DECAY, (step + 1) / (step + 10))


def load_model(model: Model, folder: Path) -> nn.Module:
    """A trained model."""
    net = build_network(deepcopy(model.network)).eval()
    net.load_state_dict(torch.load(folder / 'weights.pth', weights_only=True))
    return net.to(memory_format=torch.channels_last)


def validation_samples(graded: Path, photos: list[np.ndarray]) -> dict[str, list[Sample]]:
    """The held-out images that a network is validated on, by recipe."""
    return {name: list(samples(name, graded, photos, None, Sizes(draws=DRAWS))) for name in RECIPES}


def pairs_of(model: Model, work: Path, device: str = 'cpu') -> list[Pairs]:
    """The pairs of each recipe that a model is trained on; levels are estimated on a device."""
    return [_pairs(model, work, name, device) for name in parts_of(MIXTURE)]


def _pairs(model: Model, work: Path, name: str, device: str) -> Pairs:
    scale = model.patches.scale
    folder = work / pools_of(scale) / name
    pool = load_pool(folder)
    if model.prior == 'constant':
        return Pairs(pool, torch.zeros(model.patches.crops, len(TYPES), PRIOR_DIM))
    estimator = work / 'estimators' / MIXTURE
    kept = '' if scale == SCALE else f'_x{scale}'
    return Pairs(pool, estimated_tokens(folder, model.patches.crops, estimator, kept, device))


def _start_from(net: nn.Module, state: dict[str, torch.Tensor]) -> None:
    own = net.state_dict()
    net.load_state_dict({**own, **{key: value for key, value in state.items() if own[key].shape == value.shape}})


class _Scores:
    """PSNR-Y of each validation image after some of the steps, on disk."""

    def __init__(self, path: Path, validation: dict[str, list[Sample]]) -> None:
        self._path, self._validation = path, validation
        self._found = json.loads(path.read_text(encoding='utf-8')) if path.exists() else {}

    def add(self, step: int, net: nn.Module, estimator: LevelDistribution | None) -> None:
        """Validates a network; ``estimator``: None for one without a prior."""
        self._found[str(step)] = validate(net, estimator, self._validation)
        write_file(self._path, json.dumps(self._found).encode())


@torch.no_grad()
def validate(
    net: nn.Module, estimator: LevelDistribution | None, validation: dict[str, list[Sample]]
) -> dict[str, list[float]]:
    """Returns the PSNR-Y of each validation image, by recipe."""
    found, device = {}, next(net.parameters()).device
    for name, images in validation.items():
        lq = torch.from_numpy(np.stack([one.lq for one in images])).to(device).float() / 255
        tokens = lq.new_zeros(len(lq), len(TYPES), PRIOR_DIM) if estimator is None else estimator.prior(lq)[1]
        outputs = [
            net(lq[i : i + 1], lq.new_zeros(1, 1, PRIOR_DIM), tokens[i : i + 1])[0].clamp(0, 1).mul(255).round()
            for i in range(len(lq))
        ]
        pixels = [output.byte().cpu().numpy().transpose(1, 2, 0) for output in outputs]
        found[name] = [psnr(output, one) for output, one in zip(pixels, images, strict=True)]
    return found
