"""What channels need of the outside: providers, as bots and mailboxes speak with them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from domain.kernel.secret import SecretText


@dataclass(frozen=True, slots=True)
class Account:
    """A channel as its provider knows it: what is configured, and what is secret of it."""

    id: UUID
    config: Mapping[str, Any]
    secrets: Mapping[str, SecretText] = field(repr=False)

    def secret(self, name: str) -> str:
        """A secret in the clear. Raises ProviderRefused where it is not set."""
        if name not in self.secrets:
            raise ProviderRefused(f"{name} is not configured")
        return self.secrets[name].text


@dataclass(frozen=True, slots=True)
class Signature:
    """What came with a message to show whom it is from, as the provider puts it into headers."""

    secret_token: str | None = field(default=None, repr=False)
    signature: str | None = field(default=None, repr=False)
    timestamp: str | None = None
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Heard:
    """Something that somebody wrote."""

    external_id: str
    chat: str  # where, as far as it matters for what follows on what
    sender: str
    text: str = field(repr=False)
    about: Mapping[str, Any] = field(default_factory=dict)  # what an answer needs to get there


@dataclass(frozen=True, slots=True)
class Received:
    """What a provider's call of the webhook comes to: something that was written, a challenge to echo, or nothing."""

    heard: Heard | None = None
    challenge: str | None = None


@dataclass(frozen=True, slots=True)
class Letter:
    """Something to be written. `id` is the same however often it is tried."""

    id: UUID
    chat: str
    text: str = field(repr=False)
    about: Mapping[str, Any]


class SignatureRefused(Exception):
    """A call of a webhook that is not from the provider, or is too old. The text says why."""


class Unreadable(Exception):
    """A call of a webhook that is no message of the provider's. The text says why."""


class ProviderRefused(Exception):
    """The provider says no, and will say so again. The text says why."""


class ProviderAway(Exception):
    """The provider cannot be asked at the moment, or wants to be asked later."""

    def __init__(self, message: str, again_s: float | None = None) -> None:
        super().__init__(message)
        self.again_s = again_s


class Messenger(Protocol):
    """Speaks with one kind of provider."""

    secret_fields: frozenset[str]
    text_chars_max: int  # of one message

    def problem(self, config: Mapping[str, Any]) -> tuple[str, str] | None:
        """The field of a configuration that cannot be, and what is wrong with it."""
        ...

    async def activated(self, account: Account, webhook_url: str) -> Mapping[str, Any]:
        """Have messages sent to the webhook from now on; what the provider says of us. Raises ProviderRefused,
        ProviderAway."""
        ...

    async def deactivated(self, account: Account) -> None:
        """Have no more sent. Raises ProviderRefused, ProviderAway."""
        ...

    def received(self, account: Account, signature: Signature, body: bytes, now_s: float) -> Received:
        """What was sent to the webhook. Raises SignatureRefused, Unreadable."""
        ...

    async def send(self, account: Account, letter: Letter) -> None:
        """Write something. Raises ProviderRefused, ProviderAway."""
        ...

    def link_url(self, account: Account, token: str) -> str | None:
        """Where a click sends the token to the channel, if the provider has such links."""
        ...


class ChannelUrls(Protocol):
    """Where providers reach us."""

    public: str | None  # None where only this machine can reach us, as far as anybody said

    def webhook(self, public_url: str, provider: str, id: UUID) -> str:
        """Where a provider sends messages."""
        ...
