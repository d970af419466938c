"""What integrations are for other areas, and what they need of the outside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from domain.kernel.secret import SecretText
from domain.kernel.upload import Upload

if TYPE_CHECKING:
    from domain.integrations.definition import Definition
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

    async def call(
        self, ctx: "Ctx", app_id: str, integration_id: str, action: str, input: Any, as_user: UUID | None = None
    ) -> Any:
        """What an action answers, done for the app with the connection that the app is bound to.

        The caller's rights count: `integration:{id}:{action}`. It waits for somebody outside, so the operation must
        hold no connection to the database then (see `Ctx.apart`). Only an app itself says whose connection, `as_user`.
        Raises Denied (without the right, or without a
        binding), Missing, Invalid on `input`, Failed, Unavailable.
        """
        ...


# What integrations need of the outside.


class Catalog(Protocol):
    """The definitions at hand, and the code that belongs to some of them."""

    async def definitions(self) -> "Sequence[Definition]":
        """All of them, by name."""
        ...

    async def definition(self, id: str) -> "Definition | None":
        """One of them, or None."""
        ...

    async def code(self, id: str) -> Upload | None:
        """A gzip tar of the definition's code, None for one without."""
        ...


class Schemas(Protocol):
    """JSON Schema."""

    def problem(self, schema: Mapping[str, Any], value: Any) -> "Problem | None":
        """What is wrong with a value first of all; None for nothing. A schema that is none holds for everything."""
        ...


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and where in the value: dots between the steps, empty for the value itself."""

    path: str
    message: str


@dataclass(frozen=True, slots=True)
class OAuthClient:
    """Who we are to an authorization server, and where it is asked for tokens."""

    token_url: str
    client_id: str
    secret: SecretText | None = None
    in_form: bool = False  # whether the server wants the secret as a part of the form, instead of in a header


class GrantRefused(Exception):
    """The authorization server gives no token for this. The text says why."""


class ServerFailed(Exception):
    """The authorization server cannot be asked, or doesn't answer as one does. The text says why."""


class OAuthTokens(Protocol):
    """Asks authorization servers for tokens. What comes back is what they answer (RFC 6749, section 5.1)."""

    async def redeemed(
        self, client: OAuthClient, code: str, code_verifier: str, redirect_uri: str
    ) -> Mapping[str, Any]:
        """What an authorization code is exchanged for. Raises GrantRefused, ServerFailed."""
        ...

    async def refreshed(self, client: OAuthClient, refresh_token: str) -> Mapping[str, Any]:
        """New tokens. Raises GrantRefused, ServerFailed."""
        ...


class IntegrationUrls(Protocol):
    """Where people and other services reach integrations."""

    callback: str  # where browsers come back to when somebody has agreed to be connected

    def hook(self, token: str) -> str:
        """Where another service tells an integration, or an app, of what happened."""
        ...
