"""Checks of an option file before anything is built: its names, its keys and the files it points to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from basicsr_plugin.errors import OptionError
from basicsr_plugin.names import nearest
from basicsr_plugin.presets import not_found
from basicsr_plugin.run_files import check_keep_last_n
from basicsr_plugin.signatures import named_parameters, takes_any_name

__all__ = ['check_arguments', 'check_keys', 'check_names_and_files', 'check_typed_options', 'require_keys']

_TRAIN_KEYS = ('total_iter', 'scheduler')
_FILES = ('dataroot_gt', 'dataroot_lq', 'meta_info', 'meta_info_file')
_PATH_KEYS = ('pretrain_network', 'param_key', 'strict_load')


def require_keys(opt: dict[str, Any], is_train: bool) -> None:
    """Checks that BasicSR's loop has the keys it reads; fills in those that have an obvious value.

    Raises:
        OptionError: A section or key is missing, or a section is no mapping.
    """
    sections = ['datasets', 'path', *(['train', 'logger'] if is_train else ['val'])]
    if 'path' in opt and opt['path'] is None:  # "path:" with all its keys commented out
        opt['path'] = {}
    _require(opt, '', ['name', 'model_type', 'num_gpu', *sections])
    for section in sections:
        _require_mapping(opt[section], section)
    for phase, dataset in opt['datasets'].items():
        _check_dataset_keys(f'datasets.{phase}', phase, dataset)
    if is_train:
        _require(opt['datasets'], 'datasets', ['train'])
        _require(opt['train'], 'train', _TRAIN_KEYS)
        _require(opt['logger'], 'logger', ['print_freq', 'save_checkpoint_freq'])
        check_keep_last_n(opt['logger'])
        opt['logger'].setdefault('use_tb_logger', False)
    if opt.get('val') is not None:
        _require_mapping(opt['val'], 'val')
        _require(opt['val'], 'val', ['val_freq'] if is_train else [])
        opt['val'].setdefault('save_img', False)
        if not is_train:
            opt['val'].setdefault('suffix', None)


def check_names_and_files(opt: dict[str, Any]) -> None:
    """Checks every registered name, the arguments of networks and losses, and the files that must exist already.

    Call it after the plug-ins are loaded.

    Raises:
        OptionError: A name is not registered, an argument is unknown or missing, or a file does not exist.
    """
    from basicsr.utils import registry

    _find(registry.MODEL_REGISTRY, opt['model_type'], 'model_type')
    for key, section in opt.items():
        if key.startswith('network_') and section is not None:
            check_arguments(registry.ARCH_REGISTRY, section, key)
    for phase, dataset in opt['datasets'].items():
        _find(registry.DATASET_REGISTRY, dataset['type'], f'datasets.{phase}.type')
        _check_dataset_files(f'datasets.{phase}', dataset)
    for key, section in (opt.get('train') or {}).items():
        if key.endswith('_opt') and isinstance(section, Mapping):
            check_arguments(registry.LOSS_REGISTRY, section, f'train.{key}')
    for name, section in ((opt.get('val') or {}).get('metrics') or {}).items():
        check_arguments(registry.METRIC_REGISTRY, section, f'val.metrics.{name}', given=('img', 'img2', 'better'))
    _check_paths(opt)


def check_typed_options(opt: dict[str, Any]) -> None:
    """Reads the options of the model and of the data sets, before any folder is made.

    A registered class takes part if it has a class method ``typed_options(opt)``, which raises OptionError.

    Raises:
        OptionError: A key is unknown or a value cannot be used.
    """
    from basicsr.utils import registry

    blocks = [(registry.DATASET_REGISTRY, dataset['type'], dataset) for dataset in opt['datasets'].values()]
    for registered, name, block in [(registry.MODEL_REGISTRY, opt['model_type'], opt), *blocks]:
        read = getattr(_find(registered, name, 'type'), 'typed_options', None)
        if read is not None:
            read(block)


def _require(section: Mapping[str, Any], where: str, keys: Iterable[str]) -> None:
    for key in keys:
        if section.get(key) is None:
            given = f", got '{key}' without a value" if key in section else ''
            place = f'{where}: ' if where else ''
            raise OptionError(f"{place}missing key '{key}'{given or nearest(key, map(str, section))}")


def _require_mapping(section: Any, where: str) -> None:
    if not isinstance(section, Mapping):
        raise OptionError(f'{where}: expected a section of keys, got {section!r}')


def _check_dataset_keys(where: str, label: str, dataset: Any) -> None:
    _require_mapping(dataset, where)
    phase = label.split('_')[0]
    if phase not in ('train', 'val', 'test'):
        raise OptionError(f"{where}: expected a data set called train, val or test, or val_2 and so on, got '{label}'")
    _require(dataset, where, ['name', 'type'])
    if phase == 'train':
        _require(dataset, where, ['batch_size_per_gpu', 'num_worker_per_gpu'])


def _find(registered: Any, name: Any, where: str) -> Any:
    """Looks a name up as BasicSR does, which appends ``_basicsr`` to its own where another package has the same."""
    names = dict(iter(registered))
    found = names.get(name, names.get(f'{name}_basicsr'))
    if found is None:
        raise OptionError(
            f"{where}: nothing called '{name}' is registered{nearest(str(name), names) or '; see basicsr list'}"
        )
    return found


def check_arguments(registered: Any, section: Any, where: str, given: tuple[str, ...] = ()) -> None:
    """Checks that a block names something registered by ``type`` and that its other keys are arguments of that class.

    Args:
        registered: One of BasicSR's registries.
        section: The block.
        where: Its place in the option file.
        given: Arguments that come from elsewhere.

    Raises:
        OptionError: It is no block, the name is not registered, or an argument is unknown or missing.
    """
    _require_mapping(section, where)
    _require(section, where, ['type'])
    found = _find(registered, section['type'], f'{where}.type')
    keys = [str(key) for key in section if key != 'type']
    check_keys(found, [key for key in keys if key not in given], where, f' ({section["type"]} has no such key)')
    for one in named_parameters(found):
        if one.default is one.empty and one.name not in section and one.name not in given:
            hint = nearest(one.name, keys)
            raise OptionError(f"{where}: missing key '{one.name}', which {section['type']} needs{hint}")


def check_keys(function: Callable[..., object], keys: Iterable[str], where: str, hint: str = '') -> None:
    """Refuses keys that a function does not take.

    Args:
        function: A function or class.
        keys: Names of arguments.
        where: Their place in the option file.
        hint: End of the message.

    Raises:
        OptionError: One line that names the first such key and the nearest argument.
    """
    if takes_any_name(function):
        return
    known = [one.name for one in named_parameters(function)]
    for key in keys:
        if key not in known:
            raise OptionError(f"{where}: unknown key '{key}'{nearest(key, known)}{hint}")


def _check_dataset_files(where: str, dataset: Mapping[str, Any]) -> None:
    if (dataset.get('io_backend') or {}).get('type', 'disk') not in ('disk', 'lmdb'):
        return
    for key in _FILES:
        for path in [dataset[key]] if isinstance(dataset.get(key), str) else dataset.get(key) or []:
            if not os.path.exists(path):
                raise OptionError(
                    f"{where}.{key}: expected an existing path, got '{path}', which does not exist; set it to yours"
                )


def _check_paths(opt: Mapping[str, Any]) -> None:
    labels = [key.removeprefix('network_') for key in opt if key.startswith('network_')]
    known = [f'{key}_{label}' for key in _PATH_KEYS for label in labels]
    known += ['resume_state', 'ignore_resume_networks', 'experiments_root', 'results_root']
    for key, value in opt['path'].items():
        hint = nearest(key, known)
        if key.startswith('pretrain_network') and value and not (opt['auto_resume'] or opt['path'].get('resume_state')):
            if not os.path.exists(value):
                raise OptionError(f'path.{key}: expected an existing file, got {not_found(value)}')
        elif key not in known and hint and key not in ('models', 'log', 'training_states', 'visualization'):
            raise OptionError(f"path: unknown key '{key}'{hint}")
