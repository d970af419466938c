"""Message templates: sentences with the variables of an operation in braces, `{id}` or `{input.name}`."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from graphql import GraphQLInputObjectType, GraphQLSchema, type_from_ast

from rest_compat.engine.documents import RouteDocument
from rest_compat.engine.reading import named_type, part_of
from rest_compat.engine.slots import default_of

_PART = re.compile(r"\{([A-Za-z_][A-Za-z0-9_.]*)\}")


def filled(document: RouteDocument, template: str, variables: Mapping[str, Any]) -> str:
    """The message with the values of the variables; nothing where one is null or absent."""
    defaults = {d.variable.name.value: default_of(d) for d in document.node.variable_definitions or ()}
    known = {**defaults, **variables}

    def value(match: re.Match[str]) -> str:
        found: Any = known
        for step in match[1].split("."):
            found = found.get(step) if isinstance(found, Mapping) else None
        return _text(found)

    return _PART.sub(value, template)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def unknown_parts(document: RouteDocument, template: str, schema: GraphQLSchema) -> Iterator[str]:
    """What the message speaks of that no variable has."""
    types: dict[str, Any] = {
        d.variable.name.value: type_from_ast(schema, d.type) for d in document.node.variable_definitions or ()
    }
    for part in _PART.findall(template):
        name, *steps = part.split(".")
        # Only input objects tell their fields; in any other JSON there may be anything.
        told = name in types and isinstance(named_type(types[name]), GraphQLInputObjectType)
        if name not in types or (told and part_of(types[name], steps) is None):
            yield part
