"""What BasicSR's training loop does not expose: its model, iteration, epoch and position in the data.

BasicSR builds a loop's parts by functions that a plug-in can wrap (:mod:`basicsr_plugin.fixes.loop`); the wrapped ones
report here. A process trains one run at a time: :func:`current_loop`.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable
from typing import Any, NoReturn

from basicsr_plugin.errors import UnavailableError, UserError, no_batch, warn
from basicsr_plugin.interruption import FAILED, Interrupted, Signals, WorkerDeaths
from basicsr_plugin.processes import wait_for_all
from basicsr_plugin.random_state import random_states, restore_random_states
from basicsr_plugin.resume import ResumePosition
from basicsr_plugin.run_files import resume_hint

__all__ = ['TrainingLoop', 'current_loop', 'end_loop', 'start_loop', 'until_signal']

_NAMED = 8  # photos of a batch in a message


class TrainingLoop:
    """The state of a training loop.

    Args:
        opt: Options of the run.
        loader: The training loader.
        sampler: Its sampler.

    Attributes:
        model: The model, once it is built.
        epoch: Epoch of the loop, from 0.
        iteration: The iteration in work, or the last one that was done.
        saved: Iteration of the latest training state that the run has; None before the first.
        signals: What stops the loop.
        repeated: A line that the interrupted epoch starts again, if it does.
    """

    def __init__(self, opt: dict[str, Any], loader: Any, sampler: Any) -> None:
        self.opt = opt
        self.model: Any = None
        self._sampler = sampler
        self._has_workers = bool(loader.num_workers)
        self._deaths = WorkerDeaths()
        if self._has_workers:
            self._deaths.watch(loader)
        self._files: list[Any] = []
        self._batch = loader.batch_size * sampler.num_replicas
        self._position: ResumePosition | None = sampler.resume_position
        self.epoch = self._position.epoch if self._position else 0
        self.iteration = self._position.iteration if self._position else 0
        self.saved: int | None = self._position.iteration if self._position else None
        self.signals = Signals()
        samples = sampler.total_size
        self.repeated = ''
        if self._position is not None and self._position.starts_again(samples):
            self.repeated = (
                f'datasets.train: {samples} samples an epoch instead of {self._position.samples}; epoch '
                f'{self.epoch} starts again, which repeats up to {self._position.used} samples'
            )
        self._start_epoch(self.epoch)

    def watch(self, model: Any) -> None:
        """Takes the model, and from then on records the iterations that it begins."""
        self.model = model
        update = model.update_learning_rate

        def update_learning_rate(current_iter: int, *args: Any, **kwargs: Any) -> None:
            self.iteration = current_iter
            update(current_iter, *args, **kwargs)

        model.update_learning_rate = update_learning_rate

    def next_batch(self, take: Callable[[], Any]) -> Any:
        """Takes the next batch between two iterations; saves and ends the run if a signal arrives or there is no batch.

        Args:
            take: Returns the batch; None at the end of an epoch.

        Raises:
            Interrupted: A signal has arrived.
            UserError: The data, a worker, or those of another process are gone.
        """
        states = None if self._has_workers else random_states()
        batch, error = self._taken(take)
        number = self.signals.agreed(self.opt['dist'], failed=error is not None)
        if number:
            if states is not None:  # as if this batch had not been taken
                restore_random_states(states)
            self.save()
            if self.opt['dist']:  # torchrun ends the others when one has ended
                wait_for_all()
            if self._has_workers:
                self._deaths.end_workers()
            self._end(number, error)
        self._files = batch.get('gt_path') or batch.get('lq_path') or [] if isinstance(batch, dict) else []
        return batch

    def files_of_batch(self) -> str:
        """Returns the paths of the photos of the batch in work."""
        return ', '.join(str(path) for path in self._files[:_NAMED]) or 'unnamed photos'

    def _taken(self, take: Callable[[], Any]) -> tuple[Any, Exception | None]:
        """Returns a batch, or an error; neither if a signal has arrived."""
        batch = None

        def fetch() -> None:
            nonlocal batch
            with self._deaths.raised():
                batch = take()

        try:
            if self.opt['dist']:  # others wait for this process
                fetch()
            else:
                self.signals.run_until_signal(fetch)
        except Exception as error:  # noqa: BLE001  (raised again when the run is saved)
            return None, error
        return batch, None

    def _end(self, number: int, error: Exception | None) -> NoReturn:
        hint = resume_hint(self.opt)
        if number != FAILED:
            raise Interrupted(number, f'{self.iteration} iterations done; {hint}')
        if error is None:
            raise UnavailableError(f'datasets.train: no batch in another process, see its last lines; {hint}')
        line = no_batch(error)
        if line is not None:
            raise UnavailableError(f'{line}; {hint}') from None
        if isinstance(error, UserError):
            raise type(error)(f'{error}; {hint}') from None
        warn(hint)
        raise error

    def close(self) -> None:
        """Ends the workers, and returns the signals to those that handled them before."""
        self.signals.remove()
        if self._has_workers:
            self._deaths.end_workers()
        self._deaths.remove()

    def save(self) -> None:
        """Saves a checkpoint of the last iteration that was done, if there is none yet."""
        if self.iteration and self.iteration != self.saved:
            self.model.save(self.epoch, self.iteration)

    def begin_epoch(self, epoch: int) -> None:
        """Call it when an epoch begins, before its first batch is taken."""
        self._start_epoch(epoch)

    def data_position(self, epoch: int, iteration: int) -> dict[str, int]:
        """Returns the samples of an epoch that all processes have used after an iteration, and those it has."""
        used = self._used_before + (iteration - self._first) * self._batch if epoch == self.epoch else 0
        return {'used': used, 'samples': self._sampler.total_size}

    def _start_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        self._first = self.iteration
        self._used_before = self._position.samples_used(epoch, self._sampler.total_size) if self._position else 0


_current: TrainingLoop | None = None


def start_loop(opt: dict[str, Any], loader: Any, sampler: Any) -> TrainingLoop:
    """Makes a loop the current one, which then handles the signals of this process."""
    global _current
    end_loop()
    _current = TrainingLoop(opt, loader, sampler)
    _current.signals.install()
    return _current


def current_loop(model: Any = None) -> TrainingLoop | None:
    """Returns the loop that this process runs; ``model``: only if it is the loop of that model."""
    return _current if _current is not None and (model is None or _current.model is model) else None


def until_signal(model: Any, work: Callable[[], object]) -> None:
    """Runs work for the model of a loop, such as a validation, which a signal may leave at any point."""
    loop = current_loop(model)
    if loop is None:
        work()
    else:
        loop.signals.run_until_signal(work)


@atexit.register  # for scripts that call train_pipeline themselves
def end_loop() -> None:
    """Forgets the loop, with its model."""
    global _current
    if _current is not None:
        _current.close()
    _current = None
