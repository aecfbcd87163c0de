"""Authors and licences of the photos that the presets were trained on."""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path

from basicsr_plugin.atomic import write_file

__all__ = ['ATTRIBUTION', 'licences_of', 'write_attribution']

ATTRIBUTION = 'training_photos.tsv'
_COLUMNS = {
    'photo': 'file', 'title': 'wikimedia_commons_title', 'author': 'author', 'licence': 'licence', 'source': 'source',
    'file in source': 'file_in_source',
}  # fmt: skip


def training_photos(manifest: Path) -> list[dict[str, str]]:
    """The lines of the training photos in ``manifest.tsv``; crops of one photo share a ``group``."""
    with manifest.open(encoding='utf-8', newline='') as file:
        return [row for row in csv.DictReader(file, delimiter='\t') if row['split'] == 'train']


def licences_of(manifest: Path) -> dict[str, int]:
    """Number of training photos by licence, the most frequent first; crops of one photo count once."""
    groups = {row['group']: row['licence'] for row in training_photos(manifest)}
    return dict(sorted(Counter(groups.values()).items(), key=lambda item: (-item[1], item[0])))


def write_attribution(manifest: Path, folder: Path) -> None:
    """Writes ``training_photos.tsv``: every training photo with author, source and licence."""
    out = io.StringIO()
    table = csv.writer(out, delimiter='\t', lineterminator='\n')
    table.writerow(_COLUMNS)
    seen: set[str] = set()
    for row in training_photos(manifest):
        if row['group'] not in seen:
            seen.add(row['group'])
            table.writerow([row['group'], *[row[key] for key in list(_COLUMNS.values())[1:]]])
    write_file(str(folder / ATTRIBUTION), out.getvalue().encode())
