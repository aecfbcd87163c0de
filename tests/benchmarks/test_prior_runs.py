"""The comparison is fair: runs differ in what they compare alone, and each is trained with what it needs."""

from __future__ import annotations

import argparse

import pytest
import torch
from basicsr.archs import build_network

import deplsr_arch  # noqa: F401  registers
from benchmarks.prior import __main__ as command
from benchmarks.prior import controls  # noqa: F401  registers
from benchmarks.prior.runs import ESTIMATORS, VARIANTS, Setup

#: The one section of the options that an ablation changes, apart from the prior and its estimator.
ABLATED = {
    'full_size': 'datasets', 'no_context': 'datasets', 'dropout': 'train', 'one_block': 'network_g',
    'all_blocks': 'network_g',
}  # fmt: skip
SETUPS = {'plain': Setup(), 'dat': Setup(dat=True)}
PRIOR = {'prior', 'prior_form', 'network_da', 'path'}


def _runs(setup, smoke=False):
    options = argparse.Namespace(estimator_steps=40, ablation_steps=20, steps=30, only=None, smoke=smoke)
    return command.all_runs(options, setup)


def _without(opt, *keys):
    return {key: value for key, value in opt.items() if key not in keys}


@pytest.mark.parametrize('setup', SETUPS.values(), ids=SETUPS)
def test_a_variant_differs_from_its_baseline_in_the_prior_alone(setup):
    runs = _runs(setup)
    for name, variant in setup.variants().items():
        ours, baseline = (runs[setup.run_of(one)][0] for one in (name, variant.baseline))
        changed = {key for key in (ours | baseline) if ours.get(key) != baseline.get(key)}
        allowed = {'name', *PRIOR, ABLATED.get(name)}
        if variant.seed:  # its seed is compared in the next test
            allowed |= {'manual_seed', 'datasets'}
        assert changed <= allowed, name
        assert ours['train']['total_iter'] == baseline['train']['total_iter'] == (15 if variant.short else 30)


def test_variants_of_the_second_seed_differ_from_each_other_in_the_prior_alone():
    runs = _runs(SETUPS['plain'])
    for name in ('oracle_1', 'adaptor_1', 'regressor_1'):
        assert _without(runs[f'sr_{name}'][0], 'name', *PRIOR) == _without(runs['sr_constant_1'][0], 'name', *PRIOR)


def test_an_ablation_of_the_data_changes_one_option():
    runs = _runs(SETUPS['plain'])
    for name, key in (('full_size', 'dataroot_gt'), ('no_context', 'context')):
        ours, baseline = (runs[f'sr_{one}'][0]['datasets']['train'] for one in (name, VARIANTS[name].baseline))
        assert {one for one in ours if ours[one] != baseline[one]} == {key}


def test_estimators_are_trained_on_the_same_photos_unless_the_photos_are_compared():
    runs = _runs(SETUPS['plain'])
    sets = {name: runs[f'estimator_{name}'][0]['datasets'] for name in ESTIMATORS}
    others = [name for name, one in sets.items() if one != sets['adaptor']]
    assert others == ['adaptor_full_size', 'regressor_full_size', 'all_types', 'realesrgan']


def test_adaptor_and_regressor_of_the_main_table_are_trained_equally_long():
    assert (
        ESTIMATORS['regressor'].times == ESTIMATORS['regressor_short'].times == 1.25
    )  # its steps take 0.8 of the time
    assert ESTIMATORS['adaptor'].long
    assert ESTIMATORS['regressor'].long
    assert {VARIANTS[name].estimator for name in ('adaptor', 'regressor')} == {'adaptor', 'regressor'}


def test_only_the_runs_of_realesrgan_are_trained_on_its_recipe():
    runs = _runs(SETUPS['plain'])
    named = {name for name, (opt, _) in runs.items() if opt['datasets']['train']['recipe']['type'] == 'realesrgan'}
    variants = {'sr_realesrgan_constant', 'sr_realesrgan_oracle', 'sr_realesrgan_adaptor'}
    assert named == {'estimator_realesrgan', *variants}


@pytest.mark.parametrize('smoke', [False, True])
def test_each_run_whose_weights_are_needed_is_among_the_runs(smoke):
    for setup in SETUPS.values():
        runs = _runs(setup, smoke)
        assert all(needs is None or needs in runs for _, needs in runs.values())


def test_a_variant_waits_for_the_very_weights_that_its_options_name():
    for opt, needs in _runs(SETUPS['plain']).values():
        weights = opt['path'].get('pretrain_network_da')
        assert weights == (needs and f'experiments/{needs}/models/net_da_latest.pth')


def test_an_unknown_run_is_refused_in_one_line():
    options = argparse.Namespace(estimator_steps=1, ablation_steps=1, steps=2, only=['sr_oracel'], smoke=False)
    with pytest.raises(SystemExit, match="--only: expected names of runs, got 'sr_oracel'; --list shows them"):
        command.all_runs(options, SETUPS['plain'])


def test_other_towers_and_smoke_runs_have_folders_of_their_own():
    def folder(**given):
        options = {'work': None, 'clip': None, 'smoke': False, **given}
        return command.work_folder(argparse.Namespace(**options)).name

    names = [folder(), folder(smoke=True), folder(clip=['ViT-B-32', 'a.bin']), folder(clip=['ViT-B-32', 'b.bin'])]
    assert len(set(names)) == 4


def test_dat_light_takes_the_patches_of_the_experiment():
    setup = SETUPS['dat']
    assert 'one_block' not in setup.variants()
    prior = torch.zeros(1, 1, setup.prior_dim), torch.zeros(1, 5, setup.prior_dim)
    out = build_network(setup.network_g(VARIANTS['adaptor'])).eval()(torch.rand(1, 3, 32, 32), *prior)
    assert out.shape == (1, 3, 128, 128)


def test_a_clip_of_open_clip_replaces_the_small_towers():
    setup = Setup(clip=('ViT-B-16-SigLIP', '/weights.bin'))
    assert (setup.prior_dim, setup.context_length) == (768, 64)
    assert setup.network_da('adaptor')['clip'] == 'ViT-B-16-SigLIP'
    assert setup.stage2('adaptor', 2)['network_da']['pretrained'] == '/weights.bin'
    data = setup.stage1('adaptor', 2)['datasets']['train']
    assert (data['tokenizer'], data['context_length']) == ('ViT-B-16-SigLIP', 64)
    with pytest.raises(SystemExit, match="--clip: expected a model name of open_clip, got 'ViT-X'"):
        Setup(clip=('ViT-X', '/weights.bin')).stage1('adaptor', 2)
