"""Writes SR network and degradation estimator as one ONNX graph, and compares it with torch."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from basicsr_plugin.errors import UserError, first_line
from deplsr_arch.image_sides import mirrored
from deplsr_arch.window_attention import WindowAttention
from deplsr_model.upscaling.edits import Edit
from deplsr_model.upscaling.model_files import LoadedModel
from deplsr_model.upscaling.onnx_graph import OnnxGraph, prior_options
from deplsr_model.upscaling.steering import steered

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ['LARGEST_DIFFERENCE', 'OPSET', 'to_onnx']

#: From torch, in float32; of outputs beyond 1, relative to the largest.
LARGEST_DIFFERENCE = 1e-4
#: What onnxruntime 1.15 and later run.
OPSET = 18

_TRACED = (2, 75, 109)  # odd sides, so that every border is padded, and larger than two windows
_COMPARED = ((1, 33, 47), (2, 64, 96), (1, 17, 130))
_LARGEST_FILE = 2**31 - 2**20  # bytes, of protobuf


def to_onnx(model: LoadedModel, metadata: Mapping[str, str]) -> tuple[bytes, float]:
    """Returns the content of an ``.onnx`` file, and its largest difference from torch.

    Inputs are ``image``, (B, 3, h, w) RGB in 0..1, and, if the estimator's prior can be made from levels, ``levels``,
    (1, K) or (B, K), which may be left out: NaN, its default, stands for a level that is estimated. Outputs are
    ``enlarged``, (B, 3, scale h, scale w), and the ``levels_used``, (B, K), of an estimator that has levels.

    torch's exporter by tracing is used, which needs no package except for onnx. With torch.export (torch 2.14, height
    and width dynamic) MSRResNet and a small SwinIR were exported too; the graph with estimator and prior was not tried.

    Args:
        model: The model, on the CPU.
        metadata: Texts that the file states.

    Raises:
        UserError: The packages are missing, or the network cannot be exported; one line.
    """
    onnx, runtime = _packages()
    if any(isinstance(part, WindowAttention) for part in model.net.modules()):
        raise UserError(_refusal(model, 'the grid of windows of a DAT depends on the size of the image'))
    graph = OnnxGraph(model).eval().requires_grad_(False)
    if sum(value.nbytes for value in graph.state_dict().values()) > _LARGEST_FILE:
        raise UserError(f'-o: expected a model below 2 GB for .onnx, got {model.name} of more; take .safetensors')
    try:
        with _quiet(), _any_batch():
            content = _traced(graph, model)
    except Exception as error:
        raise UserError(_refusal(model, first_line(error))) from error
    proto = onnx.load_from_string(content)
    _describe(onnx, proto, graph, model, metadata)
    content = proto.SerializeToString()
    return content, _compare(runtime, content, graph, model)


def _packages() -> tuple[ModuleType, ModuleType]:
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise UserError(
            f"-o: expected the package {error.name} for .onnx, got none; pip install 'deplsr[onnx]'"
        ) from None
    return onnx, onnxruntime


def _refusal(model: LoadedModel, reason: str) -> str:
    return f'-o: {model.name} cannot be exported to ONNX ({reason}); take .safetensors'


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides what the tracer prints: warnings about constants, which the comparison checks, and graphs on errors."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.disable(level)


@contextlib.contextmanager
def _any_batch() -> Iterator[None]:
    """Lets BasicSR's SwinIR be traced for any number of images: its own function makes that number a constant."""
    from basicsr.archs import swinir_arch

    def window_reverse(windows: Tensor, window_size: int, h: int, w: int) -> Tensor:
        rows = windows.view(-1, h // window_size, w // window_size, window_size, window_size, int(windows.shape[-1]))
        return rows.transpose(2, 3).flatten(3, 4).flatten(1, 2)

    original = swinir_arch.window_reverse
    swinir_arch.window_reverse = window_reverse
    try:
        yield
    finally:
        swinir_arch.window_reverse = original


@torch.no_grad()
def _traced(graph: OnnxGraph, model: LoadedModel) -> bytes:
    batch, height, width = _TRACED
    inputs: dict[str, Tensor] = {'image': torch.rand(batch, 3, height, width)}
    axes = {
        'image': {0: 'batch', 2: 'height', 3: 'width'},
        'enlarged': {0: 'batch', 2: 'large_height', 3: 'large_width'},
    }
    if graph.takes_levels:
        inputs['levels'] = torch.full((1, graph.num_levels), float('nan'))
        axes['levels'] = {0: 'one_or_batch'}
    if graph.estimates_levels:
        axes['levels_used'] = {0: 'batch'}
    file = io.BytesIO()
    torch.onnx.export(
        graph,
        tuple(inputs.values()),
        file,  # type: ignore[arg-type]
        dynamo=False,
        opset_version=OPSET,
        input_names=list(inputs),
        output_names=['enlarged', 'levels_used'] if graph.estimates_levels else ['enlarged'],
        dynamic_axes=axes,
    )
    return file.getvalue()


def _describe(
    onnx: ModuleType, proto: ModelProto, graph: OnnxGraph, model: LoadedModel, metadata: Mapping[str, str]
) -> None:
    """Adds the default of the levels, the documentation and the metadata to a graph."""
    if graph.takes_levels:
        default = np.full((1, graph.num_levels), np.nan, np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(default, 'levels'))
    texts = {key: value for key, value in metadata.items() if key != 'format'}
    if graph.estimates_levels and model.table is not None:
        texts['level_names'] = ', '.join(model.table.names[: graph.num_levels])
    onnx.helper.set_model_props(proto, texts)
    proto.producer_name = 'deplsr'
    proto.doc_string = 'image: (B, 3, h, w) RGB in 0..1; levels: (1, K) or (B, K), NaN for a level to estimate'


@torch.no_grad()
def _compare(runtime: ModuleType, content: bytes, graph: OnnxGraph, model: LoadedModel) -> float:
    """Returns the largest difference of a graph from torch, on three sizes, with estimated and with given levels.

    Raises:
        UserError: It is too large, or the graph does not run; one line.
    """
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    rng = torch.Generator().manual_seed(0)
    largest = 0.0
    try:
        session = runtime.InferenceSession(content, options, providers=['CPUExecutionProvider'])
        for batch, height, width in _COMPARED:
            image = torch.rand(batch, 3, height, width, generator=rng)
            for levels in (None, _some_levels(graph, model)):
                feed = {'image': image.numpy()} | ({} if levels is None else {'levels': levels.numpy()})
                expected = _expected(model, graph, image, levels)
                for one, other in zip(session.run(None, feed), expected, strict=True):
                    if one.shape != tuple(other.shape):
                        raise ValueError(f'its output for {height} x {width} has another size than that of torch')
                    size = max(1.0, float(other.abs().max()))
                    largest = max(largest, float(np.abs(one - other.numpy()).max()) / size)
    except Exception as error:
        raise UserError(_refusal(model, f'onnxruntime: {first_line(error)}')) from error
    if not largest < LARGEST_DIFFERENCE:
        raise UserError(_refusal(model, f'its output differs from that of torch by {largest:.1e}'))
    return largest


def _some_levels(graph: OnnxGraph, model: LoadedModel) -> Tensor | None:
    """Returns levels for all degradation types except the last, which is estimated."""
    if not graph.takes_levels or model.table is None:
        return None
    middle = [one.training_levels[len(one.training_levels) // 2] for one in model.table.types[: graph.num_levels]]
    return torch.tensor([[*middle[:-1], float('nan')]])


def _expected(model: LoadedModel, graph: OnnxGraph, image: Tensor, levels: Tensor | None) -> list[Tensor]:
    """Returns what `basicsr upscale` computes, image by image; levels that replace estimates are its edits."""
    outputs = []
    for one in image.split(1):
        prior: tuple[Tensor, ...] = () if graph.prior is None else graph.prior(one, None)[:2]
        found: list[Tensor] = []
        if graph.estimates_levels and model.estimator is not None and model.table is not None:
            form, template = prior_options(model)
            estimator = steered(model.estimator, model.table, form, template)
            edits = [
                Edit(degradation.name, 'level', level)
                for degradation, level in zip(
                    estimator.types, [] if levels is None else levels[0].tolist(), strict=False
                )
                if not math.isnan(level)
            ]
            seen = estimator.observe(one)
            prior = estimator.prior(seen, edits)
            found = [torch.tensor([estimator.estimate(seen, edits).levels])]
        large = model.net(mirrored(one, model.multiple), *prior)
        outputs.append([large[..., : one.shape[2] * model.scale, : one.shape[3] * model.scale], *found])
    return [torch.cat(parts) for parts in zip(*outputs, strict=True)]
