"""A process that times one version of FusedDAT-light: `python worker.py TREE FORM`, commands on standard input.

Each version runs in a process of its own, because they have the same module names. The processes wait while another
one measures. A command is a line of JSON, ``{"do": "infer", "size": 64, ...}``, and so is the answer.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

LIGHT: dict[str, Any] = {
    **{'upscale': 4, 'split_size': [8, 32], 'depth': [18], 'embed_dim': 60, 'num_heads': [6], 'expansion_factor': 2},
    **{'resi_connection': '3conv', 'upsampler': 'pixelshuffledirect', 'num_degradation_types': 8},
}
GRADIENT = 1e-3  # of the loss, so that products in the backward pass have usual sizes


def build(form: str, **changes: Any) -> nn.Module:
    """Returns a network with the same weights in each version."""
    from deplsr_arch.fused_dat_arch import FusedDAT

    torch.manual_seed(0)
    net: nn.Module = FusedDAT(**{**LIGHT, **changes})
    state = net.state_dict()
    generator = torch.Generator().manual_seed(1)
    for name, value in sorted(state.items()):  # the fusions start at zero, and would do nothing
        if name.startswith('fusion_blocks.') and value.is_floating_point():
            value.normal_(0, 0.02, generator=generator)
    if form == 'plain':
        from benchmarks.speed.plain import as_published

        as_published(net)
    return net


def inputs(size: int, batch: int, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Returns images and prior."""
    generator = torch.Generator().manual_seed(2)
    shapes = ((batch, 3, size, size), (batch, 1, 512), (batch, 8, 512))
    x, xi, xd = (torch.rand(shape, generator=generator) for shape in shapes)
    prior = (nn.functional.normalize(2 * y - 1, dim=-1) for y in (xi, xd))
    return tuple(y.to(device) for y in (x, *prior))  # type: ignore[return-value]


class Worker:
    """Runs commands; networks are built once."""

    def __init__(self, form: str, device: str) -> None:
        self.form, self.device = form, device
        self.nets: dict[str, nn.Module] = {}
        self.steps: dict[str, Callable[[], object]] = {}

    def run(self, do: str, **arguments: Any) -> Any:
        """Runs a command."""
        return getattr(self, do)(**arguments)

    def net(self, changes: dict[str, Any], training: bool, compiled: str = '') -> nn.Module:
        """Returns a network with some arguments changed, compiled in the mode of that name."""
        key = json.dumps([changes, training, compiled], sort_keys=True)
        if key not in self.nets:
            net = build(self.form, **changes).to(self.device, memory_format=torch.channels_last).train(training)
            if compiled:
                from deplsr_model.compilation import compile_in_place  # as option `compile` does

                compile_in_place(net, True if compiled == 'default' else compiled)
            self.nets[key] = net
        return self.nets[key]

    def step(
        self,
        what: str,
        size: int,
        batch: int,
        amp: bool = False,
        compiled: str = '',
        graph: bool = False,
        tf32: bool = False,
        changes: dict[str, Any] | None = None,
    ) -> Callable[[], Tensor]:
        """Returns a function that runs one forward pass, or one training step without the optimizer.

        ``graph`` replays it as a CUDA graph, ``tf32`` lets products of fp32 matrices use TF32.
        """
        net = self.net(changes or {}, what == 'train', compiled)
        data = inputs(size, batch, self.device)
        device = torch.device(self.device).type
        precision = torch.autocast(device, torch.bfloat16, cache_enabled=not graph) if amp else contextlib.nullcontext()

        def infer() -> Tensor:
            torch.backends.cuda.matmul.allow_tf32 = tf32
            with torch.inference_mode(), precision:
                return net(*data).float()

        def train() -> Tensor:
            torch.backends.cuda.matmul.allow_tf32 = tf32
            net.zero_grad(set_to_none=True)
            with precision:
                out = net(*data).float()
            loss = GRADIENT * out.abs().sum()
            loss.backward()
            return loss.detach()

        step = infer if what == 'infer' else train
        return captured(step) if graph else step

    def prepare(self, **arguments: Any) -> float:
        """Builds, compiles and warms up what :meth:`time` runs with the same arguments; returns the seconds."""
        start = time.perf_counter()
        key = json.dumps(arguments, sort_keys=True)
        if key not in self.steps:
            self.steps[key] = self.step(**arguments)
            for _ in range(1 if self.device == 'cpu' else 4):  # CUDA graphs of torch.compile are recorded in the third
                self.steps[key]()
            self.wait()
        return time.perf_counter() - start

    def time(self, **arguments: Any) -> dict[str, float]:
        """Seconds of one run, by the clock and of the CPU: on a GPU the mean of some in a row, otherwise of one."""
        self.prepare(**arguments)
        run, count = self.steps[json.dumps(arguments, sort_keys=True)], 1
        self.wait()
        if self.device != 'cpu':
            begin = time.perf_counter()
            run()
            self.wait()
            count = min(30, max(3, round(0.15 / (time.perf_counter() - begin))))
        start, start_cpu = time.perf_counter(), time.process_time()
        for _ in range(count):
            run()
        self.wait()
        return {'wall': (time.perf_counter() - start) / count, 'cpu': (time.process_time() - start_cpu) / count}

    def kernels(self, **arguments: Any) -> dict[str, Any]:
        """Milliseconds that a GPU computes in one run, the number of kernels, and a table of the slowest."""
        self.prepare(**arguments)
        run = self.steps[json.dumps(arguments, sort_keys=True)]
        activities = [torch.profiler.ProfilerActivity.CUDA, torch.profiler.ProfilerActivity.CPU]
        with torch.profiler.profile(activities=activities) as profile:
            run()
            self.wait()
        found = [event for event in profile.key_averages() if event.device_type == torch.autograd.DeviceType.CUDA]
        found.sort(key=lambda event: -event.self_device_time_total)
        lines = [f'{e.self_device_time_total / 1000:9.3f} ms {e.count:6d} x  {e.key[:140]}' for e in found[:30]]
        busy = sum(event.self_device_time_total for event in found) / 1000
        return {'busy_ms': busy, 'count': sum(event.count for event in found), 'table': '\n'.join(lines)}

    def wait(self) -> None:
        """Waits for a GPU."""
        if self.device != 'cpu':
            torch.cuda.synchronize()

    def products(self) -> dict[str, float]:
        """As :func:`products`."""
        return products(self.device)

    def operations(self, size: int, batch: int) -> float:
        """Returns the operations of a forward pass, two for each multiplication and addition."""
        from torch.utils.flop_counter import FlopCounterMode

        net, data = self.net({}, False), inputs(size, batch, self.device)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            net(*data)
        return counter.get_total_flops()

    def forget(self) -> None:
        """Frees networks and data."""
        self.nets, self.steps = {}, {}
        if self.device != 'cpu':
            torch.cuda.empty_cache()

    def save(self, path: str, **arguments: Any) -> None:
        """Writes the output of one run to a file."""
        torch.save(self.step(**arguments)().cpu(), path)

    def memory(self, **arguments: Any) -> dict[str, float]:
        """MiB that a training step keeps for its backward pass, and its peak above what was used before."""
        step = self.step(what='train', **arguments)
        step()
        if self.device != 'cpu':
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            step()
            peak = torch.cuda.max_memory_allocated() - before
        else:
            peak = peak_of(step)
        own = {p.untyped_storage().data_ptr() for net in self.nets.values() for p in net.parameters()}
        kept: dict[int, int] = {}

        def keep(saved: Tensor) -> Tensor:
            storage = saved.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = storage.nbytes()
            return saved

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved):
            step()
        return {'kept': sum(kept.values()) / 2**20, 'peak': peak / 2**20}

    def overhead(self, **arguments: Any) -> dict[str, float]:
        """As :func:`benchmarks.speed.overhead.measure`."""
        from benchmarks.speed import overhead  # not in every commit that is compared

        return overhead.measure(self.device, **arguments)


def captured(step: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """Records a step as a CUDA graph; returns what replays it."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = step()

    def replay() -> Tensor:
        graph.replay()
        return out

    return replay


def products(device: str) -> dict[str, float]:
    """Returns 10^9 operations a second of matrix products, as far as the device gets."""
    found = {}
    for name, dtype in (('fp32', torch.float32), ('bf16', torch.bfloat16)):
        a, b = (torch.rand(2048 if device == 'cpu' else 8192, 2048, device=device).to(dtype) for _ in range(2))
        best = float('inf')
        for _ in range(8):
            start = time.perf_counter()
            a @ b.T
            if device != 'cpu':
                torch.cuda.synchronize()
            best = min(best, time.perf_counter() - start)
        found[name] = 2 * a.shape[0] * b.shape[0] * a.shape[1] / best / 1e9
    return found


def peak_of(step: Callable[[], object]) -> int:
    """Bytes of the largest resident memory during a step, above that before it (Linux)."""
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # otherwise what is kept free hides what the step needs
    with open('/proc/self/clear_refs', 'w') as file:
        file.write('5')
    before = _status('VmRSS')
    step()
    return _status('VmHWM') - before


def _status(key: str) -> int:
    with open('/proc/self/status') as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(key))


def main() -> None:
    """Answers commands until the input ends."""
    tree, form, device, threads = sys.argv[1:5]
    sys.path[0] = tree
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))  # benchmarks
    torch.set_num_threads(int(threads))
    torch.backends.cudnn.benchmark = True  # as in BasicSR's training
    with contextlib.suppress(ImportError):  # as the command `basicsr` does, from 0.3 on
        from basicsr_plugin.memory import keep_freed_memory

        keep_freed_memory()
    worker = Worker(form, device)
    for line in sys.stdin:
        try:
            answer = {'result': worker.run(**json.loads(line))}
        except Exception as error:  # noqa: BLE001  it is the answer
            traceback.print_exc()
            answer = {'error': f'{type(error).__name__}: {error}'[:400]}
        print('=' + json.dumps(answer), flush=True)


if __name__ == '__main__':
    main()
