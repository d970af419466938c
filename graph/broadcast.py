"""One execution for all who follow the same: its answers are made once, and handed to each reader.

Who joins a series that runs is told what went before by itself, and goes on with the others behind it. A reader that
doesn't keep up is let go, told so, and holds nobody up.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Hashable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol, TypeAlias
from weakref import WeakSet

from domain.kernel.errors import Gone
from graph.answer import Answer

WAITING_MAX = 1_000  # answers that a slow reader may be behind
WAITING_BYTES_MAX = 8 * 2**20  # and what they may come to

Place: TypeAlias = tuple[int, int]  # of an answer in its series


class Series(Protocol):
    """Answers in order. Whoever has an equal key may be told the same ones."""

    @property
    def key(self) -> Hashable:
        """What the answers depend on: what is asked, and as whom."""
        ...

    async def open(self) -> None:
        """Listen from now on. Raises what all readers are refused with."""
        ...

    def answers(self) -> AsyncGenerator[tuple[Place, Answer], None]:
        """The answers from `open` on, each with its place, in order."""
        ...

    async def before(self, after: str | None) -> tuple[Place, AsyncIterator[Answer]]:
        """What a reader that joins now is told first, and the place that it goes on behind.

        `after` is the cursor it has read up to. Raises Invalid or Gone where it is none.
        """
        ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a subscription follows, and from where on. `path` is the field to name where it is refused."""

    series: Series
    after: str | None = None
    path: Sequence[str | int] = ()


class Broadcasts:
    """The series that run."""

    def __init__(self) -> None:
        self._running: dict[Hashable, _Broadcast] = {}

    async def join(self, wanted: Wanted) -> "Reader":
        """A reader of the series, be it one of many. Raises what `Series` does."""
        key = wanted.series.key
        broadcast = self._running.get(key)
        if broadcast is None:
            broadcast = self._running[key] = _Broadcast(wanted.series, lambda: self._over(key))
        reader = Reader(broadcast)
        try:
            await broadcast.opened()
            reader.begin(*await broadcast.series.before(wanted.after))
        except BaseException:
            await reader.aclose()
            raise
        return reader

    def _over(self, key: Hashable) -> None:
        """Who comes now begins anew."""
        self._running.pop(key, None)


class _Broadcast:
    """A series that runs for as long as it has readers. One that nobody holds any more is forgotten by itself."""

    def __init__(self, series: Series, over: Callable[[], None]) -> None:
        self.series = series
        self.readers: WeakSet[Reader] = WeakSet()
        self._over = over
        self._opened = asyncio.get_running_loop().create_future()
        self._telling = asyncio.create_task(self._tell())

    async def opened(self) -> None:
        """Wait until it listens. Raises what it is refused with."""
        await asyncio.shield(self._opened)

    async def _tell(self) -> None:
        problem: Exception | None = None
        try:
            await self.series.open()
            self._opened.set_result(None)
            async with aclosing(self.series.answers()) as answers:
                async for place, answer in answers:
                    size = len(answer.encoded)
                    for reader in list(self.readers):  # one that is too slow leaves meanwhile
                        reader.tell(place, answer, size)
                    if not self.readers:
                        break
        except Exception as failed:
            problem = failed
        finally:
            self._over()
            if not self._opened.done():
                self._opened.set_exception(problem or Gone("nobody waits any more"))
                self._opened.exception()  # those who wait are told
            for reader in list(self.readers):
                reader.end(problem)

    async def leave(self, reader: "Reader") -> None:
        """Tell this one no more; end with the last one."""
        self.readers.discard(reader)
        if not self.readers and not self._telling.done():
            self._over()
            self._telling.cancel()
            await asyncio.wait({self._telling})


class Reader:
    """One who is told the answers of a series: an iterator. Close it at the end."""

    def __init__(self, broadcast: _Broadcast) -> None:
        self._broadcast = broadcast
        self._behind: Place | None = None
        self._first: AsyncIterator[Answer] | None = None
        self._waiting: deque[tuple[Place, Answer, int]] = deque()
        self._waiting_bytes = 0
        self._wake: asyncio.Future[None] | None = None
        self._ended: Exception | None = None
        broadcast.readers.add(self)

    def begin(self, behind: Place, first: AsyncIterator[Answer]) -> None:
        """Tell `first`, and then what comes behind a place."""
        self._behind, self._first = behind, first

    def tell(self, place: Place, answer: Answer, size: int) -> None:
        """Have an answer wait to be taken, if there is room for it."""
        if self._ended is not None:
            return
        fits = self._waiting_bytes + size <= WAITING_BYTES_MAX or not self._waiting
        if not fits or len(self._waiting) >= WAITING_MAX:
            self.end(Gone("the reader was too slow; resume from the last cursor it has"))
            return
        self._waiting.append((place, answer, size))
        self._waiting_bytes += size
        self._woken()

    def end(self, problem: Exception | None) -> None:
        """Let go of what waits, where there is a problem, and end: with it, or after the last answer."""
        if self._ended is None:
            if problem is not None:
                self._waiting.clear()
            self._ended = problem or StopAsyncIteration()
            self._broadcast.readers.discard(self)
            self._woken()

    def _woken(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def __aiter__(self) -> "Reader":
        return self

    async def __anext__(self) -> Answer:
        """The next answer. Raises what it was ended with."""
        if self._first is not None and self._ended is None:
            async for answer in self._first:
                return answer
            self._first = None
        while True:
            while self._waiting:
                place, answer, size = self._waiting.popleft()
                self._waiting_bytes -= size
                if self._behind is None or place > self._behind:
                    return answer
            if self._ended is not None:
                raise self._ended
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake

    async def aclose(self) -> None:
        """Leave."""
        self.end(None)
        await self._broadcast.leave(self)


class Alone:
    """The answers of a source that one reader has to itself, as a reader of a series has them."""

    def __init__(self, source: AsyncIterator[Answer]) -> None:
        self._source = source
        self._waits: asyncio.Task[object] | None = None
        self._ended: Exception | None = None

    def end(self, problem: Exception | None) -> None:
        """End: with the problem, if there is one. What is waited for is waited for no more."""
        if self._ended is None:
            self._ended = problem or StopAsyncIteration()
            if self._waits is not None:
                self._waits.cancel()

    def __aiter__(self) -> "Alone":
        return self

    async def __anext__(self) -> Answer:
        """The next answer. Raises what it was ended with, or the source failed with."""
        if self._ended is not None:
            raise self._ended
        self._waits = asyncio.current_task()
        try:
            return await anext(self._source)
        except asyncio.CancelledError:
            if self._ended is None or self._waits is None or self._waits.uncancel() > 0:
                raise
            raise self._ended from None
        finally:
            self._waits = None

    async def aclose(self) -> None:
        """Close the source."""
        self.end(None)
        if isinstance(self._source, AsyncGenerator):
            await self._source.aclose()
