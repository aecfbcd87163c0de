"""JSON schemas of option files, one for each model type, from the typed options of what is registered.

A model or data set is described by the dataclass in its attribute ``options_class``, or in
:mod:`basicsr_plugin.stock_datasets`, a network, loss or metric by its signature. A class without types may have any
keys. What several model types have in common is
in one file, :data:`PARTS`, which the others refer to.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Collection, Iterable
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter
from pydantic.errors import PydanticUserError

from basicsr_plugin.docstrings import descriptions, summary
from basicsr_plugin.options import SetWhenRead, TypedBlock, dataclasses_in, option_adapter
from basicsr_plugin.signatures import named_parameters, takes_any_name
from basicsr_plugin.stock_checks import is_stock, stock_options

__all__ = ['PARTS', 'model_schema', 'option_schemas', 'parts_schema', 'typed_models']

Schema = dict[str, Any]
PARTS = 'registered.json'

_DRAFT = 'https://json-schema.org/draft/2020-12/schema'
_ANY_KEYS = ('additionalProperties', True)
_DATASETS = '^(train|val|test)(_.*)?$'


def option_schemas() -> dict[str, Schema]:
    """Returns all schemas by file name: one for each registered model with typed options, and :data:`PARTS`."""
    models = {f'{name}.json': model_schema(name, cls) for name, cls in typed_models().items()}
    return {**models, PARTS: parts_schema()}


def typed_models() -> dict[str, Any]:
    """Returns the registered models with typed options by name."""
    return _with_options('MODEL_REGISTRY')


def model_schema(name: str, model: Any) -> Schema:
    """Returns the schema of a model's option file."""
    root = _of_dataclass(model.options_class)
    properties, definitions = root['properties'], root.get('$defs', {})
    for key, section in properties.items():
        if key.startswith('network_'):
            _refer(section, 'network')
    properties['model_type'] = {**_described(properties['model_type']), 'const': name}
    if 'num_gpu' in properties:
        properties['num_gpu'] = {
            **_described(properties['num_gpu']),
            'anyOf': [{'type': 'integer', 'minimum': 0}, {'const': 'auto'}],
        }
    if 'datasets' in properties:
        blocks = {_DATASETS: {'$ref': f'{PARTS}#/$defs/dataset'}}
        properties['datasets'].update(type='object', patternProperties=blocks, additionalProperties=False)
    for key, value in _section(properties, definitions, 'train').get('properties', {}).items():
        if key.endswith('_opt'):
            _refer(value, 'loss')
    metrics = _section(properties, definitions, 'val').get('properties', {}).get('metrics')
    if metrics:
        _set_type(metrics, {'type': 'object', 'additionalProperties': {'$ref': f'{PARTS}#/$defs/metric'}})
    return {'$schema': _DRAFT, 'title': f'Option file of {name}', 'description': summary(model), **root}


def parts_schema() -> Schema:
    """Returns the schema of all blocks with a key ``type``: data sets, networks, losses and metrics."""
    datasets = {name: _dataset(name, cls) for name, cls in _with_options('DATASET_REGISTRY').items()}
    groups = {
        'dataset': datasets,
        'network': _from_signatures('ARCH_REGISTRY'),
        'loss': _from_signatures('LOSS_REGISTRY'),
        'metric': _from_signatures('METRIC_REGISTRY', given=('img', 'img2')),
    }
    for metric in groups['metric'].values():
        metric['properties']['better'] = {'enum': ['higher', 'lower'], 'description': 'Which value counts as the best.'}
    definitions: Schema = {}
    for group, members in groups.items():
        for schema in members.values():
            definitions.update(schema.pop('$defs', {}))
        definitions[group] = _block(members, members)
        definitions.update(members)
    return {'$schema': _DRAFT, 'title': 'Blocks with a key type', '$defs': definitions}


def _registry(name: str) -> Any:
    from basicsr.utils import registry

    return getattr(registry, name)


def _with_options(registry: str) -> dict[str, Any]:
    found = {
        name.removesuffix('_basicsr'): cls
        for name, cls in _registry(registry)
        if dataclasses.is_dataclass(_options_class(cls))
    }
    return dict(sorted(found.items()))


def _options_class(cls: Any) -> Any:
    return getattr(cls, 'options_class', None) or stock_options('dataset', cls)


def _dataset(name: str, cls: Any) -> Schema:
    schema = _of_dataclass(_options_class(cls))
    if is_stock(cls):
        schema.pop('additionalProperties', None)  # BasicSR's data sets ignore keys that they do not read
    schema['required'] = [key for key in schema['required'] if key != 'scale']  # that of the run
    schema['properties']['type'] = {'const': name}
    return {'description': summary(cls), **schema}


def _of_dataclass(cls: Any) -> Schema:
    """The schema of a dataclass, its parts under ``$defs``, with descriptions from the docstrings."""
    schema = _reduced(option_adapter(cls).json_schema())
    definitions = schema.setdefault('$defs', {})
    for part in dataclasses_in(cls):
        target = schema if part is cls else definitions[part.__name__]
        texts, defaults = descriptions(part, 'Attributes'), _made_defaults(part)
        target.pop('description', None)
        target.setdefault('required', [])
        for key, hint in get_type_hints(part, include_extras=True).items():
            value = target['properties'].get(key)
            if value is None:
                continue
            if any(isinstance(extra, SetWhenRead) for extra in _metadata(hint)):
                _drop(target, key)
                continue
            for table in (extra for extra in _metadata(hint) if isinstance(extra, TypedBlock)):
                block = _typed_block(table, definitions)
                _set_type(value, {'type': 'array', 'items': block} if table.listed else block)
            if key in defaults:
                value.setdefault('default', defaults[key])
            if texts.get(key):
                value['description'] = texts[key]
    return schema


def _made_defaults(cls: Any) -> Schema:
    """The plain values of a dataclass's default factories, which pydantic leaves out of the schema."""
    made = {
        field.name: field.default_factory()
        for field in dataclasses.fields(cls)
        if field.default_factory is not dataclasses.MISSING
    }
    return {key: value for key, value in made.items() if isinstance(value, (dict, list))}


def _metadata(hint: Any) -> Iterable[Any]:
    return getattr(hint, '__metadata__', ())


def _typed_block(block: TypedBlock, definitions: Schema) -> Schema:
    """The schema of a block whose key ``type`` names one of several dataclasses, which go to the definitions."""
    members = {}
    for name, entry in block.table.items():
        cls = getattr(entry, 'options_class', entry)
        members[cls.__name__] = {'description': summary(cls), **_of_dataclass(cls)}
        if block.listed:
            _refer_to_base(members[cls.__name__]['properties'], cls.__mro__[1])
        members[cls.__name__]['properties']['type'] = {'const': name}
    for schema in members.values():
        definitions.update(schema.pop('$defs', {}))
    definitions.update(members)
    return _block(list(block.table), members, block.default)


def _refer_to_base(properties: Schema, base: Any) -> None:
    """Replaces inherited keys by references to the base class, so that nothing is described twice."""
    for field in dataclasses.fields(base):
        properties[field.name] = {'$ref': f'#/$defs/{base.__name__}/properties/{field.name}'}


def _block(type_names: Collection[str], definitions: Iterable[str], default: str | None = None) -> Schema:
    """A block whose key ``type`` selects a definition; without a default, another ``type`` may have any keys."""
    rules = []
    for type_name, definition in zip(type_names, definitions, strict=True):
        condition: Schema = {'properties': {'type': {'const': type_name}}}
        if type_name != default:
            condition['required'] = ['type']
        rules.append({'if': condition, 'then': {'$ref': f'#/$defs/{definition}'}})
    type_key: Schema = {'type': 'string', 'examples': list(type_names)}
    if default is not None:
        type_key = {'enum': list(type_names), 'default': default}
    required = [] if default is not None else ['type']
    block = {'type': 'object', 'properties': {'type': type_key}, 'required': required}
    return {**block, 'allOf': rules} if rules else block


def _from_signatures(registry: str, given: tuple[str, ...] = ()) -> dict[str, Schema]:
    """Schemas of registered classes and functions whose parameters all have types."""
    found = {}
    for name, registered in sorted(_registry(registry)):
        schema = _of_signature(name, registered, given)
        if schema is not None:
            found[name] = schema
    return found


def _of_signature(name: str, function: Callable[..., object], given: tuple[str, ...]) -> Schema | None:
    named = [one for one in named_parameters(function) if one.name not in given]
    if not named or any(one.annotation is one.empty for one in named):
        return None
    owner = function.__init__ if inspect.isclass(function) else function
    hints, texts = get_type_hints(owner, include_extras=True), descriptions(function, 'Args')
    definitions: Schema = {}
    properties: Schema = {'type': {'const': name}}
    for one in named:
        value = _of_hint(hints[one.name])
        definitions.update(value.pop('$defs', {}))
        if one.default is not one.empty:
            value['default'] = list(one.default) if isinstance(one.default, tuple) else one.default
        if texts.get(one.name):
            value['description'] = texts[one.name]
        properties[one.name] = value
    return {
        'description': summary(function),
        'type': 'object',
        'properties': properties,
        'required': ['type', *(one.name for one in named if one.default is one.empty)],
        'additionalProperties': takes_any_name(function),
        '$defs': definitions,
    }


def _of_hint(hint: Any) -> Schema:
    try:
        return _reduced(TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True)).json_schema())
    except PydanticUserError:  # a type that no option file can hold, such as a class
        return {}


def _section(properties: Schema, definitions: Schema, key: str) -> Schema:
    """The schema of a section that is a dataclass of its own."""
    section = properties.get(key, {})
    references = [section, *section.get('anyOf', [])]
    names = [part['$ref'].rpartition('/')[2] for part in references if '$ref' in part]
    return definitions[names[0]] if names else {}


def _drop(schema: Schema, key: str) -> None:
    del schema['properties'][key]
    if key in schema['required']:
        schema['required'].remove(key)


def _described(schema: Schema) -> Schema:
    return {key: schema[key] for key in ('description', 'default') if key in schema}


def _refer(schema: Schema, group: str) -> None:
    _set_type(schema, {'$ref': f'{PARTS}#/$defs/{group}'})


def _set_type(schema: Schema, new: Schema) -> None:
    """Replaces the type of an option; one that could be null still can."""
    optional = any(part.get('type') == 'null' for part in schema.get('anyOf', []))
    kept = _described(schema)
    schema.clear()
    schema.update({**kept, 'anyOf': [new, {'type': 'null'}]} if optional else {**kept, **new})


def _reduced(schema: Any) -> Any:
    """Removes titles, which pydantic makes of the names of keys, and permissions that are the default."""
    if isinstance(schema, list):
        return [_reduced(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if key != 'title' and (key, value) != _ANY_KEYS}
    return {
        key: {name: _reduced(part) for name, part in value.items()}
        if key in ('properties', '$defs')
        else value
        if key in ('default', 'enum', 'const')
        else _reduced(value)
        for key, value in kept.items()
    }
