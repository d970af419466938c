"""Doing a request that is sent twice once: the key, a hash of what was asked, and the answer, kept with the effect.

The row is written in the transaction of the effect, so that either both are there or neither is. A refused request
leaves no row: sent again it is judged again.
"""

from datetime import timedelta

from sqlalchemy import delete, func, select

from domain.idempotency.model import IdempotencyKey
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Conflict, Invalid, KeyReused

KEY_CHARS_MAX = 255
KEPT = timedelta(hours=48)


async def answer_of(ctx: Ctx, key: str, request_hash: bytes) -> bytes | None:
    """The answer this request got before, or None: then it is ours to do, and nobody else's meanwhile.

    Raises Invalid on the key; KeyReused when it came with another request; Conflict while that one still runs.
    """
    if not 0 < len(key) <= KEY_CHARS_MAX or not key.isprintable():
        raise Invalid("Idempotency-Key", f"the idempotency key must be 1 to {KEY_CHARS_MAX} printable characters")
    name = f"idempotency:{ctx.tenant_id}:{ctx.user()}:{key}"
    ours = await ctx.execute(select(func.pg_try_advisory_xact_lock(func.hashtextextended(name, 0))))
    if not ours.scalar():
        raise Conflict("a request with this idempotency key is being worked on", retry_after_s=1)
    known = await ctx.first(
        ctx.visible(IdempotencyKey).where(IdempotencyKey.user_id == ctx.user(), IdempotencyKey.key == key)
    )
    if known is None:
        return None
    if known.created_at < ctx.now - KEPT:
        await ctx.remove(known)
        return None
    if known.request_hash != request_hash:
        raise KeyReused("this idempotency key was used for another request")
    return known.answer


async def keep_answer(ctx: Ctx, key: str, request_hash: bytes, answer: bytes) -> None:
    """Keep what the request is about to be answered."""
    row = IdempotencyKey(user_id=ctx.user(), key=key, request_hash=request_hash, answer=answer)
    row.created_at = ctx.now
    await ctx.add(row)


async def forget_old(ctx: Ctx) -> None:
    """Drop answers that have been kept long enough."""
    await ctx.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < ctx.now - KEPT))
