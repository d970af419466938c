"""What the log of changes knows of records. Versions and the trash are read from it, so there is no second copy.

A table's triggers write an entry for each change of each record, whichever door it came by and in its own transaction,
with the record before and after. An entry is a version; a record whose last entry is its deletion is in the trash.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any
from uuid import UUID

from domain.kernel.rawjson import RawJson
from domain.records.declared import SYSTEM_FIELDS, ObjectType
from domain.records.opening import Opened
from domain.records.sql import Params
from domain.records.types import MASK

TRASH_KEPT = timedelta(days=30)
ENTRY = "a"  # the alias of an entry of the log
AFTERWARDS = f"coalesce({ENTRY}.new_record, {ENTRY}.old_record)"  # the record, or what it was in the end


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A field with another value, as JSON text; None for no value."""

    field: str
    before: RawJson | None
    after: RawJson | None


@dataclass(frozen=True)
class Entry:
    """What happened to a record, and how it was left. `record` has the fields that are declared today."""

    entry_id: int
    operation: str  # INSERT, UPDATE or DELETE
    record_id: str
    record: RawJson
    held: frozenset[str]  # the fields it had
    changed_at: datetime
    actor_id: UUID | None
    delegator_id: UUID | None
    door: str | None

    @cached_property
    def fields(self) -> dict[str, Any]:
        """The record, parsed; with integers of any size."""
        parsed: dict[str, Any] = json.loads(self.record)
        return parsed

    @property
    def values(self) -> dict[str, Any]:
        """What somebody may have written of it: not of fields declared later, nor what the log knows masked only."""
        written = self.held - set(SYSTEM_FIELDS)
        return {name: value for name, value in self.fields.items() if name in written and value != MASK}


ENTRY_COLUMNS = ", ".join(
    f"{ENTRY}.{name}" for name in ("operation", "record_id", "changed_at", "actor_id", "delegator_id", "door")
)


def entry(row: Mapping[str, Any]) -> Entry:
    """An entry of a row with `ENTRY_COLUMNS`, `entry_id`, and what `shown` makes."""
    return Entry(
        entry_id=row["entry_id"],
        operation=row["operation"],
        record_id=row["record_id"],
        record=RawJson(row["shown"]),
        held=frozenset(row["held"]),
        changed_at=row["changed_at"],
        actor_id=row["actor_id"],
        delegator_id=row["delegator_id"],
        door=row["door"],
    )


def whole(entity: ObjectType) -> ObjectType:
    """The entity as it is declared, whoever looks at it."""
    return entity if entity.guard is None else entity.guard.entity


def of_entity(at: Opened, params: Params, alias: str = ENTRY) -> str:
    """SQL: an entry is of a record of this entity, under the name it has or, as it says itself, had."""
    former = at.entity.renamed_from
    names = [at.entity.name, *([former] if former is not None and former not in at.schema.types else [])]
    return f"{alias}.entity IN ({', '.join(params.add(name, 'text') for name in names)})"


def declared(entity: ObjectType, params: Params) -> str:
    """The names of the fields that the entity's table has, as a parameter; of those that are shown in each row."""
    in_some = entity.guard.fields if entity.guard is not None else ()
    return params.add([name for name in entity.stored if name not in in_some], "text[]")


def shown(record: str, names: str) -> str:
    """SQL of a past record as JSON text: what it had of the fields declared today, in their order.

    And of the fields it had at all.
    """
    pairs = f"json_object_agg(c.name, {record} -> c.name ORDER BY c.n)"
    return (
        f"(SELECT {pairs} FROM unnest({names}) WITH ORDINALITY c (name, n))::text AS shown, "
        f"ARRAY(SELECT jsonb_object_keys({record})) AS held"
    )


def changed_fields(before: str, after: str, names: str) -> str:
    """SQL of the fields that differ between two past records: arrays of names and of JSON texts, in one JSON array."""
    old, new = (f"nullif({record} -> c.name, 'null')" for record in (before, after))
    return (
        "(SELECT json_build_array(coalesce(array_agg(d.name ORDER BY d.n), '{}'), "
        "coalesce(array_agg(d.old::text ORDER BY d.n), '{}'), coalesce(array_agg(d.new::text ORDER BY d.n), '{}')) "
        f"FROM (SELECT c.name, c.n, {old} AS old, {new} AS new FROM unnest({names}) WITH ORDINALITY c (name, n)) d "
        "WHERE d.old IS DISTINCT FROM d.new AND d.name <> 'updated_at')::text AS changes"
    )


def field_changes(told: Sequence[Sequence[Any]]) -> list[FieldChange]:
    """What `changed_fields` comes to, parsed."""
    texts = ([None if text is None else RawJson(text) for text in side] for side in told[1:])
    return [FieldChange(*change) for change in zip(told[0], *texts, strict=True)]
