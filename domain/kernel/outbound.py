"""HTTP to the outside, to addresses that people have configured: providers, receivers of webhooks, integrations."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

TIMEOUT_S = 10.0
ANSWER_BYTES_MAX = 2**20


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request. It is never redirected: where it goes is where it was sent."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    timeout_s: float = TIMEOUT_S  # for all of it
    answer_bytes_max: int = ANSWER_BYTES_MAX
    local: bool = False  # whether this machine may be asked, by a URL that says so: localhost or a loopback address


@dataclass(frozen=True, slots=True)
class Incoming:
    """What came back, whatever its status. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    whole: bool = True  # False for a body that was larger than what was asked for: it is cut


class Unreached(Exception):
    """There is no answer; the text says why, for whoever configured the address. It names no address of a host."""


class AddressRefused(Unreached):
    """A URL, or what its host stands for, that is never asked."""


class Outbound(Protocol):
    """Sends requests to public addresses only, and to those the installation allows."""

    async def send(self, request: Outgoing) -> Incoming:
        """The answer. Raises AddressRefused, Unreached."""
        ...


def is_loopback_name(host: str) -> bool:
    """Whether a URL's host says outright that it is this machine."""
    return host.lower() in ("localhost", "127.0.0.1")
