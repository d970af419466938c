"""What workers say, to whoever listens: each listener has a bounded queue, and is told what it missed."""

import asyncio
from collections import deque
from collections.abc import Callable
from weakref import WeakSet

from domain.workers.ports import LOG_LINES_WAITING_MAX, LogLine


class LogHub:
    """One source of lines, and its listeners. `left` is called when the last of them has gone."""

    def __init__(self, left: Callable[[], None] | None = None) -> None:
        self._listeners: WeakSet[Listener] = WeakSet()
        self._left = left

    @property
    def listeners(self) -> int:
        """How many there are."""
        return len(self._listeners)

    def listen(self) -> "Listener":
        """Lines from now on."""
        listener = Listener(self)
        self._listeners.add(listener)
        return listener

    def leave(self, listener: "Listener") -> None:
        """Tell this one no more."""
        self._listeners.discard(listener)
        if not self._listeners and self._left is not None:
            self._left()

    def say(self, line: LogLine) -> None:
        """Tell everybody."""
        for listener in self._listeners:
            listener.tell(line)


class Listener:
    """See `domain.workers.ports.LogLines`. One that nobody holds any more is forgotten by itself."""

    __slots__ = ("__weakref__", "_dropped", "_hub", "_lines", "_waiter")

    def __init__(self, hub: LogHub) -> None:
        self._hub = hub
        self._lines: deque[LogLine] = deque()
        self._dropped = 0
        self._waiter: asyncio.Future[None] | None = None

    def tell(self, line: LogLine) -> None:
        """One more line, if there is room for it."""
        if len(self._lines) >= LOG_LINES_WAITING_MAX:
            self._dropped += 1
            return
        if self._dropped:
            self._lines.append(dropped_line(self._dropped))
            self._dropped = 0
        self._lines.append(line)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __aiter__(self) -> "Listener":
        return self

    async def __anext__(self) -> LogLine:
        while not self._lines:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        line = self._lines.popleft()
        if not self._lines and self._dropped:
            self._lines.append(dropped_line(self._dropped))
            self._dropped = 0
        return line

    async def aclose(self) -> None:
        self._hub.leave(self)


def dropped_line(count: int) -> LogLine:
    """What a slow reader is told."""
    return LogLine("system", f"{count} log lines were dropped: they were read too slowly")
