"""From one declaration of an app to the next: the steps, whether they may be taken, and taking them.

All steps are one transaction. A table that somebody reads is waited for a little while; then everything is undone, so
that whoever queues behind us comes through, and tried again, a few times.
"""

import asyncio
from collections.abc import Sequence

from sqlalchemy import func, select

from domain.apps.catalog import schema_of
from domain.apps.fields import Dialect
from domain.apps.manifest import Manifest
from domain.apps.model import App
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Busy, Conflict, Invalid, Unavailable
from domain.kernel.unit import Statement
from domain.records.plan import Step, apply, needed, plan
from domain.records.there import inspect, schema_exists

QUEUE_TIMEOUT_S = 5  # for other installations of the app
LOCK_TIMEOUT_MS = 1000  # for whoever uses its tables
ATTEMPTS = 4
PAUSE_S = 0.2  # before the second attempt, twice as long before each further one
RETRY_AFTER_S = 5.0


async def alone(ctx: Ctx, app_id: str) -> None:
    """Wait for other installations of the app. Raises Unavailable when they take too long."""
    await _wait_at_most(ctx, QUEUE_TIMEOUT_S * 1000)
    try:
        name = f"app:{ctx.tenant_id}:{app_id}"
        await ctx.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))
    except Busy as busy:
        told = f"app '{app_id}' is being installed by somebody else, try again"
        raise Unavailable(told, retry_after_s=RETRY_AFTER_S) from busy
    await _wait_at_most(ctx, LOCK_TIMEOUT_MS)


async def _wait_at_most(ctx: Ctx, ms: int) -> None:
    await ctx.execute(select(func.set_config("lock_timeout", f"{ms}ms", True)))


async def steps_to(ctx: Ctx, app: App, manifest: Manifest, *, first: bool) -> list[Step]:
    """What brings the tables of the app to the manifest; `first` for one that isn't there yet.

    Stored values are not looked at: a step that can lose some is said to. Raises Invalid where the steps cannot be.
    """
    if first and await schema_exists(ctx, app.schema_name):
        raise Invalid("appId", f"appId '{app.id}' is taken: the database has a schema of that name already")
    wanted = schema_of(app, manifest.types)
    steps = await needed(ctx, plan(wanted, await inspect(ctx, app.schema_name)))
    renamed = {step.before for step in steps if step.change == "rename_table"}
    gone = [] if first else [name for name in app.entities if name not in wanted.types and name not in renamed]
    kept = "its table and records stay, out of reach until it is declared again"
    return [*steps, *(Step(name, "drop_table", detail=kept) for name in gone)]


def refuse_loss(manifest: Manifest, steps: Sequence[Step]) -> None:
    """Raises Conflict where stored values would go; RootCX's manifests say themselves that they do."""
    lost = [f"{step.change} {step.entity}{f'.{step.column}' if step.column else ''}" for step in steps if step.loses]
    if lost and manifest.dialect is not Dialect.ROOTCX:
        told = f"stored values would be lost: {', '.join(lost[:20])}; look at the plan, and install it with acceptLoss"
        raise Conflict(told, details={"lost": lost})


async def carry_out(ctx: Ctx, app_id: str, steps: Sequence[Step]) -> None:
    """Take the steps. Raises Invalid with the field whose values stand in the way; Unavailable."""
    for attempt in range(ATTEMPTS):
        await ctx.fetch(Statement("SAVEPOINT declared"))
        try:
            await apply(ctx, steps)
            await ctx.fetch(Statement("RELEASE SAVEPOINT declared"))
            return
        except Busy as busy:
            await ctx.fetch(Statement("ROLLBACK TO SAVEPOINT declared"))
            if attempt == ATTEMPTS - 1:
                told = f"the tables of app '{app_id}' are in use; nothing was changed, try again"
                raise Unavailable(told, retry_after_s=RETRY_AFTER_S) from busy
            await asyncio.sleep(PAUSE_S * 2**attempt)
