"""New rows that are added by the same statement: those that are handed in at the same time are one transaction."""

import asyncio
from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import asyncpg
from asyncpg.exceptions import DeadlockDetectedError

from domain.kernel.errors import Busy, TimedOut
from domain.kernel.unit import Statement, StatementRefused
from infra.postgres.connections import Connections
from infra.postgres.faults import LOST, translated
from infra.postgres.reads import told_apart

ROWS_MAX, CHARS_MAX = 100, 2**20  # of one run
RUNS_MAX = 2  # of one statement at a time, as long as they are quick
SLOW_S = 0.05  # one that takes longer may wait for somebody: the others do not wait with it

Rows = Sequence[Mapping[str, Any]]


@dataclass(slots=True)
class _Handed:
    """What is handed in for one statement: the rows of its next run, each with who waits, and its runs under way."""

    waiting: "list[tuple[Statement, asyncio.Future[Rows]]]" = field(default_factory=list)
    runs: int = 0
    begun: float = 0.0  # when the last of them was
    about_to: bool = False  # whether one of the runs has yet to take its rows

    def take(self) -> "list[tuple[Statement, asyncio.Future[Rows]]]":
        """The rows of a run, without those of who has given up. What is handed in from now on comes with the next."""
        self.about_to = False
        taken: list[tuple[Statement, asyncio.Future[Rows]]] = []
        chars = count = 0
        for statement, waiting in self.waiting:
            chars += len(_row(statement))
            if count == ROWS_MAX or (count and chars > CHARS_MAX):
                break
            count += 1
            if not waiting.done():
                taken.append((statement, waiting))
        del self.waiting[:count]
        return taken


@dataclass(slots=True)
class _Run:
    """A statement under way, and the call that is to end it."""

    pid: int
    called_off: "asyncio.Task[None] | None" = None


class Additions:
    """The single rows that one process adds.

    Who adds one row waits for nobody. What is handed in while no connection is free, or enough of the statement's runs
    are under way, goes together, and is on disk together: the more there is to do, the less it costs. The same
    statement with the same other values means the same author under the same policy. A transaction that is refused, or
    called off because somebody gave up, has done nothing: then each row that is still wanted is added by itself, and
    whoever is to blame is refused alone.
    """

    def __init__(self, connections: Connections, acquire_timeout_s: float, calling_off: Connections) -> None:
        self._connections = connections
        self._acquire_timeout_s = acquire_timeout_s
        self._calling_off = calling_off
        self._handed: dict[Hashable, _Handed] = {}
        self._under_way: dict[asyncio.Future[Rows], _Run] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def rows(self, statement: Statement) -> Rows:
        """What the statement tells of its row. Raises StatementRefused, TimedOut, Busy, Unavailable."""
        loop = asyncio.get_running_loop()
        key = _words(statement)
        handed = self._handed.get(key)
        if handed is None:
            handed = self._handed[key] = _Handed()
        waiting: asyncio.Future[Rows] = loop.create_future()
        handed.waiting.append((statement, waiting))
        free = handed.runs < RUNS_MAX or loop.time() - handed.begun > SLOW_S
        if free and not handed.about_to:
            handed.runs += 1
            handed.about_to = True
            task = loop.create_task(self._run(key, handed))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        try:
            return await waiting
        except asyncio.CancelledError:
            self._call_off(waiting)
            raise

    def _call_off(self, waiting: "asyncio.Future[Rows]") -> None:
        """Who waited has given up: what would be added for them is not, if there is time."""
        run = self._under_way.get(waiting)
        if run is not None and run.called_off is None:
            run.called_off = asyncio.get_running_loop().create_task(self._cancel(run.pid))

    async def _cancel(self, pid: int) -> None:
        with suppress(*LOST, asyncpg.PostgresError):
            async with self._calling_off.lent(self._acquire_timeout_s) as connection:
                await connection.execute("SELECT pg_cancel_backend($1)", pid)

    async def _send(
        self, connection: "asyncpg.Connection[Any]", statement: Statement, waiting: "Sequence[asyncio.Future[Rows]]"
    ) -> Rows:
        """What the statement tells, or that it has done nothing: it is called off when one of those has given up.

        PostgreSQL says what became of it. The connection is nobody else's before that, and before the call has come.
        """
        run = _Run(connection.get_server_pid())
        self._under_way.update(dict.fromkeys(waiting, run))
        try:
            rows: Rows = await connection.fetch(statement.sql, *statement.args)
            return rows
        finally:
            for one in waiting:
                del self._under_way[one]
            if run.called_off is not None:
                await run.called_off

    async def _run(self, key: Hashable, handed: _Handed) -> None:
        """Add rows until none is handed in."""
        while handed.waiting:
            handed.about_to = True
            await self._run_once(handed)
        handed.runs -= 1
        if handed.runs == 0:
            del self._handed[key]

    async def _run_once(self, handed: _Handed) -> None:
        taken: list[tuple[Statement, asyncio.Future[Rows]]] = []
        try:
            async with self._connections.lent(self._acquire_timeout_s) as connection:
                taken = handed.take()
                if not taken:
                    return
                handed.begun = asyncio.get_running_loop().time()
                rows = await self._send(connection, _joined([one for one, _ in taken]), [one for _, one in taken])
        except Exception as error:
            problem = translated(error)
            undone = isinstance(problem, StatementRefused | TimedOut | Busy) or isinstance(error, DeadlockDetectedError)
            if undone and len(taken) > 1:
                await asyncio.gather(*(self._run_alone(*one) for one in taken))
                return
            for _, waiting in taken or handed.take():
                if not waiting.done():
                    waiting.set_exception(translated(error))
            return
        for (_, waiting), row in zip(taken, rows, strict=True):
            if not waiting.done():
                waiting.set_result([row])

    async def _run_alone(self, statement: Statement, waiting: "asyncio.Future[Rows]") -> None:
        try:
            async with self._connections.lent(self._acquire_timeout_s) as connection:
                if waiting.done():
                    return
                rows = await self._send(connection, statement, [waiting])
        except Exception as error:
            if not waiting.done():
                waiting.set_exception(translated(error))
        else:
            if not waiting.done():
                waiting.set_result(rows)


def _words(statement: Statement) -> Hashable:
    """What all have in common that are added together: everything but the row."""
    assert statement.adds is not None
    others = (*statement.args[: statement.adds], *statement.args[statement.adds + 1 :])
    return statement.sql, statement.adds, told_apart(others) or repr(others)


def _row(statement: Statement) -> str:
    """The JSON array of its one row."""
    assert statement.adds is not None
    return str(statement.args[statement.adds])


def _joined(statements: Sequence[Statement]) -> Statement:
    """The statement that adds the rows of all of them."""
    first, at = statements[0], statements[0].adds
    assert at is not None
    if len(statements) == 1:
        return first
    rows = ",".join(_row(one)[1:-1] for one in statements)
    return replace(first, args=(*first.args[:at], f"[{rows}]", *first.args[at + 1 :]))
