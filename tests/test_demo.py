"""The demo shows what the presets do with bad photos."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image

PATH = Path(__file__).parents[1] / 'demo.py'


def test_the_demo_writes_an_image_and_prints_a_table_and_what_comes_next(tmp_path, monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location('demo', PATH)
    demo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, 'PHOTOS', {'chelsea': demo.PHOTOS['chelsea']})
    demo.main()
    out = capsys.readouterr().out
    assert '| chelsea, soft | ' in out
    assert '  estimated: blur ' in out
    assert out.endswith('make demo-train\n')
    folder = tmp_path / 'results/demo'
    assert np.asarray(Image.open(folder / 'chelsea_upscaled.png')).shape == (300, 448, 3)
    assert np.asarray(Image.open(folder / 'demo.png')).shape[1] == 4 * 284 - 4
