"""Operations written from the schema alone: a document for any root field, with values that are well formed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLScalarType,
    GraphQLSchema,
    get_named_type,
    is_composite_type,
    is_required_argument,
    is_required_input_field,
)

from rest_compat.engine.schema import directives_of, scalar_schema

UPLOAD = "Upload"
ZERO = "00000000-0000-0000-0000-000000000000"
FORMATS: Mapping[str, Any] = {"uuid": ZERO, "date-time": "2026-01-01T00:00:00Z", "date": "2026-01-01"}
KINDS: Mapping[str, Any] = {
    "string": "sample", "integer": 1, "number": 1.5, "boolean": False, "object": {}, "array": [], None: {}
}  # fmt: skip


@dataclass(frozen=True)
class RootField:
    """A field an operation can begin with."""

    kind: str  # query, mutation, subscription
    name: str
    definition: GraphQLField

    @property
    def access(self) -> Mapping[str, Any]:
        """What `@access` says of it."""
        return _directive(self.definition, "access")

    @property
    def public(self) -> bool:
        return self.access.get("level") in ("PUBLIC", "GUEST")

    @property
    def permission(self) -> str | None:
        """The permission it asks for, placeholders and all."""
        found: str | None = self.access.get("permission")
        return found

    @property
    def takes_a_file(self) -> bool:
        """Whether it can be asked over REST only: JSON spells no file."""
        return any(get_named_type(argument.type).name == UPLOAD for argument in self.definition.args.values())

    @property
    def refuses(self) -> frozenset[str]:
        """The codes it may say no with, beyond the common ones."""
        return frozenset(_directive(self.definition, "refuses").get("codes", ()))

    def __str__(self) -> str:
        return f"{self.kind}.{self.name}"


def root_fields(schema: GraphQLSchema) -> Iterator[RootField]:
    """All of them."""
    roots = {"query": schema.query_type, "mutation": schema.mutation_type, "subscription": schema.subscription_type}
    for kind, type in roots.items():
        for name, definition in (type.fields if type else {}).items():
            yield RootField(kind, name, definition)


def document(field: RootField, *optional: str) -> tuple[str, dict[str, Any]]:
    """A document that asks for the field with its required arguments, and these, and the variables for it."""
    arguments = field.definition.args.items()
    taken = {name: arg for name, arg in arguments if name in optional or is_required_argument(arg)}
    declared = ", ".join(f"${name}: {arg.type}" for name, arg in taken.items())
    given = ", ".join(f"{name}: ${name}" for name in taken)
    opened = f"{field.kind} asked{f'({declared})' if declared else ''}"
    selected = f"{field.name}{f'({given})' if given else ''}{_selection(field.definition.type)}"
    return f"{opened} {{ {selected} }}", {name: sample(arg.type) for name, arg in taken.items()}


def sample(type: Any) -> Any:
    """A value of an input type."""
    if isinstance(type, GraphQLNonNull):
        return sample(type.of_type)
    if isinstance(type, GraphQLList):
        return [sample(type.of_type)]
    if isinstance(type, GraphQLEnumType):
        return next(iter(type.values))
    if isinstance(type, GraphQLInputObjectType):
        return {name: sample(f.type) for name, f in type.fields.items() if is_required_input_field(f)}
    assert isinstance(type, GraphQLScalarType)
    if type.name == "ID":
        return ZERO
    schema = scalar_schema(type)
    kind = schema.get("type")
    return FORMATS.get(schema.get("format", ""), KINDS[kind[0] if isinstance(kind, list) else kind])


def _selection(type: Any) -> str:
    """The smallest selection there can be."""
    named = get_named_type(type)
    return " { __typename }" if is_composite_type(named) else ""


def _directive(definition: GraphQLField, name: str) -> Mapping[str, Any]:
    return directives_of(definition, name) or {}
