"""Facts about what people add to records."""

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

from domain.kernel.events import Event


@dataclass(frozen=True)
class OnRecord(Event):
    """Something about one record."""

    app_id: str
    entity: str
    record_id: str


@dataclass(frozen=True)
class CommentAdded(OnRecord):
    """Somebody said something of a record."""

    kind: ClassVar[str] = "comment.created"
    comment_id: UUID
    author_id: UUID


@dataclass(frozen=True)
class CommentEdited(OnRecord):
    """A comment says something else now."""

    kind: ClassVar[str] = "comment.updated"
    comment_id: UUID


@dataclass(frozen=True)
class CommentDeleted(OnRecord):
    """A comment was taken away."""

    kind: ClassVar[str] = "comment.deleted"
    comment_id: UUID


@dataclass(frozen=True)
class RecordShared(OnRecord):
    """A record was shared with somebody, or on other terms than before."""

    kind: ClassVar[str] = "record.shared"
    share_id: UUID


@dataclass(frozen=True)
class RecordUnshared(OnRecord):
    """A share was taken back."""

    kind: ClassVar[str] = "record.unshared"
    share_id: UUID
