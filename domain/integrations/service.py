"""Integrations for those who use them."""

from collections.abc import Sequence
from typing import Any

from domain.apps import service as apps
from domain.integrations.ports import IntegrationView
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Missing

KIND = "integration"


async def installed(ctx: Ctx) -> Sequence[IntegrationView]:
    """The installed integrations by name. Raises Unauthenticated."""
    found = await apps.apps(ctx, KIND)
    return [
        IntegrationView(
            id=app.id,
            name=app.name,
            version=app.version,
            description=app.description,
            actions=app.manifest["actions"],
            config_schema=app.manifest.get("configSchema"),
            user_auth=app.manifest.get("userAuth"),
            webhooks=app.manifest["webhooks"],
            instructions=app.manifest.get("instructions"),
            configured=True,
        )
        for app in found
    ]


async def call(ctx: Ctx, app_id: str, integration_id: str, action: str, input: Any) -> Any:
    """What an action answers, done for an app. Raises Denied, Missing, Invalid on `input`, Failed, Unavailable."""
    ctx.need(f"integration:{integration_id}:{action}")
    raise Missing(f"integration '{integration_id[:80]}' not found")
