"""Write JSON schemas of option files, for editors, and tables of all options."""

from __future__ import annotations

import argparse
import json
import os
import re
from pathlib import Path

from basicsr_plugin.errors import UserError
from basicsr_plugin.names import nearest
from basicsr_plugin.shipped_options import EDITOR_LINE
from basicsr_plugin.start_up import load_basicsr

__all__ = ['add_arguments', 'run']

EXAMPLES = """\
examples:
  basicsr schema -o options/schema
  basicsr schema -o options/schema --markdown docs/options.md --mark options

An editor with a YAML language server checks and completes an option file whose first line is
  # yaml-language-server: $schema=schema/MODEL_TYPE.json
--mark writes that line.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `basicsr schema`."""
    parser.epilog = EXAMPLES
    parser.add_argument('model_type', nargs='?', help='one model type only')
    parser.add_argument('-o', '--output', type=Path, default=Path('schema'), metavar='FOLDER', help='default: ./schema')
    parser.add_argument('--markdown', type=Path, metavar='FILE', help='also write tables of all options')
    parser.add_argument('--mark', type=Path, metavar='FOLDER', help='also name the schema in each option file in it')
    parser.add_argument('--plugin', action='append', default=[], metavar='MODULE', help='import MODULE first')


def run(args: argparse.Namespace) -> int:
    """Writes one schema for each model type with typed options, and one of the blocks they have in common."""
    load_basicsr(args.plugin)
    from basicsr_plugin.option_tables import option_tables
    from basicsr_plugin.schema import PARTS, option_schemas

    schemas = option_schemas()
    wanted = f'{args.model_type}.json'
    if args.model_type and wanted not in schemas:
        names = [name.removesuffix('.json') for name in schemas if name != PARTS]
        raise UserError(f"no model type '{args.model_type}' with typed options{nearest(args.model_type, names)}")
    args.output.mkdir(parents=True, exist_ok=True)
    for name, schema in schemas.items():
        if not args.model_type or name in (wanted, PARTS):
            path = args.output / name
            path.write_text(json.dumps(schema, indent=1, ensure_ascii=False) + '\n', encoding='utf-8')
            print(path)
    if args.markdown:
        args.markdown.write_text(option_tables(schemas), encoding='utf-8')
        print(args.markdown)
    for path in _mark(args.mark, args.output) if args.mark else []:
        print(path)
    return 0


def _mark(folder: Path, schemas: Path) -> list[Path]:
    """Names the schema in the first line of each option file that has one; returns the files that changed."""
    changed = []
    for path in sorted(folder.rglob('*.yml')):
        text = path.read_text(encoding='utf-8')
        model_type = re.search(r'^model_type: *(\w+)', text, re.MULTILINE)
        schema = schemas / f'{model_type[1]}.json' if model_type else None
        if schema is None or not schema.is_file():
            continue
        line = f'{EDITOR_LINE}{Path(os.path.relpath(schema, path.parent)).as_posix()}\n'
        rest = text.partition('\n')[2] if text.startswith(EDITOR_LINE) else text
        if line + rest != text:
            path.write_text(line + rest, encoding='utf-8')
            changed.append(path)
    return changed
