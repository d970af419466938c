"""What an app declares: object types, their fields, links, indexes and checks, as plain values.

Every dialect's declaration (a RootCX manifest, ObjectOS metadata, an Objectify object type) parses into these.
"""

import hashlib
import json
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from domain.access.permissions import Verb
from domain.kernel.unit import Statement

if TYPE_CHECKING:
    from domain.records.computed import Computed
    from domain.records.policies import Guard
    from domain.records.types import FieldType

T = TypeVar("T")


class OnDelete(StrEnum):
    """What happens to a link when the record it leads to goes."""

    CASCADE = "cascade"
    RESTRICT = "restrict"
    SET_NULL = "set_null"


STATEMENTS_MAX = 500  # kept of an app, for each set of policies that somebody is bound by
SYSTEM_FIELDS = ("id", "created_at", "updated_at")  # every record has them; who writes cannot set them
USERS = "core:users"  # the one target of links outside the app


@dataclass(frozen=True, slots=True)
class Link:
    """Where a link field leads: an entity of the same app, or the accounts."""

    target: str
    on_delete: OnDelete


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an object type; `name` is also its column."""

    name: str
    type: "FieldType"
    required: bool = False
    default: Any = None  # a JSON value; None for no default
    options: tuple[str, ...] | None = None  # the only values allowed
    link: Link | None = None
    unique: bool = False
    description: str = ""
    renamed_from: str | None = None  # what it was called before
    computed: "Computed | None" = None  # where the value comes from, if not from what was written into its column

    @property
    def stored(self) -> bool:
        """Whether the table has a column for it."""
        return self.computed is None or self.computed.stored

    @property
    def writable(self) -> bool:
        """Whether a record's writer sets it."""
        return self.type.written if self.computed is None else self.computed.written


@dataclass(frozen=True, slots=True)
class IndexPart:
    """A column, or an expression, in an index."""

    column: str | None = None
    expression: str | None = None
    descending: bool = False
    nulls_first: bool | None = None
    operator_class: str | None = None


@dataclass(frozen=True, slots=True)
class Index:
    """An index the declaration asks for."""

    name: str
    parts: tuple[IndexPart, ...]
    unique: bool = False
    method: str = "btree"
    where: str | None = None
    options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Check:
    """A condition every row must meet: a boolean SQL expression over the row's columns."""

    name: str
    expression: str


@dataclass(frozen=True, slots=True)
class SearchField:
    """A field whose text is searched, or (`listed`) whose texts are. `weight` is from A, which counts most, to D."""

    name: str
    weight: str
    listed: bool = False


@dataclass(frozen=True, slots=True)
class Search:
    """What of the records of an entity is searched. `language` is a text search configuration of PostgreSQL's."""

    fields: tuple[SearchField, ...]
    language: str = "simple"
    typos: bool = True  # whether words are found too that are merely like one asked for


@dataclass(frozen=True, slots=True)
class Identity:
    """What a record stands for across apps: records of one kind with equal keys are about the same thing."""

    kind: str
    key: str


@dataclass(frozen=True, slots=True)
class Policy:
    """A part of an entity's records, and of their fields, that somebody may be confined to.

    `where` says which rows, `check` what must hold of a row that was written, both as `domain.records.policies` reads
    them; None for any row, and for the same as `where`. `path` is where the manifest has it.
    """

    name: str
    path: str
    verbs: frozenset[Verb]
    where: Any = None
    check: Any = None
    hidden: frozenset[str] = frozenset()
    masked: frozenset[str] = frozenset()  # shown in part, and not written
    read_only: frozenset[str] = frozenset()
    description: str = ""

    @property
    def closed(self) -> frozenset[str]:
        """The fields that nobody writes under it."""
        return self.hidden | self.masked | self.read_only


@dataclass(frozen=True)
class ObjectType:
    """One kind of record. `fields` holds the declared ones, in order; the system's own are added around them."""

    name: str
    fields: tuple[Field, ...]
    identity: Identity | None = None
    indexes: tuple[Index, ...] = ()
    checks: tuple[Check, ...] = ()
    description: str = ""
    trash: bool = False  # what is deleted can be restored for a while
    renamed_from: str | None = None  # what it was called before
    search: Search | None = None
    policies: tuple[Policy, ...] = ()
    guard: "Guard | None" = None  # how far a caller may go who may not do everything: then this is what they see

    @cached_property
    def columns(self) -> Mapping[str, Field]:
        """All fields by name, in the order a record shows them: id, the declared ones, the two times."""
        from domain.records.types import TIMESTAMP, UUID_TYPE

        own = {f.name: f for f in self.fields}
        first = replace(own.pop("id", Field("id", UUID_TYPE)), required=True)
        times = {name: Field(name, TIMESTAMP, required=True) for name in ("created_at", "updated_at")}
        return {"id": first, **own, **times}

    @cached_property
    def stored(self) -> Mapping[str, Field]:
        """Those of them that the table has a column for."""
        return {name: field for name, field in self.columns.items() if field.stored}

    def in_schema(self, schema_name: str) -> "ObjectType":
        """The type with its tables in that schema, for what is computed of other tables."""
        placed = tuple(
            field if field.computed is None else replace(field, computed=field.computed.placed(schema_name))
            for field in self.fields
        )
        return replace(self, fields=placed)

    @cached_property
    def _made(self) -> dict[str, Any]:
        return {}

    def once(self, what: str, make: Callable[[], T]) -> T:
        """What `make` comes to: made once, since nothing but this declaration, in its app, goes into it."""
        if what not in self._made:
            self._made[what] = make()
        made: T = self._made[what]
        return made

    @cached_property
    def own_id(self) -> bool:
        """Whether the declaration has an `id` field of its own."""
        return any(f.name == "id" for f in self.fields)


def policies_mark(types: Iterable[ObjectType]) -> str:
    """Tells the policies of these types from other ones: equal marks, equal policies. In every process the same."""
    told = [
        [type.name, policy.name, policy.where, policy.check]
        + [sorted(part) for part in (policy.verbs, policy.hidden, policy.masked, policy.read_only)]
        for type in sorted(types, key=lambda type: type.name)
        for policy in type.policies
    ]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class AppSchema:
    """The object types of one installed app, and where their tables are."""

    tenant_id: Any
    app_id: str
    app_name: str
    schema_name: str
    revision: int
    types: Mapping[str, ObjectType] = field(default_factory=dict)
    # The same as callers see it, by the keys they hold; see `domain.records.policies.seen_by`.
    seen: "dict[frozenset[str], AppSchema]" = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def _statements(self) -> dict[Hashable, Statement]:
        return {}

    def statement(self, form: Hashable, make: Callable[[], Statement]) -> Statement:
        """The statement of that form, kept from when it was first needed: so many of an app as may be kept.

        It is this declaration's: another caller, who is bound by other policies, has another.
        """
        known = self._statements
        found = known.get(form)
        if found is None:
            found = make()
            if len(known) >= STATEMENTS_MAX:
                known.clear()
            known[form] = found
        return found

    @cached_property
    def policies_mark(self) -> str:
        """See the function of that name."""
        return policies_mark(self.types.values())

    @cached_property
    def has_policies(self) -> bool:
        """Whether an entity declares any."""
        return any(entity.policies for entity in self.types.values())
