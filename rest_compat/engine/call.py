"""One request, read as far as it is asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import IO, Any
from urllib.parse import parse_qsl

import jiter
from python_multipart.exceptions import FormParserError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive, Scope

from rest_compat.engine.errors import Refusal, invalid

QUERY_PARAMETERS_MAX = 1_000
FORM_FIELDS_MAX = 1_000
FORM_FILES_MAX = 100
SPOOL_BYTES = 2**20  # of an upload, what stays in memory


@dataclass(slots=True)
class Upload:
    """A file that came with a request. `file` is open at its beginning, and closed when the request ends."""

    file: IO[bytes]
    filename: str
    content_type: str | None
    size_bytes: int


class Call:
    """A request of a route. Its body is read once, as what the route wants it to be."""

    def __init__(self, scope: Scope, receive: Receive, path_values: Sequence[str], body_bytes_max: int) -> None:
        self._received = 0
        self._most = body_bytes_max
        self._receive = receive
        self.request = Request(scope, self._counted)
        self.path_values = path_values
        self._query: dict[str, list[str]] | None = None
        self._form: FormData | None = None
        self._spools: list[IO[bytes]] = []

    @property
    def media_type(self) -> str:
        """Of the body, in lower case, without parameters."""
        return self.request.headers.get("content-type", "").partition(";")[0].strip().lower()

    async def _counted(self) -> Message:
        message = await self._receive()
        self._received += len(message.get("body", b""))
        if self._received > self._most:
            raise Refusal("PAYLOAD_TOO_LARGE", f"the body is larger than {self._most} bytes")
        return message

    def refuse_too_large(self) -> None:
        """Raises Refusal when the body says it is larger than we take."""
        declared = self.request.headers.get("content-length", "0")
        if declared.isdigit() and int(declared) > self._most:
            raise Refusal("PAYLOAD_TOO_LARGE", f"the body is larger than {self._most} bytes")

    @property
    def query(self) -> Mapping[str, list[str]]:
        """The query string's values by name. Raises Refusal for what is no text."""
        if self._query is None:
            self._query = _query(self.request.scope["query_string"])
        return self._query

    async def body(self) -> bytes:
        """The whole body."""
        self.refuse_too_large()
        try:
            return await self.request.body()
        except ClientDisconnect as gone:
            raise invalid(None, "the body ended before it was whole") from gone

    async def json(self, *, optional: bool) -> Any:
        """The body as JSON; an empty one counts as `{}` where all of it is optional. Raises Refusal."""
        raw = await self.body()
        if not raw and optional:
            return {}
        media_type = self.media_type
        if media_type and media_type != "application/json" and not media_type.endswith("+json"):
            raise Refusal("UNSUPPORTED_MEDIA_TYPE", f"the body must be application/json, not {media_type[:80]}")
        return parse_json(raw)

    async def form(self) -> FormData:
        """The fields and files of a form. Raises Refusal."""
        if self._form is not None:
            return self._form
        self.refuse_too_large()
        if self.media_type not in ("multipart/form-data", "application/x-www-form-urlencoded"):
            raise Refusal("UNSUPPORTED_MEDIA_TYPE", "the body must be a form")
        try:
            self._form = await self.request.form(
                max_files=FORM_FILES_MAX, max_fields=FORM_FIELDS_MAX, max_part_size=2**20
            )
        except (MultiPartException, FormParserError, UnicodeDecodeError, KeyError) as bad:
            raise invalid(None, "the form cannot be read") from bad
        except ClientDisconnect as gone:
            raise invalid(None, "the body ended before it was whole") from gone
        except Exception as bad:
            if type(bad).__name__ == "HTTPException":  # Starlette's way to say the same
                raise invalid(None, "the form cannot be read") from bad
            raise
        return self._form

    async def file(self, name: str) -> Upload | None:
        """The file of that name (`*` for the first there is) in a form, or a raw body as a file."""
        if self.media_type != "multipart/form-data":
            return await self.raw()
        for key, value in (await self.form()).multi_items():
            if isinstance(value, UploadFile) and name in ("*", key):
                return Upload(value.file, value.filename or "", value.content_type, value.size or 0)
        return None

    async def raw(self) -> Upload | None:
        """The body as it came, spooled to disk as it grows; None for an empty one."""
        self.refuse_too_large()
        spool: IO[bytes] = SpooledTemporaryFile(SPOOL_BYTES)  # noqa: SIM115
        self._spools.append(spool)
        size = 0
        try:
            async for chunk in self.request.stream():
                spool.write(chunk)
                size += len(chunk)
        except ClientDisconnect as gone:
            raise invalid(None, "the body ended before it was whole") from gone
        spool.seek(0)
        return Upload(spool, "", self.media_type or None, size) if size else None

    async def close(self) -> None:
        """Let go of what the body was kept in."""
        if self._form is not None:
            await self._form.close()
        for spool in self._spools:
            spool.close()


def parse_json(raw: bytes) -> Any:
    """JSON as it is defined: no NaN, no repeated keys, no other encoding. Raises Refusal."""
    try:
        return jiter.from_json(raw, allow_inf_nan=False, catch_duplicate_keys=True)
    except ValueError as error:
        raise invalid(None, f"invalid JSON: {error}") from error


def _query(raw: bytes) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    if not raw:
        return values
    try:
        pairs = parse_qsl(
            raw.decode("ascii"),
            keep_blank_values=True,
            encoding="utf-8",
            errors="strict",
            max_num_fields=QUERY_PARAMETERS_MAX,
        )
    except ValueError as error:
        raise invalid(None, "the query string is not UTF-8, or too long") from error
    for name, value in pairs:
        if "\x00" in name or "\x00" in value:
            raise invalid(name.replace("\x00", ""), "the query string holds U+0000")
        values.setdefault(name, []).append(value)
    return values
