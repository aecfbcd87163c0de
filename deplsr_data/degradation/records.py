"""What was done to a photo, as data: typed, frozen, and exact as text.

A record is drawn once (:mod:`deplsr_data.degradation.sampling`); the image and its captions are both made from it, so
they cannot disagree.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, reduce
from operator import or_
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, GetCoreSchemaHandler, TypeAdapter, ValidationError
from pydantic_core import CoreSchema

from deplsr_data.degradation.operators import OPERATORS
from deplsr_data.degradation.steps import Blur, ChromaNoise, Codec, Jpeg, Noise, Resize, Sharpen, Sinc, Step

__all__ = [
    'Blur',
    'ChromaNoise',
    'Codec',
    'Jpeg',
    'Noise',
    'Record',
    'Resize',
    'Sharpen',
    'Sinc',
    'Step',
    'from_json',
    'to_json',
]


def _step_classes() -> tuple[type[Step], ...]:
    return tuple(operator.step for operator in OPERATORS.values())


class _AnyRegisteredStep:
    """Makes pydantic read a step as the registered class with its ``op``."""

    def __get_pydantic_core_schema__(self, source: type[Step], handler: GetCoreSchemaHandler) -> CoreSchema:
        union = reduce(or_, _step_classes())
        return handler.generate_schema(Annotated[union, Field(discriminator='op')])


@dataclass(frozen=True)
class Record:
    """All that happens between the clean photo and the LR image, in order.

    Attributes:
        scale: Size of the clean photo over that of the LR image.
        steps: The operators with their parameters, first to last.
        named: Which blur nominal levels name (:func:`deplsr_data.degradation.nominal.blur_level`): the ``first``, or
            the ``total`` of all.
    """

    scale: int
    steps: tuple[Annotated[Step, _AnyRegisteredStep()], ...]
    named: Literal['first', 'total'] = 'first'
    __pydantic_config__: ClassVar[ConfigDict] = Step.__pydantic_config__

    def __post_init__(self) -> None:
        if self.scale <= 0:
            raise ValueError(f'expected scale above 0, got {self.scale!r}')


@lru_cache(maxsize=2)
def _adapter(classes: tuple[type[Step], ...]) -> TypeAdapter[Record]:
    """Builds what reads and writes records; again when the registered step classes have changed."""
    return TypeAdapter(Record)


def _records() -> TypeAdapter[Record]:
    return _adapter(_step_classes())


def to_json(record: Record) -> str:
    """Writes a record as one line of JSON; :func:`from_json` returns an equal one."""
    return _records().dump_json(record).decode()


def from_json(text: str) -> Record:
    """Reads what :func:`to_json` wrote, also in version 0.1.

    Raises:
        ValueError: Not JSON, or not a record: an unknown operator or key, a wrong type, a value out of its range.
    """
    try:
        return _records().validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = '.'.join(str(part) for part in first['loc']) or 'text'
        raise ValueError(f'record.{where}: {first["msg"]}') from None
