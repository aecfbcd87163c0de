"""Published figures are reproduced where their test sets are, and a figure that is not stops the run."""

from __future__ import annotations

import pytest
from benchmark_cases import SHARED, needs

from deplsr_model.benchmark import known_figures
from deplsr_model.benchmark.cache import Cache
from deplsr_model.benchmark.known_figures import calibrate
from deplsr_model.benchmark.sets import find_sets


def checks(name: str, path) -> list[known_figures.Check]:
    found = calibrate(find_sets([name], SHARED, 4), Cache(path))
    assert found
    assert [one.text for one in found if not one.passed] == []
    return found


@needs('Set5')
def test_bicubic_on_set5(tmp_path):
    assert '28.40' in checks('Set5', tmp_path)[0].text


@needs('RealSR100')
def test_outputs_of_osediff_and_bicubic_on_realsr(tmp_path):
    bicubic, osediff = checks('RealSR100', tmp_path)
    assert '27.11' in bicubic.text
    assert '20 images' in osediff.text


@needs('Set14SE')
@pytest.mark.slow
def test_bicubic_and_acceptance_rates_on_set14se(tmp_path):
    found = checks('Set14SE', tmp_path)
    assert '21.54' in found[0].text
    assert len(found) == 5


def test_a_figure_that_is_not_reproduced_stops_the_run(workplace, monkeypatch, capsys):
    monkeypatch.setattr(known_figures, 'BICUBIC', {'small': (99.0, 0, 3)})
    monkeypatch.setattr(known_figures, '_SCALE', 2)
    assert workplace.benchmark('--bicubic') == 2
    assert 'calibration: expected the published figure' in capsys.readouterr().err
    assert not (workplace.path / 'table/results.csv').exists()
    assert workplace.benchmark('--bicubic', '--no-calibration') == 0
    assert '--no-calibration' in (workplace.path / 'table/summary.md').read_text()
    assert 'Not calibrated' in (workplace.path / 'table/index.html').read_text()


def test_a_reproduced_figure_is_stated_in_the_report(workplace, monkeypatch):
    assert workplace.benchmark('--bicubic', '--border', '0') == 0
    mean = round(workplace.summary()['columns'][0]['models']['bicubic']['mean'], 2)
    monkeypatch.setattr(known_figures, 'BICUBIC', {'small': (mean, 0, 3)})
    monkeypatch.setattr(known_figures, '_SCALE', 2)
    assert workplace.benchmark('--bicubic', '--limit', '2') == 0
    assert f'published {mean:.2f}' in workplace.summary()['calibration'][0]['text']
    assert 'Calibrated.' in (workplace.path / 'table/index.html').read_text()
