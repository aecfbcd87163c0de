"""Is the corrected content embedding of a degraded photo that of the clean one? Before and after stage 1.

The paper's second claim. Queries are degraded held-out photos; the gallery holds the clean ones at the same size. For
frozen CLIP (before) and the content embedding of the adaptor (after), the script prints the mean cosine of a query with
its own clean photo, the share of queries whose own photo is the nearest of the gallery, and the mean rank of it. The
last line is JSON.

  python -m benchmarks.content --photos ../shared/data/photos                   # small random towers, trained first
  python -m benchmarks.content --photos ../shared/data/photos --clip ViT-B-32 laion2b_s34b_b79k.safetensors --gpu
  python -m benchmarks.content --photos ../shared/data/photos --clip NAME WEIGHTS --checkpoint net_da_latest.pth
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.archs import build_network
from torch import Tensor

import deplsr_model  # noqa: F401  registers
from benchmarks.gain.settings import RECIPES, SCALE
from benchmarks.prior.photos import Photos, to_tensor
from benchmarks.prior.runs import Setup
from benchmarks.prior.train import prepare, train
from deplsr_data.degradation.apply import apply
from deplsr_data.degradation.recipes import draw, read_recipe
from deplsr_data.degradation.sampling import rng_for
from deplsr_data.ops.resize import resize
from deplsr_model.checkpoint import load_into
from deplsr_model.statistics import bootstrap

SIDE, DRAWS, NAME = 64, 4, 'content_adaptor'


def main() -> None:
    """Trains an adaptor where none is named, measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__.split('\n')[0], epilog=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--photos', required=True, type=os.path.abspath, help='folder with train/ and heldout/')
    parser.add_argument('--work', default='experiments/content', type=os.path.abspath, help='folder of the training')
    parser.add_argument('--clip', nargs=2, metavar=('NAME', 'WEIGHTS'), help='a CLIP of open_clip and its weights file')
    parser.add_argument('--titles', type=os.path.abspath, help='table filepath, title of the tiles that are trained on')
    parser.add_argument('--checkpoint', help='a trained adaptor; without it one is trained')
    parser.add_argument('--steps', type=int, default=1000, help='steps of 32 crops (1000)')
    parser.add_argument('--gpu', action='store_true', help='train on the GPU')
    args = parser.parse_args()
    setup = Setup(args.clip and tuple(args.clip), gpus=int(args.gpu))
    checkpoint = args.checkpoint or trained(setup, args)
    net = build_network(setup.network_da('adaptor')).eval()
    load_into(net, checkpoint)
    rows = {
        'frozen CLIP': lambda lq: net.clip_embedding(lq),
        'content embedding': lambda lq: net(lq).content,
    }
    found = {name: compare(embed, net.clip_embedding, Path(args.photos, 'heldout')) for name, embed in rows.items()}
    print('query                 cosine with the clean photo     nearest is its own   mean rank of 30')
    for name, one in found.items():
        print(f'{name:<20}  {one["cosine"]}         {one["recall"]}   {one["rank"]}')
    print(json.dumps(found))


def trained(setup: Setup, args: argparse.Namespace) -> Path:
    """Trains stage 1 with all three terms of its loss; each photo's name is its caption where no titles are given."""
    work = Path(args.work)
    work.mkdir(parents=True, exist_ok=True)
    prepare(Path(args.photos), work)
    table = args.titles
    if table is None:
        names = sorted(path.name for path in (work / 'train').iterdir())
        lines = [f'{name}\t{name.split("_")[0]} {name.split("_")[1]}' for name in names]
        Path(work, 'titles.tsv').write_text('\n'.join(['filepath\ttitle', *lines]) + '\n', encoding='utf-8')
        table = str(work / 'titles.tsv')
    opt = setup.stage1('adaptor', args.steps)
    opt['name'] = NAME
    opt['datasets']['train'] |= {'meta_info': table}
    opt['train']['contrastive_opt'] = {'type': 'DegradationOrdinalLoss'}
    if not train(opt, work, float('inf')):
        raise SystemExit(f'training failed; see {work / NAME}.log')
    return work / 'experiments' / NAME / 'models' / 'net_da_latest.pth'


Embed = Callable[[Tensor], Tensor]


@torch.no_grad()
def compare(embed: Embed, gallery_of: Embed, folder: Path) -> dict[str, Any]:
    """Cosine, recall and rank of degraded photos (embedded by ``embed``) against clean ones, with intervals."""
    photos = Photos(folder)
    clean = [photos.gt(index, SIDE * SCALE) for index in range(len(photos.paths))]
    gallery = torch.cat([gallery_of(to_tensor(resize(gt, SIDE, SIDE).clip(0, 1))) for gt in clean])
    recipes = [read_recipe(dict(block), 'recipe') for block in RECIPES.values()]
    cosine, recall, rank = [], [], []
    for index, gt in enumerate(clean):
        scores = []
        for number in range(DRAWS):
            recipe = recipes[(index + number) % len(recipes)]
            record = draw(recipe, SCALE, rng_for(number, 0, index, 0, 'degradation'), (gt.shape[0], gt.shape[1]))
            scores.append((embed(to_tensor(apply(record, gt))) @ gallery.T)[0])
        own = torch.stack(scores)[:, index]
        place = (torch.stack(scores) > own[:, None]).sum(dim=1)
        cosine.append(float(own.mean()))
        recall.append(float((place == 0).float().mean()))
        rank.append(1 + float(place.float().mean()))
    return {key: bootstrap(np.array(one)) for key, one in (('cosine', cosine), ('recall', recall), ('rank', rank))}


if __name__ == '__main__':
    main()
