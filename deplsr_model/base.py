"""What both training stages add to BasicSR's base model: optimizers, checks, safe loading, metrics as a file."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.models.base_model import BaseModel
from basicsr.models.lr_scheduler import CosineAnnealingRestartLR, MultiStepRestartLR
from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import master_only
from torch import Tensor, nn
from torch.utils.data import DataLoader

from basicsr_plugin.atomic import append_line
from basicsr_plugin.checks import check_keys
from basicsr_plugin.errors import OptionError, UserError
from basicsr_plugin.fixes.weights import option_of
from basicsr_plugin.names import nearest
from basicsr_plugin.run_files import resume_hint, save_hint
from deplsr_data.degradation.deferred import degrade_deferred
from deplsr_data.degradation.sampling import rng_for
from deplsr_model.checkpoint import load_into
from deplsr_model.compilation import compile_in_place
from deplsr_model.options import RunOptions, TrainOptions
from deplsr_model.pair_pool import Batch, TrainingPairPool
from deplsr_model.precision import Throughput, TrainingStep, autocast, check_amp

__all__ = ['Batch', 'DePLSRBaseModel', 'ParameterGroup', 'Parameters']

ParameterGroup = dict[str, float | list[nn.Parameter]]
Parameters = Iterable[nn.Parameter] | Iterable[ParameterGroup]

SCHEDULERS = {
    'MultiStepLR': MultiStepRestartLR,
    'MultiStepRestartLR': MultiStepRestartLR,
    'CosineAnnealingRestartLR': CosineAnnealingRestartLR,
}
_NAMED = 8  # photos of a batch in a message
OPTIMIZERS = {name: getattr(torch.optim, name) for name in ('Adam', 'AdamW', 'Adamax', 'SGD', 'RMSprop')}


class DePLSRBaseModel(BaseModel):
    """BasicSR's base model with more optimizers, mixed precision, safe loading, and metrics in a file.

    A subclass sets ``options`` before it calls the constructor.

    Raises:
        OptionError: The device cannot compute in the precision of option ``amp``.
    """

    options: RunOptions
    optimizer_types = tuple(OPTIMIZERS)
    scheduler_types = tuple(SCHEDULERS)
    lq: Tensor
    _pool: TrainingPairPool | None = None
    _validating = False
    _current_iter = 0
    _max_skipped_steps = 1

    def __init__(self, opt: dict[str, Any]) -> None:
        check_amp(self.options.amp, self.options.num_gpu)
        self._throughput = Throughput()
        self._steps: dict[str, TrainingStep] = {}
        self._files: deque[list[str]] = deque(maxlen=1)
        super().__init__(opt)

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """Moves a network to the device as BasicSR does, with options ``channels_last`` and ``compile``."""
        net = net.to(memory_format=self.memory_format)
        mode = self.options.compile
        if mode == 'reduce-overhead' and net is getattr(self, 'net_d', None):
            mode = True  # it has two backward passes in a step, as with train.accumulate
        compile_in_place(net, mode)
        return super().model_to_device(net)

    @property
    def memory_format(self) -> torch.memory_format:
        """Memory format of images and convolutions."""
        # a float32 step with channels last on 1 CPU core: convolutional networks 1.10 to 1.18x, UNetDiscriminatorSN
        # 1.53x, FusedDAT 1.05x, FusedSwinIR 1.13x as fast
        return torch.channels_last if self.options.channels_last else torch.contiguous_format

    def image_to_device(self, image: Tensor) -> Tensor:
        """Moves images (B, C, h, w) to the device in the memory format of the networks."""
        return image.to(self.device, non_blocking=True, memory_format=self.memory_format)

    def compute(self, net: nn.Module, *inputs: Tensor) -> Tensor:
        """Runs a network in the precision of option ``amp``; its output is float32."""
        with autocast(self.device, self.options.amp):
            return net(*inputs).float()

    def add_step(self, label: str, optimizer: torch.optim.Optimizer, train: TrainOptions) -> TrainingStep:
        """Returns the training step of the optimizer of ``net_<label>``; its log entries end in ``label``."""
        net: nn.Module = getattr(self, f'net_{label}')
        step = TrainingStep(optimizer, self.device, self.options.amp, train.accumulate, train.clip_grad_norm, net)
        self._files = deque(maxlen=train.accumulate)
        self._max_skipped_steps = train.max_skipped_steps
        self._steps[label] = step
        return step

    def remember_files(self, data: Batch) -> None:
        """Keeps the paths of a batch, with which messages on it name its photos."""
        self._files.append([str(path) for path in data.get('gt_path') or data.get('lq_path') or []])

    def files_of_batch(self) -> str:
        """Returns the paths of the photos of the latest batches, those of a step of the optimizer."""
        names = list(dict.fromkeys(name for files in self._files for name in files))
        more = f' and {len(names) - _NAMED} more' if len(names) > _NAMED else ''
        return ', '.join(names[:_NAMED]) + more or 'unnamed photos'

    def begin_step(self, current_iter: int) -> None:
        """Seeds what the networks draw, such as paths to drop: a resumed run then draws what the complete one does."""
        self._current_iter = current_iter
        key = (self.options.manual_seed or 0, self.options.rank, current_iter)
        torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))

    def is_last(self, current_iter: int) -> bool:
        """Whether no iteration of the training follows."""
        return current_iter >= self.opt['train']['total_iter']

    def log_step(self, losses: Mapping[str, Tensor]) -> None:
        """Ends an iteration: records losses and norms of gradients, and counts its images.

        Raises:
            UserError: Too many steps in a row had no finite loss or gradients; the weights are those before them.
        """
        self.log_dict = self.reduce_loss_dict(losses)
        for label, step in self._steps.items():
            self.log_dict.update(step.log(label))
            self._report_skipped(label, step)
        self._throughput.count(len(self.lq) * self.options.world_size)

    def _report_skipped(self, label: str, step: TrainingStep) -> None:
        if step.skipped is None:
            return
        batch = f'iteration {self._current_iter}, {step.skipped}, batch: {self.files_of_batch()}'
        if step.skipped_in_row >= self._max_skipped_steps:
            raise UserError(
                f'train: {step.skipped_in_row} steps of network_{label} in a row were not finite, the last: {batch}; '
                f'check these photos, lower lr or set train.clip_grad_norm; {resume_hint(self.opt)}'
            )
        get_root_logger().warning(f'Step of network_{label} is skipped: {batch}')

    def get_current_log(self) -> dict[str, float]:
        """Returns what BasicSR logs, with the images per second since the last log, validations left out."""
        rate = self._throughput.rate()
        return {**self.log_dict, **({} if rate is None else {'images_per_s': rate})}

    def degraded(self, data: Batch) -> Batch:
        """Adds ``lq`` to a batch if the data set left that to the device, and in training exchanges it with the pool.

        Returns:
            The batch with ``lq`` and, where the recipe sharpens GT in training, ``gt_usm`` in addition to ``gt``.

        Raises:
            OptionError: ``queue_size`` is smaller than a batch.
        """
        data = self._from_pool(degrade_deferred(data, self.device))
        self.remember_files(data)
        return data

    def _from_pool(self, data: Batch) -> Batch:
        size = int(self.opt.get('queue_size') or 0)
        if not size or 'lq' not in data or not self.is_train or self._validating:
            return data
        if self._pool is None:
            self._pool = self._new_pool(size)
        return self._pool.exchange(data)

    def _new_pool(self, size: int) -> TrainingPairPool:
        seed = self.opt.get('manual_seed') or 0
        return TrainingPairPool(size, rng_for(seed, 0, self.opt.get('rank', 0), 0, 'pool'))

    def own_state(self) -> dict[str, Any]:
        """Returns what a training state holds of this process in addition to optimizers and random states."""
        return {'pool': None if self._pool is None else self._pool.state()}

    def load_own_state(self, state: dict[str, Any]) -> None:
        """Takes what :meth:`own_state` has returned."""
        pool, size = state['pool'], int(self.opt.get('queue_size') or 0)
        if pool is not None and pool['size'] == size:
            self._pool = self._new_pool(size)
            self._pool.load_state(pool)
        elif pool is not None:
            get_root_logger().warning(f'queue_size: {size} instead of {pool["size"]}; the pool starts empty')

    def validation(
        self, dataloader: DataLoader, current_iter: int | str, tb_logger: object, save_img: bool = False
    ) -> None:
        """Validates as BasicSR does; the batches of the validation do not enter the pool."""
        self._validating = True
        try:
            with self._throughput.paused():
                super().validation(dataloader, current_iter, tb_logger, save_img)
        finally:
            self._validating = False

    def get_optimizer(
        self, optim_type: str, params: Parameters, lr: float | None = None, **kwargs: object
    ) -> torch.optim.Optimizer:
        """Builds an optimizer of torch by name; BasicSR 1.4.2 has Adam only.

        Raises:
            OptionError: The name is unknown, or the optimizer does not take an argument.
        """
        if optim_type not in OPTIMIZERS:
            raise OptionError(
                f"train: expected an optimizer of type {', '.join(OPTIMIZERS)}, got '{optim_type}'"
                f'{nearest(str(optim_type), OPTIMIZERS)}'
            )
        if lr is None:
            raise OptionError(f"train: missing key 'lr' of the optimizer{nearest('lr', kwargs)}")
        check_keys(OPTIMIZERS[optim_type], {'lr': lr, **kwargs}, 'train: optimizer')
        try:
            return OPTIMIZERS[optim_type](params, lr=lr, **kwargs)
        except (TypeError, ValueError) as error:
            raise OptionError(f'train: {optim_type}: {error}') from error

    def setup_schedulers(self) -> None:
        """Builds the schedulers.

        Raises:
            OptionError: The type or a key is unknown or missing, or a cosine schedule ends before the training does,
                where BasicSR would fail.
        """
        train = self.opt['train']
        settings = dict(train['scheduler'])
        name = settings.pop('type', None)
        if name not in SCHEDULERS:
            known, hint = ', '.join(SCHEDULERS), nearest(str(name), SCHEDULERS)
            raise OptionError(f"train.scheduler.type: expected one of {known}, got '{name}'{hint}")
        check_keys(SCHEDULERS[name], settings, 'train.scheduler')
        periods = settings.get('periods', [math.inf])
        if not isinstance(periods, list) or sum(periods) < train['total_iter']:
            raise OptionError(
                f'train.scheduler.periods: expected a list with a sum of at least total_iter '
                f'({train["total_iter"]:.0f}), got {periods}; lengthen them'
            )
        super().setup_schedulers()

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """Resumes as BasicSR does.

        Raises:
            OptionError: The resumed cosine schedule ends before the training does, where BasicSR would fail.
        """
        super().resume_training(resume_state)
        total = self.opt['train']['total_iter']
        for scheduler in self.schedulers:
            periods = getattr(scheduler, 'periods', [math.inf])
            if sum(periods) < total:
                raise OptionError(
                    f'train.total_iter: expected at most {sum(periods)}, the length of the cosine schedule in the '
                    f'training state, got {total:.0f}; keep it, or start a new run from the weights'
                )

    def load_network(
        self, net: nn.Module, load_path: str, strict: bool = True, param_key: str | None = 'params'
    ) -> None:
        """Loads a checkpoint; logs or raises in one line what does not fit, or that a backbone's file has no fusion."""
        net = self.get_bare_model(net)
        name = type(net).__name__
        get_root_logger().info(f'Loading {name} from {load_path}, key {param_key}')
        where = option_of(self.opt, load_path)
        loaded = load_into(net, load_path, param_key=param_key, strict=strict, where=where)
        kept = loaded.kept
        if not strict:
            part = f'the backbone of {name}' if hasattr(net, 'fusion_prefixes') else name
            get_root_logger().info(loaded.summary(part))
        if not kept:
            return
        trained = self.get_bare_model(self.net_g)
        if net is trained:
            count = sum(net.state_dict()[key].numel() for key in kept)
            get_root_logger().info(f'{load_path} has no fusion weights: {count:,d} parameters keep their start values')
        else:  # the averaged network must start from the same random weights
            state = trained.state_dict()
            net.load_state_dict({key: state[key] for key in kept}, strict=False)

    @master_only
    def record_metrics(self, current_iter: int | str, dataset: str, metrics: Mapping[str, float]) -> None:
        """Adds a line to ``metrics.jsonl`` in the folder of the run: iter, dataset and each metric by name."""
        if isinstance(current_iter, int) and self.is_train:  # BasicSR counts one further when training has ended
            current_iter = min(current_iter, int(self.opt['train']['total_iter']))
        values = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        path = Path(self.opt['path']['log']) / 'metrics.jsonl'
        line = json.dumps({'iter': current_iter, 'dataset': dataset, **values})
        append_line(path, line, save_hint(self.opt) if self.is_train else 'free space, then run the test again')
