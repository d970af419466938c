"""Reading conditions written as JSON objects: what all spellings share."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from domain.kernel.errors import Invalid
from domain.records.declared import Field, ObjectType
from domain.records.later import Later, origin_of, plain, read_operand
from domain.records.query import ALWAYS, All, AnyOf, Condition, Not, Op, Test
from domain.records.types import FieldType, NotOfType, within_reach

DEPTH_MAX = 20
TESTS_MAX = 500
LIST_MAX = 10_000
_WILD, _ESCAPED = re.compile(r"[\\%_]"), r"\\\g<0>"  # what a pattern does not take as it is


@dataclass(frozen=True, slots=True)
class Words:
    """The words a spelling uses: its connectives, and how it writes each operator."""

    all: str
    any: str
    negation: str
    operators: Mapping[str, Op]


class Reader:
    """Reads one `where`. A spelling says in its words, and by overriding, where it differs."""

    words: Words

    def __init__(self, type: ObjectType, path: str = "where") -> None:
        self.type = type
        self.path = path
        self._tests = 0

    def read(self, where: Any) -> Condition:
        """The condition. Raises Invalid with the path of what is wrong."""
        return ALWAYS if where is None else self._object(where, self.path, 0)

    def _object(self, where: Any, path: str, depth: int) -> Condition:
        if not isinstance(where, dict):
            raise Invalid(path, f"{path} must be an object")
        self.refuse_deep(path, depth)
        parts = [self._entry(key, value, f"{path}.{key}", depth) for key, value in where.items()]
        return parts[0] if len(parts) == 1 else All(parts)

    def refuse_deep(self, path: str, depth: int) -> None:
        """Raises Invalid where that many levels are too many."""
        if depth > DEPTH_MAX:
            raise Invalid(path, f"{self.path} is nested too deeply: at most {DEPTH_MAX} levels")

    def _entry(self, key: str, value: Any, path: str, depth: int) -> Condition:
        words = self.words
        if key == words.all:
            return All(self._list(value, path, depth))
        if key == words.any:
            return self.any_of(self._list(value, path, depth))
        if key == words.negation:
            return Not(self._object(value, path, depth + 1))
        field = self.type.columns.get(key)
        if field is None:
            raise Invalid(path, f"unknown field '{key[:80]}' of '{self.type.name}'")
        return self.field(field, value, path)

    def _list(self, value: Any, path: str, depth: int) -> Sequence[Condition]:
        if not isinstance(value, list):
            raise Invalid(path, f"{path} must be a list")
        return [self._object(part, f"{path}.{index}", depth + 1) for index, part in enumerate(value)]

    def any_of(self, parts: Sequence[Condition]) -> Condition:
        """What a disjunction comes to; spellings differ on the empty one."""
        return AnyOf(parts)

    def field(self, field: Field, value: Any, path: str) -> Condition:
        """The condition on one field: an object of operators, or a plain value."""
        if not isinstance(value, dict):
            return self.test(field, Op.EQ, value, path)
        tests = [self._operator(field, key, operand, f"{path}.{key}") for key, operand in value.items()]
        return tests[0] if len(tests) == 1 else All(tests)

    def _operator(self, field: Field, key: str, operand: Any, path: str) -> Condition:
        op = self.words.operators.get(key)
        if op is None:
            known = ", ".join(self.words.operators)
            raise Invalid(path, f"unknown operator '{key[:80]}'; there are {known}")
        return self.test(field, op, operand, path)

    def test(self, field: Field, op: Op, value: Any, path: str) -> Condition:
        """One test of a field, its operand read by the field's type."""
        self.count()
        if op.value not in field.type.operators:
            raise Invalid(path, f"operator {path.rsplit('.', 1)[-1]} does not fit {field.type.name} fields")
        if op is Op.IS_NULL:
            return Test(field, op, self.flag(value, path))
        if value is None and op in (Op.EQ, Op.NE):
            return Test(field, Op.IS_NULL, op is Op.EQ)
        if op is Op.WITHIN:
            return Test(field, op, tuple(self.operand(value, path, reach) for reach in _REACH))
        read = self.reading(field, op)
        if op in (Op.IN, Op.NOT_IN):
            return Test(field, op, self.operands(value, path, read))
        return Test(field, op, self.operand(value, path, read))

    def count(self) -> None:
        """Raises Invalid where one more condition is too many."""
        self._tests += 1
        if self._tests > TESTS_MAX:
            raise Invalid(self.path, f"{self.path} has more than {TESTS_MAX} conditions")

    def reading(self, field: Field, op: Op) -> Callable[[Any], Any]:
        """How the operand of a test is read."""
        return partial(_pattern, field.type) if op in (Op.LIKE, Op.ILIKE) else field.type.operand

    def like(self, field: Field, op: Op, text: Any, path: str, *, before: str, after: str) -> Condition:
        """The field holds a text as it is, with anything before or after it (`%`) or nothing."""
        if not isinstance(text, str):
            raise Invalid(path, f"{path} must be a text")
        return self.test(field, op, f"{before}{_WILD.sub(_ESCAPED, text)}{after}", path)

    def bounds(self, value: Any, path: str) -> tuple[Any, Any]:
        """The two ends of a range."""
        if not isinstance(value, list) or len(value) != 2 or None in value:
            raise Invalid(path, f"{path} must be a list of two values, the lower and the upper bound")
        return value[0], value[1]

    def flag(self, value: Any, path: str) -> bool:
        """The operand of a null test."""
        if not isinstance(value, bool):
            raise Invalid(path, f"{path} must be true or false")
        return value

    def operands(self, value: Any, path: str, read: Callable[[Any], Any]) -> Any:
        """The operands of a membership test, each as `operand` has it. Raises Invalid."""
        if not isinstance(value, list):
            raise Invalid(path, f"{path} must be a list")
        if len(value) > LIST_MAX:
            raise Invalid(path, f"{path} must have at most {LIST_MAX} elements")
        return [self.operand(self.element(part), f"{path}.{index}", read) for index, part in enumerate(value)]

    def element(self, value: Any) -> Any:
        """An element of a membership list, before it is read."""
        return value

    def operand(self, value: Any, path: str, read: Callable[[Any], Any]) -> Any:
        """The operand as the field's type reads it; of a traced value, how that of each run is read. Raises Invalid."""
        origin = origin_of(value)
        found = read_operand(read, value if origin is None else plain(value), path)
        return found if origin is None else Later(origin.variable, origin.steps, path, read)


# The operands of what is to be within reach: the two degrees of the place, and the metres.
_REACH = (
    lambda value: within_reach(value)[0],
    lambda value: within_reach(value)[1],
    lambda value: within_reach(value)[2],
)


def _pattern(type: FieldType, value: Any) -> Any:
    pattern = type.operand(value)
    if (len(pattern) - len(pattern.rstrip("\\"))) % 2 == 1:
        raise NotOfType("must not end with a \\ that stands for nothing")
    return pattern
