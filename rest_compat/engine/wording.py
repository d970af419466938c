"""What a value must be by its type, in words for who sends JSON or a form: GraphQL's speak of GraphQL.

None of them shows the value, which may be a secret.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from graphql import GraphQLEnumType, GraphQLInputObjectType, GraphQLInputType, GraphQLList, get_nullable_type

from rest_compat.engine.reading import named_type

SCALARS: Mapping[str, str] = {
    "String": "must be a string",
    "ID": "must be a string",
    "Int": "must be an integer of at most 32 bits",
    "Float": "must be a number",
    "Boolean": "must be true or false",
}


def expected(value: Any, type: GraphQLInputType, path: Sequence[str | int], case: str | None) -> str | None:
    """What is asked of the part at `path` of a value, which it isn't; None where its type says so in words of its own.

    `case` is the RestCase that the part is read in.
    """
    for step in path:
        bare: Any = get_nullable_type(type)
        type = bare.of_type if isinstance(bare, GraphQLList) else bare.fields[step].type
        value = value[step]
    leaf = named_type(type)
    if value is None:
        return "must not be null"
    if isinstance(leaf, GraphQLEnumType):
        names = ", ".join(leaf.values)
        return f"must be one of {names.lower() if case == 'UPPER' else names}"
    if isinstance(leaf, GraphQLInputObjectType):
        return None if isinstance(value, dict) else "must be an object"
    return SCALARS.get(leaf.name)


def sentence(name: str, words: str) -> str:
    """A sentence about the value of that name."""
    return f"{name} {words}" if words.startswith("must ") else f"{name}: {words}"
