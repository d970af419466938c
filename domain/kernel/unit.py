"""The unit of work: what an operation needs of its database, whoever provides it."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

T = TypeVar("T")

UNIQUE_STATE = "23505"
FOREIGN_KEY_STATES = ("23503", "23001")  # 23001: a restricting key, as of PostgreSQL 18


class OfCaller(Enum):
    """An argument that differs from caller to caller, whatever else is asked: `Ctx.bound` puts theirs in its place.

    The same statement runs for all callers of the same rights; nothing that was read may be shared before that.
    """

    ID = "id"  # of the user for whom it is asked


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL with positional parameters (`$1`...), ready for the wire once its arguments `OfCaller` are bound.

    One that adds a row, and does and tells nothing else, names the argument that has it: the text of a JSON array,
    of which it would add every element, and tell of each by a row in their order. Such statements that are equal in all
    else may be run together.
    """

    sql: str
    args: tuple[object, ...] = ()
    adds: int | None = None  # the place among `args` of that row


@dataclass(frozen=True, slots=True)
class LookUp:
    """A statement that finds one text for each of a list of keys.

    Its `$1` is the list, `args` are the parameters after it; it gives a row for each key in their order, with what was
    found or null. Look-ups that are equal may be run together, whoever asks: all that decides what may be seen is in
    the statement or in `args`.
    """

    sql: str
    args: tuple[object, ...] = ()

    @classmethod
    def of(cls, sql: str, args: Iterable[object]) -> "LookUp":
        """A look-up that can be compared: lists among the arguments become tuples, which the wire takes as well."""
        return cls(sql, tuple([tuple(value) if isinstance(value, list) else value for value in args]))


class Unit(Protocol):
    """One transaction, or one series of reads, on one database. `uses` counts what was asked of it."""

    uses: int

    async def run(self, work: Callable[[AsyncSession], Awaitable[T]]) -> T:
        """What `work` makes of the session. Raises StatementRefused, TimedOut, Unavailable."""
        ...

    async def fetch(self, statement: Statement) -> Sequence[Mapping[str, Any]]:
        """The rows of `statement`. Raises StatementRefused, TimedOut, Unavailable."""
        ...

    async def fetch_together(self, statement: Statement) -> Sequence[Mapping[str, Any]]:
        """The same, where many are expected to ask the same SELECT at once with values of their own."""
        ...

    async def committed(self, statement: Statement) -> Sequence[Mapping[str, Any]]:
        """The rows of a `statement` that reads what is committed, be it changed in this unit or not.

        By itself, so that it begins no transaction. Raises as `fetch` does.
        """
        ...

    async def look_up(self, look_up: LookUp, key: object) -> str | None:
        """What `look_up` finds for the key. Raises as `fetch` does."""
        ...

    async def conclude(self, statement: Statement) -> Sequence[Mapping[str, Any]]:
        """The rows of `statement`, the only one that writes in this unit: it may be a transaction by itself.

        Where it returns a row, nothing may follow but the commit. Raises as `fetch` does.
        """
        ...

    async def copy(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Add rows to a table by COPY; in a unit that writes. Raises as `fetch` does."""
        ...

    def follow(self, statement: Statement, at_once: int) -> AsyncGenerator[Sequence[Mapping[str, Any]], None]:
        """The rows of `statement`, so many at a time, as they are at the first of them; a unit that reads only.

        To be closed by who does not follow it to its end. Raises as `fetch` does.
        """
        ...


class StatementRefused(Exception):
    """PostgreSQL said no. Carries what it told apart, never shown to a caller as it is."""

    def __init__(
        self,
        sqlstate: str,
        message: str,
        *,
        table: str | None = None,
        column: str | None = None,
        constraint: str | None = None,
        detail: str | None = None,
    ) -> None:
        super().__init__(f"{sqlstate}: {message}")
        self.sqlstate = sqlstate
        self.message = message
        self.table = table
        self.column = column
        self.constraint = constraint
        self.detail = detail
