"""Records as they change."""

from dataclasses import replace
from typing import Any

from domain.access.permissions import Verb
from domain.kernel.ctx import Ctx
from domain.kernel.events import Watch
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
    args, mark = tuple(params.values), schema.policies_mark
    return Watch(schema.tenant_id, schema.app_id, entity.name, row, matches, visible, shown, args, mark)


async def watch(ctx: Ctx, app_id: str, entity: str, where: Any, dialect: Dialect) -> Watch:
    """The same by the names of the app and the entity, for this caller. Raises Denied, Missing, Invalid on `where`."""
    at = await opened(ctx, app_id, entity, Verb.READ)
    return bound(ctx, watch_of(at.schema, at.entity, condition_of(where, dialect, at.entity)))


def bound(ctx: Ctx, watch: Watch) -> Watch:
    """A watch as it is this caller's."""
    return replace(watch, args=ctx.bound(watch.args))
