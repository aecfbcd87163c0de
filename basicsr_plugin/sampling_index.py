"""What a training sampler passes to a data set."""

from __future__ import annotations

__all__ = ['SampleIndex']


class SampleIndex(int):
    """An index of a data set together with the pass over the data for which it was drawn.

    A data set that seeds its random numbers with (epoch, round, index) makes other draws in every epoch and the same
    ones after a resume, in any number of workers. For everything else it is a plain ``int``.

    Args:
        index: Which sample.
        epoch: Epoch of the training loop, from 0.
        round: Which visit to the sample within the epoch, from 0; above 0 only if ``dataset_enlarge_ratio`` exceeds 1.
    """

    epoch: int
    round: int

    def __new__(cls, index: int, epoch: int = 0, round: int = 0) -> SampleIndex:
        """See the class."""
        self = super().__new__(cls, index)
        self.epoch = epoch
        self.round = round
        return self

    def __reduce__(self) -> tuple[type[SampleIndex], tuple[int, int, int]]:
        return type(self), (int(self), self.epoch, self.round)
