"""Facts other parts may react to. They are written in the transaction that made them true, as outbox rows."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, ClassVar, Protocol
from uuid import UUID

LOGGED = "logged"  # what the SQL of a watch calls a record's JSON object in the log


@dataclass(frozen=True)
class Event:
    """A fact, named in the past tense; its fields are ids and small values, never payloads."""

    kind: ClassVar[str]

    def payload(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}


def _plain(value: object) -> object:
    return str(value) if isinstance(value, UUID) else value


def place_of(cursor: str) -> tuple[int, int]:
    """Where a change stands among all."""
    transaction, _, row = cursor.partition("-")
    return int(transaction), int(row)


@dataclass(frozen=True, slots=True)
class RecordChange:
    """One committed change of one record, as the outbox tells it.

    `before` and `after` are the record as JSON text, as the reader may see it (None where there was, or is, none that
    it may see). `cursor` orders all changes of the installation: a reader that resumes after it misses nothing and
    sees nothing twice.
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

    @property
    def place(self) -> tuple[int, int]:
        """The cursor, as changes are ordered by it."""
        return place_of(self.cursor)


@dataclass(frozen=True, slots=True)
class Watch:
    """What a subscriber hears of: one entity's records, and of these what it wants to and what it may see.

    All but the names is SQL: `row` is a FROM item that makes a row of the object `LOGGED`, the others are expressions
    over that row, with the parameters `args` from `$1` on. They are asked of the record before and after the change,
    in one statement; a change is told where `matches` and `visible` hold for one of the two (None: they always do). A
    record that isn't `visible` is told as if it weren't there, any other one as `document` shows it: JSON text, or
    None for the record as it was logged. `policies` is the mark of the policies that all this was made of: with other
    ones it is not to be told of any more.
    """

    tenant_id: UUID
    app_id: str
    entity: str
    row: str
    matches: str | None = None
    visible: str | None = None
    document: str | None = None
    args: tuple[object, ...] = ()
    policies: str | None = None

    @property
    def asks(self) -> bool:
        """Whether anything is to be asked of a change before it is told."""
        return not (self.matches is None and self.visible is None and self.document is None)


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

    async def missed(
        self, watch: Watch, after: str | None
    ) -> tuple[tuple[int, int], AsyncGenerator[RecordChange, None]]:
        """The changes from `after` up to now, for who subscribes without it, and the place behind which it goes on.

        Raises as `subscribe` does.
        """
        ...
