"""The sandbox deployed code runs in: how strong it can be made here, and starting a process in it.

Where the kernel lets us make namespaces (as root, and for anybody where unprivileged ones are allowed), each process
has a file system, processes and a network of its own; see `jail.py`. Elsewhere only JavaScript runs, behind Deno's own
walls: Python has none.
"""

import asyncio
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson

from infra.logs import get_logger

JAIL = Path(__file__).with_name("jail.py")
WAY_OUT_PORT = 3128
TMP_BYTES_MAX = 64 * 2**20
NICE = 5  # deployed code gives way to us
LAUNCH_S = 10.0

# One account for each process, of a range that neither people nor packages are given. Nothing outlives a process that
# would belong to its account, so the next one may have it.
FIRST_UID, LAST_UID = 58_000, 59_999

# What programs need of the system to run at all: libraries, certificates, time zones.
SYSTEM = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib"),
    *("/etc/ssl", "/etc/pki", "/usr/share/ca-certificates", "/usr/share/zoneinfo", "/etc/ld.so.cache"),
)
ACCOUNTS = "app:x:{uid}:{uid}::/tmp:/bin/false\n"
HOSTS = "127.0.0.1 localhost\n"

log = get_logger(__name__)


@dataclass(frozen=True)
class Program:
    """What is to run. Paths are those inside of the sandbox; `shown` maps what is outside to where it is seen."""

    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    folder: str
    shown: Sequence[tuple[str, str]]
    limits: Mapping[str, int]
    writable: Sequence[tuple[str, str]] = ()
    way_out: bool = True
    tmp_bytes: int = TMP_BYTES_MAX


@dataclass(frozen=True)
class Plan:
    """What jail.py is told."""

    parent: int
    namespaces: bool
    uid: int | None
    root: str
    shown: Sequence[tuple[str, str]]
    writable: Sequence[tuple[str, str]]
    links: Sequence[tuple[str, str]]
    files: Sequence[tuple[str, str]]
    tmp_bytes: int
    way_out_port: int | None
    limits: Mapping[str, int]
    nice: int
    folder: str
    environment: Mapping[str, str]
    command: Sequence[str]


class LaunchFailed(Exception):
    """A process that did not come to run the app."""


@dataclass
class Jailed:
    """A process in the sandbox. `way_out` listens inside of it for connections that want to leave."""

    process: asyncio.subprocess.Process
    uid: int | None
    first: int | None  # descriptor of the first process inside; None where there is no inside
    way_out: socket.socket | None

    def kill(self) -> None:
        """End everything that runs in it, at once."""
        if self.first is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.first, signal.SIGKILL)
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            with suppress(ProcessLookupError):
                self.process.kill()

    def close(self) -> None:
        """Let go of the descriptors."""
        self.process._transport.close()  # type: ignore[attr-defined]  # asyncio has no public way to
        if self.first is not None:
            os.close(self.first)
            self.first = None
        if self.way_out is not None:
            self.way_out.close()
            self.way_out = None


class Sandbox:
    """Launches programs. `namespaces` says how strong its walls are, once it is `tried`."""

    def __init__(self, folder: Path) -> None:
        self.namespaces = False
        self._root = folder / "root"
        self._free = list(range(LAST_UID, FIRST_UID - 1, -1)) if os.geteuid() == 0 else []

    async def tried(self) -> "Sandbox":
        """Find out what this machine allows: the only sure way to know is to try."""
        self._root.mkdir(mode=0o755, parents=True, exist_ok=True)
        python = Program(
            command=[PYTHON, "-I", "-S", "-c", "print(1)"],
            environment={},
            folder="/",
            shown=python_files(),
            limits={},
        )
        self.namespaces = True
        try:
            jailed = await self.launch(python)
            out, _ = await jailed.process.communicate()
            self.release(jailed)
            if out.strip() != b"1":
                raise LaunchFailed(f"exit code {jailed.process.returncode}")
        except LaunchFailed as problem:
            self.namespaces = False
            log.warning("no_namespaces", reason=str(problem), means="JavaScript runs behind Deno's walls, Python not")
        return self

    async def launch(self, program: Program) -> Jailed:
        """Start it. Its standard streams are pipes. Raises LaunchFailed. `release` it once it has ended."""
        uid = self._free.pop() if self._free else None
        if os.geteuid() == 0 and uid is None:
            raise LaunchFailed(f"{LAST_UID - FIRST_UID + 1} workers run already")
        try:
            return await _launched(self._plan(program, uid))
        except BaseException:
            self._give_back(uid)
            raise

    def release(self, jailed: Jailed) -> None:
        """Let go of what an ended process had."""
        jailed.kill()
        jailed.close()
        self._give_back(jailed.uid)

    def _give_back(self, uid: int | None) -> None:
        if uid is not None:
            self._free.insert(0, uid)  # the account that has rested longest is next

    def _plan(self, program: Program, uid: int | None) -> Plan:
        shown, links = _system_files()
        inside = str(uid or os.geteuid())
        return Plan(
            parent=os.getpid(),
            namespaces=self.namespaces,
            uid=uid,
            root=str(self._root),
            shown=_outer_first([*shown, *program.shown]),
            writable=program.writable,
            links=links,
            files=[("/etc/passwd", ACCOUNTS.format(uid=inside)), ("/etc/hosts", HOSTS)],
            tmp_bytes=program.tmp_bytes,
            way_out_port=WAY_OUT_PORT if program.way_out else None,
            limits=program.limits,
            nice=NICE,
            folder=program.folder,
            environment=program.environment,
            command=program.command,
        )


def _outer_first(shown: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """So that nothing is covered by a folder above it; what is inside of one that is shown there already is dropped."""
    kept: list[tuple[str, str]] = []
    for source, target in sorted(shown, key=lambda pair: pair[1]):
        if not any(target == t or (source == target and source.startswith(f"{s}/") and s == t) for s, t in kept):
            kept.append((source, target))
    return kept


def _system_files() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """What there is of the system's files, and the links that lead to them."""
    there = [path for path in SYSTEM if os.path.exists(path)]
    links = [(os.readlink(path), path) for path in there if os.path.islink(path)]
    return [(path, path) for path in there if not os.path.islink(path)], links


PYTHON = os.path.realpath(sys.executable)


def python_files() -> list[tuple[str, str]]:
    """What this Python needs to run: itself, and its standard library."""
    prefix = sys.base_prefix
    if prefix in ("/usr", "/usr/local"):  # the library is among the system's
        return [(PYTHON, PYTHON)]
    return [(prefix, prefix), (PYTHON, PYTHON)]


async def _launched(plan: Plan) -> Jailed:
    ours, theirs = socket.socketpair()
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", str(JAIL), str(theirs.fileno())),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[theirs.fileno()],
            env={},
            limit=2**16,
        )
        theirs.close()
        try:
            descriptors = await asyncio.to_thread(_told, ours, orjson.dumps(asdict(plan)))
        except (OSError, LaunchFailed) as problem:
            process.kill()
            _, said = await process.communicate()
            raise LaunchFailed(" ".join(said.decode(errors="replace").split())[-500:] or str(problem)) from problem
    finally:
        ours.close()
        theirs.close()
    first, *way_out = descriptors or (None,)
    return Jailed(process, plan.uid, first, _adopted(way_out[0]) if way_out else None)


def _told(control: socket.socket, plan: bytes) -> list[int]:
    """Tell it the plan, and wait until it has become the program. The descriptors it sends."""
    control.settimeout(LAUNCH_S)
    control.sendall(plan)
    control.shutdown(socket.SHUT_WR)
    word, more, _, _ = control.recvmsg(1, socket.CMSG_SPACE(8))
    descriptors = [fd for _, _, data in more for fd in struct.unpack(f"{len(data) // 4}i", data)]
    if word and control.recv(1):
        return descriptors
    for descriptor in descriptors:
        os.close(descriptor)
    raise LaunchFailed("the sandbox could not be entered")


def _adopted(descriptor: int) -> socket.socket:
    adopted = socket.socket(fileno=descriptor)
    adopted.setblocking(False)
    return adopted
