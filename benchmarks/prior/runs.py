"""What is trained: degradation estimators (stage 1), and SR networks that differ in their prior alone (stage 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import open_clip

from deplsr_data.degradation.level_tables import level_table

SCALE, LQ_SIZE, CONTEXT = 4, 32, 64  #: of the SR networks; their patch and the estimators' input, in LR pixels
TABLE = level_table('nominal')  #: levels and captions of the experiment
PLUGIN = 'benchmarks.prior.controls'  #: registers what the experiment alone uses
RECIPE = {
    'type': 'semantic', 'resize_mode': 'area', 'blur_sigma': [0.0, 3.0], 'aniso_prob': 0.0, 'noise_range': [0.0, 30.0],
    'gaussian_noise_prob': 1.0, 'gray_noise_prob': 0.0, 'jpeg_range': [30.0, 95.0], 'sinc_prob': 0.0,
    'second_order': False,
}  # fmt: skip
#: Training recipes; ``all_types`` adds Poisson noise to half of the images and ringing to a fifth, as published.
RECIPES = {
    'semantic': RECIPE,
    'all_types': {**RECIPE, 'gaussian_noise_prob': 0.5, 'sinc_prob': 0.2},
    'realesrgan': {'type': 'realesrgan'},
}  # fmt: skip
BLOCKS = (0, 2, 4, 6)  #: before which the prior is fused


@dataclass(frozen=True)
class Estimator:
    """A degradation estimator; the defaults are the shipped form, an ablation changes some of them."""

    description: str
    loss: str = 'ordinal'
    view: str = 'native'
    stem: str = 'conv'
    side: int = 64
    patch: int = 8
    softness: float = 0.0
    whitened: bool = True
    photos: str = 'train'  #: folder of tiles, see train.SIZES
    recipe: str = 'semantic'  #: of RECIPES
    long: bool = False  #: trained for the SR variants; ablations are trained for fewer steps
    times: float = 1.0  #: steps in multiples of the adaptor's, so that training takes as long


@dataclass(frozen=True)
class Variant:
    """An SR network with a prior; ``oracle`` uses only the text tower of its estimator, which is the same for all."""

    description: str
    prior: str = 'estimated'
    estimator: str = 'adaptor'
    form: str = 'mixture'
    fusion: str = 'film'
    blocks: tuple[int, ...] = BLOCKS
    context: bool = True
    dropout: float = 0.0
    photos: str = 'train'  #: folder of tiles, see train.SIZES
    recipe: str = 'semantic'  #: of RECIPES
    seed: int = 0
    short: bool = False  #: half of the steps
    baseline: str = 'constant'  #: the variant that it is compared with

    @property
    def needs_estimator(self) -> bool:
        """Whether the prior is made with an estimator's network."""
        return self.prior not in ('none', 'levels')


def _short(description: str, baseline: str, **changes: Any) -> Variant:
    """A variant with half of the steps that differs from its baseline in one thing."""
    return Variant(description, short=True, baseline=baseline, **changes)


def _oracle(description: str, baseline: str, **changes: Any) -> Variant:
    """A short variant that is conditioned on the true levels."""
    return _short(description, baseline, prior='captions', estimator='adaptor_short', **changes)


ESTIMATORS = {
    'adaptor': Estimator('DePLSR as shipped: native scale, convolutional stem, ordinal loss', long=True),
    'regressor': Estimator('plain CNN regressor, L1 on the levels', loss='regression', long=True, times=1.25),
    'adaptor_short': Estimator('as shipped'),
    'regressor_short': Estimator('plain CNN regressor', loss='regression', times=1.25),
    'adaptor_full_size': Estimator('photos at their own size, not shrunk', photos='train_full'),
    'regressor_full_size': Estimator(
        'plain CNN regressor on such photos', 'regression', photos='train_full', times=1.25
    ),
    'published': Estimator(
        'published: enlarged to the tower, plain patches, sigmoid loss', 'sigmoid', 'resize', 'patch', 128, 16
    ),
    'enlarged': Estimator('input enlarged to the tower', view='resize', side=128, patch=16),
    'plain_patches': Estimator('plain patches of 8 pixels, soft targets', stem='patch', softness=1.0),
    'softmax': Estimator('softmax loss', loss='softmax'),
    'equal_positives': Estimator('softmax loss, equal captions as positives', loss='equal_positives'),
    'sigmoid': Estimator('sigmoid loss', loss='sigmoid'),
    'soft_targets': Estimator('soft targets, one step wide', softness=1.0),
    'unwhitened': Estimator('texts not whitened', whitened=False),
    'unwhitened_soft_targets': Estimator('texts not whitened, soft targets', whitened=False, softness=1.0),
    'all_types': Estimator('as shipped, trained on both types of noise and on ringing', recipe='all_types'),
    'realesrgan': Estimator("as shipped, trained on Real-ESRGAN's recipe", recipe='realesrgan'),
}

VARIANTS = {
    'constant': Variant('a learned constant in place of the prior', 'none'),
    'oracle': Variant('true levels as text embeddings', 'captions', 'adaptor_short'),
    'adaptor': Variant('DePLSR: levels estimated by the adaptor'),
    'regressor': Variant('numbers estimated by a CNN regressor', estimator='regressor'),
    'constant_1': Variant('', 'none', seed=1),
    'oracle_1': Variant('', 'captions', 'adaptor_short', seed=1),
    'adaptor_1': Variant('', seed=1),
    'regressor_1': Variant('', estimator='regressor', seed=1),
    'clip': Variant('the plain frozen image embedding', 'clip', 'adaptor_short'),
    'film_constant': _short('a learned constant', 'film_constant', prior='none'),
    'film_oracle': _oracle('true levels as text embeddings', 'film_constant'),
    'film_adaptor': _short('levels estimated by the adaptor', 'film_constant'),
    'full_size': _short('photos not shrunk, learned constant', 'film_constant', prior='none', photos='train_full'),
    'paper_constant': _short('a learned constant', 'paper_constant', prior='none', fusion='paper'),
    'paper_oracle': _oracle('true levels', 'paper_constant', fusion='paper'),
    'residual_constant': _short('a learned constant', 'residual_constant', prior='none', fusion='residual'),
    'residual_oracle': _oracle('true levels', 'residual_constant', fusion='residual'),
    'realesrgan_constant': _short('a learned constant', 'realesrgan_constant', prior='none', recipe='realesrgan'),
    'realesrgan_oracle': _oracle('true levels as text embeddings', 'realesrgan_constant', recipe='realesrgan'),
    'realesrgan_adaptor': _short(
        'levels estimated by an adaptor', 'realesrgan_constant', estimator='realesrgan', recipe='realesrgan'
    ),
    'embedding': _short("the adaptor's embeddings, no mixture of texts", 'film_adaptor', form='embedding'),
    'no_context': _short('the adaptor sees the SR patch alone in training', 'film_adaptor', context=False),
    'dropout': _short('prior dropout of 0.1', 'film_adaptor', dropout=0.1),
    'numbers': _short('true levels as numbers', 'film_oracle', prior='levels'),
    'embedding_oracle': _oracle('embeddings of the true captions, no mixture', 'film_oracle', form='embedding'),
    'one_block': _oracle('true levels, fused before the first block alone', 'film_oracle', blocks=(0,)),
    'all_blocks': _oracle('true levels, fused before every block', 'film_oracle', blocks=tuple(range(8))),
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
    def tokenizer(self) -> str:
        """The open_clip model whose tokenizer captions go through."""
        return self.clip[0] if self.clip else 'ViT-B-32'

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

    def variants(self) -> dict[str, Variant]:
        """The SR variants; FusedDAT-light has one group of blocks, so the blocks cannot be varied."""
        return {name: variant for name, variant in VARIANTS.items() if variant.blocks == BLOCKS or not self.dat}

    def run_of(self, variant: str) -> str:
        """The name of a variant's training."""
        return f'sr_{"dat_light_" if self.dat else ""}{variant}'

    def network_da(self, name: str) -> dict[str, Any]:
        """An estimator's network."""
        estimator = ESTIMATORS[name]
        if estimator.loss == 'regression':
            return {'type': 'LevelRegressor', 'prior_dim': self.prior_dim, 'num_feat': 96}
        vision = {
            'image_size': estimator.side, 'patch_size': estimator.patch, 'width': 96, 'layers': 2, 'head_width': 32,
            'pool_type': 'avg',
        }  # fmt: skip
        text = {'context_length': self.context_length, 'vocab_size': 49408, 'width': 64, 'heads': 2, 'layers': 2}
        small = {'clip': {'embed_dim': self.prior_dim, 'vision_cfg': vision, 'text_cfg': text}}
        return {
            'type': 'DegradationAdaptor', 'view': estimator.view, 'stem': estimator.stem,
            'logit_init': 'siglip' if estimator.loss == 'sigmoid' else 'clip',
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

    def network_g(self, variant: Variant) -> dict[str, Any]:
        """The SR network of a variant."""
        fusion = {'prior_dim': self.prior_dim, 'fusion': variant.fusion}
        if self.dat:
            return {**self.backbone(), 'type': 'FusedDAT', 'fusion_layers': 'all', **fusion}
        blocks = [f'body.{block}' for block in variant.blocks]
        return {'type': 'Fused', 'backbone': self.backbone(), 'fuse_at': blocks, **fusion}

    def train_set(self, batch: int, photos: str, recipe: str) -> dict[str, Any]:
        """The data set of both stages; crops of LR size CONTEXT."""
        return {
            'name': 'train', 'type': 'CaptionedDegradationDataset', 'dataroot_gt': photos, 'gt_size': CONTEXT * SCALE,
            'recipe': RECIPES[recipe], 'levels': TABLE.name, 'tokenizer': self.tokenizer,
            'context_length': self.context_length,
            'degrade_on': 'device', 'num_worker_per_gpu': 0, 'batch_size_per_gpu': batch, 'dataset_enlarge_ratio': 50,
        }  # fmt: skip

    def stage1(self, name: str, steps: int) -> dict[str, Any]:
        """Options of an estimator's training."""
        estimator = ESTIMATORS[name]
        regression = estimator.loss == 'regression'
        opt = {
            **self._common(f'estimator_{name}', 0),
            'model_type': 'LevelRegressorModel' if regression else 'DegradationAdaptorModel',
            'datasets': {'train': self.train_set(32, estimator.photos, estimator.recipe)},
            'network_da': self.network_da(name),
            'path': {},
            'train': {
                **_schedule(steps), 'warmup_iter': 50,
                'optim_da': {'type': 'AdamW', 'lr': 2e-3, 'betas': [0.9, 0.98], 'weight_decay': 0.05},
            },
        }  # fmt: skip
        if not regression:
            opt['train']['contrastive_opt'] = _loss(estimator)
        return opt

    def stage2(self, name: str, steps: int) -> dict[str, Any]:
        """Options of an SR network's training."""
        variant = VARIANTS[name]
        opt = {
            **self._common(self.run_of(name), variant.seed),
            'model_type': 'DePLSRModel',
            'prior': variant.prior,
            'prior_form': variant.form,
            'datasets': {
                'train': {
                    **self.train_set(16, variant.photos, variant.recipe), 'seed': variant.seed,
                    'gt_size': LQ_SIZE * SCALE, 'degrade_size': CONTEXT * SCALE, 'context': variant.context,
                },
            },
            'network_g': self.network_g(variant),
            'path': {},
            'train': {
                **_schedule(steps),
                'optim_g': {'type': 'Adam', 'lr': 2e-4 if self.dat else 1e-3, 'betas': [0.9, 0.99]},
                'pixel_opt': {'type': 'L1Loss'},
                'prior_dropout': variant.dropout,
            },
        }  # fmt: skip
        if variant.needs_estimator:
            weights = f'experiments/estimator_{variant.estimator}/models/net_da_latest.pth'
            opt |= {'network_da': self.network_da(variant.estimator), 'path': {'pretrain_network_da': weights}}
        return opt

    def _common(self, name: str, seed: int) -> dict[str, Any]:
        return {
            'name': name, 'num_gpu': self.gpus, 'scale': SCALE, 'manual_seed': seed, 'levels': TABLE.name,
            'plugins': [PLUGIN],
            'logger': {'print_freq': 50, 'save_checkpoint_freq': 250},
        }  # fmt: skip


def _loss(estimator: Estimator) -> dict[str, Any]:
    """The loss of an adaptor; without content, since the photos have no semantic captions."""
    weights = [0.0, 0.2, 0.8]
    if estimator.loss != 'ordinal':
        types = {
            'softmax': 'DegradationSoftmaxLoss', 'equal_positives': 'EqualPositivesSoftmaxLoss',
            'sigmoid': 'DegradationSigmoidLoss',
        }  # fmt: skip
        return {'type': types[estimator.loss], 'weights': weights}
    if estimator.softness == 0 and estimator.whitened:
        return {'type': 'DegradationOrdinalLoss', 'weights': weights}
    ablation = {'softness': estimator.softness, 'whitened': estimator.whitened}
    return {'type': 'AblatedOrdinalLoss', 'weights': weights, **ablation}


def _schedule(steps: int) -> dict[str, Any]:
    return {
        'total_iter': steps,
        'scheduler': {'type': 'CosineAnnealingRestartLR', 'periods': [steps], 'eta_min': 1e-6},
    }
