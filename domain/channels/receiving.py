"""What providers send to webhooks. It is answered when it is stored; what becomes of it comes after."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from domain.channels.events import MessageWaits
from domain.channels.model import Channel, ChannelMessage, Direction, MessageState, Status
from domain.channels.ports import Heard, Received, Signature, SignatureRefused, Unreadable
from domain.channels.service import account_of, messenger
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Invalid, Limited, Missing, TooLarge
from domain.kernel.ids import uuid7
from domain.kernel.limits import Allowance
from domain.kernel.upload import Upload

BODY_BYTES_MAX = 2**20
BODY_S_MAX = 10.0
TEXT_CHARS_MAX = 16_000
NAME_CHARS_MAX = 500
BY_ONE = Allowance("channel messages", 60, 60.0)  # of one sender


async def receive(ctx: Ctx, provider: str, id: UUID, signature: Signature, sent: Upload) -> Received:
    """Take in what the provider sent, once however often it is told.

    An inactive channel is told all the same, and does nothing. Raises Missing; Invalid for what is not the
    provider's, or no message; TooLarge.
    """
    body = await ctx.outside(_read(sent), BODY_S_MAX)
    row = await ctx.first(select(Channel).where(Channel.id == id, Channel.provider == provider))
    if row is None:
        raise Missing("channel not found")
    ctx.enter(row.tenant_id)
    account = await account_of(ctx, row)
    try:
        received = messenger(ctx, provider).received(account, signature, body, ctx.now.timestamp())
    except (SignatureRefused, Unreadable) as refused:
        raise Invalid("signature" if isinstance(refused, SignatureRefused) else None, str(refused)) from refused
    if received.heard is not None and row.status == Status.ACTIVE:
        await _store(ctx, row, received.heard)
    return received


async def _read(sent: Upload) -> bytes:
    body = bytearray()
    async for chunk in sent.chunks():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise TooLarge(f"the body is larger than {BODY_BYTES_MAX} bytes")
    return bytes(body)


async def _store(ctx: Ctx, row: Channel, heard: Heard) -> None:
    """Those who write more than anybody reads are not heard for a while: a refusal would only be tried again."""
    try:
        await ctx.ports.limits.take(BY_ONE, f"{row.id} {heard.sender}")
    except Limited:
        return
    if any(len(name) > NAME_CHARS_MAX or "\x00" in name for name in (heard.chat, heard.sender, heard.external_id)):
        raise Invalid(None, "a name in the message is too long")
    message = {
        "id": uuid7(),
        "tenant_id": row.tenant_id,
        "channel_id": row.id,
        "direction": Direction.IN,
        "chat": heard.chat,
        "sender": heard.sender,
        "external_id": heard.external_id,
        "body": heard.text.replace("\x00", "")[:TEXT_CHARS_MAX],
        "about": dict(heard.about),
        "state": MessageState.WAITING,
        "attempts": 0,
        "due_at": ctx.now,
        "created_at": ctx.now,
    }
    await ctx.execute(insert(ChannelMessage).values(message).on_conflict_do_nothing())
    ctx.emit(MessageWaits(row.id, Direction.IN))
