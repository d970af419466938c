"""Bodies that are sent part by part, for as long as somebody reads them."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any, Generic, TypeVar

from starlette.types import Receive, Send

STALL_S = 30.0  # how long a reader may leave what we send unread

T = TypeVar("T")


class Closing:
    """Tells whoever is in the middle of something that we are about to stop."""

    def __init__(self) -> None:
        self._told = False
        self._listeners: set[Callable[[], None]] = set()

    def set(self) -> None:
        """It is time."""
        self._told = True
        for listener in list(self._listeners):
            listener()

    def add(self, listener: Callable[[], None]) -> None:
        """Call this one when it is time, or now."""
        self._listeners.add(listener)
        if self._told:
            listener()

    def discard(self, listener: Callable[[], None]) -> None:
        """Call it no more."""
        self._listeners.discard(listener)


class Following(Generic[T]):
    """Iterates over what a generator makes until it ends, the reader leaves, or we are closing.

    Within `async with`, by the task that entered it: where the reader leaves or we are closing, that task is taken out
    of whatever it waits for there, to behind the block. The generator is closed at the end.
    """

    def __init__(self, items: AsyncGenerator[T, None], receive: Receive, closing: Closing | None = None) -> None:
        self._items = items
        self._receive = receive
        self._closing = closing
        self._first: tuple[T] | None = None
        self._task: asyncio.Task[Any] | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._cancelled = False
        self._over = False
        self.left = False  # whether the reader has left, or will not be waited for

    async def __aenter__(self) -> "Following[T]":
        self._task = asyncio.current_task()
        self._leaving = asyncio.create_task(self._wait_for_leaving())
        if self._closing is not None:
            self._closing.add(self.interrupt)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        task, self._task, self._over = self._task, None, True
        assert task is not None
        assert self._leaving is not None
        others = task.uncancel() if self._cancelled else task.cancelling()
        if self._closing is not None:
            self._closing.discard(self.interrupt)
        await _ended(self._leaving)
        await self._items.aclose()
        return self._cancelled and kind is asyncio.CancelledError and not others

    async def _wait_for_leaving(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.leave()

    def leave(self) -> None:
        """Wait for the reader no more."""
        self.left = True
        self.interrupt()

    def interrupt(self) -> None:
        """End."""
        waits = self._task is not None and self._task is not asyncio.current_task()
        if waits and not self._over:
            self._cancelled = True
            self._task.cancel()  # type: ignore[union-attr]
        self._over = True

    def __aiter__(self) -> "Following[T]":
        return self

    async def __anext__(self) -> T:
        if self._first is not None:
            (item,), self._first = self._first, None
            return item
        if self._over:
            raise StopAsyncIteration
        return await anext(self._items)

    async def first(self) -> T:
        """The first item, however long it takes; it stays the next one. Raises StopAsyncIteration where none comes."""
        self._first = (await anext(self),)
        return self._first[0]


async def send_part(send: Send, part: bytes) -> None:
    """Send a part of a body. Raises TimeoutError when the reader doesn't read."""
    async with asyncio.timeout(STALL_S):
        await send({"type": "http.response.body", "body": part, "more_body": True})


async def send_end(send: Send) -> None:
    """Say that this was all. Raises TimeoutError."""
    async with asyncio.timeout(STALL_S):
        await send({"type": "http.response.body", "body": b""})


async def _ended(task: "asyncio.Task[Any]") -> None:
    """Cancel a task and wait until it is over, whatever it comes to."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()  # nobody else asks
