"""Where a statement that reads records runs: where it is planned once, or where PostgreSQL plans as it sees fit."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

import asyncpg

from domain.kernel.bounded import Bounded
from domain.kernel.unit import Statement
from infra.postgres.connections import Connections
from infra.postgres.faults import LOST, translated

Rows = Sequence[Mapping[str, Any]]

SLOW_S = 0.025
WORTH = 2  # so many times as quick it must be there
SLOW_CHARS_MAX = 4_000_000  # of statements that were
TRIED_MAX = 1_000  # of others that were slow
AGAIN_S = 60.0  # after which one of those is tried again


class Lanes:
    """The connections of statements that read records.

    To plan a page of records is over a third of what it costs PostgreSQL, 0.1 ms of 0.27. Left to itself it does it
    each time: a bound it does not know is a tenth of the table to it, and so it thinks little of a plan for any values.
    On `once` such a plan is made, and kept. What is slow by it is read again as PostgreSQL sees fit, and is left to it
    from then on where that was much quicker: some values are rarer than others.
    """

    def __init__(self, once: Connections, usual: Connections, acquire_timeout_s: float) -> None:
        self.once = once
        self.usual = usual
        self.acquire_timeout_s = acquire_timeout_s
        self._slow: Bounded[str, bool] = Bounded(SLOW_CHARS_MAX)
        self._tried: Bounded[int, float] = Bounded(TRIED_MAX)
        self._trying: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Give all connections back."""
        for task in list(self._trying):
            task.cancel()
        await self.once.close()
        await self.usual.close()

    def of(self, statement: Statement) -> Connections:
        """The connections to run it on."""
        return self.once if self._slow.get(statement.sql) is None else self.usual

    async def fetch(self, statement: Statement) -> Rows:
        """Its rows. Raises StatementRefused, TimedOut, Unavailable."""
        try:
            async with self.of(statement).lent(self.acquire_timeout_s) as connection:
                return await self.run(connection, statement)
        except Exception as error:
            raise translated(error) from error

    async def run(self, connection: "asyncpg.Connection[Any]", statement: Statement) -> Rows:
        """Its rows by a connection of its lane. Raises what asyncpg does."""
        began = monotonic()
        try:
            rows: Rows = await connection.fetch(statement.sql, *statement.args)
            return rows
        finally:
            took_s = monotonic() - began
            if took_s > SLOW_S:
                self._suspect(statement, took_s)

    def _suspect(self, statement: Statement, took_s: float) -> None:
        """It was slow: by its plan, or because there is much to read, or because the machine has others to serve."""
        now, mark = monotonic(), hash(statement.sql)
        if self._slow.get(statement.sql) is None and now - (self._tried.get(mark) or -AGAIN_S) >= AGAIN_S:
            self._tried.put(mark, now)
            task = asyncio.get_running_loop().create_task(self._try(statement, took_s))
            self._trying.add(task)
            task.add_done_callback(self._trying.discard)

    async def _try(self, statement: Statement, took_s: float) -> None:
        """Leave it to PostgreSQL from now on if that is worth it, be it tried twice."""
        with suppress(*LOST, asyncpg.PostgresError):
            there_s = await self._takes(self.usual, statement)
            if there_s * WORTH < took_s and there_s * WORTH < await self._takes(self.once, statement):
                self._slow.put(statement.sql, True, len(statement.sql))

    async def _takes(self, connections: Connections, statement: Statement) -> float:
        """How long it takes there, or took until it was cut off, in seconds.

        Raises PostgresError for one that does more than read.
        """
        began = monotonic()
        with suppress(asyncpg.QueryCanceledError):
            async with connections.lent(self.acquire_timeout_s) as connection, connection.transaction(readonly=True):
                began = monotonic()
                await connection.fetch(statement.sql, *statement.args)
        return monotonic() - began
