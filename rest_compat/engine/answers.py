"""Answers on their way out: their headers, and bodies that are sent at once."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import quote

import orjson
from starlette.types import Send

Headers = list[tuple[bytes, bytes]]

JSON = "application/json"
HTML = "text/html"
# Nothing is loaded from anywhere, and nobody is told where people came from: the address may hold what is secret.
PAGE_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-robots-tag": "noindex",
}
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


# Headers.


def text_headers(pairs: Mapping[str, str] | Sequence[tuple[str, str]]) -> Headers:
    """Header pairs as bytes. Line ends in a value would make headers of somebody else's, and are taken out."""
    items = pairs.items() if isinstance(pairs, Mapping) else pairs
    return [(name.lower().encode("latin-1"), _header_value(name.lower(), value)) for name, value in items]


def _header_value(name: str, value: str) -> bytes:
    clean = _CONTROLS.sub("", value).strip()
    if name == "etag":
        return quoted_tag(clean).encode("ascii", "replace")
    if name == "location" or not clean.isascii():
        return quote(clean, safe=" !#$&'()*+,/:;=?@[]~%\"").encode("ascii")
    return clean.encode("ascii")


@lru_cache(64)
def of_type(media_type: str) -> Headers:
    """The header that says what a body is."""
    return text_headers({"content-type": media_type})


def with_defaults(headers: Headers, defaults: Headers) -> Headers:
    """The headers, and those of the defaults that aren't among them."""
    present = {name for name, _ in headers}
    return [*headers, *[pair for pair in defaults if pair[0] not in present]]


def cookie_header(cookie: Mapping[str, Any], value: str | None, *, secure: bool) -> tuple[bytes, bytes]:
    """`Set-Cookie`; without a value the cookie is taken away."""
    jar = SimpleCookie()
    name = str(cookie["name"])
    jar[name] = _CONTROLS.sub("", value or "")
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


# Entity tags.


def etag_of(body: bytes) -> str:
    """The strong entity tag of these bytes."""
    return f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'


def quoted_tag(tag: str) -> str:
    """An entity tag as HTTP writes it; a bare version number, say, gets its quotes."""
    if tag.removeprefix("W/").startswith('"'):
        return tag
    return '"' + tag.replace('"', "") + '"'


def matches(tag: str, header: str | None) -> bool:
    """Whether an `If-None-Match` names the tag (weak comparison)."""
    if header is None:
        return False
    named = {part.strip().removeprefix("W/") for part in header.split(",")}
    return "*" in named or tag.removeprefix("W/") in named


# What the caller takes.


def accepts(header: str | None, media_type: str) -> bool:
    """Whether an `Accept` takes the media type: the range that fits closest decides."""
    if header is None or header.strip() in ("", "*/*"):
        return True
    name = media_type.partition(";")[0].strip().lower()
    closest = (name, f"{name.partition('/')[0]}/*", "*/*")
    ranges = dict(_weighed(part) for part in header.split(","))
    return next((ranges[known] > 0 for known in closest if known in ranges), False)


def _weighed(part: str) -> tuple[str, float]:
    """A media range and its quality; one that is no number counts as 1."""
    name, *parameters = (piece.strip().lower() for piece in part.split(";"))
    for parameter in parameters:
        match = re.fullmatch(r"q\s*=\s*([01](?:\.[0-9]{0,3})?)", parameter)
        if match is not None:
            return name, float(match[1])
    return name, 1.0


# Bodies.


def dumped(body: Any) -> bytes:
    """The body as JSON."""
    try:
        return orjson.dumps(body)
    except TypeError:  # whole numbers of more than 64 bits, which JSON has no bound for
        return json.dumps(body, ensure_ascii=False, separators=(",", ":"), default=_parsed).encode("utf-8", "replace")


def _parsed(fragment: Any) -> Any:
    return json.loads(orjson.dumps(fragment))


async def send_bytes(send: Send, status: int, body: bytes, headers: Headers, *, head: bool = False) -> None:
    """A whole answer at once; for HEAD without its body."""
    length = (b"content-length", str(len(body)).encode())
    bodiless = status in (204, 304)
    await send(
        {"type": "http.response.start", "status": status, "headers": headers if bodiless else [*headers, length]}
    )
    await send({"type": "http.response.body", "body": b"" if head or bodiless else body})
