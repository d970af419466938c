"""Channels for those who run them, and for those who want to be known in them."""

import re
import secrets as randomness
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import orjson
from sqlalchemy import delete

from domain.access.permissions import EVERYTHING
from domain.agents import delegations
from domain.audit import service as audit
from domain.channels.events import ChannelChanged, ChannelLinkChanged
from domain.channels.model import (
    Channel,
    ChannelIdentity,
    ChannelLink,
    ChannelMessage,
    Conversation,
    Provider,
    Status,
)
from domain.channels.naming import reference
from domain.channels.ports import Account, Messenger, ProviderAway, ProviderRefused
from domain.kernel.changes import Ids
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Failed, Invalid, Missing, TimedOut
from domain.kernel.page import Page, PageArgs, keyset_page
from domain.kernel.reading import json_problem
from domain.kernel.secret import SecretText
from domain.secrets import service as vault
from domain.sign_in.delivery import web_address
from domain.sign_in.tokens import token_hash

CHANNELS_MAX = 1_000
NAME_CHARS_MAX = 200
CONFIG_BYTES_MAX = 16 * 1024
SECRET_CHARS_MAX = 1_000
LINK_LIFE = timedelta(minutes=5)
PROVIDER_S_MAX = 20.0
WEBHOOK_SECRET = "webhook_secret"  # a field of every provider's: what it is to show, or to sign with
TOLD = "account"  # the part of a configuration that the provider told us

_WEBHOOK_SECRET = re.compile(r"[A-Za-z0-9_+/=-]{16,256}")


def channel_scope(id: UUID) -> str:
    """Where the vault keeps a channel's secrets."""
    return f"channel:{id}"


def messenger(ctx: Ctx, provider: str) -> Messenger:
    """Who speaks with this provider. Raises Invalid on `provider`."""
    found = ctx.ports.messengers.get(provider)
    if found is None:
        raise Invalid("provider", f"unsupported provider '{provider[:40]}': use {', '.join(Provider)}")
    return found


# For those who run them.


async def channels(ctx: Ctx) -> Sequence[Channel]:
    """All channels, newest first. Raises Unauthenticated."""
    ctx.user()
    return await ctx.all(ctx.visible(Channel).order_by(Channel.id.desc()).limit(CHANNELS_MAX))


async def channel(ctx: Ctx, id: UUID) -> Channel:
    """One channel. Raises Unauthenticated, Missing."""
    ctx.user()
    return await ctx.one(Channel, id)


async def messages(ctx: Ctx, channel_id: UUID, args: PageArgs) -> Page[ChannelMessage]:
    """The messages of a channel, newest first. Raises Denied, Missing; Invalid on `first` or `after`."""
    ctx.need(EVERYTHING)
    await ctx.one(Channel, channel_id)
    rows = ctx.visible(ChannelMessage).where(ChannelMessage.channel_id == channel_id)
    return await keyset_page(
        ctx, rows, args, scope=f"channel messages:{channel_id}", by=(ChannelMessage.id,), descending=True
    )


@dataclass(frozen=True, slots=True)
class Created:
    """A new channel, and what its provider is to show or to sign with: it is told this once."""

    channel: Channel
    webhook_secret: str = field(repr=False)


async def create(ctx: Ctx, provider: str, name: str, config: Mapping[str, Any]) -> Created:
    """Write a new channel, which is inactive. Raises Denied; Invalid on `provider`, `name` or `config`."""
    ctx.need(EVERYTHING)
    ctx.keep_nothing()
    speaks = messenger(ctx, provider)
    name = name.strip()
    if not 0 < len(name) <= NAME_CHARS_MAX or not name.isprintable():
        raise Invalid("name", f"name must be 1 to {NAME_CHARS_MAX} printable characters")
    plain, secret = _parted(speaks, config)
    secret.setdefault(WEBHOOK_SECRET, SecretText(randomness.token_hex(16)))
    if len(await channels(ctx)) >= CHANNELS_MAX:
        raise Invalid("name", f"there are {CHANNELS_MAX} channels already")
    row = Channel(provider=provider, name=name, config=plain, status=Status.INACTIVE, created_by=ctx.user())
    row.updated_at = ctx.now
    await ctx.add(row)
    await _keep(ctx, row, secret)
    await audit.note(ctx, audit.Note("channels", str(row.id), "INSERT", after=_noted(row)))
    ctx.emit(ChannelChanged(row.id, row.status))
    return Created(row, secret[WEBHOOK_SECRET].text)


@dataclass(frozen=True, slots=True)
class Activated:
    """A channel that takes messages, and where its provider sends them."""

    channel: Channel
    webhook_url: str


async def activate(
    ctx: Ctx, id: UUID, public_url: str | None = None, patch: Mapping[str, Any] | None = None
) -> Activated:
    """Have the provider send messages here. `patch` is put over the configuration; secrets only where none is set.

    Raises Denied, Missing; Invalid on `publicUrl` or `config`; Failed with what the provider says.
    """
    ctx.need(EVERYTHING)
    ctx.keep_nothing()
    row, account = await ctx.apart(lambda apart: _known(apart, id))
    speaks = messenger(ctx, row.provider)
    plain, secret = _parted(speaks, {**_configured(row), **(patch or {})})
    new = {name: value for name, value in secret.items() if name not in account.secrets}
    public = _public(ctx, public_url)
    url = ctx.ports.channel_urls.webhook(public, row.provider, id)
    account = Account(id, plain, {**account.secrets, **new})
    try:
        told = await ctx.outside(speaks.activated(account, url), PROVIDER_S_MAX)
    except (ProviderRefused, ProviderAway) as problem:
        raise Failed(f"{row.provider}: {problem}") from problem
    row = await ctx.lock(Channel, id)
    before = _noted(row)
    row.config, row.status, row.updated_at = {**plain, TOLD: dict(told)}, Status.ACTIVE, ctx.now
    await ctx.flush()
    await _keep(ctx, row, new)
    await audit.note(ctx, audit.Note("channels", str(id), "UPDATE", before, _noted(row)))
    ctx.emit(ChannelChanged(id, row.status))
    return Activated(row, url)


async def deactivate(ctx: Ctx, id: UUID) -> Channel:
    """Take no more messages; the provider is told so, if it listens. Raises Denied, Missing."""
    ctx.need(EVERYTHING)
    row, account = await ctx.apart(lambda apart: _known(apart, id))
    await _leave(ctx, row, account)
    row = await ctx.lock(Channel, id)
    before = _noted(row)
    row.status, row.updated_at = Status.INACTIVE, ctx.now
    await ctx.flush()
    await audit.note(ctx, audit.Note("channels", str(id), "UPDATE", before, _noted(row)))
    ctx.emit(ChannelChanged(id, row.status))
    return row


async def remove(ctx: Ctx, id: UUID) -> None:
    """Take a channel away with all that was said in it. One that is not there is away already. Raises Denied."""
    ctx.need(EVERYTHING)
    try:
        row, account = await ctx.apart(lambda apart: _known(apart, id))
    except Missing:
        return
    await _leave(ctx, row, account)
    there = await ctx.first(ctx.visible(Channel).where(Channel.id == id).with_for_update())
    if there is None:
        return
    for identity in await ctx.all(ctx.visible(ChannelIdentity).where(ChannelIdentity.channel_id == id)):
        await delegations.withdraw(ctx, reference(id, identity.user_id))
    await ctx.remove(there)
    await audit.note(ctx, audit.Note("channels", str(id), "DELETE", before=_noted(row)))
    ctx.emit(ChannelChanged(id, "deleted"))


async def _leave(ctx: Ctx, row: Channel, account: Account) -> None:
    if row.status == Status.ACTIVE:
        with suppress(ProviderRefused, ProviderAway, TimedOut):
            await ctx.outside(messenger(ctx, row.provider).deactivated(account), PROVIDER_S_MAX)


async def _known(ctx: Ctx, id: UUID) -> tuple[Channel, Account]:
    row = await ctx.one(Channel, id)
    return row, await account_of(ctx, row)


async def account_of(ctx: Ctx, row: Channel) -> Account:
    """The channel as its provider knows it."""
    return Account(row.id, row.config, await vault.reveal_all(ctx, channel_scope(row.id)))


def _configured(row: Channel) -> dict[str, Any]:
    """What people configured; what the provider told is told anew."""
    return {name: value for name, value in row.config.items() if name != TOLD}


def _parted(speaks: Messenger, config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, SecretText]]:
    """A configuration's plain and its secret part. Raises Invalid on `config`."""
    plain = {name: value for name, value in config.items() if name not in speaks.secret_fields and name != TOLD}
    secret = {}
    for name in sorted(speaks.secret_fields & config.keys()):
        value = config[name]
        if not isinstance(value, str) or not 0 < len(value) <= SECRET_CHARS_MAX or not value.isprintable():
            raise Invalid(f"config.{name}", f"config.{name} must be 1 to {SECRET_CHARS_MAX} printable characters")
        secret[name] = SecretText(value)
    given = secret.get(WEBHOOK_SECRET)
    if given is not None and not _WEBHOOK_SECRET.fullmatch(given.text):
        raise Invalid(f"config.{WEBHOOK_SECRET}", f"config.{WEBHOOK_SECRET} must be 16 to 256 of A-Z a-z 0-9 _ -")
    wrong = json_problem(plain)
    if wrong is None and len(orjson.dumps(plain)) > CONFIG_BYTES_MAX:
        wrong = f"must be at most {CONFIG_BYTES_MAX} bytes"
    if wrong is not None:
        raise Invalid("config", f"config {wrong}")
    problem = speaks.problem(plain)
    if problem is not None:
        raise Invalid(f"config.{problem[0]}", f"config.{problem[0]} {problem[1]}")
    return plain, secret


async def _keep(ctx: Ctx, row: Channel, secret: Mapping[str, SecretText]) -> None:
    for name, value in secret.items():
        await vault.keep(ctx, channel_scope(row.id), name, value)


def _public(ctx: Ctx, given: str | None) -> str:
    """The address providers are to reach us at. Raises Invalid on `publicUrl`."""
    public = given or ctx.ports.channel_urls.public
    if public is None:
        raise Invalid("publicUrl", "no public URL: set STOA_PUBLIC_URL, or give one")
    web_address("publicUrl", public)
    if urlsplit(public).query or "#" in public:
        raise Invalid("publicUrl", "publicUrl must have neither query nor fragment")
    return public.rstrip("/")


def _noted(row: Channel) -> dict[str, Any]:
    return {"provider": row.provider, "name": row.name, "status": row.status, "config": row.config}


# For those who want to be known.


@dataclass(frozen=True, slots=True)
class Link:
    """A token to be sent to the channel within five minutes, and where a click does so, if there is such a place."""

    provider: str
    token: str = field(repr=False)
    url: str | None = field(repr=False)


async def link(ctx: Ctx, id: UUID) -> Link:
    """A token by which an active channel knows the caller; those they had before are good no more. Raises Missing."""
    user_id = ctx.user()
    ctx.keep_nothing()
    row = await ctx.one(Channel, id)
    if row.status != Status.ACTIVE:
        raise Missing("channel not found, or not active")
    await ctx.execute(delete(ChannelLink).where(ChannelLink.channel_id == id, ChannelLink.user_id == user_id))
    token = f"link_{randomness.token_hex(16)}"
    made = ChannelLink(token_hash=token_hash(token), channel_id=id, user_id=user_id, expires_at=ctx.now + LINK_LIFE)
    await ctx.add(made)
    return Link(row.provider, token, messenger(ctx, row.provider).link_url(await account_of(ctx, row), token))


async def is_linked(ctx: Ctx, id: UUID) -> bool:
    """Whether the channel knows the caller. Raises Unauthenticated, Missing."""
    user_id = ctx.user()
    await ctx.one(Channel, id)
    return await _identity(ctx, id, user_id) is not None


async def links(ctx: Ctx, id: UUID) -> AsyncGenerator[bool, None]:
    """Whether the channel knows the caller: as it is, and whenever that changes. Raises Unauthenticated, Missing."""
    user_id = ctx.user()
    await ctx.one(Channel, id)
    listening = ctx.ports.changes.listen(ctx.tenant_id, ChannelLinkChanged.kind, str(id), user_id)
    return _told(ctx, id, user_id, listening)


async def _told(ctx: Ctx, id: UUID, user_id: UUID, listening: Ids) -> AsyncGenerator[bool, None]:
    async with aclosing(listening) as changed:
        yield await _identity(ctx, id, user_id) is not None
        async for _ in changed:
            yield await _identity(ctx, id, user_id) is not None


async def unlink(ctx: Ctx, id: UUID) -> None:
    """Be unknown to the channel again. Raises Unauthenticated, Missing."""
    user_id = ctx.user()
    await ctx.one(Channel, id)
    found = await _identity(ctx, id, user_id)
    if found is None:
        raise Missing("the channel does not know you")
    await forget(ctx, found)


async def forget(ctx: Ctx, identity: ChannelIdentity) -> None:
    """Let a sender be nobody again, and agents act for them here no more."""
    await ctx.remove(identity)
    ctx.emit(ChannelLinkChanged(identity.channel_id, identity.user_id))
    theirs = (Conversation.channel_id == identity.channel_id, Conversation.user_id == identity.user_id)
    await ctx.execute(delete(Conversation).where(*theirs))
    await delegations.withdraw(ctx, reference(identity.channel_id, identity.user_id))


async def _identity(ctx: Ctx, id: UUID, user_id: UUID) -> ChannelIdentity | None:
    rows = ctx.visible(ChannelIdentity).where(ChannelIdentity.channel_id == id)
    return await ctx.first(rows.where(ChannelIdentity.user_id == user_id).with_for_update())
