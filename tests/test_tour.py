"""The README's tour, run as it stands there."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
START_S = 60
END_S = 10


def blocks() -> list[tuple[str, str]]:
    """The tour's code blocks: what they are for, and their text."""
    tour = (ROOT / "README.md").read_text().partition("## A tour")[2].partition("\n## ")[0]
    found = re.findall(r"```(\w+) tour(?:=(\w+))?\n(.*?)```", tour, re.DOTALL)
    return [(purpose or "run", text) for _, purpose, text in found]


class Server:
    """`stoa serve`, as `make serve` runs it, on a folder of its own."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._environment = {
            **os.environ,
            "STOA_DATA_DIR": str(folder),
            "STOA_PORT": str(self.port),
            "STOA_LOG_LEVEL": "warning",
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "infra.cli", "serve"]
        self._process = subprocess.Popen(command, cwd=ROOT, env=self._environment)
        deadline = time.monotonic() + START_S
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=1):
                    return
            except OSError:
                assert self._process.poll() is None, "the server ended"
                assert time.monotonic() < deadline, "the server did not start"
                time.sleep(0.05)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            assert self._process.wait(END_S) == 0
            self._process = None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "data")
    yield server
    server.stop()


@pytest.mark.skipif(shutil.which("curl") is None, reason="the tour is told with curl")
def test_the_tour_does_what_it_says(server: Server, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "tests" / "data", tmp_path / "tests" / "data")
    shell = subprocess.Popen(
        ["bash", "-u"], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert shell.stdin is not None
    assert shell.stdout is not None
    printed: list[str] = []
    try:
        for purpose, text in blocks():
            if purpose == "start":
                server.start()
            elif purpose == "restart":
                server.stop()
                server.start()
            elif purpose == "output":
                assert printed[-1].strip() == text.strip()
            else:
                shell.stdin.write(text.replace(":9100", f":{server.port}") + "\necho; echo END-OF-BLOCK\n")
                shell.stdin.flush()
                printed.append("".join(iter(shell.stdout.readline, "END-OF-BLOCK\n")))
    finally:
        shell.stdin.close()
        shell.terminate()
        shell.stdout.close()
        shell.wait()
    everything = "\n".join(printed)
    assert "Traceback" not in everything
    assert everything.count('"totalCount":1') == 1
    assert '"total":1' in everything
    changes = (tmp_path / "changes.txt").read_text()
    assert [changes.count(f'"operation":"{what}"') for what in ("CREATED", "UPDATED", "DELETED")] == [2, 1, 0]
    assert everything.count('"operation":"UPDATE"') == 1
