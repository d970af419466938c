"""How much memory processes use, those they started included."""

import os
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Usage:
    """A look at all processes. Pages that several share count for none: they are files, mostly."""

    _children: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def now(cls) -> "Usage":
        """As it is at this moment."""
        usage = cls()
        for name in os.listdir("/proc"):
            if name.isdigit():
                with suppress(OSError, IndexError, ValueError), open(f"/proc/{name}/stat") as file:
                    parent = int(file.read().rpartition(")")[2].split()[1])
                    usage._children[parent].append(int(name))
        return usage

    def of(self, pid: int) -> int:
        """Bytes of the process and of all below it."""
        total, waiting = 0, [pid]
        while waiting:
            each = waiting.pop()
            waiting += self._children.get(each, ())
            with suppress(OSError, IndexError, ValueError), open(f"/proc/{each}/statm") as file:
                _, resident, shared = map(int, file.read().split()[:3])
                total += (resident - shared) * PAGE_BYTES
        return total
