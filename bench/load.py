"""A load: requests over a number of connections, each sending its next as soon as it has the answer to the last.

As small as it can be, since it shares the machine with what it measures: no HTTP library, one pass over the bytes.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import uvloop


@dataclass(frozen=True)
class Request:
    """One request, as bytes on the wire."""

    raw: bytes

    @classmethod
    def of(cls, method: str, path: str, token: str, body: Any = None, accept: str = "*/*") -> "Request":
        """A request with a bearer token, and a JSON body if there is one."""
        head = f"{method} {path} HTTP/1.1\r\nHost: bench\r\nAccept: {accept}\r\nAuthorization: {token}\r\n"
        content = b""
        if body is not None:
            content = orjson.dumps(body)
            head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        return cls(head.encode() + b"\r\n" + content)


@dataclass(frozen=True)
class Measured:
    """What a load came to."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float


class _Connection(asyncio.Protocol):
    def __init__(self, next_request: Callable[[], Request | None], times: list[float]) -> None:
        self._next = next_request
        self._times = times
        self._buffer = b""
        self._sent = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._send()

    def _send(self) -> None:
        request = self._next()
        if request is None:
            self._transport.close()
            self.done.set_result(None)
            return
        self._sent = time.perf_counter()
        self._transport.write(request.raw)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            self._buffer = buffer
            return
        if not _whole(buffer, end):
            self._buffer = buffer
            return
        self._buffer = b""
        self._times.append(time.perf_counter() - self._sent)
        if buffer[9:10] != b"2":
            self.done.set_exception(AssertionError(buffer[:500]))
            self._transport.close()
            return
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(ConnectionError("the server hung up"))


def _whole(answer: bytes, head_end: int) -> bool:
    """Whether all of the body is there: as much as the head says, or the last of its chunks."""
    head = answer[:head_end].lower()
    start = head.find(b"content-length:")
    if start < 0:
        return answer.endswith(b"\r\n0\r\n\r\n")
    end = head.find(b"\r\n", start)
    return len(answer) >= head_end + 4 + int(head[start + 15 : end if end >= 0 else None])


async def _run(host: str, port: int, requests: Sequence[Request], connections: int, seconds: float) -> Measured:
    times: list[float] = []
    turn = 0
    deadline = time.perf_counter() + seconds

    def following() -> Request | None:
        nonlocal turn
        turn += 1
        return requests[turn % len(requests)] if time.perf_counter() < deadline else None

    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    made = await asyncio.gather(
        *(loop.create_connection(lambda: _Connection(following, times), host, port) for _ in range(connections))
    )
    await asyncio.gather(*(protocol.done for _, protocol in made))
    elapsed = time.perf_counter() - started
    times.sort()
    return Measured(len(times) / elapsed, times[len(times) // 2] * 1e3, times[int(len(times) * 0.99)] * 1e3)


def load(address: str, requests: Sequence[Request], connections: int, seconds: float) -> Measured:
    """Send the requests in turn over so many connections for so long; every answer must be a success."""
    host, _, port = address.partition(":")
    return uvloop.run(_run(host, int(port), requests, connections, seconds))


def warmed(address: str, requests: Sequence[Request], connections: int, seconds: float) -> Measured:
    """The same after a while of it that does not count."""
    load(address, requests, connections, min(1.0, seconds / 3))
    return load(address, requests, connections, seconds)
