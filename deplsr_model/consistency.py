"""Checks that networks, data sets, checkpoints and the degradation types fit each other, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from basicsr.utils import get_root_logger
from basicsr.utils.registry import DATASET_REGISTRY

from basicsr_plugin.errors import OptionError
from deplsr_arch.protocols import TextEstimator
from deplsr_data.dataset_options import DatasetOptions
from deplsr_data.degradation.level_tables import LevelName, LevelTable
from deplsr_data.tokens import same_tokenizer, tokenize
from deplsr_model.checkpoint import recorded_levels
from deplsr_model.options import Section

__all__ = ['check_checkpoint_levels', 'check_levels', 'check_tokens', 'check_type_count']


def check_type_count(network: object, where: str, table: LevelTable) -> int:
    """Returns how many degradation types a network has: the first of the table.

    A network that was trained with fewer types keeps working; the log names what it leaves out.

    Raises:
        OptionError: It has more than the table; one line that begins with ``where``.
    """
    names = table.names
    count = int(getattr(network, 'num_degradation_types', len(names)))
    if count > len(names):
        raise OptionError(
            f'{where}.num_degradation_types: expected at most {len(names)}, the types of {table.name} levels '
            f'({", ".join(names)}), got {count}; set it to {len(names)}, or name the plug-in that registers more'
        )
    if count < len(names):
        get_root_logger().info(
            f'{where} has {count} of {len(names)} degradation types, without {", ".join(names[count:])} '
            f'(num_degradation_types: {len(names)} includes all)'
        )
    return count


def check_tokens(datasets: Mapping[str, Section], phases: Iterable[str], adaptor: TextEstimator) -> None:
    """Checks that the data sets tokenize captions as the text tower of the adaptor needs them.

    Args:
        datasets: Section ``datasets`` of the option file.
        phases: Keys of the data sets whose tokens are used.
        adaptor: The network that embeds the tokens.

    Raises:
        OptionError: One line that names the first option that differs.
    """
    for phase, dataset in _captioned(datasets, phases):
        tokenizer = dataset.get('tokenizer') or DatasetOptions.tokenizer
        if not same_tokenizer(tokenizer, adaptor.tokenizer):
            raise OptionError(
                f"datasets.{phase}.tokenizer: expected '{adaptor.tokenizer}', that of network_da, got '{tokenizer}'; "
                f'set it to {adaptor.tokenizer}'
            )
        length = dataset.get('context_length') or tokenize([''], tokenizer).shape[1]
        if length != adaptor.context_length:
            raise OptionError(
                f'datasets.{phase}.context_length: expected {adaptor.context_length}, that of network_da, got '
                f'{length}; set it to {adaptor.context_length}'
            )


def check_levels(datasets: Mapping[str, Section], levels: LevelName) -> None:
    """Checks that the data sets name the same levels as the run.

    Args:
        datasets: Section ``datasets`` of the option file.
        levels: Option ``levels`` of the top level.

    Raises:
        OptionError: One line that names the first option that differs.
    """
    for phase, dataset in _captioned(datasets, datasets):
        given = dataset.get('levels') or DatasetOptions.levels
        if given != levels:
            raise OptionError(
                f'datasets.{phase}.levels: expected {levels}, the levels at the top level, got {given}; '
                f'set levels: {given} at the top level, or levels: {levels} here'
            )


def check_checkpoint_levels(path: str, levels: LevelName, where: str = 'path.pretrain_network_da') -> None:
    """Checks that a degradation estimator was trained to estimate the levels of the run.

    Args:
        path: Its checkpoint.
        levels: Option ``levels`` of the top level.
        where: The option that names the checkpoint.

    Raises:
        OptionError: It was trained for others; one line.
        UserError: The file cannot be read; one line.
    """
    found = recorded_levels(path, where)
    if found != levels:
        raise OptionError(
            f'{where}: expected an estimator of {levels} levels, got one of {found} levels in {path}; set levels: '
            f'{found} at the top level and in the data sets, or train it again'
        )


def _captioned(datasets: Mapping[str, Section], phases: Iterable[str]) -> Iterator[tuple[str, Section]]:
    """Yields phase and options of our data sets; those of plug-ins, whose options are unknown here, are left out."""
    registered = dict(iter(DATASET_REGISTRY))
    for phase in phases:
        options_class = getattr(registered.get(datasets[phase]['type']), 'options_class', object)
        if issubclass(options_class, DatasetOptions):
            yield phase, datasets[phase]
