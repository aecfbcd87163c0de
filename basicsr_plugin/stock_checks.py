"""Checks what an option file has for the parts of BasicSR itself, where a mistake would end a run late or never show.

Keys that these parts do not read are allowed, since they take the complete section; one that resembles a key that they
read is taken for a misspelt one, unless BasicSR reads it somewhere else.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from basicsr_plugin.errors import Faults, OptionError, warn
from basicsr_plugin.fixes.source import contains
from basicsr_plugin.names import nearest
from basicsr_plugin.options import read_options
from basicsr_plugin.stock_datasets import DATASETS
from basicsr_plugin.stock_parts import LOSSES, METRICS, OPTIMIZERS, SCHEDULERS
from basicsr_plugin.stock_sections import DEGRADATION_KEYS, SECTIONS, STOCK_MODELS, TRAINED_KEYS

__all__ = ['check_block', 'check_stock_options', 'is_stock', 'registered_as', 'stock_options']

_ALIKE = 0.8  # gt_sise and gt_size: 0.86; use_flip, a key of older files, and use_hflip: 0.94
_MOST_GPUS = 4096
_EXACT = ('logger.wandb', 'dist_params')  # nobody else reads them
_RENAMED = {'use_flip': 'use_hflip'}
_TABLES = {'dataset': DATASETS, 'loss': LOSSES, 'metric': METRICS}


def is_stock(registered: Any) -> bool:
    """Whether a registered class or function is one of BasicSR."""
    return getattr(registered, '__module__', '').partition('.')[0] == 'basicsr'


def registered_as(registry: Any, name: Any) -> Any:
    """Looks a name up as BasicSR does, which appends ``_basicsr`` to its own where another package has the same.

    Returns:
        What is registered, or None.
    """
    names = dict(iter(registry))
    return names.get(name, names.get(f'{name}_basicsr')) if isinstance(name, str) else None


def stock_options(group: str, registered: Any) -> Any:
    """Returns the dataclass that describes a data set, loss or metric of BasicSR, or None."""
    return _TABLES[group].get(registered.__name__) if is_stock(registered) else None


def check_block(cls: Any, block: Any, where: str, exact: bool = False, ignore: Iterable[str] = ()) -> None:
    """Checks a block of an option file, and turns whole numbers that are written as 1e3 into such.

    Args:
        cls: The dataclass that describes it.
        block: The block.
        where: Its place in the option file.
        exact: Whether each key must be one of the dataclass: what takes the block would fail otherwise.
        ignore: Keys that are checked elsewhere.

    Raises:
        OptionError: One line for each fault.
    """
    known = [one.name for one in dataclasses.fields(cls)]
    ignored = set(ignore)
    if isinstance(block, Mapping) and not exact:
        unknown = [key for key in block if key not in known and key not in ignored]
        ignored.update(key for key in unknown if not _is_misspelt(key, known, block))
    options = read_options(cls, block, where, ignored)
    for key in block:
        if key in known and isinstance(block[key], float) and isinstance(getattr(options, key), int):
            block[key] = getattr(options, key)


def _is_misspelt(key: str, known: list[str], block: Mapping[str, Any]) -> bool:
    if key in _RENAMED and _RENAMED[key] in known:
        return _RENAMED[key] not in block
    return bool(difflib.get_close_matches(str(key).lower(), known, n=1, cutoff=_ALIKE)) and not _is_read(key)


@cache
def _is_read(key: str) -> bool:
    """Whether BasicSR reads a key anywhere in its source."""
    return re.search(rf"['\"]{re.escape(key)}['\"]", _source()) is not None


@cache
def _source() -> str:
    import basicsr

    root = Path(str(basicsr.__file__)).parent
    return '\n'.join(path.read_text(encoding='utf-8') for path in sorted(root.rglob('*.py')))


def check_stock_options(opt: dict[str, Any], model: Any) -> None:
    """Checks sections, optimizers and schedulers.

    Args:
        opt: The option file.
        model: Class of ``model_type``; None if that is not registered.

    Raises:
        OptionError: One line for each fault.
    """
    faults = Faults()
    for where, cls in SECTIONS.items():
        section = _section(opt, where)
        if section is not None:
            with faults.caught():
                check_block(cls, section, where, where in _EXACT, _others(model, cls, section, where))
    for check in (_check_gpus, _check_one_training_set, _check_wandb, _check_frequencies):
        with faults.caught():
            check(opt)
    train = opt.get('train')
    if isinstance(train, Mapping) and opt['is_train'] and model is not None:
        with faults.caught():
            _check_model_keys(opt, model)
        for key, block in train.items():
            if key.startswith('optim_') and block is not None:
                with faults.caught():
                    _check_optimizer(block, f'train.{key}', model)
        with faults.caught():
            _check_scheduler(train, model)
    faults.raise_all()


def _section(opt: Any, where: str) -> Any:
    for key in filter(None, where.split('.')):
        opt = opt.get(key) if isinstance(opt, Mapping) else None
    return opt


def _others(model: Any, cls: Any, section: Any, where: str) -> list[str]:
    """Keys that a model with typed options of its own, or one of another package, may have."""
    if not isinstance(section, Mapping) or where in _EXACT:
        return []
    known = {one.name for one in dataclasses.fields(cls)}
    if model is not None and is_stock(model):
        return []
    return [key for key in section if key not in known]


def _check_gpus(opt: Mapping[str, Any]) -> None:
    wanted = opt['num_gpu']
    if wanted != 'auto' and (not isinstance(wanted, int) or isinstance(wanted, bool) or not 0 <= wanted <= _MOST_GPUS):
        raise OptionError(f"num_gpu: expected a number of GPUs or 'auto', got {wanted!r}")


def _check_one_training_set(opt: Mapping[str, Any]) -> None:
    for label, dataset in opt['datasets'].items():
        if dataset.get('phase') == 'train' and label != 'train':
            raise OptionError(f"datasets.{label}: expected one data set for training, called train, got '{label}'")


def _check_wandb(opt: Mapping[str, Any]) -> None:
    logger = opt.get('logger')
    if not opt['is_train'] or not isinstance(logger, Mapping) or 'debug' in str(opt['name']):
        return
    wandb, tensorboard = logger.get('wandb'), logger.get('use_tb_logger') is True
    if tensorboard and find_spec('tensorboard') is None:
        raise OptionError(
            'logger.use_tb_logger: expected false, or TensorBoard, which is not installed, got true; '
            'install tensorboard'
        )
    if isinstance(wandb, Mapping) and wandb.get('project') is not None:
        if not tensorboard:
            raise OptionError(
                f'logger.wandb.project: expected use_tb_logger: true with it, whose logs are sent, got '
                f'{wandb["project"]!r} alone; set logger.use_tb_logger: true'
            )
        if find_spec('wandb') is None:
            raise OptionError('logger.wandb.project: expected wandb, which is not installed; install it, or set ~')


def _check_frequencies(opt: Mapping[str, Any]) -> None:
    logger, train = opt.get('logger'), opt.get('train')
    if opt['is_train'] and isinstance(logger, Mapping) and isinstance(train, Mapping):
        warmup, total = train.get('warmup_iter', -1), train['total_iter']
        if all(isinstance(value, (int, float)) for value in (warmup, total)) and warmup > total:
            raise OptionError(f'train.warmup_iter: expected at most total_iter ({total}), got {warmup}; lower it')
        every, total = logger.get('save_checkpoint_freq'), train.get('total_iter')
        numbers = all(isinstance(value, (int, float)) for value in (every, total))
        if numbers and every > total:  # type: ignore[operator]
            warn(
                f'logger.save_checkpoint_freq: {every}, above total_iter ({total}); only the final weights are saved, '
                'and the run cannot be resumed'
            )


def _check_model_keys(opt: Mapping[str, Any], model: Any) -> None:
    """Checks what BasicSR's models read without a default."""
    name, train = model.__name__, opt['train']
    if not is_stock(model) or name not in STOCK_MODELS:
        return
    top = [*STOCK_MODELS[name][''], *TRAINED_KEYS.get(name, ())]
    own = opt['datasets']['train'].get('type') == 'RealESRGANDataset'
    if own:
        top += DEGRADATION_KEYS
    others = [key for key in opt if not key.startswith('network_')]
    lines = [f"missing key '{key}', which {name} needs{nearest(key, others)}" for key in top if opt.get(key) is None]
    required = STOCK_MODELS[name]['train']
    lines += [f"train: missing key '{key}', which {name} needs" for key in required if train.get(key) is None]
    if not train.get('pixel_opt') and not train.get('perceptual_opt'):
        lines.append('train: expected pixel_opt or perceptual_opt, got neither; add pixel_opt: {type: L1Loss}')
    if name.startswith('RealESR') and not own and opt.get('high_order_degradation', True) is not False:
        lines.append(
            'high_order_degradation: expected false with a data set of pairs, or datasets.train of type '
            f'RealESRGANDataset, got {opt.get("high_order_degradation", "none, which is true")}; set it'
        )
    if lines:
        raise OptionError('\n'.join(lines))


def _check_optimizer(block: Any, where: str, model: Any) -> None:
    names = getattr(model, 'optimizer_types', None) or _stock_optimizers(model)
    _check_typed(block, where, OPTIMIZERS, names)


def _stock_optimizers(model: Any) -> list[str] | None:
    """Names that BasicSR's own ``get_optimizer`` has, which differ between versions that are called 1.4.2."""
    build = getattr(model, 'get_optimizer', None)
    if build is None or not is_stock(build):
        return None
    every = (*OPTIMIZERS, 'ASGD', 'Rprop', 'Adan')
    return [name for name in every if contains(build, f"'{name}'")]


def _check_scheduler(train: Mapping[str, Any], model: Any) -> None:
    if train.get('scheduler') is None:
        return
    build = getattr(model, 'setup_schedulers', None)
    known = getattr(model, 'scheduler_types', None) or (list(SCHEDULERS) if is_stock(build) else None)
    scheduler = train['scheduler']
    _check_typed(scheduler, 'train.scheduler', SCHEDULERS, known)
    total, periods = train.get('total_iter'), scheduler.get('periods')
    if periods and scheduler.get('type') in SCHEDULERS and isinstance(total, (int, float)) and sum(periods) < total:
        raise OptionError(
            f'train.scheduler.periods: expected a list with a sum of at least total_iter ({total:.0f}), got {periods}; '
            'lengthen them'
        )


def _check_typed(block: Any, where: str, table: Mapping[str, Any], names: Iterable[str] | None) -> None:
    """Checks a block whose key ``type`` selects a dataclass; without ``names`` others are allowed."""
    if not isinstance(block, Mapping):
        raise OptionError(f'{where}: expected a section of keys, got {block!r}')
    label = block.get('type')
    if label is None:
        raise OptionError(f"{where}: missing key 'type'; expected {', '.join(names or table)}")
    if names is not None and label not in list(names):
        raise OptionError(
            f'{where}.type: expected one of {", ".join(names)}, got {label!r}{nearest(str(label), names)}'
        )
    if isinstance(label, str) and label in table:
        check_block(table[label], block, where, exact=True)
