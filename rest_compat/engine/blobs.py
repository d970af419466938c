"""Bytes as answers. Stored ones whole, or a range, or only that the caller has them already (RFC 9110, 13 and 14)."""

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from urllib.parse import quote

from starlette.types import Receive

from rest_compat.engine.answers import Headers, matches, send_bytes, text_headers, with_defaults
from rest_compat.engine.backend import Blob, Made
from rest_compat.engine.errors import Refusal
from rest_compat.engine.exchange import Exchange
from rest_compat.engine.sending import Following, send_end, send_part

_RANGE = re.compile(r"bytes\s*=\s*([0-9]{0,18})-([0-9]{0,18})")


async def send_blob(blob: Blob, exchange: Exchange, receive: Receive, headers: Headers) -> None:
    """The part asked for, or all of it. Raises Refusal for a range that is none, or for bytes that are not there."""
    headers = with_defaults(headers, text_headers(_headers_of(blob)))
    if _is_known(blob, exchange.request_headers):
        await send_bytes(exchange.send, 304, b"", headers)
        return
    asked = None if exchange.head else _range(exchange.request_headers, blob)
    start, end = asked or (0, blob.size)
    more = {"content-length": str(end - start)}
    if asked is not None:
        more["content-range"] = f"bytes {start}-{end - 1}/{blob.size}"
    status = 200 if asked is None else 206
    begin = {"type": "http.response.start", "status": status, "headers": [*headers, *text_headers(more)]}
    if exchange.head:
        await exchange.send(begin)
        await send_end(exchange.send)
        return
    try:
        async with Following(blob.read(start, end), receive) as parts:
            with suppress(StopAsyncIteration):
                await parts.first()  # bytes that cannot be read are a refusal, while there is time for one
            await exchange.send(begin)
            async for part in parts:
                await send_part(exchange.send, part)
            if not parts.left:
                await send_end(exchange.send)
    except TimeoutError:
        return  # that the connection is closed before the end tells the reader who didn't read


async def send_made(made: Made, exchange: Exchange, receive: Receive, headers: Headers) -> None:
    """All of it, part by part. Raises Refusal where it cannot be begun."""
    own = {
        "content-type": made.media_type,
        "content-disposition": disposition(made.name, inline=False),
        "content-security-policy": "sandbox",
        "cache-control": "no-store",
    }
    begin = {"type": "http.response.start", "status": 200, "headers": with_defaults(headers, text_headers(own))}
    if exchange.head:
        await exchange.send(begin)
        await send_end(exchange.send)
        return
    try:
        async with Following(made.parts(), receive) as parts:
            with suppress(StopAsyncIteration):
                await parts.first()
            await exchange.send(begin)
            async for part in parts:
                await send_part(exchange.send, part)
            if not parts.left:
                await send_end(exchange.send)
    except TimeoutError:
        return


def _headers_of(blob: Blob) -> dict[str, str]:
    found = {
        "content-type": blob.media_type,
        "content-disposition": disposition(blob.name, inline=blob.inline),
        "content-security-policy": "sandbox",
        "accept-ranges": "bytes",
        "cache-control": "private, no-cache",
    }
    if blob.etag is not None:
        found["etag"] = blob.etag
    if blob.modified is not None:
        found["last-modified"] = format_datetime(blob.modified.astimezone(UTC), usegmt=True)
    return found


def _is_known(blob: Blob, asked: Mapping[str, str]) -> bool:
    """Whether the caller has these bytes already."""
    if "if-none-match" in asked:
        return blob.etag is not None and matches(blob.etag, asked["if-none-match"])
    since = _moment(asked.get("if-modified-since"))
    return since is not None and blob.modified is not None and blob.modified.replace(microsecond=0) <= since


def _moment(text: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text) if text else None
    except ValueError:
        return None
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)


def _range(asked: Mapping[str, str], blob: Blob) -> tuple[int, int] | None:
    """The one range asked for, its end exclusive; None for all. Several ranges are answered with all."""
    match = _RANGE.fullmatch(asked.get("range", "").strip())
    if match is None or not any(match.groups()) or not _is_unchanged(asked.get("if-range"), blob):
        return None
    first, last = match.groups()
    start = int(first) if first else max(0, blob.size - int(last))
    end = min(int(last) + 1, blob.size) if first and last else blob.size
    if start >= end:
        raise Refusal(
            "RANGE_NOT_SATISFIABLE", "the range is beyond the file", headers={"content-range": f"bytes */{blob.size}"}
        )
    return start, end


def _is_unchanged(condition: str | None, blob: Blob) -> bool:
    """Whether an `If-Range` names the very bytes we have (strong comparison, or the exact moment)."""
    if condition is None:
        return True
    if blob.etag is not None and condition.strip() == blob.etag:
        return not blob.etag.startswith("W/")
    moment = _moment(condition)
    return moment is not None and blob.modified is not None and blob.modified.replace(microsecond=0) == moment


def disposition(name: str, *, inline: bool) -> str:
    """`Content-Disposition` with a file's name in a form no name can break out of (RFC 6266)."""
    plain = "".join(char for char in name if 32 <= ord(char) < 127 and char not in '"\\%')
    value = f'{"inline" if inline else "attachment"}; filename="{plain}"'
    if plain != name:
        value += f"; filename*=UTF-8''{quote(''.join(c for c in name if c.isprintable()), safe='')}"
    return value
