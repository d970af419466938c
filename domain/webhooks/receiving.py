"""What others post to incoming webhooks, and what is done with it. Who has the URL may; no other rights are asked."""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select

from domain.access import service as access
from domain.access.permissions import app_key
from domain.agents import delegations
from domain.agents.invoking import MESSAGE_CHARS_MAX
from domain.idempotency import service as idempotency
from domain.identity import service as identity
from domain.identity.model import AccountKind
from domain.integrations import webhooks as integrations
from domain.jobs import service as jobs
from domain.jobs.model import JobKind, JobOrigin
from domain.jobs.service import NewJob
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Denied, Missing, TooLarge
from domain.kernel.rawjson import json_of
from domain.kernel.reading import json_or_text
from domain.kernel.secret import SecretText
from domain.kernel.upload import Upload
from domain.secrets import service as secrets
from domain.sign_in.tokens import token_hash
from domain.webhooks import signature
from domain.webhooks.model import Webhook
from domain.webhooks.service import SECRET, secret_key, secret_scope
from domain.workers import service as workers
from domain.workers.ports import RPC_TIMEOUT_S, WorkerCaller
from domain.workers.service import ROOM_S

BODY_BYTES_MAX = 400 * 1024  # what fits a message to deployed code, as text, and once more as base64
BODY_S_MAX = 30.0
TOKEN_CHARS_MAX = 200
AGENT = "agent"  # the method of those that the app's agent is told of


@dataclass(frozen=True, slots=True)
class _Receiver:
    """Where what is posted with a token goes."""

    id: UUID
    tenant_id: UUID
    app_id: str
    name: str
    method: str
    signed_only: bool
    secret: SecretText | None
    by: WorkerCaller | None  # None where nobody is left in whose name it could be done


async def receive(ctx: Ctx, token: str, headers: Mapping[str, str], body: Upload | None) -> Any:
    """Do what the webhook of this token does with what was posted; the answer of the app's code. No rights are asked.

    Raises Missing for no token of ours; Denied for a signature that is none, and without an owner who may invoke the
    app; TooLarge; Conflict for a delivery that is being worked on; Failed with what the app says of it; Limited;
    Unavailable.
    """
    if not 0 < len(token) <= TOKEN_CHARS_MAX:
        raise Missing("invalid webhook token")
    to = await ctx.apart(lambda first: _receiver(first, token))
    integration = None if to is not None else await ctx.apart(lambda first: integrations.receiver(first, token))
    if to is None and integration is None:
        raise Missing("invalid webhook token")
    raw = await ctx.outside(_read(body), BODY_S_MAX)
    if integration is not None:
        ctx.enter(integration.tenant_id)
        return await integrations.receive(ctx, integration.id, headers, raw, integration.by)
    assert to is not None
    ctx.enter(to.tenant_id)
    return await _received(ctx, to, headers, raw)


async def _receiver(ctx: Ctx, token: str) -> _Receiver | None:
    row = await ctx.first(select(Webhook).where(Webhook.token_hash == token_hash(token)))  # of whichever tenant
    if row is None:
        return None
    ctx.enter(row.tenant_id)
    secret = await secrets.reveal(ctx, secret_scope(row.app_id), secret_key(row, SECRET))
    by = await _owner(ctx, row)
    return _Receiver(row.id, row.tenant_id, row.app_id, row.name, row.method, row.signed_only, secret, by)


async def _owner(ctx: Ctx, row: Webhook) -> WorkerCaller | None:
    """In whose name it is done: the owner's, who may still invoke the app."""
    owner = None if row.owner_id is None else await identity.by_id(ctx, row.owner_id)
    if owner is None or owner.disabled_at is not None or owner.kind == AccountKind.SYSTEM:
        return None
    if not (await access.held(ctx, owner.id)).grants.allows(app_key(row.app_id, "invoke")):
        return None
    return WorkerCaller(owner.id, owner.contact)


async def _read(body: Upload | None) -> bytes:
    """The body, all of it. Raises TooLarge."""
    raw = bytearray()
    if body is not None:
        if (body.size_bytes or 0) > BODY_BYTES_MAX:
            raise TooLarge(f"the body is larger than {BODY_BYTES_MAX} bytes")
        async for chunk in body.chunks():
            raw += chunk
            if len(raw) > BODY_BYTES_MAX:
                raise TooLarge(f"the body is larger than {BODY_BYTES_MAX} bytes")
    return bytes(raw)


async def _received(ctx: Ctx, to: _Receiver, headers: Mapping[str, str], raw: bytes) -> Any:
    signed = to.signed_only or signature.is_signed(headers)
    if signed:
        signature.check(headers, raw, to.secret, ctx.now)
    if to.by is None or to.by.user_id is None:
        raise Denied("the webhook's owner may not invoke the app any more")
    if not signed:
        return await _done(ctx, to, headers, raw)
    # A signature is of one delivery: one that comes again is answered as the first time, and nothing is done.
    key = f"webhook:{to.id}:{signature.said(headers)}"
    asked = idempotency.Keyed(to.by.user_id, key, hashlib.sha256(raw).digest())
    kept = await ctx.apart(lambda first: _claimed(first, to.tenant_id, asked))
    if kept is not None:
        return json.loads(kept)
    ctx.if_refused(lambda later: _given_up(later, to.tenant_id, asked))
    answer = await _done(ctx, to, headers, raw)
    await idempotency.keep_answer(ctx, asked, json_of(answer).encode())
    return answer


async def _claimed(ctx: Ctx, tenant_id: UUID, asked: idempotency.Keyed) -> bytes | None:
    """The answer to this delivery, as JSON; without one it is ours to do."""
    ctx.enter(tenant_id)
    kept = await idempotency.answer_of(ctx, asked)
    if kept is None:
        await idempotency.claim(ctx, asked, RPC_TIMEOUT_S + ROOM_S)
    return kept


async def _given_up(ctx: Ctx, tenant_id: UUID, asked: idempotency.Keyed) -> None:
    ctx.enter(tenant_id)
    await idempotency.give_up(ctx, asked)


async def _done(ctx: Ctx, to: _Receiver, headers: Mapping[str, str], raw: bytes) -> Any:
    """Hand it on; what the app's code answers."""
    assert to.by is not None
    if to.method == AGENT:
        await ctx.apart(lambda then: _tell_agent(then, to, raw))
        return {"status": "accepted"}
    params = {
        "name": to.name,
        "headers": dict(headers),
        "body": json_or_text(raw),
        "rawBody": base64.b64encode(raw).decode(),
    }
    return await workers.ask(ctx, to.app_id, to.method, params, to.by)


async def _tell_agent(ctx: Ctx, to: _Receiver, raw: bytes) -> None:
    """Hand in a run of the app's agent.

    Raises Missing without one, Denied where it may not act for the owner; TooLarge for more than it can be told.
    """
    assert to.by is not None
    assert to.by.user_id is not None
    ctx.enter(to.tenant_id)
    await delegations.give(ctx, to.app_id, to.by.user_id, to.id)
    await delegations.need(ctx, to.app_id, to.by.user_id)
    said = raw.decode("utf-8", "replace").replace("\x00", "")
    payload = {"message": f"Webhook '{to.name}' was called with:\n{said}", "webhook": to.name}
    if len(payload["message"]) > MESSAGE_CHARS_MAX:
        raise TooLarge(f"the body has {len(said)} characters, an agent is told {MESSAGE_CHARS_MAX} at most")
    job = NewJob(payload, kind=JobKind.AGENT, origin=JobOrigin.WEBHOOK)
    await jobs.put(ctx, to.app_id, [job], to.by.user_id)
