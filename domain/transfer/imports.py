"""Imports that run or have ended: asking for them, following them, and forgetting them after a while."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import delete

from domain.access.permissions import EVERYTHING, Verb, app_key
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Missing
from domain.kernel.page import Page, PageArgs, keyset_page
from domain.records.opening import opened
from domain.transfer.model import Import, ImportState

LOOK_S = 0.5  # how often who follows an import looks
KEPT = timedelta(days=30)


async def page(ctx: Ctx, app_id: str, entity: str, args: PageArgs) -> Page[Import]:
    """The imports into an entity, newest first: one's own, or all for who administers the app.

    Raises Denied, Missing; Invalid.
    """
    await opened(ctx, app_id, entity, Verb.READ)
    rows = ctx.visible(Import).where(Import.app_id == app_id, Import.entity == entity)
    if not ctx.may(app_key(app_id, EVERYTHING)):
        rows = rows.where(Import.created_by == ctx.user())
    scope = f"imports:{app_id}:{entity}"
    return await keyset_page(ctx, rows, args, scope=scope, by=(Import.created_at, Import.id), descending=True)


async def get(ctx: Ctx, id: UUID) -> Import:
    """One import: one's own, or any for who administers the app. Raises Missing."""
    row = await _find(ctx, id)
    if row is None:
        raise Missing("import not found")
    return row


async def _find(ctx: Ctx, id: UUID) -> Import | None:
    user_id = ctx.user()
    row = await ctx.first(ctx.visible(Import).where(Import.id == id))
    mine = row is not None and (row.created_by == user_id or ctx.may(app_key(row.app_id, EVERYTHING)))
    return row if mine else None


async def progress(ctx: Ctx, id: UUID) -> AsyncGenerator[Import, None]:
    """The import each time it is further, until it has ended. One that has not begun yet is waited for."""
    seen = None
    while True:
        row = await _find(ctx, id)
        now = datetime.now(UTC)
        if row is not None and (state := (row.state(now), row.heard_at)) != seen:
            seen = state
            yield row
        if row is not None and row.state(now) is not ImportState.RUNNING:
            return
        await asyncio.sleep(LOOK_S)


async def forget_old(ctx: Ctx) -> None:
    """Let go of what is known of imports that were long ago, of all tenants."""
    await ctx.execute(delete(Import).where(Import.created_at < ctx.now - KEPT))
