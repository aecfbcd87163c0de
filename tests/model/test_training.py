"""Both stages through the stock loop: train, validate, be killed, resume, test."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time

import pytest
import torch


def metrics(folder):
    return [json.loads(line) for line in (folder / 'metrics.jsonl').read_text(encoding='utf-8').splitlines()]


def weights(path, key='params'):
    return torch.load(path, weights_only=True)[key]


def test_stage_1_trains_only_the_adaptor_and_reports_accuracy(workplace, stage1):
    assert workplace.run('train', stage1) == 0
    run = workplace.path / 'experiments/adaptor'
    first, last = (weights(run / f'models/net_da_{i}.pth') for i in (2, 4))
    changed = {key for key in first if not torch.equal(first[key], last[key])}
    assert {key.split('.')[0] for key in changed} == {'visual_control', 'zero_modules', 'out_linear', 'logit_scale'}
    report = metrics(run)[-1]
    assert report['iter'] >= 4
    assert {'blur', 'blur_constant', 'jpeg', 'mean'} <= report.keys()
    assert all(0 <= report[name] <= 1 for name in ('blur', 'noise', 'grain', 'jpeg', 'ringing'))


@pytest.mark.parametrize('loss', ['DegradationSoftmaxLoss', 'DegradationSigmoidLoss', 'DegradationOrdinalLoss'])
def test_stage_1_trains_with_each_loss(workplace, stage1, loss):
    init = 'siglip' if 'Sigmoid' in loss else 'clip'
    network = {**stage1['network_da'], 'logit_init': init, 'stem': 'conv'}
    assert workplace.run('train', stage1, train__contrastive_opt={'type': loss}, network_da=network) == 0
    state = weights(workplace.path / 'experiments/adaptor/models/net_da_4.pth')
    assert ('logit_bias' in state) == (init == 'siglip')
    if init == 'siglip':
        assert state['logit_bias'] != -10


@pytest.mark.parametrize('loss', ['DegradationSoftmaxLoss', 'DegradationOrdinalLoss'])
def test_stage_1_trains_under_a_launcher_with_weights_of_zero(workplace, stage1, monkeypatch, loss):
    with socket.socket() as free:  # another test process may use a fixed one
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    for key, value in {'RANK': '0', 'WORLD_SIZE': '1', 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': port}.items():
        monkeypatch.setenv(key, value)
    criterion = {'type': loss, 'weights': [0.0, 0.2, 0.8]}
    network = {**stage1['network_da'], 'logit_init': 'siglip'}
    changes = {'train__contrastive_opt': criterion, 'network_da': network}
    assert workplace.run('train', stage1, '--launcher', 'pytorch', **changes) == 0


def test_tokens_that_a_prefetcher_moved_are_looked_up_on_the_cpu(workplace, stage1):
    from deplsr_model import DegradationAdaptorModel

    class Moved:
        shape = (2, 7, 48)

        def cpu(self):
            return torch.zeros(2, 7, 48, dtype=torch.int64)

    model = DegradationAdaptorModel({**stage1, 'is_train': False, 'dist': False, 'rank': 0})
    model.feed_data({'lq': torch.rand(2, 3, 16, 16), 'tokens': Moved(), 'levels': torch.zeros(2, 5)})
    assert model.encode_text(model.tokens, torch.device('cpu')).shape == (2, 7, 16)


def test_stage_2_trains_with_a_frozen_adaptor(workplace, stage2, trained_adaptor):
    before = trained_adaptor.read_bytes()
    assert workplace.run('train', stage2, path__pretrain_network_da=str(trained_adaptor)) == 0
    run = workplace.path / 'experiments/sr'
    first, last = (weights(run / f'models/net_g_{i}.pth') for i in (2, 4))
    assert not torch.equal(first['fusion_blocks.0.mix.weight'], last['fusion_blocks.0.mix.weight'])
    assert not list((run / 'models').glob('net_da*'))
    assert trained_adaptor.read_bytes() == before
    assert metrics(run)[-1]['psnr'] > 0


def test_stage_2_trains_without_prior(workplace, stage2):
    options = {key: value for key, value in stage2.items() if key != 'network_da'}
    assert workplace.run('train', options, prior='none', path={}) == 0


def test_stage_2_trains_with_pairs_from_disk(workplace, stage2, trained_adaptor):
    import cv2

    (workplace.path / 'lq').mkdir()
    for photo in (workplace.path / 'photos').iterdir():
        lq = cv2.resize(cv2.imread(str(photo)), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(workplace.path / 'lq' / photo.name), lq)
    pairs = {'type': 'PairedImageDataset', 'dataroot_gt': 'photos', 'dataroot_lq': 'lq', 'io_backend': {'type': 'disk'}}
    loader = {'num_worker_per_gpu': 0, 'batch_size_per_gpu': 2, 'gt_size': 32, 'use_hflip': True, 'use_rot': True}
    datasets = {'train': {'name': 'pairs', **pairs, **loader}, 'val': {'name': 'pairs', **pairs}}
    code = workplace.run('train', stage2, datasets=datasets, path__pretrain_network_da=str(trained_adaptor))
    assert code == 0


def test_the_test_command_reports_the_metrics_of_validation(workplace, stage2, trained_adaptor):
    assert workplace.run('train', stage2, path__pretrain_network_da=str(trained_adaptor)) == 0
    run = workplace.path / 'experiments/sr'
    trained = next(line for line in metrics(run) if line['iter'] == 4)
    options = {key: value for key, value in stage2.items() if key not in ('train', 'logger')}
    path = {
        'pretrain_network_da': str(trained_adaptor),
        'pretrain_network_g': str(run / 'models/net_g_4.pth'),
        'param_key_g': 'params_ema',
    }
    datasets = {'test': stage2['datasets']['val']}
    assert workplace.run('test', options, name='check', datasets=datasets, path=path, val__save_img=True) == 0
    tested = metrics(workplace.path / 'results/check')[-1]
    assert tested['psnr'] == pytest.approx(trained['psnr'], abs=1e-4)
    assert len(list((workplace.path / 'results/check/visualization').rglob('*.png'))) == 8


def test_tiles_change_little_and_the_prior_is_that_of_the_complete_photo(workplace, stage2, trained_adaptor):
    from deplsr_model import DePLSRModel

    opt = {
        **stage2,
        'path': {'pretrain_network_da': str(trained_adaptor), 'log': str(workplace.path)},
        'is_train': False,
        'dist': False,
        'rank': 0,
    }
    complete, tiled = (DePLSRModel({**opt, 'val': {'tile': tile, 'tile_overlap': 8}}) for tile in (0, 16))
    tiled.net_g.load_state_dict(complete.net_g.state_dict())
    outputs = []
    for model in (complete, tiled):
        model.feed_data({'lq': torch.rand(1, 3, 24, 28, generator=torch.Generator().manual_seed(1))})
        model.test()
        outputs.append(model.output)
    assert torch.equal(complete.prior[1], tiled.prior[1])
    assert outputs[0].shape == outputs[1].shape == (1, 3, 48, 56)
    assert (outputs[0] - outputs[1]).abs().mean() < 0.01


@pytest.mark.parametrize('stage', [1, 2])
def test_a_killed_run_resumes_from_its_latest_complete_checkpoint(workplace, stage1, stage2, trained_adaptor, stage):
    options, name = (stage1, 'adaptor') if stage == 1 else (stage2, 'sr')
    changes = {'train__total_iter': 10_000, 'val__val_freq': 100_000}
    if stage == 1:
        changes['train__scheduler'] = {'type': 'CosineAnnealingRestartLR', 'periods': [10_000]}
    else:
        changes['path__pretrain_network_da'] = str(trained_adaptor)
    run = workplace.path / 'experiments' / name
    process = workplace.start('train', options, **changes)
    deadline = time.monotonic() + 120
    while not (run / 'training_states/4.state').exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    log = process.communicate()[0]
    assert (run / 'training_states/4.state').exists(), log
    newest = max((run / 'training_states').iterdir(), key=lambda path: int(path.stem))
    newest.write_bytes(newest.read_bytes()[:100])  # as if killed while saving
    latest_complete = sorted(int(path.stem) for path in (run / 'training_states').iterdir())[-2]
    changes['train__total_iter'] = latest_complete + 4
    process = workplace.start('train', options, '--auto_resume', **changes)
    log = process.communicate(timeout=120)[0]
    assert process.returncode == 0, log
    assert re.search(rf'Resuming training from epoch: \d+, iter: {latest_complete}\.', log), log
    assert (run / 'models' / f'net_{"da" if stage == 1 else "g"}_latest.pth').exists()


@pytest.mark.parametrize('recipe', ['semantic', 'realesrgan'])
@pytest.mark.parametrize('stage', [1, 2])
def test_both_stages_train_on_images_degraded_on_the_device(workplace, stage1, stage2, trained_adaptor, stage, recipe):
    options = stage1 if stage == 1 else stage2
    changes = {'datasets__train__degrade_on': 'device', 'datasets__train__recipe': {'type': recipe}}
    if stage == 2:
        changes['path__pretrain_network_da'] = str(trained_adaptor)
    assert workplace.run('train', options, **changes) == 0


@pytest.mark.parametrize('recipe', ['semantic', 'realesrgan'])
def test_worker_and_device_return_the_same_image(workplace, recipe):
    from basicsr_plugin.sampling_index import SampleIndex
    from deplsr_data import CaptionedDegradationDataset
    from deplsr_data.degradation.deferred import degrade_deferred

    opt = {'name': 'train', 'type': 'CaptionedDegradationDataset', 'phase': 'train', 'scale': 2, 'gt_size': 32}
    opt.update(dataroot_gt='photos', context_length=48, recipe={'type': recipe})
    worker, device = (CaptionedDegradationDataset({**opt, 'degrade_on': place}) for place in ('worker', 'device'))
    samples = [[data[SampleIndex(i, 3, 1)] for i in range(4)] for data in (worker, device)]
    assert [s['captions'] for s in samples[0]] == [s['captions'] for s in samples[1]]
    assert [s['record'] for s in samples[0]] == [s['record'] for s in samples[1]]
    lq = degrade_deferred(torch.utils.data.default_collate(samples[1]), torch.device('cpu'))['lq']
    difference = (lq - torch.stack([s['lq'] for s in samples[0]])).abs()
    # filters agree to 3e-4: some pixels round to the other side, and JPEG distributes that over its block
    assert difference.mean() < 0.5 / 255
