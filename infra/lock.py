"""The data folder: made on first use, and held by one server at a time through a lock that ends with its process."""

import fcntl
import json
import os
import socket
import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from infra.failure import Misuse

FILE_NAME = "stoa.lock"

# Whoever asks who holds a folder takes its lock for an instant; a server that starts just then tries again.
_PATIENCE_S = 0.3


@dataclass(frozen=True)
class Holder:
    """Who holds a folder, and where its embedded engines listen once they do."""

    pid: int
    host: str
    port: int
    started: str
    database_url: str | None = None
    valkey_url: str | None = None

    def __str__(self) -> str:
        return f"pid {self.pid} on {self.host}, port {self.port}, since {self.started}"


class FolderLock:
    """A data folder that is ours until `release`, or until this process ends, however it does."""

    def __init__(self, handle: int, holder: Holder) -> None:
        self._handle = handle
        self._holder = holder
        self._write()

    @classmethod
    def take(cls, data_dir: Path, port: int = 0) -> "FolderLock":
        """Raises Misuse, naming who holds it, when somebody does."""
        make_folder(data_dir)
        handle = os.open(data_dir / FILE_NAME, os.O_RDWR | os.O_CREAT, 0o600)
        if not _locked(handle, fcntl.LOCK_EX, _PATIENCE_S):
            who = _read(handle) or "another process"
            os.close(handle)
            raise Misuse(f"the data folder {data_dir} is in use by {who}; set STOA_DATA_DIR for a second server")
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return cls(handle, Holder(os.getpid(), socket.gethostname(), port, now))

    def announce(self, database_url: str | None, valkey_url: str | None) -> None:
        """Tell other commands on this folder where the embedded engines listen."""
        self._holder = replace(self._holder, database_url=database_url, valkey_url=valkey_url)
        self._write()

    def release(self) -> None:
        os.ftruncate(self._handle, 0)
        os.close(self._handle)

    def _write(self) -> None:
        text = json.dumps(asdict(self._holder)).encode() + b"\n"
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, text, 0)


def holder(data_dir: Path) -> Holder | None:
    """Who holds the folder now, if anyone does and has said so."""
    try:
        handle = os.open(data_dir / FILE_NAME, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        return None if _locked(handle, fcntl.LOCK_SH, 0) else _read(handle)
    finally:
        os.close(handle)


def make_folder(data_dir: Path) -> None:
    """Raises Misuse. As root, others may pass through (not look): the engines run under another account."""
    mode = 0o711 if os.geteuid() == 0 else 0o700
    try:
        data_dir.parent.mkdir(parents=True, exist_ok=True)
        data_dir.mkdir(mode=mode, exist_ok=True)
    except OSError as problem:
        reason = problem.strerror or problem
        raise Misuse(f"cannot make the data folder {data_dir} (STOA_DATA_DIR): {reason}") from None
    if not os.access(data_dir, os.R_OK | os.W_OK | os.X_OK):
        raise Misuse(f"the data folder {data_dir} (STOA_DATA_DIR) is not writable for this user")


def _locked(handle: int, kind: int, patience_s: float) -> bool:
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)
        else:
            return True


def _read(handle: int) -> Holder | None:
    """None while it is being written."""
    try:
        return Holder(**json.loads(os.pread(handle, 4096, 0)))
    except (ValueError, TypeError):
        return None
