"""The experiment on equal terms: arms differ in the prior alone, no held-out photo is trained on, figures are right."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import figures
import numpy as np
import photo_hashes
import prior as harness
import prior_measure
import prior_runs
import prior_train
import pytest
import torch
from basicsr.archs import build_network
from skimage import data

import deplsr_arch  # noqa: F401  mends BasicSR first
import deplsr_model  # noqa: F401

BENCHMARKS = Path(__file__).parents[2] / 'benchmarks'


def _without(opt, *keys):
    return {key: value for key, value in opt.items() if key not in keys}


@pytest.mark.parametrize('name', ['oracle', 'adaptor', 'levels', 'numbers', 'clip'])
def test_an_arm_differs_from_the_constant_in_the_prior_alone(name):
    ours, constant = prior_runs.stage2(name, 100), prior_runs.stage2('constant', 100)
    same = ('name', 'prior', 'network_da', 'path')
    assert _without(ours, *same) == _without(constant, *same)


def test_no_held_out_photo_is_among_those_trained_on():
    rows = list(csv.DictReader((BENCHMARKS / 'results/photos.tsv').open(encoding='utf-8'), delimiter='\t'))
    splits = {
        part: {row['name']: (int(row['hash'], 16), int(row['mirrored'], 16)) for row in rows if row['split'] == part}
        for part in ('train', 'heldout')
    }
    assert {part: len(photos) for part, photos in splits.items()} == {'train': 234, 'heldout': 30}
    assert photo_hashes.same_photos(splits['train'], splits['heldout']) == []


def test_a_photo_is_known_again_smaller_compressed_and_mirrored_but_not_taken_for_others():
    photos = {name: getattr(data, name)()[..., :3] for name in ('astronaut', 'coffee', 'chelsea', 'rocket')}
    known = {name: (photo_hashes.photo_hash(p), photo_hashes.photo_hash(p[:, ::-1])) for name, p in photos.items()}
    small = cv2.resize(photos['astronaut'][:, ::-1], None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    again = cv2.imdecode(cv2.imencode('.jpg', small, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_COLOR)
    found = photo_hashes.same_photos({'copy': (photo_hashes.photo_hash(again), 0)}, known)
    assert [pair[1] for pair in found] == ['astronaut']


def test_the_harness_refuses_a_held_out_photo_in_training(tmp_path):
    for part in ('train', 'heldout'):
        (tmp_path / part).mkdir()
        cv2.imwrite(str(tmp_path / part / f'{part}.png'), data.astronaut())
    with pytest.raises(SystemExit, match=r'no held-out photo in train/, got train\.png, which is heldout\.png'):
        prior_train.prepare(tmp_path, tmp_path / 'work')


def test_the_interval_holds_the_mean_and_narrows_with_more_photos():
    rng = np.random.default_rng(0)
    few, many = (figures.bootstrap(rng.normal(0.5, 1, count)) for count in (30, 3000))
    for mean, low, high in (few, many):
        assert low < mean < high
    assert many[2] - many[1] == pytest.approx(2 * 1.96 / 3000**0.5, rel=0.1)
    assert few[2] - few[1] > 5 * (many[2] - many[1])


def test_gains_are_paired_by_photo_and_averaged_over_seeds():
    def scores(*values):
        return {f'heldout/{kind}': {'psnr': list(values)} for kind in (*prior_measure.DEGRADATIONS, 'realesrgan')}

    found = {
        'constant': scores(20, 30),
        'constant_1': scores(22, 32),
        'oracle': scores(22, 32),
        'oracle_1': scores(22, 32),
    }
    assert harness.gains(found, 'oracle', 'constant', ('heldout',))['blur'] == [1.0, 1.0, 1.0]
    assert harness.gains(found, 'oracle', 'missing', ('heldout',)) == {}


def test_the_share_of_a_gain_has_an_interval_that_holds_it():
    whole = np.random.default_rng(0).normal(1.0, 0.3, 50)
    share, low, high = figures.bootstrap_share(0.8 * whole + np.random.default_rng(1).normal(0, 0.1, 50), whole)
    assert low < 0.8 < high
    assert share == pytest.approx(0.8, abs=0.05)
    assert figures.bootstrap_share(whole / 2, whole) == [0.5, 0.5, 0.5]


def test_tiles_of_small_photos_are_as_large_as_a_training_crop_at_least(tmp_path):
    prior_train._write_tiles(np.zeros((300, 700, 3), np.uint8), 0.5, tmp_path / 'photo')
    sizes = {cv2.imread(str(path)).shape[:2] for path in tmp_path.iterdir()}
    assert min(min(size) for size in sizes) == prior_runs.CONTEXT * prior_runs.SCALE


def test_with_dat_light_all_arms_have_the_same_network_but_for_the_fusion(monkeypatch):
    monkeypatch.setattr(prior_runs, 'ARMS', dict(prior_runs.ARMS))
    monkeypatch.setattr(prior_runs, '_DAT', False)
    prior_runs.use_dat()
    assert 'one_place' not in prior_runs.ARMS
    nets = {name: prior_runs.stage2(name, 2)['network_g'] for name in prior_runs.ARMS}
    assert {net['type'] for net in nets.values()} == {'FusedDAT'}
    assert len({str({**net, 'fusion': ''}) for net in nets.values()}) == 1
    prior = torch.zeros(1, 1, prior_runs.PRIOR_DIM), torch.zeros(1, 5, prior_runs.PRIOR_DIM)
    out = build_network(nets['adaptor']).eval()(torch.rand(1, 3, 32, 32), *prior)
    assert out.shape == (1, 3, 128, 128)


def test_a_fixed_degradation_says_its_levels():
    from deplsr_data.captions import levels

    for kind, (blur, noise, quality) in prior_measure.DEGRADATIONS.items():
        assert levels(prior_measure.fixed_record(kind, (256, 256), 0)) == (blur, noise, 0.0, quality, 0.0)


def test_a_run_that_is_cut_off_goes_on_and_one_that_is_done_is_left_alone(tmp_path, capfd):
    (tmp_path / 'photos/train').mkdir(parents=True)
    (tmp_path / 'photos/heldout').mkdir()
    cv2.imwrite(str(tmp_path / 'photos/train/a.png'), data.astronaut())
    cv2.imwrite(str(tmp_path / 'photos/heldout/b.png'), data.coffee())
    work = tmp_path / 'work'
    work.mkdir()
    prior_train.prepare(tmp_path / 'photos', work)
    assert len(list((work / 'train').iterdir())) == 5  # 2 x 2 of 358 pixels, one of 256
    assert len(list((work / 'train_full').iterdir())) == 4
    opt = prior_runs.stage2('constant', 2)
    opt['datasets']['train']['batch_size_per_gpu'] = 2
    runs = {'sr_constant': (opt, None)}
    prior_train.run_all(runs, work, 1, prior_train.budget(None))
    assert prior_train.is_done(work, 'sr_constant')
    prior_train.run_all(runs, work, 1, prior_train.budget(None))
    name, minutes, commit = (work / 'hours.tsv').read_text().strip().split('\t')
    assert name == 'sr_constant'
    assert float(minutes) > 0
    assert commit == prior_train.commit()


def test_the_results_in_the_repository_have_the_layout_that_others_read():
    result = json.loads((BENCHMARKS / 'results/prior.json').read_text(encoding='utf-8'))
    for arm in ('adaptor', 'oracle', 'levels'):
        for kind in prior_measure.DEGRADATIONS:
            mean, low, high = result['gain'][arm][kind]
            assert low <= mean <= high
    for reader in ('adaptor', 'levels'):
        for size in prior_measure.SIZES:
            assert all(-1 <= result['reading'][reader][size][kind] <= 1 for kind in prior_measure.KINDS)
    assert torch.tensor([value['ms'] for value in result['cost'].values()]).min() > 0
