"""Agents come with the code of an app, and go with the app."""

from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import delete, update
from sqlalchemy.dialects.postgresql import insert

from domain.access import service as access
from domain.access.events import AccessChanged
from domain.access.permissions import Verb, app_key, record_key
from domain.agents.definition import NewAgent, parse
from domain.agents.model import Agent
from domain.apps.model import App
from domain.identity.model import AccountKind, LoginName, User
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Invalid
from domain.kernel.model import DEFAULT_TENANT

KIND = "agent"  # what an app is that has one, whatever its manifest says
# RootCX, identifiers: the id of an agent's account follows from its app.
NAMESPACE = UUID("9a3b4c5d-6e7f-4001-8293-a4b5c6d7e8f9")


def account_id(tenant_id: UUID, app_id: str) -> UUID:
    """The account of an app's agent; outside of the default tenant its name has the tenant in it."""
    whose = app_id if tenant_id == DEFAULT_TENANT else f"{tenant_id}:{app_id}"
    return uuid5(NAMESPACE, f"agent:{whose}")


def role_of(app_id: str) -> str:
    """The stored name of the role that an agent begins with."""
    return f"app:{app_id}:agent"


def read(document: Any) -> NewAgent | None:
    """The agent that an archive's agent.json describes, None for no document. Raises Invalid on `archive`."""
    if document is None:
        return None
    try:
        return parse(document)
    except Invalid as wrong:
        raise Invalid("archive", f"agent.json: {wrong.message}") from wrong


async def register(ctx: Ctx, app_id: str, document: Any) -> None:
    """Make the agent of `document` the app's, if there is one in it and the app is installed. Raises Invalid."""
    new = read(document)
    app = None if new is None else await ctx.first(ctx.visible(App).where(App.id == app_id))
    if new is None or app is None:
        return
    there = await find(ctx, app_id)
    if there is None:
        await _provide_account(ctx, app, new.name)
        there = Agent(app_id=app_id, user_id=account_id(ctx.tenant_id, app_id), name=new.name)
        there.description, there.config, there.updated_at = new.description, new.config, ctx.now
        await ctx.add(there)
    else:
        there.name, there.description, there.config, there.updated_at = new.name, new.description, new.config, ctx.now
    app.kind = KIND
    await ctx.flush()
    ctx.emit(AccessChanged(there.user_id))


async def find(ctx: Ctx, app_id: str) -> Agent | None:
    """The app's agent, or None."""
    return await ctx.first(ctx.visible(Agent).where(Agent.app_id == app_id))


async def follow(ctx: Ctx, app: App, document: Any) -> None:
    """Go along with an installation: `document` is the agent.json of code that may have been there before the app."""
    if await find(ctx, app.id) is None:
        await register(ctx, app.id, document)
    else:
        app.kind = KIND
        await ctx.flush()


async def _provide_account(ctx: Ctx, app: App, name: str) -> None:
    """The agent's account with its first role: all of the app's records, and no tool."""
    id, address = account_id(ctx.tenant_id, app.id), f"agent+{app.id}@localhost"
    row = {"id": id, "tenant_id": ctx.tenant_id, "username": address, "email": address, "display_name": name}
    account = insert(User).values({**row, "kind": AccountKind.AGENT, "created_at": ctx.now})
    await ctx.execute(account.on_conflict_do_update(index_elements=[User.id], set_={"disabled_at": None}))
    named = {"tenant_id": ctx.tenant_id, "name": address, "user_id": id}
    await ctx.execute(insert(LoginName).values(named).on_conflict_do_nothing())
    records = [record_key(app.id, entity, verb) for entity in app.entities for verb in Verb]
    await access.provide_role(
        ctx, role_of(app.id), f"What the agent of {app.id} may do", [*records, app_key(app.id, "invoke")]
    )
    await access.give_role(ctx, id, role_of(app.id))


async def forget(ctx: Ctx, app_id: str) -> bool:
    """Take the app's agent away with all it remembers; its account stays, disabled, for what still links to it.

    Whether there was one.
    """
    app = await ctx.first(ctx.visible(App).where(App.id == app_id))
    if app is not None:
        app.kind = app.manifest["type"]
    gone = delete(Agent).where(Agent.tenant_id == ctx.tenant_id, Agent.app_id == app_id).returning(Agent.user_id)
    user_id = (await ctx.execute(gone)).scalar_one_or_none()
    if user_id is None:
        return False
    await ctx.execute(update(User).where(User.id == user_id).values(disabled_at=ctx.now))
    await access.take_roles(ctx, user_id)
    ctx.emit(AccessChanged(user_id))
    return True
