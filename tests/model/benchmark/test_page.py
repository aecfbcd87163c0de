"""The page: complete in one file, and in a real browser it sorts, zooms and shows error maps without an error."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from benchmark_cases import write

from deplsr_model.benchmark.pairs import read_image
from deplsr_model.benchmark.svg import heat_map

CHROMIUM = next(
    (path for name in ('chromium', 'chromium-browser', 'google-chrome') if (path := shutil.which(name))), ''
)

#: Runs in the page after it has loaded; what it finds is the text of an element that is written into the DOM.
DRIVER = """
const found = {};
const panels = document.getElementById('panels');
const ready = () => new Promise((resolve) => {
  const wait = () => panels.dataset.ready === 'true' ? resolve() : setTimeout(wait, 20);
  wait();
});
const firsts = (table) => [...table.tBodies[0].rows].map((row) => row.cells[0].textContent);
const hash = (place) => {
  const canvas = panels.querySelectorAll('canvas')[place];
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  return data.reduce((sum, value, i) => (sum * 31 + value + i) % 1000003, 7);
};
const brightness = (place) => {
  const canvas = panels.querySelectorAll('canvas')[place];
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  return data.filter((_, i) => i % 4 < 3).reduce((sum, value) => sum + value, 0) / (data.length * 0.75);
};
ready().then(async () => {
  const table = document.querySelector('table.sortable');
  const head = table.tHead.rows[0].cells[1];
  head.click();
  found.descending = firsts(table);
  head.click();
  found.ascending = firsts(table);
  found.sorted = head.getAttribute('aria-sort');
  found.captions = [...panels.querySelectorAll('figcaption')].map((one) => one.textContent);
  found.start = { ...panels.dataset };
  const before = [0, 1, 2].map(hash);
  panels.querySelector('canvas').dispatchEvent(
    new WheelEvent('wheel', { deltaY: -1, offsetX: 0, offsetY: 0, bubbles: true, cancelable: true }));
  for (let i = 0; i < 4; i += 1) document.getElementById('in').click();
  found.zoomed = { ...panels.dataset };
  found.changed = [0, 1, 2].map((place) => hash(place) !== before[place]);
  const canvas = panels.querySelectorAll('canvas')[1];
  canvas.dispatchEvent(new PointerEvent('pointermove', { buttons: 1, movementX: -32, movementY: -16, bubbles: true }));
  found.moved = { ...panels.dataset };
  document.getElementById('error').click();
  found.error = { ...panels.dataset };
  found.brightness = [...panels.querySelectorAll('canvas')].map((_, place) => brightness(place));
  const choice = document.getElementById('image');
  choice.value = '1';
  panels.dataset.ready = 'false';
  choice.dispatchEvent(new Event('change'));
  await ready();
  found.images = choice.options.length;
}).catch((error) => { found.failure = String(error); }).finally(() => {
  const result = document.createElement('pre');
  result.id = 'result';
  result.textContent = JSON.stringify(found);
  document.body.append(result);
});
"""


@pytest.fixture
def page(workplace) -> Path:
    """A report of a copy of the ground truth, a model, and bicubic."""
    shutil.copytree('sets/small/GT', 'theirs/small')
    gt = read_image(workplace.path / 'sets/small/GT/cat.png')
    write(workplace.path / 'theirs/small/cat.png', cv2.add(gt, np.full_like(gt, 8)))
    assert workplace.benchmark('<b>&.=stock.pth', '--bicubic', '--outputs', 'copy=theirs', '--show', '2') == 0
    return workplace.path / 'table/index.html'


def test_the_page_is_one_file_and_escapes_names(page):
    text = page.read_text()
    links = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert links == ['data:,']
    assert 'http' not in text.replace('http://www.w3.org', '')
    assert '<b>&.' not in text
    assert '&lt;b&gt;&amp;.' in text
    assert 'PSNR, Y of BT.601, not rounded; border 2; GT; 8 bits' in text
    assert '<svg' in text


def test_a_heat_map_has_a_cell_for_each_degradation():
    models = {name: {'by_degradation': {'a': 1.0 + place, 'b': 3.0}} for place, name in enumerate(('one', 'two'))}
    column = {'metric': 'psnr', 'lower_is_better': False, 'digits': 2, 'degradations': ['a', 'b'], 'models': models}
    text = heat_map(column, {'a': 1.0, 'b': 3.0}, 'the line')
    assert text.count('<rect') == 4
    assert 'two, a: 2.00 (+1.00)' in text


@pytest.mark.skipif(not CHROMIUM, reason='chromium is not installed; apt-get install chromium')
def test_a_browser_sorts_zooms_moves_and_shows_error_maps(page):
    driven = page.with_name('driven.html')
    driven.write_text(page.read_text().replace('</body>', f'<script>{DRIVER}</script></body>'))
    command = [CHROMIUM, '--headless=new', '--no-sandbox', '--disable-gpu', '--enable-logging=stderr', '--v=0']
    command += [f'--user-data-dir={page.parent}/profile', '--virtual-time-budget=20000', '--dump-dom', driven.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    console = [line for line in done.stderr.splitlines() if 'CONSOLE' in line]
    assert console == []
    found = json.loads(html.unescape(re.search(r'<pre id="result">(.*?)</pre>', done.stdout, re.DOTALL)[1]))
    assert 'failure' not in found
    assert found['descending'][0] == 'copy'
    assert found['ascending'] == found['descending'][::-1]
    assert found['sorted'] == 'ascending'
    assert [one.partition(':')[0] for one in found['captions']] == ['input', 'bicubic', 'copy', '<b>&.', 'ground truth']
    assert (found['start']['zoom'], found['zoomed']['zoom']) == ('1', '8')
    assert found['changed'] == [True, True, True]
    assert int(found['moved']['x']) == int(found['zoomed']['x']) + 4  # 32 pixels of the screen
    assert int(found['moved']['y']) == int(found['zoomed']['y']) + 2
    assert found['error']['error'] == 'true'
    assert found['brightness'][2] == pytest.approx(255 * 3 * 8 / 64 / 3, abs=2)  # 8 of 255 everywhere: red only
    assert found['images'] == 2
