"""`stoa serve` as its users run it: a process, its output, its signals, and what it leaves behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

TINY = "tests.infra.tiny:create_app"
PATIENCE_S = 60.0  # with a machine that has much else to do


class Stoa:
    """One server on one data folder, at a port of the system's choice, with the tiny application."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.log = data_dir.parent / "stoa.log"
        self.url = ""
        self._process: subprocess.Popen[str] | None = None

    def start(self, *options: str, wait: bool = True, **environ: str) -> "Stoa":
        self._process = command("serve", "--application", TINY, *options, log=self.log, **self._environ(environ))
        if wait:
            self.await_ready()
        return self

    def await_ready(self, patience_s: float = PATIENCE_S) -> None:
        assert eventually(lambda: "Stoa is ready" in self.said() or not self.alive(), patience_s), self.said()
        assert self.alive(), self.said()
        ready = next(line for line in self.said().splitlines() if line.startswith("Stoa is ready: "))
        self.url = ready.split()[3]

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log's lines of one event."""
        lines = [json.loads(line) for line in self.said().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == name]

    def get(self, path: str = "/", timeout: float = 10) -> bytes:
        with urlopen(self.url + path, timeout=timeout) as answer:
            body: bytes = answer.read()
            return body

    def report(self) -> dict[str, Any]:
        """What the application says it was given."""
        found: dict[str, Any] = json.loads(self.get())
        return found

    def stop(self, signum: signal.Signals = signal.SIGINT, within_s: float = PATIENCE_S) -> int:
        """The exit code, once it has ended in that time and left nothing running."""
        started = time.monotonic()
        self.send(signum)
        code = self.wait(within_s)
        assert eventually(lambda: not processes_of(self.data_dir), within_s - (time.monotonic() - started)), (
            processes_of(self.data_dir),
            self.said(),
        )
        return code

    def send(self, signum: signal.Signals) -> None:
        os.kill(self.pid, signum)

    def wait(self, within_s: float = PATIENCE_S) -> int:
        assert self._process is not None
        return self._process.wait(within_s)

    def end(self) -> None:
        """Whatever state it is in. Its children follow."""
        if self._process is not None:
            if self.alive():
                self._process.kill()
            self._process.wait()

    def child(self, program: str) -> int | None:
        """The pid of an engine (`postgres`, `valkey-server`) it has launched, while it has one."""
        for pid in _pids():
            try:
                status = Path(f"/proc/{pid}/stat").read_text()
            except OSError:
                continue
            name, _, rest = status.partition("(")[2].rpartition(")")
            state, parent = rest.split()[:2]
            if (name, int(parent)) == (program, self.pid) and state != "Z":
                return pid
        return None

    def _environ(self, environ: dict[str, str]) -> dict[str, str]:
        return {"STOA_DATA_DIR": str(self.data_dir), "STOA_PORT": "0", **environ}


def _heed_interrupts() -> None:
    """Whoever runs the tests in the background has them ignore Ctrl-C, and what is ignored is inherited."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def command(*arguments: str, log: Path | None = None, **environ: str) -> "subprocess.Popen[str]":
    """A `stoa` command under way; its output is in `log`, or in pipes."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("STOA_")}
    output = log.open("a") if log else subprocess.PIPE
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "infra.cli", *arguments],
            stdout=output,
            stderr=output,
            text=True,
            env={**inherited, **environ},
            cwd=Path(__file__).parents[2],
            preexec_fn=_heed_interrupts,
        )
    finally:
        if log:
            output.close()


def outcome(*arguments: str, within_s: float = PATIENCE_S, **environ: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command that ends."""
    process = command(*arguments, **environ)
    out, err = process.communicate(timeout=within_s)
    return process.returncode, out, err


def processes_of(data_dir: Path) -> list[str]:
    """Every process that names the folder, works in it, or was given it: the server, its engines, its worker."""
    found = []
    for pid in _pids():
        if pid == os.getpid():
            continue
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            place = os.readlink(f"/proc/{pid}/cwd")
            given = f"STOA_DATA_DIR={data_dir}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if str(data_dir) in words or Path(place).is_relative_to(data_dir) or given:
            found.append(f"{pid} {words[:150]}")
    return found


def eventually(condition: Callable[[], object], within_s: float = PATIENCE_S) -> bool:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
