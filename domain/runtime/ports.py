"""What is known of the machine and the process."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes; None where the machine does not tell."""

    current_bytes: int | None
    limit_bytes: int | None


@dataclass(frozen=True, slots=True)
class Cpu:
    """The control group's counters, microseconds and periods."""

    usage_usec: int
    periods: int
    throttled_periods: int
    throttled_usec: int


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system that holds the data folder, bytes."""

    total_bytes: int
    used_bytes: int
    available_bytes: int


class Machine(Protocol):
    """The machine this process runs on."""

    version: str

    def memory(self) -> Memory:
        """Memory of the control group."""
        ...

    def cpu(self) -> Cpu | None:
        """Processor time of the control group, None where unreadable."""
        ...

    def disk(self) -> Disk | None:
        """The data folder's file system, None where unreadable."""
        ...
