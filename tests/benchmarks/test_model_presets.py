"""Presets are packed, described, measured and reported."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from PIL import Image
from skimage import data

from basicsr_plugin.errors import UserError
from basicsr_plugin.presets import presets
from benchmarks.models import measure, report
from benchmarks.models.attribution import ATTRIBUTION, licences_of
from benchmarks.models.card import card_of
from benchmarks.models.pack import LICENCE, add_measured, pack_estimator, pack_sr
from deplsr_model import Upscaler, describe
from deplsr_model.presets import FOLDER

RESULTS = report.ROOT / 'benchmarks/results'
NETWORK_DA = {'type': 'LevelDistribution', 'prior_dim': 16, 'num_feat': 8, 'num_block': 1, 'num_degradation_types': 8}
NETWORK_G = {
    'type': 'Fused', 'backbone': {'type': 'PlainResNet', 'num_feat': 8, 'num_block': 1, 'scale': 2, 'unshuffle': 2},
    'fuse_at': ['body.0'], 'fusion': 'film', 'prior_dim': 16, 'num_degradation_types': 8,
}  # fmt: skip
FACTS = {'recipe': {'semantic': 0.5, 'clean': 0.5}, 'steps': 1000, 'hours': 0.5, 'commit': 'abc', 'patch': '64 x 64'}
HEAD = 'file\tgroup\tsplit\tsource\tfile_in_source\twikimedia_commons_title\tauthor\tlicence'


@pytest.fixture
def folder(tmp_path):
    """Weights and the table of the photos."""
    for name, block in {'g': NETWORK_G, 'da': NETWORK_DA}.items():
        torch.save(build_network(dict(block)).state_dict(), tmp_path / f'{name}.pth')
    rows = [
        'train/a_c1.jpg\ta\ttrain\tsite\ta.jpg\tFile:A.jpg\tAnna\tCC-BY-SA-4.0',
        'train/a_c2.jpg\ta\ttrain\tsite\ta.jpg\tFile:A.jpg\tAnna\tCC-BY-SA-4.0',
        'train/b.jpg\tb\ttrain\tsite\tb.jpg\t\t\tCC0-1.0',
        'heldout/c.png\tc\theldout\tsite\tc.png\t\t\tCC0-1.0',
    ]
    (tmp_path / 'manifest.tsv').write_text('\n'.join([HEAD, *rows]) + '\n', encoding='utf-8')
    return tmp_path


def test_a_packed_preset_needs_nothing_else_and_has_a_card(folder):
    manifest, da, sr = folder / 'manifest.tsv', folder / 'out/tiny.safetensors', folder / 'out/tiny-x2.safetensors'
    pack_estimator(folder / 'da.pth', NETWORK_DA, FACTS, da, manifest)
    pack_sr(folder / 'g.pth', NETWORK_G, da, FACTS, sr, manifest)
    pack_sr(folder / 'g.pth', NETWORK_G, None, FACTS, folder / 'blind/constant-x2.safetensors', manifest)
    for name in ('g.pth', 'da.pth'):
        (folder / name).unlink()
    photo = data.astronaut()[:40, :50]
    upscaler = Upscaler(sr)
    assert upscaler(photo).shape == (80, 100, 3)
    assert describe(photo, da) == describe(photo, upscaler)
    assert upscaler.model.facts['license'] == LICENCE
    blind = Upscaler(folder / 'blind/constant-x2.safetensors')
    assert blind.estimator is None
    assert blind(photo).shape == (80, 100, 3)
    text = sr.with_suffix('.md').read_text(encoding='utf-8')
    for line in ('# tiny-x2', '| recipe | semantic 0.5, clean 0.5 |', '| steps | 1,000 |', '| CC-BY-SA-4.0 | 1 |'):
        assert line in text.splitlines()
    assert 'not legal advice' in text
    with (folder / 'out' / ATTRIBUTION).open(encoding='utf-8') as file:
        rows = list(csv.DictReader(file, delimiter='\t'))
    assert [(row['photo'], row['author'], row['licence']) for row in rows] == [
        ('a', 'Anna', 'CC-BY-SA-4.0'),
        ('b', '', 'CC0-1.0'),
    ]
    add_measured(sr, [{'test images': 'RealSR100', 'PSNR-Y, dB': '27.50'}])
    assert '| RealSR100 | 27.50 |' in sr.with_suffix('.md').read_text(encoding='utf-8')


def test_a_missing_fact_is_one_line(folder):
    with pytest.raises(UserError, match='facts: expected recipe, steps, hours, commit, got none for hours'):
        pack_estimator(folder / 'da.pth', NETWORK_DA, {'recipe': 'clean', 'steps': 1}, folder / 'a.safetensors', folder)


@pytest.mark.parametrize('preset', presets(), ids=lambda preset: preset.name)
def test_the_shipped_cards_are_those_of_their_facts(preset):
    facts = json.loads(preset.path.with_suffix('.json').read_text(encoding='utf-8'))
    assert preset.card.read_text(encoding='utf-8') == card_of(preset.path, facts)


def test_the_photos_of_the_attribution_are_those_of_the_training():
    with (FOLDER / ATTRIBUTION).open(encoding='utf-8') as file:
        photos = list(csv.DictReader(file, delimiter='\t'))
    with (RESULTS / 'photos.tsv').open(encoding='utf-8') as file:
        names = [
            row['name'].rpartition('.')[0] for row in csv.DictReader(file, delimiter='\t') if row['split'] == 'train'
        ]
    assert {row['photo'] for row in photos} == {name[:-3] if name[-3:-1] == '_c' else name for name in names}
    assert all(row['licence'] and row['source'] for row in photos)


def test_licences_count_the_crops_of_a_photo_once(folder):
    assert licences_of(folder / 'manifest.tsv') == {'CC-BY-SA-4.0': 1, 'CC0-1.0': 1}


@pytest.fixture
def kept():
    """Results of 3 held-out images and of 2 degradations of 2 images."""
    rng = np.random.default_rng(0)
    values, images = {}, {}
    for scale in (4, 2):
        end = '' if scale == 4 else ' x2'
        for name, (count, total) in {'medium': (3, 3), 'heavy': (3, 3), 'realesrgan': (3, 12)}.items():
            images[f'{name}{end}'] = count
            models = {f'bicubic-x{scale}': 0.0, f'small-x{scale}': 1.5, 'constant-x4': 1.0}
            values[f'{name}{end}'] = {
                model: (25 + gain + rng.random(total) / 9).tolist() for model, gain in models.items()
            }
    images |= {'Set14SE': 2, 'RealSR100': 2}
    for name, total in {'Set14SE': 4, 'RealSR100': 2}.items():
        models = {'bicubic-x4': 21.5, 'small-x4': 22.5, 'constant-x4': 22.0}
        values[name] = {model: [mean] * total for model, mean in models.items()}
    values['bf16'] = {
        f'small-x{scale}': values['medium' if scale == 4 else 'medium x2'][f'small-x{scale}'] for scale in (4, 2)
    }
    fact = {'parameters': 500000, 'estimator_parameters': 300000, 'macs': 10**9}
    estimate = {'types': ['blur', 'codec_last'], 'outside': 0.1, 'inside': [1.0, 0.8, 0.9], 'coverage': [0.9, 0.95]}
    return {
        'values': values,
        'images': images,
        'facts': dict.fromkeys(['small-x4', 'small-x2', 'constant-x4'], fact),
        'estimates': {'clean': {**estimate, 'spearman': {'0': 0.8}}},
        'seconds': {f'small-x{scale}': {'threads': 2, 'fp32': 1.0, 'bf16': 2.0} for scale in (4, 2)},
        'lines': {'acceptance': [22.0, 23.0], 'excellence': [22.5, 23.5]},
        'published': {'Set14SE': {'BSRNet': [22.0, 23.5]}, 'RealSR100': {'OSEDiff': 25.15}},
    }


def test_tables_hold_means_gains_rates_and_what_was_reached(kept):
    made = report.tables(kept)
    lines = {name: text.splitlines() for name, text in made.items()}
    assert (
        '| Set14-SE | 21.50 | 22.00 | 22.50 | +1.00 (+1.00 to +1.00) | +0.50 (+0.50 to +0.50) |'
        in lines['models_quality']
    )
    assert lines['models_set14se'][2].startswith('| BSRNet, published | 16.7 | 22.75 | 1.00 ')
    assert '| small-x4 | 0.5 | 22.50 | 0.50 (0.00 to 1.00) | -0.50 |' in lines['models_set14se']
    assert '| OSEDiff, published | 25.15 |  |' in lines['models_realsr']
    assert '| RealSR100: over bicubic | +0.3 dB | +1.00 (+1.00 to +1.00) | reached |' in lines['models_targets']
    assert '| a megapixel out, bf16, 2 threads | below 1.5 s | 2.00 s | **not reached** |' in lines['models_targets']
    assert '| `clean` | 90.0% (80.0% to 100.0%) | 10% | 90%, 0.80 | 95% |' in lines['models_estimator']
    assert lines['models_cost'][2].startswith('| small-x4 | 0.50 + 0.30 | 1.0 | 2 | 1.00 | 2.00 | +0.000 dB |')
    assert lines['models_x2'][2].startswith('| held-out, medium | 25.')


def test_the_page_has_a_place_for_each_table_and_states_what_is_missing(kept):
    page = report.PAGE.read_text(encoding='utf-8')
    assert all(f'<!-- {name} -->' in page for name in report.tables(kept))
    assert set(report.tables({}).values()) == {'*Not measured yet.*'}


def test_presets_are_measured_on_degraded_photos_and_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(measure, '_seconds', lambda name: {'threads': 1, 'fp32': 1.0, 'bf16': 1.0})
    monkeypatch.setattr(measure, 'RECIPES', {'realesrgan': measure.RECIPES['realesrgan']})
    monkeypatch.setattr(measure, '_GT_SIZE', 64)
    (tmp_path / 'heldout').mkdir()
    Image.fromarray(data.coffee()).save(tmp_path / 'heldout/coffee.png')
    measure.measure(tmp_path, None, tmp_path / 'models.json')
    kept = json.loads((tmp_path / 'models.json').read_text())
    assert {name: len(one['small-x4']) for name, one in kept['values'].items() if 'small-x4' in one} == {
        'medium': 1, 'heavy': 1, 'realesrgan': 4, 'bf16': 1,
    }  # fmt: skip
    report.report(tmp_path / 'models.json', tmp_path / 'models.md', cards=False)
    text = (tmp_path / 'models.md').read_text(encoding='utf-8')
    assert '| held-out, medium |' in text
    assert 'RealSR100' not in text
