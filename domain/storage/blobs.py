"""Bytes from a sender to the store, and out of it again.

An id is written down before the first byte is stored, with a time after which a chore takes bytes and row away. What
refers to the bytes in the end keeps them, in its own transaction; deleting that sets the time again.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import select, update

from domain.kernel.ctx import Ctx
from domain.kernel.errors import Conflict, Invalid, Reason, TooLarge
from domain.kernel.ids import uuid7
from domain.kernel.upload import Upload
from domain.storage.model import Blob

UPLOAD_S_MAX = 3600.0
ABANDONED_AFTER = timedelta(seconds=2 * UPLOAD_S_MAX)  # what is not kept by then never will be
BLOCK_BYTES = 2**20
SWEEP_AT_ONCE = 20

Admit = Callable[[Ctx], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes in the store. `sha256` is in hex."""

    id: UUID
    size_bytes: int
    sha256: str


async def receive(ctx: Ctx, upload: Upload, admit: Admit, size_bytes: int | None = None) -> Content:
    """Store the bytes of `upload` and keep them, for what this operation is about to make of them.

    `admit` is asked first, in a unit of its own: it refuses what can be refused before a byte is read, and says how
    many bytes may come; `size_bytes`, if given, is how many must. To be called before the operation asks the database
    for anything, so that it holds no connection while they do. Raises as `store` and `keep` do.
    """

    async def admitted(apart: Ctx) -> tuple[UUID, int]:
        apart.enter(ctx.tenant_id)
        bytes_max = await admit(apart)
        bytes_max = bytes_max if size_bytes is None else min(bytes_max, size_bytes)
        check_size(upload.size_bytes, bytes_max)
        return await announce(apart), bytes_max

    id, bytes_max = await ctx.apart(admitted)
    content = await store(ctx, id, upload, bytes_max)
    if size_bytes is not None and content.size_bytes != size_bytes:
        raise Invalid("file", f"the file has {content.size_bytes} bytes, {size_bytes} were announced")
    await keep(ctx, content)
    return content


async def announce(ctx: Ctx) -> UUID:
    """The id of a blob that is about to be stored. To be committed before its first byte is."""
    blob = await ctx.add(Blob(id=uuid7(), expires_at=ctx.now + ABANDONED_AFTER))
    return blob.id


async def store(ctx: Ctx, id: UUID, upload: Upload, bytes_max: int) -> Content:
    """Store the bytes of `upload` as the announced blob, which nothing keeps yet.

    Should the operation be refused they are given up. Raises TooLarge; Invalid on `file`; TimedOut, Unavailable.
    """
    ctx.if_refused(lambda later: _give_up(later, id))
    check_size(upload.size_bytes, bytes_max)
    passing = _Measured(upload, bytes_max)
    await ctx.outside(ctx.ports.blobs.put(id, passing.blocks()), UPLOAD_S_MAX)
    check_size(passing.size_bytes, bytes_max)
    return Content(id, passing.size_bytes, passing.sha256)


async def keep(ctx: Ctx, content: Content) -> None:
    """Keep the bytes from now on: something refers to them. Raises Conflict when they were given up meanwhile."""
    kept = await ctx.execute(
        update(Blob)
        .where(Blob.tenant_id == ctx.tenant_id, Blob.id == content.id, Blob.expires_at > ctx.now)
        .values(size_bytes=content.size_bytes, expires_at=None)
    )
    if kept.rowcount != 1:  # type: ignore[attr-defined]
        raise Conflict("the file took too long to arrive, send it again")


def check_size(size_bytes: int | None, bytes_max: int) -> None:
    """Raises TooLarge; Invalid on `file` for none at all."""
    if size_bytes == 0:
        raise Invalid("file", "the file is empty")
    if size_bytes is not None and size_bytes > bytes_max:
        raise TooLarge(f"the file is larger than {bytes_max} bytes", field="file", reason=Reason.FILE_TOO_LARGE)


class _Measured:
    """The bytes of an upload on their way: counted, hashed, and gathered into blocks that are worth a write."""

    def __init__(self, upload: Upload, bytes_max: int) -> None:
        self.size_bytes = 0
        self._upload = upload
        self._bytes_max = bytes_max
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Of what has passed so far."""
        return self._hash.hexdigest()

    async def blocks(self) -> AsyncIterator[bytes]:
        """All of it. Raises TooLarge with the first byte that is too many."""
        waiting = bytearray()
        async for chunk in self._upload.chunks():
            self.size_bytes += len(chunk)
            check_size(self.size_bytes or None, self._bytes_max)
            waiting += chunk
            if len(waiting) >= BLOCK_BYTES:
                yield await self._hashed(bytes(waiting))
                waiting.clear()
        if waiting:
            yield await self._hashed(bytes(waiting))

    async def _hashed(self, block: bytes) -> bytes:
        await asyncio.to_thread(self._hash.update, block)
        return block


async def _give_up(ctx: Ctx, id: UUID) -> None:
    await ctx.execute(update(Blob).where(Blob.id == id, Blob.expires_at > ctx.now).values(expires_at=ctx.now))


async def sweep(ctx: Ctx) -> int:
    """Take away some of the bytes whose time is over, of all tenants. Returns of how many blobs.

    The bytes go first: whoever is stopped in between does it again.
    """
    over = select(Blob).where(Blob.expires_at <= ctx.now).limit(SWEEP_AT_ONCE).with_for_update(skip_locked=True)
    rows = await ctx.all(over)
    await asyncio.gather(*(ctx.ports.blobs.delete(row.id) for row in rows))
    for row in rows:
        await ctx.remove(row)
    return len(rows)
