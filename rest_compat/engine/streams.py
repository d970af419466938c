"""Subscriptions as server-sent events: frames as they come, comments while nothing does, an end when it is time."""

import asyncio
from collections.abc import AsyncGenerator

from starlette.types import Receive, Send

from rest_compat.engine.answers import Headers, with_defaults
from rest_compat.engine.sending import Following, send_end, send_part

HEARTBEAT_S = 15.0
HEARTBEAT = b":\n\n"
MEDIA_TYPE = "text/event-stream"
HEADERS = {"content-type": f"{MEDIA_TYPE}; charset=utf-8", "cache-control": "no-cache", "x-accel-buffering": "no"}


def sse_frame(data: bytes, *, event: str | None = None, id: str | None = None) -> bytes:
    """One event; line ends are LF, the data is one line of JSON."""
    head = (f"id: {_line(id)}\n" if id is not None else "") + (f"event: {_line(event)}\n" if event else "")
    return head.encode() + b"data: " + data + b"\n\n"


def _line(text: str) -> str:
    return text.replace("\r", "").replace("\n", "").replace("\x00", "")


async def send_stream(
    frames: AsyncGenerator[bytes, None],
    receive: Receive,
    send: Send,
    headers: Headers,
    closing: asyncio.Event,
) -> None:
    """Send frames as they come, until they end, the reader leaves or we are closing."""
    async with Following(frames, receive, closing, HEARTBEAT_S) as following:
        await send_followed(following, send, headers)


async def send_followed(frames: Following[bytes], send: Send, headers: Headers) -> None:
    """The same for frames that are being followed already. A reader who doesn't read is left to themselves."""
    await send({"type": "http.response.start", "status": 200, "headers": with_defaults(headers, HEADERS)})
    try:
        await send_part(send, HEARTBEAT)  # tells that we listen
        async for frame in frames:
            await send_part(send, frame or HEARTBEAT)
        if not frames.left:
            await send_end(send)
    except TimeoutError:
        return
