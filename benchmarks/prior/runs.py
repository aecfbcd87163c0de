"""What benchmarks/prior.py trains: readers of degradations, and SR networks that differ in their prior alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import open_clip

SCALE, LQ_SIZE, CONTEXT = 4, 32, 64  #: of the SR networks; patch and what the reader sees, in LR pixels
RECIPE = {
    'type': 'semantic', 'resize_mode': 'area', 'blur_sigma': [0.0, 3.0], 'aniso_prob': 0.0, 'noise_range': [0.0, 30.0],
    'gaussian_noise_prob': 1.0, 'gray_noise_prob': 0.0, 'jpeg_range': [30.0, 95.0], 'sinc_prob': 0.0,
    'second_order': False,
}  # fmt: skip
#: What is trained on; all degradation types are both noises and ringing, half and a fifth of the time as published.
RECIPES = {
    'semantic': RECIPE,
    'all_types': {**RECIPE, 'gaussian_noise_prob': 0.5, 'sinc_prob': 0.2},
    'realesrgan': {'type': 'realesrgan'},
}  # fmt: skip
PLACES = (0, 2, 4, 6)


@dataclass(frozen=True)
class Reader:
    """A network that reads degradations; the defaults are what is shipped, a lever changes some of them."""

    what: str
    loss: str = 'ordinal'
    view: str = 'native'
    stem: str = 'conv'
    side: int = 64
    patch: int = 8
    softness: float = 0.0
    spread: bool = True
    photos: str = 'train'  #: folder of tiles, see prior_train.SIZES
    recipe: str = 'semantic'  #: of RECIPES
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
    photos: str = 'train'  #: folder of tiles, see prior_train.SIZES
    recipe: str = 'semantic'  #: of RECIPES
    seed: int = 0
    short: bool = False  #: half of the steps: to compare forms, not arms
    against: str = 'constant'  #: the arm that it is compared with


def _short(what: str, against: str, **changes: Any) -> Arm:
    """Half of the steps: to compare forms, each with the arm that it differs from in one thing."""
    return Arm(what, short=True, against=against, **changes)


READERS = {
    'adaptor': Reader('DePLSR as shipped: native scale, convolutional stem, ordinal loss', long=True),
    'levels': Reader('plain CNN regressor, L1 on the levels', loss='regression', long=True, times=1.25),
    'short': Reader('as shipped'),
    'short_levels': Reader('plain CNN regressor', loss='regression', times=1.25),
    'full_size': Reader('photos as they are, not shrunk', photos='train_full'),
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
    'all_types': Reader('as shipped, trained on both noises and ringing', recipe='all_types'),
    'realesrgan': Reader("as shipped, trained on Real-ESRGAN's recipe", recipe='realesrgan'),
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
    'film_constant': _short('a learned constant', 'film_constant', prior='none'),
    'film_oracle': _short('true levels in words', 'film_constant', prior='captions', reader='short'),
    'film_adaptor': _short('what the adaptor reads', 'film_constant'),
    'full_size': _short('photos not shrunk, learned constant', 'film_constant', prior='none', photos='train_full'),
    'paper_constant': _short('a learned constant', 'paper_constant', prior='none', fusion='paper'),
    'paper_oracle': _short('true levels', 'paper_constant', prior='captions', reader='short', fusion='paper'),
    'residual_constant': _short('a learned constant', 'residual_constant', prior='none', fusion='residual'),
    'residual_oracle': _short('true levels', 'residual_constant', prior='captions', reader='short', fusion='residual'),
    'other_constant': _short('a learned constant', 'other_constant', prior='none', recipe='realesrgan'),
    'other_oracle': _short(
        'true levels in words', 'other_constant', prior='captions', reader='short', recipe='realesrgan'
    ),
    'other_adaptor': _short('what an adaptor reads', 'other_constant', reader='realesrgan', recipe='realesrgan'),
    'embedding': _short("the adaptor's embeddings as they are", 'film_adaptor', form='embedding'),
    'no_context': _short('the adaptor sees the SR patch alone in training', 'film_adaptor', context=False),
    'dropout': _short('prior dropout of 0.1', 'film_adaptor', dropout=0.1),
    'numbers': _short('true levels as numbers', 'film_oracle', prior='levels'),
    'embedding_oracle': _short(
        'embeddings of the true captions as they are', 'film_oracle', prior='captions', reader='short', form='embedding'
    ),
    'one_place': _short(
        'true levels, fused before the first block alone', 'film_oracle', prior='captions', reader='short', places=(0,)
    ),
    'all_places': _short(
        'true levels, fused before every block', 'film_oracle', prior='captions', reader='short', places=tuple(range(8))
    ),
}


@dataclass(frozen=True)
class Setup:
    """What the whole experiment is made with, and the options of its runs.

    Attributes:
        clip: A model of open_clip and the file of its weights; None for small towers from random weights.
        dat: FusedDAT-light for all SR networks instead of the small CNN.
        gpus: 0 or 1.
    """

    clip: tuple[str, str] | None = None
    dat: bool = False
    gpus: int = 0

    @property
    def prior_dim(self) -> int:
        """Width of the embeddings."""
        return self._clip_config()['embed_dim'] if self.clip else 64

    @property
    def context_length(self) -> int:
        """Length of the rows of tokens."""
        return self._clip_config()['text_cfg'].get('context_length', 77) if self.clip else 64

    def _clip_config(self) -> dict[str, Any]:
        name = self.clip[0] if self.clip else ''
        config = open_clip.get_model_config(name)
        if config is None:
            raise SystemExit(f"--clip: expected a model name of open_clip, got '{name}'; see open_clip.list_models()")
        return config

    def arms(self) -> dict[str, Arm]:
        """The arms; FusedDAT-light has one group of blocks, so there is one place to fuse at."""
        return {name: arm for name, arm in ARMS.items() if arm.places == PLACES or not self.dat}

    def run_of(self, arm: str) -> str:
        """The name of an arm's training."""
        return f'sr_{"dat_light_" if self.dat else ""}{arm}'

    def network_da(self, name: str) -> dict[str, Any]:
        """A reader's network."""
        reader = READERS[name]
        if reader.loss == 'regression':
            return {'type': 'LevelRegressor', 'prior_dim': self.prior_dim, 'num_feat': 96}
        vision = {
            'image_size': reader.side, 'patch_size': reader.patch, 'width': 96, 'layers': 2, 'head_width': 32,
            'pool_type': 'avg',
        }  # fmt: skip
        text = {'context_length': self.context_length, 'vocab_size': 49408, 'width': 64, 'heads': 2, 'layers': 2}
        small = {'clip': {'embed_dim': self.prior_dim, 'vision_cfg': vision, 'text_cfg': text}}
        return {
            'type': 'DegradationAdaptor', 'view': reader.view, 'stem': reader.stem,
            'logit_init': 'siglip' if reader.loss == 'sigmoid' else 'clip',
            **({'clip': self.clip[0], 'pretrained': self.clip[1]} if self.clip else small),
        }  # fmt: skip

    def backbone(self) -> dict[str, Any]:
        """The SR network without a prior."""
        if not self.dat:
            return {'type': 'PlainResNet'}
        return {
            'type': 'DAT', 'upscale': SCALE, 'img_size': LQ_SIZE, 'split_size': [8, 32], 'depth': [18],
            'embed_dim': 60, 'num_heads': [6], 'expansion_factor': 2, 'resi_connection': '3conv',
            'upsampler': 'pixelshuffledirect',
        }  # fmt: skip

    def network_g(self, arm: Arm) -> dict[str, Any]:
        """The SR network of an arm."""
        fusion = {'prior_dim': self.prior_dim, 'fusion': arm.fusion}
        if self.dat:
            return {**self.backbone(), 'type': 'FusedDAT', 'fusion_layers': 'all', **fusion}
        return {
            'type': 'Fused', 'backbone': self.backbone(), 'fuse_at': [f'body.{place}' for place in arm.places], **fusion
        }  # fmt: skip

    def train_set(self, batch: int, photos: str, recipe: str) -> dict[str, Any]:
        """The data set of both stages; crops of LR size CONTEXT."""
        return {
            'name': 'train', 'type': 'CaptionedDegradationDataset', 'dataroot_gt': photos, 'gt_size': CONTEXT * SCALE,
            'recipe': RECIPES[recipe], 'context_length': self.context_length,
            'degrade_on': 'device', 'num_worker_per_gpu': 0, 'batch_size_per_gpu': batch, 'dataset_enlarge_ratio': 50,
        }  # fmt: skip

    def stage1(self, name: str, steps: int) -> dict[str, Any]:
        """Options of a reader's training."""
        reader = READERS[name]
        opt = {
            **self._common(f'reader_{name}', 0),
            'model_type': 'LevelRegressorModel' if reader.loss == 'regression' else 'DegradationAdaptorModel',
            'datasets': {'train': self.train_set(32, reader.photos, reader.recipe)},
            'network_da': self.network_da(name),
            'path': {},
            'train': {
                **_schedule(steps), 'warmup_iter': 50,
                'optim_da': {'type': 'AdamW', 'lr': 2e-3, 'betas': [0.9, 0.98], 'weight_decay': 0.05},
            },
        }  # fmt: skip
        if reader.loss != 'regression':
            weights = [0.0, 0.2, 0.8]  # the photos have no semantic captions
            ordinal = {'softness': reader.softness, 'spread': reader.spread}
            opt['train']['contrastive_opt'] = {
                'ordinal': {'type': 'DegradationOrdinalLoss', 'weights': weights, **ordinal},
                'softmax': {'type': 'DegradationSoftmaxLoss', 'weights': weights},
                'equal': {'type': 'DegradationSoftmaxLoss', 'weights': weights, 'equal_positive': True},
                'sigmoid': {'type': 'DegradationSigmoidLoss', 'weights': weights},
            }[reader.loss]
        return opt

    def stage2(self, name: str, steps: int) -> dict[str, Any]:
        """Options of an SR network's training."""
        arm = ARMS[name]
        opt = {
            **self._common(self.run_of(name), arm.seed),
            'model_type': 'DePLSRModel',
            'prior': arm.prior,
            'prior_form': arm.form,
            'datasets': {
                'train': {
                    **self.train_set(16, arm.photos, arm.recipe), 'seed': arm.seed, 'gt_size': LQ_SIZE * SCALE,
                    'degrade_size': CONTEXT * SCALE, 'context': arm.context,
                },
            },
            'network_g': self.network_g(arm),
            'path': {},
            'train': {
                **_schedule(steps),
                'optim_g': {'type': 'Adam', 'lr': 2e-4 if self.dat else 1e-3, 'betas': [0.9, 0.99]},
                'pixel_opt': {'type': 'L1Loss'},
                'prior_dropout': arm.dropout,
            },
        }  # fmt: skip
        if arm.prior not in ('none', 'levels'):
            opt['network_da'] = self.network_da(arm.reader)
            opt['path'] = {'pretrain_network_da': f'experiments/reader_{arm.reader}/models/net_da_latest.pth'}
        return opt

    def _common(self, name: str, seed: int) -> dict[str, Any]:
        return {
            'name': name, 'num_gpu': self.gpus, 'scale': SCALE, 'manual_seed': seed, 'plugins': ['plain_resnet'],
            'logger': {'print_freq': 50, 'save_checkpoint_freq': 250},
        }  # fmt: skip


def _schedule(steps: int) -> dict[str, Any]:
    return {
        'total_iter': steps,
        'scheduler': {'type': 'CosineAnnealingRestartLR', 'periods': [steps], 'eta_min': 1e-6},
    }
