"""The folder and the identity of one worker host.

Both outlive the process: whoever takes the folder after it is the same host, and has its leases. The lock on it ends
with the process, and the workers of a process end with it.
"""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

from infra.failure import Failure

HOSTS_MAX = 64  # on one data folder


@dataclass(frozen=True)
class HostFolder:
    """A folder that is ours until `release`."""

    path: Path
    id: UUID
    _handle: int

    @classmethod
    def take(cls, data_dir: Path) -> "HostFolder":
        """The first one that nobody has. Raises Failure."""
        for number in range(HOSTS_MAX):
            path = data_dir / "workers" / str(number)
            path.mkdir(mode=0o711, parents=True, exist_ok=True)
            handle = os.open(path / "host.id", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                continue
            return cls(path, _identity(handle), handle)
        raise Failure(f"{HOSTS_MAX} worker hosts run on {data_dir} already")

    def release(self) -> None:
        """Leave it to the next."""
        os.close(self._handle)


def _identity(handle: int) -> UUID:
    try:
        return UUID(os.pread(handle, 64, 0).decode().strip())
    except ValueError:
        id = uuid4()
        os.pwrite(handle, f"{id}\n".encode(), 0)
        os.fsync(handle)
        return id
