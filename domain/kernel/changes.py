"""Hearing that something has changed: which thing, not how. Whoever hears of it looks by themselves."""

from typing import Protocol
from uuid import UUID


class Ids(Protocol):
    """The ids of things as they change. One that changes twice before it is asked for is told once."""

    def __aiter__(self) -> "Ids": ...

    async def __anext__(self) -> UUID: ...

    async def aclose(self) -> None:
        """Listen no more."""
        ...


class Changes(Protocol):
    """Facts that any process commits."""

    def listen(self, tenant_id: UUID, kind: str, topic: str, id: UUID | None = None) -> Ids:
        """What facts of this kind (an event's) tell of within a topic (an app, say), or of one thing, from now on.

        Asking raises Gone for a reader that is too slow to be told of more.
        """
        ...
