"""Every option file we ship is read strictly, and each mistake in one gives one clear line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY

import deplsr_arch  # noqa: F401
import deplsr_model  # noqa: F401
from basicsr_plugin.checks import check_names_and_files, require_keys
from basicsr_plugin.options import read_options
from basicsr_plugin.parse_options import read_yaml
from deplsr_data.degradation.recipes import read_recipe
from deplsr_model.options import AdaptorOptions, GANOptions, SROptions
from deplsr_model.recipe import apply_recipe

ROOT = Path(__file__).parents[2]
FILES = sorted(path.relative_to(ROOT) for path in ROOT.glob('options/**/*.yml'))
READ_AS = {'DegradationAdaptorModel': AdaptorOptions, 'DePLSRModel': SROptions, 'DePLSRGANModel': GANOptions}


@pytest.mark.parametrize('file', FILES, ids=str)
def test_shipped_option_files_have_no_key_that_nobody_reads(file, monkeypatch):
    opt = read_yaml(str(ROOT / file))
    opt.update(is_train='train' in opt, num_gpu=0, auto_resume=False)
    require_keys(opt, opt['is_train'])
    monkeypatch.setattr('os.path.exists', lambda path: True)  # the photos and weights are the user's
    check_names_and_files(opt)
    if opt['model_type'] in READ_AS:
        stage1 = opt['model_type'] == 'DegradationAdaptorModel'
        apply_recipe(opt, ('network_da', 'train') if stage1 else ('prior_form', 'network_g', 'network_da'))
        read_options(READ_AS[opt['model_type']], opt, '')
    for name, dataset in opt['datasets'].items():
        if 'recipe' in dataset:
            read_recipe(dataset['recipe'], f'datasets.{name}.recipe')


@pytest.mark.parametrize('file', [file for file in FILES if 'network_g' in read_yaml(str(ROOT / file))], ids=str)
def test_the_networks_of_shipped_option_files_can_be_built(file):
    opt = read_yaml(str(ROOT / file))
    for key in ('network_g', 'network_d'):
        if key in opt:
            ARCH_REGISTRY.get(opt[key].pop('type'))(**opt[key])


def test_everything_the_packages_offer_is_registered():
    assert {'DAT', 'FusedDAT', 'Fused', 'FusedRRDBNet', 'FusedSwinIR', 'DegradationAdaptor', 'LevelRegressor'} <= set(
        ARCH_REGISTRY.keys()
    )
    assert 'CaptionedDegradationDataset' in DATASET_REGISTRY
    assert {'DegradationAdaptorModel', 'DePLSRModel', 'DePLSRGANModel'} <= set(MODEL_REGISTRY.keys())
    assert {'DegradationOrdinalLoss', 'DegradationSigmoidLoss', 'DegradationSoftmaxLoss'} <= set(LOSS_REGISTRY.keys())
    assert 'level_accuracy' in METRIC_REGISTRY


MISTAKES = {
    'misspelt key of the model': ({'train__ema_decy': 0.9}, "train: unknown key 'ema_decy'; did you mean 'ema_decay'?"),
    'misspelt key of the data set': (
        {'datasets__train__recip': {}},
        "datasets.train: unknown key 'recip'; did you mean 'recipe'?",
    ),
    'misspelt key of the recipe': (
        {'datasets__train__recipe': {'type': 'semantic', 'jpg_range': [30, 95]}},
        "datasets.train.recipe: unknown key 'jpg_range'; did you mean 'jpeg_range'?",
    ),
    'range the wrong way round': (
        {'datasets__train__recipe': {'type': 'semantic', 'jpeg_range': [95, 30]}},
        'got [95, 30]',
    ),
    'missing dataroot': ({'datasets__train__dataroot_gt': 'nowhere'}, 'datasets.train.dataroot_gt'),
    'misspelt network argument': ({'network_g__embed_dm': 16}, "network_g: unknown key 'embed_dm'; did you mean"),
    'network argument out of range': ({'network_g__fusion_layers': '7'}, 'fusion_layers: expected'),
    'unknown CLIP': (
        {'network_da': {'type': 'DegradationAdaptor', 'clip': 'ViT-B-33'}},
        "expected a model name of open_clip, got 'ViT-B-33'; did you mean",
    ),
    'no adaptor': ({'path': {}}, "path.pretrain_network_da: expected the adaptor's checkpoint of stage 1"),
    'unknown data set': ({'datasets__train__type': 'CaptionedDataset'}, "nothing called 'CaptionedDataset'"),
    'short schedule': (
        {'train__scheduler': {'type': 'CosineAnnealingRestartLR', 'periods': [2]}},
        'train.scheduler.periods: expected a list with a sum of at least total_iter (4), got [2]',
    ),
    'no learning rate': ({'train__optim_g': {'type': 'Adam', 'lrr': 1e-3}}, "missing key 'lr'"),
    'no optimizer type': ({'train__optim_g': {'lr': 1e-3}}, "train.optim_g: missing key 'type'"),
    'misspelt key of the optimizer': (
        {'train__optim_g': {'type': 'Adam', 'lr': 1e-3, 'weight_decy': 0}},
        "unknown key 'weight_decy'; did you mean 'weight_decay'?",
    ),
    'unknown scheduler': ({'train__scheduler': {'type': 'StepLR'}}, "got 'StepLR'"),
    'misspelt key of the scheduler': (
        {'train__scheduler': {'type': 'MultiStepLR', 'milestone': [3]}},
        "train.scheduler: unknown key 'milestone'; did you mean 'milestones'?",
    ),
    'periods that are no list': (
        {'train__scheduler': {'type': 'CosineAnnealingRestartLR', 'periods': 4}},
        'train.scheduler.periods: expected a list',
    ),
    'no loss': ({'train__pixel_opt': None}, 'expected pixel_opt or perceptual_opt, got neither'),
    'no adaptor options': ({'network_da': None}, "missing key 'network_da'"),
    'a network without prior': (
        {'network_g': {'type': 'MSRResNet', 'upscale': 2}, 'prior': 'none'},
        'expected a network that takes a prior, got MSRResNet',
    ),
    'a tile within its overlap': ({'val__tile': 16}, 'expected a tile above tile_overlap (16), got 16'),
    'another scale': ({'network_g__upscale': 4}, 'network_g.upscale: expected 2, the scale of the run, got 4'),
    'a batch larger than an epoch': (
        {'datasets__train__batch_size_per_gpu': 64},
        'datasets.train.batch_size_per_gpu: expected at most 16, the samples of an epoch, got 64',
    ),
    'unknown prior': ({'prior': 'caption'}, 'prior: expected adaptor, none, captions, levels, clip, or words such as'),
    'dropout beyond one': ({'train__prior_dropout': 1.5}, 'train.prior_dropout'),
    'words that are no caption': ({'prior': 'heavy noise'}, "'heavy noise' is no caption"),
}


@pytest.mark.parametrize(('changes', 'line'), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_in_the_option_file_gives_one_clear_line(workplace, stage2, trained_adaptor, capsys, changes, line):
    changes = {'path__pretrain_network_da': str(trained_adaptor), **changes}
    if 'path' in changes:
        del changes['path__pretrain_network_da']
    assert workplace.run('train', stage2, **changes) == 2
    error = [text for text in capsys.readouterr().err.splitlines() if text.startswith('basicsr: error: ')]
    assert len(error) == 1
    assert line in error[0]


STAGE_1_MISTAKES = {
    'weights of nothing': (
        {'train__contrastive_opt': {'type': 'DegradationSoftmaxLoss', 'weights': [0, 0, 0]}},
        'weights',
    ),
    'one weight': ({'train__contrastive_opt': {'type': 'DegradationOrdinalLoss', 'weights': 0.5}}, 'weights: expected'),
    'a template with a name': ({'val__template': 'A photo with {level}'}, 'expected a template with one {}'),
    'unused parameters': ({'find_unused_parameters': True}, 'find_unused_parameters: expected false'),
    'no network': ({'network_da': None}, 'network_da'),
}


@pytest.mark.parametrize(('changes', 'line'), STAGE_1_MISTAKES.values(), ids=STAGE_1_MISTAKES.keys())
def test_a_mistake_in_stage_1_gives_one_clear_line(workplace, stage1, capsys, changes, line):
    assert workplace.run('train', {**stage1, 'find_unused_parameters': False}, **changes) == 2
    error = [text for text in capsys.readouterr().err.splitlines() if text.startswith('basicsr: error: ')]
    assert len(error) == 1
    assert line in error[0]


def test_weights_of_another_shape_give_one_line(workplace, stage2, trained_adaptor, capsys):
    small = {**stage2['network_da'], 'clip': {**stage2['network_da']['clip'], 'embed_dim': 8}}
    assert workplace.run('train', stage2, network_da=small, path__pretrain_network_da=str(trained_adaptor)) == 2
    error = capsys.readouterr().err
    assert 'does not fit DegradationAdaptor' in error
    assert 'of another shape' in error


def test_a_network_that_was_saved_smaller_gives_one_line(workplace, stage2, trained_adaptor, capsys):
    path = {'pretrain_network_da': str(trained_adaptor), 'pretrain_network_g': str(trained_adaptor)}
    assert workplace.run('train', stage2, path=path) == 2
    assert 'does not fit FusedDAT' in capsys.readouterr().err


def test_an_unreadable_photo_gives_one_line(workplace, stage1, capsys):
    for photo in (workplace.path / 'photos').iterdir():
        photo.write_bytes(photo.read_bytes()[:60])
    assert workplace.run('train', stage1) == 2
    error = [text for text in capsys.readouterr().err.splitlines() if text.startswith('basicsr: error: ')]
    assert len(error) == 1
    assert 'photos' in error[0] or '.png' in error[0]


def test_wrong_caption_columns_give_one_line(workplace, stage1, capsys):
    (workplace.path / 'captions.tsv').write_text('file\tcaption\n0.png\ta photo\n', encoding='utf-8')
    assert workplace.run('train', stage1, datasets__train__meta_info='captions.tsv') == 2
    error = capsys.readouterr().err
    assert 'filepath' in error
    assert 'caption' in error


def test_a_context_of_another_length_gives_one_line(workplace, stage1, capsys):
    assert workplace.run('train', stage1, datasets__train__context_length=40) == 2
    assert 'expected the 48 tokens that network_da reads, got 40' in capsys.readouterr().err


def test_a_checkpoint_holds_plain_tensors_only(trained_adaptor):
    assert all(
        isinstance(value, torch.Tensor) for value in torch.load(trained_adaptor, weights_only=True)['params'].values()
    )
