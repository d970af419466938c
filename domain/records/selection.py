"""What is wanted of records, as a tree: fields, the records they lead to, the records that lead to them.

A GraphQL selection, an `expand`, an export: each becomes this tree, and `domain.records.select` makes one SQL
statement of it that builds the JSON. Keys are the names in the answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from domain.records.declared import AppSchema, Field, ObjectType
from domain.records.later import Later
from domain.records.query import ALWAYS, Condition, Key, Op
from domain.records.types import FieldType


@dataclass(frozen=True, slots=True)
class Source:
    """Records of one entity, as far as the caller may see them."""

    schema: AppSchema
    entity: ObjectType


# Of a record.


@dataclass(frozen=True, slots=True)
class Value:
    """A field's value."""

    key: str
    field: Field


@dataclass(frozen=True, slots=True)
class Constant:
    """A text that is the same for every record, like the name of its type."""

    key: str
    text: str


@dataclass(frozen=True, slots=True)
class One:
    """The record that a link field leads to, or null."""

    key: str
    link: Field
    source: Source
    parts: "Sequence[RecordPart]"


@dataclass(frozen=True, slots=True)
class Many:
    """Records whose link field leads to this one; with `forward`, those that a link field of this one leads to."""

    key: str
    link: Field
    listing: "Listing"
    forward: bool = False


RecordPart: TypeAlias = Value | Constant | One | Many


# Of a list.


@dataclass(frozen=True, slots=True)
class Sort:
    """By a key of the record itself, or of the one that `through` leads to."""

    by: Key
    descending: bool = False
    nulls_first: bool | None = None  # as PostgreSQL has it: last ascending, first descending
    through: tuple[tuple[Field, Source], ...] = ()

    @property
    def nulls_come_first(self) -> bool:
        """Where nulls are."""
        return self.descending if self.nulls_first is None else self.nulls_first


@dataclass(frozen=True, slots=True)
class Nodes:
    """The records of the page."""

    key: str
    parts: Sequence[RecordPart]


@dataclass(frozen=True, slots=True)
class Cursor:
    """The cursor of a record in its list."""

    key: str


@dataclass(frozen=True, slots=True)
class Placing:
    """What places a record in its list, like how well it meets a search; null where the list has no such key."""

    key: str
    by: Key | None


@dataclass(frozen=True, slots=True)
class Edges:
    """The records of the page, each with what belongs to its place in the list."""

    key: str
    parts: "Sequence[Cursor | Nodes | Placing | Constant]"  # Nodes here is one node


@dataclass(frozen=True, slots=True)
class PageInfo:
    """Where the page stands: keys and what each tells (hasNextPage, hasPreviousPage, startCursor, endCursor)."""

    key: str
    parts: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Total:
    """How many records there are in all."""

    key: str


# Of records together.


class Function(StrEnum):
    """What is computed of several records."""

    COUNT = "count"
    COUNT_DISTINCT = "countDistinct"
    SUM = "sum"
    AVG = "avg"
    MIN = "min"
    MAX = "max"


@dataclass(frozen=True, slots=True)
class Measure:
    """One number or value computed of records; `field` None where they are only counted."""

    key: str
    function: Function
    field: Field | None = None

    @property
    def own(self) -> FieldType | None:
        """The type of what it comes to where that is the field's; else it is a number."""
        if self.field is None or self.function not in (Function.MIN, Function.MAX, Function.SUM):
            return None
        return self.field.type


@dataclass(frozen=True, slots=True)
class Aggregate:
    """An object of measures, and of such objects."""

    key: str
    parts: "Sequence[Measure | Constant | Aggregate]"


@dataclass(frozen=True, slots=True)
class GroupField:
    """A field that groups are made by; of times, the span (a word of PostgreSQL's date_trunc)."""

    field: Field
    bucket: str | None = None


@dataclass(frozen=True, slots=True)
class GroupKey:
    """A group's own values: keys, and which of the fields it is grouped by each shows."""

    key: str
    parts: "Sequence[tuple[str, GroupField | None] | Constant]"  # None: it is not grouped by that one


@dataclass(frozen=True, slots=True)
class GroupSort:
    """What groups are ordered by."""

    by: Measure | GroupField
    descending: bool = False
    nulls_first: bool | None = None


@dataclass(frozen=True, slots=True)
class Having:
    """What must hold for a group."""

    measure: Measure
    op: Op
    value: Any


@dataclass(frozen=True, slots=True)
class Groups:
    """The records of a list in groups."""

    key: str
    by: Sequence[GroupField]
    parts: Sequence[GroupKey | Aggregate | Constant]
    having: Sequence[Having] = ()
    order: Sequence[GroupSort] = ()
    limit: int | Later = 50


ListPart: TypeAlias = Nodes | Edges | PageInfo | Total | Aggregate | Groups | Constant


@dataclass(frozen=True, slots=True)
class After:
    """Behind a cursor: its key's values, of which those at `nulls` are null."""

    key: Any  # Later: the list of values
    nulls: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """A list of records: which, in what order, what part of them, and what is wanted of it.

    `limit` and `offset` are numbers, or come with each run. `cursor_pads` are the two pads of the HMAC that signs
    this list's cursors, needed where a cursor is wanted.
    """

    source: Source
    parts: Sequence[ListPart]
    where: Condition = ALWAYS
    order: Sequence[Sort] = field(default_factory=tuple)  # the last one unique and never null
    limit: int | Later = 50
    offset: int | Later = 0
    after: After | None = None
    distinct: Sequence[Field] = ()  # of the records that are alike in these fields, only the first
    cursor_pads: tuple[Any, Any] | None = None
