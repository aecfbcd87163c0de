"""What the documentation points to is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob('*.md'), *ROOT.glob('docs/**/*.md')])


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page):
    targets = re.findall(r'\]\(([^)\s#]+)', page.read_text(encoding='utf-8'))
    missing = [t for t in targets if '://' not in t and not (page.parent / t).exists()]
    assert not missing


@pytest.mark.parametrize('page', [page for page in PAGES if page.name != 'CHANGELOG.md'], ids=lambda page: page.name)
def test_files_named_in_commands_and_text_are_there(page):
    text = page.read_text(encoding='utf-8')
    named = re.findall(r'\b((?:options|benchmarks|deplsr_\w+|basicsr_plugin)/[\w/.-]+\.(?:yml|py))\b', text)
    assert [path for path in named if not (ROOT / path).exists()] == []
