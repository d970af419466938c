"""Files on their way between the REST engine and the domain."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

from domain.kernel.errors import Code, DomainError, Invalid, TooLarge
from domain.storage import links
from domain.storage.ports import BlobStore
from graph.run import Runner
from graph.storage import FILES
from rest_compat.engine.backend import Blob, Elsewhere
from rest_compat.engine.blobs import disposition
from rest_compat.engine.call import Upload
from rest_compat.engine.errors import Refusal


class SentFile:
    """A file that came with a request, as a `domain.kernel.upload.Upload`."""

    def __init__(self, upload: Upload) -> None:
        self.filename = upload.filename
        self.content_type = upload.content_type
        self.size_bytes = upload.size_bytes
        self._upload = upload

    async def chunks(self) -> AsyncIterator[bytes]:
        """The bytes, as they come."""
        try:
            async for chunk in self._upload.chunks():
                yield chunk
        except Refusal as refused:
            if refused.code == Code.PAYLOAD_TOO_LARGE:
                raise TooLarge(refused.message) from refused
            raise Invalid("file", refused.message) from refused


def received(variables: Mapping[str, Any]) -> dict[str, Any]:
    """The variables, with the files among them as the domain takes them."""
    return {name: _sent(value) if isinstance(value, Upload | list) else value for name, value in variables.items()}


def _sent(value: Any) -> Any:
    if isinstance(value, list):
        return [_sent(part) for part in value]
    return SentFile(value) if isinstance(value, Upload) else value


@dataclass(slots=True)
class StoredBlob:
    """See `rest_compat.engine.backend.Blob`."""

    id: UUID
    store: BlobStore
    name: str
    media_type: str
    size: int
    etag: str | None
    modified: datetime | None
    inline: bool

    async def read(self, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """The bytes from `start` up to, not including, `end`."""
        try:
            async with aclosing(self.store.open(self.id, start, end)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except DomainError as refused:
            raise Refusal(refused.code, refused.message, retry_after_s=refused.retry_after_s) from refused


async def opened(runner: Runner, reference: str) -> Blob | Elsewhere:
    """The bytes behind a reference of ours. Raises Refusal."""
    try:
        found = await runner.look(partial(links.opened, token=reference.removeprefix(FILES)))
        elsewhere = await _elsewhere(runner, found)
    except DomainError as refused:
        raise Refusal(refused.code, refused.message, retry_after_s=refused.retry_after_s) from refused
    return elsewhere or _blob(runner.ports.blobs, found)


def _blob(store: BlobStore, found: links.Opened) -> StoredBlob:
    row = found.row
    return StoredBlob(
        id=_blob_id(found),
        store=store,
        name=row.name,
        media_type=row.media_type,
        size=row.size_bytes,
        etag=f'"{row.sha256}"',
        modified=row.created_at,
        inline=found.shown,
    )


async def _elsewhere(runner: Runner, found: links.Opened) -> Elsewhere | None:
    """A URL of the store's own, where those are handed out."""
    if not runner.ports.direct_downloads:
        return None
    life_s = max(1, int((found.expires_at - datetime.now(UTC)).total_seconds()))
    saved = disposition(found.row.name, inline=found.shown)
    url = await runner.ports.blobs.presigned_get(_blob_id(found), life_s, found.row.media_type, saved)
    return None if url is None else Elsewhere(url)


def _blob_id(found: links.Opened) -> UUID:
    assert found.row.blob_id is not None  # nobody is given a reference to a folder
    return found.row.blob_id
