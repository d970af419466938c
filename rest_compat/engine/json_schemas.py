"""JSON Schemas as values: made nullable, put side by side, named once and referred to."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rest_compat.engine.system import System

Json = dict[str, Any]

NULL: Json = {"type": "null"}
_REFERENCE = "#/components/schemas/"


@dataclass
class Components:
    """The named schemas of a description; with their system's name where several systems meet."""

    merged: bool
    schemas: dict[str, Json] = field(default_factory=dict)

    def name(self, system: System, name: str) -> str:
        """A name as the description has it."""
        return f"{system.name}.{name}" if self.merged else name

    def reference(self, name: str) -> Json:
        """The schema that stands for the named one."""
        return {"$ref": f"{_REFERENCE}{name}"}

    def resolved(self, schema: Json) -> Json:
        """The schema that a reference stands for."""
        while "$ref" in schema:
            schema = self.schemas[schema["$ref"].removeprefix(_REFERENCE)]
        return schema

    def objects(self, schema: Json) -> list[Json]:
        """The objects that a value of the schema may be; null is none."""
        schema = self.resolved(schema)
        if "anyOf" in schema:
            return [found for part in schema["anyOf"] for found in self.objects(part)]
        return [schema] if "object" in _kinds(schema) else []

    def joined(self, whole: Json, inner: Json) -> Json:
        """The object `whole` with the fields of another value beside its own, which go before; null has none."""
        parts = [*self.objects(inner), *([object_schema({}, [])] if may_be_null(inner) else [])]
        return one_of([_both(whole, part) for part in parts])


def _both(whole: Json, part: Json) -> Json:
    properties = {**part.get("properties", {}), **whole["properties"]}
    required = [name for name in part.get("required", ()) if name not in whole["properties"]]
    return object_schema(properties, [*whole.get("required", ()), *required])


def object_schema(properties: Json, required: Sequence[str], **more: Any) -> Json:
    """An object with these properties."""
    return {"type": "object", "properties": properties, **({"required": list(required)} if required else {}), **more}


def one_of(schemas: Sequence[Json]) -> Json:
    """Any of these; equal ones count once."""
    different = list({json.dumps(schema, sort_keys=True): schema for schema in schemas}.values())
    return different[0] if len(different) == 1 else {"anyOf": different}


def _kinds(schema: Json) -> list[str]:
    kinds = schema.get("type", [])
    return [kinds] if isinstance(kinds, str) else list(kinds)


def nullable(schema: Json) -> Json:
    """The same, or null."""
    if "$ref" in schema or "anyOf" in schema:
        others = schema.get("anyOf", [schema])
        return schema if NULL in others else {"anyOf": [*others, NULL]}
    kinds = _kinds(schema)
    if not kinds or "null" in kinds:
        return schema
    more = {**schema, "type": [*kinds, "null"]}
    if "enum" in more:
        more["enum"] = [*more["enum"], None]
    return more


def without_null(schema: Json) -> Json:
    """The same, and never null."""
    if "anyOf" in schema:
        return one_of([part for part in schema["anyOf"] if part != NULL])
    kinds = [kind for kind in _kinds(schema) if kind != "null"]
    if len(kinds) == len(_kinds(schema)):
        return schema
    less = {**schema, "type": kinds[0] if len(kinds) == 1 else kinds}
    if "enum" in less:
        less["enum"] = [value for value in less["enum"] if value is not None]
    return less


def may_be_null(schema: Json) -> bool:
    """Whether null is one of its values, as far as it tells."""
    return NULL in schema.get("anyOf", ()) or "null" in _kinds(schema)
