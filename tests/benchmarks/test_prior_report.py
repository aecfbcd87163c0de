"""The documentation shows what was measured: tables, prose and figure follow from the kept measurements."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.prior import __main__ as command
from benchmarks.prior.photos import COLUMNS
from benchmarks.prior.report import PAGES, report, tables
from benchmarks.prior.runs import ESTIMATORS, VARIANTS
from benchmarks.prior.statistics import summarize

ROOT = Path(__file__).parents[2]
COSTS = ('backbone', 'film', 'residual', 'paper', 'adaptor', 'regressor')


@pytest.fixture(scope='module')
def kept():
    return json.loads((ROOT / 'benchmarks/results/prior_measured.json').read_text(encoding='utf-8'))


@pytest.fixture(scope='module')
def written(kept):
    return tables(summarize(kept))


def _pages():
    return {name: (ROOT / 'docs' / name).read_text(encoding='utf-8') for name in PAGES}


def test_tables_of_the_documentation_are_those_of_the_kept_measurements(written):
    shown = {
        name: table
        for text in _pages().values()
        for name, table in re.findall(r'<!-- (?!end)(\w+) -->\n(.*?)\n<!-- end -->', text, re.DOTALL)
    }
    assert shown == written


def test_each_table_is_on_one_page_alone():
    marked = [name for text in _pages().values() for name in re.findall(r'<!-- (?!end)(\w+) -->', text)]
    assert len(marked) == len(set(marked))


def test_each_figure_in_the_prose_of_the_result_page_is_in_a_table(written):
    text = re.sub(r'<!-- (?!end).*?<!-- end -->|```.*?```', '', _pages()['prior_nominal.md'], flags=re.DOTALL)
    quoted = set(re.findall(r'(?<![\d.])\d+\.\d\d(?!\d)', text))
    known = set(re.findall(r'(?<![\d.])\d+\.\d\d(?!\d)', ' '.join(written.values())))
    assert len(quoted) > 5
    assert quoted <= known


def test_percentages_in_the_prose_of_the_result_page_are_the_shares_of_the_table(kept):
    text = _pages()['prior_nominal.md']
    shares = summarize(kept)['share']['heldout']['adaptor']
    low, high = map(int, re.search(r'gains (\d+) to (\d+) % of that on blurred, mildly and heavily', text).groups())
    three = [round(100 * shares[name][0]) for name in ('blur', 'mild', 'heavy')]
    assert (min(three), max(three)) == (low, high)


def test_every_kept_result_belongs_to_a_run_with_its_commit_and_its_machine(kept):
    assert set(kept['accuracy']) <= set(ESTIMATORS)
    assert set(kept['scores']) <= {'bicubic', *VARIANTS}
    runs = {f'estimator_{name}' for name in kept['accuracy']} | {f'sr_{n}' for n in kept['scores'] if n != 'bicubic'}
    assert runs == set(kept['steps'])
    for run in runs:
        for key in ('minutes', 'commits', 'machines'):
            assert kept['origin'][key][run]


def _scores(*values):
    sets = ('heldout', 'whole')
    return {f'{part}/{column}': {'psnr': list(values), 'ssim': list(values)} for part in sets for column in COLUMNS}


def _measured(**changes):
    scores = {'bicubic': _scores(19, 29), 'constant': _scores(20, 30), 'oracle': _scores(22, 32)}
    cost = {name: {'parameters': 1, 'ms': 1.0, 'MiB': 1.0} for name in COSTS}
    steps = {'sr_constant': 2, 'sr_oracle': 2}
    origin = {'minutes': {'sr_oracle': 6.0}, 'commits': {'sr_oracle': ['abc']}, 'machines': {'sr_oracle': ['one core']}}
    parts = {'scores': scores, 'accuracy': {}, 'points': {}, 'cost': cost, 'curves': {}, 'steps': steps}
    return {**parts, 'origin': origin, **changes}


def test_a_report_writes_gains_tables_and_figure(tmp_path):
    report(_measured(), [tmp_path / 'new.md'], tmp_path / 'new.png')
    page = (tmp_path / 'new.md').read_text()
    assert '| `oracle`: true levels as text embeddings | +2.00 (+2.00 to +2.00)' in page
    assert '0.1 hours' in page
    assert 'abc' in page
    assert '*Not measured yet.*' in page
    assert Image.open(tmp_path / 'new.png').size[0] > 500


def test_a_report_replaces_tables_and_leaves_the_rest_of_a_page(tmp_path):
    page = tmp_path / 'page.md'
    page.write_text('before\n<!-- gain -->\n| old |\n<!-- end -->\nafter\n<!-- other -->\nkept\n<!-- end -->\n')
    report(_measured(), [page], tmp_path / 'new.png')
    text = page.read_text()
    assert '| old |' not in text
    assert text.startswith('before\n<!-- gain -->\n| gain over `constant`, dB |')
    assert text.endswith('<!-- end -->\nafter\n<!-- other -->\nkept\n<!-- end -->\n')


def test_the_report_command_rebuilds_the_documentation(tmp_path, monkeypatch):
    for name in PAGES:
        shutil.copy(ROOT / 'docs' / name, tmp_path)
    page = tmp_path / PAGES[0]
    page.write_text(page.read_text(encoding='utf-8').replace('+1.19', '+9.99'), encoding='utf-8')
    monkeypatch.setattr(command, 'DOCS', tmp_path)
    monkeypatch.setattr('sys.argv', ['prior', '--report'])
    command.main()
    for name, text in _pages().items():
        assert (tmp_path / name).read_text(encoding='utf-8') == text
    assert (tmp_path / 'prior_nominal.png').exists()


def test_results_that_would_be_lost_are_not_overwritten(tmp_path):
    path = tmp_path / 'kept.json'
    command.refuse_loss(_measured(), path)
    path.write_text(json.dumps(_measured()))
    command.refuse_loss(_measured(), path)
    scores = _measured()['scores']
    without = {name: values for name, values in scores.items() if name != 'oracle'}
    fewer = {**scores, 'oracle': {key: value for key, value in scores['oracle'].items() if 'whole' not in key}}
    for lost in (without, fewer):
        with pytest.raises(SystemExit, match=r'but oracle \(1 in all\) would be lost'):
            command.refuse_loss(_measured(scores=lost), path)
