"""The spelling of ObjectQL, as ObjectOS has it: `{"status": "open", "hours": {"$gte": 8}}`, or triples in lists.

Sources: ObjectQL's `where` operators, and the triples that its query builder sends. A condition is true or not: where
a record has no value, what is told of it is not true, and so its negation is.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from domain.kernel.errors import Invalid
from domain.records.declared import Field
from domain.records.query import All, AnyOf, Compared, Condition, Op, Test, Untrue
from domain.records.spelling.reader import DEPTH_MAX, Reader, Words
from domain.records.types import TIMESTAMP, ListType

MIDNIGHT = "T00:00:00Z"
COMPARED = (Op.EQ, Op.NE, Op.GT, Op.GTE, Op.LT, Op.LTE)
INSTEAD = {"$regex": "$contains, $startsWith, $endsWith or $like", "$options": "$icontains or $ilike"}

# How the middle of a triple is spelled otherwise.
TRIPLES = {
    "=": "$eq", "==": "$eq", "equals": "$eq", "eq": "$eq", "!=": "$ne", "<>": "$ne", "ne": "$ne", "not_equals": "$ne",
    ">": "$gt", "gt": "$gt", "after": "$gt", ">=": "$gte", "gte": "$gte", "<": "$lt", "lt": "$lt", "before": "$lt",
    "<=": "$lte", "lte": "$lte", "in": "$in", "nin": "$nin", "not_in": "$nin", "contains": "$contains",
    "notcontains": "$notContains", "icontains": "$icontains", "like": "$like", "ilike": "$ilike",
    "startswith": "$startsWith", "endswith": "$endsWith", "between": "$between", "is_null": "$null",
    "is_not_null": "$exists", "is_empty": "$null", "is_not_empty": "$exists",
}  # fmt: skip


class ObjectqlReader(Reader):
    """Null is a value that `$eq`, `$ne`, `$in` and `$nin` know; `$ne`, `$nin` and `$notContains` hold without one."""

    words = Words(
        all="$and",
        any="$or",
        negation="$not",
        operators={f"${op.value}": op for op in (*COMPARED, Op.IN, Op.NOT_IN, Op.LIKE, Op.ILIKE)},
    )

    def read(self, where: Any) -> Condition:
        return self._triples(where, self.path, 0) if isinstance(where, list) else super().read(where)

    def _triples(self, where: Any, path: str, depth: int) -> Condition:
        """`[field, operator, value]`, `["and", ...]`, `["or", ...]`, or a list of those, which hold all."""
        if isinstance(where, dict):
            return self._object(where, path, depth)
        if not isinstance(where, list) or not where or depth > DEPTH_MAX:
            raise Invalid(path, f"{path} must be [field, operator, value], or a list of such conditions")
        head, *rest = where
        if head in ("and", "or"):
            parts = [self._triples(part, f"{path}.{n}", depth + 1) for n, part in enumerate(rest, 1)]
            return All(parts) if head == "and" else AnyOf(parts)
        if not isinstance(head, str):
            return All([self._triples(part, f"{path}.{n}", depth + 1) for n, part in enumerate(where)])
        if len(where) not in (2, 3) or not isinstance(where[1], str):
            raise Invalid(path, f"{path} must be [field, operator, value]")
        operator = TRIPLES.get(where[1].lower())
        if operator is None:
            raise Invalid(f"{path}.1", f"{path}.1: unknown operator '{where[1][:80]}'; there are {', '.join(TRIPLES)}")
        value = True if operator in ("$null", "$exists") else where[2] if len(where) > 2 else None
        return self._entry(head, {operator: value}, path, depth)

    def _entry(self, key: str, value: Any, path: str, depth: int) -> Condition:
        if key == self.words.negation:
            return Untrue(self._object(value, path, depth + 1))
        if key.startswith("$") and key not in (self.words.all, self.words.any):
            raise Invalid(path, f"{path}: '{key[:80]}' joins no conditions; $and, $or and $not do")
        return super()._entry(key, value, path, depth)

    def field(self, field: Field, value: Any, path: str) -> Condition:
        if isinstance(value, list):
            raise Invalid(path, f"{path} must be one value: $in asks for one of several")
        if isinstance(value, dict) and not value:
            raise Invalid(path, f"{path} must have an operator")
        return super().field(field, value, path)

    def _operator(self, field: Field, key: str, operand: Any, path: str) -> Condition:
        match key:
            case "$null" | "$exists":
                return self.test(field, Op.IS_NULL, self.flag(operand, path) is (key == "$null"), path)
            case "$between":
                return self._between(field, operand, path)
            case "$contains" | "$icontains":
                return self._holds(field, operand, path)
            case "$notContains":
                return Untrue(self._holds(field, operand, path))
            case "$startsWith":
                return self.like(field, Op.LIKE, operand, path, before="", after="%")
            case "$endsWith":
                return self.like(field, Op.LIKE, operand, path, before="%", after="")
            case "$in" | "$nin":
                return self._among(field, key, operand, path)
        if key in INSTEAD:
            raise Invalid(path, f"{path} is not taken any more: use {INSTEAD[key]}")
        op = self.words.operators.get(key)
        if isinstance(operand, dict) and op in COMPARED and operand.keys() == {"$field"}:
            return self._compared(field, op, operand["$field"], path)
        if op is Op.NE and operand is not None:
            return Untrue(self.test(field, Op.EQ, operand, path))
        if operand is None and op in (Op.GT, Op.GTE, Op.LT, Op.LTE):
            raise Invalid(path, f"{path} must be a value to compare with, not null")
        if op is Op.LTE:
            return self._up_to(field, operand, path)
        return super()._operator(field, key, operand, path)

    def _holds(self, field: Field, operand: Any, path: str) -> Condition:
        if isinstance(field.type, ListType):
            return self.test(field, Op.CONTAINS, [operand], path)
        return self.like(field, Op.ILIKE, operand, path, before="%", after="%")

    def _between(self, field: Field, operand: Any, path: str) -> Condition:
        low, high = self.bounds(operand, path)
        return All([self.test(field, Op.GTE, low, f"{path}.0"), self._up_to(field, high, f"{path}.1")])

    def _up_to(self, field: Field, operand: Any, path: str) -> Condition:
        """A day is meant whole where moments are compared with it."""
        day = _day(field, operand)
        if day is None or day == date.max:
            return self.test(field, Op.LTE, operand, path)
        return self.test(field, Op.LT, f"{day + timedelta(days=1)}{MIDNIGHT}", path)

    def test(self, field: Field, op: Op, value: Any, path: str) -> Condition:
        day = _day(field, value)
        return super().test(field, op, value if day is None else f"{day}{MIDNIGHT}", path)

    def _among(self, field: Field, key: str, operand: Any, path: str) -> Condition:
        if not isinstance(operand, list):
            raise Invalid(path, f"{path} must be a list")
        values = [value for value in operand if value is not None]
        parts: Sequence[Condition] = [self.test(field, Op.IN, values, path)]
        if len(values) < len(operand):
            parts = [*parts, Test(field, Op.IS_NULL, True)]
        among = parts[0] if len(parts) == 1 else AnyOf(parts)
        return among if key == "$in" else Untrue(among)

    def _compared(self, field: Field, op: Op, name: Any, path: str) -> Condition:
        other = self.type.columns.get(name) if isinstance(name, str) else None
        if other is None:
            raise Invalid(f"{path}.$field", f"{path}.$field must be a field of '{self.type.name}'")
        if other.type != field.type or op.value not in field.type.operators:
            raise Invalid(path, f"{path}: '{field.name}' and '{other.name}' cannot be compared so")
        return Compared(field, op, other)


def _day(field: Field, value: Any) -> date | None:
    """The day that a moment is compared with, where it is one."""
    if field.type != TIMESTAMP or not isinstance(value, str) or len(value) != len("2026-06-10"):
        return None
    try:
        return date.fromisoformat(value)
    except ValueError:
        return None  # the field's type says what is wrong with it
