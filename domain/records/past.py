"""What the log of changes knows of records. Versions and the trash are read from it, so there is no second copy.

A table's triggers write an entry for each change of each record, whichever door it came by and in its own transaction,
with the record before and after. An entry is a version; a record whose last entry is its deletion is in the trash.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson

from domain.kernel.rawjson import RawJson
from domain.records.declared import SYSTEM_FIELDS, ObjectType
from domain.records.naming import literal, quoted
from domain.records.sql import ROW, Params, document

TRASH_KEPT = timedelta(days=30)
ENTRY = "a"  # the alias of an entry of the log
AFTERWARDS = f"coalesce({ENTRY}.new_record, {ENTRY}.old_record)"  # the record, or what it was in the end


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A field with another value, as JSON text; None for no value."""

    field: str
    before: RawJson | None
    after: RawJson | None


@dataclass(frozen=True, slots=True)
class Entry:
    """What happened to a record, and how it was left."""

    entry_id: int
    operation: str  # INSERT, UPDATE or DELETE
    record_id: str
    record: RawJson  # as it would be shown today
    stored: Mapping[str, orjson.Fragment | None]  # the values it had, in stored form
    changed_at: datetime
    actor_id: UUID | None
    delegator_id: UUID | None
    door: str | None

    def values(self, entity: ObjectType) -> dict[str, Any]:
        """The values it had of the fields that somebody may write today, in stored form."""
        written = [name for name in entity.columns if name not in SYSTEM_FIELDS]
        return {name: self.stored[name] for name in written if name in self.stored}


ENTRY_COLUMNS = ", ".join(
    f"{ENTRY}.{name}" for name in ("operation", "record_id", "changed_at", "actor_id", "delegator_id", "door")
)


def entry(row: Mapping[str, Any]) -> Entry:
    """An entry of a row with `ENTRY_COLUMNS`, `entry_id`, `record` as `shown` makes it, and `stored`."""
    names, texts = orjson.loads(row["stored"])
    values = (None if text == "null" else orjson.Fragment(text) for text in texts)
    return Entry(
        entry_id=row["entry_id"],
        operation=row["operation"],
        record_id=row["record_id"],
        record=RawJson(row["record"]),
        stored=dict(zip(names, values, strict=True)),
        changed_at=row["changed_at"],
        actor_id=row["actor_id"],
        delegator_id=row["delegator_id"],
        door=row["door"],
    )


def created_at(past: Entry) -> datetime:
    """When the record was made."""
    return datetime.fromisoformat(orjson.loads(bytes(str(past.record), "utf-8"))["created_at"])


def shown(entity: ObjectType, record: str) -> str:
    """SQL of a past record (jsonb) as JSON text: the fields declared today, each as its type of today shows it.

    A value that the type of today cannot hold is null.
    """
    columns = ", ".join(
        f"{quoted(name)} {field.type.column} PATH {literal(f'$.{quoted(name)}')}"
        for name, field in entity.columns.items()
    )
    return f"(SELECT {document(entity)} FROM JSON_TABLE({record}, '$' COLUMNS ({columns})) {ROW})"


def stored(record: str) -> str:
    """SQL of a past record's values, for `entry`: arrays of names and of JSON texts, in one JSON array."""
    return (
        f"(SELECT json_build_array(array_agg(key), array_agg(value::text)) FROM jsonb_each({record}))::text AS stored"
    )


def changed_fields(entity: ObjectType, before: str, after: str, params: Params) -> str:
    """SQL of the fields that differ between two past records: arrays of names and of JSON texts, in one JSON array."""
    names = params.add([name for name in entity.columns if name != "updated_at"], "text[]")
    old, new = (f"nullif({record} -> c.name, 'null')" for record in (before, after))
    return (
        "(SELECT json_build_array(coalesce(array_agg(c.name ORDER BY c.n), '{}'), "
        "coalesce(array_agg((s.old -> c.name)::text ORDER BY c.n), '{}'), "
        "coalesce(array_agg((s.new -> c.name)::text ORDER BY c.n), '{}')) "
        f"FROM (SELECT {shown(entity, before)}::json AS old, {shown(entity, after)}::json AS new) s, "
        f"unnest({names}) WITH ORDINALITY c (name, n) WHERE {old} IS DISTINCT FROM {new})::text AS changes"
    )


def field_changes(told: Sequence[Sequence[Any]]) -> list[FieldChange]:
    """What `changed_fields` comes to, parsed."""
    texts = ([None if text in (None, "null") else RawJson(text) for text in side] for side in told[1:])
    return [FieldChange(*change) for change in zip(told[0], *texts, strict=True)]
