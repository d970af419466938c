"""Connecting by being sent to the other service and coming back, and by being asked for a key.

The browser that comes back has no credential of ours. It is known by a cookie of the one that began; another one is
asked whether it means to connect that account: it may have been sent there by somebody else, with their state.
"""

import hmac
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import delete, select

from domain.identity import service as identity
from domain.integrations.actions import DO, call_code
from domain.integrations.configuring import checked_label, config_of, integration_app, named_config
from domain.integrations.connections import Connecting, connect, oauth_client, with_expiry
from domain.integrations.definition import ApiKey, Definition, OAuth2
from domain.integrations.deploying import definition_of
from domain.integrations.model import IntegrationAttempt, IntegrationConnection
from domain.integrations.ports import GrantRefused, ServerFailed
from domain.integrations.templates import text_of
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Conflict, DomainError, Failed, Invalid, TimedOut, Unavailable
from domain.kernel.limits import Allowance
from domain.kernel.oauth import asking, challenge
from domain.sign_in.tokens import is_token, new_token, token_hash
from domain.workers.ports import WorkerCaller

ATTEMPT_LIFE = timedelta(minutes=10)
BEGUN = Allowance("connections begun", 100, ATTEMPT_LIFE.total_seconds())  # of one user
TOKENS_S_MAX = 20.0
CONFIRMING = "integration-confirm"
START, CALLBACK = "__auth_start", "__auth_callback"
SYNC = "sync_connect"
WORD_CHARS_MAX = 200


# There.


@dataclass(frozen=True, slots=True)
class Begun:
    """What comes next: `{"type": "redirect", "url"}` or `{"type": "credentials", "schema"}`, or what code says."""

    result: Any
    browser_key: str


@dataclass(frozen=True, slots=True)
class _Setting:
    """What a connection is begun with."""

    definition: Definition | None
    config: Mapping[str, Any] = field(repr=False)


async def begin(ctx: Ctx, integration_id: str, config_id: UUID | None, browser_key: str | None) -> Begun:
    """Begin to connect the caller. Raises Unauthenticated, Missing, Conflict, Limited, Failed, Unavailable."""
    user_id = ctx.user()
    ctx.keep_nothing()
    setting = await ctx.apart(lambda apart: _setting(apart, integration_id, config_id))
    auth = None if setting.definition is None else setting.definition.auth
    key = browser_key if browser_key is not None and is_token(browser_key) else new_token()
    if isinstance(auth, ApiKey):
        return Begun({"type": "credentials", "schema": auth.schema}, key)
    await ctx.ports.limits.take(BEGUN, f"{ctx.tenant_id} {user_id}")
    state, verifier, callback = new_token(), new_token(), ctx.ports.integration_urls.callback
    attempt = IntegrationAttempt(
        state_hash=token_hash(state),
        integration_id=integration_id,
        user_id=user_id,
        config_id=config_id,
        browser_hash=token_hash(key),
        code_verifier=verifier,
        callback_url=callback,
        expires_at=ctx.now + ATTEMPT_LIFE,
    )
    if isinstance(auth, OAuth2):
        url = _authorization_url(auth, setting.config, state, verifier, callback)
        await ctx.add(attempt)
        return Begun({"type": "redirect", "url": url}, key)
    await ctx.apart(lambda apart: apart.add(attempt))
    params = {"config": dict(setting.config), "callbackUrl": callback, "state": state, "userId": str(user_id)}
    return Begun(await call_code(ctx, integration_id, START, params), key)


async def _setting(ctx: Ctx, integration_id: str, config_id: UUID | None) -> _Setting:
    app = await integration_app(ctx, integration_id)
    if config_id is not None:
        await named_config(ctx, integration_id, config_id)
    return _Setting(await definition_of(ctx, integration_id), await config_of(ctx, app, config_id))


def _authorization_url(auth: OAuth2, config: Mapping[str, Any], state: str, verifier: str, callback: str) -> str:
    endpoint = text_of(auth.authorization_url, {"config": config})
    if endpoint is None:
        raise Conflict("the integration is not configured: where people agree is missing")
    wanted = {
        **auth.parameters,
        "response_type": "code",
        "client_id": oauth_client(auth, config).client_id,
        "redirect_uri": callback,
        "state": state,
        "code_challenge": challenge(verifier),
        "code_challenge_method": "S256",
    }
    return asking(endpoint, wanted | ({"scope": auth.scope_separator.join(auth.scopes)} if auth.scopes else {}))


# And back.


@dataclass(frozen=True, slots=True)
class Comeback:
    """What a browser brings back, and whether it is the one that began."""

    state: str
    query: Mapping[str, str] = field(repr=False)
    browser_key: str | None = None
    from_browser: bool = False  # a browser says so of itself, whoever sent it


@dataclass(frozen=True, slots=True)
class Connected:
    """Somebody is connected."""

    integration: str  # its name
    account: str  # whose account here it is


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """Another browser came back than began: it is to say that it means to."""

    integration: str
    account: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class NotConnected:
    """The other service did not agree, or cannot be understood."""

    integration: str
    problem: str


Outcome = Connected | Unconfirmed | NotConnected


@dataclass(frozen=True, slots=True)
class _Attempt:
    """An attempt that is not over, and what it was begun with."""

    row: IntegrationAttempt
    name: str
    account: str
    setting: _Setting

    @property
    def caller(self) -> WorkerCaller:
        """Whom code serves that is asked because of it."""
        return WorkerCaller(self.row.user_id, self.account)


async def finish(ctx: Ctx, back: Comeback) -> Outcome:
    """Connect whoever began. Raises Invalid on `state` for one that is unknown, used or too old."""
    ctx.keep_nothing()
    attempt = await ctx.apart(lambda apart: _attempt(apart, back.state))
    ours = hmac.compare_digest(token_hash(back.browser_key or ""), attempt.row.browser_hash)
    if back.from_browser and not ours:
        kept = orjson.dumps({**back.query, "state": back.state})
        return Unconfirmed(attempt.name, attempt.account, ctx.ports.seal.seal(kept, CONFIRMING))
    return await _finished(ctx, attempt, back)


async def confirm(ctx: Ctx, token: str) -> Outcome:
    """Connect, as whoever came back in another browser has said they mean to. Raises Invalid on `token`."""
    ctx.keep_nothing()
    kept = ctx.ports.seal.unseal(token, CONFIRMING)
    if kept is None:
        raise Invalid("token", "not a token of ours")
    query = orjson.loads(kept)
    back = Comeback(query["state"], query)
    return await _finished(ctx, await ctx.apart(lambda apart: _attempt(apart, back.state)), back)


async def _attempt(ctx: Ctx, state: str) -> _Attempt:
    found = None
    if is_token(state):
        found = await ctx.first(select(IntegrationAttempt).where(IntegrationAttempt.state_hash == token_hash(state)))
    if found is None or found.expires_at <= ctx.now:
        raise _unknown()
    ctx.enter(found.tenant_id)
    user = await identity.by_id(ctx, found.user_id)
    if user is None or user.disabled_at is not None:
        raise _unknown()
    app = await integration_app(ctx, found.integration_id)
    return _Attempt(found, app.name, user.contact, await _setting(ctx, app.id, found.config_id))


def _unknown() -> Invalid:
    return Invalid("state", "invalid state: it is unknown, was used, or is older than ten minutes")


async def _finished(ctx: Ctx, attempt: _Attempt, back: Comeback) -> Outcome:
    """The attempt is used up, whatever comes of it."""
    row = attempt.row
    ctx.enter(row.tenant_id)

    async def used(apart: Ctx) -> bool:
        taken = delete(IntegrationAttempt).where(IntegrationAttempt.state_hash == row.state_hash)
        return bool((await apart.execute(taken)).rowcount)  # type: ignore[attr-defined]

    if not await ctx.apart(used):
        raise _unknown()
    auth = None if attempt.setting.definition is None else attempt.setting.definition.auth
    made_of: Connecting | None
    try:
        if isinstance(auth, OAuth2):
            made_of = await _redeemed(ctx, attempt, auth, back.query)
        else:
            made_of = await _told_by_code(ctx, attempt, back.query)
    except (Failed, Unavailable, TimedOut, Invalid, Conflict) as problem:
        return NotConnected(attempt.name, problem.message)
    if made_of is not None:
        await ctx.apart(lambda apart: _connected(apart, row, made_of))
    if attempt.setting.definition is None or not attempt.setting.definition.requests:
        await _synchronized(ctx, attempt, made_of)
    return Connected(attempt.name, attempt.account)


async def _connected(ctx: Ctx, row: IntegrationAttempt, made_of: Connecting) -> IntegrationConnection:
    ctx.enter(row.tenant_id)
    return await connect(ctx, row.integration_id, row.user_id, made_of)


async def _redeemed(ctx: Ctx, attempt: _Attempt, auth: OAuth2, query: Mapping[str, str]) -> Connecting:
    """What the authorization code is exchanged for. Raises Failed, Conflict."""
    row = attempt.row
    if "error" in query or not query.get("code"):
        raise Failed(f"the other service refused: {query.get('error', 'there is no code')[:WORD_CHARS_MAX]}")
    client = oauth_client(auth, attempt.setting.config)
    asked = ctx.ports.oauth_tokens.redeemed(client, query["code"], row.code_verifier, row.callback_url)
    try:
        tokens = await ctx.outside(asked, TOKENS_S_MAX)
    except (GrantRefused, ServerFailed) as refused:
        raise Failed(str(refused)) from refused
    return Connecting(with_expiry(tokens, ctx.now), None, row.config_id)


async def _told_by_code(ctx: Ctx, attempt: _Attempt, query: Mapping[str, str]) -> Connecting | None:
    """What the integration's code makes of the answer; None for nothing to keep. Raises Failed, Unavailable."""
    row = attempt.row
    params = {
        "config": dict(attempt.setting.config),
        "query": {name: value for name, value in query.items() if name != "state"},
        "userId": str(row.user_id),
        "callbackUrl": row.callback_url,
    }
    result = await call_code(ctx, row.integration_id, CALLBACK, params, attempt.caller)
    credentials = result.get("credentials") if isinstance(result, dict) else None
    if not isinstance(credentials, dict):
        return None
    label = result.get("label")
    return Connecting(credentials, checked_label(label) if isinstance(label, str) else None, row.config_id)


async def _synchronized(ctx: Ctx, attempt: _Attempt, made_of: Connecting | None) -> None:
    """Tell the code that somebody is connected, if it wants to know; what comes of it is its own business."""
    params = {
        "action": SYNC,
        "input": {},
        "config": dict(attempt.setting.config),
        "userCredentials": None if made_of is None else dict(made_of.credentials),
        "userId": str(attempt.row.user_id),
        "connectionId": None,
    }
    with suppress(DomainError):
        await call_code(ctx, attempt.row.integration_id, DO, params, attempt.caller)
