"""The tables of docs/prior_nominal.md and docs/notebook.md, written between their markers, and the figure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.prior.draw import draw_figure
from benchmarks.prior.photos import COLUMNS, DEGRADATIONS, IN_CROPS, ON_TEST_SETS, OTHER, SIZES, TYPES
from benchmarks.prior.runs import ESTIMATORS, VARIANTS
from benchmarks.prior.statistics import summarize

PAGES = ('prior_nominal.md', 'notebook.md')  #: of docs/
FIGURE = 'prior_nominal.png'
_MAIN = ('oracle', 'adaptor', 'regressor', 'clip')
_BOTH = ('adaptor', 'regressor')
_FUSIONS = ('film', 'residual', 'paper')
_ABLATIONS = (
    'full_size', 'embedding', 'no_context', 'dropout', 'numbers', 'embedding_oracle', 'one_block', 'all_blocks',
)  # fmt: skip


def report(measured: dict[str, Any], pages: Iterable[Path], figure: Path) -> None:
    """Writes all tables and the figure; of several pages each gets the tables whose markers it has."""
    result = summarize(measured)
    written = tables(result)
    for page in pages:
        write_tables(written, page)
        print(f'wrote {page.name}')
    draw_figure(result, measured['points'], figure)


def write_tables(written: dict[str, str], page: Path) -> None:
    """Replaces the text between ``<!-- NAME -->`` and ``<!-- end -->`` by the table of that name.

    A page that does not exist is made, with all tables.
    """
    blank = ''.join(f'## {name}\n\n<!-- {name} -->\n<!-- end -->\n\n' for name in written)
    text = page.read_text(encoding='utf-8') if page.exists() else blank
    for name, table in written.items():
        text = re.sub(
            rf'(<!-- {name} -->\n).*?(<!-- end -->)', lambda m, t=table: f'{m[1]}{t}\n{m[2]}', text, flags=re.S
        )
    page.write_text(text, encoding='utf-8')


def tables(result: dict[str, Any]) -> dict[str, str]:
    """All tables by the name of their marker."""
    gain, share, estimators = result['gain'], result['share'], result['accuracy']
    return {
        'psnr': _psnr(result, 'heldout'),
        'gain': _gain(gain['heldout'], _MAIN),
        'gain_whole': _gain(gain['whole'], _MAIN),
        'gain_sets': _gain(gain['sets'], _MAIN),
        'share': _share(share['heldout']),
        'share_whole': _share(share['whole']),
        'share_sets': _share(share['sets']),
        'fusion': _fusion(gain['heldout']),
        'fusion_psnr': _fusion_psnr(result['psnr']),
        'versus': _versus(result['adaptor_over_regressor']),
        'ablations_sr': _ablations_sr(gain['heldout'], _ABLATIONS),
        'realesrgan': _ablations_sr(gain['heldout'], ('realesrgan_oracle', 'realesrgan_adaptor')),
        'accuracy': _accuracy(estimators),
        'accuracy_versus': _accuracy_versus(result),
        'accuracy_other': _accuracy_other(estimators),
        'errors': _errors(estimators),
        'ablations_estimators': _ablations_estimators(estimators),
        'confusion': _confusion(estimators),
        'cost': _cost(result['cost']),
        'hours': _hours(result),
    }


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head, rows = list(head), list(rows)
    if not rows:
        return '*Not measured yet.*'
    lines = [head, ['---'] * len(head), *rows]
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)


def _psnr(result: dict[str, Any], part: str) -> str:
    rows = []
    for name, psnr in result['psnr'].items():
        if name not in VARIANTS or not VARIANTS[name].short:
            ssim = result['ssim'][name]
            rows.append([name, *(f'{psnr[f"{part}/{one}"]:.2f} / {ssim[f"{part}/{one}"]:.3f}' for one in COLUMNS)])
    return _table(['variant', *COLUMNS], rows)


def _versus(gain: dict[str, Any]) -> str:
    titles = {'heldout': 'held-out photos', 'whole': 'held-out photos, whole', 'sets': 'test sets'}
    rows = [[titles[part], *(_interval(values[one]) for one in COLUMNS)] for part, values in gain.items() if values]
    return _table(['`adaptor` over `regressor`, dB', *COLUMNS], rows)


def _ablations_sr(gain: dict[str, Any], names: Iterable[str]) -> str:
    rows = [
        [_described(VARIANTS, name), f'`{VARIANTS[name].baseline}`', *(_interval(gain[name][one]) for one in COLUMNS)]
        for name in names
        if gain.get(name)
    ]
    return _table(['variant', 'over', *COLUMNS], rows)


def _gain(gain: dict[str, Any], names: Iterable[str]) -> str:
    rows = [
        [_described(VARIANTS, name), *(_interval(gain[name][one]) for one in COLUMNS)]
        for name in names
        if gain.get(name)
    ]
    return _table(['gain over `constant`, dB', *COLUMNS], rows)


def _described(known: dict[str, Any], name: str) -> str:
    return f'`{name}`: {known[name].description}'


def _interval(values: list[float], digits: str = '.2f') -> str:
    return '{} ({} to {})'.format(*(format(value, f'+{digits}') for value in values))


def _share(share: dict[str, Any]) -> str:
    rows = [
        [f'`{name}`', *(_percent(values.get(one)) for one in DEGRADATIONS)] for name, values in share.items() if values
    ]
    return _table(["share of the oracle's gain", *DEGRADATIONS], rows)


def _percent(values: list[float] | None) -> str:
    return '{:.0%} ({:.0%} to {:.0%})'.format(*values) if values else '-'


def _fusion(gain: dict[str, Any]) -> str:
    rows = []
    film = gain.get('film_oracle')
    for fusion in _FUSIONS if film else ():
        gained = gain.get(f'{fusion}_oracle')
        if gained:
            shares = (
                f'{gained[one][0]:+.2f}' + (f', {gained[one][0] / film[one][0]:.0%}' if film[one][1] > 0 else '')
                for one in DEGRADATIONS
            )
            rows.append([f'`{fusion}`', *shares])
    return _table(['gain of the oracle, dB', *DEGRADATIONS], rows)


def _fusion_psnr(psnr: dict[str, Any]) -> str:
    rows = [
        [f'`{fusion}`', name, *(f'{psnr[f"{fusion}_{name}"][f"heldout/{one}"]:.2f}' for one in DEGRADATIONS)]
        for fusion in _FUSIONS
        for name in ('constant', 'oracle')
        if f'{fusion}_{name}' in psnr
    ]
    return _table(['fusion, PSNR-Y', 'prior', *DEGRADATIONS], rows)


def _by_type(values: dict[str, float]) -> str:
    return ' / '.join(f'{values[name]:.2f}' for name in TYPES)


def _accuracy(estimators: dict[str, Any]) -> str:
    rows = [
        [f'`{name}`', *(_by_type(estimators[name][size]['spearman']) for size in SIZES)]
        for name in _BOTH
        if name in estimators
    ]
    return _table(['Spearman, blur / noise / JPEG', *SIZES], rows)


def _errors(estimators: dict[str, Any]) -> str:
    rows = [
        [f'`{name}`', *(_by_type(estimators[name][size]['mean_error']) for size in SIZES)]
        for name in _BOTH
        if name in estimators
    ]
    return _table(['mean error, blur / noise / JPEG', *SIZES], rows)


def _accuracy_versus(result: dict[str, Any]) -> str:
    titles = {'64': '64', ON_TEST_SETS: '64, test sets', '128': '128', IN_CROPS: '128, regressor in crops too'}
    parts = (('Spearman', 'rank_difference', '.3f'), ('mean error', 'error_difference', '.2f'))
    rows = [
        [f'{measure}, {title}', *(_interval(result[key][size][one], digits) for one in TYPES)]
        for measure, key, digits in parts
        for size, title in titles.items()
        if size in result[key]
    ]
    return _table(['`adaptor` minus `regressor`', 'blur', 'noise', 'JPEG'], rows)


def _accuracy_other(estimators: dict[str, Any]) -> str:
    rows = []
    titles = {'64': 'held-out photos', ON_TEST_SETS: 'test sets', OTHER: "held-out photos, Real-ESRGAN's recipe"}
    for size, title in titles.items():
        found = [(f'`{name}`', estimators[name][size]) for name in _BOTH if size in estimators.get(name, {})]
        if size == OTHER and 'realesrgan' in estimators:
            found.append(('`realesrgan`: trained on it, short', estimators['realesrgan']['64']))
        rows += [[title, name, _by_type(one['spearman']), _by_type(one['mean_error'])] for name, one in found]
        if found:
            rows.append([title, 'always the median level', '', _by_type(found[0][1]['median_level_error'])])
    return _table(['crops of 64 LR pixels', 'estimator', 'Spearman, blur / noise / JPEG', 'mean error'], rows)


def _ablations_estimators(estimators: dict[str, Any]) -> str:
    rows = []
    for name, values in estimators.items():
        if ESTIMATORS[name].recipe != 'semantic':
            continue
        rows.append([
            _described(ESTIMATORS, name),
            'long' if ESTIMATORS[name].long else 'short',
            _by_type(values['64']['spearman']),
            _by_type(values['128']['spearman']),
            _by_type(values['probe']) if values.get('probe') else '',
        ])  # fmt: skip
    return _table(['estimator', 'training', 'Spearman at 64', 'Spearman at 128', 'linear probe at 64'], rows)


def _confusion(estimators: dict[str, Any]) -> str:
    values = estimators.get('all_types')
    rows = []
    for size in ('64', '128', 'whole') if values else ():
        noise, ringing = values[size]['confusion'].values()
        right = (noise[0][0], noise[1][1], ringing[0][0], ringing[1][1])
        rows.append([size, *(f'{100 * share:.0f} %' for share in right)])
    return _table(['classified correctly, LR crop', 'Gaussian', 'Poisson', 'no ringing', 'ringing'], rows)


def _cost(cost: dict[str, Any]) -> str:
    names = {
        'backbone': 'SR network without fusion', 'film': 'with `fusion: film`', 'residual': 'with `fusion: residual`',
        'paper': 'with `fusion: paper`', 'adaptor': 'estimation by the adaptor',
        'regressor': 'estimation by the regressor',
    }  # fmt: skip
    rows = [
        [text, f'{cost[n]["parameters"]:,d}', f'{cost[n]["ms"]:.0f}', f'{cost[n]["MiB"]:.0f}']
        for n, text in names.items()
    ]
    return _table(['an LR image of 128 x 128, one thread', 'parameters', 'ms', 'MiB at its peak'], rows)


def _hours(result: dict[str, Any]) -> str:
    origin, steps = result['origin'], result['steps']
    total = sum(origin['minutes'].get(name, 0.0) for name in steps) / 60
    commits, machines = (
        sorted({value for name in steps for value in origin[key].get(name, [])}) for key in ('commits', 'machines')
    )
    counts = [
        ', '.join(f'{count:,d}' for count in sorted({n for run, n in steps.items() if run.startswith(f'{stage}_')}))
        for stage in ('estimator', 'sr')
    ]
    return (
        f'{total:.1f} hours, summed over runs, on {", ".join(machines)}; commits {", ".join(commits)}. '
        f'Steps: {counts[0]} of 32 crops for estimators, {counts[1]} of 16 patches for SR networks.'
    )
