"""What the engine asks of whoever executes operations."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from graphql import DocumentNode

from rest_compat.engine.errors import Refusal


@dataclass(frozen=True, slots=True)
class CallInfo:
    """What is known of a call beside its input."""

    request_id: str
    client_ip: str | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What an operation came to: data, or the refusals that stopped it."""

    data: Mapping[str, Any] | None
    refusals: Sequence[Refusal] = field(default_factory=tuple)
    replayed: bool = False


class Caller(Protocol):
    """Who calls, as the backend knows them."""

    @property
    def anonymous(self) -> bool: ...
    @property
    def user_id(self) -> str | None: ...


class Blob(Protocol):
    """Stored bytes that an answer can be made of."""

    name: str
    media_type: str
    size: int
    etag: str | None
    inline: bool

    def read(self, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to, not including, `end`."""
        ...


class Backend(Protocol):
    """Executes stored operations. What `prepare` and `caller` give it gets back as it was."""

    def prepare(self, document: DocumentNode, name: str, label: str) -> Any:
        """A handle of the operation, for `run` and `stream`. Called once for each."""
        ...

    async def caller(self, token: str | None, info: CallInfo) -> Caller:
        """Who the credential stands for. One that is not good makes an anonymous caller, who is refused later."""
        ...

    async def admit(self, handle: Any, caller: Any) -> Refusal | None:
        """Why this caller may not ask for this operation at all, whatever the input."""
        ...

    async def run(self, handle: Any, variables: Mapping[str, Any], caller: Any, idempotency_key: str | None) -> Result:
        """Execute a query or mutation."""
        ...

    async def stream(
        self, handle: Any, variables: Mapping[str, Any], caller: Any
    ) -> Result | AsyncGenerator[Result, None]:
        """Begin a subscription: what refuses it, or its events from now on."""
        ...

    async def open_file(self, reference: str) -> Blob:
        """The bytes that a file reference stands for. Raises Refusal."""
        ...
