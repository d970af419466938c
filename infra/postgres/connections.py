"""Connections to PostgreSQL: few of them, each lent to one at a time, in the order they were asked for."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

import asyncpg
from asyncpg.exceptions import InternalClientError

from infra.postgres.faults import LOST

IDLE_S = 300.0  # a connection that nobody needed for so long is closed
CLOSE_TIMEOUT_S = 5.0
# After these nobody knows what the connection is in the middle of.
INTERRUPTIONS = (asyncio.CancelledError, TimeoutError, InternalClientError)

Connect = Callable[[], Awaitable["asyncpg.Connection[Any]"]]


class Connections:
    """At most `most` connections, opened by `connect` when there are not enough.

    Whoever finds none free stands in line for the next, be it given back or new, and nobody who comes later is served
    before: what a burst waits for is those ahead of it, and at a cold start not the slowest handshake. That one cannot
    be opened is told to the first in line, unless others are out that will come back.
    """

    def __init__(self, connect: Connect, most: int) -> None:
        self._connect = connect
        self._most = most
        self._count = 0  # those that are free, lent or being opened
        self._opening = 0
        self._free: deque[tuple[asyncpg.Connection[Any], float]] = deque()  # with the time it was given back
        self._line: deque[asyncio.Future[asyncpg.Connection[Any]]] = deque()
        self._sweeping: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed: asyncio.Future[None] | None = None

    @property
    def at_hand(self) -> bool:
        """Whether one is free, so that nobody need wait."""
        return bool(self._free)

    def lent(self, timeout_s: float) -> "Lent":
        """A connection, for an `async with` block. Raises as `take` does."""
        return Lent(self, timeout_s)

    async def take(self, timeout_s: float) -> "asyncpg.Connection[Any]":
        """A connection, to be given back or dropped. Raises TimeoutError, and what opening one fails with."""
        while self._free:
            connection, _ = self._free.pop()
            if not connection.is_closed():
                return connection
            self._count -= 1
        if self._closed is not None:
            raise asyncpg.InterfaceError("the connections are closed")
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._line.append(turn)
        self._open_for_line()
        late = loop.call_later(timeout_s, _too_late, turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.give_back(turn.result())
            raise
        finally:
            late.cancel()

    def give_back(self, connection: "asyncpg.Connection[Any]") -> None:
        """The connection is free again, as it was."""
        if self._closed is not None or connection.is_closed():
            self.drop(connection)
            return
        turn = self._first_in_line()
        if turn is not None:
            turn.set_result(connection)
            return
        loop = asyncio.get_running_loop()
        self._free.append((connection, loop.time()))
        if self._sweeping is None:
            self._sweeping = loop.call_later(IDLE_S, self._sweep)

    def drop(self, connection: "asyncpg.Connection[Any]") -> None:
        """Close a connection, whatever it is in the middle of: that is cancelled in PostgreSQL, too."""
        self._start(self._dropped(connection))

    async def close(self) -> None:
        """Close all; those that are lent, when they come back."""
        if self._closed is None:
            self._closed = asyncio.get_running_loop().create_future()
        if self._sweeping is not None:
            self._sweeping.cancel()
        while (turn := self._first_in_line()) is not None:
            turn.set_exception(asyncpg.InterfaceError("the connections are closed"))
        while self._free:
            self.drop(self._free.pop()[0])
        if self._count:
            await self._closed

    def _first_in_line(self) -> "asyncio.Future[asyncpg.Connection[Any]] | None":
        """Whose turn it is; who gave up has left the line."""
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                return turn
        return None

    def _open_for_line(self) -> None:
        if self._opening < len(self._line) and self._count < self._most and self._closed is None:
            self._count += 1
            self._opening += 1
            self._start(self._opened())

    async def _opened(self) -> None:
        try:
            connection = await self._connect()
        except Exception as problem:
            self._opening -= 1
            self._gone()
            turn = self._first_in_line() if self._count == self._opening else None
            if turn is not None:
                turn.set_exception(problem)
                self._open_for_line()
        else:
            self._opening -= 1
            self.give_back(connection)

    async def _dropped(self, connection: "asyncpg.Connection[Any]") -> None:
        try:
            with suppress(*LOST, asyncpg.PostgresError):
                await connection.close(timeout=CLOSE_TIMEOUT_S)
        finally:
            self._gone()
            self._open_for_line()

    def _gone(self) -> None:
        self._count -= 1
        if self._count == 0 and self._closed is not None and not self._closed.done():
            self._closed.set_result(None)

    def _sweep(self) -> None:
        """Close those that nobody needed for a while: the others are taken first."""
        loop = asyncio.get_running_loop()
        while self._free and self._free[0][1] <= loop.time() - IDLE_S:
            self.drop(self._free.popleft()[0])
        self._sweeping = loop.call_at(self._free[0][1] + IDLE_S, self._sweep) if self._free else None

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class Lent:
    """A connection that goes back at the end of the block; one that was interrupted in the middle of a call goes."""

    __slots__ = ("_connection", "_connections", "_timeout_s")
    _connection: "asyncpg.Connection[Any]"

    def __init__(self, connections: Connections, timeout_s: float) -> None:
        self._connections = connections
        self._timeout_s = timeout_s

    async def __aenter__(self) -> "asyncpg.Connection[Any]":
        self._connection = await self._connections.take(self._timeout_s)
        return self._connection

    async def __aexit__(self, _kind: object, problem: BaseException | None, _traceback: object) -> None:
        if isinstance(problem, INTERRUPTIONS):
            self._connections.drop(self._connection)
        else:
            self._connections.give_back(self._connection)


def _too_late(turn: "asyncio.Future[Any]") -> None:
    if not turn.done():
        turn.set_exception(TimeoutError("no connection is free"))
