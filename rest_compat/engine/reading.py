"""Text and JSON as values for GraphQL's types. What cannot be read is passed on: coercion then says why not."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from graphql import (
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLScalarType,
    get_nullable_type,
    is_required_input_field,
)

from rest_compat.engine.call import parse_json
from rest_compat.engine.errors import Refusal, invalid
from rest_compat.engine.schema import scalar_schema

_INTEGER = re.compile(r"-?\d{1,20}")
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")
_WORDS = {"true": True, "false": False}


def named_type(type: GraphQLInputType) -> Any:
    """The type without its wrappers."""
    while isinstance(type, GraphQLNonNull | GraphQLList):
        type = type.of_type
    return type


def is_list(type: GraphQLInputType) -> bool:
    """Whether values of the type are lists."""
    return isinstance(get_nullable_type(type), GraphQLList)


def text_reader(type: GraphQLInputType, split: str | None) -> Callable[[Sequence[str]], Any]:
    """Reads the texts a parameter has into a value of `type`. Of a single value the last text counts."""
    read = _one_reader(named_type(type))
    if not is_list(type):
        return lambda texts: read(texts[-1])
    if split is None:
        return lambda texts: [read(text) for text in texts]
    return lambda texts: [read(part) for text in texts for part in text.split(split) if part]


def _one_reader(type: Any) -> Callable[[str], Any]:
    if isinstance(type, GraphQLInputObjectType):
        return _json
    if not isinstance(type, GraphQLScalarType):
        return str  # the name of an enum value
    kind = scalar_schema(type).get("type")
    if kind == "integer":
        return _integer
    if kind == "number":
        return _number
    if kind == "boolean":
        return lambda text: _WORDS.get(text, text)
    return str if kind == "string" else _json


def _integer(text: str) -> Any:
    return int(text) if _INTEGER.fullmatch(text) else text


def _number(text: str) -> Any:
    return float(text) if _NUMBER.fullmatch(text) else text


def _json(text: str) -> Any:
    """JSON, or the text itself."""
    try:
        return parse_json(text.encode())
    except Refusal:
        return text


def nested(values: Mapping[str, Sequence[str]], name: str) -> dict[str, Any] | None:
    """What `name[a][b]=c` spells, or None."""
    found: dict[str, Any] = {}
    for key, texts in values.items():
        steps = _steps(key, name)
        if not steps:
            continue
        inner = found
        for step in steps[:-1]:
            inner = inner.setdefault(step, {})
            if not isinstance(inner, dict):
                raise invalid(key, f"{key} contradicts another parameter")
        inner[steps[-1]] = _json(texts[-1])
    return found or None


def _steps(key: str, name: str) -> list[str]:
    if not key.startswith(f"{name}[") or not key.endswith("]"):
        return []
    return key[len(name) + 1 : -1].split("][")[:10]


# JSON bodies.


def body_reader(type: GraphQLInputType, *, prune: bool) -> Callable[[Any, str], Any] | None:
    """What must be done to a JSON value before GraphQL coerces it, or None for nothing.

    A lone value is no list (GraphQL would make one of it), and where a dialect ignores unknown fields they are
    taken out (GraphQL would refuse them).
    """
    bare: Any = get_nullable_type(type)
    if isinstance(bare, GraphQLList):
        inner = body_reader(bare.of_type, prune=prune)
        return lambda value, path: _list(value, path, inner)
    if isinstance(bare, GraphQLInputObjectType):
        fields = {name: field.type for name, field in bare.fields.items()}
        readers: dict[str, Callable[[Any, str], Any] | None] = {}
        return lambda value, path: _object(value, path, fields, readers, prune)
    return None


def _list(value: Any, path: str, inner: Callable[[Any, str], Any] | None) -> Any:
    if value is None:
        return None
    if not isinstance(value, list):
        raise invalid(path or None, f"{path or 'the body'} must be a list")
    if inner is None:
        return value
    return [inner(part, f"{path}.{index}".lstrip(".")) for index, part in enumerate(value)]


def _object(
    value: Any,
    path: str,
    fields: Mapping[str, GraphQLInputType],
    readers: dict[str, Callable[[Any, str], Any] | None],
    prune: bool,
) -> Any:
    if not isinstance(value, dict):
        return value
    read = {}
    for name, part in value.items():
        type = fields.get(name)
        if type is None:
            if not prune:
                read[name] = part
            continue
        if name not in readers:
            readers[name] = body_reader(type, prune=prune)
        reader = readers[name]
        read[name] = part if reader is None else reader(part, f"{path}.{name}".lstrip("."))
    return read


def input_field(type: GraphQLInputType, steps: Sequence[str]) -> tuple[GraphQLInputType, bool] | None:
    """The type of a part of an input object and whether it is required, or None where there is no such part."""
    current: Any = type
    required = isinstance(type, GraphQLNonNull)
    for step in steps:
        current = get_nullable_type(current)
        if not isinstance(current, GraphQLInputObjectType) or step not in current.fields:
            return None
        field = current.fields[step]
        required = is_required_input_field(field)
        current = field.type
    return current, required
