"""Blobs as files of a folder.

A blob is written beside its place, as `<id>.part`, made durable, and renamed: it is there whole, or not at all, also
when the process is killed or the machine loses power. The last three digits of the id, which are random, choose one
of 4096 folders.
"""

import os
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from domain.kernel.errors import Missing, Unavailable
from infra.logs import get_logger
from infra.storage.threads import in_thread

THREADS = 4
READ_BYTES = 2**18
PART = ".part"

log = get_logger(__name__)


class FolderBlobs:
    """See `domain.storage.ports.BlobStore`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="blobs")

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(wait=False)

    def _path(self, id: UUID) -> Path:
        return self._folder / id.hex[-3:] / id.hex

    async def put(self, id: UUID, blocks: AsyncIterator[bytes]) -> None:
        """Keep these bytes."""
        path = self._path(id)
        part = path.with_name(path.name + PART)
        try:
            file = await in_thread(self._threads, self._create, part)
            try:
                async for block in blocks:
                    await in_thread(self._threads, file.write, block)
                await in_thread(self._threads, _make_durable, file)
            finally:
                file.close()
            await in_thread(self._threads, _publish, part, path)
        except BaseException as problem:
            with suppress(OSError):  # `delete` finds what is left
                part.unlink()
            if isinstance(problem, OSError):
                raise _unavailable(problem) from problem
            raise

    def _create(self, part: Path) -> BinaryIO:
        if not part.parent.exists():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            part.parent.mkdir(mode=0o700, exist_ok=True)
            _sync_folder(self._folder)
        return open(part, "xb", buffering=0, opener=_private)

    async def open(self, id: UUID, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """The bytes from `start` up to, not including, `end`."""
        try:
            file = await in_thread(self._threads, _opened, self._path(id), start)
            try:
                while start < end and (
                    chunk := await in_thread(self._threads, file.read, min(READ_BYTES, end - start))
                ):
                    start += len(chunk)
                    yield chunk
            finally:
                file.close()
        except FileNotFoundError as gone:
            raise Missing("file not found") from gone
        except OSError as problem:
            raise _unavailable(problem) from problem

    async def delete(self, id: UUID) -> None:
        """Let the bytes go."""
        path = self._path(id)
        try:
            for each in (path, path.with_name(path.name + PART)):
                await in_thread(self._threads, each.unlink, True)
        except OSError as problem:
            raise _unavailable(problem) from problem

    async def presigned_get(self, id: UUID, life_s: int, media_type: str, disposition: str) -> str | None:
        """A folder is read through us."""
        return None

    async def presigned_put(self, id: UUID, life_s: int, size_bytes: int) -> str | None:
        """A folder is written through us."""
        return None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _opened(path: Path, start: int) -> BinaryIO:
    file = open(path, "rb", buffering=0)  # noqa: SIM115
    file.seek(start)
    return file


def _make_durable(file: BinaryIO) -> None:
    os.fsync(file.fileno())


def _publish(part: Path, path: Path) -> None:
    part.rename(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unavailable(problem: OSError) -> Unavailable:
    log.warning("blob_folder_failed", error=str(problem))
    return Unavailable("files cannot be kept or read at the moment, try again", retry_after_s=5)
