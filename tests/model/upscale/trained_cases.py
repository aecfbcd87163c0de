"""A conditioned network and its estimator, trained together in half a minute on blur and noise of real photos."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from basicsr.archs import build_network
from skimage import data
from torch import Tensor

from deplsr_arch.number_tokens import distribution_tokens
from deplsr_model.calibration import calibrate, level_cross_entropy
from deplsr_model.checkpoint import save_estimator
from deplsr_model.level_text import neighbour_shares

SCALE, BATCH, GT, STEPS, DIM, LEVELS = 2, 16, 48, 400, 32, 9
BLUR, NOISE = 3.0, 30.0  # highest levels of training, nominal
EDSR = {'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 24, 'num_block': 4, 'upscale': SCALE}
NETWORK_G = {
    'type': 'Fused',
    'backbone': {**EDSR, 'img_range': 1.0},
    'fuse_at': [f'body.{index}' for index in range(4)],
    'prior_dim': DIM,
    'num_degradation_types': 2,
}
NETWORK_DA = {'type': 'LevelDistribution', 'prior_dim': DIM, 'num_feat': 24, 'num_block': 1, 'stride': 4}
NETWORK_DA |= {'num_levels': LEVELS, 'num_degradation_types': 2}
OPTIONS = {
    'network_g': NETWORK_G,
    'network_da': NETWORK_DA,
    'path': {'pretrain_network_g': 'net_g.pth', 'pretrain_network_da': 'net_da.pth'},
}
_HALF = 6  # taps on each side of the blur kernel


def gaussian(sigma: float) -> Tensor:
    """A kernel (13, 13)."""
    place = torch.arange(-_HALF, _HALF + 1.0)
    line = torch.exp(-(place**2) / (2 * max(sigma, 1e-3) ** 2))
    return torch.outer(line, line) / line.sum() ** 2


def degraded(gt: Tensor, positions: Tensor) -> Tensor:
    """Blurs and shrinks photos (B, 3, h, w), adds noise, and rounds to 8 bits; levels (B, 2) in 0..1."""
    kernels = torch.stack([gaussian(BLUR * float(one)) for one in positions[:, 0]]).repeat_interleave(3, 0)[:, None]
    padded = F.pad(gt, (_HALF,) * 4, mode='replicate').flatten(0, 1)[None]
    lq = F.avg_pool2d(F.conv2d(padded, kernels, groups=len(kernels)).view_as(gt), SCALE)
    lq = lq + torch.randn_like(lq) * positions[:, 1].view(-1, 1, 1, 1) * NOISE / 255
    return (lq.clamp(0, 1) * 255).round() / 255


def _batch(photos: list[Tensor], rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    crops = []
    for _ in range(BATCH):
        photo = photos[rng.integers(len(photos))]
        top, left = (int(rng.integers(side - GT)) for side in photo.shape[1:])
        crops.append(photo[:, top : top + GT, left : left + GT])
    gt, positions = torch.stack(crops), torch.from_numpy(rng.random((BATCH, 2)).astype(np.float32))
    return degraded(gt, positions), gt, positions


def train(folder: Path) -> None:
    """Trains, half on true levels and half on estimates, and writes weights and option file."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    net, estimator = build_network(copy.deepcopy(NETWORK_G)), build_network(copy.deepcopy(NETWORK_DA))
    photos = [torch.from_numpy(getattr(data, name)() / np.float32(255)) for name in ('chelsea', 'coffee', 'rocket')]
    photos = [photo.movedim(2, 0) for photo in photos]
    optimizer = torch.optim.Adam([*net.parameters(), *estimator.parameters()], lr=4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, STEPS, pct_start=0.1)
    for _ in range(STEPS):
        lq, gt, true = _batch(photos, rng)
        logits = estimator(lq)
        half = BATCH // 2
        share = torch.cat([neighbour_shares(true[:half], LEVELS), logits[half:].detach().softmax(dim=-1)])
        tokens = distribution_tokens(*estimator.moments(share), DIM)
        loss = F.l1_loss(net(lq, lq.new_zeros(BATCH, 1, DIM), tokens), gt)
        optimizer.zero_grad()
        (loss + 0.05 * level_cross_entropy(logits, true).mean()).backward()
        optimizer.step()
        schedule.step()
    calibrate(estimator, [(lq, true) for lq, _, true in (_batch(photos, rng) for _ in range(10))])
    estimator.threshold.mul_(2)  # three photos are no range; the test's photos are to count as familiar
    torch.save({'params': net.state_dict()}, folder / 'net_g.pth')
    save_estimator(estimator, folder / 'net_da.pth', 'nominal')
    (folder / 'options.yml').write_text(yaml.safe_dump(OPTIONS), encoding='utf-8')
