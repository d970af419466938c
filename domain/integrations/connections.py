"""Connections: the accounts that people have at other services, and credentials that are good at this moment."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Select, delete, func, select

from domain.access.permissions import EVERYTHING, integration_key
from domain.audit import service as audit
from domain.identity import service as identity
from domain.integrations.bindings import bind_for_everybody, binding_of
from domain.integrations.configuring import checked_label, integration_app, keep_values, revealed
from domain.integrations.definition import ApiKey, OAuth2
from domain.integrations.deploying import definition_of
from domain.integrations.events import ConnectionDied, IntegrationConnected
from domain.integrations.model import IntegrationConnection
from domain.integrations.ports import GrantRefused, OAuthClient, ServerFailed
from domain.integrations.templates import text_of
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Conflict, Denied, Failed, Invalid, Missing, Unauthenticated, Unavailable
from domain.kernel.secret import SecretText

CONNECTIONS_MAX = 100  # of one user with one integration
USERS_MAX = 10_000
EARLY = timedelta(seconds=60)  # so long before they expire, credentials are fetched anew
REFRESH_S_MAX = 20.0
REFRESH_LEASE = timedelta(seconds=REFRESH_S_MAX + 5)
LOOK_AGAIN_S = 0.1


# Those of people.


@dataclass(frozen=True, slots=True)
class Standing:
    """How somebody stands with an integration."""

    connections: int
    dead: int

    @property
    def connected(self) -> bool:
        """Whether there is a connection that works."""
        return self.connections > self.dead


async def mine(ctx: Ctx, integration_id: str) -> Sequence[IntegrationConnection]:
    """The caller's connections, newest first. Raises Unauthenticated, Missing."""
    ctx.user()
    await integration_app(ctx, integration_id)
    return await ctx.all(_newest(_of(ctx, integration_id, ctx.user())))


async def standing(ctx: Ctx, integration_id: str, agent_app: str | None = None) -> Standing:
    """How the caller stands, or an agent: by what its app is bound to. Raises Denied, Missing."""
    ctx.user()
    if agent_app is not None:
        ctx.need(EVERYTHING)
    await integration_app(ctx, integration_id)
    if agent_app is None:
        found = await ctx.all(_newest(_of(ctx, integration_id, ctx.user())))
    else:
        bound = await binding_of(ctx, agent_app, integration_id, None)
        id = None if bound is None else bound.connection_id
        found = [] if id is None else [await ctx.one(IntegrationConnection, id)]
    return Standing(len(found), sum(row.dead_at is not None for row in found))


async def users(ctx: Ctx, integration_id: str) -> Sequence[UUID]:
    """Who has a connection that works. Raises Denied, Missing."""
    ctx.need(EVERYTHING)
    await integration_app(ctx, integration_id)
    return await connected_users(ctx, integration_id)


async def connected_users(ctx: Ctx, integration_id: str) -> Sequence[UUID]:
    """The same, for who needs not ask whether they may."""
    alive = ctx.visible(IntegrationConnection).where(
        IntegrationConnection.integration_id == integration_id, IntegrationConnection.dead_at.is_(None)
    )
    ids = alive.with_only_columns(IntegrationConnection.user_id).distinct().order_by(IntegrationConnection.user_id)
    return list((await ctx.execute(ids.limit(USERS_MAX))).scalars())


async def enter_credentials(
    ctx: Ctx, integration_id: str, credentials: Mapping[str, Any], label: str | None
) -> IntegrationConnection:
    """Connect the caller by what they entered. Raises Unauthenticated, Missing; Invalid on `credentials`, `label`."""
    user_id = ctx.user()
    ctx.keep_nothing()
    await integration_app(ctx, integration_id)
    definition = await definition_of(ctx, integration_id)
    if definition is not None and isinstance(definition.auth, ApiKey):
        wrong = ctx.ports.json_schemas.problem(definition.auth.schema, credentials)
        if wrong is not None:
            path = ".".join(part for part in ("credentials", wrong.path) if part)
            raise Invalid(path, f"{path} {wrong.message}")
    return await connect(ctx, integration_id, user_id, Connecting(credentials, label))


async def rename(ctx: Ctx, integration_id: str, id: UUID, label: str) -> IntegrationConnection:
    """Give one of the caller's connections another label. Raises Denied, Missing; Invalid on `label`."""
    connection = await _own(ctx, integration_id, id)
    label = checked_label(label)
    if any(other.label == label and other.id != id for other in await mine(ctx, integration_id)):
        raise Invalid("label", f"there is a connection '{label}' already")
    connection.label, connection.updated_at = label, ctx.now
    await ctx.flush()
    return connection


async def forget(ctx: Ctx, integration_id: str, id: UUID) -> IntegrationConnection:
    """Delete one of the caller's connections. Raises Denied, Missing."""
    connection = await _own(ctx, integration_id, id)
    await ctx.remove(connection)
    await audit.note(ctx, audit.Note("integration_connections", str(id), "DELETE", before=_noted(connection)))
    return connection


async def disconnect(ctx: Ctx, integration_id: str) -> int:
    """Delete all of the caller's connections; how many there were. Raises Unauthenticated, Missing."""
    rows = await mine(ctx, integration_id)
    ids = [row.id for row in rows]
    await ctx.execute(delete(IntegrationConnection).where(IntegrationConnection.id.in_(ids)))
    for row in rows:
        await audit.note(ctx, audit.Note("integration_connections", str(row.id), "DELETE", before=_noted(row)))
    return len(rows)


async def delegate(ctx: Ctx, integration_id: str, agent_app: str) -> None:
    """Let an agent use the caller's newest connection, whoever invokes it. Raises Denied, Missing, Conflict."""
    ctx.need(EVERYTHING)
    alive = [row for row in await mine(ctx, integration_id) if row.dead_at is None]
    if not alive:
        raise Conflict(f"you have no connection with integration '{integration_id}' to delegate")
    await bind_for_everybody(ctx, agent_app, integration_id, alive[0].id)


async def _own(ctx: Ctx, integration_id: str, id: UUID) -> IntegrationConnection:
    """The caller's connection, locked. Raises Missing; Denied for somebody else's."""
    user_id = ctx.user()
    connection = await ctx.lock(IntegrationConnection, id)
    if connection.integration_id != integration_id:
        raise Missing("integration connection not found")
    if connection.user_id != user_id:
        raise Denied("this connection is somebody else's")
    return connection


def _of(ctx: Ctx, integration_id: str, user_id: UUID) -> Select[IntegrationConnection]:
    return ctx.visible(IntegrationConnection).where(
        IntegrationConnection.integration_id == integration_id, IntegrationConnection.user_id == user_id
    )


def _newest(rows: Select[IntegrationConnection]) -> Select[IntegrationConnection]:
    newest = (IntegrationConnection.updated_at.desc(), IntegrationConnection.id.desc())
    return rows.order_by(*newest).limit(CONNECTIONS_MAX)


def _noted(connection: IntegrationConnection) -> dict[str, Any]:
    return {
        "integration": connection.integration_id,
        "user": str(connection.user_id),
        "label": connection.label,
    }


# For other modules. None of these asks who may.


@dataclass(frozen=True, slots=True)
class Connecting:
    """What a connection is made of."""

    credentials: Mapping[str, Any]
    label: str | None = None
    config_id: UUID | None = None


async def connect(ctx: Ctx, integration_id: str, user_id: UUID, made_of: Connecting) -> IntegrationConnection:
    """Write a connection, new or over the one with the same label. Raises Invalid; Unauthenticated for nobody."""
    user = await identity.by_id(ctx, user_id)
    if user is None or user.disabled_at is not None:
        raise Unauthenticated("principal disabled")
    label = None if made_of.label is None else checked_label(made_of.label)
    name = f"connections:{ctx.tenant_id}:{integration_id}:{user_id}"
    await ctx.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))
    known = await ctx.all(_newest(_of(ctx, integration_id, user_id)))
    connection = next((row for row in known if row.label == label), None)
    if connection is None and len(known) >= CONNECTIONS_MAX:
        raise Invalid("label", f"there are {CONNECTIONS_MAX} connections already")
    operation = "INSERT" if connection is None else "UPDATE"
    connection = connection or IntegrationConnection(integration_id=integration_id, user_id=user_id, label=label)
    connection.config_id, connection.dead_at = made_of.config_id, None
    connection.refreshing_until, connection.updated_at = None, ctx.now
    await (ctx.add(connection) if operation == "INSERT" else ctx.flush())
    await keep_values(ctx, connection_scope(connection.id), made_of.credentials)
    await audit.note(
        ctx, audit.Note("integration_connections", str(connection.id), operation, after=_noted(connection))
    )
    ctx.emit(IntegrationConnected(integration_id, connection.id, user_id))
    return connection


def connection_scope(id: UUID) -> str:
    """Where the vault keeps a connection's credentials."""
    return f"integration_connection:{id}"


async def newest_of(ctx: Ctx, integration_id: str, user_id: UUID) -> IntegrationConnection | None:
    """The connection that somebody made last, of those that work."""
    alive = _of(ctx, integration_id, user_id).where(IntegrationConnection.dead_at.is_(None))
    return await ctx.first(_newest(alive))


async def credentials_of(ctx: Ctx, id: UUID) -> dict[str, Any]:
    """A connection's credentials in the clear."""
    return await revealed(ctx, connection_scope(id))


async def bury(ctx: Ctx, id: UUID) -> None:
    """The other service takes the credentials no more."""
    dying = ctx.visible(IntegrationConnection).where(IntegrationConnection.id == id)
    connection = await ctx.first(dying.with_for_update())
    if connection is not None and connection.dead_at is None:
        connection.dead_at = connection.updated_at = ctx.now
        await ctx.flush()
        ctx.emit(ConnectionDied(connection.integration_id, id, connection.user_id))


def may_manage(ctx: Ctx, integration_id: str) -> bool:
    """Whether the caller may act for others with the integration."""
    return ctx.may(integration_key(integration_id, "manage"))


# Credentials that expire.


class Revoked(Exception):
    """The authorization server gives no credentials for this connection any more."""


def oauth_client(auth: OAuth2, config: Mapping[str, Any]) -> OAuthClient:
    """Who we are to the authorization server. Raises Conflict where that is not configured."""
    values = {"config": config}
    client_id, token_url = text_of(auth.client_id, values), text_of(auth.token_url, values)
    if client_id is None or token_url is None:
        raise Conflict("the integration is not configured: its client is missing")
    secret = None if auth.client_secret is None else text_of(auth.client_secret, values)
    return OAuthClient(token_url, client_id, None if secret is None else SecretText(secret), auth.in_form)


def with_expiry(tokens: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """What an authorization server answered, as it is kept: with the moment its token expires, in Unix seconds."""
    kept = {name: value for name, value in tokens.items() if name not in ("expires_in", "id_token")}
    lasts_s = tokens.get("expires_in")
    if isinstance(lasts_s, int | float) and not isinstance(lasts_s, bool) and 0 < lasts_s < 10**9:
        kept["expires_at"] = int(now.timestamp() + lasts_s)
    return kept


def is_stale(credentials: Mapping[str, Any], now: datetime) -> bool:
    """Whether they are to be fetched anew before they are used."""
    expires_at = credentials.get("expires_at")
    return isinstance(expires_at, int) and expires_at <= (now + EARLY).timestamp()


async def renewed(ctx: Ctx, client: OAuthClient, id: UUID, old: Mapping[str, Any]) -> dict[str, Any]:
    """Credentials in the place of `old`, which one of all who need them fetches, while no connection is held.

    Servers that hand out a new refresh token with each use take two uses of one for a theft: so there is one at a
    time. Raises Revoked, Failed, Unavailable.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + REFRESH_S_MAX
    while loop.time() < until:
        claim = await ctx.apart(lambda apart: _claimed(apart, id, old))
        if claim.known is not None:
            return claim.known
        if claim.ours:
            return await _fetched(ctx, client, id, old)
        await ctx.outside(asyncio.sleep(LOOK_AGAIN_S), 1)
    raise Unavailable("credentials are being fetched for this connection; try again")


@dataclass(frozen=True, slots=True)
class _Claim:
    """Whether the fetching is ours to do, or what somebody has fetched meanwhile."""

    ours: bool = False
    known: dict[str, Any] | None = None


async def _claimed(ctx: Ctx, id: UUID, old: Mapping[str, Any]) -> _Claim:
    connection = await ctx.lock(IntegrationConnection, id)
    known = await credentials_of(ctx, id)
    if known.get("access_token") != old.get("access_token"):
        return _Claim(known=known)
    if connection.dead_at is not None or "refresh_token" not in known:
        raise Revoked
    if connection.refreshing_until is not None and connection.refreshing_until > ctx.now:
        return _Claim()
    connection.refreshing_until = ctx.now + REFRESH_LEASE
    await ctx.flush()
    return _Claim(ours=True)


async def _fetched(ctx: Ctx, client: OAuthClient, id: UUID, old: Mapping[str, Any]) -> dict[str, Any]:
    try:
        tokens = await ctx.outside(ctx.ports.oauth_tokens.refreshed(client, str(old["refresh_token"])), REFRESH_S_MAX)
    except GrantRefused as refused:
        await ctx.apart(lambda apart: bury(apart, id))
        raise Revoked from refused
    except ServerFailed as failed:
        await ctx.apart(lambda apart: _let_go(apart, id))
        raise Failed(f"new credentials cannot be fetched: {failed}") from failed

    async def kept(apart: Ctx) -> dict[str, Any]:
        fresh = {**old, **with_expiry(tokens, apart.now)}
        await keep_values(apart, connection_scope(id), fresh)
        await _let_go(apart, id)
        return fresh

    return await ctx.apart(kept)


async def _let_go(ctx: Ctx, id: UUID) -> None:
    (await ctx.lock(IntegrationConnection, id)).refreshing_until = None
    await ctx.flush()
