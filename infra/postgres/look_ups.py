"""Look-ups by key: those of one statement that are asked for at the same time are run as one."""

import asyncio
from dataclasses import dataclass, field

from domain.kernel.unit import LookUp
from infra.postgres.connections import Connections
from infra.postgres.faults import translated

KEYS_MAX = 500  # of one run


@dataclass(slots=True)
class _Gathered:
    """Keys on their way, each with who waits for what is found."""

    keys: list[object] = field(default_factory=list)
    waiting: "list[asyncio.Future[str | None]]" = field(default_factory=list)


class LookUps:
    """The look-ups of one process.

    What one event loop turn asks for, and what is asked until a connection is free, goes together; a look-up that is
    alone waits for nobody. Equal in all but the key means: the same statement with the same other values, and so the
    same records of the same tenant under the same policy. Who gives up leaves the others as they are.
    """

    def __init__(self, connections: Connections, acquire_timeout_s: float) -> None:
        self._connections = connections
        self._acquire_timeout_s = acquire_timeout_s
        self._gathering: dict[LookUp, _Gathered] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def found(self, look_up: LookUp, key: object) -> str | None:
        """What is found for the key. Raises StatementRefused, TimedOut, Unavailable."""
        loop = asyncio.get_running_loop()
        gathered = self._gathering.get(look_up)
        if gathered is None or len(gathered.keys) >= KEYS_MAX:
            gathered = self._gathering[look_up] = _Gathered()
            task = loop.create_task(self._run(look_up, gathered))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        waiting = loop.create_future()
        gathered.keys.append(key)
        gathered.waiting.append(waiting)
        return await waiting

    async def _run(self, look_up: LookUp, gathered: _Gathered) -> None:
        try:
            async with self._connections.lent(self._acquire_timeout_s) as connection:
                self._end(look_up, gathered)  # who asks from now on comes with the next
                rows = await connection.fetch(look_up.sql, gathered.keys, *look_up.args)
        except Exception as error:
            self._end(look_up, gathered)
            for waiting in gathered.waiting:
                if not waiting.done():
                    waiting.set_exception(translated(error))
            return
        for waiting, row in zip(gathered.waiting, rows, strict=True):
            if not waiting.done():
                waiting.set_result(row[0])

    def _end(self, look_up: LookUp, gathered: _Gathered) -> None:
        if self._gathering.get(look_up) is gathered:
            del self._gathering[look_up]
