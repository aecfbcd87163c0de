from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from basicsr_plugin import cli
from basicsr_plugin.compat import apply_fixes
from basicsr_plugin.docstrings import descriptions
from basicsr_plugin.option_tables import option_tables
from basicsr_plugin.options import SetWhenRead, TypedBlock
from basicsr_plugin.parse_options import read_yaml
from basicsr_plugin.schema import PARTS, option_schemas
from basicsr_plugin.shipped_options import EDITOR_LINE

jsonschema = pytest.importorskip('jsonschema')
apply_fixes()

ROOT = Path(__file__).parents[2]
FILES = sorted(path.relative_to(ROOT) for path in ROOT.glob('options/**/*.yml'))


@dataclass(frozen=True, kw_only=True)
class SoftRecipe:
    """A recipe.

    Attributes:
        strength: How much, in percent.
    """

    type: Literal['soft'] = 'soft'
    strength: Annotated[float, Field(ge=0, le=100)] = 10


@dataclass(frozen=True, kw_only=True)
class HardRecipe:
    """A recipe."""

    type: Literal['hard'] = 'hard'
    steps: tuple[int, int] = (1, 2)


@dataclass(frozen=True, kw_only=True)
class ToyDataOptions:
    """Options of ToyData.

    Attributes:
        dataroot_gt: Folder of images,
            with its subfolders.
        recipe: What is drawn.
    """

    name: str
    type: str
    phase: Annotated[str, SetWhenRead()]
    scale: int
    dataroot_gt: str
    recipe: Annotated[dict[str, Any] | None, TypedBlock({'soft': SoftRecipe, 'hard': HardRecipe}, 'soft')] = None


@dataclass(frozen=True, kw_only=True)
class ToyPath:
    log: Annotated[str | None, SetWhenRead()] = None
    pretrain_network_g: str | None = None


@dataclass(frozen=True, kw_only=True)
class ToyTrain:
    total_iter: Annotated[float, Field(gt=0)]
    pixel_opt: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class ToyOptions:
    """Options of ToyModel.

    Attributes:
        name: Name of the run; see :class:`~somewhere.Run` and ``experiments``.
    """

    name: str
    model_type: str
    num_gpu: int
    datasets: Mapping[str, Any]
    network_g: Mapping[str, Any]
    path: ToyPath = field(default_factory=ToyPath)
    train: ToyTrain | None = None
    is_train: Annotated[bool, SetWhenRead()] = True


class ToyData:
    """Toy images."""

    options_class = ToyDataOptions


class ToyModel:
    """A toy.

    More about it.
    """

    options_class = ToyOptions


class ToyNet:
    """A network.

    Args:
        width: Channels.
        mode: How it works,
            slowly: or not.
        bias: None for ``False``, see :mod:`torch.nn`.
    """

    def __init__(
        self, width: int, sizes: Sequence[int] = (8, 32), mode: Literal['a', 'b'] = 'a', bias: bool | None = None
    ) -> None: ...


class UntypedNet:
    def __init__(self, width, depth=2): ...


def toy_metric(img: float, img2: float, weight: float = 1.0) -> None: ...


@pytest.fixture
def schemas(monkeypatch):
    from basicsr.utils import registry

    contents = {'MODEL': [ToyModel], 'DATASET': [ToyData], 'ARCH': [ToyNet, UntypedNet], 'METRIC': [toy_metric]}
    for name, members in {**contents, 'LOSS': []}.items():
        one = getattr(registry, f'{name}_REGISTRY')
        monkeypatch.setattr(one, '_obj_map', {member.__name__: member for member in members})
    return option_schemas()


def errors(schemas, opt):
    """Places and messages of what a schema finds wrong."""
    from referencing import Registry, Resource

    registry = Registry().with_resources([(name, Resource.from_contents(one)) for name, one in schemas.items()])
    schema = schemas[f'{opt["model_type"]}.json']
    for one in schemas.values():
        jsonschema.Draft202012Validator.check_schema(one)
    found = jsonschema.Draft202012Validator(schema, registry=registry).iter_errors(json.loads(json.dumps(opt)))
    return ['.'.join(map(str, error.absolute_path)) + ': ' + error.message for error in found]


def options(**changes):
    opt = {
        'name': 'run',
        'model_type': 'ToyModel',
        'num_gpu': 'auto',
        'datasets': {'train': {'name': 'toy', 'type': 'ToyData', 'dataroot_gt': 'gt', 'recipe': {'strength': 3}}},
        'network_g': {'type': 'ToyNet', 'width': 3, 'sizes': [4, 4]},
        'train': {'total_iter': 1e3, 'pixel_opt': {'type': 'L1Loss'}},
    }
    for path, value in changes.items():
        *parents, last = path.split('__')
        section = opt
        for parent in parents:
            section = section[parent]
        section[last] = value
    return opt


def test_good_options_fit_the_schema(schemas):
    assert sorted(schemas) == ['ToyModel.json', PARTS]
    assert errors(schemas, options()) == []
    assert errors(schemas, options(num_gpu=0, datasets__train__recipe={'type': 'hard', 'steps': [3, 4]})) == []
    assert errors(schemas, options(datasets__val_2={'name': 'a', 'type': 'Stock', 'anything': 1})) == []
    assert errors(schemas, options(network_g={'type': 'UntypedNet', 'anything': 1})) == []


@pytest.mark.parametrize(
    ('changes', 'line'),
    [
        ({'nam': 'x'}, ": Additional properties are not allowed ('nam' was unexpected)"),
        ({'is_train': True}, ": Additional properties are not allowed ('is_train' was unexpected)"),
        ({'path': {'log': 'x'}}, "path: Additional properties are not allowed ('log' was unexpected)"),
        ({'num_gpu': 'all'}, "num_gpu: 'all' is not valid under any of the given schemas"),
        ({'train__total_iter': 0}, 'train'),
        ({'train__pixel_opt': {'weight': 1}}, 'train'),
        ({'datasets__training': {}}, "datasets: 'training' does not match any of the regexes"),
        ({'datasets__train__phase': 'train'}, "datasets.train: Additional properties are not allowed ('phase'"),
        ({'datasets__train__recipe': {'strength': 101}}, 'datasets.train.recipe'),
        ({'datasets__train__recipe': {'type': 'hard', 'strength': 1}}, 'datasets.train.recipe'),
        ({'datasets__train__recipe': {'type': 'odd'}}, 'datasets.train.recipe'),
        ({'network_g__widht': 3}, "network_g: Additional properties are not allowed ('widht' was unexpected)"),
        ({'network_g': {'type': 'ToyNet'}}, "network_g: 'width' is a required property"),
        ({'network_g__mode': 'c'}, "network_g.mode: 'c' is not one of ['a', 'b']"),
    ],
)
def test_each_mistake_is_found(schemas, changes, line):
    found = errors(schemas, options(**changes))
    assert len(found) == 1
    assert found[0].startswith(line)


def test_descriptions_come_from_the_docstrings_as_markdown(schemas):
    assert descriptions(ToyNet, 'Args') == {
        'width': 'Channels.',
        'mode': 'How it works, slowly: or not.',
        'bias': '`~` for `false`, see `torch.nn`.',
    }
    page = option_tables(schemas)
    assert '- `ToyModel`: A toy.\n' in page
    assert '| `name` | text | required | Name of the run; see `Run` and `experiments`. |' in page
    assert '| `dataroot_gt` | text | required | Folder of images, with its subfolders. |' in page
    assert '| `sizes` | a list | `[8, 32]` |  |' in page
    assert '| `bias` | true or false | `~` | `~` for `false`, see `torch.nn`. |' in page
    assert '`is_train`' not in page


def test_a_section_links_to_its_table_and_each_block_of_a_type_has_its_own(schemas):
    page = option_tables(schemas)
    headings = [line for line in page.splitlines() if line.startswith('#')]
    links = re.findall(r'\| `(\w+)` \| \[a mapping\]\(#(.*?)\)', page)
    assert links == [
        ('datasets', 'datasets'),
        ('network_g', 'networks-network_'),
        ('path', 'path'),
        ('train', 'train'),
        ('recipe', 'datasetsrecipe'),
    ]
    for heading in ('## `datasets.*`', '## Networks: `network_*`', '## `path`', '## `datasets.*.recipe`', '### `hard`'):
        assert heading in headings
    assert '| `pixel_opt` | a mapping |' in page  # no loss is registered, so none has a table
    soft = page.partition('### `soft`')[2].partition('###')[0]
    assert '| `strength` | a number >= 0 and <= 100 | `10` | How much, in percent. |\n' in soft
    assert 'steps' not in soft


def test_an_unknown_model_type_is_one_line(workplace, capsys):
    assert cli.main(['schema', 'DePLSRModle']) == 2
    assert capsys.readouterr().err == (
        "basicsr: error: no model type 'DePLSRModle' with typed options; did you mean 'DePLSRModel'?\n"
    )


@pytest.fixture(scope='module')
def generated(tmp_path_factory):
    """A folder like the repository's in which the command has written; in a process that registers nothing else."""
    root = tmp_path_factory.mktemp('generated')
    shutil.copytree(ROOT / 'options', root / 'options')
    arguments = ['schema', '-o', 'options/schema', '--markdown', 'options.md', '--mark', 'options']
    code = [sys.executable, '-m', 'basicsr_plugin.cli', *arguments]
    subprocess.run(code, cwd=root, env={**os.environ, 'PYTHONPATH': str(ROOT)}, check=True)
    return root


def read_schemas(folder):
    return {path.name: json.loads(path.read_text(encoding='utf-8')) for path in folder.glob('options/schema/*.json')}


def test_written_schemas_and_tables_are_up_to_date(generated):
    assert read_schemas(ROOT) == read_schemas(generated), 'run make schema'
    assert sum(path.stat().st_size for path in ROOT.glob('options/schema/*.json')) < 175_000
    assert (ROOT / 'docs/options.md').read_text() == (generated / 'options.md').read_text(), 'run make schema'


@pytest.mark.parametrize('file', FILES, ids=str)
def test_shipped_option_files_name_their_schema_and_fit_it(file, generated):
    schemas, opt = read_schemas(generated), read_yaml(str(ROOT / file))
    assert (ROOT / file).read_text() == (generated / file).read_text(), 'run make schema'
    if f'{opt["model_type"]}.json' in schemas:  # none for a model of BasicSR
        first = (generated / file).read_text().partition('\n')[0]
        schema = (generated / file).parent / first.removeprefix(EDITOR_LINE)
        assert schema.resolve() == generated / 'options' / 'schema' / f'{opt["model_type"]}.json'
        assert errors(schemas, opt) == []


def test_a_mistake_in_a_shipped_option_file_is_found(generated):
    opt = read_yaml(str(ROOT / 'options/train_deplsr_x4.yml'))
    opt['network_g']['embed_dm'] = 60
    assert errors(read_schemas(generated), opt) == [
        "network_g: Additional properties are not allowed ('embed_dm' was unexpected)"
    ]
