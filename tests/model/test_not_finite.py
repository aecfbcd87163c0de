"""NaN and infinity are never trained, saved, validated or loaded."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from basicsr_plugin.errors import UserError
from deplsr_model.checkpoint import load_into, save_estimator
from deplsr_model.precision import TrainingStep

CPU = torch.device('cpu')


def error_of(capsys):
    return capsys.readouterr().err.splitlines()[-1]


@pytest.fixture
def damage_batch(monkeypatch):
    """Returns a function that makes the image of the first photo not finite in the given iterations."""
    from deplsr_model.base import DePLSRBaseModel

    def damage(*iterations):
        convert = DePLSRBaseModel.image_to_device
        update = DePLSRBaseModel.update_learning_rate
        current = []

        def update_learning_rate(self, current_iter, warmup_iter=-1):
            current.append(current_iter)
            update(self, current_iter, warmup_iter)

        def image_to_device(self, image):
            image = convert(self, image)
            if current and current[-1] in iterations and not self._validating:
                image = image.clone()
                image[0, 0, 0, 0] = float('nan')
            return image

        monkeypatch.setattr(DePLSRBaseModel, 'update_learning_rate', update_learning_rate)
        monkeypatch.setattr(DePLSRBaseModel, 'image_to_device', image_to_device)

    return damage


@pytest.mark.parametrize('clip', [None, 1.0])
@pytest.mark.parametrize('accumulate', [1, 2])
def test_a_step_that_is_not_finite_changes_no_weight_and_the_next_one_does(clip, accumulate):
    net = nn.Linear(2, 1)
    step = TrainingStep(torch.optim.Adam(net.parameters()), CPU, clip_grad_norm=clip, accumulate=accumulate)
    before = copy.deepcopy(net.state_dict())
    for number in range(accumulate):
        step.backward(net(torch.full((1, 2), float('nan') if number == 0 else 1.0)).sum())
        assert not step.step()
    assert step.skipped == 'the loss is nan'
    assert step.skipped_in_row == 1
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    for _ in range(accumulate):
        step.backward(net(torch.ones(1, 2)).sum())
        stepped = step.step()
    assert stepped
    assert step.skipped is None
    assert step.skipped_in_row == 0
    assert not torch.equal(net.weight, before['weight'])


def test_a_finite_loss_with_gradients_that_are_not_is_skipped():
    weight = nn.Parameter(torch.zeros(1))
    step = TrainingStep(torch.optim.SGD([weight], lr=1), CPU)
    step.backward(weight.sqrt().sum())  # the derivative of the root at 0 is infinite
    assert not step.step()
    assert step.skipped == 'the norm of gradients is inf'
    assert weight == 0


def test_skipped_steps_are_still_counted_after_a_resume():
    def build():
        weight = nn.Parameter(torch.zeros(1))
        return weight, TrainingStep(torch.optim.SGD([weight], lr=1), CPU, accumulate=2)

    weight, step = build()
    for _ in range(3):
        step.backward(weight.sum() * float('nan'))
        step.step()
    _, resumed = build()
    resumed._optimizer.load_state_dict(copy.deepcopy(step._optimizer.state_dict()))
    assert resumed.skipped_in_row == 1
    resumed.step(last=True)
    assert resumed.skipped == 'the loss is nan'


@pytest.mark.parametrize('stage', [1, 2])
def test_training_names_the_photos_of_a_skipped_step_and_saves_finite_weights(
    workplace, stage1, stage2, trained_adaptor, damage_batch, caplog, stage
):
    damage_batch(2)
    label, options = ('da', stage1) if stage == 1 else ('g', stage2)
    changes = {} if stage == 1 else {'path__pretrain_network_da': str(trained_adaptor)}
    assert workplace.run('train', options, **changes) == 0
    lines = [line for line in caplog.messages if 'is skipped' in line]
    assert len(lines) == 1
    assert lines[0].startswith(f'Step of network_{label} is skipped: iteration 2, the loss is nan, batch: ')
    assert lines[0].count('photos/') == 2
    state = torch.load(f'experiments/{options["name"]}/models/net_{label}_latest.pth', weights_only=True)['params']
    assert all(value.isfinite().all() for value in state.values())


def test_a_gan_skips_both_networks(workplace, gan, damage_batch, caplog):
    damage_batch(2)
    assert workplace.run('train', gan) == 0
    assert [line.split(' is skipped')[0] for line in caplog.messages if 'is skipped' in line] == [
        'Step of network_g',
        'Step of network_d',
    ]


def test_training_ends_after_too_many_skipped_steps_in_a_row_with_the_last_good_state(
    workplace, stage1, damage_batch, capsys
):
    damage_batch(*range(3, 99))
    assert workplace.run('train', stage1, train__max_skipped_steps=2) == 2
    line = error_of(capsys)
    assert 'train: 2 steps of network_da in a row were not finite, the last: iteration 4, the loss is nan' in line
    assert line.endswith('the latest checkpoint is that of iteration 2, resume with --auto_resume')


@pytest.fixture
def damaged_adaptor(trained_adaptor, tmp_path):
    content = torch.load(trained_adaptor, weights_only=True)
    content['params']['out_linear.weight'][0, 0] = float('nan')
    torch.save(content, tmp_path / 'damaged.pth')
    return str(tmp_path / 'damaged.pth')


@pytest.mark.parametrize('command', ['train', 'test'])
@pytest.mark.parametrize('stage', [1, 2])
def test_a_checkpoint_that_is_not_finite_is_refused(workplace, stage1, stage2, damaged_adaptor, capsys, stage, command):
    options = dict(stage1 if stage == 1 else stage2)
    changes = {'path__pretrain_network_da': damaged_adaptor}
    if command == 'test':
        options = {key: value for key, value in options.items() if key not in ('train', 'logger')}
        options['datasets'] = {'test': options['datasets']['val']}
    assert workplace.run(command, options, **changes) == 2
    assert 'expected finite weights, got NaN or infinity in out_linear.weight for ' in error_of(capsys)


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    net = nn.Linear(1, 1)
    save_estimator(net, tmp_path / 'a.pth', 'effective')
    nn.init.constant_(net.weight, float('inf'))
    with pytest.raises(UserError, match=r'^not saved: expected finite weights, got NaN or infinity in weight for '):
        save_estimator(net, tmp_path / 'a.pth', 'effective')
    load_into(nn.Linear(1, 1), tmp_path / 'a.pth')


def test_an_image_that_is_not_finite_ends_the_validation_and_is_named(
    workplace, stage2, trained_adaptor, capsys, monkeypatch
):
    monkeypatch.setattr('deplsr_model.deplsr_model.upscale_tiled', lambda net, lq, *_: lq * float('nan'))
    assert workplace.run('train', stage2, path__pretrain_network_da=str(trained_adaptor)) == 2
    line = error_of(capsys)
    assert 'network_g: expected finite values, got others in the image of photos/' in line


def test_levels_that_are_not_finite_end_the_validation(workplace, stage1, capsys, monkeypatch):
    from deplsr_model import DegradationAdaptorModel

    monkeypatch.setattr(
        DegradationAdaptorModel, 'estimate_levels', lambda self, lq: torch.full((len(lq), 8), torch.nan)
    )
    assert workplace.run('train', stage1) == 2
    assert 'network_da: expected finite levels' in error_of(capsys)
