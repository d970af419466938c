"""Answers on their way out: JSON, text, bytes, redirects, streams, and the headers that belong to them."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import quote

import orjson
from starlette.types import Send

from rest_compat.engine.backend import Blob
from rest_compat.engine.errors import Refusal

Headers = list[tuple[bytes, bytes]]

JSON = b"application/json"
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
CHUNK_BYTES = 2**16


def etag_of(body: bytes) -> str:
    """The strong entity tag of these bytes."""
    return f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'


def matches(tag: str, header: str | None) -> bool:
    """Whether an `If-None-Match` names the tag (weak comparison)."""
    if header is None:
        return False
    return header.strip() == "*" or tag.removeprefix("W/") in {
        part.strip().removeprefix("W/") for part in header.split(",")
    }


def text_headers(pairs: Mapping[str, str] | Sequence[tuple[str, str]]) -> Headers:
    """Header pairs as bytes; line ends in a value would be headers of somebody else's."""
    items = pairs.items() if isinstance(pairs, Mapping) else pairs
    return [(name.lower().encode("latin-1"), _header_value(value)) for name, value in items]


def _header_value(value: str) -> bytes:
    clean = value.replace("\r", "").replace("\n", "")
    try:
        return clean.encode("latin-1")
    except UnicodeEncodeError:
        return quote(clean, safe=" !#$&'()*+,/:;=?@[]~%").encode("ascii")


def cookie_header(cookie: Mapping[str, Any], value: str | None, *, secure: bool) -> tuple[bytes, bytes]:
    """`Set-Cookie`; without a value the cookie is taken away."""
    jar = SimpleCookie()
    name = str(cookie["name"])
    jar[name] = value or ""
    jar[name]["path"] = cookie.get("path", "/")
    jar[name]["httponly"] = True
    jar[name]["samesite"] = "Lax"
    if secure:
        jar[name]["secure"] = True
    if value is None:
        jar[name]["max-age"] = 0
    elif cookie.get("maxAge") is not None:
        jar[name]["max-age"] = cookie["maxAge"]
    return b"set-cookie", jar[name].OutputString().encode("latin-1", "replace")


async def send_bytes(send: Send, status: int, body: bytes, headers: Headers, *, head: bool = False) -> None:
    """A whole answer at once; for HEAD without its body."""
    length = (b"content-length", str(len(body)).encode())
    bodiless = status in (204, 304)
    await send(
        {"type": "http.response.start", "status": status, "headers": headers if bodiless else [*headers, length]}
    )
    await send({"type": "http.response.body", "body": b"" if head or bodiless else body})


def dumped(body: Any) -> bytes:
    """The body as JSON."""
    return orjson.dumps(body)


# Bytes.


async def send_blob(
    send: Send, blob: Blob, request_headers: Mapping[str, str], headers: Headers, *, head: bool
) -> None:
    """Stored bytes: the part asked for, or all of them. Raises Refusal for a range that is none."""
    tag = blob.etag
    headers = [*headers, (b"content-type", blob.media_type.encode("latin-1", "replace")), (b"accept-ranges", b"bytes")]
    headers += [(b"content-disposition", _disposition(blob)), (b"content-security-policy", b"sandbox")]
    if tag is not None:
        headers.append((b"etag", tag.encode()))
        if matches(tag, request_headers.get("if-none-match")):
            await send_bytes(send, 304, b"", headers)
            return
    start, end = 0, blob.size
    asked = _range(request_headers, blob)
    if asked is not None:
        start, end = asked
        headers.append((b"content-range", f"bytes {start}-{end - 1}/{blob.size}".encode()))
    headers.append((b"content-length", str(end - start).encode()))
    await send({"type": "http.response.start", "status": 200 if asked is None else 206, "headers": headers})
    if not head:
        async for chunk in blob.read(start, end):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def _range(headers: Mapping[str, str], blob: Blob) -> tuple[int, int] | None:
    """The one range asked for, its end exclusive; None for all. Several ranges are answered with all."""
    header = headers.get("range")
    condition = headers.get("if-range")
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or (condition is not None and condition != blob.etag):
        return None
    first, last = match.groups()
    if not first and not last:
        return None
    start = int(first) if first else max(0, blob.size - int(last))
    end = min(int(last) + 1, blob.size) if first and last else blob.size
    if start >= end:
        raise Refusal(
            "RANGE_NOT_SATISFIABLE", "the range is beyond the file", headers={"content-range": f"bytes */{blob.size}"}
        )
    return start, end


def _disposition(blob: Blob) -> bytes:
    """The file's name in a form no name can break out of (RFC 6266)."""
    plain = "".join(char for char in blob.name if 32 <= ord(char) < 127 and char not in '"\\%')
    kind = "inline" if blob.inline else "attachment"
    value = f'{kind}; filename="{plain}"'
    if plain != blob.name:
        value += f"; filename*=UTF-8''{quote(''.join(c for c in blob.name if c.isprintable()), safe='')}"
    return value.encode()


# Streams.


def sse_frame(data: bytes, *, event: str | None = None, id: str | None = None) -> bytes:
    """One event; line ends are LF, the data is one line of JSON."""
    head = (f"id: {_line(id)}\n" if id is not None else "") + (f"event: {_line(event)}\n" if event else "")
    return head.encode() + b"data: " + data + b"\n\n"


def _line(text: str) -> str:
    return text.replace("\r", "").replace("\n", "").replace("\x00", "")
