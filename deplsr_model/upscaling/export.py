"""Writes a trained model as one file for use elsewhere: `.safetensors`, or `.onnx` with its estimator in the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save
from torch import Tensor, nn

from basicsr_plugin import __version__
from basicsr_plugin.errors import UserError
from basicsr_plugin.parse_options import read_yaml
from basicsr_plugin.shipped_options import resolve_option_file
from deplsr_model.checkpoint import ESTIMATOR_PREFIX
from deplsr_model.upscaling.embedded_options import to_metadata
from deplsr_model.upscaling.model_files import (
    LoadedModel,
    ModelFiles,
    estimator_weights,
    facts_of,
    file_hash,
    find_model,
    load_estimator,
    load_model,
)
from deplsr_model.upscaling.photo_jobs import write_photo

__all__ = ['Exported', 'export_model']


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: The file.
        metadata: What it states about itself.
        summary: What it holds, in a few words.
        notes: What the user should know, a line each.
    """

    path: Path
    metadata: Mapping[str, str]
    summary: str
    notes: tuple[str, ...] = ()


def export_model(
    model: str | Path | None,
    output: str | Path,
    options: str | Path | None = None,
    *,
    licence: str | None = None,
    source: str | None = None,
) -> Exported:
    """Writes a model as one file that needs no option file.

    Args:
        model: Checkpoint, folder of an experiment (stage 1 or 2) or name of a preset; None for what ``options`` names.
        output: ``.safetensors``, weights of SR network and estimator; ``.onnx``, a graph of both.
        options: Its option file; not needed for the folder of an experiment or for weights of a stock network.
        licence: Licence to state; by default what the checkpoint states.
        source: Source to state, likewise.

    Raises:
        UserError: The model cannot be loaded or exported, or the file not be written; one line.
    """
    path = Path(output)
    if path.suffix not in ('.safetensors', '.onnx'):
        raise UserError(f"-o: expected a file that ends in .safetensors or .onnx, got '{output}'")
    files = _find(model, options)
    if path.resolve() == files.weights.resolve():
        raise UserError(f"-o: expected another file than that of the model, got '{output}'")
    stated = {key: value for key, value in (('license', licence), ('source', source)) if value}
    if files.opt.get('network_da') and not files.opt.get('network_g'):
        return _export_estimator(files, path, stated)
    loaded = load_model(files)
    metadata = _metadata(loaded) | stated
    summary = loaded.name if loaded.estimator is None else f'{loaded.name} and {type(loaded.estimator).__name__}'
    if path.suffix == '.onnx':
        from deplsr_model.upscaling.onnx_export import to_onnx

        content, difference = to_onnx(loaded, metadata)
        summary += f'; largest difference from torch {difference:.0e}'
    else:
        content = save(_tensors(loaded), metadata)
    _write(path, content)
    return Exported(path, metadata, summary, loaded.notes)


def _find(model: str | Path | None, options: str | Path | None) -> ModelFiles:
    """Finds a model of stage 2, or of stage 1 where the folder of an experiment or the option file is of that stage."""
    stage = 'g'
    if model is not None and Path(model).is_dir() and any(Path(model, 'models').glob('net_da_*.pth')):
        stage = 'da'
    if model is None and options is not None:
        opt = read_yaml(resolve_option_file(str(options)))
        stage = 'g' if opt.get('network_g') else 'da'
    return find_model(model, options, stage)


def _export_estimator(files: ModelFiles, path: Path, stated: Mapping[str, str]) -> Exported:
    if path.suffix == '.onnx':
        raise UserError(
            f"-o: expected a file .safetensors for a degradation estimator alone, got '{path}'; for .onnx take the SR "
            'network that uses it'
        )
    estimator, table = load_estimator(files, files.weights)
    metadata = {**_common(files), 'levels': table.name, **facts_of(files), **stated}
    _write(path, save(_contiguous(cast(nn.Module, estimator).state_dict()), metadata))
    return Exported(path, metadata, type(estimator).__name__)


def _metadata(model: LoadedModel) -> dict[str, str]:
    opt = {**model.files.opt, 'network_g': model.block}
    if model.estimator is None:
        opt.pop('network_da', None)
    metadata = {**_common(model.files, opt), 'scale': str(model.scale), **model.facts}
    if model.estimator is not None and model.table is not None:
        metadata |= {'levels': model.table.name, 'sha256_network_da': file_hash(estimator_weights(model.files))}
    return metadata


def _common(files: ModelFiles, opt: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Returns what files of both stages state."""
    return {
        'format': 'pt',
        'software': f'deplsr {__version__}',
        'sha256': file_hash(files.weights),
        **to_metadata(files.opt if opt is None else opt),
    }


def _tensors(model: LoadedModel) -> dict[str, Tensor]:
    """Returns the weights of the SR network by their own names, as other programs expect them, and the estimator's."""
    net = model.net.net if model.block is None else model.net  # of spandrel, without what it does around the network
    tensors = _contiguous(cast(nn.Module, net).state_dict())
    if model.estimator is not None:
        estimator = _contiguous(cast(nn.Module, model.estimator).state_dict())
        tensors |= {f'{ESTIMATOR_PREFIX}{name}': value for name, value in estimator.items()}
    return tensors


def _contiguous(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies tensors, so that none share memory, which the format does not allow."""
    return {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in state.items()}


def _write(path: Path, content: bytes) -> None:
    try:
        write_photo(str(path), content)
    except OSError as error:
        raise UserError(f"-o: cannot write '{path}': {error.strerror}") from None
