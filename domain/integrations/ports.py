"""What integrations are for other areas, and what they need of the outside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from domain.kernel.ctx import Ctx


@dataclass(frozen=True, slots=True)
class IntegrationView:
    """An integration as those see it who may use it. The parts are JSON, as its manifest has them."""

    id: str
    name: str
    version: str
    description: str
    actions: Sequence[Mapping[str, Any]]
    config_schema: Mapping[str, Any] | None
    user_auth: Mapping[str, Any] | None
    webhooks: Sequence[Mapping[str, Any]]
    instructions: str | None
    configured: bool  # whether the secrets it cannot do without are in the vault


class Integrations(Protocol):
    """What `domain.integrations.service` offers to agents, and to the code of apps."""

    async def installed(self, ctx: "Ctx") -> Sequence[IntegrationView]:
        """The installed integrations by name. Raises Unauthenticated."""
        ...

    async def call(self, ctx: "Ctx", app_id: str, integration_id: str, action: str, input: Any) -> Any:
        """What an action answers, done for the app with the connection that the app is bound to.

        The caller's rights count: `integration:{id}:{action}`. It waits for somebody outside, so the operation must
        hold no connection to the database then (see `Ctx.apart`). Raises Denied (without the right, or without a
        binding), Missing, Invalid on `input`, Failed, Unavailable.
        """
        ...
