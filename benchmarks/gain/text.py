"""Does an adaptor with text embeddings estimate effective levels as well as numbers do?

    python -m benchmarks.gain.text --photos data/photos                     # all of it, two hours on a core
    python -m benchmarks.gain.text --photos data/photos --only text_0       # one training
    python -m benchmarks.gain.text --photos data/photos --only              # measure what is trained

`text` is the control: the network of the degradation estimator up to its head, whose output is an embedding for each
degradation type. It is compared with the whitened text embeddings of that type's levels, with the ordinal loss of stage
1. `scaled` spaces these levels as the estimator does. `numbers` is the estimator itself. All have the same crops in the
same order, 8,000 steps. Needs the pools that `python -m benchmarks.gain` makes (--work).
Trainings are resumed. Results: benchmarks/results/gain_text.json; the table of docs/notebook_effective.md is printed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import rankdata, spearmanr
from torch import Tensor, nn

from benchmarks.gain.__main__ import RESULTS, groups_of
from benchmarks.gain.estimators import TYPES, Step, build, fit, load_crops, load_estimator, train_estimator
from benchmarks.gain.pairs import EFFECTIVE, load_pool
from benchmarks.gain.progress import Training
from benchmarks.gain.settings import MIXTURE, RECIPES, SMOKE, Sizes, parts_of
from benchmarks.prior.runs import Setup
from deplsr_arch.degradation_adaptor_arch import DegradationAdaptor
from deplsr_arch.level_distribution_arch import LevelDistribution
from deplsr_arch.level_trunk import pooled_features
from deplsr_model.degradation_adaptor_model import MAX_LOGIT_SCALE
from deplsr_model.functional import ordinal_cross_entropy
from deplsr_model.level_text import (
    LevelEmbeddings,
    Vocabulary,
    embed_levels,
    level_positions,
    neighbour_target,
    positions_to_levels,
    whiten_texts,
)

_SCALE = math.log(1 / 0.07)  # of the logits at the start, as in CLIP
#: `scaled`: texts of levels that are evenly spaced on the estimator's scale, roots of levels for most types.
SEEDS = {'text': (0, 1), 'scaled': (0,), 'numbers': (0, 1)}
_STEPS = 8000
NAMES = tuple(f'{head}_{seed}' for head, seeds in SEEDS.items() for seed in seeds)
SHOWN = ('blur', 'noise', 'jpeg', 'compression')  #: types in the table
_DRAWS = 500  # of the bootstrap


class TextEstimator(nn.Module):
    """The network of the estimator up to its head, which embeds each degradation type.

    Args:
        vocabulary: Levels and text embeddings of each degradation type.
        scaled: Whether these levels are on the scale 0..1 of the estimator, not in units.

    Shape:
        - lq: (B, 3, h, w) RGB in 0..1. Returns (B, K, D) of unit length.
    """

    def __init__(self, vocabulary: Vocabulary, scaled: bool = False) -> None:
        super().__init__()
        self.scaled = scaled
        plain = build()
        self.trunk, self.stride = plain.trunk, plain.stride
        width, dim = plain.head[0].out_features, vocabulary[0][1].shape[1]
        self.head = nn.Sequential(plain.head[0], nn.GELU(), nn.Linear(width, len(vocabulary) * dim))
        self.logit_scale = nn.Parameter(torch.tensor(_SCALE))
        self.texts = [(known, whiten_texts(texts)) for known, texts in vocabulary]
        self.embeddings = LevelEmbeddings(vocabulary)

    def forward(self, lq: Tensor) -> Tensor:
        """Embeds the degradation types; see the class for shapes."""
        embedded = self.head(pooled_features(self.trunk, lq, self.stride)).unflatten(1, (len(self.texts), -1))
        return F.normalize(embedded, dim=-1)

    def estimate(self, lq: Tensor) -> Tensor:
        """Returns the expected levels (B, K)."""
        found = self.embeddings.estimate(self(lq), self.logit_scale.exp())
        return positions_to_levels(found, EFFECTIVE) if self.scaled else found


class _TextStep(Step):
    """A step with the fine term of DegradationOrdinalLoss."""

    def __init__(self, net: TextEstimator) -> None:
        super().__init__(net)
        self._text_net = net

    def loss(self, output: Tensor, positions: Tensor) -> Tensor:
        """Returns the loss of fine embeddings (B, K, D) for true levels (B, K) in 0..1."""
        net = self._text_net
        levels = positions if net.scaled else positions_to_levels(positions, EFFECTIVE)
        scale = net.logit_scale.exp()
        terms = [
            ordinal_cross_entropy(fine, texts, neighbour_target(true, known), scale)
            for fine, true, (known, texts) in zip(output.unbind(1), levels.unbind(1), net.texts, strict=True)
        ]
        return torch.stack(terms).mean()

    def __call__(self, lq: Tensor, positions: Tensor, rate: float) -> float:
        loss = super().__call__(lq, positions, rate)
        with torch.no_grad():
            self._text_net.logit_scale.clamp_(0, MAX_LOGIT_SCALE)
        return loss


def build_text(head: str) -> TextEstimator:
    """An untrained text estimator with the text tower of ``benchmarks.prior``, small and of random weights.

    Whitened texts of a degradation type are all equally far apart, so another tower would only rotate them.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        options = Setup().network_da('adaptor')
        options.pop('type')
        adaptor = DegradationAdaptor(**options, num_degradation_types=len(TYPES))
    if head == 'text':
        return TextEstimator(embed_levels(adaptor, EFFECTIVE))
    places = [torch.linspace(0, 1, len(one.training_levels)) for one in EFFECTIVE.types]
    padded = nn.utils.rnn.pad_sequence(places)  # (L, K)
    levels = positions_to_levels(padded, EFFECTIVE).unbind(1)
    named = [known[: len(place)].tolist() for known, place in zip(levels, places, strict=True)]
    texts = [texts for _, texts in embed_levels(adaptor, EFFECTIVE, named)]
    return TextEstimator(list(zip(places, texts, strict=True)), scaled=True)


def train(name: str, folder: Path, pools: Path, groups: np.ndarray, sizes: Sizes) -> None:
    """Trains one of :data:`NAMES` on the mixture; resumed from its last state."""
    head, seed = name.split('_')
    if head == 'numbers':
        train_estimator(folder, pools, MIXTURE, groups, sizes, seed=int(seed))
    elif not (folder / 'weights.pth').exists():
        parts = parts_of(MIXTURE)
        loaded = load_crops(pools, parts, groups, sizes)
        torch.manual_seed(int(seed))
        net = build_text(head).train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        step_of = _TextStep(net)
        run = Training(folder, net, step_of.optimizer, sizes.estimator_steps)
        fit(run, step_of, loaded, np.array(list(parts.values())), 'cpu', int(seed))
        run.finish()


def load(name: str, folder: Path) -> TextEstimator | LevelDistribution:
    """One of :data:`NAMES`, trained."""
    head = name.split('_')[0]
    if head == 'numbers':
        return load_estimator(folder)
    net = build_text(head).eval()
    net.load_state_dict(torch.load(folder / 'weights.pth', weights_only=True))
    return net


@torch.no_grad()
def estimated_levels(net: TextEstimator | LevelDistribution, lq: np.ndarray) -> Tensor:
    """Expected levels (N, K) of crops (N, 3, h, w) uint8."""
    found = []
    for first in range(0, len(lq), 64):
        batch = torch.from_numpy(np.array(lq[first : first + 64])).float() / 255
        one = net.estimate(batch)
        found.append(one if isinstance(one, Tensor) else positions_to_levels(one.mean, EFFECTIVE))
    return torch.cat(found)


def measure(folders: dict[str, Path], graded: Path) -> dict[str, Any]:
    """Sizes of the trained estimators, and for each recipe their :func:`grade_levels` and :func:`difference`."""
    nets = {name: load(name, folder) for name, folder in folders.items()}
    logs = {name: json.loads((folder / 'log.json').read_text(encoding='utf-8')) for name, folder in folders.items()}
    results: dict[str, Any] = {'trainings': {}, 'recipes': {}}
    for name, net in nets.items():
        size = sum(p.numel() for p in net.parameters())
        results['trainings'][name] = {
            'parameters': size,
            'steps': logs[name]['steps'],
            'seconds': logs[name]['seconds'],
        }
    for recipe in RECIPES:
        pool = load_pool(graded / recipe)
        places = level_positions(torch.from_numpy(np.array(pool.levels)), EFFECTIVE)
        levels = {name: estimated_levels(net, pool.lq) for name, net in nets.items()}
        results['recipes'][recipe] = {name: grade_levels(one, places) for name, one in levels.items()}
        for head in ('text', 'scaled'):
            names = [(f'{head}_{seed}', f'numbers_{seed}') for seed in SEEDS[head]]
            pairs = [(levels[one], levels[other]) for one, other in names if {one, other} <= {*levels}]
            if pairs:
                results['recipes'][recipe][f'{head}_less_numbers'] = difference(pairs, places, np.array(pool.photo))
    return results


def varied(places: Tensor) -> list[int]:
    """The degradation types that a recipe varies, by number."""
    return torch.nonzero(places.std(dim=0) > 0.01).flatten().tolist()


def grade_levels(levels: Tensor, places: Tensor) -> dict[str, dict[str, float]]:
    """Spearman and mean absolute error, in units and on the scale 0..1, of each type that a recipe varies.

    Args:
        levels: Estimates (N, K) in units.
        places: True levels (N, K) in 0..1; those beyond the range count as its end.
    """
    units = (levels - positions_to_levels(places, EFFECTIVE)).abs().mean(dim=0)
    scaled = (level_positions(levels, EFFECTIVE) - places).abs().mean(dim=0)
    return {
        TYPES[k]: {
            'spearman': round(float(spearmanr(places[:, k], levels[:, k])[0]), 4),
            'error': round(float(units[k]), 4),
            'error_scaled': round(float(scaled[k]), 4),
        }
        for k in varied(places)
    }


def difference(pairs: list[tuple[Tensor, Tensor]], places: Tensor, photo: np.ndarray) -> list[float]:
    """Spearman of texts less that of numbers, mean over types and seeds, with a 95% bootstrap over photos."""
    rows = [np.flatnonzero(photo == one) for one in np.unique(photo)]
    types = varied(places)
    rng = np.random.default_rng(0)

    def mean(chosen: np.ndarray) -> float:
        true = [rankdata(places[chosen, k]) for k in types]
        correlations = [
            [np.corrcoef(one, rankdata(levels[chosen, k]))[0, 1] for k, one in zip(types, true, strict=True)]
            for pair in pairs
            for levels in pair
        ]
        text, number = np.array(correlations[::2]), np.array(correlations[1::2])
        return float(np.nanmean(text - number))

    drawn = [mean(np.concatenate([rows[i] for i in rng.integers(len(rows), size=len(rows))])) for _ in range(_DRAWS)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return [round(one, 4) for one in (mean(np.arange(len(photo))), float(low), float(high))]


def table(results: dict[str, Any]) -> str:
    """The table of the notebook, means over seeds."""
    gaps = [head for head in SEEDS if head != 'numbers']
    lines = [[' / '.join(SEEDS), *SHOWN, *(f'{head} less numbers' for head in gaps)]]
    lines.append(['---'] * len(lines[0]))
    for key, label in (('spearman', 'Spearman'), ('error_scaled', 'mean error')):
        for recipe, found in results['recipes'].items():
            cells = [' / '.join(_mean(found, head, one, key) for head in SEEDS) for one in SHOWN]
            gap = [found.get(f'{head}_less_numbers') if key == 'spearman' else None for head in gaps]
            last = [f'{one[0]:+.3f} ({one[1]:+.3f} to {one[2]:+.3f})' if one else '' for one in gap]
            lines.append([f'`{recipe}`, {label}', *cells, *last])
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)


def _mean(found: dict[str, Any], head: str, type_name: str, key: str) -> str:
    every = [found.get(f'{head}_{seed}', {}).get(type_name) for seed in SEEDS[head]]
    known = [one[key] for one in every if one]
    return f'{np.mean(known):.3f}' if known else ''


def main() -> None:
    """Trains what is left, and measures."""
    options = parse()
    torch.set_num_threads(1)
    work = Path(options.work or f'experiments/gain{"_smoke" if options.smoke else ""}').resolve()
    sizes = SMOKE if options.smoke else replace(Sizes(), estimator_steps=_STEPS)
    out = Path(options.out or work / 'text')
    folders = {name: out / name for name in NAMES}
    groups = groups_of(Path(options.photos) / 'train')
    for name in options.only:
        train(name, folders[name], work / 'pools', groups, sizes)
    trained = {name: folder for name, folder in folders.items() if (folder / 'weights.pth').exists()}
    results = measure(trained, work / 'graded' / 'heldout')
    path = (out if options.smoke else RESULTS) / 'gain_text.json'
    path.write_text(json.dumps(results, indent=1) + '\n', encoding='utf-8')
    print(table(results))


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        'python -m benchmarks.gain.text', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--photos', type=os.path.abspath, required=True, help='folder with train/')
    parser.add_argument('--work', type=os.path.abspath, help='folder of benchmarks.gain (experiments/gain)')
    parser.add_argument('--out', type=os.path.abspath, help='folder for the trainings (WORK/text)')
    parser.add_argument('--only', nargs='*', choices=NAMES, default=NAMES, help='train these only')
    parser.add_argument('--smoke', action='store_true', help='as many steps as a smoke run of benchmarks.gain')
    return parser.parse_args()


if __name__ == '__main__':
    main()
