"""What signing in needs of the outside: OpenID providers, and the addresses browsers come back to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from domain.kernel.secret import SecretText


class SignInUrls(Protocol):
    """Where people reach this installation."""

    public: str  # without a slash at its end
    callback: str  # where providers send browsers back to

    def authorize(self, provider_id: str) -> str:
        """Where a browser begins to sign in by this provider."""
        ...

    def magic_link(self, token: str) -> str:
        """Where a link leads."""
        ...


@dataclass(frozen=True, slots=True)
class Client:
    """Who we are to a provider."""

    issuer_url: str
    client_id: str
    secret: SecretText | None = None


@dataclass(frozen=True, slots=True)
class Discovery:
    """What a provider says of itself."""

    issuer: str
    authorization_endpoint: str
    names_itself: bool  # whether it puts its issuer into what it sends back (RFC 9207)


@dataclass(frozen=True, slots=True)
class Person:
    """Whom a provider vouches for."""

    subject: str
    claims: Mapping[str, Any] = field(repr=False)


class ProviderFailed(Exception):
    """The provider cannot be asked, or what it says of itself cannot be used. The text says why."""


class ProofRefused(Exception):
    """The provider does not vouch for anybody by this code or token. The text says why."""


class OpenId(Protocol):
    """Speaks OpenID Connect with any provider."""

    async def discovered(self, issuer_url: str, *, fresh: bool = False) -> Discovery:
        """What the provider says of itself; `fresh`: right now. Raises ProviderFailed."""
        ...

    async def redeemed(self, client: Client, code: str, code_verifier: str, redirect_uri: str, nonce: str) -> Person:
        """Whom the authorization code stands for. Raises ProviderFailed, ProofRefused."""
        ...

    async def verified(self, client: Client, id_token: str) -> Person:
        """Whom an ID token stands for that was issued to this client. Raises ProviderFailed, ProofRefused."""
        ...
