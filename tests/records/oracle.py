"""What a query finds, computed in plain Python from what the query language says: SQL's logic of three values."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cmp_to_key
from typing import Any

Record = dict[str, Any]


@dataclass(frozen=True)
class Field:
    """A field and its declared type."""

    name: str
    type: str


@dataclass(frozen=True)
class Test:
    """One field against one operand, as they stand in a query."""

    __test__ = False  # pytest, this is not one of yours
    field: Field
    op: str
    operand: Any


@dataclass(frozen=True)
class Joined:
    """Parts that are to hold all, or any of which is to hold."""

    word: str  # all, any
    parts: tuple["Condition", ...]


@dataclass(frozen=True)
class Negated:
    part: "Condition"


Condition = Test | Joined | Negated


def holds(condition: Condition, record: Record) -> bool | None:
    """Whether a record meets a condition; None where nobody knows."""
    match condition:
        case Test(field, op, operand):
            return _tested(field.type, op, record[field.name], operand)
        case Negated(part):
            inner = holds(part, record)
            return None if inner is None else not inner
        case Joined("all", parts):
            return _least([holds(part, record) for part in parts], absent=True)
        case Joined(_, parts):
            found = _least([None if (h := holds(p, record)) is None else not h for p in parts], absent=True)
            return None if found is None else not found
    raise AssertionError(condition)


def _least(found: Iterable[bool | None], *, absent: bool) -> bool | None:
    known = list(found)
    if False in known:
        return False
    return None if None in known else absent


def _tested(type: str, op: str, value: Any, operand: Any) -> bool | None:
    if op == "isNull":
        return (value is None) is operand
    if operand is None:  # eq and ne alone may be asked so
        return (value is None) is (op == "eq")
    if op in ("in", "nin"):
        found = _least([_not(_tested(type, "eq", value, one)) for one in operand], absent=True)
        return found if op == "nin" else _not(found)
    if value is None:
        return None
    mine, other = comparable(type, value), comparable(type, operand)
    match op:
        case "eq":
            return bool(mine == other)
        case "ne":
            return bool(mine != other)
        case "gt":
            return bool(mine > other)
        case "gte":
            return bool(mine >= other)
        case "lt":
            return bool(mine < other)
        case "lte":
            return bool(mine <= other)
        case "like" | "ilike":
            return _pattern(operand, re.IGNORECASE if op == "ilike" else 0).fullmatch(value) is not None
        case "contains":
            return all(one in mine for one in other)
    raise AssertionError(op)


def _not(found: bool | None) -> bool | None:
    return None if found is None else not found


def _pattern(like: str, flags: int) -> re.Pattern[str]:
    """A LIKE pattern, whose escape is the backslash."""
    parts, chars = "", iter(like)
    for char in chars:
        parts += {"%": ".*", "_": "."}.get(char) or re.escape(next(chars) if char == "\\" else char)
    return re.compile(parts, flags | re.DOTALL)


def comparable(type: str, value: Any) -> Any:
    """A value as one that Python compares like PostgreSQL does."""
    if type.startswith("["):
        return [comparable(type.strip("[]"), element) for element in value]
    match type:
        case "number":
            return float(value)
        case "boolean":
            return value in (True, "true")
        case "timestamp":
            return datetime.fromisoformat(value)
        case "uuid":
            return str(value).lower()
        case "json":
            return _json(value)
    return value


def _json(value: Any) -> Any:
    """Numbers are equal by their value, and true is none of them."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return (type(value).__name__, value)
    if isinstance(value, int | float):
        return ("number", float(value))
    if isinstance(value, list):
        return ("list", [_json(part) for part in value])
    return ("object", {key: _json(part) for key, part in value.items()})


def ordered(records: Sequence[Record], field: Field, *, descending: bool) -> list[Record]:
    """By a field, then by id upwards. No value is larger than any value."""

    def compare(one: Record, other: Record) -> int:
        mine, its = one[field.name], other[field.name]
        if mine is None or its is None:
            found = (mine is None) - (its is None)
        else:
            a, b = comparable(field.type, mine), comparable(field.type, its)
            found = (a > b) - (a < b)
        if found:
            return -found if descending else found
        return (one["id"] > other["id"]) - (one["id"] < other["id"])

    return sorted(records, key=cmp_to_key(compare))
