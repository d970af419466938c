"""What the engine reads off `schema.graphql`: types, and what their directives say."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
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

BUILT_IN: Mapping[str, dict[str, Any]] = {
    "Int": {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1},
    "Float": {"type": "number"},
    "String": {"type": "string"},
    "Boolean": {"type": "boolean"},
    "ID": {"type": "string"},
}


@dataclass(frozen=True)
class ApiSchema:
    """The schema that operations run on, and with it the one that documents are validated against."""

    text: str

    @cached_property
    def executable(self) -> GraphQLSchema:
        return build_schema(self.text)

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
