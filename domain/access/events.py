"""Facts about access."""

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

from domain.kernel.events import Event


@dataclass(frozen=True)
class AccessChanged(Event):
    """What a user may do is no longer what it was; `user_id` None stands for anybody of the tenant."""

    kind: ClassVar[str] = "access.changed"
    user_id: UUID | None = None
