"""What the engine reads off `schema.graphql`: types, and what their directives say."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from graphql import (
    DirectiveNode,
    GraphQLArgument,
    GraphQLField,
    GraphQLInputField,
    GraphQLNamedType,
    GraphQLScalarType,
    GraphQLSchema,
    build_schema,
    extend_schema,
    parse,
)

from rest_compat.engine.directives import DIRECTIVES
from rest_compat.engine.documents import directive_arguments

FILE_REFERENCE = "FileRef"  # the scalar whose value stands for stored bytes

BUILT_IN: Mapping[str, dict[str, Any]] = {
    "Int": {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1},
    "Float": {"type": "number"},
    "String": {"type": "string"},
    "Boolean": {"type": "boolean"},
    "ID": {"type": "string"},
    FILE_REFERENCE: {"type": "string"},
}

_KINDS: Mapping[str, Callable[[Any], bool]] = {
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "string": lambda value: isinstance(value, str),
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
}


@lru_cache(maxsize=4)
def api_schema(text: str) -> "ApiSchema":
    """The schema of that text; adapters of one text share it."""
    return ApiSchema(text)


@dataclass(frozen=True)
class ApiSchema:
    """The schema that operations run on, and with it the one that documents are validated against."""

    text: str

    @cached_property
    def executable(self) -> GraphQLSchema:
        """Its scalars take what their JSON Schemas tell in a word; whoever executes may be stricter."""
        schema = build_schema(self.text)
        for type in schema.type_map.values():
            if isinstance(type, GraphQLScalarType) and directives_of(type, "jsonSchema") is not None:
                type.coerce_input_value = _coercion(scalar_schema(type))
        return schema

    @cached_property
    def documented(self) -> GraphQLSchema:
        """With the directives of route documents."""
        return extend_schema(self.executable, parse(DIRECTIVES))


def directives_of(
    node: GraphQLField | GraphQLArgument | GraphQLInputField | GraphQLNamedType, name: str
) -> dict[str, Any] | None:
    """The arguments of the directive `name` on a part of the schema, or None."""
    ast = node.ast_node
    found: tuple[DirectiveNode, ...] = tuple(getattr(ast, "directives", None) or ())
    return next((directive_arguments(d) for d in found if d.name.value == name), None)


def scalar_schema(scalar: GraphQLScalarType) -> dict[str, Any]:
    """The JSON Schema of a scalar: its own `@jsonSchema`, or that of the language's own."""
    told = directives_of(scalar, "jsonSchema")
    if told is not None:
        schema: dict[str, Any] = json.loads(told["schema"])
        return schema
    return dict(BUILT_IN.get(scalar.name, {}))


@lru_cache(maxsize=512)
def scalar_kind(scalar: GraphQLScalarType) -> str | None:
    """The one JSON type that all values of the scalar have, if it tells one."""
    kind = scalar_schema(scalar).get("type")
    return kind if isinstance(kind, str) else None


def _coercion(schema: Mapping[str, Any]) -> Callable[[Any], Any]:
    kind = schema.get("type")
    fits = _KINDS.get(kind) if isinstance(kind, str) else None
    least, most = schema.get("minimum"), schema.get("maximum")

    def coerced(value: Any) -> Any:
        if fits is not None and not fits(value):
            raise ValueError(f"must be of type {kind}")
        if (least is not None and value < least) or (most is not None and value > most):
            raise ValueError(f"must be between {least} and {most}")
        return value

    return coerced
