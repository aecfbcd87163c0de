"""Mends of BasicSR 1.4.2, one function each; a mend does nothing where its fault is not found."""

from __future__ import annotations

import importlib.abc
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from functools import cache
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from basicsr_plugin.errors import UserError

__all__ = ['alias_functional_tensor', 'apply_fixes']

_FUNCTIONAL_TENSOR = 'torchvision.transforms.functional_tensor'


class _FunctionalTensor(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Stands in for a module of torchvision that is gone; holds the one function BasicSR takes from it."""

    def find_spec(self, fullname: str, path: object = None, target: ModuleType | None = None) -> ModuleSpec | None:
        return importlib.util.spec_from_loader(fullname, self) if fullname == _FUNCTIONAL_TENSOR else None

    def exec_module(self, module: ModuleType) -> None:
        from torchvision.transforms.functional import rgb_to_grayscale

        module.rgb_to_grayscale = rgb_to_grayscale  # type: ignore[attr-defined]


def alias_functional_tensor() -> None:
    """``import basicsr`` fails: torchvision 0.17 dropped ``torchvision.transforms.functional_tensor``.

    The stand-in comes last among the finders, so a torchvision that has the module keeps its own, and nothing is
    imported before somebody asks for it. A spawned worker of a data loader needs this mend alone.
    """
    if not any(isinstance(finder, _FunctionalTensor) for finder in sys.meta_path):
        sys.meta_path.append(_FunctionalTensor())


@cache
def apply_fixes() -> list[str]:
    """Applies the mends that are needed and returns their names; safe to repeat. Call it before ``import basicsr``."""
    alias_functional_tensor()
    importlib.import_module('basicsr')
    stands_in = isinstance(getattr(sys.modules[_FUNCTIONAL_TENSOR], '__loader__', None), _FunctionalTensor)
    return ['functional_tensor'] * stands_in + [name for name, one in FIXES.items() if one()]


def _says(function: Any, text: str) -> bool:
    """Whether a fault is there; the code decides, since years of later commits also call themselves 1.4.2."""
    try:
        return text in inspect.getsource(function)
    except OSError:
        return False


def fix_resume() -> bool:
    """``--auto_resume`` needs CUDA, looks only under ./experiments, and stops at a file cut short by a kill.

    It also wants a checkpoint of every network, the frozen ones included.
    """
    import basicsr.train

    from basicsr_plugin.resume import load_resume_state

    if not _says(basicsr.train.load_resume_state, 'torch.cuda.current_device()'):
        return False
    basicsr.train.load_resume_state = load_resume_state
    return True


def fix_options() -> bool:
    """An option file or a value of ``--force_yml`` can run code, and mistakes in either surface late or never."""
    import basicsr.test
    import basicsr.train
    import basicsr.utils.options

    from basicsr_plugin.parse_options import parse_options

    if not _says(basicsr.utils.options.parse_options, 'exec('):
        return False
    for module in (basicsr.utils.options, basicsr.train, basicsr.test):
        module.parse_options = parse_options
    return True


def fix_sampler() -> bool:
    """Workers start every epoch from the same seeds, a data set is never told the epoch, a resume repeats one.

    The training sampler hands out :class:`~basicsr_plugin.sampling_index.SampleIndex`, in the same order as before;
    after a resume it leaves out what the interrupted epoch has seen already.
    """
    import torch
    from basicsr.data.data_sampler import EnlargedSampler

    from basicsr_plugin.resume import samples_seen
    from basicsr_plugin.sampling_index import SampleIndex

    if not _says(EnlargedSampler.__iter__, 'v % dataset_size'):
        return False

    def indices(self: Any) -> Iterator[SampleIndex]:
        generator = torch.Generator().manual_seed(self.epoch)
        drawn = torch.randperm(self.total_size, generator=generator).tolist()[self.rank :: self.num_replicas]
        size = len(self.dataset)
        indices = [SampleIndex(draw % size, epoch=self.epoch, round=draw // size) for draw in drawn]
        return iter(indices[samples_seen(self.epoch, self.num_samples) :])

    EnlargedSampler.__iter__ = indices
    return True


def fix_ema() -> bool:
    """The averaged network copies parameters alone: its batch norms keep the statistics they started with."""
    import torch
    from basicsr.models.base_model import BaseModel

    if _says(BaseModel.model_ema, 'buffers'):
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
    """RealESRNetModel and RealESRGANModel call ``.cuda()`` whatever ``num_gpu`` says."""
    from basicsr.models import realesrgan_model, realesrnet_model

    classes = (realesrnet_model.RealESRNetModel, realesrgan_model.RealESRGANModel)
    broken = [cls for cls in classes if _says(cls.__init__, '.cuda()')]
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
    """``--launcher pytorch`` sets a CUDA device and DistributedDataParallel gets one, also where there is none."""
    import torch
    import torch.distributed
    from basicsr.models.base_model import BaseModel
    from basicsr.utils import dist_util

    if not _says(dist_util._init_dist_pytorch, 'rank % num_gpus'):
        return False
    init_on_gpu: Callable[..., None] = dist_util._init_dist_pytorch
    wrap_on_gpu = BaseModel.model_to_device

    def init_dist_pytorch(backend: str, **kwargs: Any) -> None:
        if torch.cuda.is_available() and backend != 'gloo':
            init_on_gpu(backend, **kwargs)
        else:
            torch.distributed.init_process_group(backend='gloo', **kwargs)

    def model_to_device(self: Any, net: Any) -> Any:
        if not (self.opt['dist'] and self.device.type == 'cpu'):
            return wrap_on_gpu(self, net)
        unused = self.opt.get('find_unused_parameters', False)
        return torch.nn.parallel.DistributedDataParallel(net.to(self.device), find_unused_parameters=unused)

    dist_util._init_dist_pytorch = init_dist_pytorch
    BaseModel.model_to_device = model_to_device
    return True


def fix_prefetch() -> bool:
    """With ``prefetch_mode: cpu`` an error in a data set ends the fetching thread, and training waits for ever."""
    from basicsr.data.prefetch_dataloader import PrefetchGenerator

    if _says(PrefetchGenerator.run, 'except'):
        return False
    take = PrefetchGenerator.__next__

    def run(self: Any) -> None:
        try:
            for item in self.generator:
                self.queue.put(item)
        except Exception as error:  # noqa: BLE001  (raised again by the thread that asks for the batch)
            self.queue.put(error)
        else:
            self.queue.put(None)

    def take_or_raise(self: Any) -> Any:
        item = take(self)
        if isinstance(item, Exception):
            raise item
        return item

    PrefetchGenerator.run = run
    PrefetchGenerator.__next__ = take_or_raise
    return True


def fix_jpeg() -> bool:
    """Real-ESRGAN's ``random_add_jpg_compression`` draws a quality that is no whole number, which OpenCV 5 refuses."""
    import cv2
    import numpy as np
    from basicsr.data import degradations

    try:
        cv2.imencode('.jpg', np.zeros((8, 8), np.uint8), [int(cv2.IMWRITE_JPEG_QUALITY), 90.5])  # type: ignore[list-item]
    except (cv2.error, TypeError):
        pass
    else:
        return False
    if not _says(degradations.add_jpg_compression, 'JPEG_QUALITY), quality]'):
        return False
    compress = degradations.add_jpg_compression

    def add_jpg_compression(img: Any, quality: float = 90) -> Any:
        return compress(img, int(quality))  # cut off as earlier versions of OpenCV did

    degradations.add_jpg_compression = add_jpg_compression
    return True


def fix_filter2d() -> bool:
    """Real-ESRGAN's blur after JPEG fails: padding now keeps the memory order that its ``view`` cannot read."""
    import torch
    from basicsr.models import realesrgan_model, realesrnet_model
    from basicsr.utils import img_process_util

    filter2d = img_process_util.filter2D
    try:
        filter2d(torch.zeros(2, 4, 4, 3).permute(0, 3, 1, 2), torch.ones(2, 3, 3))
    except RuntimeError:
        pass
    else:
        return False
    for module in (img_process_util, realesrgan_model, realesrnet_model):
        module.filter2D = lambda img, kernel: filter2d(img.contiguous(), kernel)
    return True


def fix_epochs() -> bool:
    """Training ends early, or before its first step, where a data set does not fill its batches.

    The loader drops the last batch of an epoch if it is not full, while the number of epochs counts it.
    """
    import math

    import basicsr.train

    build = basicsr.train.create_train_val_dataloader
    if not _says(build, 'math.ceil(total_iters / (num_iter_per_epoch))'):
        return False

    def create_train_val_dataloader(opt: dict[str, Any], logger: Any) -> tuple[Any, ...]:
        loader, sampler, val_loaders, _, total_iters = build(opt, logger)
        if len(loader) == 0:
            raise UserError(
                f'datasets.train.batch_size_per_gpu: expected at most {len(sampler)}, the samples of an epoch, '
                f'got {loader.batch_size}; raise dataset_enlarge_ratio or lower it'
            )
        return loader, sampler, val_loaders, math.ceil(total_iters / len(loader)), total_iters

    basicsr.train.create_train_val_dataloader = create_train_val_dataloader
    return True


FIXES: dict[str, Callable[[], bool]] = {
    'epochs': fix_epochs,
    'resume': fix_resume,
    'options': fix_options,
    'sampler': fix_sampler,
    'ema': fix_ema,
    'real_esrgan': fix_real_esrgan,
    'distributed': fix_distributed,
    'prefetch': fix_prefetch,
    'jpeg': fix_jpeg,
    'filter2d': fix_filter2d,
}
