"""The spelling of RootCX (Data API query language, sections 4.1 to 4.3)."""

from collections.abc import Callable, Sequence
from typing import Any

from domain.kernel.errors import Invalid
from domain.records.declared import Field
from domain.records.query import ALWAYS, AnyOf, Condition, Op
from domain.records.spelling.reader import Reader, Words
from domain.records.types import JsonType


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
