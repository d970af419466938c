"""Unpacking what people deploy: a gzip tar, whose every entry is looked at before anything is written.

Python's own `data` filter judges each entry as well; on top of it there are no links, no devices, no way up, and a most
of everything: entries, bytes, depth, lengths of names, and how much larger than itself an archive may become.
"""

import gzip
import os
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

ENTRIES_MAX = 10_000
UNPACKED_BYTES_MAX = 512 * 2**20
RATIO_MAX, RATIO_FREE_BYTES = 200, 16 * 2**20  # text packs well; what packs better than this is no text
NAME_BYTES_MAX, PART_BYTES_MAX, DEPTH_MAX = 1_000, 255, 32
HEADER_BYTES_MAX = 2**20  # of the names and notes before an entry, which are read whole
BLOCK_BYTES = 2**16


class BadArchive(Exception):
    """An archive that is not unpacked; the text is for who sent it."""


class Unreadable(BadArchive):
    """It is no gzip tar, or a broken one."""


def unpack(archive: Path, folder: Path) -> None:
    """Unpack the archive into a folder that is not there yet. Raises BadArchive, mostly before anything is written."""
    try:
        with _opened(archive) as tar:
            for _ in _checked(tar, folder):
                pass
        folder.mkdir(mode=0o755)
        with _opened(archive) as tar:
            for entry, parts in _checked(tar, folder):
                _write(tar, entry, folder.joinpath(*parts))
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, ValueError) as problem:
        raise Unreadable("cannot extract archive: it is not a gzip tar, or not a whole one") from problem


@contextmanager
def _opened(archive: Path) -> Iterator[tarfile.TarFile]:
    with archive.open("rb") as packed, gzip.GzipFile(fileobj=packed) as plain:
        most = min(UNPACKED_BYTES_MAX, RATIO_FREE_BYTES + RATIO_MAX * archive.stat().st_size)
        with tarfile.open(fileobj=cast(Any, _Counted(plain, most)), mode="r:", errorlevel=2) as tar:
            yield tar


class _Counted:
    """The unpacked bytes, read forwards only, and no more of them than there may be."""

    def __init__(self, plain: gzip.GzipFile, bytes_max: int) -> None:
        self._plain = plain
        self._most = bytes_max
        self._at = 0
        self._last = b""

    def read(self, size: int) -> bytes:
        if size > HEADER_BYTES_MAX:
            raise BadArchive(f"the archive has a header of more than {HEADER_BYTES_MAX} bytes")
        if self._last and size:  # the one byte we went back
            found, self._last = self._last, b""
            return found + self.read(size - 1) if size > 1 else found
        found = self._plain.read(size)
        self._at += len(found)
        if self._at > self._most:
            raise BadArchive(f"the archive unpacks to more than {self._most} bytes")
        return found

    def tell(self) -> int:
        return self._at - len(self._last)

    def seek(self, position: int) -> int:
        """Go on to there; one byte back is what tarfile asks for, to see that a file's last block is there."""
        if position == self._at - 1 and self._at:
            self._last = b"\0"  # its value is of no interest
        while position > self._at:
            self._last = b""
            if not self.read(min(BLOCK_BYTES, position - self._at)):
                break
        return self.tell()


def _checked(tar: tarfile.TarFile, folder: Path) -> Iterator[tuple[tarfile.TarInfo, list[str]]]:
    """The entries that make files and folders, with the parts of their names. Raises BadArchive."""
    count = 0
    while (entry := tar.next()) is not None:
        tar.members = []  # type: ignore[attr-defined]  # it would remember them all
        count += 1
        if count > ENTRIES_MAX:
            raise BadArchive(f"the archive has more than {ENTRIES_MAX} entries")
        parts = _parts(entry)
        if not (entry.isreg() or entry.isdir()) or entry.issparse():
            raise BadArchive(f"unsafe archive entry: '{_shown(entry)}' is neither a file nor a folder")
        try:
            tarfile.data_filter(entry, str(folder))
        except tarfile.FilterError as problem:
            raise BadArchive(f"unsafe archive entry: '{_shown(entry)}' ({problem})") from problem
        if parts:
            yield entry, parts


def _parts(entry: tarfile.TarInfo) -> list[str]:
    """The parts of an entry's name, which leads nowhere but down. Raises BadArchive."""
    name = entry.name
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        raise BadArchive(f"unsafe archive entry: '{_shown(entry)}' is no text") from None
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\x00" in name or "\\" in name:
        raise BadArchive(f"unsafe archive entry: '{_shown(entry)}' leads out of the archive")
    if len(encoded) > NAME_BYTES_MAX or len(parts) > DEPTH_MAX or any(len(p.encode()) > PART_BYTES_MAX for p in parts):
        raise BadArchive(f"unsafe archive entry: '{_shown(entry)}' has too long a name")
    return parts


def _shown(entry: tarfile.TarInfo) -> str:
    return "".join(char if char.isprintable() else "?" for char in entry.name[:200])


def _write(tar: tarfile.TarFile, entry: tarfile.TarInfo, path: Path) -> None:
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if entry.isdir():
            path.mkdir(mode=0o755, exist_ok=True)
            return
        path.unlink(missing_ok=True)  # the later of two entries of one name is the one that counts
    except (NotADirectoryError, FileExistsError, IsADirectoryError, PermissionError):
        raise BadArchive(f"unsafe archive entry: '{_shown(entry)}' is a file and a folder") from None
    content: IO[Any] | None = tar.extractfile(entry)
    assert content is not None
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o755 if entry.mode & 0o100 else 0o644)
    with os.fdopen(handle, "wb") as file:
        while block := content.read(BLOCK_BYTES):
            file.write(block)
        if file.tell() != entry.size:
            raise EOFError
