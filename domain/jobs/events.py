"""Facts about jobs."""

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

from domain.kernel.events import Event


@dataclass(frozen=True)
class JobChanged(Event):
    """A job has another status. Most of these are written by the statement that changes the row."""

    kind: ClassVar[str] = "job.changed"
    app_id: str
    job_id: UUID
    status: str
