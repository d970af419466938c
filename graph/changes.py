"""The changes of records as a series that many may follow, see `graph.broadcast`."""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Hashable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from domain.kernel.events import Changes, Feed, RecordChange, Watch
from graph.answer import Answer
from graph.broadcast import Place


class ChangeSeries:
    """An answer for each change that a watch asks for. Whoever has an equal key makes equal answers."""

    def __init__(
        self, feed: Feed, watch: Watch, key: Hashable, answer: Callable[[RecordChange], Awaitable[Answer]]
    ) -> None:
        self.key = key
        self._feed = feed
        self._watch = watch
        self._answer = answer
        self._changes: Changes | None = None

    async def open(self) -> None:
        """Listen."""
        self._changes = await self._feed.subscribe(self._watch, None)

    async def answers(self) -> AsyncGenerator[tuple[Place, Answer], None]:
        """An answer for each change."""
        assert self._changes is not None
        async with aclosing(self._changes) as changes:
            async for change in changes:
                yield change.place, await self._answer(change)

    async def before(self, after: str | None) -> tuple[Place, AsyncIterator[Answer]]:
        """The changes since a cursor."""
        behind, missed = await self._feed.missed(self._watch, after)
        return behind, self._answers(missed)

    async def _answers(self, missed: AsyncGenerator[RecordChange, None]) -> AsyncGenerator[Answer, None]:
        async for change in missed:
            yield await self._answer(change)


@dataclass(frozen=True, slots=True)
class Watched(AsyncIterable[Any]):
    """What the resolver of a subscription returns where an event tells nothing but what `shown` makes of a change.

    All who watch the same, and select the same of it, are told the same.
    """

    feed: Feed
    watch: Watch
    after: str | None
    path: Sequence[str | int]  # of the field
    shown: Callable[[RecordChange], Any]

    async def __aiter__(self) -> AsyncIterator[Any]:
        async with aclosing(await self.feed.subscribe(self.watch, self.after)) as changes:
            async for change in changes:
                yield self.shown(change)
