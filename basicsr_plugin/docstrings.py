"""Extracts descriptions of options from Google-style docstrings."""

from __future__ import annotations

import inspect
import re

__all__ = ['descriptions', 'summary']

_YAML = {'None': '~', 'True': 'true', 'False': 'false'}


def summary(thing: object) -> str:
    """Returns the first paragraph of a docstring as one line of Markdown."""
    return _plain((inspect.getdoc(thing) or '').partition('\n\n')[0])


def descriptions(cls: object, section: str) -> dict[str, str]:
    """Returns what a docstring writes about each name, those of base classes included.

    Args:
        cls: A class or function.
        section: ``Attributes`` or ``Args``.

    Returns:
        One line of Markdown by name.
    """
    found: dict[str, str] = {}
    for part in reversed(inspect.getmro(cls) if inspect.isclass(cls) else (cls,)):
        found.update(_entries(inspect.cleandoc(vars(part).get('__doc__') or ''), section))
    return found


def _entries(docstring: str, section: str) -> dict[str, str]:
    match = re.search(rf'^{section}:\n((?:[ ]+\S.*\n?|\s*\n)+)', docstring, re.MULTILINE)
    if not match:
        return {}
    entries: dict[str, str] = {}
    names: list[str] = []
    indent = len(match[1]) - len(match[1].lstrip(' '))
    for line in match[1].splitlines():
        start = re.match(rf' {{{indent}}}(\*{{0,2}}\w[\w, ]*?)(?: \(.*?\))?:\s*(.*)', line)
        if start:
            names = [name.strip('* ') for name in start[1].split(',')]
            entries.update(dict.fromkeys(names, start[2]))
        else:
            entries.update({name: f'{entries[name]} {line.strip()}' for name in names})
    return {name: _plain(text) for name, text in entries.items()}


def _plain(text: str) -> str:
    """Replaces Sphinx roles and double backticks by Markdown code, and Python's constants by YAML's."""
    text = re.sub(r':mod:`~?([\w.]+)`', r'`\1`', text)
    text = re.sub(r':\w+:`~?(?:[\w.]+\.)?(\w+)`', r'`\1`', text)
    text = re.sub(r'(?<![\w`.=])(None|True|False)(?![\w`.])', r'`\1`', text.replace('``', '`'))
    text = re.sub('`(None|True|False)`', lambda match: f'`{_YAML[match[1]]}`', text)
    return ' '.join(text.split())
