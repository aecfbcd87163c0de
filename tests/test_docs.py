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


def anchors(page: Path) -> set[str]:
    """Anchors of the headings of a page, as GitHub makes them."""
    headings = re.findall(r'^#+ (.*)$', page.read_text(encoding='utf-8'), re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', heading.strip().lower()).replace(' ', '-') for heading in headings}


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_links_to_sections_name_a_heading(page):
    found = re.findall(r'\]\(([^)\s#]*)#([^)\s]+)\)', page.read_text(encoding='utf-8'))
    own = [(page.parent / target if target else page, anchor) for target, anchor in found if '://' not in target]
    assert [anchor for target, anchor in own if anchor not in anchors(target)] == []


@pytest.mark.parametrize('page', [page for page in PAGES if page.name != 'CHANGELOG.md'], ids=lambda page: page.name)
def test_files_named_in_commands_and_text_are_there(page):
    text = page.read_text(encoding='utf-8')
    named = re.findall(r'\b((?:options|benchmarks|deplsr_\w+|basicsr_plugin)/[\w/.-]+\.(?:yml|py))\b', text)
    assert [path for path in named if not (ROOT / path).exists()] == []
