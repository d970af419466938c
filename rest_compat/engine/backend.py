"""What the engine asks of whoever executes operations."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
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
    refusals: Sequence[Refusal] = ()
    replayed: bool = False
    headers: Sequence[tuple[str, str]] = ()  # of the answer, whatever it says: a renewed session, say


class Results(Protocol):
    """What the events of a subscription come to, one after the other. To be closed, be it read or not."""

    def __aiter__(self) -> "Results": ...

    async def __anext__(self) -> Result: ...

    async def aclose(self) -> None: ...


class Caller(Protocol):
    """Who calls, as the backend knows them."""

    @property
    def user_id(self) -> str | None: ...


class Blob(Protocol):
    """Stored bytes that an answer can be made of."""

    name: str
    media_type: str
    size: int
    etag: str | None  # with its quotes
    modified: datetime | None
    inline: bool

    def read(self, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """The bytes from `start` up to, not including, `end`."""
        ...


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Stored bytes that the caller fetches by itself: a signed URL."""

    url: str


@dataclass(frozen=True, slots=True)
class Made:
    """Bytes that are made while they are sent. `parts` begins to; nobody knows yet how many there will be."""

    name: str
    media_type: str
    parts: Callable[[], AsyncGenerator[bytes, None]]


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

    async def stream(self, handle: Any, variables: Mapping[str, Any], caller: Any) -> Result | Results:
        """Begin a subscription: what refuses it, or its events from now on."""
        ...

    async def open_file(self, reference: str) -> Blob | Elsewhere | Made:
        """The bytes that a file reference stands for. Raises Refusal."""
        ...
