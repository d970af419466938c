"""A child process: it dies with us, has a process group of its own, and a bounded log."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from infra.failure import Failure

LAUNCHER = Path(__file__).with_name("launch.py")
LOG_BYTES_MAX = 10 * 2**20
LOG_TAIL_BYTES = 2000


class Child:
    """One program in one folder. Launch it from a thread that lives as long as the process: what the kernel calls
    the parent's death is the death of the launching thread.

    `stop_signal` asks for an orderly end, and is what the child gets if we are killed.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        folder: Path,
        *,
        account: str = "same",
        stop_signal: signal.Signals = signal.SIGTERM,
        kill_signal: signal.Signals = signal.SIGKILL,
        environ: Mapping[str, str] | None = None,
        log: Path | None = None,
        inherit: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.command = list(command)
        self.folder = folder
        self.account = account
        self.stop_signal = stop_signal
        self.kill_signal = kill_signal
        self.environ = environ
        self.log = log
        self.inherit = inherit
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def launch(self) -> None:
        """Start it; it is not ready yet. Without a log it writes where we write."""
        output = self._open_log() if self.log else None
        launcher = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), str(int(self.stop_signal))]
        try:
            self._process = subprocess.Popen(
                [*launcher, self.account, str(self.folder), *self.command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self.environ,
                process_group=0,
                pass_fds=self.inherit,
            )
        finally:
            if output is not None:
                os.close(output)

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def wait(self, patience_s: float) -> int | None:
        """The exit code, or None when it still runs after that time."""
        if self._process is None:
            return None
        try:
            return self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            return None

    def send(self, signum: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(signum)

    def stop(self, patience_s: float) -> None:
        """Ask it to end, and make it end when it has not after that time."""
        for signum, grace_s in ((self.stop_signal, patience_s), (self.kill_signal, 1.0), (signal.SIGKILL, 5.0)):
            self.send(signum)
            if self.wait(grace_s) is not None or not self.alive():
                return

    def last_words(self) -> str:
        """The end of what it logged since the last launch, as one line."""
        if self.log is None or not self.log.exists():
            return "(no log)"
        with self.log.open("rb") as file:
            file.seek(max(self._log_start, file.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
            lines = file.read().decode(errors="replace").split("\n")
        return " / ".join(line.strip() for line in lines[-6:] if line.strip()) or "(an empty log)"

    def _open_log(self) -> int:
        assert self.log is not None
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES_MAX:
            self.log.replace(self.log.with_name(f"{self.log.name}.1"))
        handle = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._log_start = os.fstat(handle).st_size
        return handle


class Stopped(Exception):
    """We were asked to stop while we waited."""


def wait_until(condition: Callable[[], bool], patience_s: float, stopping: threading.Event) -> bool:
    """Whether the condition came true in that time. Raises Stopped."""
    deadline = time.monotonic() + patience_s
    while not condition():
        if stopping.wait(0.01):
            raise Stopped
        if time.monotonic() > deadline:
            return False
    return True


def inhabitants(folder: Path, program: str) -> list[int]:
    """Pids of the processes of that program at work in `folder`: left over from a server that was killed.

    By working directory (both engines move into theirs) or, where the system hides that, by command line.
    """
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "comm").read_text().strip() == program and _works_in(entry, folder):
                found.append(int(entry.name))
        except OSError:
            continue  # it ended while we looked
    return found


def _works_in(process: Path, folder: Path) -> bool:
    try:
        return Path(os.readlink(process / "cwd")) == folder
    except PermissionError:
        return os.fsencode(folder) in (process / "cmdline").read_bytes().split(b"\0")


def await_departure(folder: Path, program: str, patience_s: float, stopping: threading.Event) -> None:
    """Wait until no earlier engine works in the folder. Raises Failure; Stopped."""
    if not wait_until(lambda: not inhabitants(folder, program), patience_s, stopping):
        pids = ", ".join(map(str, inhabitants(folder, program)))
        raise Failure(f"another {program} is still at work in {folder} (pid {pids}): stop it first")
