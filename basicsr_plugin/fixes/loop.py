"""Fixes of BasicSR's training loop as a whole: what a resumed run repeats, and what it finds changed."""

from __future__ import annotations

from functools import partial
from typing import Any

from basicsr_plugin.fixes.source import contains

__all__ = ['fix_exact_resume', 'fix_loop']


def fix_loop() -> bool:
    """A signal or a lost worker loses what was trained since the last checkpoint; a worker that hangs is waited for.

    With this fix :mod:`basicsr_plugin.training_loop` has its model, epoch and iteration, and ends it between two
    iterations. Loaders draw from a generator of their own, seeded by the epoch, instead of that of the networks.
    """
    import basicsr.train
    import torch
    from basicsr.data import prefetch_dataloader

    build_loaders = basicsr.train.create_train_val_dataloader
    build = basicsr.train.build_model
    if not contains(basicsr.train.train_pipeline, 'train_sampler.set_epoch(epoch)') or hasattr(build_loaders, 'loop'):
        return False
    from basicsr_plugin.interruption import start_worker
    from basicsr_plugin.stock_datasets import LoaderOptions
    from basicsr_plugin.training_loop import current_loop, start_loop

    def create_train_val_dataloader(opt: dict[str, Any], logger: Any) -> tuple[Any, ...]:
        loader, sampler, *others = build_loaders(opt, logger)
        loader.generator = torch.Generator()
        loader.worker_init_fn = partial(start_worker, loader.worker_init_fn)
        if loader.num_workers:
            loader.timeout = opt['datasets']['train'].get('worker_timeout', LoaderOptions.worker_timeout)
        loop = start_loop(opt, loader, sampler)
        if loop.repeated:
            logger.warning(loop.repeated)
        set_epoch = sampler.set_epoch

        def begin_epoch(epoch: int) -> None:
            loop.begin_epoch(epoch)
            loader.generator.manual_seed(opt['manual_seed'] + epoch)
            set_epoch(epoch)

        sampler.set_epoch = begin_epoch
        return loader, sampler, *others

    def build_model(opt: dict[str, Any]) -> Any:
        model = build(opt)
        loop = current_loop()
        if loop is not None:
            loop.watch(model)
        return model

    for prefetcher in (prefetch_dataloader.CPUPrefetcher, prefetch_dataloader.CUDAPrefetcher):
        _end_iterations(prefetcher)
    create_train_val_dataloader.loop = True  # type: ignore[attr-defined]
    basicsr.train.create_train_val_dataloader = create_train_val_dataloader
    basicsr.train.build_model = build_model
    return True


def _end_iterations(prefetcher: Any) -> None:
    """Lets the loop end where it takes its next batch."""
    from basicsr_plugin.training_loop import current_loop

    take = prefetcher.next

    def next_batch(self: Any) -> Any:
        loop = current_loop()
        return take(self) if loop is None else loop.next_batch(partial(take, self))

    prefetcher.next = next_batch


def fix_exact_resume() -> bool:
    """A resumed run draws other random numbers, ignores edited options without a line, and validations disturb it."""
    from basicsr.models.base_model import BaseModel

    resume, validate = BaseModel.resume_training, BaseModel.validation
    if contains(resume, 'random'):
        return False
    from basicsr_plugin.random_state import kept_random_states
    from basicsr_plugin.training_loop import until_signal
    from basicsr_plugin.training_state import options_without_effect, restore_own_state

    def resume_training(self: Any, resume_state: dict[str, Any]) -> None:
        from basicsr.utils import get_root_logger

        for line in options_without_effect(self, resume_state):
            get_root_logger().warning(line)
        resume(self, resume_state)
        restore_own_state(self, resume_state)  # random states last

    def validation(self: Any, *args: Any, **kwargs: Any) -> None:
        with kept_random_states():
            if self.opt['dist']:  # all processes have to leave it together: see fix_validation
                validate(self, *args, **kwargs)
            else:
                until_signal(self, lambda: validate(self, *args, **kwargs))

    BaseModel.resume_training = resume_training
    BaseModel.validation = validation
    return True
