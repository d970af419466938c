"""The machine: what the control group and the file system tell."""

import shutil
from importlib.metadata import version
from pathlib import Path

from domain.runtime.ports import Cpu, Disk, Memory

CGROUP = Path("/sys/fs/cgroup")


class LocalMachine:
    """See `domain.runtime.ports.Machine`. Reads control groups of version 2."""

    def __init__(self, data_dir: Path, cgroup: Path = CGROUP) -> None:
        self.version = version("stoa")
        self._data_dir = data_dir
        self._cgroup = cgroup

    def memory(self) -> Memory:
        """`max` means no limit, which is told as None."""
        return Memory(self._number("memory.current"), self._number("memory.max"))

    def cpu(self) -> Cpu | None:
        """The counters of `cpu.stat`; those of throttling are missing where nothing limits the group."""
        try:
            lines = (self._cgroup / "cpu.stat").read_text().splitlines()
            found = {name: int(value) for name, value in (line.split() for line in lines)}
            return Cpu(
                found["usage_usec"],
                found.get("nr_periods", 0),
                found.get("nr_throttled", 0),
                found.get("throttled_usec", 0),
            )
        except (OSError, ValueError, KeyError):
            return None

    def disk(self) -> Disk | None:
        """The file system that holds the data folder."""
        try:
            usage = shutil.disk_usage(self._data_dir)
        except OSError:
            return None
        return Disk(usage.total, usage.used, usage.free)

    def _number(self, name: str) -> int | None:
        try:
            return int((self._cgroup / name).read_text())
        except (OSError, ValueError):
            return None
