"""The spelling of Objectify: filters like `{"property": "amount", "op": "gte", "value": 100}`, which hold all.

Source: Objectify's filter lists. `all` and `any` join filters, as they do in its policies.
"""

from typing import Any

from domain.kernel.errors import Invalid
from domain.records.declared import Field
from domain.records.query import All, Condition, Op, Untrue
from domain.records.spelling.reader import Reader, Words
from domain.records.types import ListType

VALUES_MAX = 100


class ObjectifyReader(Reader):
    """No value and an absent one are the same: `neq` and `nin` hold of it, everything else but `is_null` does not."""

    words = Words(
        all="all",
        any="any",
        negation="",
        operators={"eq": Op.EQ, "gt": Op.GT, "gte": Op.GTE, "lt": Op.LT, "lte": Op.LTE, "in": Op.IN},
    )
    more = ("neq", "nin", "contains", "starts_with", "ends_with", "between", "is_null", "is_not_null")

    def read(self, where: Any) -> Condition:
        return All(self._list(where, self.path, 0)) if isinstance(where, list) else super().read(where)

    def _object(self, where: Any, path: str, depth: int) -> Condition:
        if not isinstance(where, dict) or where.keys() <= {self.words.all, self.words.any}:
            return super()._object(where, path, depth)
        unknown = next((key for key in where if key not in ("property", "op", "value")), None)
        if unknown is not None:
            raise Invalid(f"{path}.{unknown[:80]}", f"{path} must be a filter of property, op and value")
        name, op = where.get("property"), where.get("op")
        field = self.type.columns.get(name) if isinstance(name, str) else None
        if field is None:
            raise Invalid(
                f"{path}.property", f"{path}.property: unknown property '{str(name)[:80]}' of '{self.type.name}'"
            )
        if not isinstance(op, str):
            raise Invalid(f"{path}.op", f"{path}.op is required")
        return self._operator(field, op, where.get("value"), f"{path}.{op[:80]}")

    def _operator(self, field: Field, key: str, operand: Any, path: str) -> Condition:
        match key:
            case "is_null" | "is_not_null":
                return self.test(field, Op.IS_NULL, key == "is_null", path)
            case "neq":
                return Untrue(self._valued(field, Op.EQ, operand, path))
            case "in" | "nin":
                among = self._among(field, operand, path)
                return among if key == "in" else Untrue(among)
            case "between":
                low, high = self.bounds(operand, path)
                return All([self.test(field, Op.GTE, low, path), self.test(field, Op.LTE, high, path)])
            case "contains":
                if isinstance(field.type, ListType):
                    return self.test(field, Op.CONTAINS, [operand], path)
                return self.like(field, Op.ILIKE, operand, path, before="%", after="%")
            case "starts_with":
                return self.like(field, Op.ILIKE, operand, path, before="", after="%")
            case "ends_with":
                return self.like(field, Op.ILIKE, operand, path, before="%", after="")
        op = self.words.operators.get(key)
        if op is None:
            known = ", ".join((*self.words.operators, *self.more))
            raise Invalid(path, f"{path}: unknown operator '{key[:80]}'; there are {known}")
        return self._valued(field, op, operand, path)

    def _valued(self, field: Field, op: Op, operand: Any, path: str) -> Condition:
        if operand is None:
            raise Invalid(path, f"{path} needs a value; is_null asks for none")
        return self.test(field, op, operand, path)

    def _among(self, field: Field, operand: Any, path: str) -> Condition:
        if not isinstance(operand, list) or not 1 <= len(operand) <= VALUES_MAX:
            raise Invalid(path, f"{path} must be a list of 1 to {VALUES_MAX} values")
        return self.test(field, Op.IN, operand, path)
