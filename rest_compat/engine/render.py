"""Other spellings of values: the few transforms that documents may name."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from graphql import GraphQLEnumType, GraphQLNonNull, GraphQLScalarType, get_named_type

from rest_compat.engine.schema import scalar_kind, scalar_schema

Render = Callable[[Any], Any]


def _lower(text: str) -> str:
    return text.lower()


def _upper(text: str) -> str:
    return text.upper()


def _offset(moment: str) -> str:
    """`2025-03-04T08:15:30.123456Z` -> `2025-03-04T08:15:30.123456+00:00`."""
    return moment[:-1] + "+00:00" if moment.endswith("Z") else moment


def _postgres(moment: str) -> str:
    """`2025-03-04T08:15:30.123000Z` -> `2025-03-04 08:15:30.123+00`."""
    text = moment.removesuffix("Z").replace("T", " ")
    return (text.rstrip("0").rstrip(".") if "." in text else text) + "+00"


def _unix(moment: str) -> int:
    return int(datetime.fromisoformat(moment).timestamp())


_ON_LEAVES: Mapping[str, Render] = {
    "LOWER": _lower,
    "UPPER": _upper,
    "TIME_OFFSET": _offset,
    "TIME_POSTGRES": _postgres,
    "TIME_UNIX": _unix,
}
OMIT_NULL = "OMIT_NULL"
ENTRIES = "ENTRIES"
KEYS = "KEYS"
OF_ENTRIES: Mapping[str, tuple[str, ...]] = {ENTRIES: ("key", "value"), KEYS: ("key",)}
"""What is made of lists of objects, and the fields it needs of each."""


def rendered(name: str, value: Any) -> Any:
    """The value, or each of a list's values, in that spelling; null stays null."""
    if value is None:
        return None
    if name == ENTRIES:
        return {entry["key"]: entry["value"] for entry in value}
    if name == KEYS:
        return [entry["key"] for entry in value]
    if isinstance(value, list):
        return [rendered(name, part) for part in value]
    return _ON_LEAVES[name](value)


def objection(name: str, type: Any) -> str | None:
    """Why values of the type have no such spelling, or None where they have."""
    if name == OMIT_NULL:
        return f"{type} is never null" if isinstance(type, GraphQLNonNull) else None
    leaf = get_named_type(type)
    if name in ("LOWER", "UPPER"):
        text = isinstance(leaf, GraphQLScalarType) and scalar_kind(leaf) == "string"
        return None if text or isinstance(leaf, GraphQLEnumType) else f"{type} has no case"
    if name not in OF_ENTRIES:
        moment = isinstance(leaf, GraphQLScalarType) and scalar_schema(leaf).get("format") == "date-time"
        return None if moment else f"{type} is no moment"
    return None  # what entries must have is looked at where they are selected


def schema_of(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON Schema of a value that is rendered on its own, from that of the value."""
    if "items" in schema:
        return {**schema, "items": schema_of(name, schema["items"])}
    match name:
        case "TIME_UNIX":
            kinds = schema.get("type")
            return {"type": ["integer", "null"] if isinstance(kinds, list) and "null" in kinds else "integer"}
        case "TIME_POSTGRES":
            return {key: value for key, value in schema.items() if key != "format"}
        case "LOWER" | "UPPER" if "enum" in schema:
            return {**schema, "enum": [rendered(name, value) for value in schema["enum"]]}
    return dict(schema)
