"""The field types: one small class each, found in `FIELD_TYPES` by the name a declaration uses."""

import math
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from functools import cache
from typing import Any, ClassVar

from domain.kernel.ids import parse_uuid
from domain.kernel.rawjson import json_of
from domain.kernel.reading import json_problem

EQUALITY = frozenset({"eq", "ne", "in", "nin", "isNull"})
ORDER = EQUALITY | {"gt", "gte", "lt", "lte"}
PATTERN = ORDER | {"like", "ilike"}
TIME_WORDS = "now|today|tomorrow|yesterday|epoch|infinity|bc|[0-9]{5,}-"

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_OFFSET = re.compile(r".*[T ].*(Z|[+-]\d{2}:?\d{2})", re.IGNORECASE)
_NUMBER = re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*")


class NotOfType(ValueError):
    """A value that a type cannot hold. The text completes `<field> ...`."""


class FieldType:
    """How one kind of value is stored, read from JSON, compared and described."""

    name: ClassVar[str]
    column: ClassVar[str]  # the PostgreSQL type
    operators: ClassVar[frozenset[str]] = ORDER
    foreign_words: ClassVar[str | None] = None  # a pattern of texts that must not be cast

    @property
    def element(self) -> "FieldType":
        """What the values of a list are, the type itself where there is no list."""
        return self

    def stored(self, value: Any) -> Any:
        """A JSON value to store, checked and in its JSON form. Raises NotOfType."""
        raise NotImplementedError

    def operand(self, value: Any) -> Any:
        """A JSON value to compare with, as the driver wants it. Raises NotOfType."""
        return self.stored(value)

    def describe(self) -> dict[str, Any]:
        """The JSON Schema of a stored value."""
        raise NotImplementedError

    def converted(self, column: str) -> str:
        """SQL that turns an existing column (quoted name) of another type into this one, or fails.

        A plain cast, but for words that PostgreSQL reads as values which no JSON value stands for.
        """
        text = f"{column}::text"
        if self.foreign_words is not None:
            text = f"CASE WHEN {text} ~* '{self.foreign_words}' THEN 'refused: ' || {text} ELSE {text} END"
        return f"({text})::{self.column}"


class TextType(FieldType):
    """Any text. Values that are none are stored as their JSON text (RootCX Data API, coercion on writes)."""

    name = "text"
    column = "text"
    operators = PATTERN

    def stored(self, value: Any) -> str:
        text = value if isinstance(value, str) else json_text(value)
        if "\x00" in text:
            raise NotOfType("must not hold the character U+0000")
        return text

    def describe(self) -> dict[str, Any]:
        return {"type": "string"}

    def converted(self, column: str) -> str:
        return f"{column}::text"


class FileType(TextType):
    """The id of a stored file."""

    name = "file"


class NumberType(FieldType):
    """A double. Numeric strings and booleans are taken, infinities are not."""

    name = "number"
    column = "double precision"
    foreign_words = "[nix]"  # NaN, infinity, hexadecimal

    def stored(self, value: Any) -> float | int:
        if isinstance(value, str) and _NUMBER.fullmatch(value):
            value = float(value)
        if isinstance(value, bool):
            return int(value)
        if not isinstance(value, int | float):
            raise NotOfType("must be a number")
        try:
            finite = math.isfinite(float(value))
        except OverflowError:
            finite = False
        if not finite:
            raise NotOfType("must be a number within the range of a double")
        return value if isinstance(value, int) and abs(value) < 2**53 else float(value)

    def operand(self, value: Any) -> float:
        return float(self.stored(value))

    def describe(self) -> dict[str, Any]:
        return {"type": "number"}

    def converted(self, column: str) -> str:
        return super().converted(f"nullif(btrim({column}::text), '')")


class BooleanType(FieldType):
    """True or false; `true`, `false`, 1 and 0 are taken as text or number too."""

    name = "boolean"
    column = "boolean"
    operators = EQUALITY
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


class DateType(FieldType):
    """A day, `YYYY-MM-DD`."""

    name = "date"
    column = "date"
    foreign_words = TIME_WORDS

    def stored(self, value: Any) -> str:
        return self.operand(value).isoformat()

    def operand(self, value: Any) -> date:
        if isinstance(value, str) and _DATE.fullmatch(value):
            try:
                return date.fromisoformat(value)
            except ValueError:
                pass
        raise NotOfType("must be a date, YYYY-MM-DD")

    def describe(self) -> dict[str, Any]:
        return {"type": "string", "format": "date"}


class TimestampType(FieldType):
    """A moment: ISO 8601 with an offset, or with `Z`."""

    name = "timestamp"
    column = "timestamp with time zone"
    foreign_words = TIME_WORDS

    def stored(self, value: Any) -> str:
        return self.operand(value).isoformat()

    def operand(self, value: Any) -> datetime:
        if isinstance(value, str) and _OFFSET.fullmatch(value):
            try:
                return datetime.fromisoformat(value).astimezone(UTC)
            except (ValueError, OverflowError):
                pass
        raise NotOfType("must be a moment in ISO 8601 with an offset or Z, like 2025-03-04T08:15:30Z")

    def describe(self) -> dict[str, Any]:
        return {"type": "string", "format": "date-time"}


class JsonType(FieldType):
    """Any JSON value; JSON null is no value."""

    name = "json"
    column = "jsonb"
    operators = EQUALITY

    def stored(self, value: Any) -> Any:
        return _storable(value)

    def operand(self, value: Any) -> str:
        return json_text(value)

    def describe(self) -> dict[str, Any]:
        return {}


class UuidType(FieldType):
    """A UUID in its hyphenated form."""

    name = "uuid"
    column = "uuid"

    def stored(self, value: Any) -> str:
        return str(self.operand(value))

    def operand(self, value: Any) -> Any:
        parsed = parse_uuid(value)
        if parsed is None:
            raise NotOfType("must be a UUID")
        return parsed

    def describe(self) -> dict[str, Any]:
        return {"type": "string", "format": "uuid"}


class LinkType(FieldType):
    """The id of another record: a value of the type of those ids."""

    name = "entity_link"

    def __init__(self, id: FieldType) -> None:
        self._id = id
        self.column = id.column  # type: ignore[misc]
        self.operators = id.operators  # type: ignore[misc]

    def stored(self, value: Any) -> Any:
        return self._id.stored(value)

    def operand(self, value: Any) -> Any:
        return self._id.operand(value)

    def describe(self) -> dict[str, Any]:
        return self._id.describe()


@cache
def link_to(id: FieldType) -> LinkType:
    """The type of links to records whose ids are of type `id`."""
    return LinkType(id)


class ListType(FieldType):
    """A list of values of one type."""

    operators = frozenset({"eq", "ne", "isNull", "contains"})
    item: ClassVar[FieldType]

    @property
    def element(self) -> FieldType:
        return self.item

    def stored(self, value: Any) -> list[Any]:
        return [self.item.stored(self._checked(element)) for element in self._list(value)]

    def operand(self, value: Any) -> list[Any]:
        return [self.item.operand(self._checked(element)) for element in self._list(value)]

    def _list(self, value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise NotOfType(f"must be a list of {self.item.name} values")
        return value

    def _checked(self, element: Any) -> Any:
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        return {"type": "array", "items": self.item.describe()}


class TextListType(ListType):
    """A list of texts."""

    name = "[text]"
    column = "text[]"
    item = TextType()

    def _checked(self, element: Any) -> str:
        if not isinstance(element, str):
            raise NotOfType("must be a list of texts")
        return element


class NumberListType(ListType):
    """A list of numbers."""

    name = "[number]"
    column = "double precision[]"
    foreign_words = NumberType.foreign_words
    item = NumberType()

    def _checked(self, element: Any) -> float | int:
        if isinstance(element, bool) or not isinstance(element, int | float):
            raise NotOfType("must be a list of numbers")
        return element


def json_text(value: Any) -> str:
    """The JSON text of a value that fits into PostgreSQL. Raises NotOfType."""
    return json_of(_storable(value))


def _storable(value: Any) -> Any:
    problem = json_problem(value)
    if problem is not None:
        raise NotOfType(problem)
    return value


TEXT = TextType()
TIMESTAMP = TimestampType()
UUID_TYPE = UuidType()
LINK = link_to(UUID_TYPE)

FIELD_TYPES: dict[str, FieldType] = {
    type.name: type
    for type in (
        TEXT,
        FileType(),
        NumberType(),
        BooleanType(),
        DateType(),
        TIMESTAMP,
        JsonType(),
        UUID_TYPE,
        LINK,
        TextListType(),
        NumberListType(),
    )
}


def field_type(name: str) -> FieldType:
    """The type of that name; a name nobody knows is text (RootCX manifest, types)."""
    return FIELD_TYPES.get(name, TEXT)
