"""Doing a request that is sent twice once: the key, a hash of what was asked, and the answer, kept with the effect.

The row is written in the transaction of the effect, so that either both are there or neither is. A refused request
leaves no row: sent again it is judged again. Until then a lock of the transaction keeps others from doing it as well;
one that waits for somebody outside has no transaction meanwhile, and keeps them from it by a row without an answer.
"""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert

from domain.idempotency.model import IdempotencyKey
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Conflict, Invalid, KeyReused

KEY_CHARS_MAX = 255
KEPT = timedelta(hours=48)
ROOM_S = 60.0  # for what an operation does besides waiting
WAITING = b""
BUSY = "a request with this idempotency key is being worked on"


@dataclass(frozen=True, slots=True)
class Keyed:
    """A request that may be sent again: whose, under what key, and a hash of what was asked."""

    user_id: UUID
    key: str
    request_hash: bytes


async def answer_of(ctx: Ctx, asked: Keyed) -> bytes | None:
    """The answer this request got before, or None: then it is ours to do, and nobody else's meanwhile.

    Raises Invalid on the key; KeyReused when it came with another request; Conflict while that one still runs.
    """
    if not 0 < len(asked.key) <= KEY_CHARS_MAX or not asked.key.isprintable():
        raise Invalid("Idempotency-Key", f"the idempotency key must be 1 to {KEY_CHARS_MAX} printable characters")
    name = f"idempotency:{ctx.tenant_id}:{asked.user_id}:{asked.key}"
    ours = await ctx.execute(select(func.pg_try_advisory_xact_lock(func.hashtextextended(name, 0))))
    if not ours.scalar():
        raise Conflict(BUSY, retry_after_s=1)
    known = await ctx.first(
        ctx.visible(IdempotencyKey).where(IdempotencyKey.user_id == asked.user_id, IdempotencyKey.key == asked.key)
    )
    if known is None:
        return None
    if known.created_at < (ctx.now if known.answer == WAITING else ctx.now - KEPT):
        await ctx.remove(known)
        return None
    if known.request_hash != asked.request_hash:
        raise KeyReused("this idempotency key was used for another request")
    if known.answer == WAITING:
        raise Conflict(BUSY, retry_after_s=1)
    return known.answer


async def claim(ctx: Ctx, asked: Keyed, most_s: float) -> None:
    """Keep others from doing the request while it waits for up to `most_s`, once this is committed.

    To be called where `answer_of` has found none, in the same transaction.
    """
    row = IdempotencyKey(user_id=asked.user_id, key=asked.key, request_hash=asked.request_hash, answer=WAITING)
    row.created_at = ctx.now + timedelta(seconds=most_s + ROOM_S)
    await ctx.add(row)


async def give_up(ctx: Ctx, asked: Keyed) -> None:
    """Let others do the request, which came to nothing."""
    named = IdempotencyKey.user_id == asked.user_id, IdempotencyKey.key == asked.key
    claimed = IdempotencyKey.tenant_id == ctx.tenant_id, IdempotencyKey.answer == WAITING
    await ctx.execute(delete(IdempotencyKey).where(*claimed, *named))


async def keep_answer(ctx: Ctx, asked: Keyed, answer: bytes) -> None:
    """Keep what the request is about to be answered. Raises Conflict where another was faster after all."""
    row = {"tenant_id": ctx.tenant_id, "user_id": asked.user_id, "key": asked.key, "request_hash": asked.request_hash}
    put = insert(IdempotencyKey).values(**row, answer=answer, created_at=ctx.now)
    put = put.on_conflict_do_update(
        constraint=IdempotencyKey.__table__.primary_key,  # type: ignore[arg-type]
        set_={"answer": answer, "created_at": ctx.now},
        where=(IdempotencyKey.answer == WAITING) & (IdempotencyKey.request_hash == asked.request_hash),
    )
    if (await ctx.execute(put)).rowcount != 1:  # type: ignore[attr-defined]
        raise Conflict(BUSY, retry_after_s=1)


async def forget_old(ctx: Ctx) -> None:
    """Drop answers that have been kept long enough."""
    await ctx.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < ctx.now - KEPT))
