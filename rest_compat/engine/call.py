"""One request, read as far as it is asked for."""

import asyncio
import math
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import IO, Any
from urllib.parse import unquote_plus

import jiter
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive, Scope

from rest_compat.engine.errors import Refusal, invalid

PARAMETERS_MAX = 1_000  # of a query string or a form
FORM_FILES_MAX = 100
FORM_TEXT_BYTES_MAX = 2**20
CHUNK_BYTES = 2**18
HEARD_OUT_BYTES_MAX = 2**20

JSON = "application/json"
MULTIPART = "multipart/form-data"
URL_ENCODED = "application/x-www-form-urlencoded"
FORMS = frozenset({MULTIPART, URL_ENCODED})

Texts = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True, eq=False)
class Upload:
    """A file that comes with a request.

    A form was read as a whole: its files wait on disk, `file` at its beginning, until the request ends. A body that is
    the file is read when its chunks are, so that whoever takes them may refuse the rest; its size is what the head of
    the request says, if it does.
    """

    filename: str
    content_type: str | None
    size_bytes: int | None
    source: AsyncIterator[bytes]
    file: IO[bytes] | None = None

    def chunks(self) -> AsyncIterator[bytes]:
        """The bytes, once. Raises Refusal when there are more than we take, or fewer than were promised."""
        return self.source


@dataclass(frozen=True, slots=True)
class Form:
    """What a form holds, by name."""

    texts: Texts
    files: Mapping[str, Sequence[Upload]]


class Call:
    """A request of a route. Its body is read once, as what the route wants it to be."""

    def __init__(self, scope: Scope, receive: Receive, path_values: Sequence[str], body_bytes_max: int) -> None:
        self._received = 0
        self._whole = False
        self._most = body_bytes_max
        self._receive = receive
        self.request = Request(scope, self._counted)
        self.path_values = path_values
        self._multipart: FormData | None = None
        self._chunks: AsyncGenerator[bytes, None] | None = None
        self._body: bytes | None = None

    # The head.

    @cached_property
    def media_type(self) -> str:
        """Of the body, in lower case, without parameters."""
        return self.request.headers.get("content-type", "").partition(";")[0].strip().lower()

    @cached_property
    def query(self) -> Texts:
        """The query string's values by name. Raises Refusal for what is no text."""
        return _pairs(self.request.scope["query_string"], "the query string")

    def header(self, name: str) -> Sequence[str]:
        """The values of the headers of that name. Raises Refusal for what is no text."""
        wanted = name.lower().encode()
        try:
            values = [value.decode() for key, value in self.request.scope["headers"] if key == wanted]
        except UnicodeDecodeError as error:
            raise invalid(name, f"the header {name} is not UTF-8") from error
        return _entity_tags(values) if wanted in _ABOUT_TAGS else values

    def cookie(self, name: str) -> Sequence[str]:
        """The value of the cookie of that name, as a list."""
        value = self.request.cookies.get(name)
        return [] if value is None else [value]

    # The body.

    async def _counted(self) -> Message:
        message = await self._receive()
        self._received += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        if self._most and self._received > self._most:
            raise self._too_large()
        return message

    @property
    def leaves_much(self) -> bool:
        """Whether so much of the body is still to come that it is better not to hear it out."""
        if self._declared is not None:
            return self._declared - self._received > HEARD_OUT_BYTES_MAX
        return "transfer-encoding" in self.request.headers and not self._whole

    def _too_large(self) -> Refusal:
        return Refusal("PAYLOAD_TOO_LARGE", f"the body is larger than {self._most} bytes")

    @cached_property
    def _declared(self) -> int | None:
        """How many bytes the head says the body has; of a number too long to be one, what is beyond any bound."""
        text = self.request.headers.get("content-length", "")
        return int(text[:19]) if text.isdecimal() else None

    def _refuse_unreadable(self) -> None:
        """Raises Refusal for a body we don't take, before any of it is read."""
        if (self._declared or 0) > self._most > 0:
            raise self._too_large()
        coding = self.request.headers.get("content-encoding", "identity").strip().lower()
        if coding != "identity":
            raise Refusal("UNSUPPORTED_MEDIA_TYPE", "the body must come without a Content-Encoding")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Around the reading of the body. Raises Refusal for one we don't take."""
        self._refuse_unreadable()
        try:
            yield
        except ClientDisconnect as gone:
            raise _broken_off() from gone

    async def body(self) -> bytes:
        """The whole body. Raises Refusal."""
        if self._body is None:
            self._refuse_unreadable()
            parts = []
            while not self._whole:
                message = await self._counted()
                if message["type"] == "http.disconnect":
                    raise _broken_off()
                parts.append(message.get("body", b""))
            self._body = parts[0] if len(parts) == 1 else b"".join(parts)
        return self._body

    async def json(self, *, optional: bool) -> Any:
        """The body as JSON; an empty one counts as `{}` where all of it is optional. Raises Refusal."""
        raw = await self.body()
        if not raw and optional:
            return {}
        if self.media_type and not is_json(self.media_type):
            raise Refusal("UNSUPPORTED_MEDIA_TYPE", f"the body must be {JSON}, not {self.media_type[:80]}")
        if not raw:
            raise invalid(None, "the body must be JSON, and is empty")
        return parse_json(raw)

    async def form(self) -> Form:
        """The fields and files of a form. Raises Refusal."""
        if self.media_type == MULTIPART:
            return await self._parts()
        if self.media_type == URL_ENCODED or not await self.body():
            return Form(_pairs(await self.body(), "the form"), {})
        raise Refusal("UNSUPPORTED_MEDIA_TYPE", "the body must be a form")

    async def _parts(self) -> Form:
        with self._reading():
            parser = MultiPartParser(
                self.request.headers,
                self.request.stream(),
                max_files=FORM_FILES_MAX,
                max_fields=PARAMETERS_MAX,
                max_part_size=FORM_TEXT_BYTES_MAX,
            )
            try:
                self._multipart = await parser.parse()
            except MultiPartException as bad:
                raise invalid(None, "the form cannot be read") from bad
        texts: dict[str, list[str]] = {}
        files: dict[str, list[Upload]] = {}
        for name, value in self._multipart.multi_items():
            if isinstance(value, UploadFile):
                refuse_nul(name, value.filename or "")
                source = _from_disk(value.file)
                upload = Upload(value.filename or "", value.content_type, value.size, source, value.file)
                files.setdefault(name, []).append(upload)
            else:
                refuse_nul(name, value)
                texts.setdefault(name, []).append(value)
        return Form(texts, files)

    async def raw(self) -> Upload | None:
        """The body as it comes, hardly read yet; None for an empty one."""
        if self._declared == 0:
            return None
        self._chunks = chunks = self._stream()
        with self._reading():
            if self._declared is None:  # only reading tells whether there is one
                first = await anext(chunks, b"")
                return Upload("", self.media_type or None, None, _after(first, chunks)) if first else None
            return Upload("", self.media_type or None, self._declared, chunks)

    async def _stream(self) -> AsyncGenerator[bytes, None]:
        with self._reading():
            async for chunk in self.request.stream():
                if chunk:
                    yield chunk

    async def close(self) -> None:
        """Let go of what the body was kept in."""
        if self._multipart is not None:
            await self._multipart.close()
        if self._chunks is not None:
            await self._chunks.aclose()


def _broken_off() -> Refusal:
    return invalid(None, "the body ended before it was whole")


async def _from_disk(file: IO[bytes]) -> AsyncGenerator[bytes, None]:
    while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
        yield chunk


async def _after(first: bytes, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    yield first
    async for chunk in chunks:
        yield chunk


def is_json(media_type: str) -> bool:
    """Whether a body of that type is read as JSON."""
    return media_type == JSON or media_type.endswith("+json")


# Headers.

_ABOUT_TAGS = frozenset({b"if-match", b"if-none-match"})


def _entity_tags(values: Sequence[str]) -> list[str]:
    """The tags that a condition names, bare of quotes; any tag, and none at all, are no condition on a value."""
    tags = [tag.strip().removeprefix("W/").strip('"') for value in values for tag in value.split(",")]
    return [tag for tag in tags if tag not in ("", "*")]


# JSON.

# What may have become infinite, or hold U+0000; most bodies have neither and need no second look.
_SUSPECT = re.compile(rb"[0-9][eE]\+?[0-9]{2}|[0-9]{300}|\\u0000")


def parse_json(raw: bytes) -> Any:
    """JSON as it is defined, with values that can be kept: no NaN, no repeated keys, no U+0000. Raises Refusal."""
    try:
        value = jiter.from_json(raw, allow_inf_nan=False, catch_duplicate_keys=True)
    except ValueError as error:
        raise invalid(None, f"invalid JSON: {error}") from error
    if _SUSPECT.search(raw):
        _inspect(value, ())
    return value


def _inspect(value: Any, path: tuple[str, ...]) -> None:
    where = ".".join(path) or None
    if isinstance(value, str):
        refuse_nul(where or "the body", value)
    elif isinstance(value, float) and math.isinf(value):
        raise invalid(where, f"{where or 'the body'} is a number beyond what can be kept")
    elif isinstance(value, list):
        for index, part in enumerate(value):
            _inspect(part, (*path, str(index)))
    elif isinstance(value, dict):
        for key, part in value.items():
            refuse_nul(where or "the body", key)
            _inspect(part, (*path, key))


# Texts.


def _pairs(raw: bytes, what: str) -> Texts:
    """The values of a URL-encoded text by name. Raises Refusal for what is no text."""
    values: dict[str, list[str]] = {}
    if not raw:
        return values
    try:
        pieces = raw.decode("ascii").split("&", PARAMETERS_MAX)
        if len(pieces) > PARAMETERS_MAX:
            raise ValueError("too many")
        pairs = [tuple(map(_plain, piece.partition("=")[::2])) for piece in pieces if piece]
    except ValueError as error:
        raise invalid(None, f"{what} is not UTF-8, or has more than {PARAMETERS_MAX} values") from error
    suspect = b"\x00" in raw or b"%00" in raw
    for name, value in pairs:
        if suspect:
            refuse_nul(name, value)
        values.setdefault(name, []).append(value)
    return values


def _plain(text: str) -> str:
    """What a percent-encoded text stands for. Raises UnicodeDecodeError."""
    return unquote_plus(text, errors="strict") if "%" in text or "+" in text else text


def refuse_nul(name: str, value: str) -> None:
    """Raises Refusal where a name or a text holds U+0000, which no text of ours may."""
    if "\x00" in name or "\x00" in value:
        shown = name.replace("\x00", "")
        raise invalid(shown, f"{shown} must not hold the character U+0000")
