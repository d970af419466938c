"""What every field type says of itself."""

from typing import Any, ClassVar

from domain.kernel.rawjson import json_of
from domain.kernel.reading import Node, json_problem
from domain.records.naming import literal

ONLY_NULL = frozenset({"isNull"})
EQUALITY = ONLY_NULL | {"eq", "ne", "in", "nin"}
ORDER = EQUALITY | {"gt", "gte", "lt", "lte"}
PATTERN = ORDER | {"like", "ilike"}


class NotOfType(ValueError):
    """A value that a type cannot hold. The text completes `<field> ...`."""


class FieldType:
    """How one kind of value is stored, read from JSON, compared, shown and described.

    A type with parameters (the scale of a decimal, say) is a frozen dataclass of them, made from a declaration by
    `declared`: equal declarations have equal types. What a type doesn't say is as here: stored, compared and shown as
    PostgreSQL does by itself.
    """

    name: ClassVar[str]
    parameters: ClassVar[tuple[str, ...]] = ()  # the keys of a declaration that `declared` reads

    @classmethod
    def declared(cls, node: Node) -> "FieldType":
        """The type with the parameters of a field's declaration. Raises Invalid."""
        return cls()

    @property
    def column(self) -> str:
        """The PostgreSQL type, spelled as PostgreSQL spells it."""
        raise NotImplementedError

    @property
    def operators(self) -> frozenset[str]:
        """The tests that make sense of such values."""
        return ORDER

    @property
    def sortable(self) -> bool:
        """Whether records can be ordered by such values."""
        return "gt" in self.operators

    @property
    def written(self) -> bool:
        """Whether a record's writer sets such values; else the database does."""
        return True

    @property
    def element(self) -> "FieldType":
        """What the values of a list are, the type itself where there is no list."""
        return self

    @property
    def foreign_words(self) -> str | None:
        """A pattern of texts that PostgreSQL would take for a value and that must not be cast."""
        return None

    # Values.

    def stored(self, value: Any) -> Any:
        """A JSON value to store, checked and in its JSON form. Raises NotOfType."""
        raise NotImplementedError

    def operand(self, value: Any) -> Any:
        """A JSON value to compare with, as the driver wants it. Raises NotOfType."""
        return self.stored(value)

    # In SQL.

    @property
    def bound(self) -> str:
        """What the driver is told a parameter is, and what to cast it to."""
        return self.column

    @property
    def bound_list(self) -> str:
        """The same for a list of operands."""
        return "::".join(f"{type}[]" for type in self.bound.split("::"))

    def shown(self, sql: str) -> str:
        """SQL of a value's JSON form, where that isn't PostgreSQL's own."""
        return sql

    def read_back(self, text: str) -> str | None:
        """SQL of what PostgreSQL reads a value from, as `jsonb`, of the text of its JSON form; null of null.

        None where the JSON form itself will do.
        """
        return None

    def compared(self, sql: str, sign: str, operand: str) -> str:
        """SQL of a comparison, `sign` being PostgreSQL's."""
        return f"{sql} {sign} {operand}"

    def constant(self, stored: Any) -> str:
        """A stored value as an SQL constant, for a default."""
        return f"{literal(stored if isinstance(stored, str) else json_of(stored))}::{self.column}"

    def rule(self, column: str) -> str | None:
        """What holds for every stored value (SQL over the quoted column) beyond what its PostgreSQL type knows."""
        return None

    def converted(self, column: str) -> str:
        """SQL that turns an existing column (quoted name) of another type into this one, or fails.

        A plain cast, but for words that PostgreSQL reads as values which no JSON value stands for.
        """
        text = f"{column}::text"
        if self.foreign_words is not None:
            text = f"CASE WHEN {text} ~* '{self.foreign_words}' THEN 'refused: ' || {text} ELSE {text} END"
        return f"({text})::{self.column}"

    # To others.

    def describe(self) -> dict[str, Any]:
        """The JSON Schema of a stored value."""
        raise NotImplementedError

    @property
    def graphql(self) -> str:
        """The GraphQL scalar of one value; the type itself is a list where `element` is another type."""
        return "String"

    @property
    def filter(self) -> str:
        """The name of the GraphQL input that tests such a field: equal names have equal operators."""
        return f"{self.graphql}Filter"


def json_text(value: Any) -> str:
    """The JSON text of a value that fits into PostgreSQL. Raises NotOfType."""
    return json_of(storable(value))


def storable(value: Any) -> Any:
    """A JSON value, if PostgreSQL can hold it. Raises NotOfType."""
    problem = json_problem(value)
    if problem is not None:
        raise NotOfType(problem)
    return value
