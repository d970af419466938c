"""Standing delegations: whose name an agent may act in while they are not there (RootCX agent protocol, 6.8)."""

from uuid import UUID

from sqlalchemy import delete, exists, select
from sqlalchemy.dialects.postgresql import insert

from domain.access import service as access
from domain.access.permissions import app_key
from domain.agents import registration
from domain.agents.model import AgentDelegation
from domain.identity import service as identity
from domain.identity.model import AccountKind
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Denied, Missing


async def give(ctx: Ctx, app_id: str, owner_id: UUID, reference: UUID) -> bool:
    """Note that the agent of an app may act for `owner_id`, because of what `reference` names (a cron's id, say).

    Whether the app has an agent: without one there is nothing to agree to.
    """
    if not await has_agent(ctx, app_id):
        return False
    row = {"tenant_id": ctx.tenant_id, "app_id": app_id, "owner_id": owner_id, "reference": reference}
    await ctx.execute(insert(AgentDelegation).values({**row, "created_at": ctx.now}).on_conflict_do_nothing())
    return True


async def withdraw(ctx: Ctx, reference: UUID) -> None:
    """Take back what was given because of `reference`."""
    given = AgentDelegation.reference == reference
    await ctx.execute(delete(AgentDelegation).where(AgentDelegation.tenant_id == ctx.tenant_id, given))


async def has_agent(ctx: Ctx, app_id: str) -> bool:
    """Whether the app has an agent."""
    return await registration.find(ctx, app_id) is not None


async def need(ctx: Ctx, app_id: str, owner_id: UUID | None) -> None:
    """Raises Missing without an agent, Denied for an owner it may not act for at this moment."""
    if not await has_agent(ctx, app_id):
        raise Missing(f"app '{app_id}' has no agent")
    owner = None if owner_id is None else await identity.by_id(ctx, owner_id)
    if owner is None or owner.disabled_at is not None or owner.kind == AccountKind.SYSTEM:
        raise Denied("there is no owner in whose name the agent could act")
    given = exists().where(
        AgentDelegation.tenant_id == ctx.tenant_id,
        AgentDelegation.app_id == app_id,
        AgentDelegation.owner_id == owner.id,
    )
    if not (await ctx.execute(select(given))).scalar():
        raise Denied("the owner has not delegated to this agent")
    key = app_key(app_id, "invoke")
    if not (await access.held(ctx, owner.id)).grants.allows(key):
        raise Denied(f"permission denied: the owner does not hold {key}")
