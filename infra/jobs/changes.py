"""Who wants to hear of which jobs."""

import asyncio
from typing import Any
from uuid import UUID
from weakref import WeakSet

from domain.jobs.events import JobChanged
from domain.kernel.errors import Gone

WAITING_MAX = 1_000  # jobs that a listener has still to ask for


class JobChanges:
    """See `domain.jobs.ports.JobChanges`. `hear` is told of the facts that any process commits."""

    def __init__(self) -> None:
        self._listeners: WeakSet[Listener] = WeakSet()

    def listen(self, tenant_id: UUID, app_id: str, job_id: UUID | None) -> "Listener":
        """Changes from now on."""
        listener = Listener(self, tenant_id, app_id, job_id)
        self._listeners.add(listener)
        return listener

    def leave(self, listener: "Listener") -> None:
        """Tell this one no more."""
        self._listeners.discard(listener)

    def hear(self, tenant_id: UUID, kind: str, payload: dict[str, Any]) -> None:
        """Something has changed."""
        if kind == JobChanged.kind and self._listeners:
            id = UUID(payload["job_id"])
            for listener in list(self._listeners):
                if listener.wants(tenant_id, payload["app_id"], id):
                    listener.tell(id)


class Listener:
    """See `domain.jobs.ports.JobIds`. One that nobody holds any more is forgotten by itself."""

    def __init__(self, changes: JobChanges, tenant_id: UUID, app_id: str, job_id: UUID | None) -> None:
        self._changes = changes
        self._place = (tenant_id, app_id)
        self._job_id = job_id
        self._waiting: dict[UUID, None] = {}
        self._told = asyncio.Event()
        self._behind = False

    def wants(self, tenant_id: UUID, app_id: str, id: UUID) -> bool:
        """Whether it is to be told of this job."""
        return (tenant_id, app_id) == self._place and self._job_id in (None, id)

    def tell(self, id: UUID) -> None:
        """One more job has changed."""
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
                raise Gone("the reader was too slow; look at the jobs anew")
            self._told.clear()
            await self._told.wait()
        id = next(iter(self._waiting))
        del self._waiting[id]
        return id

    async def aclose(self) -> None:
        self._changes.leave(self)
