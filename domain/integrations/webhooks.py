"""What other services tell integrations: a token in the address says whom."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from domain.identity import service as identity
from domain.integrations.actions import call_code
from domain.integrations.configuring import config_of, integration_app
from domain.integrations.deploying import by_webhook_token
from domain.kernel.ctx import Ctx
from domain.kernel.reading import json_or_text
from domain.workers.ports import WorkerCaller

RECEIVE = "__webhook"


async def receive(ctx: Ctx, id: str, headers: Mapping[str, str], body: bytes, by: WorkerCaller) -> Any:
    """What the integration's code answers to a call of its webhook, done for `by`.

    Raises Missing, Failed, Unavailable.
    """

    async def config(apart: Ctx) -> dict[str, str]:
        apart.enter(ctx.tenant_id)
        return await config_of(apart, await integration_app(apart, id))

    params = {
        "headers": dict(headers),
        "body": json_or_text(body),
        "rawBody": base64.b64encode(body).decode(),
        "config": await ctx.apart(config),
    }
    return await call_code(ctx, id, RECEIVE, params, by)


@dataclass(frozen=True, slots=True)
class Receiver:
    """The integration that is told of what is sent with a token, and in whose name."""

    id: str
    tenant_id: UUID
    by: WorkerCaller


async def receiver(ctx: Ctx, token: str) -> Receiver | None:
    """Whom a token is of, or None."""
    found = await by_webhook_token(ctx, token)
    if found is None:
        return None
    ctx.enter(found.tenant_id)
    user = await identity.by_id(ctx, found.deployed_by)
    if user is None or user.disabled_at is not None:
        return None
    return Receiver(found.id, found.tenant_id, WorkerCaller(user.id, user.contact))
