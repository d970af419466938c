"""The versions of a record, newest first: what it was, what changed, who did it; and going back to one."""

from dataclasses import dataclass
from datetime import datetime

import orjson

from domain.access.permissions import Verb
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Missing
from domain.kernel.page import Page, PageArgs, bounded_first, seal_cursor, unseal_cursor
from domain.kernel.rawjson import RawJson
from domain.kernel.unit import Statement
from domain.records import service, trash
from domain.records.opening import Opened, missing, opened, record_id
from domain.records.past import (
    AFTERWARDS,
    ENTRY,
    ENTRY_COLUMNS,
    Entry,
    FieldChange,
    changed_fields,
    declared,
    entry,
    field_changes,
    of_entity,
    shown,
    whole,
)
from domain.records.sql import Params, today
from domain.records.subject import find


@dataclass(frozen=True, slots=True)
class Version:
    """One state of a record: the `number`th, counted from 1. A change that changed nothing made none."""

    number: int
    entry: Entry
    changes: list[FieldChange]


@dataclass(frozen=True, slots=True)
class _Life:
    """A record's life: from being made to its last change. Another record of the same id has one of its own."""

    at: Opened
    id: str
    created_at: datetime


async def page(ctx: Ctx, app_id: str, entity: str, id: str, args: PageArgs) -> Page[Version]:
    """The versions, newest first; of a record in the trash, too. Raises Denied, Missing; Invalid."""
    life = await _life(ctx, app_id, entity, id)
    first = bounded_first(args.first)
    scope = f"versions:{app_id}:{entity}:{life.id}"
    below = None if args.after is None else unseal_cursor(ctx, scope, args.after)[0]
    found = await _versions(ctx, life, "v.number < {0}" if below is not None else "true", below, first + 1)
    rows = found[:first]

    async def count() -> int:
        newest = await _versions(ctx, life, "true", None, 1)
        return newest[0].number if newest else 0

    cursors = [seal_cursor(ctx, scope, [row.number]) for row in rows]
    return Page(rows, cursors, len(found) > first, args.after is not None, count)


async def version(ctx: Ctx, app_id: str, entity: str, id: str, number: int) -> Version:
    """One of them. Raises Denied, Missing; Invalid on `id`."""
    return await _numbered(ctx, await _life(ctx, app_id, entity, id), number)


async def differences(ctx: Ctx, app_id: str, entity: str, id: str, older: int, newer: int) -> list[FieldChange]:
    """The fields that differ between two versions, from the first to the second. Raises as `version` does."""
    life = await _life(ctx, app_id, entity, id)
    params = Params()
    sides = [params.add(str((await _numbered(ctx, life, n)).entry.record), "jsonb") for n in (older, newer)]
    sql = f"SELECT {changed_fields(sides[0], sides[1], declared(life.at.entity, params))}"
    return field_changes(orjson.loads((await ctx.fetch(Statement(sql, tuple(params.values))))[0]["changes"]))


async def restore(ctx: Ctx, app_id: str, entity: str, id: str, number: int) -> RawJson:
    """Give a record the values it had in that version, which makes a new one. Fields that are newer stay.

    Raises what `update` does; Missing for no such version.
    """
    id = record_id(ctx, app_id, id)
    at = await opened(ctx, app_id, entity, Verb.UPDATE)
    found = await find(ctx, at, id)
    if found is None:
        raise missing(id)
    wanted = await _numbered(ctx, _Life(at, found.id, found.created_at), number)
    return await service.update(ctx, app_id, entity, id, wanted.entry.values)


async def _life(ctx: Ctx, app_id: str, entity: str, id: str) -> _Life:
    id = record_id(ctx, app_id, id)
    at = await opened(ctx, app_id, entity, Verb.READ)
    found = await find(ctx, at, id)
    if found is not None:
        return _Life(at, id, found.created_at)
    deleted = await trash.find(ctx, at, id)
    if deleted is None:
        raise missing(id)
    return _Life(at, id, datetime.fromisoformat(deleted.fields["created_at"]))


async def _numbered(ctx: Ctx, life: _Life, number: int) -> Version:
    found = await _versions(ctx, life, "v.number = {0}", number, 1)
    if not found:
        raise Missing(f"record '{life.id}' has no version {number}", field="version")
    return found[0]


async def _versions(ctx: Ctx, life: _Life, where: str, value: int | None, limit: int) -> list[Version]:
    params = Params()
    told = [(ctx.tenant_id, "uuid"), (life.at.schema.app_id, "text"), (life.id, "text")]
    tenant, app, id = (params.add(part, type) for part, type in told)
    before, after, last = (
        today(whole(life.at.entity), record) for record in (f"{ENTRY}.old_record", f"{ENTRY}.new_record", AFTERWARDS)
    )
    made = params.add(life.created_at, "timestamptz")
    names = declared(life.at.entity, params)
    wanted = where.format(None if value is None else params.add(value, "bigint"))
    sql = (
        f"SELECT v.number, v.entry_id, {ENTRY_COLUMNS}, {shown(last, names)}, {changed_fields(before, after, names)} "
        f"FROM (SELECT {ENTRY}.id AS entry_id, row_number() OVER (ORDER BY {ENTRY}.id) AS number "
        f"FROM stoa.audit_log {ENTRY} WHERE {ENTRY}.tenant_id = {tenant} AND {ENTRY}.record_id = {id} "
        f"AND {ENTRY}.app_id = {app} AND {of_entity(life.at, params)} "
        f"AND ({AFTERWARDS} ->> 'created_at')::timestamptz = {made} "
        f"AND ({ENTRY}.operation IN ('INSERT', 'DELETE') OR {ENTRY}.operation = 'UPDATE' "
        f"AND {ENTRY}.old_record - 'updated_at' <> {ENTRY}.new_record - 'updated_at')) v "
        f"JOIN stoa.audit_log {ENTRY} ON {ENTRY}.id = v.entry_id "
        f"WHERE {wanted} ORDER BY v.number DESC LIMIT {params.add(limit, 'bigint')}"
    )
    rows = await ctx.fetch(Statement(sql, tuple(params.values)))
    return [Version(row["number"], entry(row), field_changes(orjson.loads(row["changes"]))) for row in rows]
