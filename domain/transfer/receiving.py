"""What is to be imported, whichever way it comes, as one file."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import IO, Any
from uuid import UUID

from domain.kernel.ctx import Ctx
from domain.kernel.errors import Invalid, TooLarge
from domain.kernel.upload import Upload
from domain.storage import objects
from domain.transfer.formats import Format, format_of

BYTES_MAX = 512 * 2**20


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in storage."""

    bucket: str
    id: UUID


@dataclass(frozen=True, slots=True)
class Given:
    """What to import: one of a file that comes with the call, a text, a list of records, or a file in storage."""

    file: Upload | None = None
    text: str | None = None
    rows: Sequence[Any] | None = None
    stored: StoredFile | None = None


def format_given(given: Given, said: Format | None) -> Format:
    """The format that was said, or the one that the file's name tells. Raises Invalid."""
    if said is not None:
        return said
    named = format_of(given.file.filename, given.file.content_type) if given.file is not None else None
    if named is None:
        raise Invalid("format", "format must be given where the file's name doesn't tell it")
    return named


async def received(ctx: Ctx, given: Given, file: IO[bytes]) -> None:
    """All that is given, in `file`. Raises TooLarge, Invalid, Missing."""
    size = 0
    async for chunk in _chunks(ctx, given):
        size += len(chunk)
        if size > BYTES_MAX:
            raise TooLarge(f"the file is larger than {BYTES_MAX} bytes", field="file")
        await asyncio.to_thread(file.write, chunk)
    file.seek(0)


async def _chunks(ctx: Ctx, given: Given) -> AsyncIterator[bytes]:
    if given.text is not None:
        yield given.text.encode("utf-8", "replace")
    elif given.file is not None:
        async for chunk in given.file.chunks():
            yield chunk
    elif given.stored is not None:
        stored = given.stored
        found = await ctx.apart(lambda own: objects.readable(own, stored.bucket, stored.id))
        assert found.blob_id is not None
        async with aclosing(ctx.ports.blobs.open(found.blob_id, 0, found.size_bytes)) as chunks:
            async for chunk in chunks:
                yield chunk
