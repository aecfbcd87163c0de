"""Fixes of BasicSR's training loop: options, resume, epochs, sampler, prefetching."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from basicsr_plugin.errors import UserError
from basicsr_plugin.fixes.source import contains
from basicsr_plugin.sampling_index import SampleIndex

__all__ = ['fix_epochs', 'fix_options', 'fix_prefetch', 'fix_resume', 'fix_sampler']


def fix_options() -> bool:
    """An option file or a value of ``--force_yml`` can run code, and mistakes in either surface late or never."""
    import basicsr.test
    import basicsr.train
    import basicsr.utils.options

    from basicsr_plugin.parse_options import parse_options

    if not contains(basicsr.utils.options.parse_options, 'exec('):
        return False
    for module in (basicsr.utils.options, basicsr.train, basicsr.test):
        module.parse_options = parse_options
    return True


def fix_epochs() -> bool:
    """Training ends early, or before its first step, where a data set does not fill its batches.

    The loader drops the last batch of an epoch if it is not full, while the number of epochs counts it.
    """
    import basicsr.train

    build = basicsr.train.create_train_val_dataloader
    if not contains(build, 'math.ceil(total_iters / (num_iter_per_epoch))'):
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


def fix_resume() -> bool:
    """``--auto_resume`` needs CUDA, looks only under ./experiments, and stops at a truncated file.

    A file is truncated when the process was killed while it saved. ``--auto_resume`` also requires a checkpoint of
    every network, the frozen ones included. With this fix the training sampler receives the position to resume from,
    and a second process on the folder of a run is refused.
    """
    import basicsr.train

    from basicsr_plugin.lock import hold_folder
    from basicsr_plugin.resume import load_resume_state

    if not contains(basicsr.train.load_resume_state, 'torch.cuda.current_device()'):
        return False
    build = basicsr.train.create_train_val_dataloader

    def create_train_val_dataloader(opt: dict[str, Any], logger: Any) -> tuple[Any, ...]:
        loader, sampler, val_loaders, total_epochs, total_iters = build(opt, logger)
        position = getattr(opt['path'].get('resume_state'), 'position', None)
        sampler.resume_position = position
        if position is not None:
            total_epochs = position.last_epoch(total_iters, sampler.total_size)
        return loader, sampler, val_loaders, total_epochs, total_iters

    def lock_and_load(opt: dict[str, Any]) -> dict[str, Any] | None:
        if opt['rank'] == 0:
            hold_folder(opt['path']['experiments_root'], 'name')
        return load_resume_state(opt)

    basicsr.train.load_resume_state = lock_and_load
    basicsr.train.create_train_val_dataloader = create_train_val_dataloader
    return True


def fix_sampler() -> bool:
    """Workers start every epoch from the same seeds, a data set is not passed the epoch, a resume repeats one.

    The training sampler yields :class:`~basicsr_plugin.sampling_index.SampleIndex`, in the same order as before.
    After a resume (attribute ``resume_position``) it leaves out what the interrupted epoch has already used.
    """
    import torch
    from basicsr.data.data_sampler import EnlargedSampler

    if not contains(EnlargedSampler.__iter__, 'v % dataset_size'):
        return False

    def indices(self: Any) -> Iterator[SampleIndex]:
        generator = torch.Generator().manual_seed(self.epoch)
        drawn = torch.randperm(self.total_size, generator=generator).tolist()
        position = self.resume_position
        left = drawn[position.samples_used(self.epoch, self.total_size) if position else 0 :]
        mine = left[self.rank :: self.num_replicas][: len(left) // self.num_replicas]
        size = len(self.dataset)
        return iter([SampleIndex(draw % size, epoch=self.epoch, round=draw // size) for draw in mine])

    EnlargedSampler.resume_position = None
    EnlargedSampler.__iter__ = indices
    return True


def fix_prefetch() -> bool:
    """With ``prefetch_mode: cpu`` an error in a data set ends the fetching thread, and training waits forever.

    A second set of workers, with batches that nobody takes, runs next to that of the first epoch until the end.
    """
    from basicsr.data.prefetch_dataloader import CPUPrefetcher, PrefetchGenerator

    if contains(PrefetchGenerator.run, 'except'):
        return False
    take = PrefetchGenerator.__next__

    def run(self: Any) -> None:
        try:
            for item in self.generator:
                self.queue.put(item)
        except Exception as error:  # noqa: BLE001  (raised again in the thread that requests the batch)
            self.queue.put(error)
        else:
            self.queue.put(None)

    def take_or_raise(self: Any) -> Any:
        item = take(self)
        if isinstance(item, Exception):
            raise item
        return item

    def start_at_reset(self: Any, loader: Any) -> None:  # as the loop does before the first batch of each epoch
        self.ori_loader, self.loader = loader, iter(())

    CPUPrefetcher.__init__ = start_at_reset
    PrefetchGenerator.run = run
    PrefetchGenerator.__next__ = take_or_raise
    return True
