"""Finds and loads what belongs to a trained model: weights, option file, SR network and degradation estimator."""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast, get_args

from torch import Tensor, nn

from basicsr_plugin.checkpoint import read_file, read_metadata, weights_in
from basicsr_plugin.checks import check_arguments
from basicsr_plugin.discovery import load_plugins
from basicsr_plugin.errors import UserError, first_line
from basicsr_plugin.parse_options import read_yaml
from basicsr_plugin.presets import find_preset, not_found, resolve_weights
from basicsr_plugin.shipped_options import resolve_option_file
from basicsr_plugin.weights import MisfitError, load_weights, shape_mismatches
from deplsr_arch.image_sides import side_multiple
from deplsr_arch.protocols import Estimator, is_conditioned, is_estimator
from deplsr_data.degradation.level_tables import LevelName, LevelTable, level_table
from deplsr_model.checkpoint import load_into, recorded_levels
from deplsr_model.upscaling.embedded_options import embedded_options
from deplsr_model.upscaling.loaded_model import LoadedModel, ModelFiles
from deplsr_model.upscaling.recognise import RECOGNISED, recognise
from deplsr_model.upscaling.sr_network import SpandrelNetwork, network_name, scale_of

__all__ = [
    'LoadedModel',
    'ModelFiles',
    'estimator_weights',
    'facts_of',
    'file_hash',
    'find_model',
    'load_estimator',
    'load_model',
]

_KEYS = ('params_ema', 'params', 'state_dict', 'model')  # of the weights in a file, the averaged ones first
_FACTS = ('license', 'licence', 'source', 'author')  # what a file may state about itself


def find_model(model: str | Path | None, options: str | Path | None = None, stage: str = 'g') -> ModelFiles:
    """Finds weights and option file.

    Args:
        model: A ``.pth`` or ``.safetensors`` file, the folder of an experiment, or the name of a preset; None for the
            weights that the option file names. A file or an experiment of that name is no preset.
        options: Option file for training or test, or the name of a shipped one; in the folder of an experiment its copy
            is found.
        stage: Which network is wanted: ``g``, the SR network, or ``da``, the degradation estimator.

    Raises:
        UserError: A file is missing or unreadable; one line.
    """
    if model is None and options is None:
        raise UserError('-m: expected a model, got none; name a checkpoint, the folder of an experiment or a preset')
    path = None if model is None else _path_of(model)
    if options is None and path is not None:
        options = _options_of_experiment(path)
    opt: Mapping[str, Any] = {}
    if options is not None:
        options = Path(resolve_option_file(str(options)))
        opt = read_yaml(str(options))
        load_plugins(opt.get('plugins') or [], where='plugins')
    weights = path
    if path is None:
        named = (opt.get('path') or {}).get(f'pretrain_network_{stage}')
        if not named:
            raise UserError(f'-m: expected a checkpoint, got none, and {options} has no path.pretrain_network_{stage}')
        weights = _near(named, options, f'path.pretrain_network_{stage}')
    elif path.is_dir():
        weights = _weights_of_experiment(path, stage)
    assert weights is not None
    if options is None:
        opt = embedded_options(weights)
    return ModelFiles(weights, options if options is None else Path(options), opt, named=path is None)


def _path_of(model: str | Path) -> Path:
    path, preset = Path(model), find_preset(model)
    if preset is not None and not path.is_file() and not any(path.glob('*.yml')):
        return preset.path
    if not path.exists():
        raise UserError(f'-m: expected a checkpoint, the folder of an experiment or a preset, got {not_found(model)}')
    return path


def _options_of_experiment(path: Path) -> Path | None:
    """Returns the copy of the option file that BasicSR keeps in the folder of a training."""
    is_folder = path.is_dir()
    folder = path if is_folder else path.parent.parent
    if not is_folder and path.parent.name != 'models':
        return None
    found = sorted(folder.glob('*.yml'))
    if len(found) == 1:
        return found[0]
    if is_folder and not found:
        raise UserError(f'-m: expected the folder of an experiment, got {path}, which has no option file (*.yml)')
    if is_folder:
        raise UserError(f'-m: expected one option file in {folder}, got {len(found)}; choose one with -opt')
    return None


def _weights_of_experiment(folder: Path, stage: str) -> Path:
    latest = folder / 'models' / f'net_{stage}_latest.pth'
    if latest.exists():
        return latest
    found = {path: path.stem.rpartition('_')[2] for path in (folder / 'models').glob(f'net_{stage}_*.pth')}
    numbered = [path for path, number in found.items() if number.isdecimal()]
    if not numbered:
        raise UserError(f'-m: expected {latest}, which does not exist; train first, or name a checkpoint')
    return max(numbered, key=lambda path: int(found[path]))


def _near(named: str, options: Path | str | None, where: str) -> Path:
    """Finds a file that an option file names, here or in a folder above the option file, or a preset."""
    path = Path(named).expanduser()
    roots = [Path()] if options is None else [Path(), *Path(options).resolve().parents[:4]]
    for root in roots:
        if (root / path).is_file():
            return root / path
    found = resolve_weights(named)
    if found == named:
        raise UserError(f'{where}: expected a file here or above {options}, got {not_found(named)}')
    return Path(found)


def file_hash(path: Path) -> str:
    """Returns the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def load_model(files: ModelFiles) -> LoadedModel:
    """Loads the SR network and, where it needs one, the degradation estimator.

    Raises:
        UserError: A file is corrupt or belongs to another network, or the network is unknown; one line.
    """
    if files.options is None and files.opt.get('network_da') and not files.opt.get('network_g'):
        raise UserError(
            f'-m: expected an SR network, got {files.weights.name}, a degradation estimator; take basicsr describe'
        )
    content = read_file(files.weights, '-m')
    notes: list[str] = []
    block: Mapping[str, Any] | None
    if files.opt.get('network_g'):
        block = files.opt['network_g']
        net = _build(block, 'network_g')
        key = _stated_key(files) if files.named else _weights_key(content)
        strict = not files.named or (files.opt.get('path') or {}).get('strict_load_g', True) is True
        loaded = load_into(net, files.weights, param_key=key, strict=strict, where='-m')
        if loaded.kept:
            notes.append(f'{files.weights} has no fusion weights: the prior has no trained effect')
        if loaded.missing:
            notes.append(f'{files.weights}: {loaded.summary(type(net).__name__)}')
    else:
        net, block = _recognised(files, content)
    net = net.requires_grad_(False).eval()
    estimator, table = None, None
    wanted = is_conditioned(net)
    if wanted and files.opt.get('network_da') and str(files.opt.get('prior')) != 'none':
        estimator, table = load_estimator(files)
    multiple = side_multiple(net)
    name, scale, facts = network_name(net), scale_of(net, multiple, files), facts_of(files, content)
    return LoadedModel(files, net, name, scale, multiple, block, estimator, table, facts, tuple(notes))


def estimator_weights(files: ModelFiles) -> Path:
    """Returns the file of the degradation estimator's weights that ``path.pretrain_network_da`` names.

    Raises:
        UserError: There is none; one line.
    """
    named = (files.opt.get('path') or {}).get('pretrain_network_da')
    if not named:
        raise UserError(f'{files.options}: expected path.pretrain_network_da, got none; set it')
    return _near(named, files.options, 'path.pretrain_network_da')


def load_estimator(files: ModelFiles, weights: Path | None = None) -> tuple[Estimator, LevelTable]:
    """Loads the degradation estimator of an option file, and the table of the levels that it was trained for.

    Args:
        files: Of a model.
        weights: Its weights; by default those that ``path.pretrain_network_da`` names.

    Raises:
        UserError: There is none, or its file does not fit; one line.
    """
    if not files.opt.get('network_da'):
        raise UserError(f'-m: expected a model with network_da, got {files.options or files.weights} without one')
    weights = weights or estimator_weights(files)
    paths = files.opt.get('path') or {}
    net = _build(files.opt['network_da'], 'network_da')
    load_into(net, weights, param_key=paths.get('param_key_da') or 'params', where='path.pretrain_network_da')
    estimator: nn.Module = net.requires_grad_(False).eval()
    if not is_estimator(estimator):
        raise UserError(f'network_da.type: expected a degradation estimator, got {type(net).__name__}')
    levels = recorded_levels(weights, 'path.pretrain_network_da')
    if levels not in get_args(LevelName):
        raise UserError(f'path.pretrain_network_da: expected {" or ".join(get_args(LevelName))} levels, got {levels!r}')
    return estimator, level_table(cast(LevelName, levels))


def _build(block: Any, where: str) -> nn.Module:
    from basicsr.archs import build_network
    from basicsr.utils.registry import ARCH_REGISTRY

    check_arguments(ARCH_REGISTRY, block, where)
    with contextlib.redirect_stdout(io.StringIO()):  # the registry prints on a name that another package also has
        return build_network(dict(block))


def _weights_key(content: Any) -> str | None:
    """Returns the key of the weights in a file: that of the averaged ones where there are any."""
    return next((key for key in _KEYS if isinstance(content, Mapping) and isinstance(content.get(key), Mapping)), None)


def _stated_key(files: ModelFiles) -> str | None:
    """Returns the key that BasicSR takes for the same option file."""
    return (files.opt.get('path') or {}).get('param_key_g', 'params')


def _weights(files: ModelFiles, content: Any) -> dict[str, Tensor]:
    """Returns the weights in a file that may also state facts."""
    if isinstance(content, Mapping):
        content = {key: value for key, value in content.items() if not (key in _FACTS and isinstance(value, str))}
    return weights_in(content, files.weights, _weights_key(content), '-m')


def _built(block: Mapping[str, Any]) -> nn.Module | None:
    """Builds a network from what its weights show; None if that is no such network."""
    try:
        return _build(block, 'network_g')
    except Exception:  # noqa: BLE001  the shapes may be those of another network with some of its names
        return None


def _recognised(files: ModelFiles, content: Any) -> tuple[nn.Module, Mapping[str, Any] | None]:
    """Builds a stock network from its weights alone, or whatever spandrel recognises; returns its block too."""
    state = _weights(files, content)
    block = recognise(state)
    net = None if block is None else _built(block)
    if block is not None and net is not None:
        try:
            load_weights(net, state, files.weights, '-m')
            return net, block
        except MisfitError:  # of another network with some of its names, unless all names and shapes are the same
            if net.state_dict().keys() == state.keys() and not shape_mismatches(net, state):
                raise
    try:
        from spandrel import ModelLoader
    except ImportError:
        ours = any(key.startswith(('fusion_blocks.', 'visual_control.')) for key in state)
        hint = 'name its option file with -opt' + ('' if ours else ", or pip install 'deplsr[spandrel]'")
        raise UserError(
            f'-m: expected weights of {", ".join(RECOGNISED)}, got {files.weights} of another network '
            f'({next(iter(state))}, ...); {hint}'
        ) from None
    try:
        return SpandrelNetwork(ModelLoader(device='cpu').load_from_state_dict(state)), None
    except Exception as error:
        raise UserError(f'-m: spandrel does not recognise {files.weights} ({first_line(error)}); use -opt') from error


def facts_of(files: ModelFiles, content: Any = None) -> dict[str, str]:
    """Returns what a checkpoint states about itself: text entries of a .pth, or the header of a .safetensors.

    Args:
        files: Of the model.
        content: Of the checkpoint, if it has been read.
    """
    stated: Mapping[str, Any] = read_metadata(files.weights, '-m')
    if not stated:
        content = read_file(files.weights, '-m') if content is None else content
        texts = content.items() if isinstance(content, Mapping) else ()
        stated = {key: value for key, value in texts if isinstance(value, str)}
    return {key: str(value) for key, value in stated.items() if key in _FACTS}
