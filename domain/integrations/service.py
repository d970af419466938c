"""Integrations for those who use them: people, agents, and the code of apps."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from domain.apps.model import App
from domain.identity.model import SYSTEM_USER
from domain.integrations import connections
from domain.integrations.actions import Asked, run
from domain.integrations.configuring import configured, integration_app, integration_apps
from domain.integrations.ports import IntegrationView
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Denied, DomainError

INTEGRATIONS_MAX = 1_000


async def installed(ctx: Ctx) -> Sequence[IntegrationView]:
    """The installed integrations by name. Raises Unauthenticated."""
    ctx.user()
    found = await ctx.all(integration_apps(ctx).order_by(App.name, App.id).limit(INTEGRATIONS_MAX))
    known = await configured(ctx, found)
    return [_view(app, configured=known[app.id]) for app in found]


async def integration(ctx: Ctx, id: str) -> IntegrationView:
    """One of them. Raises Unauthenticated, Missing."""
    ctx.user()
    app = await integration_app(ctx, id)
    return _view(app, configured=(await configured(ctx, [app]))[id])


def _view(app: App, *, configured: bool) -> IntegrationView:
    return IntegrationView(
        id=app.id,
        name=app.name,
        version=app.version,
        description=app.description,
        actions=app.manifest["actions"],
        config_schema=app.manifest.get("configSchema"),
        user_auth=app.manifest.get("userAuth"),
        webhooks=app.manifest["webhooks"],
        instructions=app.manifest.get("instructions"),
        configured=configured,
    )


async def call(ctx: Ctx, app_id: str, integration_id: str, action: str, input: Any, as_user: UUID | None = None) -> Any:
    """What an action answers, done for an app with the connection that it is bound to.

    Only the app itself may say whose connection, `as_user`. Raises Denied (without the right to the action, or
    without a binding), Missing, Conflict, Invalid on `input`, Failed, Unavailable.
    """
    if as_user is not None and as_user != ctx.user() and ctx.user() != SYSTEM_USER:
        raise Denied("only the app itself may act for others")
    asked = Asked(integration_id, action, input, app_id=app_id, as_user=as_user, bound=True)
    return await run(ctx, asked)


async def call_for_each(ctx: Ctx, integration_id: str, action: str) -> int:
    """Do an action once for everybody who is connected, as an integration's own code asks; for how many it was done.

    Raises Denied.
    """
    if ctx.user() != SYSTEM_USER:
        ctx.need("*")

    async def everybody(apart: Ctx) -> Sequence[UUID]:
        return await connections.connected_users(apart, integration_id)

    done = 0
    for user_id in await ctx.apart(everybody):
        try:
            await run(ctx, Asked(integration_id, action, {}, as_user=user_id, bound=True))
        except DomainError:
            continue
        done += 1
    return done
