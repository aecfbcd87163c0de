"""What benchmarks/prior.py trains: readers of degradations, and SR networks that differ in their prior alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import open_clip

SCALE, LQ_SIZE, CONTEXT = 4, 32, 64  #: of the SR networks; patch and what the reader sees, in LR pixels
PRIOR_DIM = 64
CONTEXT_LENGTH = 64
_CLIP: dict[str, str] = {}  # small towers from random weights, unless use_clip says otherwise
_DAT = False  # the small CNN, unless use_dat says otherwise
RECIPE = {
    'type': 'semantic', 'resize_mode': 'area', 'blur_sigma': [0.0, 3.0], 'aniso_prob': 0.0, 'noise_range': [0.0, 30.0],
    'gaussian_noise_prob': 1.0, 'gray_noise_prob': 0.0, 'jpeg_range': [30.0, 95.0], 'sinc_prob': 0.0,
    'second_order': False,
}  # fmt: skip
#: Both noises and ringing, half and a fifth of the time as published, for telling kinds apart.
ALL_KINDS = {'gaussian_noise_prob': 0.5, 'sinc_prob': 0.2}
PLACES = (0, 2, 4, 6)


@dataclass(frozen=True)
class Reader:
    """A network that reads degradations; the defaults are what is shipped, each lever changes one of them."""

    what: str
    loss: str = 'ordinal'
    view: str = 'native'
    stem: str = 'conv'
    side: int = 64
    patch: int = 8
    softness: float = 0.0
    spread: bool = True
    photos: str = 'train'  #: folder of tiles, see prior_train.SIZES
    all_kinds: bool = False
    long: bool = False  #: as many steps as the arms need; levers get fewer
    times: float = 1.0  #: steps in multiples of the adaptor's, for as long a training


@dataclass(frozen=True)
class Arm:
    """An SR network with a prior; of its reader, ``oracle`` needs the text tower alone, which is the same for all."""

    what: str
    prior: str = 'adaptor'
    reader: str = 'adaptor'
    form: str = 'words'
    fusion: str = 'film'
    places: tuple[int, ...] = PLACES
    context: bool = True
    dropout: float = 0.0
    seed: int = 0
    against: str = 'constant'  #: the arm that it is compared with; those of the short training have one of their own

    @property
    def short(self) -> bool:
        """Whether it gets half of the steps: comparisons of forms, not of the arms."""
        return self.against != 'constant'


READERS = {
    'adaptor': Reader('DePLSR as shipped: native scale, convolutional stem, ordinal loss', long=True),
    'levels': Reader('plain CNN regressor, L1 on the levels', loss='regression', long=True, times=1.25),
    'short': Reader('as shipped'),
    'short_levels': Reader('plain CNN regressor', loss='regression', times=1.25),
    'full_size': Reader('photos as they are, not shrunk until they are sharp', photos='train_full'),
    'full_size_levels': Reader('plain CNN regressor on such photos', 'regression', photos='train_full', times=1.25),
    'published': Reader(
        'published: enlarged to the tower, plain patches, sigmoid loss', 'sigmoid', 'resize', 'patch', 128, 16
    ),
    'enlarged': Reader('input enlarged to the tower', view='resize', side=128, patch=16),
    'patches': Reader('plain patches of 8 pixels, soft targets', stem='patch', softness=1.0),
    'softmax': Reader('softmax loss', loss='softmax'),
    'equal': Reader('softmax loss, equal captions as positives', loss='equal'),
    'sigmoid': Reader('sigmoid loss', loss='sigmoid'),
    'soft': Reader('soft targets, one step wide', softness=1.0),
    'unspread': Reader('texts as they are, not spread', spread=False),
    'unspread_soft': Reader('the same with soft targets', spread=False, softness=1.0),
    'all_kinds': Reader('as shipped, trained on both noises and ringing', all_kinds=True),
}

ARMS = {
    'constant': Arm('a learned constant in the place of the prior', 'none'),
    'oracle': Arm('true levels in words', 'captions', 'short'),
    'adaptor': Arm('DePLSR: what the adaptor reads'),
    'levels': Arm('numbers that a CNN regressor reads', reader='levels'),
    'constant_1': Arm('', 'none', seed=1),
    'oracle_1': Arm('', 'captions', 'short', seed=1),
    'adaptor_1': Arm('', seed=1),
    'levels_1': Arm('', reader='levels', seed=1),
    'clip': Arm('the plain frozen image embedding', 'clip', 'short'),
    'film_constant': Arm('a learned constant', 'none', against='film_constant'),
    'film_oracle': Arm('true levels in words', 'captions', 'short', against='film_constant'),
    'film_adaptor': Arm('what the adaptor reads', against='film_constant'),
    'paper_constant': Arm('a learned constant', 'none', fusion='paper', against='paper_constant'),
    'paper_oracle': Arm('true levels in words', 'captions', 'short', fusion='paper', against='paper_constant'),
    'residual_constant': Arm('a learned constant', 'none', fusion='residual', against='residual_constant'),
    'residual_oracle': Arm('true levels in words', 'captions', 'short', fusion='residual', against='residual_constant'),
    'embedding': Arm("the adaptor's embeddings as they are", form='embedding', against='film_constant'),
    'no_context': Arm('the adaptor sees the SR patch alone in training', context=False, against='film_constant'),
    'numbers': Arm('true levels as numbers', 'levels', against='film_constant'),
    'dropout': Arm('what the adaptor reads, prior dropout of 0.1', dropout=0.1, against='film_constant'),
    'embedding_oracle': Arm(
        'embeddings of the true captions as they are', 'captions', 'short', form='embedding', against='film_constant'
    ),
    'one_place': Arm(
        'true levels, fused before the first block alone', 'captions', 'short', places=(0,), against='film_constant'
    ),
    'all_places': Arm(
        'true levels, fused before every block', 'captions', 'short', places=tuple(range(8)), against='film_constant'
    ),
}


def network_da(reader: Reader) -> dict[str, Any]:
    """The reader's network."""
    if reader.loss == 'regression':
        return {'type': 'LevelRegressor', 'prior_dim': PRIOR_DIM, 'num_feat': 96}
    vision = {
        'image_size': reader.side, 'patch_size': reader.patch, 'width': 96, 'layers': 2, 'head_width': 32,
        'pool_type': 'avg',
    }  # fmt: skip
    text = {'context_length': CONTEXT_LENGTH, 'vocab_size': 49408, 'width': 64, 'heads': 2, 'layers': 2}
    return {
        'type': 'DegradationAdaptor', 'view': reader.view, 'stem': reader.stem,
        'logit_init': 'siglip' if reader.loss == 'sigmoid' else 'clip',
        **(_CLIP or {'clip': {'embed_dim': PRIOR_DIM, 'vision_cfg': vision, 'text_cfg': text}}),
    }  # fmt: skip


def network_g(arm: Arm) -> dict[str, Any]:
    """The SR network of an arm."""
    if _DAT:
        return {
            'type': 'FusedDAT', 'upscale': SCALE, 'img_size': LQ_SIZE, 'split_size': [8, 32], 'depth': [18],
            'embed_dim': 60, 'num_heads': [6], 'expansion_factor': 2, 'resi_connection': '3conv',
            'upsampler': 'pixelshuffledirect', 'fusion_layers': 'all', 'prior_dim': PRIOR_DIM, 'fusion': arm.fusion,
        }  # fmt: skip
    return {
        'type': 'Fused', 'backbone': {'type': 'PlainResNet'}, 'fuse_at': [f'body.{place}' for place in arm.places],
        'prior_dim': PRIOR_DIM, 'fusion': arm.fusion,
    }  # fmt: skip


def train_set(batch: int, photos: str = 'train', all_kinds: bool = False) -> dict[str, Any]:
    """The data set of both stages; crops of LR size CONTEXT."""
    return {
        'name': 'train', 'type': 'CaptionedDegradationDataset', 'dataroot_gt': photos, 'gt_size': CONTEXT * SCALE,
        'recipe': {**RECIPE, **(ALL_KINDS if all_kinds else {})}, 'context_length': CONTEXT_LENGTH,
        'degrade_on': 'device', 'num_worker_per_gpu': 0, 'batch_size_per_gpu': batch, 'dataset_enlarge_ratio': 50,
    }  # fmt: skip


def stage1(name: str, steps: int) -> dict[str, Any]:
    """Options of a reader's training."""
    reader = READERS[name]
    opt = {
        **_common(f'reader_{name}', steps, 0),
        'model_type': 'LevelRegressorModel' if reader.loss == 'regression' else 'DegradationAdaptorModel',
        'datasets': {'train': train_set(32, reader.photos, reader.all_kinds)},
        'network_da': network_da(reader),
        'path': {},
    }
    opt['train'] = {
        **_schedule(steps), 'warmup_iter': 50,
        'optim_da': {'type': 'AdamW', 'lr': 2e-3, 'betas': [0.9, 0.98], 'weight_decay': 0.05},
    }  # fmt: skip
    if reader.loss != 'regression':
        weights = [0.0, 0.2, 0.8]  # the photos have no semantic captions
        opt['train']['contrastive_opt'] = {
            'ordinal': {
                'type': 'DegradationOrdinalLoss',
                'weights': weights,
                'softness': reader.softness,
                'spread': reader.spread,
            },
            'softmax': {'type': 'DegradationSoftmaxLoss', 'weights': weights},
            'equal': {'type': 'DegradationSoftmaxLoss', 'weights': weights, 'equal_positive': True},
            'sigmoid': {'type': 'DegradationSigmoidLoss', 'weights': weights},
        }[reader.loss]
    return opt


def stage2(name: str, steps: int) -> dict[str, Any]:
    """Options of an SR network's training."""
    arm = ARMS[name]
    opt = {
        **_common(f'sr_{name}', steps, arm.seed),
        'model_type': 'DePLSRModel',
        'prior': arm.prior,
        'prior_form': arm.form,
        'datasets': {
            'train': {
                **train_set(16), 'seed': arm.seed, 'gt_size': LQ_SIZE * SCALE, 'degrade_size': CONTEXT * SCALE,
                'context': arm.context,
            },
        },
        'network_g': network_g(arm),
        'path': {},
        'train': {
            **_schedule(steps),
            'optim_g': {'type': 'Adam', 'lr': 2e-4 if _DAT else 1e-3, 'betas': [0.9, 0.99]},
            'pixel_opt': {'type': 'L1Loss'},
            'prior_dropout': arm.dropout,
        },
    }  # fmt: skip
    if arm.prior not in ('none', 'levels'):
        opt['network_da'] = network_da(READERS[arm.reader])
        opt['path'] = {'pretrain_network_da': f'experiments/reader_{arm.reader}/models/net_da_latest.pth'}
    return opt


def _common(name: str, steps: int, seed: int) -> dict[str, Any]:
    return {
        'name': name, 'num_gpu': 0, 'scale': SCALE, 'manual_seed': seed, 'plugins': ['plain_resnet'],
        'logger': {'print_freq': 50, 'save_checkpoint_freq': 250},
    }  # fmt: skip


def _schedule(steps: int) -> dict[str, Any]:
    return {
        'total_iter': steps,
        'scheduler': {'type': 'CosineAnnealingRestartLR', 'periods': [steps], 'eta_min': 1e-6},
    }


def use_dat() -> None:
    """Takes FusedDAT-light for all SR networks; it has one group of blocks, so there is one place to fuse at."""
    global _DAT
    _DAT = True
    for name in [name for name, arm in ARMS.items() if arm.places != PLACES]:
        del ARMS[name]


def use_clip(name: str, pretrained: str) -> None:
    """Takes a CLIP of open_clip with its weights instead of the small towers, for all readers and arms."""
    global PRIOR_DIM, CONTEXT_LENGTH, _CLIP
    config = open_clip.get_model_config(name)
    if config is None:
        raise SystemExit(f"--clip: expected a model name of open_clip, got '{name}'; see open_clip.list_models()")
    PRIOR_DIM, CONTEXT_LENGTH = config['embed_dim'], config['text_cfg'].get('context_length', 77)
    _CLIP = {'clip': name, 'pretrained': pretrained}
