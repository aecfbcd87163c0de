"""Replaces ``basicsr.utils.options.parse_options``: same arguments, same result, checked, and no code is run."""

from __future__ import annotations

import argparse
import os
import random
from collections import OrderedDict
from collections.abc import Mapping
from datetime import timedelta
from os import path as osp
from typing import Any

from basicsr_plugin.arguments import argument_parser
from basicsr_plugin.checks import check_options, require_keys
from basicsr_plugin.discovery import load_plugins
from basicsr_plugin.errors import UserError, warn
from basicsr_plugin.names import nearest
from basicsr_plugin.presets import resolve_weights
from basicsr_plugin.shipped_options import resolve_option_file
from basicsr_plugin.yaml_file import read_yaml, yaml_value

__all__ = ['parse_options', 'read_yaml']

_PROCESS_TIMEOUT = 1800  # seconds, without dist_params.timeout
_SLURM = ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_NODELIST')


def parse_options(root_path: str, is_train: bool = True) -> tuple[OrderedDict[str, Any], argparse.Namespace]:
    """Reads the command line and the option file it names.

    Args:
        root_path: Folder of ``experiments`` and ``results``, unless ``path.experiments_root`` or ``path.results_root``
            name others (relative to it).
        is_train: Whether for training or for testing.

    Returns:
        The options and the parsed command line.

    Raises:
        UserError: The file cannot be read, a plug-in cannot be loaded, or options are missing, misspelt or unusable,
            one line for each.
    """
    args = argument_parser().parse_args()
    args.opt = resolve_option_file(args.opt)  # BasicSR copies this file into the experiment
    opt = read_yaml(args.opt)
    _override(opt, args.force_yml)
    require_keys(opt, is_train)
    load_plugins(args.plugin)
    load_plugins(opt.get('plugins') or [], where='plugins')
    opt['auto_resume'] = args.auto_resume
    opt['is_train'] = is_train
    _check_launcher(args.launcher)
    _expand_home(opt)
    _resolve_datasets(opt)
    check_options(opt)  # BasicSR makes and renames folders next
    if args.debug and not opt['name'].startswith('debug'):
        opt['name'] = f'debug_{opt["name"]}'
    _resolve_paths(opt, root_path)
    _resolve_debug(opt)
    _resolve_devices(opt, distributed=args.launcher != 'none')
    _resolve_processes(opt, args.launcher)
    return opt, args


def _override(opt: OrderedDict[str, Any], entries: list[str]) -> None:
    """Applies ``--force_yml``: each entry changes one key that the file has; no value is evaluated."""
    for entry in entries:
        path, equals, text = entry.partition('=')
        if not equals:
            raise UserError(f"--force_yml: expected KEY=VALUE such as train:ema_decay=0.999, got '{entry}'")
        *parents, last = (part.strip() for part in path.split(':'))
        parent: Any = opt
        section: Any = opt
        for key in [*parents, last]:
            if not isinstance(section, Mapping) or key not in section:
                keys = list(section) if isinstance(section, Mapping) else []
                hint = nearest(key, keys) or '; add the key to the option file first'
                raise UserError(f"--force_yml {path.strip()}: unknown key '{key}'{hint}")
            parent, section = section, section[key]
        text = text.strip()
        none = text.lower() == 'none'  # BasicSR's spelling of null
        parent[last] = None if none else yaml_value(text, f'--force_yml {path.strip()}')


def _expand_home(opt: OrderedDict[str, Any]) -> None:
    paths = opt['path']
    for key, value in paths.items():
        if isinstance(value, str) and ('resume_state' in key or 'pretrain_network' in key):
            paths[key] = osp.expanduser(value)
        if isinstance(value, str) and 'pretrain_network' in key:
            paths[key] = resolve_weights(paths[key])
    for dataset in opt['datasets'].values():
        for key in ('dataroot_gt', 'dataroot_lq'):
            if isinstance(dataset.get(key), str):
                dataset[key] = osp.expanduser(dataset[key])


def _resolve_paths(opt: OrderedDict[str, Any], root_path: str) -> None:
    paths = opt['path']
    kept, other = ('experiments', 'results') if opt['is_train'] else ('results', 'experiments')
    paths.pop(f'{other}_root', None)  # BasicSR would make that folder too
    root = osp.join(root_path, osp.expanduser(paths.get(f'{kept}_root') or kept), opt['name'])
    paths[f'{kept}_root'] = paths['log'] = root
    paths['visualization'] = osp.join(root, 'visualization')
    if opt['is_train']:
        paths['models'] = osp.join(root, 'models')
        paths['training_states'] = osp.join(root, 'training_states')


def _resolve_debug(opt: OrderedDict[str, Any]) -> None:
    if opt['is_train'] and 'debug' in opt['name']:
        if opt.get('val'):
            opt['val']['val_freq'] = 8
        opt['logger'].update(print_freq=1, save_checkpoint_freq=8)


def _resolve_devices(opt: OrderedDict[str, Any], distributed: bool) -> None:
    """Makes ``num_gpu`` a number that the machine has."""
    import torch

    wanted, found = opt['num_gpu'], torch.cuda.device_count()
    opt['num_gpu'] = found if wanted == 'auto' else wanted
    if found == 0 and wanted != 0:
        warn(f'num_gpu: {wanted}, but this machine has no CUDA GPU; running on the CPU')
        opt['num_gpu'] = 0
    elif opt['num_gpu'] > found and not distributed:  # under a launcher each process takes one
        warn(f'num_gpu: {wanted}, but this machine has {found}; the batch shrinks to {found} x batch_size_per_gpu')
        opt['num_gpu'] = found
    if opt['num_gpu'] == 0:
        for dataset in opt['datasets'].values():
            if dataset.get('prefetch_mode') == 'cuda':
                dataset['prefetch_mode'] = None


def _check_launcher(launcher: str) -> None:
    if launcher == 'pytorch' and 'RANK' not in os.environ:
        raise UserError(
            "--launcher pytorch: expected torchrun's environment; start with torchrun -m basicsr_plugin.cli"
        )
    missing = [name for name in _SLURM if name not in os.environ]
    if launcher == 'slurm' and missing:
        raise UserError(f"--launcher slurm: expected slurm's environment, got no {missing[0]}; start with srun")
    if launcher == 'slurm':
        import torch

        if not torch.cuda.is_available():
            raise UserError('--launcher slurm: expected a CUDA GPU for each process, got none; use --launcher pytorch')


def _resolve_processes(opt: OrderedDict[str, Any], launcher: str) -> None:
    from basicsr.utils import set_random_seed
    from basicsr.utils.dist_util import get_dist_info, init_dist

    opt['dist'] = launcher != 'none'
    if launcher == 'pytorch':
        init_dist(launcher, backend='nccl' if opt['num_gpu'] else 'gloo', timeout=_process_timeout(opt))
    elif launcher == 'slurm':
        init_dist(launcher, **{k: v for k, v in (opt.get('dist_params') or {}).items() if k != 'timeout'})
    opt['rank'], opt['world_size'] = get_dist_info()
    if opt.get('manual_seed') is None:
        opt['manual_seed'] = random.randint(1, 10000)
    set_random_seed(opt['manual_seed'] + opt['rank'])


def _process_timeout(opt: Mapping[str, Any]) -> timedelta:
    return timedelta(seconds=(opt.get('dist_params') or {}).get('timeout') or _PROCESS_TIMEOUT)


def _resolve_datasets(opt: OrderedDict[str, Any]) -> None:
    for phase, dataset in opt['datasets'].items():
        dataset['phase'] = phase.split('_')[0]
        if 'scale' in opt:
            dataset['scale'] = opt['scale']
