"""Types whose values are lists of values of another type."""

from dataclasses import dataclass
from typing import Any, ClassVar

from domain.kernel.reading import Node
from domain.records.types.base import FieldType, NotOfType
from domain.records.types.moments import DateType, TimestampType
from domain.records.types.numbers import IntegerType, NumberType
from domain.records.types.scalars import BooleanType, UuidType
from domain.records.types.texts import TextType

ELEMENTS_MAX = 10_000


class ListType(FieldType):
    """A list of values of one type."""

    operators = frozenset({"eq", "ne", "isNull", "contains"})

    @property
    def item(self) -> FieldType:
        """The type of the values."""
        raise NotImplementedError

    @property
    def column(self) -> str:
        return f"{self.item.column}[]"

    @property
    def foreign_words(self) -> str | None:
        return self.item.foreign_words

    @property
    def element(self) -> FieldType:
        return self.item

    @property
    def bound(self) -> str:
        return self.item.bound_list

    @property
    def bound_list(self) -> str:
        raise NotImplementedError  # PostgreSQL has no lists of lists, and no operator needs one

    def stored(self, value: Any) -> list[Any]:
        return [self.item.stored(self.checked(element)) for element in self._list(value)]

    def operand(self, value: Any) -> list[Any]:
        return [self.item.operand(self.checked(element)) for element in self._list(value)]

    def _list(self, value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise NotOfType(f"must be a list of {self.item.name} values")
        return value

    def checked(self, element: Any) -> Any:
        """An element that the item's type may read. Raises NotOfType."""
        if element is None:
            raise NotOfType("must be a list without nulls")
        return element

    def constant(self, stored: Any) -> str:
        return f"ARRAY[{', '.join(self.item.constant(element) for element in stored)}]::{self.column}"

    def describe(self) -> dict[str, Any]:
        return {"type": "array", "items": self.item.describe()}

    @property
    def graphql(self) -> str:
        return self.item.graphql

    @property
    def filter(self) -> str:
        return f"{self.item.graphql}ListFilter"


@dataclass(frozen=True)
class TextListType(ListType):
    """A list of texts."""

    name = "[text]"
    item = TextType()

    def checked(self, element: Any) -> str:
        if not isinstance(element, str):
            raise NotOfType("must be a list of texts")
        return element


@dataclass(frozen=True)
class NumberListType(ListType):
    """A list of numbers."""

    name = "[number]"
    item = NumberType()

    def checked(self, element: Any) -> float | int:
        if isinstance(element, bool) or not isinstance(element, int | float):
            raise NotOfType("must be a list of numbers")
        return element


@dataclass(frozen=True)
class IntegerListType(ListType):
    """A list of whole numbers."""

    name = "[integer]"
    item = IntegerType()


@dataclass(frozen=True)
class BooleanListType(ListType):
    """A list of flags."""

    name = "[boolean]"
    item = BooleanType()


@dataclass(frozen=True)
class DateListType(ListType):
    """A list of days."""

    name = "[date]"
    item = DateType()


@dataclass(frozen=True)
class TimestampListType(ListType):
    """A list of moments."""

    name = "[timestamp]"
    item = TimestampType()


@dataclass(frozen=True)
class UuidListType(ListType):
    """A list of UUIDs."""

    name = "[uuid]"
    item = UuidType()


@dataclass(frozen=True)
class TagsType(TextListType):
    """A set of short texts, in the order they were given."""

    name = "tags"
    parameters = ("max_items",)
    TAG_CHARS_MAX: ClassVar[int] = 255
    max_items: int = 100

    @classmethod
    def declared(cls, node: Node) -> "TagsType":
        """With at most `max_items` of them."""
        return cls(node.integer("max_items", "maxItems", default=100, minimum=1, maximum=ELEMENTS_MAX))

    def stored(self, value: Any) -> list[str]:
        texts = list(dict.fromkeys(text.strip() for text in super().stored(value)))
        if not all(0 < len(text) <= self.TAG_CHARS_MAX for text in texts):
            raise NotOfType(f"must be a list of texts of 1 to {self.TAG_CHARS_MAX} characters")
        if len(texts) > self.max_items:
            raise NotOfType(f"must have at most {self.max_items} elements")
        return texts

    def rule(self, column: str) -> str | None:
        return f"cardinality({column}) <= {self.max_items}"

    def describe(self) -> dict[str, Any]:
        items = {"type": "string", "minLength": 1, "maxLength": self.TAG_CHARS_MAX}
        return {"type": "array", "items": items, "maxItems": self.max_items, "uniqueItems": True}


@dataclass(frozen=True)
class MultiEnumType(TextListType):
    """Several of the texts that the field declares, none of them twice."""

    name = "multi_enum"

    def stored(self, value: Any) -> list[str]:
        return list(dict.fromkeys(super().stored(value)))

    def describe(self) -> dict[str, Any]:
        return {"type": "array", "items": {"type": "string"}, "uniqueItems": True}


@dataclass(frozen=True)
class LinksType(ListType):
    """The ids of several records, none of them twice, in the order they were given."""

    name = "many_to_many"
    LINKS_MAX: ClassVar[int] = 1000
    id: FieldType

    @property
    def item(self) -> FieldType:
        return self.id

    def stored(self, value: Any) -> list[Any]:
        ids = list(dict.fromkeys(super().stored(value)))
        if len(ids) > self.LINKS_MAX:
            raise NotOfType(f"must have at most {self.LINKS_MAX} elements")
        return ids

    def describe(self) -> dict[str, Any]:
        return {"type": "array", "items": self.id.describe(), "maxItems": self.LINKS_MAX, "uniqueItems": True}
