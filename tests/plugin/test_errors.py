from __future__ import annotations

from basicsr_plugin.errors import cause, first_line


def test_an_error_is_shortened_to_its_first_line():
    error = ValueError('\n expected 3\nand much more')
    assert first_line(error) == 'expected 3'
    assert first_line(error, with_type=True) == 'ValueError: expected 3'


def test_an_error_without_a_message_is_named_by_its_class():
    for line in (first_line(AssertionError()), first_line(AssertionError(), with_type=True), cause(AssertionError())):
        assert line == 'AssertionError'
