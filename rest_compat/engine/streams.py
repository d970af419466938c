"""Subscriptions as server-sent events: frames as they come, comments while nothing does, an end when it is time."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress

from starlette.types import Message, Receive, Send

from rest_compat.engine import sending
from rest_compat.engine.answers import Headers, text_headers, with_defaults
from rest_compat.engine.sending import Closing, Following

HEARTBEAT_S = 15.0
HEARTBEAT = b":\n\n"
MEDIA_TYPE = "text/event-stream"
HEADERS = text_headers(
    {"content-type": f"{MEDIA_TYPE}; charset=utf-8", "cache-control": "no-cache", "x-accel-buffering": "no"}
)


def sse_frame(data: bytes, *, event: str | None = None, id: str | None = None) -> bytes:
    """One event; line ends are LF, the data is one line of JSON."""
    head = (f"id: {_line(id)}\n" if id is not None else "") + (f"event: {_line(event)}\n" if event else "")
    return head.encode() + b"data: " + data + b"\n\n"


def _line(text: str) -> str:
    return text.replace("\r", "").replace("\n", "").replace("\x00", "")


async def send_stream(
    frames: AsyncGenerator[bytes, None], receive: Receive, send: Send, headers: Headers, closing: Closing
) -> None:
    """Send frames as they come, until they end, the reader leaves or stops reading, or we are closing."""
    async with Following(frames, receive, closing) as following:
        stream = EventStream(send, following)
        await stream.send(headers)
    await stream.end(headers)


class EventStream:
    """An answer that is a stream of events. While nothing else is sent there are comments, by a clock of its own."""

    def __init__(self, send: Send, frames: Following[bytes]) -> None:
        self._send = send
        self._frames = frames
        self._begun = False
        self._sending = 0
        self._since = 0.0  # when the sending began that is under way, or the last one ended
        self._clock: asyncio.TimerHandle | None = None
        self._comment: asyncio.Task[None] | None = None

    async def send(self, headers: Headers) -> None:
        """Send the head, and all frames."""
        self._since = asyncio.get_running_loop().time()
        self._watch()
        try:
            await self._begin(headers)
            await self._part(HEARTBEAT)  # tells that we listen
            async for frame in self._frames:
                await self._part(frame)
        finally:
            for watching in (self._clock, self._comment):
                if watching is not None:
                    watching.cancel()

    async def end(self, headers: Headers) -> None:
        """Say that this was all, to whom it may concern; to be called behind the block of the frames."""
        if self._frames.left:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(sending.STALL_S):
                if not self._begun:
                    await self._begin(headers)
                await self._send({"type": "http.response.body", "body": b""})

    async def _begin(self, headers: Headers) -> None:
        self._begun = True
        head = with_defaults(headers, HEADERS)
        await self._told({"type": "http.response.start", "status": 200, "headers": head})

    async def _part(self, part: bytes) -> None:
        await self._told({"type": "http.response.body", "body": part, "more_body": True})

    async def _told(self, message: Message) -> None:
        clock = asyncio.get_running_loop().time
        if not self._sending:
            self._since = clock()
        self._sending += 1
        await self._send(message)
        self._sending -= 1
        self._since = clock()

    def _watch(self) -> None:
        """Look now and then: a reader who hasn't read for long is left, one who hasn't heard for long is told."""
        loop = asyncio.get_running_loop()
        quiet_s = loop.time() - self._since
        if self._sending and quiet_s >= sending.STALL_S:
            self._frames.leave()
            return
        if not self._sending and self._begun and quiet_s >= HEARTBEAT_S:
            self._comment = asyncio.create_task(self._part(HEARTBEAT))
            quiet_s = 0.0
        patience_s = min(HEARTBEAT_S, sending.STALL_S)
        self._clock = loop.call_later(max(patience_s - quiet_s, patience_s / 4), self._watch)
