"""Reads that wait for a connection: those of one statement with the same values wait, and are run, as one."""

import asyncio
from collections.abc import Hashable

from domain.kernel.unit import Statement
from infra.postgres.faults import translated
from infra.postgres.lanes import Lanes, Rows


class Reads:
    """The reading statements of one process that are run by themselves.

    As long as a connection is free, each goes its own way. Where many stand in line, what several of them ask in the
    same words has one answer, which is read after the last of them came: a crowd that looks at one page costs no more
    than one who does. The same words and values mean the same tenant, and the same caller where a policy names one. Who
    gives up leaves the others as they are.
    """

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._in_line: dict[Hashable, asyncio.Task[Rows]] = {}

    async def rows(self, statement: Statement) -> Rows:
        """The rows of the statement. Raises StatementRefused, TimedOut, Unavailable."""
        values = None if self._lanes.of(statement).at_hand else told_apart(statement.args)
        if values is None:
            return await self._lanes.fetch(statement)
        asked = (statement.sql, values)
        run = self._in_line.get(asked)
        if run is None:
            run = self._in_line[asked] = asyncio.get_running_loop().create_task(self._run(statement, asked))
            run.add_done_callback(_heard)
        try:
            return await asyncio.shield(run)
        except Exception as error:
            raise translated(error) from error

    async def _run(self, statement: Statement, asked: Hashable) -> Rows:
        """Wait for all who ask the same, and read for them. Who comes after that is not among them."""
        waits = True
        try:
            async with self._lanes.of(statement).lent(self._lanes.acquire_timeout_s) as connection:
                waits = False
                del self._in_line[asked]
                return await self._lanes.run(connection, statement)
        finally:
            if waits:
                del self._in_line[asked]


def told_apart(values: tuple[object, ...]) -> Hashable:
    """The values as what is equal to no others: 1, 1.0 and true are not the same. None with a list among them."""
    typed = (values, tuple(map(type, values)))
    try:
        hash(typed)
    except TypeError:
        return None
    return typed


def _heard(run: "asyncio.Task[Rows]") -> None:
    """Those who still waited have been told that it failed, be there none."""
    if not run.cancelled():
        run.exception()
