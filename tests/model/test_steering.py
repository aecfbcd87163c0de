"""A text prior controls a restoration: with the caption of noise, flat regions are smoother than with that of none."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from skimage import data

from deplsr_arch import DegradationAdaptor, Fused
from deplsr_data.degradation.apply_batch import apply_batch
from deplsr_data.degradation.level_tables import level_table
from deplsr_data.degradation.packing import pack
from deplsr_data.degradation.recipes import SemanticRecipe, draw
from deplsr_data.degradation.sampling import rng_for
from deplsr_data.tokens import tokenize
from deplsr_model.prior import PriorInputs, PriorSetup, build_prior

SCALE, GT, BATCH, STEPS, DIM = 2, 32, 16, 600, 64
RECIPE = SemanticRecipe(blur_sigma=(0.0, 0.0), gaussian_noise_prob=1.0, jpeg_prob=0.0, sinc_prob=0.0)
TABLE = level_table('nominal')
NOISY, CLEAN = 'gaussian noise with sigma:25.0', 'gaussian noise with sigma:0.0'


def _batch(photos, step):
    """Patches of real photos, degraded, with the tokens of their captions and the true levels."""
    gts, packed, tokens, true = [], [], [], []
    for sample in range(BATCH):
        rng = rng_for(0, 0, step * BATCH + sample, 0, 'crop')
        photo = photos[rng.integers(len(photos))]
        top, left = (int(rng.integers(side - GT)) for side in photo.shape[:2])
        gts.append(torch.from_numpy(photo[top : top + GT, left : left + GT].transpose(2, 0, 1).copy()))
        record = draw(RECIPE, SCALE, rng_for(0, 0, step * BATCH + sample, 0, 'degradation'), (GT, GT))
        packed.append(pack(record, (GT, GT)))
        levels = TABLE.levels(record)
        tokens.append(tokenize(TABLE.captions(levels), 'ViT-B-32', 48))
        true.append(torch.tensor(levels))
    gt = torch.stack(gts)
    lq = apply_batch(torch.utils.data.default_collate(packed), gt)
    return lq, gt, torch.stack(tokens), torch.stack(true)


def _trained(network_da):
    torch.manual_seed(0)
    text = {**network_da['clip']['text_cfg'], 'width': 64, 'layers': 2}
    adaptor = DegradationAdaptor(clip={**network_da['clip'], 'embed_dim': DIM, 'text_cfg': text}).eval()
    backbone = {'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 16, 'num_block': 4, 'upscale': SCALE}
    net = Fused(backbone={**backbone, 'img_range': 1.0}, fuse_at=['body.0', 'body.2'], prior_dim=DIM)
    photos = [getattr(data, name)()[..., :3].astype(np.float32) / 255 for name in ('chelsea', 'coffee', 'rocket')]
    prior = build_prior('captions', PriorSetup(adaptor, DIM, TABLE))
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    for step in range(STEPS):
        lq, gt, tokens, true = _batch(photos, step)
        loss = (net(lq, *prior(PriorInputs(lq, tokens, true))) - gt).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net.eval(), adaptor


def test_with_a_caption_of_noise_flat_regions_come_out_smoother(stage2):
    net, adaptor = _trained(stage2['network_da'])
    photo = data.astronaut()[:256, :256].astype(np.float32) / 255
    small = cv2.resize(photo, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    flat = _variance(cv2.resize(small, (256, 256), interpolation=cv2.INTER_CUBIC))
    flat = flat < np.quantile(flat, 0.3)
    noise = np.random.default_rng(0).normal(0, 12 / 255, small.shape).astype(np.float32)
    lq = torch.from_numpy((small + noise).clip(0, 1).transpose(2, 0, 1))[None]
    with torch.no_grad():
        rough = {}
        for text in (NOISY, CLEAN):
            prior = build_prior(text, PriorSetup(adaptor, DIM, TABLE))(PriorInputs(lq))
            rough[text] = _variance(net(lq, *prior)[0].permute(1, 2, 0).numpy())[flat].mean()
    assert rough[NOISY] < 0.9 * rough[CLEAN], rough


def _variance(image: np.ndarray) -> np.ndarray:
    """Variance within 7 x 7 pixels, of grey."""
    gray = image.mean(2)
    return cv2.blur(gray**2, (7, 7)) - cv2.blur(gray, (7, 7)) ** 2
