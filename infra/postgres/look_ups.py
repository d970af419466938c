"""Look-ups by key: those of one statement that are asked for at the same time are run as one."""

import asyncio
from dataclasses import dataclass, field

from domain.kernel.unit import LookUp
from infra.postgres.connections import Connections
from infra.postgres.faults import translated

KEYS_MAX = 500  # of one run
RUNS_MAX = 2  # of one statement at a time


@dataclass(slots=True)
class _Asked:
    """One statement's look-ups: the keys for its next run, each with who waits, and its runs under way."""

    keys: list[object] = field(default_factory=list)
    waiting: "list[asyncio.Future[str | None]]" = field(default_factory=list)
    runs: int = 0
    about_to: bool = False  # whether one of the runs has yet to take its keys

    def take(self) -> "tuple[list[object], list[asyncio.Future[str | None]]]":
        """The keys of a run. Who asks from now on comes with the next."""
        self.about_to = False
        keys, waiting = self.keys[:KEYS_MAX], self.waiting[:KEYS_MAX]
        del self.keys[:KEYS_MAX], self.waiting[:KEYS_MAX]
        return keys, waiting


class LookUps:
    """The look-ups of one process.

    What one turn of the event loop asks for goes together, and so does what is asked while no connection is free or
    enough of the statement's runs are under way: the more there is to do, the less it costs. A look-up that is alone
    waits for nobody. Equal in all but the key means: the same statement with the same other values, and so the same
    records of the same tenant under the same policy. Who gives up leaves the others as they are.
    """

    def __init__(self, connections: Connections, acquire_timeout_s: float) -> None:
        self._connections = connections
        self._acquire_timeout_s = acquire_timeout_s
        self._asked: dict[LookUp, _Asked] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def found(self, look_up: LookUp, key: object) -> str | None:
        """What is found for the key. Raises StatementRefused, TimedOut, Unavailable."""
        loop = asyncio.get_running_loop()
        asked = self._asked.get(look_up)
        if asked is None:
            asked = self._asked[look_up] = _Asked()
        waiting = loop.create_future()
        asked.keys.append(key)
        asked.waiting.append(waiting)
        if not asked.about_to and asked.runs < RUNS_MAX:
            asked.runs += 1
            asked.about_to = True
            task = loop.create_task(self._run(look_up, asked))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return await waiting

    async def _run(self, look_up: LookUp, asked: _Asked) -> None:
        """Look up until nobody asks."""
        while asked.keys:
            asked.about_to = True
            await self._run_once(look_up, asked)
        asked.runs -= 1
        if asked.runs == 0:
            del self._asked[look_up]

    async def _run_once(self, look_up: LookUp, asked: _Asked) -> None:
        waiting: list[asyncio.Future[str | None]] = []
        try:
            async with self._connections.lent(self._acquire_timeout_s) as connection:
                keys, waiting = asked.take()
                if not keys:  # another run was faster
                    return
                rows = await connection.fetch(look_up.sql, keys, *look_up.args)
        except Exception as error:
            for one in waiting or asked.take()[1]:
                if not one.done():
                    one.set_exception(translated(error))
            return
        for one, row in zip(waiting, rows, strict=True):
            if not one.done():
                one.set_result(row[0])
