"""The trash of an object type that declares one: what was deleted, until it is restored, purged or too old.

Deleting is deleting: the row leaves its table, so that reads, counts, unique keys and links know nothing of a trash.
The log has it (see `domain.records.past`), however it was deleted: by a cascade, too, or by hand.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from domain.access.permissions import Verb
from domain.audit import service as audit
from domain.collaboration import attached
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Denied, Invalid, Missing
from domain.kernel.events import LOGGED
from domain.kernel.page import Page, PageArgs, bounded_first, seal_cursor, unseal_cursor
from domain.kernel.rawjson import RawJson
from domain.kernel.unit import Statement
from domain.records import service
from domain.records.opening import Opened, opened, record_id
from domain.records.past import ENTRY, ENTRY_COLUMNS, TRASH_KEPT, Entry, declared, entry, of_entity, shown, whole
from domain.records.policies import Guard
from domain.records.refusals import refused_as_declared
from domain.records.sql import Params, condition, logged_row, today

PURGED_AT_ONCE = 1000


async def page(ctx: Ctx, app_id: str, entity: str, args: PageArgs) -> Page[Entry]:
    """What is in the trash, the last deleted first. Raises Denied, Missing; Invalid where there is none."""
    at = await _opened(ctx, app_id, entity, Verb.READ)
    first = bounded_first(args.first)
    scope = f"trash:{app_id}:{entity}"
    below = None if args.after is None else unseal_cursor(ctx, scope, args.after)[0]
    found = await _entries(ctx, at, _Wanted(below=below, limit=first + 1))
    rows = found[:first]

    async def count() -> int:
        params = Params()
        sql = f"SELECT count(*) AS n {_source(ctx, at, _Wanted(), params)}"
        return int((await _fetched(ctx, at, Statement(sql, tuple(params.values))))[0]["n"])

    cursors = [seal_cursor(ctx, scope, [row.entry_id]) for row in rows]
    return Page(rows, cursors, len(found) > first, args.after is not None, count)


async def find(ctx: Ctx, at: Opened, id: str) -> Entry | None:
    """The record of this id in the trash, or None; there is none where no trash is declared."""
    found = await _entries(ctx, at, _Wanted(id=id)) if at.entity.trash else []
    return found[0] if found else None


async def restore(ctx: Ctx, app_id: str, entity: str, id: str) -> RawJson:
    """Put a record back as it was, with its id. Raises Denied, Missing; Conflict where its place was taken; Invalid."""
    id = record_id(ctx, app_id, id)
    at = await _opened(ctx, app_id, entity, Verb.CREATE)
    if at.entity.guard is not None and at.entity.guard.partial:
        raise Denied("only who sees all fields of a record can restore it: the others would be lost")
    await _alone(ctx, id)
    deleted = await _found(ctx, at, id)
    row = service.row_of(at, deleted.values, "values") if deleted.values else {}
    service.refuse_missing(at, row)
    row |= {name: deleted.fields[name] for name in ("id", "created_at")}
    row |= {
        name: field.type.stored(deleted.fields[name])
        for name, field in at.entity.stored.items()
        if not field.type.written and deleted.fields.get(name) is not None
    }
    return (await service.insert_rows(ctx, at, [row]))[0]


async def purge(ctx: Ctx, app_id: str, entity: str, id: str) -> Entry:
    """Let a record in the trash be gone for good. Raises Denied, Missing; Invalid."""
    id = record_id(ctx, app_id, id)
    at = await _opened(ctx, app_id, entity, Verb.DELETE)
    await _alone(ctx, id)
    deleted = await _found(ctx, at, id, Verb.DELETE)
    await _gone(ctx, at, [deleted])
    return deleted


async def empty(ctx: Ctx, app_id: str, entity: str) -> int:
    """Purge up to 1000 of what is in the trash, the last deleted first. Returns how many. Raises as `purge` does."""
    at = await _opened(ctx, app_id, entity, Verb.DELETE)
    found = await _entries(ctx, at, _Wanted(Verb.DELETE, limit=PURGED_AT_ONCE))
    await _gone(ctx, at, found)
    return len(found)


async def _opened(ctx: Ctx, app_id: str, entity: str, verb: Verb) -> Opened:
    at = await opened(ctx, app_id, entity, verb)
    if not at.entity.trash:
        raise Invalid("entity", f"entity '{entity}' has no trash: what is deleted is gone")
    return at


async def _alone(ctx: Ctx, id: str) -> None:
    """Wait for others that restore or purge this record."""
    await ctx.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"trash:{ctx.tenant_id}:{id}", 0))))


async def _found(ctx: Ctx, at: Opened, id: str, verb: Verb = Verb.READ) -> Entry:
    found = await _entries(ctx, at, _Wanted(verb, id=id))
    if not found:
        raise Missing(f"record '{id}' is not in the trash")
    return found[0]


async def _gone(ctx: Ctx, at: Opened, deleted: list[Entry]) -> None:
    if deleted:
        app_id, entity = at.schema.app_id, at.entity.name
        for row in deleted:
            await attached.forget_record(ctx, app_id, entity, row.record_id)
        await audit.note(ctx, *(audit.Note(entity, row.record_id, "PURGE", app_id=app_id) for row in deleted))


def _allowed(at: Opened, guard: Guard, verb: Verb, params: Params) -> str:
    """SQL: the record, as it was deleted, is one that the caller might do that to."""
    row = logged_row(at.schema, guard.entity)
    met = condition(guard.raw, guard.rows if verb is Verb.READ else guard.changeable(verb, ()), params)
    return f"EXISTS (SELECT FROM (SELECT {ENTRY}.old_record AS {LOGGED}) s, {row} WHERE {met})"


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which of the records in the trash; `below` is the entry to start behind."""

    verb: Verb = Verb.READ  # what the caller's policies must let them do to it
    id: str | None = None
    below: int | None = None
    limit: int = 1


async def _entries(ctx: Ctx, at: Opened, wanted: _Wanted) -> list[Entry]:
    params = Params()
    record = today(whole(at.entity), f"{ENTRY}.old_record")
    sql = (
        f"SELECT {ENTRY}.id AS entry_id, {ENTRY_COLUMNS}, {shown(record, declared(at.entity, params))} "
        f"{_source(ctx, at, wanted, params)} "
        f"ORDER BY {ENTRY}.id DESC LIMIT {params.add(wanted.limit, 'bigint')}"
    )
    return [entry(row) for row in await _fetched(ctx, at, Statement(sql, tuple(params.values)))]


async def _fetched(ctx: Ctx, at: Opened, statement: Statement) -> Sequence[Mapping[str, Any]]:
    """The rows. Raises Invalid where the caller's policies cannot be asked of a record declared otherwise then."""
    return await refused_as_declared(at.schema, at.entity, ctx.fetch(statement))


def _source(ctx: Ctx, at: Opened, wanted: _Wanted, params: Params) -> str:
    """Deletions that were the last of their record. What an app had before it was uninstalled is not its any more."""
    tenant, app = params.add(ctx.tenant_id, "uuid"), params.add(at.schema.app_id, "text")
    sql = (
        f"FROM stoa.audit_log {ENTRY} JOIN stoa.apps p ON p.tenant_id = {tenant} AND p.id = {app} "
        f"WHERE {ENTRY}.tenant_id = {tenant} AND {ENTRY}.app_id = {app} AND {of_entity(at, params)} "
        f"AND {ENTRY}.operation = 'DELETE' AND {ENTRY}.changed_at >= p.created_at "
        f"AND {ENTRY}.changed_at > {params.add(ctx.now - TRASH_KEPT, 'timestamptz')} "
        f"AND NOT EXISTS (SELECT FROM stoa.audit_log l WHERE l.tenant_id = {tenant} "
        f"AND l.record_id = {ENTRY}.record_id AND l.app_id = {app} "
        f"AND {of_entity(at, params, 'l')} AND l.id > {ENTRY}.id)"
    )
    if at.entity.guard is not None:
        sql += f" AND {_allowed(at, at.entity.guard, wanted.verb, params)}"
    if wanted.id is not None:
        sql += f" AND {ENTRY}.record_id = {params.add(wanted.id, 'text')}"
    if wanted.below is not None:
        sql += f" AND {ENTRY}.id < {params.add(wanted.below, 'bigint')}"
    return sql
