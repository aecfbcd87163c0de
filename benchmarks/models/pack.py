"""Packs trained weights as presets: a file of weights, the facts about its training, and the model card.

Each fact has one home: what is needed to run and to pass on the weights (networks, prior, levels, scale, licence,
source) is in the metadata of ``NAME.safetensors``, as `basicsr export` writes it; training, photos and measured figures
are in ``NAME.json``; ``NAME.md`` is made from both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import yaml

from basicsr_plugin.atomic import write_file
from basicsr_plugin.checkpoint import read_state_dict
from basicsr_plugin.errors import UserError
from basicsr_plugin.start_up import load_basicsr
from benchmarks.models.attribution import licences_of, write_attribution
from benchmarks.models.card import card_of
from deplsr_data.degradation.level_tables import LevelName
from deplsr_model.upscaling.embedded_options import embedded_options
from deplsr_model.upscaling.export import export_model

__all__ = ['LICENCE', 'add_measured', 'pack_estimator', 'pack_sr', 'write_card']

LICENCE = 'CC-BY-SA-4.0'
_SOURCE = 'trained by benchmarks/models of DePLSR for BasicSR'
_REQUIRED = ('recipe', 'steps', 'hours', 'commit')

Facts = Mapping[str, Any]


def pack_sr(
    weights: Path, network: Mapping[str, Any], estimator: Path | None, facts: Facts, out: Path, manifest: Path
) -> None:
    """Packs an SR network with the estimator that it is conditioned on.

    Args:
        weights: State dict of the network (``.pth``, averaged weights first where it has them).
        network: ``network_g``: type and arguments, ``scale`` among those of the backbone.
        estimator: What :func:`pack_estimator` wrote; None for a network trained without prior.
        facts: ``recipe``, ``steps``, ``hours`` and ``commit``, and anything else that the card is to show of the
            training, in this order. ``source`` replaces the usual statement.
        out: ``FOLDER/NAME.safetensors``.
        manifest: ``manifest.tsv`` of the photos.

    Raises:
        UserError: A fact is missing, or the weights do not fit the network; one line.
    """
    opt: dict[str, Any] = {'network_g': dict(network), 'prior': 'none' if estimator is None else 'estimated'}
    if estimator is not None:
        opt['network_da'] = embedded_options(estimator)['network_da']
        opt['path'] = {'pretrain_network_da': str(estimator.resolve())}
    _pack(weights, opt, facts, out, manifest)


def pack_estimator(
    weights: Path,
    network: Mapping[str, Any],
    facts: Facts,
    out: Path,
    manifest: Path,
    levels: LevelName = 'effective',
) -> None:
    """Packs a degradation estimator.

    Args:
        weights: State dict of the calibrated estimator (``.pth``).
        network: ``network_da``: type and arguments.
        facts: See :func:`pack_sr`.
        out: ``FOLDER/NAME.safetensors``.
        manifest: ``manifest.tsv`` of the photos.
        levels: What it estimates.

    Raises:
        UserError: See :func:`pack_sr`.
    """
    with TemporaryDirectory() as folder:
        stated = Path(folder, 'net_da.pth')
        torch.save({'params': read_state_dict(weights), 'levels': levels}, stated)
        _pack(stated, {'network_da': dict(network), 'levels': levels}, facts, out, manifest)


def _pack(weights: Path, opt: Mapping[str, Any], facts: Facts, out: Path, manifest: Path) -> None:
    missing = [name for name in _REQUIRED if name not in facts]
    if missing:
        raise UserError(f'facts: expected {", ".join(_REQUIRED)}, got none for {missing[0]}')
    load_basicsr()
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder:
        options = Path(folder, 'options.yml')
        options.write_text(yaml.safe_dump(json.loads(json.dumps(opt)), sort_keys=False), encoding='utf-8')
        export_model(weights.resolve(), out, options, licence=LICENCE, source=str(facts.get('source', _SOURCE)))
    write_attribution(manifest, out.parent)
    training = {name: value for name, value in facts.items() if name != 'source'}
    _write_facts(out, {'training': training, 'licences_of_photos': licences_of(manifest), 'measured': []})
    write_card(out)


def add_measured(preset: Path, measured: Sequence[Mapping[str, str]]) -> None:
    """Replaces the measured figures of a preset and writes its card again.

    Args:
        preset: ``FOLDER/NAME.safetensors``.
        measured: Rows of a table, each cell by the title of its column.
    """
    _write_facts(preset, {**_facts(preset), 'measured': [dict(row) for row in measured]})
    write_card(preset)


def write_card(preset: Path) -> None:
    """Writes the model card from the metadata and the facts of a preset."""
    write_file(str(preset.with_suffix('.md')), card_of(preset, _facts(preset)).encode())


def _facts(preset: Path) -> dict[str, Any]:
    return json.loads(preset.with_suffix('.json').read_text(encoding='utf-8'))


def _write_facts(preset: Path, facts: Facts) -> None:
    text = json.dumps(facts, indent=2, ensure_ascii=False)
    write_file(str(preset.with_suffix('.json')), f'{text}\n'.encode())
