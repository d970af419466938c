"""Records as they change."""

from typing import Any

from domain.access.permissions import Verb
from domain.kernel.ctx import Ctx
from domain.kernel.events import Changes, Watch
from domain.records.declared import AppSchema, ObjectType
from domain.records.opening import opened
from domain.records.query import ALWAYS, Condition
from domain.records.spelling.dialects import Dialect, condition_of
from domain.records.sql import Params, condition, logged_row


def watch_of(schema: AppSchema, entity: ObjectType, where: Condition = ALWAYS) -> Watch:
    """What to hear of: the changes of an entity's records that `where` holds for, before or after.

    Operands of the condition that come later are among the watch's `args`, to be filled in.
    """
    params = Params()
    matches = None if where == ALWAYS else condition(schema, where, params)
    row = logged_row(schema, entity)
    return Watch(schema.tenant_id, schema.app_id, entity.name, row, matches, args=tuple(params.values))


async def changes(ctx: Ctx, app_id: str, entity: str, where: Any, dialect: Dialect, after: str | None) -> Changes:
    """The changes of the records that `where` holds for (before or after the change), from `after` or now on.

    Raises Denied, Missing, Invalid on `where` or `after`; Gone for a cursor the log no longer reaches.
    """
    at = await opened(ctx, app_id, entity, Verb.READ)
    return await ctx.ports.feed.subscribe(
        watch_of(at.schema, at.entity, condition_of(where, dialect, at.entity)), after
    )
