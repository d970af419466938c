"""Writing the outbox and keeping it short."""

from datetime import timedelta

from sqlalchemy import insert

from domain.kernel.ctx import Ctx
from domain.kernel.unit import Statement
from domain.outbox.model import OutboxRow

KEPT = timedelta(days=7)  # how far back a reader may resume


async def write(ctx: Ctx) -> None:
    """Write what the operation emitted, as rows of its own transaction."""
    rows = [{"tenant_id": ctx.tenant_id, "kind": event.kind, "payload": event.payload()} for event in ctx.events]
    if rows:
        await ctx.execute(insert(OutboxRow).values(rows))


async def prune(ctx: Ctx) -> None:
    """Drop old events, and note how far back one can still resume."""
    await ctx.fetch(Statement(_PRUNE_SQL, (ctx.now - KEPT,)))


_PRUNE_SQL = """
WITH gone AS (
    DELETE FROM stoa.outbox WHERE created_at < $1 RETURNING tx, id
), last AS (
    SELECT tx, id FROM gone ORDER BY tx DESC, id DESC LIMIT 1
)
INSERT INTO stoa.outbox_horizon (id, tx, outbox_id) SELECT 1, tx, id FROM last
ON CONFLICT (id) DO UPDATE SET tx = excluded.tx, outbox_id = excluded.outbox_id
WHERE (excluded.tx, excluded.outbox_id) > (outbox_horizon.tx, outbox_horizon.outbox_id)
"""
