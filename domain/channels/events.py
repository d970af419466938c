"""Facts about channels."""

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

from domain.kernel.events import Event


@dataclass(frozen=True)
class MessageWaits(Event):
    """A message is to be answered, or to be sent."""

    kind: ClassVar[str] = "channel.message_waits"
    channel_id: UUID
    direction: str


@dataclass(frozen=True)
class ChannelLinkChanged(Event):
    """A channel knows somebody now, or does no more."""

    kind: ClassVar[str] = "channel.link_changed"
    channel_id: UUID
    user_id: UUID


@dataclass(frozen=True)
class ChannelChanged(Event):
    """A channel was made, switched or taken away."""

    kind: ClassVar[str] = "channel.changed"
    channel_id: UUID
    status: str  # `deleted` for one that is no more
