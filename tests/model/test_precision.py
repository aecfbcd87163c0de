"""Mixed precision, memory format, accumulation and clipping: the training step by itself, and in all models."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from deplsr_model import precision
from deplsr_model.precision import Throughput, TrainingStep, autocast

CPU = torch.device('cpu')
REGRESSOR = {'type': 'LevelRegressor', 'prior_dim': 16, 'num_feat': 8, 'stride': 4}
MODELS = ['adaptor', 'regressor', 'sr', 'gan']
SAVED = {'adaptor': 'da', 'regressor': 'da', 'sr': 'g', 'gan': 'g'}


@pytest.fixture
def options(stage1, stage2, gan, trained_adaptor):
    """Returns the option file of a model; no name is that of another run."""

    def build(model, **top):
        train = {key: value for key, value in stage1['train'].items() if key != 'contrastive_opt'}
        by_model = {
            'adaptor': {**stage1, 'train': {**stage1['train'], 'contrastive_opt': {'type': 'DegradationOrdinalLoss'}}},
            'regressor': {
                **stage1, 'model_type': 'LevelRegressorModel', 'network_da': REGRESSOR, 'train': train
            },
            'sr': {**stage2, 'path': {'pretrain_network_da': str(trained_adaptor)}},
            'gan': gan,
        }  # fmt: skip
        return copy.deepcopy({**by_model[model], 'name': model, **top})

    return build


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1))


def train(net, step, batches, last_ends=False):
    for index, batch in enumerate(batches):
        step.backward((net(batch) - batch.flip(-1)).abs().mean())
        step.step(last_ends and index == len(batches) - 1)


def step_of(net, **settings):
    return TrainingStep(torch.optim.SGD(net.parameters(), lr=0.5), CPU, **settings)


def batches_of(count, size):
    return torch.rand(count, size, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_two_accumulated_batches_of_two_equal_one_of_four():
    together, apart = network(), network()
    batches = batches_of(6, 2)
    train(apart, step_of(apart, accumulate=2), batches)
    train(together, step_of(together), batches.reshape(3, 4, 3, 8, 8))
    for a, b in zip(together.parameters(), apart.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_weights_change_in_every_second_iteration_and_with_the_last_one():
    net = network()
    step, changed = step_of(net, accumulate=2), []
    for index, batch in enumerate(batches_of(5, 1)):
        before = copy.deepcopy(net)
        train(net, step, [batch], last_ends=index == 4)
        changed.append(not same(before, net))
    assert changed == [False, True, False, True, True]


def test_an_incomplete_last_group_is_averaged_over_its_own_batches():
    whole, incomplete = network(), network()
    batches = batches_of(1, 2)
    train(whole, step_of(whole), batches)
    train(incomplete, step_of(incomplete, accumulate=8), batches, last_ends=True)
    assert same(whole, incomplete)


def test_a_batch_without_gradients_is_not_counted():
    net = network()
    step = step_of(net, accumulate=2)
    train(net, step, batches_of(1, 2))
    assert not step.step()
    assert not step.step()
    step.backward(net(batches_of(1, 2)[0]).mean())
    assert step.step()


def test_a_norm_is_clipped_to_the_given_one_and_logged():
    for limit, expected in ((0.01, 0.01), (1e9, None)):
        net = network()
        before = copy.deepcopy(net)
        step = step_of(net, clip_grad_norm=limit)
        train(net, step, batches_of(1, 2))
        moved = torch.cat([(a - b).flatten() for a, b in zip(net.parameters(), before.parameters(), strict=True)])
        norm = step.log('g')['grad_norm_g']
        assert float(moved.norm().detach()) / 0.5 == pytest.approx(expected or norm, rel=1e-3)
        assert norm > 0.01


def test_gradients_that_are_not_finite_are_skipped_where_they_are_clipped():
    net = network()
    before, step = copy.deepcopy(net), step_of(net, clip_grad_norm=1.0)
    train(net, step, torch.full((1, 1, 3, 8, 8), float('nan')))
    assert same(before, net)
    train(net, step, batches_of(1, 2))
    assert not same(before, net)


def test_the_scaler_of_fp16_skips_a_step_that_overflows_and_halves_its_scale():
    net = network()
    before, step = copy.deepcopy(net), step_of(net, amp='fp16', clip_grad_norm=1.0)
    scale = step.log('g')['loss_scale_g']
    train(net, step, torch.full((1, 1, 3, 8, 8), float('inf')))
    assert same(before, net)
    assert step.log('g')['loss_scale_g'] == scale / 2
    train(net, step, batches_of(1, 2))
    assert not same(before, net)


@pytest.mark.parametrize('amp', [None, 'fp16'])
def test_a_state_within_a_group_resumes_exactly(amp):
    batches = batches_of(7, 2)
    complete, resumed = network(), network()
    train(complete, step_of(complete, amp=amp, accumulate=3), batches, last_ends=True)
    first = step_of(resumed, amp=amp, accumulate=3)
    train(resumed, first, batches[:4])
    state = copy.deepcopy(first._optimizer.state_dict())
    again = copy.deepcopy(resumed)
    again.zero_grad()
    second = step_of(again, amp=amp, accumulate=3)
    second._optimizer.load_state_dict(state)
    train(again, second, batches[4:], last_ends=True)
    assert same(complete, again)


def test_a_state_without_that_of_a_step_is_loaded_as_it_is():
    net = network()
    state = torch.optim.SGD(net.parameters(), lr=0.1).state_dict()
    step_of(net)._optimizer.load_state_dict(state)
    stock = torch.optim.SGD(net.parameters(), lr=0.1)
    stock.load_state_dict(step_of(net)._optimizer.state_dict())


def test_autocast_without_a_precision_changes_nothing():
    net, image = network(), batches_of(1, 2)[0]
    with autocast(CPU, None):
        assert torch.equal(net(image), network()(image))
    with autocast(CPU, 'bf16'):
        assert net(image).dtype == torch.bfloat16


def test_images_per_second_leave_out_the_first_batch_and_pauses(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(precision.time, 'perf_counter', lambda: now[0])
    speed = Throughput()
    assert speed.rate() is None
    speed.count(4)
    for _ in range(3):
        now[0] += 2
        speed.count(4)
    with speed.paused():
        now[0] += 100
    assert speed.rate() == pytest.approx(12 / 6)
    assert speed.rate() is None


@pytest.mark.parametrize('model', MODELS)
def test_each_model_trains_in_bf16_with_weights_in_float32(workplace, options, model, caplog):
    caplog.set_level('INFO')
    changes = {'amp': 'bf16', 'train__clip_grad_norm': 1.0, 'train__accumulate': 2}
    changes |= {'train__total_iter': 2, 'logger__print_freq': 1}
    if model in ('adaptor', 'regressor'):
        changes['train__scheduler'] = {'type': 'MultiStepLR', 'milestones': [3], 'gamma': 0.5}
    assert workplace.run('train', options(model), **changes) == 0
    for path in Path(f'experiments/{model}/models').glob('*.pth'):
        for state in (one for one in torch.load(path, weights_only=True).values() if isinstance(one, dict)):
            floats = [value for value in state.values() if value.is_floating_point()]
            assert all(value.dtype == torch.float32 and value.isfinite().all() for value in floats)
    for part in ('images_per_s: ', f'grad_norm_{SAVED[model]}: '):
        assert part in caplog.text
    assert ('grad_norm_d: ' in caplog.text) == (model == 'gan')


@pytest.mark.parametrize('model', ['adaptor', 'regressor', 'sr', 'gan'])
def test_checkpoints_of_both_precisions_are_interchangeable(workplace, options, model):
    label = SAVED[model]
    for name, amp, given in (('full', None, None), ('half', 'bf16', 'full'), ('again', None, 'half')):
        changes = {'name': name, 'amp': amp}
        if given:
            changes[f'path__pretrain_network_{label}'] = f'experiments/{given}/models/net_{label}_latest.pth'
        assert workplace.run('train', options(model), **changes) == 0
    first, last = (torch.load(f'experiments/{n}/models/net_{label}_latest.pth')['params'] for n in ('full', 'again'))
    assert {k: (v.shape, v.dtype) for k, v in first.items()} == {k: (v.shape, v.dtype) for k, v in last.items()}


@pytest.mark.parametrize('channels_last', [True, False])
def test_the_output_of_a_test_is_float32_and_close_to_that_of_full_precision(workplace, options, channels_last):
    from deplsr_model import DePLSRModel

    run = {'is_train': False, 'dist': False, 'rank': 0, 'val': {'tile': 16, 'tile_overlap': 8}}
    run['channels_last'] = channels_last
    full, half = (DePLSRModel({**options('sr'), **run, 'amp': amp}) for amp in (None, 'bf16'))
    half.net_g.load_state_dict(full.net_g.state_dict())
    for model in (full, half):
        model.feed_data({'lq': torch.rand(1, 3, 24, 28, generator=torch.Generator().manual_seed(1))})
        model.test()
        assert model.output.dtype == model.prior[1].dtype == torch.float32
    assert torch.equal(full.prior[1], half.prior[1])  # the estimator computes in full precision
    assert 0 < (full.output - half.output).abs().max() < 0.02


def test_the_memory_format_changes_results_by_rounding_alone(workplace, options):
    weights = []
    for channels_last in (True, False):
        name = f'format{channels_last}'
        assert workplace.run('train', options('gan', name=name, channels_last=channels_last)) == 0
        weights.append(torch.load(f'experiments/{name}/models/net_g_4.pth')['params_ema'])
    for key, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][key], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize('model', MODELS)
def test_a_run_resumed_within_a_group_ends_with_the_same_weights(workplace, options, model):
    """10 iterations at once, and 5 of them followed by 5 of a resumed run, in bf16 with two batches a step."""
    opt = options(model)
    opt['train'] = {**opt['train'], 'total_iter': 10, 'accumulate': 2, 'clip_grad_norm': 0.5}
    opt['train']['scheduler'] = {'type': 'MultiStepLR', 'milestones': [7], 'gamma': 0.5}
    opt['logger'] = {'print_freq': 5, 'save_checkpoint_freq': 5}
    opt['val'] = {**opt['val'], 'val_freq': 100}
    opt['amp'] = 'bf16'
    assert workplace.run('train', opt, name='complete') == 0
    complete, cut = Path('experiments/complete'), Path('experiments/cut')
    shutil.copytree(complete, cut)
    for path in [*cut.glob('models/*_10.pth'), *cut.glob('models/*_latest.pth'), cut / 'training_states/10.state']:
        path.unlink()
    assert workplace.run('train', opt, '--auto_resume', name='cut') == 0
    for path in complete.glob('models/*_latest.pth'):
        expected, got = torch.load(path), torch.load(cut / 'models' / path.name)
        assert expected.get('levels') == got.get('levels')
        for key, state in ((key, state) for key, state in expected.items() if isinstance(state, dict)):
            for name, value in state.items():
                assert torch.equal(value, got[key][name]), f'{path.name} {key} {name}'


MISTAKES = {
    'unknown precision': ({'amp': 'fp32'}, "amp: expected 'bf16' or 'fp16', got"),
    'fp16 on the CPU': ({'amp': 'fp16'}, 'amp: expected bf16 on the CPU (num_gpu: 0), got fp16; set amp: bf16'),
    'no memory format': ({'channels_last': 'often'}, 'channels_last: expected'),
    'no batches': ({'train__accumulate': 0}, 'train.accumulate: expected'),
    'negative norm': ({'train__clip_grad_norm': -1.0}, 'train.clip_grad_norm: expected'),
}


@pytest.mark.parametrize('model', MODELS)
@pytest.mark.parametrize('mistake', MISTAKES)
def test_a_wrong_value_is_one_clear_line(workplace, options, model, mistake, capsys):
    changes, message = MISTAKES[mistake]
    assert workplace.run('train', options(model), **changes) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert message in lines[-1]
