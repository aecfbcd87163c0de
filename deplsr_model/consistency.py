"""Checks that networks, data sets and the table of degradation types fit each other, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from basicsr.utils import get_root_logger
from basicsr.utils.registry import DATASET_REGISTRY

from basicsr_plugin.errors import OptionError
from deplsr_arch.protocols import TextEstimator
from deplsr_data.dataset_options import DatasetOptions
from deplsr_data.degradation.types import degradation_type_names
from deplsr_data.tokens import same_tokenizer, tokenize
from deplsr_model.options import Section

__all__ = ['check_tokens', 'check_type_count']


def check_type_count(network: object, where: str) -> int:
    """Returns how many degradation types a network has: the first of the registered ones.

    A network that was trained before a plug-in registered another type keeps working; the log names what it leaves out.

    Raises:
        OptionError: It has more than are registered; one line that begins with ``where``.
    """
    names = degradation_type_names()
    count = int(getattr(network, 'num_degradation_types', len(names)))
    if count > len(names):
        raise OptionError(
            f'{where}.num_degradation_types: expected at most {len(names)}, the registered degradation types '
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
    registered = dict(iter(DATASET_REGISTRY))
    for phase in phases:
        dataset = datasets[phase]
        options_class = getattr(registered.get(dataset['type']), 'options_class', object)
        if not issubclass(options_class, DatasetOptions):
            continue  # a data set without captions, or one of a plug-in, whose options are unknown here
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
