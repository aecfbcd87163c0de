"""Fixes of BasicSR's models: averaged weights, devices, DistributedDataParallel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from basicsr_plugin.errors import warn
from basicsr_plugin.fixes.source import contains

__all__ = ['fix_distributed', 'fix_ema', 'fix_real_esrgan']


def fix_ema() -> bool:
    """The averaged network copies parameters alone: its batch norms keep the statistics they started with."""
    import torch
    from basicsr.models.base_model import BaseModel

    if contains(BaseModel.model_ema, 'buffers'):
        return False
    average_parameters = BaseModel.model_ema

    @torch.no_grad()
    def model_ema(self: Any, decay: float = 0.999) -> None:
        average_parameters(self, decay)
        averaged = dict(self.net_g_ema.named_buffers())
        for name, buffer in self.get_bare_model(self.net_g).named_buffers():
            if name in averaged and averaged[name].shape == buffer.shape:  # a cache may depend on the last input
                averaged[name].copy_(buffer)

    BaseModel.model_ema = model_ema
    return True


def fix_real_esrgan() -> bool:
    """RealESRNetModel and RealESRGANModel call ``.cuda()`` for any ``num_gpu``."""
    from basicsr.models import realesrgan_model, realesrnet_model

    classes = (realesrnet_model.RealESRNetModel, realesrgan_model.RealESRGANModel)
    broken = [cls for cls in classes if contains(cls.__init__, '.cuda()')]
    for cls in broken:
        _use_own_device(cls)
    return bool(broken)


def _use_own_device(cls: Any) -> None:
    from basicsr.utils import DiffJPEG, USMSharp

    pool = cls._dequeue_and_enqueue

    def init(self: Any, opt: dict[str, Any]) -> None:
        cls.__base__.__init__(self, opt)
        self.jpeger = DiffJPEG(differentiable=False).to(self.device)
        self.usm_sharpener = USMSharp().to(self.device)
        self.queue_size = opt.get('queue_size', 180)

    def dequeue_and_enqueue(self: Any) -> None:
        if not hasattr(self, 'queue_lr') and self.queue_size % len(self.lq) == 0:
            self.queue_lr = self.lq.new_zeros(self.queue_size, *self.lq.shape[1:])
            self.queue_gt = self.gt.new_zeros(self.queue_size, *self.gt.shape[1:])
            self.queue_ptr = 0
        pool(self)

    cls.__init__ = init
    cls._dequeue_and_enqueue = dequeue_and_enqueue


def fix_distributed() -> bool:
    """``--launcher pytorch`` sets a CUDA device and DistributedDataParallel gets one, also on a machine without.

    With this fix a network with batch norms is named, since it depends on the number of processes.
    """
    import torch
    import torch.distributed
    from basicsr.models.base_model import BaseModel
    from basicsr.utils import dist_util

    if not contains(dist_util._init_dist_pytorch, 'rank % num_gpus'):
        return False
    init_on_gpu: Callable[..., None] = dist_util._init_dist_pytorch
    wrap_on_gpu = BaseModel.model_to_device

    def init_dist_pytorch(backend: str, **kwargs: Any) -> None:
        if torch.cuda.is_available() and backend != 'gloo':
            init_on_gpu(backend, **kwargs)
        else:
            torch.distributed.init_process_group(backend='gloo', **kwargs)

    def model_to_device(self: Any, net: Any) -> Any:
        _report_batch_norms(self, net)
        if not (self.opt['dist'] and self.device.type == 'cpu'):
            return wrap_on_gpu(self, net)
        unused = self.opt.get('find_unused_parameters', False)
        return torch.nn.parallel.DistributedDataParallel(net.to(self.device), find_unused_parameters=unused)

    dist_util._init_dist_pytorch = init_dist_pytorch
    BaseModel.model_to_device = model_to_device
    return True


def _report_batch_norms(model: Any, net: Any) -> None:
    from torch.nn.modules.batchnorm import SyncBatchNorm, _BatchNorm

    if not (model.opt['dist'] and model.opt['is_train'] and model.opt['rank'] == 0):
        return
    if any(isinstance(part, _BatchNorm) and not isinstance(part, SyncBatchNorm) for part in net.modules()):
        warn(
            f'{type(net).__name__} has batch norms, which average over the samples of one process: the training '
            'depends on the number of processes, not on the complete batch alone'
        )
