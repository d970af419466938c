"""Where a Unix socket goes: beside its engine's files, or in a short folder when that path is too long."""

import hashlib
import os
import re
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from infra.embedded.account import Account
from infra.failure import Failure

PATH_BYTES_MAX = 100

# Socket folders travel in URLs, where SQLAlchemy splits hosts at commas and colons.
_PLAIN = re.compile(r"[A-Za-z0-9/._-]+")


def socket_folder(home: Path, file_name: str, account: Account) -> Path:
    """`home` itself if a socket can live there, else a private folder whose name derives from it. Raises Failure."""
    if _fits(home / file_name):
        return home
    name = f"stoa-{hashlib.sha256(os.fsencode(home)).hexdigest()[:16]}"
    for parent in (Path(tempfile.gettempdir()), Path("/tmp")):
        if _fits(parent / name / file_name):
            return _private(parent / name, account)
    raise Failure(f"no folder for a socket: {home} is too long, and so is {tempfile.gettempdir()} (TMPDIR)")


def leave(folder: Path, home: Path) -> None:
    """Remove a folder that was only made for a socket."""
    if folder != home:
        with suppress(OSError):
            folder.rmdir()


def _fits(path: Path) -> bool:
    return len(os.fsencode(path)) <= PATH_BYTES_MAX and _PLAIN.fullmatch(str(path)) is not None


def _private(folder: Path, account: Account) -> Path:
    """A folder only the engine's account can enter. Anyone may write to the parent, so what is there must be ours."""
    try:
        folder.mkdir(mode=0o700)
        os.chown(folder, account.uid, account.gid)
    except FileExistsError:
        status = folder.lstat()
        ours = stat.S_ISDIR(status.st_mode) and status.st_uid == account.uid
        if not ours or stat.S_IMODE(status.st_mode) & 0o077:
            raise Failure(f"{folder} is not ours: remove it, or set STOA_DATA_DIR to a shorter path") from None
    return folder
