"""Facts other parts may react to. They are written in the transaction that made them true, as outbox rows."""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, ClassVar, Protocol
from uuid import UUID

from domain.kernel.unit import Statement


@dataclass(frozen=True)
class Event:
    """A fact, named in the past tense; its fields are ids and small values, never payloads."""

    kind: ClassVar[str]

    def payload(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}


def _plain(value: object) -> object:
    return str(value) if isinstance(value, UUID) else value


@dataclass(frozen=True, slots=True)
class RecordChange:
    """One committed change of one record, as the outbox tells it.

    `before` and `after` are the whole row as JSON text (None where there was, or is, none). `cursor` orders all
    changes of the installation: a reader that resumes after it misses nothing and sees nothing twice.
    """

    cursor: str
    tenant_id: UUID
    app_id: str
    entity: str
    operation: str
    record_id: str
    before: bytes | None
    after: bytes | None
    changed_at: datetime
    actor_id: UUID | None


@dataclass(frozen=True, slots=True)
class Watch:
    """What a subscriber wants to hear of: one entity's records, those that `matches` holds for.

    `matches` is a boolean SQL expression over the row alias `t` with its parameters from `$1` on, or None for
    all; `relation` is the quoted name of the table whose row type it reads.
    """

    tenant_id: UUID
    app_id: str
    entity: str
    relation: str
    matches: Statement | None = None


class Changes(Protocol):
    """A subscription: an endless iterator of changes. It listens from the moment it is there."""

    def __aiter__(self) -> "Changes": ...

    async def __anext__(self) -> RecordChange:
        """The next change. Raises Gone when the reader was too slow: it resumes from the last cursor it has."""
        ...

    async def aclose(self) -> None:
        """Listen no more."""
        ...


class Feed(Protocol):
    """The committed changes, in order, live."""

    async def subscribe(self, watch: Watch, after: str | None) -> Changes:
        """Changes that `watch` asks for, from `after` on, or from now on.

        Raises Invalid for a cursor that is none, Gone when the log no longer reaches back to it.
        """
        ...
