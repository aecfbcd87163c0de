"""Checks of the paths in an option file: weights, folders of images, and lists of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from basicsr_plugin.errors import Faults, OptionError
from basicsr_plugin.names import nearest
from basicsr_plugin.presets import not_found

__all__ = ['check_dataset_files', 'check_paths']

_FILES = ('dataroot_gt', 'dataroot_lq', 'meta_info', 'meta_info_file')
_PATH_KEYS = ('pretrain_network', 'param_key', 'strict_load')


def check_dataset_files(where: str, dataset: Mapping[str, Any]) -> None:
    """Checks that the paths of a data set exist.

    Raises:
        OptionError: One line for each that does not.
    """
    backend = dataset.get('io_backend') or {}
    backend = backend.get('type', 'disk') if isinstance(backend, Mapping) else 'disk'
    lines = []
    for key in _FILES if backend == 'disk' else _FILES[:2] if backend == 'lmdb' else ():
        for path in dataset[key] if isinstance(dataset.get(key), list) else [dataset.get(key)]:
            if isinstance(path, str) and path and not os.path.exists(path):
                lines.append(
                    f"{where}.{key}: expected an existing path, got '{path}', which does not exist; set it to yours"
                )
    if lines:
        raise OptionError('\n'.join(lines))


def check_paths(opt: Mapping[str, Any]) -> None:
    """Checks section ``path``.

    Raises:
        OptionError: Keys are misspelt, values of a wrong type, or weights do not exist: one line for each.
    """
    networks = [key for key in opt if key.startswith('network_')]
    labels = [key.removeprefix('network_') for key in networks]
    known = [f'{key}_{label}' for key in _PATH_KEYS for label in labels]
    known += ['resume_state', 'ignore_resume_networks', 'experiments_root', 'results_root']
    resumed = opt['auto_resume'] or opt['path'].get('resume_state')
    faults = Faults()
    for key, value in opt['path'].items():
        hint = nearest(key, known)
        if key not in known and hint and key not in ('models', 'log', 'training_states', 'visualization'):
            faults.add([f"path: unknown key '{key}'{hint}"])
        elif key.startswith('strict_load'):
            faults.add([] if isinstance(value, bool) else [f'path.{key}: expected true or false, got {value!r}'])
        elif key == 'ignore_resume_networks':
            faults.add(_ignored_networks(value, networks))
        elif key in known and value is not None and not isinstance(value, str):
            faults.add([f'path.{key}: expected text, got {value!r}'])
        elif key.startswith('pretrain_network') and value and not resumed and not os.path.exists(value):
            faults.add([f'path.{key}: expected an existing file, got {not_found(value)}'])
    faults.raise_all()


def _ignored_networks(value: Any, networks: list[str]) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list):
        return [f'path.ignore_resume_networks: expected a list such as [network_d], got {value!r}']
    return [
        f'path.ignore_resume_networks: expected names of networks ({", ".join(networks)}), got {name!r}'
        f'{nearest(str(name), networks)}'
        for name in value
        if name not in networks
    ]
