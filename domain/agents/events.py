"""Facts about agents."""

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

from domain.kernel.events import Event


@dataclass(frozen=True)
class AgentInvoked(Event):
    """A run waits for a process to take it up."""

    kind: ClassVar[str] = "agent.invoked"
    run_id: UUID


@dataclass(frozen=True)
class ApprovalDecided(Event):
    """Somebody has decided on a call that a run waits with."""

    kind: ClassVar[str] = "agent.approval_decided"
    run_id: UUID
    approval_id: UUID
