"""Facts about files."""

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

from domain.kernel.events import Event


@dataclass(frozen=True)
class ObjectCreated(Event):
    """A bucket holds a new file or folder."""

    kind: ClassVar[str] = "storage.object_created"
    bucket: str
    object_id: UUID


@dataclass(frozen=True)
class ObjectMoved(Event):
    """A file or folder has another name, or another place."""

    kind: ClassVar[str] = "storage.object_moved"
    bucket: str
    object_id: UUID


@dataclass(frozen=True)
class ObjectDeleted(Event):
    """A file is gone, or a folder with everything in it."""

    kind: ClassVar[str] = "storage.object_deleted"
    bucket: str
    object_id: UUID


@dataclass(frozen=True)
class AppFileCreated(Event):
    """An app was given a file."""

    kind: ClassVar[str] = "storage.app_file_created"
    app_id: str
    file_id: UUID
