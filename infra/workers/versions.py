"""The unpacked versions of a host's apps: each in a folder of its own, there whole or not at all."""

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from uuid import UUID

from domain.storage.ports import BlobStore
from infra.workers.unpacking import unpack

WORK = "making-"
UNUSED_S = 900.0  # longer than it takes to make one and to put it to use

Finish = Callable[[Path, Path], Awaitable[None]]


class Versions:
    """A folder of unpacked versions. It is a cache: what is missing is made from its archive again.

    A machine that lost its power may have kept a folder and lost what was in it, so versions are good for as long as
    the machine runs. Several processes may share the folder.
    """

    def __init__(self, folder: Path, blobs: BlobStore) -> None:
        self._folder = folder
        self._blobs = blobs
        self._boot = _boot()
        self._making: dict[UUID, asyncio.Task[Path]] = {}
        folder.mkdir(mode=0o711, parents=True, exist_ok=True)

    def _path(self, id: UUID) -> Path:
        return self._folder / f"{id.hex}-{self._boot}"

    async def get(self, id: UUID, blob_id: UUID, size_bytes: int, finish: Finish | None = None) -> Path:
        """The folder of a version; made, where it is not there, from its archive, and by `finish` of what that holds.

        Raises BadArchive, what `finish` raises, Missing, Unavailable.
        """
        path = self._path(id)
        if path.is_dir():
            return path
        if id not in self._making:
            task = self._making[id] = asyncio.create_task(self._make(id, blob_id, size_bytes, finish))
            task.add_done_callback(lambda _: self._making.pop(id))
        return await asyncio.shield(self._making[id])

    async def _make(self, id: UUID, blob_id: UUID, size_bytes: int, finish: Finish | None) -> Path:
        work = Path(await asyncio.to_thread(tempfile.mkdtemp, WORK, None, self._folder))
        os.chmod(work, 0o711)
        try:
            await self._fetch(blob_id, size_bytes, work / "archive")
            await asyncio.to_thread(unpack, work / "archive", work / "app")
            if finish is not None:
                await finish(work / "app", work / "scratch")
            try:
                (work / "app").rename(self._path(id))
            except OSError:  # another process was first
                if not self._path(id).is_dir():
                    raise
        finally:
            await asyncio.to_thread(shutil.rmtree, work, True)
        return self._path(id)

    async def _fetch(self, blob_id: UUID, size_bytes: int, path: Path) -> None:
        with path.open("wb") as file:
            os.fchmod(file.fileno(), 0o600)
            async for block in self._blobs.open(blob_id, 0, size_bytes):
                await asyncio.to_thread(file.write, block)

    async def keep_only(self, ids: Collection[UUID]) -> None:
        """Remove all other versions, and what was left half made, unless they are quite new: somebody is at it."""
        await asyncio.to_thread(self._clean, {self._path(id).name for id in ids})

    def _clean(self, kept: Collection[str]) -> None:
        for found in list(self._folder.iterdir()):
            if found.name not in kept and time.time() - found.stat().st_ctime > UNUSED_S:
                shutil.rmtree(found, ignore_errors=True)


def _boot() -> str:
    """What tells this run of the machine from others."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
    except OSError:
        return "always"
