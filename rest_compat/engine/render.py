"""Other spellings of values: the few transforms that documents may name."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

Render = Callable[[Any], Any]


def _lower(value: Any) -> Any:
    return value.lower()


def _upper(value: Any) -> Any:
    return value.upper()


def _offset(value: Any) -> Any:
    """`2025-03-04T08:15:30.123456Z` -> `2025-03-04T08:15:30.123456+00:00`."""
    return value[:-1] + "+00:00" if value.endswith("Z") else value


def _postgres(value: Any) -> Any:
    """`2025-03-04T08:15:30.123000Z` -> `2025-03-04 08:15:30.123+00`."""
    text = value.removesuffix("Z").replace("T", " ")
    return (text.rstrip("0").rstrip(".") if "." in text else text) + "+00"


def _unix(value: Any) -> Any:
    return int(datetime.fromisoformat(value).timestamp())


def _entries(value: Any) -> Any:
    return {entry["key"]: entry["value"] for entry in value}


def _keys(value: Any) -> Any:
    return [entry["key"] for entry in value]


RENDERS: Mapping[str, Render] = {
    "LOWER": _lower,
    "UPPER": _upper,
    "TIME_OFFSET": _offset,
    "TIME_POSTGRES": _postgres,
    "TIME_UNIX": _unix,
    "ENTRIES": _entries,
    "KEYS": _keys,
}
ON_EACH = frozenset({"LOWER", "UPPER", "TIME_OFFSET", "TIME_POSTGRES", "TIME_UNIX"})  # of a list, on its elements
OMIT_NULL = "OMIT_NULL"


def schema_of(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON Schema of a rendered value, from that of the value."""
    match name:
        case "TIME_UNIX":
            return {"type": "integer"}
        case "TIME_POSTGRES":
            return {"type": "string"}
        case "LOWER" | "UPPER" if "enum" in schema:
            return {**schema, "enum": [RENDERS[name](value) for value in schema["enum"]]}
        case "ENTRIES":
            entry = schema.get("items", {}).get("properties", {})
            return {"type": "object", "additionalProperties": entry.get("value", {})}
        case "KEYS":
            return {"type": "array", "items": schema["items"]["properties"]["key"]}
    return dict(schema)
