"""What a worker keeps tidy: rows that have served their time."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete

from domain.agents import tidying as agents
from domain.channels import tidying as channels
from domain.collaboration import attached
from domain.crons import service as crons
from domain.idempotency import service as idempotency
from domain.identity.model import Session
from domain.integrations import tidying as integrations
from domain.jobs import service as jobs
from domain.kernel.ctx import ANONYMOUS, Ctx, Request
from domain.outbox import service as outbox
from domain.sign_in import tidying as sign_in
from domain.storage import blobs
from domain.transfer import imports
from infra.ports import only
from infra.postgres.database import Database
from infra.storage.chosen import blob_store

CONNECTIONS = 1


async def tidy(context: dict[str, Any]) -> None:
    """Drop what has expired: sessions, kept answers, events to resume from, what was good for one sign-in, old jobs.

    And what belonged to records that are gone for good.
    """
    database = await Database.open(context["database_url"], CONNECTIONS)
    try:
        async with database.unit(writes=True) as unit:
            ctx = Ctx(actor=ANONYMOUS, now=datetime.now(UTC), unit=unit, ports=only(), request=Request(door="worker"))
            await ctx.execute(delete(Session).where(Session.expires_at < ctx.now))
            await idempotency.forget_old(ctx)
            await outbox.prune(ctx)
            await sign_in.forget_old(ctx)
            await agents.forget_old(ctx)
            await integrations.forget_old(ctx)
            await channels.forget_old(ctx)
            await jobs.forget_old(ctx)
            await crons.forget_old_runs(ctx)
            await attached.forget_gone(ctx)
            await imports.forget_old(ctx)
            await unit.commit()
    finally:
        await database.close()


async def sweep(context: dict[str, Any]) -> None:
    """Take away the bytes of files that nothing refers to any more, or that never came to their end."""
    database, store = await Database.open(context["database_url"], CONNECTIONS), blob_store(context["settings"])
    try:
        swept = 1
        while swept:
            async with database.unit(writes=True) as unit:
                now, request = datetime.now(UTC), Request(door="worker")
                ctx = Ctx(actor=ANONYMOUS, now=now, unit=unit, ports=only(blobs=store), request=request)
                swept = await blobs.sweep(ctx)
                await unit.commit()
    finally:
        store.close()
        await database.close()
