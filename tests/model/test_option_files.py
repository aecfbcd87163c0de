"""Every shipped option file is read strictly, and each mistake in an option file is one clear line."""

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
from deplsr_model.deplsr_model import DePLSRModel
from deplsr_model.estimator_options import AdaptorTrainOptions
from deplsr_model.options import refuse_old_options

ROOT = Path(__file__).parents[2]
FILES = sorted(path.relative_to(ROOT) for path in ROOT.glob('options/**/*.yml'))
PAPER = ROOT / 'options/paper'


@pytest.mark.parametrize('file', FILES, ids=str)
def test_shipped_option_files_have_no_unknown_key(file, monkeypatch):
    opt = read_yaml(str(ROOT / file))
    opt.update(is_train='train' in opt, num_gpu=0, auto_resume=False)
    require_keys(opt, opt['is_train'])
    monkeypatch.setattr('os.path.exists', lambda path: True)  # the photos and weights are the user's
    check_names_and_files(opt)
    options_class = getattr(MODEL_REGISTRY.get(opt['model_type']), 'options_class', None)
    if options_class:
        refuse_old_options(opt)
        read_options(options_class, opt, '')
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
    assert 'level_accuracy' not in METRIC_REGISTRY  # no option file could use it


def test_the_defaults_are_the_measured_form_and_options_paper_the_published_one():
    options = DePLSRModel.options_class.__dataclass_fields__
    assert (options['prior'].default, options['prior_form'].default) == ('estimated', 'mixture')
    assert AdaptorTrainOptions(total_iter=1, optim_da={}, scheduler={}).contrastive_opt == {
        'type': 'DegradationOrdinalLoss'
    }
    adaptor = read_yaml(str(PAPER / 'train_degradation_adaptor.yml'))
    form = {'view': 'resize', 'stem': 'patch', 'logit_init': 'siglip'}
    assert form.items() <= adaptor['network_da'].items()
    assert adaptor['train']['contrastive_opt']['type'] == 'DegradationSigmoidLoss'
    assert adaptor['val']['template'] == 'A photo with {}'
    files = sorted(PAPER.glob('*.yml'))
    assert len(files) == 4
    for file in FILES:
        opt = read_yaml(str(ROOT / file))
        published = file.parent.name == 'paper'
        assert opt.get('levels') == ('nominal' if published else None)
        ours = [one for one in opt['datasets'].values() if one['type'].startswith('Captioned')]
        assert all(one.get('levels') == opt.get('levels') for one in ours)
        conditioned = [opt[key] for key in ('network_g', 'network_da') if key in opt and 'network_da' in opt]
        assert all(one.get('num_degradation_types') == (None if published else 8) for one in conditioned)
    for file in (one for one in files if 'deplsr' in one.name):
        opt = read_yaml(str(file))
        assert form.items() <= opt['network_da'].items()
        assert (opt['prior_form'], opt['network_g']['fusion']) == ('embedding', 'paper')


def test_the_form_of_the_paper_trains_in_both_stages(workplace, stage1, stage2):
    adaptor = {**stage1['network_da'], 'view': 'resize', 'stem': 'patch', 'logit_init': 'siglip'}
    changes = {'train__contrastive_opt': {'type': 'DegradationSigmoidLoss'}, 'val__template': 'A photo with {}'}
    assert workplace.run('train', stage1, network_da=adaptor, **changes) == 0
    weights = torch.load('experiments/adaptor/models/net_da_latest.pth', weights_only=True)['params']
    assert 'logit_bias' in weights  # the sigmoid loss has one
    published = {**stage2, 'network_da': adaptor, 'prior_form': 'embedding'}
    assert workplace.run('train', published, network_g={**stage2['network_g'], 'fusion': 'paper'}) == 0
    weights = torch.load('experiments/sr/models/net_g_latest.pth', weights_only=True)['params']
    assert 'fusion_blocks.0.attn.attn_d.q.weight' in weights


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
    'a backend that does not exist': (
        {'datasets__train__io_backend': {'type': 'dsik'}},
        "datasets.train.io_backend.type: expected 'disk', 'lmdb' or 'memcached', got 'dsik'; did you mean 'disk'?",
    ),
    'a backend of another type': ({'datasets__val__io_backend': {'type': ['disk']}}, "got ['disk']"),
    'a scale that is text': ({'scale': '2'}, 'error: scale: expected a whole number'),
    'a scale that is no number': ({'scale': float('nan')}, 'error: scale: expected a finite number, got nan'),
    'no adaptor': ({'path': {}}, "path.pretrain_network_da: expected the adaptor's checkpoint of stage 1"),
    'unknown data set': ({'datasets__train__type': 'CaptionedDataset'}, "nothing called 'CaptionedDataset'"),
    'short schedule': (
        {'train__scheduler': {'type': 'CosineAnnealingRestartLR', 'periods': [2]}},
        'train.scheduler.periods: expected a list with a sum of at least total_iter (4), got [2]',
    ),
    'no learning rate': ({'train__optim_g': {'type': 'Adam', 'lrr': 1e-3}}, "unknown key 'lrr'; did you mean 'lr'?"),
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
    'a batch of one where batch norm needs two': (
        {'datasets__train__batch_size_per_gpu': 1},
        'datasets.train.batch_size_per_gpu: expected at least 2 with FusedDAT, whose batch norm needs so many samples',
    ),
    'unknown prior': ({'prior': 'caption'}, 'prior: expected estimated, none, captions'),
    'a prior of version 0.1': (
        {'prior': 'adaptor'},
        "prior: 'adaptor' is an option of version 0.1; did you mean 'estimated'?",
    ),
    'a control of version 0.1': (
        {'prior': 'levels'},
        "prior: 'levels' is an option of version 0.1; it is in benchmarks/prior, with plugins: [benchmarks.prior",
    ),
    'a form of version 0.1': (
        {'prior_form': 'words'},
        "prior_form: 'words' is an option of version 0.1; did you mean 'mix",
    ),
    'a recipe of version 0.1': (
        {'recipe': 'paper'},
        "recipe: expected no such key at the top level, got 'paper'; remove it: the measured form is the default, and",
    ),
    'another tokenizer where tokens are used': (
        {'prior': 'captions', 'prior_form': 'embedding', 'datasets__val__tokenizer': 'ViT-B-16-SigLIP'},
        "got 'ViT-B-16-SigLIP'",
    ),
    'another context length where tokens are used': (
        {'prior': 'captions', 'prior_form': 'embedding', 'datasets__train__context_length': None},
        'datasets.train.context_length: expected 48, that of network_da, got 77; set it to 48',
    ),
    'an SR network in place of the estimator': (
        {'network_da': {'type': 'MSRResNet'}},
        'network_da.type: expected a degradation estimator, got MSRResNet',
    ),
    'a network for other degradation types': (
        {'network_da__num_degradation_types': 9},
        'network_da.num_degradation_types: expected at most 8, the types of effective levels (blur, noise, grain, jpe',
    ),
    'other levels in a data set': (
        {'datasets__val__levels': 'nominal'},
        'datasets.val.levels: expected effective, the levels at the top level, got nominal; set levels: nominal at the',
    ),
    'other levels at the top level': (
        {'levels': 'nominal'},
        'datasets.train.levels: expected nominal, the levels at the top level, got effective; set levels: effective at',
    ),
    'unknown levels': (
        {'levels': 'effektive'},
        "levels: expected 'effective' or 'nominal', got 'effektive'; did you mean 'effective'?",
    ),
    'dropout beyond one': ({'train__prior_dropout': 1.5}, 'train.prior_dropout'),
    'a text that is no caption': ({'prior': 'heavy noise'}, "'heavy noise' is no caption"),
}


def test_a_misspelt_key_leaves_an_earlier_run_where_it_is(workplace, stage1):
    run = workplace.path / 'experiments/adaptor'
    run.mkdir(parents=True)
    for changes in (
        {'datasets__train__gt_sise': 32},
        {'val__batsh': 2},
        {'levels': 'nominal'},
        {'datasets__train__recipe': {'jpg_range': [1, 2]}},
    ):
        assert workplace.run('train', stage1, **changes) == 2
        assert [path.name for path in run.parent.iterdir()] == ['adaptor']


@pytest.mark.parametrize(('changes', 'line'), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_in_the_option_file_is_one_clear_line(workplace, stage2, trained_adaptor, capsys, changes, line):
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
    'a template where it has no effect': (
        {'train__contrastive_opt': {'type': 'DegradationOrdinalLoss'}, 'val__template': 'A photo with {}'},
        "val.template: expected with the published losses only, got 'A photo with {}' with DegradationOrdinalLoss",
    ),
    'a loss of stage 2': (
        {'train__contrastive_opt': {'type': 'L1Loss'}},
        'train.contrastive_opt.type: expected a loss of stage 1, got L1Loss',
    ),
    'another tokenizer': (
        {'datasets__train__tokenizer': 'ViT-B-16-SigLIP'},
        "got 'ViT-B-16-SigLIP'",
    ),
    'another context length': (
        {'datasets__train__context_length': 40},
        'datasets.train.context_length: expected 48, that of network_da, got 40; set it to 48',
    ),
    'a recipe of version 0.1': ({'recipe': 'measured'}, 'recipe: expected no such key at the top level'),
    'other degradation types': (
        {'network_da__num_degradation_types': 9},
        'network_da.num_degradation_types: expected at most 8, the types of effective levels',
    ),
    'unused parameters': ({'find_unused_parameters': True}, 'find_unused_parameters: expected false'),
    'no network': ({'network_da': None}, 'network_da'),
    'a scale that is text': ({'scale': '2'}, 'error: scale: expected a whole number'),
    'a scale that is zero': ({'scale': 0}, 'error: scale: expected a number greater than or equal to 1, got 0'),
}


@pytest.mark.parametrize(('changes', 'line'), STAGE_1_MISTAKES.values(), ids=STAGE_1_MISTAKES.keys())
def test_a_mistake_in_stage_1_is_one_clear_line(workplace, stage1, capsys, changes, line):
    assert workplace.run('train', {**stage1, 'find_unused_parameters': False}, **changes) == 2
    error = [text for text in capsys.readouterr().err.splitlines() if text.startswith('basicsr: error: ')]
    assert len(error) == 1
    assert line in error[0]


def test_a_missing_scale_is_one_line_at_the_top(workplace, stage1, capsys):
    del (options := {**stage1})['scale']
    assert workplace.run('train', options) == 2
    error = [text for text in capsys.readouterr().err.splitlines() if text.startswith('basicsr: error: ')]
    assert error == ["basicsr: error: missing key 'scale'; expected a whole number >= 1"]


def test_a_missing_scale_explains_one_of_the_network_that_does_not_fit(workplace, stage2, trained_adaptor, capsys):
    del (options := {**stage2})['scale']
    assert workplace.run('train', options, path__pretrain_network_da=str(trained_adaptor)) == 2
    error = [text for text in capsys.readouterr().err.splitlines() if text.startswith('basicsr: error: ')]
    assert error == ["basicsr: error: missing key 'scale'; expected a whole number >= 1"]


def test_weights_of_another_shape_are_one_line(workplace, stage2, trained_adaptor, capsys):
    small = {**stage2['network_da'], 'clip': {**stage2['network_da']['clip'], 'embed_dim': 8}}
    assert workplace.run('train', stage2, network_da=small, path__pretrain_network_da=str(trained_adaptor)) == 2
    error = capsys.readouterr().err
    assert 'does not fit DegradationAdaptor' in error
    assert 'of another shape' in error


def test_a_network_that_was_saved_smaller_is_one_line(workplace, stage2, trained_adaptor, capsys):
    path = {'pretrain_network_da': str(trained_adaptor), 'pretrain_network_g': str(trained_adaptor)}
    assert workplace.run('train', stage2, path=path) == 2
    assert 'does not fit FusedDAT' in capsys.readouterr().err


def test_an_unreadable_photo_is_one_line(workplace, stage1, capsys):
    for photo in (workplace.path / 'photos').iterdir():
        photo.write_bytes(photo.read_bytes()[:60])
    assert workplace.run('train', stage1) == 2
    error = [text for text in capsys.readouterr().err.splitlines() if text.startswith('basicsr: error: ')]
    assert len(error) == 1
    assert 'photos' in error[0] or '.png' in error[0]


def test_wrong_caption_columns_are_one_line(workplace, stage1, capsys):
    (workplace.path / 'captions.tsv').write_text('file\tcaption\n0.png\ta photo\n', encoding='utf-8')
    assert workplace.run('train', stage1, datasets__train__meta_info='captions.tsv') == 2
    error = capsys.readouterr().err
    assert 'filepath' in error
    assert 'caption' in error


def test_a_checkpoint_holds_plain_tensors_only(trained_adaptor):
    assert all(
        isinstance(value, torch.Tensor) for value in torch.load(trained_adaptor, weights_only=True)['params'].values()
    )
