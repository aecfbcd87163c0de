from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from basicsr_plugin.errors import Faults, OptionError, UserError
from basicsr_plugin.names import nearest
from basicsr_plugin.options import read_options


@dataclass(frozen=True)
class Inner:
    jpeg_range: tuple[float, float] = (30, 95)
    sigma: Annotated[float, Field(gt=0)] = 1.0

    def __post_init__(self):
        if self.jpeg_range[0] > self.jpeg_range[1]:
            raise ValueError(f'expected low <= high, got {list(self.jpeg_range)}; swap them')


@dataclass(frozen=True)
class Options:
    root: str
    size: Annotated[int, Field(ge=1)]
    view: Literal['resize', 'native'] = 'resize'
    inner: Inner = field(default_factory=Inner)
    maybe: Inner | None = None
    several: list[Inner] = field(default_factory=list)
    section: Mapping[str, Any] | None = None
    names: list[str] | None = None
    flag: bool = False


GOOD = {'root': 'gt', 'size': 4}


def test_good_options_become_a_frozen_dataclass():
    options = read_options(Options, {**GOOD, 'inner': {'jpeg_range': [10, 20]}, 'other': 1}, 'x', ignore=['other'])
    assert options == Options('gt', 4, inner=Inner((10.0, 20.0)))
    with pytest.raises(AttributeError):
        options.size = 5


@pytest.mark.parametrize(
    ('changes', 'line'),
    [
        ({'rot': 1}, "datasets.train: unknown key 'rot'; did you mean 'root'?"),
        ({'inner': {'jpg_range': 1}}, "datasets.train.inner: unknown key 'jpg_range'; did you mean 'jpeg_range'?"),
        ({'maybe': {'sigm': 1}}, "datasets.train.maybe: unknown key 'sigm'; did you mean 'sigma'?"),
        ({'several': [{}, {'q': 1}]}, "datasets.train.several[1]: unknown key 'q'"),
        ({'size': 0}, 'datasets.train.size: expected a number greater than or equal to 1, got 0'),
        ({'size': 'big'}, "datasets.train.size: expected a whole number, got 'big'"),
        ({'size': 1.5}, 'datasets.train.size: expected a whole number, got 1.5'),
        ({'root': None}, 'datasets.train.root: expected text, got nothing'),
        ({'view': 'nativ'}, "datasets.train.view: expected 'resize' or 'native', got 'nativ'; did you mean 'native'?"),
        ({'inner': 3}, 'datasets.train.inner: expected a mapping, got 3'),
        ({'section': [1]}, 'datasets.train.section: expected a mapping, got [1]'),
        ({'names': 'a'}, "datasets.train.names: expected a list, got 'a'"),
        ({'flag': 'x'}, "datasets.train.flag: expected true or false, got 'x'"),
        ({'inner': {'jpeg_range': 3}}, 'datasets.train.inner.jpeg_range: expected a list, got 3'),
        ({'inner': {'jpeg_range': [1, 2, 3]}}, 'datasets.train.inner.jpeg_range: expected 2 values, got [1, 2, 3]'),
        ({'inner': {'jpeg_range': ['a', 2]}}, "datasets.train.inner.jpeg_range[0]: expected a number, got 'a'"),
        (
            {'inner': {'jpeg_range': [95, 30]}},
            'datasets.train.inner: expected low <= high, got [95.0, 30.0]; swap them',
        ),
        ({'maybe': {'sigma': -1}}, 'datasets.train.maybe.sigma: expected a number greater than 0, got -1'),
    ],
)
def test_each_mistake_is_one_line(changes, line):
    with pytest.raises(OptionError) as error:
        read_options(Options, {**GOOD, **changes}, 'datasets.train')
    assert str(error.value) == line


def test_a_check_that_fails_on_a_value_with_a_fault_adds_nothing_and_any_other_failure_is_raised():
    faults = Faults()
    with pytest.raises(OverflowError), faults.caught():
        int(float('inf'))
    faults.add(['x: expected a finite number, got inf'])
    with faults.caught():
        int(float('inf'))
    with pytest.raises(OptionError, match=r'^x: expected a finite number, got inf$'):
        faults.raise_all()


def test_a_fault_has_the_place_that_it_is_renamed_to():
    faults = Faults(rename=lambda line: line.removeprefix('datasets.train.'))
    faults.add(['scale: expected 2, got 3'])
    with faults.caught():
        raise OptionError('datasets.train.scale: expected 2, got 4')
    with faults.caught():  # may follow from the fault that is known
        raise TypeError
    with pytest.raises(OptionError, match=r'^scale: expected 2, got 3$'):
        faults.raise_all()


def test_all_faults_are_listed_each_in_one_line():
    with pytest.raises(OptionError) as error:
        read_options(Options, {'flag': 'x', 'inner': {'sigma': -1, 'jpg_range': 3}}, '')
    assert str(error.value).splitlines() == [
        "inner: unknown key 'jpg_range'; did you mean 'jpeg_range'?",
        "options: missing key 'root'; expected text",
        "options: missing key 'size'; expected a whole number >= 1",
        'inner.sigma: expected a number greater than 0, got -1',
        "flag: expected true or false, got 'x'",
    ]


@pytest.mark.parametrize(
    ('changes', 'line'),
    [
        ({'size': '4'}, "x.size: expected a whole number >= 1, got '4'"),
        ({'size': True}, 'x.size: expected a whole number >= 1, got True'),
        ({'flag': 1}, 'x.flag: expected true or false, got 1'),
        ({'flag': 'yes'}, "x.flag: expected true or false, got 'yes'"),
        ({'inner': {'jpeg_range': [30, '95']}}, "x.inner.jpeg_range[1]: expected a number, got '95'"),
        ({'inner': {'sigma': float('nan')}}, 'x.inner.sigma: expected a finite number, got nan'),
        ({'several': [{'sigma': '1'}]}, "x.several[0].sigma: expected a number > 0, got '1'"),
    ],
)
def test_a_value_of_another_type_is_refused_and_never_converted(changes, line):
    with pytest.raises(OptionError) as error:
        read_options(Options, {**GOOD, **changes}, 'x')
    assert str(error.value) == line


def test_misspelt_key_comes_before_the_missing_key_that_it_explains():
    with pytest.raises(OptionError, match=r"^x: unknown key 'roots'; did you mean 'root'"):
        read_options(Options, {'roots': 'a', 'size': 1}, 'x')


def test_options_that_are_no_mapping_are_refused():
    with pytest.raises(OptionError, match=r'^val: expected a mapping of keys, got \[1\]'):
        read_options(Options, [1], 'val')


def test_nearest_name_is_found_whatever_the_case():
    assert nearest('fuseddat', ['FusedDAT', 'EDSR']) == "; did you mean 'FusedDAT'?"
    assert nearest('L1', ['L1Loss', 'MSELoss']) == "; did you mean 'L1Loss'?"
    assert nearest('xyz', ['FusedDAT']) == ''


class Failing:
    """A data set whose user made a mistake."""

    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise UserError('gt/0.png: expected an image, got a broken file: replace it')


def test_error_of_a_worker_comes_back_as_its_one_line():
    from torch.utils.data import DataLoader

    with pytest.raises(UserError) as error:
        list(DataLoader(Failing(), num_workers=1))
    assert str(error.value) == 'gt/0.png: expected an image, got a broken file: replace it'
