"""Shipped option files with networks, photos and weights so small that a process runs them in a second."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from basicsr.archs import build_network
from torch import nn

from basicsr_plugin.parse_options import read_yaml
from deplsr_model.checkpoint import save_estimator

__all__ = ['OPTIONS', 'NoVGG', 'tiny_options', 'write_photos']

OPTIONS = Path(__file__).resolve().parents[2] / 'options'
_SIDE, _PHOTOS = 192, 4
_CLIP = {
    'embed_dim': 16,
    'vision_cfg': {'image_size': 16, 'patch_size': 8, 'width': 16, 'layers': 1, 'head_width': 8},
    'text_cfg': {'context_length': 48, 'vocab_size': 49408, 'width': 16, 'heads': 2, 'layers': 1},
}
_NETWORK = {
    'clip': _CLIP,
    'depth': [1],
    'depths': [1],
    'embed_dim': 48,
    'fuse_every': 1,
    'fusion_num_heads': 4,
    'num_block': 1,
    'num_feat': 8,
    'num_grow_ch': 4,
    'num_heads': [2],
    'prior_dim': 16,
}
_DATASET = {
    'batch_size_per_gpu': 2,
    'context_length': 48,
    'degrade_size': 64,
    'draws_per_image': 1,
    'gt_size': 32,
    'num_worker_per_gpu': 0,
}


class NoVGG(nn.Module):
    """Replaces VGG, whose weights would have to be downloaded: one layer whose output counts as all layers."""

    def __init__(self, layer_name_list: list[str], **_: object) -> None:
        super().__init__()
        self._names = list(layer_name_list)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Returns the image for each layer."""
        return dict.fromkeys(self._names, x)


def write_photos(folder: Path) -> None:
    """Writes photos, their LQ forms, and their captions."""
    rng = np.random.default_rng(0)
    for name in ('gt', 'lq2', 'lq4'):
        (folder / name).mkdir(parents=True)
    for index in range(_PHOTOS):
        photo = cv2.resize(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8), (_SIDE, _SIDE))
        for name, side in (('gt', _SIDE), ('lq2', _SIDE // 2), ('lq4', _SIDE // 4)):
            cv2.imwrite(str(folder / name / f'{index}.png'), cv2.resize(photo, (side, side)))
    rows = ''.join(f'{index}.png\ta photo\n' for index in range(_PHOTOS))
    (folder / 'captions.tsv').write_text(f'filepath\ttitle\n{rows}', encoding='utf-8')


def tiny_options(path: Path, folder: Path) -> dict[str, Any]:
    """Returns a shipped option file with small values in place of large ones; no key is added or left out.

    Args:
        path: The file.
        folder: That of :func:`write_photos`; weights are written to it.
    """
    opt: dict[str, Any] = json.loads(json.dumps(read_yaml(str(path))))
    opt['num_gpu'] = 0
    for dataset in opt['datasets'].values():
        dataset.update({key: value for key, value in _DATASET.items() if key in dataset})
        dataset['dataroot_gt' if 'dataroot_gt' in dataset else 'dataroot_lq'] = 'gt'
        if 'dataroot_lq' in dataset:
            dataset['dataroot_lq'] = f'lq{opt["scale"]}'
        if 'meta_info' in dataset:
            dataset['meta_info'] = 'captions.tsv'
        if dataset['type'].startswith('Captioned'):
            dataset['context_length'] = 48
    for key, network in opt.items():
        if key.startswith('network_'):
            network.update({name: value for name, value in _NETWORK.items() if name in network})
            network.pop('pretrained', None)
            heads = [name for name in ('num_heads',) if name in network]
            network.update({name: [2] for name in heads})
    for key in opt['path']:
        if key.startswith('pretrain_network'):
            opt['path'][key] = None
    if 'network_g' in opt and 'network_da' in opt:
        weights = folder / f'{"_".join(path.relative_to(OPTIONS).with_suffix("").parts)}.pth'
        save_estimator(build_network(opt['network_da']), weights, opt.get('levels', 'effective'))
        opt['path']['pretrain_network_da'] = weights.name
    if 'logger' in opt:
        opt['logger']['use_tb_logger'] = False
    return opt
