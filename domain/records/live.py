"""Records as they change."""

from dataclasses import replace
from typing import Any

from domain.access.permissions import Verb
from domain.kernel.ctx import Ctx
from domain.kernel.events import Changes, Watch
from domain.records.declared import AppSchema, ObjectType
from domain.records.opening import opened
from domain.records.query import ALWAYS, Condition
from domain.records.spelling.dialects import Dialect, condition_of
from domain.records.sql import Params, condition, document, logged_row, through


def watch_of(schema: AppSchema, entity: ObjectType, where: Condition = ALWAYS) -> Watch:
    """What to hear of: the changes of an entity's records that `where` holds for, before or after.

    Operands of the condition that come later are among the watch's `args`, to be filled in, and so are those
    `OfCaller`, to be bound.
    """
    params, guard = Params(), entity.guard
    matches = None if where == ALWAYS else through(entity, condition(schema, where, params), params)
    visible = shown = None
    if guard is not None:
        visible = None if guard.rows == ALWAYS else condition(guard.raw, guard.rows, params)
        shown = through(entity, document(entity, logged=True), params) if guard.partial else None
    row = logged_row(schema, entity if guard is None else guard.entity)
    return Watch(schema.tenant_id, schema.app_id, entity.name, row, matches, visible, shown, args=tuple(params.values))


async def changes(ctx: Ctx, app_id: str, entity: str, where: Any, dialect: Dialect, after: str | None) -> Changes:
    """The changes of the records that `where` holds for (before or after the change), from `after` or now on.

    Raises Denied, Missing, Invalid on `where` or `after`; Gone for a cursor the log no longer reaches.
    """
    at = await opened(ctx, app_id, entity, Verb.READ)
    return await subscribe(ctx, watch_of(at.schema, at.entity, condition_of(where, dialect, at.entity)), after)


async def subscribe(ctx: Ctx, watch: Watch, after: str | None = None) -> Changes:
    """The changes of a watch, which this caller was found to be allowed. Raises Invalid, Gone on `after`."""
    return await ctx.ports.feed.subscribe(replace(watch, args=ctx.bound(watch.args)), after)
