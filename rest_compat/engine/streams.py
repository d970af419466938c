"""Subscriptions as server-sent events: frames as they come, comments while nothing does, an end when it is time."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress

from starlette.types import Receive, Send

HEARTBEAT_S = 15.0
STALL_S = 30.0  # how long a reader may leave what we send unread
HEARTBEAT = b":\n\n"
HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


async def send_stream(
    frames: AsyncGenerator[bytes, None],
    receive: Receive,
    send: Send,
    headers: list[tuple[bytes, bytes]],
    closing: asyncio.Event,
) -> None:
    """Send `frames` until they end, the reader leaves or stops reading, or we are closing."""
    await send({"type": "http.response.start", "status": 200, "headers": [*HEADERS, *headers]})
    await send({"type": "http.response.body", "body": HEARTBEAT, "more_body": True})  # tells that we listen
    ends = [asyncio.create_task(_left(receive)), asyncio.create_task(closing.wait())]
    following: asyncio.Task[bytes] | None = None
    try:
        while True:
            following = following or asyncio.create_task(_next(frames))
            done, _ = await asyncio.wait([following, *ends], timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED)
            if any(end in done for end in ends):
                return
            if following not in done:
                await _send(send, HEARTBEAT)
                continue
            frame, following = following.result(), None
            await _send(send, frame)
    except (StopAsyncIteration, TimeoutError, OSError):
        return
    finally:
        for task in (*ends, following):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError, StopAsyncIteration, Exception):
                    await task
        await frames.aclose()
        with suppress(Exception):
            async with asyncio.timeout(1):
                await send({"type": "http.response.body", "body": b""})


async def _next(frames: AsyncGenerator[bytes, None]) -> bytes:
    return await anext(frames)


async def _send(send: Send, frame: bytes) -> None:
    async with asyncio.timeout(STALL_S):
        await send({"type": "http.response.body", "body": frame, "more_body": True})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
