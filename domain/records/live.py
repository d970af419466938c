"""Records as they change."""

from typing import Any

from domain.access.permissions import Verb
from domain.kernel.ctx import Ctx
from domain.kernel.events import Changes, Watch
from domain.kernel.unit import Statement
from domain.records.opening import opened
from domain.records.query import ALWAYS
from domain.records.spelling.dialects import Dialect, condition_of
from domain.records.sql import Params, condition, relation


async def watch(ctx: Ctx, app_id: str, entity: str, where: Any, dialect: Dialect) -> Watch:
    """What to hear of when asking for the changes of some records. Raises Denied, Missing, Invalid on `where`."""
    at = await opened(ctx, app_id, entity, Verb.READ)
    wanted = condition_of(where, dialect, at.entity)
    params = Params()
    matches = None if wanted == ALWAYS else Statement(condition(at.schema, wanted, params), tuple(params.values))
    return Watch(ctx.tenant_id, app_id, entity, relation(at.schema, at.entity), matches)


async def changes(ctx: Ctx, app_id: str, entity: str, where: Any, dialect: Dialect, after: str | None) -> Changes:
    """The changes of the records that `where` holds for (before or after the change), from `after` or now on.

    Raises Denied, Missing, Invalid on `where` or `after`; Gone for a cursor the log no longer reaches.
    """
    return await ctx.ports.feed.subscribe(await watch(ctx, app_id, entity, where, dialect), after)
