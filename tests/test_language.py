"""The project speaks the field's language: words that a practitioner would have to learn from us are not used."""

from __future__ import annotations

import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: Words of text (docstrings, comments, messages, docs), each with what to write in its place.
WORDS = {
    r'mend(s|ed|ing)?': 'fix, patch or hint',
    r'pictures?': 'image',
    r'gives': 'returns',
    r'anew': 'again',
    r'beside': 'next to, compared with',
    r'yardsticks?': 'baseline',
    r'stead': 'instead',
    r'lacking': 'missing',
    r'levers?': 'ablation',
    r'arms?': 'variant',
    r'squash(ed|es)?': 'resized without keeping the aspect ratio',
    r'by turns': 'alternately',
    r'but for': 'except for',
    r'passed over': 'skipped',
    r'(goes|go|gone|going) on': 'resumes, continues',
    r'(is|are|was) told': 'is conditioned on',
    r'read off': 'estimated from',
    r'as read': 'as estimated',
    r'held against': 'compared with',
    r'kinds?': 'type',
    r'said': 'named, stated',
    r'noted': 'recorded',
    r'(says|tells|knows|asks)': 'states, returns, checks',
    r'cut short': 'truncated',
    r'stands? in for': 'replaces',
}
#: Parts of identifiers and option keys.
PARTS = {
    'mend': 'fix',
    'picture': 'image',
    'pictures': 'images',
    'kind': 'degradation_type',
    'kinds': 'degradation_types',
    'words': 'text, captions',
    'said': 'parsed',
    'reading': 'estimate',
    'readings': 'estimates',
    'stead': 'instead',
    'lacking': 'missing',
    'lever': 'ablation',
    'levers': 'ablations',
    'arm': 'variant',
    'arms': 'variants',
    'yardstick': 'baseline',
    'squashed': 'resized',
}
#: What is allowed all the same: (file, word).
EXCEPTIONS = {
    # the field of records of version 0.1
    ('deplsr_data/degradation/steps.py', 'kind'),
    ('tests/data/commands/test_synthesize.py', 'kind'),
    ('tests/data/degradation/test_records.py', 'kind'),
    ('tests/data/test_captioned_pair_dataset.py', 'kind'),
    ('basicsr_plugin/signatures.py', 'kind'),  # an attribute of inspect.Parameter
    ('tests/test_language.py', '*'),  # names them all
    ('CHANGELOG.md', '*'),  # names what was renamed
    ('deplsr_data/ops/filter_resize_batch.py', 'kind'),  # an argument of numpy's argsort
}


def tracked(*patterns: str) -> list[str]:
    return subprocess.check_output(['git', 'ls-files', *patterns], cwd=ROOT, text=True).split()


def allowed(file: str, word: str) -> bool:
    return (file, '*') in EXCEPTIONS or (file, word) in EXCEPTIONS


def words_in(file: str, number: int, text: str) -> Iterator[str]:
    for word, better in WORDS.items():
        for found in re.finditer(rf'\b{word}\b', text, re.IGNORECASE):
            if not allowed(file, found[0].lower()):
                line = number + text[: found.start()].count('\n')
                yield f"{file}:{line}: '{found[0]}'; write {better}"


def parts_in(file: str, number: int, identifier: str) -> Iterator[str]:
    for part in re.findall(r'[A-Z]+(?![a-z])|[A-Z]?[a-z]+', identifier):
        if part.lower() in PARTS and not allowed(file, part.lower()):
            yield f"{file}:{number}: '{identifier}'; write {PARTS[part.lower()]}"


@pytest.mark.parametrize('file', tracked('*.py'))
def test_code_uses_the_terms_of_the_field(file):
    problems = []
    tokens = tokenize.generate_tokens(io.StringIO((ROOT / file).read_text(encoding='utf-8')).readline)
    for token in tokens:
        if token.type in (tokenize.STRING, tokenize.COMMENT):
            problems += words_in(file, token.start[0], token.string)
        elif token.type == tokenize.NAME:
            problems += parts_in(file, token.start[0], token.string)
    assert problems == []


@pytest.mark.parametrize('file', tracked('*.md', '*.yml', 'Makefile', '*.toml'))
def test_pages_and_option_files_use_the_terms_of_the_field(file):
    assert list(words_in(file, 1, (ROOT / file).read_text(encoding='utf-8'))) == []
