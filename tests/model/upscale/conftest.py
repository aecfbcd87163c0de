"""A small model that is trained in seconds, and the command run in a working directory of its own."""

from __future__ import annotations

import dataclasses
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from skimage import data
from torch import nn

from basicsr_plugin import cli, commands
from deplsr_arch import Fused, LevelDistribution
from deplsr_arch.number_tokens import distribution_tokens
from deplsr_data.degradation.apply_batch import apply_batch
from deplsr_data.degradation.packing import pack
from deplsr_data.degradation.recipe_table import rounds_of
from deplsr_data.degradation.recipes import SemanticRecipe, draw
from deplsr_data.degradation.sampling import rng_for
from deplsr_model.calibration import calibrate, level_cross_entropy, neighbour_shares

SCALE, GT, BATCH, STEPS, DIM = 2, 64, 16, 500, 32
RECIPE = SemanticRecipe(resize='before_noise', second_order=False, gaussian_noise_prob=1.0, jpeg_prob=0, sinc_prob=0)
NETWORK_G = {
    'type': 'Fused',
    'backbone': {'type': 'SRVGGNetCompact', 'num_feat': 24, 'num_conv': 6, 'upscale': SCALE},
    'fuse_at': ['body.1', 'body.5', 'body.9'],
    'prior_dim': DIM,
    'num_degradation_types': 2,
}
NETWORK_DA = {'type': 'LevelDistribution', 'prior_dim': DIM, 'num_feat': 32, 'num_block': 1, 'stride': 4}
NETWORK_DA |= {'num_levels': 9, 'num_degradation_types': 2}
OPTIONS = {
    'name': 'small',
    'model_type': 'DePLSRModel',
    'scale': SCALE,
    'num_gpu': 0,
    'network_g': NETWORK_G,
    'network_da': NETWORK_DA,
    'path': {'pretrain_network_g': 'net_g.pth', 'pretrain_network_da': 'net_da.pth'},
    'datasets': {},
    'val': {},
}


def _batch(photos, step):
    """Patches of real photos under blur and noise, and the two levels in 0..1."""
    gts, packed, levels = [], [], []
    for sample in range(BATCH):
        rng = rng_for(0, 0, step * BATCH + sample, 0, 'crop')
        photo = photos[rng.integers(len(photos))]
        top, left = (int(rng.integers(side - GT)) for side in photo.shape[:2])
        gts.append(torch.from_numpy(photo[top : top + GT, left : left + GT].transpose(2, 0, 1).copy()))
        record = draw(RECIPE, SCALE, rng_for(0, 0, step * BATCH + sample, 0, 'degradation'), (GT, GT))
        packed.append(pack(record, (GT, GT), RECIPE.largest_kernel, rounds_of(RECIPE)))
        sigma = {type(one).__name__: getattr(one, 'sigma', getattr(one, 'level', 0)) for one in record.steps}
        levels.append([sigma.get('Blur', 0) / 3, sigma.get('Noise', 0) / 30])
    gt = torch.stack(gts)
    return apply_batch(torch.utils.data.default_collate(packed), gt), gt, torch.tensor(levels).float().clamp(0, 1)


def _without_type(block):
    return {key: value for key, value in block.items() if key != 'type'}


def train(folder: Path, steps: int = STEPS) -> None:
    """Trains network and estimator together, half on true levels and half on estimates, and writes them."""
    torch.manual_seed(0)
    net, estimator = Fused(**_without_type(NETWORK_G)), LevelDistribution(**_without_type(NETWORK_DA))
    photos = [getattr(data, name)()[..., :3].astype(np.float32) / 255 for name in ('chelsea', 'coffee', 'rocket')]
    optimizer = torch.optim.Adam([*net.parameters(), *estimator.parameters()], lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, steps)
    for step in range(steps):
        lq, gt, true = _batch(photos, step)
        logits = estimator(lq)
        share = torch.cat([neighbour_shares(true[: BATCH // 2], 9), logits[BATCH // 2 :].detach().softmax(-1)])
        mean, deviation = estimator.moments(share)
        prior = lq.new_zeros(BATCH, 1, DIM), distribution_tokens(mean, deviation, DIM)
        loss = F.l1_loss(net(lq, *prior), gt) + 0.05 * level_cross_entropy(logits, true).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    calibrate(estimator, [(lq, true) for lq, _, true in (_batch(photos, steps + extra) for extra in range(10))])
    torch.save({'params': net.state_dict()}, folder / 'net_g.pth')
    torch.save({'params': estimator.state_dict()}, folder / 'net_da.pth')
    (folder / 'options.yml').write_text(yaml.safe_dump(OPTIONS), encoding='utf-8')
