"""The one query model: conditions, order and page. Every spelling of a query parses into it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from domain.records.declared import Field, ObjectType


class Op(StrEnum):
    """What a field may be tested for. Comparisons follow SQL: a row without a value meets none of them."""

    EQ = "eq"
    NE = "ne"
    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"
    LIKE = "like"
    ILIKE = "ilike"
    IN = "in"
    NOT_IN = "nin"
    CONTAINS = "contains"  # the list holds all of the given elements
    IS_NULL = "isNull"
    WITHIN = "within"  # the place is no further from another than that


class Metric(StrEnum):
    """What makes two values near to each other."""

    COSINE = "cosine"
    EUCLIDEAN = "euclidean"
    INNER_PRODUCT = "innerProduct"  # negative, so that what is nearer is less
    METRES = "metres"  # along the surface of the Earth


@dataclass(frozen=True, slots=True)
class Test:
    """One field against one value. `value` is an operand of the field's type, or a list of them, or a flag.

    Of a place that is to be within reach there are three: the degrees of another one, and the metres.
    """

    __test__ = False  # pytest, this is not one of yours
    field: Field
    op: Op
    value: Any


@dataclass(frozen=True, slots=True)
class All:
    """Every part holds. Without parts: always."""

    parts: Sequence["Condition"] = ()


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one part holds. Without parts: never."""

    parts: Sequence["Condition"]


@dataclass(frozen=True, slots=True)
class Not:
    """The part is false; where it is unknown, so is this."""

    part: "Condition"


@dataclass(frozen=True, slots=True)
class Untrue:
    """The part is false or unknown."""

    part: "Condition"


@dataclass(frozen=True, slots=True)
class Compared:
    """One field against another one of the record, both of one type."""

    field: Field
    op: Op
    other: Field


@dataclass(frozen=True, slots=True)
class Linked:
    """The record that a link field leads to, of that entity, meets the part."""

    link: Field
    entity: str
    part: "Condition"


@dataclass(frozen=True, slots=True)
class Linking:
    """A record of that entity whose link field leads here meets the part; with `unknown`, or may meet it.

    With `forward` the link field is this record's, and leads to several of that entity.
    """

    link: Field
    entity: str
    part: "Condition"
    unknown: bool = False
    forward: bool = False


@dataclass(frozen=True, slots=True)
class SharedWith:
    """The record was shared with that user, or with a role of theirs, on one of these levels.

    `user` is an id, or the mark of one that comes with each run.
    """

    app_id: str
    entity: str
    tenant_id: Any
    user: Any
    levels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sought:
    """The record's text has what is asked for: `text` as it stands; or words like `alike`, and those of `exact`.

    All of them are texts, or the marks of texts that come with each run.
    """

    entity: ObjectType
    text: Any
    alike: tuple[Any, ...] = ()
    exact: Any = None


@dataclass(frozen=True, slots=True)
class Near:
    """The field has a value; where there is a `within`, one that is no further from `to` than that.

    `to` is an operand of the field's type; for metres, which are from a place, its two degrees.
    """

    field: Field
    metric: Metric
    to: Any
    within: Any = None


Condition: TypeAlias = Test | All | AnyOf | Not | Untrue | Compared | Linked | Linking | SharedWith | Sought | Near

ALWAYS = All()


# What records may be ordered by: a field's value, how well they meet a search, or how far they are from something.
Key: TypeAlias = Field | Sought | Near


@dataclass(frozen=True, slots=True)
class Order:
    """By one key. Nulls sort as if larger than any value, as PostgreSQL has it."""

    by: Key
    descending: bool = False
