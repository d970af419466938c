"""Bodies that are sent part by part, for as long as somebody reads them."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, Generic, TypeVar

from starlette.types import Receive, Send

STALL_S = 30.0  # how long a reader may leave what we send unread

T = TypeVar("T")


class Following(Generic[T]):
    """Iterates over what a generator makes until it ends, the reader leaves, or we are closing.

    Within `async with`; the generator is closed at its end, whatever it was doing. None comes where nothing else has
    for `patience_s`.
    """

    def __init__(
        self,
        items: AsyncGenerator[T, None],
        receive: Receive,
        closing: asyncio.Event | None = None,
        patience_s: float | None = None,
    ) -> None:
        self._items = items
        self._receive = receive
        self._closing = closing
        self._patience_s = patience_s
        self._next: asyncio.Task[T] | None = None
        self._ends: list[asyncio.Task[Any]] = []

    async def __aenter__(self) -> "Following[T]":
        self._ends = [asyncio.create_task(self._leaving())]
        if self._closing is not None:
            self._ends.append(asyncio.create_task(self._closing.wait()))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in (*self._ends, self._next):
            if task is not None:
                await _ended(task)
        await self._items.aclose()

    async def _leaving(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    @property
    def left(self) -> bool:
        """Whether the reader has left."""
        return self._ends[0].done()

    def __aiter__(self) -> "Following[T]":
        return self

    async def __anext__(self) -> T | None:
        await self._wait(self._patience_s)
        if self._next is None or not self._next.done():
            return None
        following, self._next = self._next, None
        return following.result()

    async def first(self) -> T:
        """The first item, however long it takes; it stays the next one. Raises StopAsyncIteration where none comes."""
        await self._wait(None)
        assert self._next is not None
        return self._next.result()

    async def _wait(self, patience_s: float | None) -> None:
        if self._next is None:
            self._next = asyncio.create_task(_anext(self._items))
        await asyncio.wait({self._next, *self._ends}, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
        if any(end.done() for end in self._ends):
            raise StopAsyncIteration


async def send_part(send: Send, part: bytes) -> None:
    """Send a part of a body. Raises TimeoutError when the reader doesn't read."""
    async with asyncio.timeout(STALL_S):
        await send({"type": "http.response.body", "body": part, "more_body": True})


async def send_end(send: Send) -> None:
    """Say that this was all. Raises TimeoutError."""
    async with asyncio.timeout(STALL_S):
        await send({"type": "http.response.body", "body": b""})


async def _anext(items: AsyncGenerator[T, None]) -> T:
    return await anext(items)


async def _ended(task: "asyncio.Task[Any]") -> None:
    """Cancel a task and wait until it is over, whatever it comes to."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()  # nobody else asks
