"""Facts about integrations."""

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

from domain.kernel.events import Event


@dataclass(frozen=True)
class IntegrationConnected(Event):
    """Somebody connected their account at another service."""

    kind: ClassVar[str] = "integration.connected"
    integration_id: str
    connection_id: UUID
    user_id: UUID


@dataclass(frozen=True)
class ConnectionDied(Event):
    """The other service takes a connection's credentials no more."""

    kind: ClassVar[str] = "integration.connection_died"
    integration_id: str
    connection_id: UUID
    user_id: UUID
