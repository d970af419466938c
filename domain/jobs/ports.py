"""What jobs need of the outside: to hear when one changes."""

from typing import Protocol
from uuid import UUID


class JobIds(Protocol):
    """The ids of jobs as they change. One that changes twice before it is asked for is told once."""

    def __aiter__(self) -> "JobIds": ...

    async def __anext__(self) -> UUID: ...

    async def aclose(self) -> None:
        """Listen no more."""
        ...


class JobChanges(Protocol):
    """Changes of jobs, made by any process."""

    def listen(self, tenant_id: UUID, app_id: str, job_id: UUID | None) -> JobIds:
        """Those of an app's jobs, or of one of them, from now on.

        Asking raises Gone for a reader that is too slow to be told of more.
        """
        ...
