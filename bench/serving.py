"""Servers to measure: `stoa serve` on a folder of its own, with somebody signed in."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

PASSWORD = "Str0ngPass1"
ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Server:
    """A running server; `ready_s` is how long it took to answer its first request."""

    address: str
    pid: int
    ready_s: float
    client: httpx.Client
    token: str

    @property
    def memory_mib(self) -> float:
        """Resident memory of the server process."""
        return resident_mib(self.pid)


def resident_mib(pid: int) -> float:
    """Resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


@contextmanager
def serving(folder: Path, application: str | None = None, **settings: str) -> Iterator[Server]:
    """A server until the end of the block; the first account is signed in."""
    environ = {
        **os.environ,
        "STOA_DATA_DIR": str(folder / "data"),
        "STOA_PORT": "0",
        "STOA_LOG_LEVEL": "warning",
        **settings,
    }
    command = [sys.executable, "-m", "infra.cli", "serve", *(["--application", application] if application else [])]
    log = folder / "log"
    started = time.perf_counter()
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output, env=environ)
    try:
        while "Stoa is ready: " not in log.read_text():
            assert process.poll() is None, log.read_text()
            time.sleep(0.01)
        base = log.read_text().split("Stoa is ready: ")[1].split()[0]
        client = httpx.Client(base_url=base, timeout=60)
        assert client.get("/health").status_code == 200
        ready_s = time.perf_counter() - started
        token = _signed_in(client)
        client.headers["authorization"] = token
        yield Server(base.removeprefix("http://"), process.pid, ready_s, client, token)
        client.close()
    finally:
        process.terminate()
        process.wait()


def _signed_in(client: httpx.Client) -> str:
    named = {"username": "bench", "password": PASSWORD}
    client.post("/api/v1/auth/register", json=named)
    answer = client.post("/api/v1/auth/login", json=named)
    assert answer.status_code == 200, answer.text
    return f"Bearer {answer.json()['accessToken']}"
