"""Asking the audit log."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import String, cast, insert

from domain.access.permissions import Permission
from domain.audit.model import AuditEntry
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Invalid
from domain.kernel.page import bounded_first
from domain.kernel.rawjson import json_of

FIRST_DEFAULT = 100
PLATFORM = "_platform"  # what entries that belong to no app have in its place; no app can be called so


class AuditField(StrEnum):
    """What entries can be filtered and ordered by."""

    APP = "app"
    ENTITY = "entity"
    RECORD_ID = "recordId"
    OPERATION = "operation"
    CHANGED_AT = "changedAt"


class Match(StrEnum):
    """How an entry's field is compared; `contains` ignores case."""

    EQ = "eq"
    NE = "ne"
    CONTAINS = "contains"
    GTE = "gte"
    LTE = "lte"


COLUMNS: Mapping[AuditField, Any] = {
    AuditField.APP: AuditEntry.app_id,
    AuditField.ENTITY: AuditEntry.entity,
    AuditField.RECORD_ID: AuditEntry.record_id,
    AuditField.OPERATION: AuditEntry.operation,
    AuditField.CHANGED_AT: AuditEntry.changed_at,
}


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """One condition on the entries."""

    field: AuditField
    match: Match
    value: str


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """Which entries: those that meet every filter, `first` of them, older (in id) than `before`."""

    filters: Sequence[AuditFilter] = field(default_factory=tuple)
    order_by: AuditField | None = None
    descending: bool = True
    first: int = FIRST_DEFAULT
    before: int | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """What happened that no trigger sees. `before` and `after` are for whoever reads the log: no secrets."""

    entity: str
    record_id: str
    operation: str
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    app_id: str = PLATFORM


async def note(ctx: Ctx, *notes: Note) -> None:
    """Write entries of what no trigger sees, by whoever asks."""
    await ctx.execute(insert(AuditEntry).values([_noted(ctx, what) for what in notes]))


def _noted(ctx: Ctx, what: Note) -> dict[str, Any]:
    return {
        "tenant_id": ctx.tenant_id,
        "app_id": what.app_id,
        "entity": what.entity,
        "record_id": what.record_id,
        "operation": what.operation,
        "old_record": None if what.before is None else json_of(what.before),
        "new_record": None if what.after is None else json_of(what.after),
        "actor_id": ctx.actor.user_id,
        "delegator_id": ctx.actor.delegator_id,
        "door": ctx.request.door,
        "changed_at": ctx.now,
    }


async def entries(ctx: Ctx, query: AuditQuery) -> Sequence[AuditEntry]:
    """The audit log, newest first unless told otherwise. Raises Denied; Invalid on `first` or a filter's value."""
    ctx.need(Permission.AUDIT_READ)
    rows = ctx.visible(AuditEntry)
    for wanted in query.filters:
        rows = rows.where(_condition(wanted))
    if query.before is not None:
        rows = rows.where(AuditEntry.id < query.before)
    columns = [AuditEntry.id] if query.order_by is None else [COLUMNS[query.order_by], AuditEntry.id]
    ordered = rows.order_by(*(c.desc() if query.descending else c.asc() for c in columns))
    return await ctx.all(ordered.limit(bounded_first(query.first)))


def _condition(wanted: AuditFilter) -> Any:
    column = COLUMNS[wanted.field]
    if wanted.match is Match.CONTAINS:
        return cast(column, String).icontains(wanted.value, autoescape=True)
    value: Any = _moment(wanted) if wanted.field is AuditField.CHANGED_AT else wanted.value
    match wanted.match:
        case Match.NE:
            return column != value
        case Match.GTE:
            return column >= value
        case Match.LTE:
            return column <= value
    return column == value


def _moment(wanted: AuditFilter) -> datetime:
    try:
        moment = datetime.fromisoformat(wanted.value)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise Invalid("filters", f"{wanted.field} must be compared with a moment in ISO 8601 with an offset")
    return moment
