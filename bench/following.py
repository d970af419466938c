"""Many who follow the same records, with one change a second: how long until each of them has been told."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import uvloop

from bench.load import Request

QUIET_S = 0.5  # between the last subscription and the first change
LATE_S = 5.0  # then a change has not been delivered

# What a connection does when it has been answered for the first time: PocketBase wants to be told what to follow.
Opened = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True)
class Followed:
    """How to follow records somewhere: a request for each subscriber, and changes, each with a mark its event has."""

    address: str
    subscriptions: Sequence[Request]
    changes: Sequence[tuple[Request, bytes]]
    opened: Opened | None = None


class _Subscriber(asyncio.Protocol):
    def __init__(self, request: Request) -> None:
        loop = asyncio.get_running_loop()
        self._request = request
        self._buffer = b""
        self.begun: asyncio.Future[bytes] = loop.create_future()
        self.mark = b"\0"
        self.told: asyncio.Future[float] = loop.create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(self._request.raw)

    def expect(self, mark: bytes) -> "asyncio.Future[float]":
        self.mark, self._buffer = mark, b""
        self.told = asyncio.get_running_loop().create_future()
        return self.told

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self.begun.done():
            # Each side's stream begins with something: a comment here, an event there.
            if b"\r\n\r\n" in self._buffer and b"\n\n" in self._buffer:
                self.begun.set_result(self._buffer)
        elif self.mark in self._buffer and not self.told.done():
            self.told.set_result(time.perf_counter())

    def connection_lost(self, exc: Exception | None) -> None:
        for waiting in (self.begun, self.told):
            if not waiting.done():
                waiting.set_exception(ConnectionError(f"the server hung up: {self._buffer[:300]!r}"))
                waiting.exception()


async def followed_by(followed: Followed, every_s: float, meanwhile: Callable[[], None] = lambda: None) -> list[float]:
    """The seconds from sending each change to each subscriber's event; `meanwhile` is done after each change."""
    loop = asyncio.get_running_loop()
    host, _, port = followed.address.partition(":")
    subscribers = []
    for request in followed.subscriptions:
        _, subscriber = await loop.create_connection(lambda request=request: _Subscriber(request), host, int(port))
        begun = await asyncio.wait_for(subscriber.begun, LATE_S)
        assert begun[9:12] == b"200", begun[:300]
        if followed.opened is not None:
            await followed.opened(begun)
        subscribers.append(subscriber)
    await asyncio.sleep(QUIET_S)
    times: list[float] = []
    for change, mark in followed.changes:
        waiting = [subscriber.expect(mark) for subscriber in subscribers]
        started = time.perf_counter()
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(change.raw)
        told = await asyncio.wait_for(asyncio.gather(*waiting), LATE_S)
        times += [at - started for at in told]
        meanwhile()
        status = await reader.readline()
        assert status[9:10] == b"2", status
        writer.close()
        await asyncio.sleep(max(0.0, started + every_s - time.perf_counter()))
    for subscriber in subscribers:
        subscriber.transport.close()
    return times


def delivered(followed: Followed, every_s: float = 1.0) -> tuple[float, float]:
    """The median and the 99th percentile of the milliseconds from sending a change to each subscriber's event."""
    times = sorted(uvloop.run(followed_by(followed, every_s)))
    return statistics.median(times) * 1e3, times[int(len(times) * 0.99)] * 1e3
