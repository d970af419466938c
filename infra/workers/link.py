"""The connection between servers and a worker host: JSON lines, each of one call, many calls at once.

A caller sends `{"id", "op", "args"}`, and may follow it with `{"id", "tell"}` and `{"id", "cancel"}`. The host answers
with `{"id", "result"}` or `{"id", "refused"}`; to a call that has many answers with `{"id", "item"}` until `{"id",
"end"}`. Before the first call each side proves to the other that it has the installation's key.
"""

import asyncio
import contextlib
import hashlib
import hmac
import itertools
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from typing import Any, Protocol

import orjson

from domain.kernel.errors import Code, DomainError, Reason, Unavailable
from infra.keys import Key
from infra.logs import get_logger
from infra.workers.leases import Elsewhere
from infra.workers.lines import line_of

FRAME_BYTES_MAX = 4 * 2**20
UNSENT_BYTES_MAX = 2**20
CALLS_MAX = 2_000  # at once, of one connection
ITEMS_WAITING_MAX = 4_096  # of one call, before its reader is too slow
HELLO_S, CONNECT_S, STALL_S = 5.0, 5.0, 30.0

Frame = dict[str, Any]
Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]

log = get_logger(__name__)


class Lost(Exception):
    """The other side is gone, or is not who it should be."""


# Frames.


async def _receive(reader: asyncio.StreamReader) -> Frame:
    """The next frame. Raises Lost."""
    try:
        frame = orjson.loads(await reader.readuntil(b"\n"))
    except (OSError, EOFError, asyncio.LimitOverrunError, orjson.JSONDecodeError) as problem:
        raise Lost(str(problem)) from problem
    if not isinstance(frame, dict):
        raise Lost("not a frame")
    return frame


class _Sender:
    """Writes frames one after the other; a reader that reads nothing for long loses the connection."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._turn = asyncio.Lock()
        writer.transport.set_write_buffer_limits(high=UNSENT_BYTES_MAX)

    async def send(self, frame: Frame) -> None:
        """Raises Lost; TooLarge never: a frame that is one is the sender's to refuse."""
        data = line_of(frame)
        if len(data) > FRAME_BYTES_MAX:
            raise Unavailable(f"a message of more than {FRAME_BYTES_MAX} bytes is not passed on")
        try:
            async with asyncio.timeout(STALL_S), self._turn:
                await self._writer.drain()
                self._writer.write(data)
        except (OSError, TimeoutError, RuntimeError) as problem:
            self._writer.transport.abort()
            raise Lost(str(problem)) from problem


# Who is there.


def _proof(key: Key, side: str, nonces: str) -> str:
    return hmac.new(key.secret, f"stoa worker link {side} {nonces}".encode(), hashlib.sha256).hexdigest()


def _proven(keys: Sequence[Key], side: str, nonces: str, proof: object) -> Key | None:
    """The key that made the proof, or None."""
    found = [key for key in keys if hmac.compare_digest(_proof(key, side, nonces), str(proof))]
    return found[0] if found else None


async def _admitted(pair: Pair, keys: Sequence[Key]) -> _Sender:
    """The host's side of the greeting. Raises Lost."""
    sender = _Sender(pair[1])
    ours = os.urandom(16).hex()
    async with asyncio.timeout(HELLO_S):
        await sender.send({"nonce": ours})
        hello = await _receive(pair[0])
        nonces = f"{ours} {hello.get('nonce')}"
        key = _proven(keys, "caller", nonces, hello.get("proof"))
        if key is None:
            raise Lost("the caller has not our key")
        await sender.send({"proof": _proof(key, "host", nonces)})
    return sender


async def _greeted(pair: Pair, keys: Sequence[Key]) -> _Sender:
    """The caller's side of the greeting. Raises Lost."""
    sender = _Sender(pair[1])
    ours = os.urandom(16).hex()
    async with asyncio.timeout(HELLO_S):
        nonces = f"{(await _receive(pair[0])).get('nonce')} {ours}"
        await sender.send({"nonce": ours, "proof": _proof(keys[0], "caller", nonces)})
        if _proven(keys[:1], "host", nonces, (await _receive(pair[0])).get("proof")) is None:
            raise Lost("the host has not our key")
    return sender


# Refusals on their way.


def spelled(refusal: DomainError) -> Frame:
    """A refusal as a frame carries it."""
    return {
        "code": refusal.code,
        "message": refusal.message,
        "field": refusal.field,
        "reason": refusal.reason,
        "details": refusal.details,
        "retry_after_s": refusal.retry_after_s,
    }


_KINDS: dict[str, type[DomainError]] = {kind.code: kind for kind in DomainError.__subclasses__()}


def refusal_of(told: Frame) -> DomainError:
    """The refusal that a frame carries."""
    kind = _KINDS.get(told["code"], Unavailable)
    refusal = kind.__new__(kind)
    reason = Reason(told["reason"]) if told.get("reason") else None
    more = {"field": told.get("field"), "details": told.get("details"), "retry_after_s": told.get("retry_after_s")}
    DomainError.__init__(refusal, told["message"], reason=reason, **more)
    return refusal


# The host's side.


class Call(Protocol):
    """What serves a call: an awaitable result, or an iterator of items; `told` is what the caller says meanwhile."""

    def __call__(self, op: str, args: Frame, told: "asyncio.Queue[Any]") -> Awaitable[Any] | AsyncIterator[Any]: ...


class LinkServer:
    """Takes the calls of servers that have our key."""

    def __init__(self, keys: Sequence[Key], serve: Call) -> None:
        self._keys = keys
        self._serve = serve
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def listen(self, address: str) -> None:
        """Listen at `unix:/path` or `tcp:host:port`."""
        kind, _, place = address.partition(":")
        if kind == "unix":
            with contextlib.suppress(FileNotFoundError):
                os.unlink(place)
            self._server = await asyncio.start_unix_server(self._take, place, limit=FRAME_BYTES_MAX)
            os.chmod(place, 0o600)
        else:
            host, _, port = place.rpartition(":")
            self._server = await asyncio.start_server(self._take, host.strip("[]"), int(port), limit=FRAME_BYTES_MAX)

    async def close(self) -> None:
        """Take no more calls, and end those that are."""
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            sender = await _admitted((reader, writer), self._keys)
            await _Serving(sender, self._serve).run(reader)
        except (Lost, TimeoutError, asyncio.CancelledError):
            pass  # asyncio makes noise about a connection whose task was cancelled
        finally:
            self._connections.discard(task)
            writer.transport.abort()


class _Serving:
    """One connection of a caller."""

    def __init__(self, sender: _Sender, serve: Call) -> None:
        self._sender = sender
        self._serve = serve
        self._calls: dict[int, tuple[asyncio.Task[None], asyncio.Queue[Any]]] = {}

    async def run(self, reader: asyncio.StreamReader) -> None:
        """Until the connection is lost. Raises Lost."""
        try:
            while True:
                await self._heard(await _receive(reader))
        finally:
            tasks = [task for task, _ in self._calls.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _heard(self, frame: Frame) -> None:
        id = frame.get("id")
        if not isinstance(id, int):
            raise Lost("a frame without an id")
        known = self._calls.get(id)
        if "op" in frame and known is None:
            if len(self._calls) >= CALLS_MAX:
                await self._sender.send({"id": id, "refused": spelled(Unavailable("too many calls at once"))})
                return
            told: asyncio.Queue[Any] = asyncio.Queue(ITEMS_WAITING_MAX)
            task = asyncio.create_task(self._answer(id, str(frame["op"]), frame.get("args") or {}, told))
            self._calls[id] = task, told
            task.add_done_callback(lambda _: self._calls.pop(id))
        elif known is not None and "tell" in frame:
            with contextlib.suppress(asyncio.QueueFull):
                known[1].put_nowait(frame["tell"])
        elif known is not None and "cancel" in frame:
            known[0].cancel()

    async def _answer(self, id: int, op: str, args: Frame, told: "asyncio.Queue[Any]") -> None:
        try:
            answer = await self._answered(id, op, args, told)
        except DomainError as refusal:
            answer = {"refused": spelled(refusal)}
        except Elsewhere:
            answer = {"elsewhere": True}
        except (Lost, asyncio.CancelledError):
            return
        except Exception:
            log.exception("worker_call_failed", op=op)
            answer = {"refused": {"code": Code.UNAVAILABLE, "message": "the worker host failed"}}
        with contextlib.suppress(Lost):
            try:
                await self._sender.send({"id": id, **answer})
            except Unavailable as too_large:
                await self._sender.send({"id": id, "refused": spelled(too_large)})

    async def _answered(self, id: int, op: str, args: Frame, told: "asyncio.Queue[Any]") -> Frame:
        answering = self._serve(op, args, told)
        if isinstance(answering, AsyncIterator):
            async with contextlib.aclosing(answering) as items:  # type: ignore[type-var]
                async for item in items:
                    await self._sender.send({"id": id, "item": item})
            return {"end": True}
        return {"result": await answering}


# The caller's side.


class HostLink:
    """A connection to one host."""

    def __init__(self, pair: Pair, sender: _Sender) -> None:
        self._reader, self._writer = pair
        self._sender = sender
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Queue[Frame]] = {}
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, address: str, keys: Sequence[Key]) -> "HostLink":
        """Raises Lost."""
        kind, _, place = address.partition(":")
        host, _, port = place.rpartition(":")
        try:
            async with asyncio.timeout(CONNECT_S):
                if kind == "unix":
                    pair = await asyncio.open_unix_connection(place, limit=FRAME_BYTES_MAX)
                else:
                    pair = await asyncio.open_connection(host.strip("[]"), int(port), limit=FRAME_BYTES_MAX)
        except (OSError, TimeoutError, ValueError) as problem:
            raise Lost(str(problem)) from problem
        try:
            return cls(pair, await _greeted(pair, keys))
        except (Lost, TimeoutError) as problem:
            pair[1].transport.abort()
            raise Lost(str(problem)) from problem

    @property
    def lost(self) -> bool:
        """Whether it is no use any more."""
        return self._reading.done()

    async def close(self) -> None:
        """Hang up."""
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self) -> None:
        try:
            while True:
                frame = await _receive(self._reader)
                waiting = self._answers.get(frame.get("id", 0))
                if waiting is not None:
                    try:
                        waiting.put_nowait(frame)
                    except asyncio.QueueFull:
                        _end(waiting)  # who does not read hears no more
        except Lost:
            pass
        finally:
            self._writer.transport.abort()
            for waiting in self._answers.values():
                _end(waiting)

    async def call(self, op: str, args: Frame) -> Any:
        """The result. Raises Lost, Elsewhere, and what the host refuses with."""
        async with contextlib.aclosing(self.items(op, args)) as items:
            return await anext(items)

    async def items(self, op: str, args: Frame, told: "asyncio.Queue[Any] | None" = None) -> AsyncGenerator[Any, None]:
        """The items of the answer (a result is one), while `told` is passed on. Raises as `call` does."""
        if self.lost:
            raise Lost("the connection is closed")
        id = next(self._ids)
        waiting = self._answers[id] = asyncio.Queue(ITEMS_WAITING_MAX)
        telling = None if told is None else asyncio.create_task(self._tell(id, told))
        ended = False
        try:
            await self._sender.send({"id": id, "op": op, "args": args})
            while True:
                frame = await waiting.get()
                if "item" in frame:
                    yield frame["item"]
                    continue
                ended = True
                if "result" in frame:
                    yield frame["result"]
                elif "refused" in frame:
                    raise refusal_of(frame["refused"])
                elif "elsewhere" in frame:
                    raise Elsewhere
                elif "lost" in frame:
                    raise Lost("the connection broke")
                return
        finally:
            if telling is not None:
                telling.cancel()
            self._answers.pop(id, None)
            if not ended:
                await self._give_up(id)

    async def _tell(self, id: int, told: "asyncio.Queue[Any]") -> None:
        with contextlib.suppress(Lost):
            while True:
                await self._sender.send({"id": id, "tell": await told.get()})

    async def _give_up(self, id: int) -> None:
        """Tell the host that nobody waits any more."""
        if not self.lost:
            with contextlib.suppress(Lost):
                await self._sender.send({"id": id, "cancel": True})


def _end(waiting: "asyncio.Queue[Frame]") -> None:
    if waiting.full():
        waiting.get_nowait()
    waiting.put_nowait({"lost": True})
