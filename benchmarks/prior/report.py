"""The tables of docs/prior.md, written between their markers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from prior_measure import COLUMNS, DEGRADATION_TYPES, DEGRADATIONS, IN_CROPS, ON_SETS, OTHER, SIZES
from prior_runs import ARMS, READERS

_MAIN = ('oracle', 'adaptor', 'levels', 'clip')
_READERS = ('adaptor', 'levels')
_FUSIONS = ('film', 'residual', 'paper')
_LEVERS = ('full_size', 'embedding', 'no_context', 'dropout', 'numbers', 'embedding_oracle', 'one_place', 'all_places')


def write_tables(result: dict[str, Any], page: Path) -> None:
    """Replaces what stands between ``<!-- NAME -->`` and ``<!-- end -->`` by the table of that name.

    A page that is not there yet is made, with the tables alone.
    """
    tables = {
        'psnr': _psnr(result, 'heldout'),
        'gain': _gain(result['gain'], _MAIN),
        'gain_whole': _gain(result['gain_whole'], _MAIN),
        'gain_sets': _gain(result['gain_sets'], _MAIN),
        'share': _share(result['share']),
        'share_whole': _share(result['share_whole']),
        'share_sets': _share(result['share_sets']),
        'fusion': _fusion(result),
        'versus': _versus(result['adaptor_over_levels']),
        'levers_sr': _levers_sr(result['gain'], _LEVERS),
        'other': _levers_sr(result['gain'], ('other_oracle', 'other_adaptor')),
        'reading': _reading(result['reading']),
        'reading_versus': _reading_versus(result),
        'reading_other': _reading_other(result['reading']),
        'errors': _errors(result['reading']),
        'levers_reading': _levers(result['reading']),
        'confusion': _confusion(result['reading']),
        'cost': _cost(result['cost']),
        'hours': _hours(result),
    }
    blank = ''.join(f'## {name}\n\n<!-- {name} -->\n<!-- end -->\n\n' for name in tables)
    text = page.read_text(encoding='utf-8') if page.exists() else blank
    for name, table in tables.items():
        text = re.sub(
            rf'(<!-- {name} -->\n).*?(<!-- end -->)', lambda m, t=table: f'{m[1]}{t}\n{m[2]}', text, flags=re.S
        )
    page.write_text(text, encoding='utf-8')


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head, rows = list(head), list(rows)
    if not rows:
        return '*Not measured yet.*'
    lines = [head, ['---'] * len(head), *rows]
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)


def _psnr(result: dict[str, Any], part: str) -> str:
    rows = [
        [
            name,
            *(
                f'{values[f"{part}/{degradation_type}"]:.2f} / {result["ssim"][name][f"{part}/{degradation_type}"]:.3f}'
                for degradation_type in COLUMNS
            ),
        ]
        for name, values in result['psnr'].items()
        if name not in ARMS or not ARMS[name].short
    ]
    return _table(['arm', *COLUMNS], rows)


def _versus(gain: dict[str, Any]) -> str:
    titles = {'heldout': 'held-out photos', 'whole': 'held-out photos, read whole', 'sets': 'test sets'}
    rows = [
        [titles[part], *(_interval(values[degradation_type]) for degradation_type in COLUMNS)]
        for part, values in gain.items()
        if values
    ]
    return _table(['`adaptor` over `levels`, dB', *COLUMNS], rows)


def _levers_sr(gain: dict[str, Any], names: Iterable[str]) -> str:
    rows = [
        [
            f'`{name}`: {ARMS[name].what}',
            f'`{ARMS[name].against}`',
            *(_interval(gain[name][degradation_type]) for degradation_type in COLUMNS),
        ]
        for name in names
        if gain.get(name)
    ]
    return _table(['arm', 'over', *COLUMNS], rows)


def _gain(gain: dict[str, Any], names: Iterable[str]) -> str:
    rows = [
        [f'`{name}`: {ARMS[name].what}', *(_interval(gain[name][degradation_type]) for degradation_type in COLUMNS)]
        for name in names
        if gain.get(name)
    ]
    return _table(['gain over `constant`, dB', *COLUMNS], rows)


def _interval(values: list[float], digits: str = '.2f') -> str:
    return '{} ({} to {})'.format(*(format(value, f'+{digits}') for value in values))


def _share(share: dict[str, Any]) -> str:
    rows = [
        [f'`{name}`', *(_percent(values.get(degradation_type)) for degradation_type in DEGRADATIONS)]
        for name, values in share.items()
        if values
    ]
    return _table(["share of the oracle's gain", *DEGRADATIONS], rows)


def _percent(values: list[float] | None) -> str:
    return '{:.0%} ({:.0%} to {:.0%})'.format(*values) if values else '-'


def _fusion(result: dict[str, Any]) -> str:
    rows = []
    film = result['gain'].get('film_oracle')
    for form in _FUSIONS if film else ():
        gained = result['gain'].get(f'{form}_oracle')
        if not gained:
            continue
        for name in ('constant', 'oracle'):
            psnr = result['psnr'][f'{form}_{name}']
            rows.append([f'`{form}`', name, *(f'{psnr[f"heldout/{k}"]:.2f}' for k in DEGRADATIONS)])
        shares = (
            f'{gained[k][0]:+.2f}' + (f', {gained[k][0] / film[k][0]:.0%}' if film[k][1] > 0 else '')
            for k in DEGRADATIONS
        )
        rows.append([f'`{form}`', 'gain', *shares])
    return _table(['fusion', 'prior', *DEGRADATIONS], rows)


def _by_type(values: dict[str, float]) -> str:
    return ' / '.join(f'{values[degradation_type]:.2f}' for degradation_type in DEGRADATION_TYPES)


def _reading(reading: dict[str, Any]) -> str:
    rows = [[f'`{name}`', *(_by_type(reading[name][size]) for size in SIZES)] for name in _READERS if name in reading]
    return _table(['blur / noise / JPEG', *SIZES], rows)


def _errors(reading: dict[str, Any]) -> str:
    rows = [
        [f'`{name}`', *(_by_type(reading[name][size]['error']) for size in SIZES)]
        for name in _READERS
        if name in reading
    ]
    return _table(['mean error, blur / noise / JPEG', *SIZES], rows)


def _reading_versus(result: dict[str, Any]) -> str:
    titles = {'64': '64', ON_SETS: '64, test sets', '128': '128', IN_CROPS: '128, regressor in crops too'}
    parts = (('Spearman', 'reading_over_levels', '.3f'), ('mean error', 'error_over_levels', '.2f'))
    rows = [
        [
            f'{what}, {title}',
            *(_interval(result[key][size][degradation_type], digits) for degradation_type in DEGRADATION_TYPES),
        ]
        for what, key, digits in parts
        for size, title in titles.items()
        if size in result[key]
    ]
    return _table(['`adaptor` less `levels`', 'blur', 'noise', 'JPEG'], rows)


def _reading_other(reading: dict[str, Any]) -> str:
    rows = []
    for title, size in (
        ('held-out photos', '64'),
        ('test sets', ON_SETS),
        ("held-out photos, Real-ESRGAN's recipe", OTHER),
    ):
        found = [(f'`{name}`', reading[name][size]) for name in _READERS if size in reading.get(name, {})]
        if size == OTHER and 'realesrgan' in reading:
            found.append(('trained on it, short', reading['realesrgan']['64']))
        rows += [[title, name, _by_type(values), _by_type(values['error'])] for name, values in found]
        if found:
            rows.append([title, 'the median level, always', '', _by_type(found[0][1]['constant'])])
    return _table(['crops of 64 LR pixels', 'reader', 'Spearman, blur / noise / JPEG', 'mean error'], rows)


def _levers(reading: dict[str, Any]) -> str:
    rows = []
    for name, values in reading.items():
        if READERS[name].recipe != 'semantic':
            continue
        rows.append([
            f'`{name}`: {READERS[name].what}',
            'long' if READERS[name].long else 'short',
            _by_type(values['64']),
            _by_type(values['128']),
            _by_type(values['probe']) if values.get('probe') else '',
        ])  # fmt: skip
    return _table(['reader', 'training', 'read at 64', 'read at 128', 'linear probe at 64'], rows)


def _confusion(reading: dict[str, Any]) -> str:
    values = reading.get('all_types')
    rows = []
    for size in ('64', '128', 'whole') if values else ():
        noise, ringing = values[size]['confusion'].values()
        rows.append(
            [size, *(f'{100 * share:.0f} %' for share in (noise[0][0], noise[1][1], ringing[0][0], ringing[1][1]))]
        )
    return _table(
        ['LR crop', 'Gaussian read as Gaussian', 'Poisson as Poisson', 'no ringing as none', 'ringing as ringing'], rows
    )


def _cost(cost: dict[str, Any]) -> str:
    names = {
        'backbone': 'SR network without fusion', 'film': 'with `fusion: film`', 'residual': 'with `fusion: residual`',
        'paper': 'with `fusion: paper`', 'adaptor': 'reading by the adaptor', 'levels': 'reading by the regressor',
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
    readers = ', '.join(f'{count:,d}' for count in sorted({n for run, n in steps.items() if run.startswith('reader_')}))
    arms = ', '.join(f'{count:,d}' for count in sorted({n for run, n in steps.items() if run.startswith('sr_')}))
    return (
        f'{total:.1f} hours, summed over runs, on {", ".join(machines)}; commits {", ".join(commits)}. '
        f'Steps: {readers} of 32 crops for readers, {arms} of 16 patches for SR networks (`steps` in prior.json says '
        'which).'
    )
