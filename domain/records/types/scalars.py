"""Types of flags, ids, links, JSON, places, vectors and secrets."""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

from domain.kernel.ids import parse_uuid
from domain.kernel.rawjson import json_of
from domain.kernel.reading import Node
from domain.kernel.secret import SecretText
from domain.records.naming import literal
from domain.records.types.base import EQUALITY, ONLY_NULL, FieldType, NotOfType, json_text, storable
from domain.records.types.numbers import NumberType

METRES_MAX = 100_000_000
DIMENSIONS_MAX = 16_000  # pgvector's
SECRET_BYTES_MAX = 64 * 1024
MASK = "********"


@dataclass(frozen=True)
class BooleanType(FieldType):
    """True or false; `true`, `false`, 1 and 0 are taken as text or number too."""

    name = "boolean"
    column = "boolean"
    operators = EQUALITY
    sortable = True
    graphql = "Boolean"
    WORDS: ClassVar[Mapping[str, bool]] = {"true": True, "1": True, "false": False, "0": False}

    def stored(self, value: Any) -> bool:
        if isinstance(value, bool):
            return value
        known = self.WORDS.get(str(value)) if isinstance(value, str | int) else None
        if known is None:
            raise NotOfType("must be true or false")
        return known

    def describe(self) -> dict[str, Any]:
        return {"type": "boolean"}

    def converted(self, column: str) -> str:
        text = f"lower(btrim({column}::text))"
        true, false = "'true','1','yes','t'", "'false','0','no','f'"
        return f"CASE WHEN {text} IN ({true}) THEN true WHEN {text} IN ({false}) THEN false END"


@dataclass(frozen=True)
class JsonType(FieldType):
    """Any JSON value; JSON null is no value."""

    name = "json"
    column = "jsonb"
    operators = EQUALITY
    graphql = "JSON"

    def stored(self, value: Any) -> Any:
        return storable(value)

    def operand(self, value: Any) -> str:
        return json_text(value)

    def constant(self, stored: Any) -> str:
        return f"{literal(json_of(stored))}::jsonb"

    def describe(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class UuidType(FieldType):
    """A UUID in its hyphenated form."""

    name = "uuid"
    column = "uuid"
    graphql = "ID"

    def stored(self, value: Any) -> str:
        return str(self.operand(value))

    def operand(self, value: Any) -> Any:
        parsed = parse_uuid(value)
        if parsed is None:
            raise NotOfType("must be a UUID")
        return parsed

    def describe(self) -> dict[str, Any]:
        return {"type": "string", "format": "uuid"}


@dataclass(frozen=True)
class LinkType(FieldType):
    """The id of another record: a value of the type of those ids."""

    name = "entity_link"
    id: FieldType

    @property
    def column(self) -> str:
        return self.id.column

    @property
    def operators(self) -> frozenset[str]:
        return self.id.operators

    @property
    def graphql(self) -> str:
        return self.id.graphql

    def stored(self, value: Any) -> Any:
        return self.id.stored(value)

    def operand(self, value: Any) -> Any:
        return self.id.operand(value)

    def constant(self, stored: Any) -> str:
        return self.id.constant(stored)

    def describe(self) -> dict[str, Any]:
        return self.id.describe()


@cache
def link_to(id: FieldType) -> LinkType:
    """The type of links to records whose ids are of type `id`."""
    return LinkType(id)


@dataclass(frozen=True)
class GeoPointType(FieldType):
    """A place on Earth, `{"lat": 52.52, "lng": 13.405}`, in degrees."""

    name = "geo_point"
    column = "geo_point"
    bound = "text::geo_point"
    operators = EQUALITY | {"within"}
    graphql = "GeoPoint"

    def stored(self, value: Any) -> dict[str, float]:
        if not isinstance(value, dict) or value.keys() != {"lat", "lng"}:
            raise NotOfType("must be an object of lat and lng")
        return {"lat": _degrees(value["lat"], "lat", 90), "lng": _degrees(value["lng"], "lng", 180)}

    def constant(self, stored: Any) -> str:
        return f"{literal(self.operand(stored))}::{self.column}"

    def operand(self, value: Any) -> str:
        place = self.stored(value)
        return f"({place['lat']!r},{place['lng']!r})"

    def rule(self, column: str) -> str | None:
        within = f"abs(({column}).lat) <= 90 AND abs(({column}).lng) <= 180"
        return f"{column} IS NULL OR ({column} IS NOT NULL AND {within})"

    def describe(self) -> dict[str, Any]:
        properties = {
            "lat": {"type": "number", "minimum": -90, "maximum": 90},
            "lng": {"type": "number", "minimum": -180, "maximum": 180},
        }
        return {"type": "object", "properties": properties, "required": ["lat", "lng"], "additionalProperties": False}


def degrees_of(value: Any) -> tuple[float, float]:
    """The latitude and longitude of a place. Raises NotOfType."""
    place = GeoPointType().stored(value)
    return place["lat"], place["lng"]


def within_reach(value: Any) -> tuple[float, float, float]:
    """A place and a distance, `{"lat": 52.52, "lng": 13.405, "metres": 1000}`, one by one. Raises NotOfType."""
    if not isinstance(value, dict) or value.keys() != {"lat", "lng", "metres"}:
        raise NotOfType("must be an object of lat, lng and metres")
    metres = value["metres"]
    if isinstance(metres, bool) or not isinstance(metres, int | float) or not 0 <= metres <= METRES_MAX:
        raise NotOfType(f"must have metres from 0 to {METRES_MAX}")
    return *degrees_of({"lat": value["lat"], "lng": value["lng"]}), float(metres)


def _degrees(value: Any, name: str, most: int) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not -most <= value <= most:
        raise NotOfType(f"must have a {name} from -{most} to {most}")
    return float(value) + 0.0


@dataclass(frozen=True)
class VectorType(FieldType):
    """A list of numbers of one length, in single precision: an embedding."""

    name = "vector"
    operators = ONLY_NULL
    graphql = "Float"
    filter = "VectorFilter"
    parameters = ("dimensions",)
    dimensions: int = 3

    @classmethod
    def declared(cls, node: Node) -> "VectorType":
        """With its number of `dimensions`, which must be declared."""
        return cls(node.integer("dimensions", minimum=1, maximum=DIMENSIONS_MAX))

    @property
    def column(self) -> str:
        return f"vector({self.dimensions})"

    @property
    def bound(self) -> str:
        return f"text::{self.column}"

    @property
    def element(self) -> FieldType:
        return NumberType()

    def stored(self, value: Any) -> list[float]:
        if not isinstance(value, list) or len(value) != self.dimensions:
            raise NotOfType(f"must be a list of {self.dimensions} numbers")
        return [_single(part) for part in value]

    def operand(self, value: Any) -> str:
        return json_of(self.stored(value))

    def shown(self, sql: str) -> str:
        return f"({sql})::text::json"

    def describe(self) -> dict[str, Any]:
        length = {"minItems": self.dimensions, "maxItems": self.dimensions}
        return {"type": "array", "items": {"type": "number"}, **length}


def _single(value: Any) -> float:
    """The number in single precision. Raises NotOfType."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise NotOfType("must be a list of numbers")
    try:
        single: float = struct.unpack("f", struct.pack("f", value))[0]
    except (OverflowError, struct.error):
        single = math.inf
    if not math.isfinite(single):
        raise NotOfType("must be a list of numbers within the range of single precision")
    return single


@dataclass(frozen=True)
class SecretType(FieldType):
    """A text that is kept encrypted and shown as a mask; only its own operation reveals it."""

    name = "secret"
    column = "sealed_value"
    operators = ONLY_NULL
    filter = "SecretFilter"

    def stored(self, value: Any) -> SecretText:
        """The text in the clear, which goes nowhere but to whoever seals it."""
        if not isinstance(value, str) or "\x00" in value:
            raise NotOfType("must be a text without the character U+0000")
        if value == MASK:
            raise NotOfType("must not be the mask that stands for it")
        if len(value.encode()) > SECRET_BYTES_MAX:
            raise NotOfType(f"must be at most {SECRET_BYTES_MAX} bytes")
        return SecretText(value)

    def shown(self, sql: str) -> str:
        return f"CASE WHEN ({sql}) IS NOT NULL THEN '{MASK}' END"

    def read_back(self, text: str) -> str:
        """Of the mask nothing can be read but that there is a value."""
        there = '{"key_id": "", "wrapped_key": "", "ciphertext": ""}'
        return f"CASE WHEN {text} IS NOT NULL THEN '{there}'::jsonb END"

    def describe(self) -> dict[str, Any]:
        return {"type": "string", "description": f"Shown as {MASK}."}
