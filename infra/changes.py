"""Who wants to hear of which changes."""

import asyncio
from typing import Any
from uuid import UUID
from weakref import WeakSet

from domain.channels.events import ChannelLinkChanged
from domain.jobs.events import JobChanged
from domain.kernel.errors import Gone

WAITING_MAX = 1_000  # things that a listener has still to ask for
# The facts that can be listened for: where their payload has the topic, and the thing.
TOLD = {JobChanged.kind: ("app_id", "job_id"), ChannelLinkChanged.kind: ("channel_id", "user_id")}


class HeardChanges:
    """See `domain.kernel.changes.Changes`. `hear` is told of the facts that any process commits."""

    def __init__(self) -> None:
        self._listeners: WeakSet[Listener] = WeakSet()

    def listen(self, tenant_id: UUID, kind: str, topic: str, id: UUID | None = None) -> "Listener":
        """Changes from now on."""
        listener = Listener(self, (tenant_id, kind, topic), id)
        self._listeners.add(listener)
        return listener

    def leave(self, listener: "Listener") -> None:
        """Tell this one no more."""
        self._listeners.discard(listener)

    def hear(self, tenant_id: UUID, kind: str, payload: dict[str, Any]) -> None:
        """Something has changed."""
        if kind in TOLD and self._listeners:
            topic, thing = TOLD[kind]
            place, id = (tenant_id, kind, payload[topic]), UUID(payload[thing])
            for listener in list(self._listeners):
                if listener.wants(place, id):
                    listener.tell(id)


class Listener:
    """See `domain.kernel.changes.Ids`. One that nobody holds any more is forgotten by itself."""

    def __init__(self, changes: HeardChanges, place: tuple[UUID, str, str], id: UUID | None) -> None:
        self._changes = changes
        self._place = place
        self._id = id
        self._waiting: dict[UUID, None] = {}
        self._told = asyncio.Event()
        self._behind = False

    def wants(self, place: tuple[UUID, str, str], id: UUID) -> bool:
        """Whether it is to be told of this thing."""
        return place == self._place and self._id in (None, id)

    def tell(self, id: UUID) -> None:
        """One more thing has changed."""
        if len(self._waiting) >= WAITING_MAX and id not in self._waiting:
            self._behind = True
        else:
            self._waiting[id] = None
        self._told.set()

    def __aiter__(self) -> "Listener":
        return self

    async def __anext__(self) -> UUID:
        while not self._waiting:
            if self._behind:
                raise Gone("the reader was too slow; look anew")
            self._told.clear()
            await self._told.wait()
        id = next(iter(self._waiting))
        del self._waiting[id]
        return id

    async def aclose(self) -> None:
        self._changes.leave(self)
