"""What becomes of a message: a command is done, anything else goes to an agent, in the name of who wrote it.

Somebody works on a message for as long as its lease is theirs. What they do about it, the answer included, is written
in one transaction with the message being done; the answer is sent after that.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert

from domain.access import service as access
from domain.access.permissions import app_key
from domain.agents import delegations
from domain.agents.model import Agent
from domain.channels.events import ChannelLinkChanged, MessageWaits
from domain.channels.model import (
    Channel,
    ChannelIdentity,
    ChannelLink,
    ChannelMessage,
    Conversation,
    Direction,
    MessageState,
)
from domain.channels.naming import reference
from domain.channels.service import forget, messenger
from domain.identity import service as identity
from domain.kernel.ctx import Ctx
from domain.kernel.ids import uuid7
from domain.sign_in.tokens import token_hash

DEFAULT_AGENT = "assistant"
AGENTS_SHOWN = 50
REPLY_CHARS_MAX = 100_000
ERROR_CHARS_MAX = 1_000
REMINDED_S = 3600.0  # how long somebody unknown is not told again
# When an answer that was not taken is sent again; after the last of these it has failed.
AGAIN = tuple(timedelta(seconds=s) for s in (1, 5, 15, 60, 300, 900, 1800))

_COMMAND = re.compile(r"[/!](start|link|newsession|agent|help)(?:@\w+)?(?:\s+(\S+))?\s*", re.IGNORECASE)
_TOKEN = re.compile(r"link_[0-9a-f]{32}")

UNKNOWN = "I don't know you yet. Link your account: ask for a link where you are signed in, then send me /link <token>."
HELP = "/agent shows the agents, /agent <name> chooses one, /newsession begins anew. Anything else goes to the agent."


@dataclass(frozen=True, slots=True)
class Question:
    """What an agent is to be asked, in whose name."""

    tenant_id: UUID
    app_id: str
    owner_id: UUID
    text: str = field(repr=False)
    session_id: UUID | None


async def hear(ctx: Ctx, id: UUID, lease: UUID) -> Question | None:
    """Do what a message wants, if that needs no agent; or else what the agent is to be asked.

    None, too, for a message that is no longer ours to work on.
    """
    message = await ours(ctx, id, lease)
    if message is None:
        return None
    wanted = await _wanted(ctx, message)
    if isinstance(wanted, Question):
        return wanted
    await _settled(ctx, message, wanted)
    return None


async def _wanted(ctx: Ctx, message: ChannelMessage) -> Question | str | None:
    """What an agent is to be asked, or what is answered right away, be it nothing."""
    text = message.body.strip()
    first = text.partition("\n")[0].strip()  # a letter goes on with a signature, and what it answers
    command = _COMMAND.fullmatch(first)
    if _TOKEN.fullmatch(first):
        return await _linked(ctx, message, first)
    if command is not None and command[1].lower() in ("start", "link") and command[2]:
        return await _linked(ctx, message, command[2])
    known = await _who(ctx, message)
    if known is None:
        return await _reminder(ctx, message)
    if command is not None:
        return await _done(ctx, message, known, command)
    if not text:
        return None
    talk = await _conversation(ctx, message, known.user_id)
    return Question(message.tenant_id, talk.app_id, known.user_id, text, talk.session_id)


async def answered(ctx: Ctx, id: UUID, lease: UUID, text: str, session_id: UUID | None) -> None:
    """Pass an agent's answer on, and go on from it the next time."""
    message = await ours(ctx, id, lease)
    if message is None:
        return
    known = await _who(ctx, message)
    if known is not None:
        (await _conversation(ctx, message, known.user_id)).session_id = session_id
    await _settled(ctx, message, text)


async def given_up(ctx: Ctx, id: UUID, lease: UUID, error: str, apology: str | None) -> None:
    """Leave a message without an answer, or with an apology for one."""
    message = await ours(ctx, id, lease)
    if message is None:
        return
    message.error = error[:ERROR_CHARS_MAX]
    await _settled(ctx, message, apology, MessageState.FAILED)


async def ours(ctx: Ctx, id: UUID, lease: UUID) -> ChannelMessage | None:
    """The message, locked, if the lease is still the one that it is worked on under."""
    mine = (ChannelMessage.id == id, ChannelMessage.lease == lease, ChannelMessage.state == MessageState.WAITING)
    return await ctx.first(ctx.visible(ChannelMessage).where(*mine).with_for_update())


async def sent(ctx: Ctx, id: UUID, lease: UUID) -> None:
    """A message is with its provider."""
    message = await ours(ctx, id, lease)
    if message is not None:
        message.state, message.settled_at, message.error = MessageState.DONE, ctx.now, None
        await ctx.flush()


async def not_sent(ctx: Ctx, id: UUID, lease: UUID, error: str, again_s: float | None, *, final: bool) -> None:
    """A message was not taken: it is tried again a while later, unless that is of no use any more."""
    message = await ours(ctx, id, lease)
    if message is None:
        return
    message.error, message.lease = error[:ERROR_CHARS_MAX], None
    if final or message.attempts > len(AGAIN):
        message.state, message.settled_at = MessageState.FAILED, ctx.now
    else:
        wait = AGAIN[message.attempts - 1]
        message.due_at = ctx.now + max(wait, timedelta(seconds=min(again_s or 0, AGAIN[-1].total_seconds())))
    await ctx.flush()


async def _settled(
    ctx: Ctx, message: ChannelMessage, reply: str | None, state: MessageState = MessageState.DONE
) -> None:
    """The message is done with; what is said to it waits to be sent."""
    channel = await ctx.one(Channel, message.channel_id)
    message.state, message.settled_at = state, ctx.now
    await ctx.flush()
    for part in _parts(reply or "", messenger(ctx, channel.provider).text_chars_max):
        await ctx.add(_letter(ctx, message, part))
        ctx.emit(MessageWaits(channel.id, Direction.OUT))


def _letter(ctx: Ctx, message: ChannelMessage, text: str) -> ChannelMessage:
    return ChannelMessage(
        id=uuid7(),
        channel_id=message.channel_id,
        direction=Direction.OUT,
        chat=message.chat,
        body=text,
        about=message.about,
        state=MessageState.WAITING,
        attempts=0,
        due_at=ctx.now,
    )


def _parts(text: str, chars_max: int) -> list[str]:
    """The text in messages that are not too long, cut at line ends and blanks where there are any."""
    text, parts = text.replace("\x00", "")[:REPLY_CHARS_MAX].strip(), []
    while len(text) > chars_max:
        cut = max(text.rfind("\n", 0, chars_max), text.rfind(" ", chars_max // 2, chars_max))
        cut = cut if cut > chars_max // 2 else chars_max
        parts.append(text[:cut].rstrip())
        text = text[cut:].lstrip()
    return [part for part in (*parts, text) if part]


# Who it is.


async def _who(ctx: Ctx, message: ChannelMessage) -> ChannelIdentity | None:
    mine = (ChannelIdentity.channel_id == message.channel_id, ChannelIdentity.sender == message.sender)
    return await ctx.first(ctx.visible(ChannelIdentity).where(*mine))


async def _reminder(ctx: Ctx, message: ChannelMessage) -> str | None:
    """What somebody unknown is told, but not with each word they say."""
    key = f"unknown in a channel:{message.channel_id}:{message.sender}"
    if await ctx.ports.limits.remembers(key):
        return None
    await ctx.ports.limits.remember(key, REMINDED_S)
    return UNKNOWN


async def _linked(ctx: Ctx, message: ChannelMessage, token: str) -> str:
    """Know the sender from now on as whoever made the token, which is used up."""
    taken = delete(ChannelLink).where(
        ChannelLink.token_hash == token_hash(token), ChannelLink.channel_id == message.channel_id
    )
    row = (await ctx.execute(taken.returning(ChannelLink.user_id, ChannelLink.expires_at))).first()
    user = None if row is None or row.expires_at <= ctx.now else await identity.by_id(ctx, row.user_id)
    if user is None or user.disabled_at is not None:
        return "This link is not good: it was used, or is older than five minutes. Ask for a new one."
    both = (ChannelIdentity.sender == message.sender) | (ChannelIdentity.user_id == user.id)
    rows = ctx.visible(ChannelIdentity).where(ChannelIdentity.channel_id == message.channel_id, both)
    for before in await ctx.all(rows.with_for_update()):
        await forget(ctx, before)
    assert message.sender is not None
    made = ChannelIdentity(channel_id=message.channel_id, sender=message.sender, user_id=user.id)
    await ctx.add(made)
    ctx.emit(ChannelLinkChanged(message.channel_id, user.id))
    await delegations.give(ctx, DEFAULT_AGENT, user.id, reference(message.channel_id, user.id))
    return f"You are linked as {user.contact}. {HELP}"


# What they want.


async def _done(ctx: Ctx, message: ChannelMessage, known: ChannelIdentity, command: re.Match[str]) -> str:
    match command[1].lower():
        case "newsession":
            (await _conversation(ctx, message, known.user_id)).session_id = None
            return "We begin anew."
        case "agent":
            return await _agent(ctx, message, known, command[2])
    return HELP


async def _agent(ctx: Ctx, message: ChannelMessage, known: ChannelIdentity, name: str | None) -> str:
    """Show the agents the sender may talk with, or choose one by its app or its name."""
    grants = (await access.held(ctx, known.user_id)).grants
    rows = await ctx.all(ctx.visible(Agent).order_by(Agent.name, Agent.app_id))
    there = [row for row in rows if grants.allows(app_key(row.app_id, "invoke"))]
    talk = await _conversation(ctx, message, known.user_id)
    if name is None:
        lines = [f"{'* ' if row.app_id == talk.app_id else ''}{row.app_id}: {row.name}" for row in there]
        return "\n".join(lines[:AGENTS_SHOWN]) or "There is no agent for you."
    chosen = next((row for row in there if name.lower() in (row.app_id, row.name.lower())), None)
    if chosen is None:
        return f"There is no agent '{name[:80]}' for you. /agent shows those there are."
    await delegations.give(ctx, chosen.app_id, known.user_id, reference(message.channel_id, known.user_id))
    if talk.app_id != chosen.app_id:
        talk.app_id, talk.session_id = chosen.app_id, None
    return f"You talk with {chosen.name}."


async def _conversation(ctx: Ctx, message: ChannelMessage, user_id: UUID) -> Conversation:
    """The conversation of this chat, begun with the default agent. The delegation that goes with it is given anew:
    the agent may have come after the link."""
    key: Mapping[str, Any] = {"channel_id": message.channel_id, "chat": message.chat, "user_id": user_id}
    new = {**key, "tenant_id": ctx.tenant_id, "app_id": DEFAULT_AGENT}
    await ctx.execute(insert(Conversation).values(new).on_conflict_do_nothing())
    mine = (Conversation.channel_id == message.channel_id, Conversation.chat == message.chat)
    row = await ctx.first(ctx.visible(Conversation).where(*mine, Conversation.user_id == user_id).with_for_update())
    assert row is not None
    await delegations.give(ctx, row.app_id, user_id, reference(message.channel_id, user_id))
    return row
