"""Checks of an option file before anything is built: its names, its keys and the files it points to."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from basicsr_plugin.dataset_checks import check_dataset, check_images
from basicsr_plugin.errors import Faults, OptionError
from basicsr_plugin.names import nearest
from basicsr_plugin.network_checks import check_networks
from basicsr_plugin.path_checks import check_dataset_files, check_paths
from basicsr_plugin.run_files import check_keep_last_n
from basicsr_plugin.signatures import check_values, named_parameters, takes_any_name
from basicsr_plugin.stock_checks import check_block, check_stock_options, registered_as, stock_options

__all__ = [
    'check_arguments',
    'check_keys',
    'check_names_and_files',
    'check_options',
    'check_typed_options',
    'require_keys',
]

_TRAIN_KEYS = ('total_iter', 'scheduler')


def require_keys(opt: dict[str, Any], is_train: bool) -> None:
    """Checks that BasicSR's loop has the keys it reads; fills in those that have an obvious value.

    Raises:
        OptionError: Sections or keys are missing, or a section is no mapping: one line for each.
    """
    faults = Faults()
    sections = ['datasets', 'path', *(['train', 'logger'] if is_train else ['val'])]
    if 'path' in opt and opt['path'] is None:  # "path:" with all its keys commented out
        opt['path'] = {}
    with faults.caught():
        _require(opt, '', ['name', 'model_type', 'num_gpu', *sections])
    for section in (*sections, 'val'):
        if opt.get(section) is not None:
            with faults.caught():
                _require_mapping(opt[section], section)
    faults.raise_all()
    for key in ('name', 'model_type'):
        if not isinstance(opt[key], str):
            faults.add([f'{key}: expected text, got {opt[key]!r}; put it in quotes'])
    for phase, dataset in opt['datasets'].items():
        with faults.caught():
            _check_dataset_keys(f'datasets.{phase}', phase, dataset)
    for section, keys in _required_keys(opt, is_train).items():
        if section not in faults:  # a misspelt phase explains the missing one
            with faults.caught():
                _require(opt[section], section, keys)
    if is_train:
        with faults.caught():
            check_keep_last_n(opt['logger'])
        opt['logger'].setdefault('use_tb_logger', False)
    faults.raise_all()
    if opt.get('val') is not None:
        opt['val'].setdefault('save_img', False)
        if not is_train:
            opt['val'].setdefault('suffix', None)


def _required_keys(opt: Mapping[str, Any], is_train: bool) -> dict[str, list[str]]:
    if not is_train:
        return {}
    keys = {'datasets': ['train'], 'train': [*_TRAIN_KEYS], 'logger': ['print_freq', 'save_checkpoint_freq']}
    return {**keys, 'val': ['val_freq']} if opt.get('val') is not None else keys


def check_options(opt: dict[str, Any]) -> None:
    """Checks all of an option file, after the plug-ins are loaded and before anything is built or written.

    Args:
        opt: The option file, with ``is_train`` and ``auto_resume``, and ``phase`` and ``scale`` in its data sets.

    Raises:
        OptionError: One line for each fault.
    """
    from basicsr.utils import registry

    faults = Faults(partial(_scale_of_the_run, opt))
    model = _model(opt)
    with faults.caught():
        check_stock_options(opt, model)
    for phase, dataset in opt['datasets'].items():
        found = registered_as(registry.DATASET_REGISTRY, dataset['type'])
        if found is not None:
            with faults.caught():
                check_dataset(dataset, f'datasets.{phase}', found, opt)
    for check in (check_names_and_files, check_typed_options):
        with faults.caught():
            check(opt)
    if 'scale' in faults:  # what follows from it
        faults.drop_texts('the scale of the run', 'a multiple of scale')
    faults.drop(r'path\.(?:pretrain_network|param_key|strict_load)_(\w+)', 'network_{}')
    faults.raise_all()
    check_images(opt, registry)
    check_networks(opt, registry)  # last: torch's own errors name no option


def _model(opt: Mapping[str, Any]) -> Any:
    from basicsr.utils import registry

    return registered_as(registry.MODEL_REGISTRY, opt['model_type'])


def check_names_and_files(opt: dict[str, Any]) -> None:
    """Checks every registered name, the arguments of networks and losses, and the files that must exist already.

    Call it after the plug-ins are loaded.

    Raises:
        OptionError: Names are not registered, arguments are unknown, missing or of a wrong type, or files do not exist:
            one line for each.
    """
    from basicsr.utils import registry

    faults = Faults()
    with faults.caught():
        _find(registry.MODEL_REGISTRY, opt['model_type'], 'model_type')
    for key, section in opt.items():
        if key.startswith('network_') and section is not None:
            with faults.caught():
                check_arguments(registry.ARCH_REGISTRY, section, key)
            with faults.caught():
                _check_batch(registry.ARCH_REGISTRY, section, key, opt)
    for phase, dataset in opt['datasets'].items():
        with faults.caught():
            _find(registry.DATASET_REGISTRY, dataset['type'], f'datasets.{phase}.type')
        with faults.caught():
            check_dataset_files(f'datasets.{phase}', dataset)
    for key, section in _blocks(opt.get('train')):
        if key.endswith('_opt') and section is not None:
            with faults.caught():
                check_arguments(registry.LOSS_REGISTRY, section, f'train.{key}', group='loss')
    for name, section in _blocks((opt.get('val') or {}).get('metrics')):
        with faults.caught():
            given = ('img', 'img2', 'better')
            check_arguments(registry.METRIC_REGISTRY, section, f'val.metrics.{name}', given, group='metric')
    with faults.caught():
        check_paths(opt)
    faults.raise_all()


def _check_batch(registered: Any, section: Any, where: str, opt: Mapping[str, Any]) -> None:
    """Checks the batch of a training against what a network, or its backbone, needs (``least_training_batch``)."""
    batch = (opt['datasets'].get('train') or {}).get('batch_size_per_gpu')
    if not opt.get('is_train') or where != 'network_g' or not isinstance(section, Mapping):
        return
    for block in (section, section.get('backbone')):
        if not isinstance(block, Mapping):
            continue
        least = getattr(registered_as(registered, block.get('type')), 'least_training_batch', 1)
        if isinstance(batch, int) and 0 < batch < least:
            raise OptionError(
                f'datasets.train.batch_size_per_gpu: expected at least {least} with {block["type"]}, whose batch norm '
                f'needs so many samples, got {batch}; raise it'
            )


def _blocks(section: Any) -> Iterable[tuple[str, Any]]:
    return section.items() if isinstance(section, Mapping) else ()


def check_typed_options(opt: dict[str, Any]) -> None:
    """Reads the options of the model and of the data sets, before any folder is made.

    A registered class takes part if it has a class method ``typed_options(opt)``, which raises OptionError.

    Raises:
        OptionError: Keys are unknown or values cannot be used: one line for each.
    """
    from basicsr.utils import registry

    faults = Faults(partial(_scale_of_the_run, opt))
    resolved = {**opt, 'num_gpu': 0 if opt['num_gpu'] == 'auto' else opt['num_gpu']}
    blocks = [(registry.DATASET_REGISTRY, dataset['type'], dataset) for dataset in opt['datasets'].values()]
    for registered, name, block in [(registry.MODEL_REGISTRY, opt['model_type'], resolved), *blocks]:
        read = getattr(registered_as(registered, name), 'typed_options', None)
        if read is not None:
            with faults.caught():
                read(block)
    faults.raise_all()


def _scale_of_the_run(opt: Mapping[str, Any], line: str) -> str:
    """Names the scale where it belongs: data sets take it from the top of the file."""
    line = re.sub(r"^datasets\.\w+: (missing key 'scale')", r'\1', line)
    return re.sub(r'^datasets\.\w+\.scale: ', 'scale: ', line) if 'scale' in opt else line


def _require(section: Mapping[str, Any], where: str, keys: Iterable[str]) -> None:
    lines = []
    for key in keys:
        if section.get(key) is None:
            given = f", got '{key}' without a value" if key in section else ''
            place = f'{where}: ' if where else ''
            others = [str(other) for other in section if other not in keys]
            lines.append(f"{place}missing key '{key}'{given or nearest(key, others)}")
    if lines:
        raise OptionError('\n'.join(lines))


def _require_mapping(section: Any, where: str) -> None:
    if not isinstance(section, Mapping):
        raise OptionError(f'{where}: expected a section of keys, got {section!r}')


def _check_dataset_keys(where: str, label: str, dataset: Any) -> None:
    _require_mapping(dataset, where)
    phase = label.split('_')[0]
    if phase not in ('train', 'val', 'test'):
        raise OptionError(f"{where}: expected a data set called train, val or test, or val_2 and so on, got '{label}'")
    _require(dataset, where, ['name', 'type'])
    for key in ('name', 'type'):
        if not isinstance(dataset[key], str):
            raise OptionError(f'{where}.{key}: expected text, got {dataset[key]!r}; put it in quotes')
    if phase == 'train':
        _require(dataset, where, ['batch_size_per_gpu', 'num_worker_per_gpu'])


def _find(registered: Any, name: Any, where: str) -> Any:
    """Looks a name up as BasicSR does, which appends ``_basicsr`` to its own where another package has the same."""
    found = registered_as(registered, name)
    if found is None:
        names = dict(iter(registered))
        raise OptionError(
            f"{where}: nothing called '{name}' is registered{nearest(str(name), names) or '; see basicsr list'}"
        )
    return found


def check_arguments(
    registered: Any, section: Any, where: str, given: tuple[str, ...] = (), group: str = 'network'
) -> None:
    """Checks that a block names something registered by ``type`` and that its other keys are arguments of that class.

    Args:
        registered: One of BasicSR's registries.
        section: The block.
        where: Its place in the option file.
        given: Arguments that come from elsewhere.
        group: ``network``, ``loss`` or ``metric``.

    Raises:
        OptionError: It is no block, the name is not registered, or arguments are unknown, missing or of another type.
    """
    _require_mapping(section, where)
    _require(section, where, ['type'])
    found = _find(registered, section['type'], f'{where}.type')
    stock = stock_options(group, found) if group != 'network' else None
    if stock is not None:
        check_block(stock, section, where, exact=True)
        return
    keys = [str(key) for key in section if key != 'type']
    check_keys(found, [key for key in keys if key not in given], where, f' ({section["type"]} has no such key)')
    for one in named_parameters(found):
        if one.default is one.empty and one.name not in section and one.name not in given:
            hint = nearest(one.name, keys)
            raise OptionError(f"{where}: missing key '{one.name}', which {section['type']} needs{hint}")
    check_values(found, {key: value for key, value in section.items() if key != 'type'}, where, given)


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
