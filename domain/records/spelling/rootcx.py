"""The spelling of RootCX (Data API query language, sections 4.1 to 4.3)."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from domain.kernel.errors import Invalid
from domain.kernel.rawjson import json_of
from domain.records.declared import Field
from domain.records.query import ALWAYS, AnyOf, Condition, Op
from domain.records.spelling.reader import Reader, Words
from domain.records.types import (
    BooleanType,
    DateType,
    FieldType,
    JsonType,
    NotOfType,
    NumberListType,
    TextListType,
    TimestampType,
)

# What PostgreSQL takes for a flag, in letters of either case.
FLAGS: Mapping[str, bool] = {
    **dict.fromkeys(("t", "true", "y", "yes", "on", "1"), True),
    **dict.fromkeys(("f", "false", "n", "no", "off", "0"), False),
}

_MOMENT = re.compile(r"(\d{4}-\d{2}-\d{2})([T ].+)?")


class RootcxReader(Reader):
    """Operators start with `$`; an empty `$or` is no condition; operands are cast from their text."""

    words = Words(
        all="$and",
        any="$or",
        negation="$not",
        operators={f"${op.value}": op for op in Op if op is not Op.WITHIN},
    )

    def any_of(self, parts: Sequence[Condition]) -> Condition:
        return AnyOf(parts) if parts else ALWAYS

    def field(self, field: Field, value: Any, path: str) -> Condition:
        """An object without operators is a value: json columns compare with it."""
        operators = isinstance(value, dict) and any(key.startswith("$") for key in value)
        if isinstance(value, dict) and not operators:
            if not isinstance(field.type, JsonType):
                raise Invalid(path, f"{path} must be a value or an object of operators")
            return self.test(field, Op.EQ, value, path)
        return super().field(field, value, path)

    def test(self, field: Field, op: Op, value: Any, path: str) -> Condition:
        if op is Op.CONTAINS and value == []:
            return ALWAYS
        return super().test(field, op, value, path)

    def flag(self, value: Any, path: str) -> bool:
        """Anything but false asks for null."""
        return value is not False

    def element(self, value: Any) -> Any:
        """A null in a list is turned into an empty text, like every operand is turned into text."""
        return "" if value is None else value

    def operand(self, value: Any, path: str, read: Callable[[Any], Any]) -> Any:
        return super().operand("" if value is None else value, path, read)

    def reading(self, field: Field, op: Op) -> Callable[[Any], Any]:
        """PostgreSQL reads more in a text than may be written into a record."""
        read, type = super().reading(field, op), field.type
        return lambda value: read(_cast(type, value))


def _cast(type: FieldType, value: Any) -> Any:
    """The value as a record would have it, where PostgreSQL's cast of its text to the type makes one of it."""
    match type, value:
        case BooleanType(), str():
            return FLAGS.get(value.strip().lower(), value)
        case TimestampType(), str():
            moment = _moment(value)
            return value if moment is None else moment.isoformat()
        case DateType(), str():
            return value if _moment(value) is None else value[: len("2026-06-10")]
        case JsonType(), str():
            return _json(value)
        case TextListType(), list():
            return [json_of(part) if isinstance(part, bool | int | float) else part for part in value]
        case NumberListType(), list():
            return [_number(part) for part in value]
    return value


def _moment(text: str) -> datetime | None:
    """The moment that a text tells: a day begins at midnight, and what has no offset is in UTC."""
    if not _MOMENT.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None  # the field's type says what is wrong with it
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _json(text: str) -> Any:
    """The JSON that a text spells; one that spells none stands for itself."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def _number(part: Any) -> Any:
    try:
        return NumberListType.item.operand(part)
    except NotOfType:
        return part  # the list's type says what is wrong with it
