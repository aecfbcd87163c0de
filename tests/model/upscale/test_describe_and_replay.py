from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image
from upscale_cases import failure, pixels

from deplsr_model.upscaling.description import to_csv, to_table
from deplsr_model.upscaling.edits import PhotoEstimate
from deplsr_model.upscaling.provenance import read_provenance

CERTAIN = PhotoEstimate(('blur', 'noise'), (1.0, 10.0), (0.5, 8.0), (1.5, 12.0), 0.5, True)
STRANGE = PhotoEstimate(('blur', 'noise'), (2.0, 20.0), (0.0, 1.0), (3.0, 30.0), 3.0, True)


def test_one_photo_is_described_line_by_line_with_intervals(workplace, capsys):
    model = workplace.conditioned()
    assert workplace.run('describe', workplace.photo(), *model) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.strip() == 'level (90% interval)'
    assert [line.split()[0] for line in lines[:8]] == [
        *('blur', 'noise', 'grain', 'jpeg', 'ringing', 'compression', 'color_noise', 'codec_last')
    ]
    assert all(' to ' in line for line in lines[:8])


def test_json_and_csv_agree(workplace, capsys):
    model = workplace.conditioned()
    workplace.photo('photos/a.png')
    workplace.photo('photos/b.png', (60, 50))
    assert workplace.run('describe', 'photos', *model, '--json', '--csv', 'levels.csv') == 0
    found = json.loads(capsys.readouterr().out)
    with open('levels.csv', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    assert [row['photo'] for row in rows] == list(found) == ['photos/a.png', 'photos/b.png']
    for row in rows:
        one = found[row['photo']]
        assert float(row['noise']) == one['levels']['noise']
        assert [float(row['noise_low']), float(row['noise_high'])] == one['intervals_90']['noise']
        assert row['outside'] == str(int(one['out_of_range']))


def test_photos_outside_of_the_training_are_marked():
    table = to_table({'a.png': CERTAIN, 'b.png': STRANGE}).splitlines()
    assert table[0].split() == ['photo', 'blur', 'noise']
    assert table[1].startswith('a.png  1.0 (0.5 to 1.5)  10.0 (8.0 to 12.0)')
    assert table[2].endswith('outside what the estimator was trained on')
    assert to_table({'b.png': STRANGE}).splitlines()[-1] == 'outside what the estimator was trained on'
    assert to_csv({'b.png': STRANGE}).splitlines()[1] == 'b.png,2.000,0.000,3.000,20.000,1.000,30.000,3.000,1'


@pytest.mark.parametrize('count', [1, 3])
def test_a_plot_shows_the_photo_or_histograms(workplace, count):
    model = workplace.conditioned()
    for number in range(count):
        workplace.photo(f'photos/{number}.png')
    assert workplace.run('describe', 'photos', *model, '--plot', 'plots/plot.png') == 0
    image = np.asarray(Image.open('plots/plot.png'))
    assert image.shape[1:] == (900, 3)
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 4


def test_an_estimator_of_stage_1_is_described_from_its_own_experiment(workplace, capsys):
    workplace.conditioned()
    run = workplace.path / 'experiments/estimator'
    (run / 'models').mkdir(parents=True)
    (workplace.path / 'net_da.pth').rename(run / 'models/net_da_latest.pth')
    options = (workplace.path / 'options.yml').read_text().partition('network_g:')[0]
    block = {'type': 'LevelDistribution', 'prior_dim': 16, 'num_feat': 8, 'num_block': 1, 'num_degradation_types': 8}
    (run / 'options.yml').write_text(f'name: estimator\nnetwork_da: {json.dumps(block)}\n')
    assert options
    assert workplace.run('describe', workplace.photo(), '-m', 'experiments/estimator') == 0
    assert capsys.readouterr().out.splitlines()[1].startswith('blur')


def test_mistakes_of_describe_are_one_line(workplace, capsys):
    photo = workplace.photo()
    line = failure(capsys, workplace, 'describe', photo, '-m', workplace.stock())
    assert line == 'basicsr: error: -m: expected the option file of stock.pth too, got none; name it with -opt'
    model = workplace.conditioned()
    (workplace.path / 'bad.png').write_bytes(b'x')
    assert "failed: 'bad.png': expected a readable image" in failure(
        capsys, workplace, 'describe', 'bad.png', *model, status=1
    )
    assert '--csv: ' in failure(capsys, workplace, 'describe', photo, *model, '--csv', 'bad.png/levels.csv')


def test_a_dry_run_prints_estimate_and_what_would_be_used_and_writes_nothing(workplace, capsys):
    model = workplace.conditioned()
    photo = workplace.photo()
    assert workplace.run('upscale', photo, '-o', 'out', *model, '--noise', '12', '--dry-run') == 0
    name, estimate, used = capsys.readouterr().out.splitlines()
    assert name == photo
    assert estimate.startswith('  estimate: blur ')
    assert 'noise 12.0 ' in used
    assert not (workplace.path / 'out').exists()


@pytest.mark.parametrize('extension', ['png', 'jpg', 'webp'])
def test_an_output_states_how_it_was_made_and_is_made_again(workplace, capsys, extension):
    model = workplace.conditioned()
    workplace.photo()
    edits = ['--noise', '-50%', '--level', 'ringing=+5', '--strength', '0.8', '--outscale', '1.5']
    assert workplace.run('upscale', 'photos', '-o', 'out', *model, *edits, '--ext', extension, '--tile', '32') == 0
    stated = read_provenance(f'out/photo.{extension}')
    assert (stated.model, stated.options, stated.input) == ('../net_g.pth', '../options.yml', '../photos/photo.png')
    assert [edit['name'] for edit in stated.steering['edits']] == ['noise', 'ringing']
    assert stated.used['levels']['noise'] == pytest.approx(stated.estimate['levels']['noise'] / 2, abs=0.01)
    capsys.readouterr()
    assert workplace.run('replay', f'out/photo.{extension}') == 0
    assert capsys.readouterr().out == f'out/photo_replay.{extension}: identical pixels\n'
    first, again = ((workplace.path / f'out/photo{end}.{extension}').read_bytes() for end in ('', '_replay'))
    assert first == again


def test_a_replay_from_other_files_is_refused_in_one_line(workplace, capsys):
    model = workplace.conditioned()
    workplace.photo()
    workplace.run('upscale', 'photos', '-o', 'out', *model)
    (workplace.path / 'photos/photo.png').rename(workplace.path / 'moved.png')
    assert '--input: expected the file that the output was made from, got ' in failure(
        capsys, workplace, 'replay', 'out/photo.png'
    )
    assert workplace.run('replay', 'out/photo.png', '--input', 'moved.png', '-o', 'again') == 0
    assert np.array_equal(pixels('again.png'), pixels('out/photo.png'))
    capsys.readouterr()
    workplace.stock('net_g.pth')
    assert '-m: expected the file that the output was made from, got ' in failure(
        capsys, workplace, 'replay', 'out/photo.png', '--input', 'moved.png'
    )


def test_an_image_without_provenance_cannot_be_replayed(workplace, capsys):
    model = workplace.stock()
    photo = workplace.photo()
    workplace.run('upscale', 'photos', '-o', 'out', '-m', model, '--no-provenance')
    for path in (photo, 'out/photo.png'):
        capsys.readouterr()
        assert 'expected an output of basicsr upscale' in failure(capsys, workplace, 'replay', path)
