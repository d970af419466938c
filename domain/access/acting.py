"""Acting for others: who has agreed that somebody hands in work to be done in their name (RootCX, "Act-as").

Agreements are standing. They are asked for when work is handed in, a cron or a hook is made; what was made while there
was one goes on, with the rights that its principal has at each moment.
"""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import delete, or_
from sqlalchemy.dialects.postgresql import insert

from domain.access import service as access
from domain.access.model import ActingAgreement
from domain.access.permissions import EVERYTHING
from domain.identity import service as identity
from domain.identity.model import AccountKind
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Denied, Invalid, Missing

OF_ONE_MAX = 200


async def agreements(ctx: Ctx) -> Sequence[ActingAgreement]:
    """The caller's, as principal and as actor, newest first. Raises Unauthenticated."""
    me = ctx.user()
    mine = or_(ActingAgreement.principal_id == me, ActingAgreement.actor_id == me)
    rows = ctx.visible(ActingAgreement).where(mine)
    return await ctx.all(rows.order_by(ActingAgreement.created_at.desc()).limit(OF_ONE_MAX * 10))


async def allow(ctx: Ctx, actor_id: UUID, principal_id: UUID | None = None) -> ActingAgreement:
    """Let `actor_id` act for the principal: the caller, or anybody where an administrator says so.

    Raises Unauthenticated, Denied, Missing; Invalid on `actor`.
    """
    principal_id = _principal(ctx, principal_id)
    if actor_id == principal_id:
        raise Invalid("actor", "everybody acts for themselves")
    for id in (principal_id, actor_id):
        account = await identity.by_id(ctx, id)
        if account is None or account.kind == AccountKind.SYSTEM:
            raise Missing("user not found")
    key = {"tenant_id": ctx.tenant_id, "principal_id": principal_id, "actor_id": actor_id}
    await ctx.execute(insert(ActingAgreement).values(**key, created_at=ctx.now).on_conflict_do_nothing())
    row = await _between(ctx, actor_id, principal_id)
    assert row is not None
    return row


async def disallow(ctx: Ctx, actor_id: UUID, principal_id: UUID | None = None) -> bool:
    """Take it back; whether there was an agreement. Raises Unauthenticated, Denied."""
    whose = ActingAgreement.principal_id == _principal(ctx, principal_id), ActingAgreement.actor_id == actor_id
    gone = delete(ActingAgreement).where(ActingAgreement.tenant_id == ctx.tenant_id, *whose)
    return bool((await ctx.execute(gone)).rowcount)  # type: ignore[attr-defined]


def _principal(ctx: Ctx, given: UUID | None) -> UUID:
    me = ctx.user()
    if given is not None and given != me:
        ctx.need(EVERYTHING)
        return given
    return me


async def principal(ctx: Ctx, given: UUID | None, field: str) -> UUID:
    """In whose name something is to be done: the caller's own, or that of who agreed and may do no more than they.

    Raises Unauthenticated; Denied on `field`.
    """
    me = ctx.user()
    if given is None or given == me:
        return me
    if await _between(ctx, me, given) is None:
        raise Denied("permission denied: that account has not agreed that you act for it", field=field)
    beyond = [key for key in sorted((await access.held(ctx, given)).grants.keys) if not ctx.may(key)]
    if beyond:
        raise Denied(f"permission denied: that account may do what you may not: {beyond[0]}", field=field)
    return given


async def _between(ctx: Ctx, actor_id: UUID, principal_id: UUID) -> ActingAgreement | None:
    rows = ctx.visible(ActingAgreement).where(ActingAgreement.actor_id == actor_id)
    return await ctx.first(rows.where(ActingAgreement.principal_id == principal_id))
