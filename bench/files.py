"""How much memory and time large files take: `python -m bench.files [MEGABYTES]`.

A server of its own takes one file by a signed URL and gives it back; its memory is looked at all the while, above what
it has when idle. The same with as many senders at once as one caller may have.
"""

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

CHUNK = os.urandom(2**20)
AT_ONCE = 10
SAMPLE_S = 0.02
PASSWORD = "Str0ngPass1"
CREATE_UPLOAD = """
mutation ($name: String!, $sizeBytes: BigInt!) {
  createUpload(bucket: "default", name: $name, sizeBytes: $sizeBytes) { url }
}
"""
CONTENT = """
query { storageObjects(bucket: "default", first: 1) { nodes { content } } }
"""


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, int]]:
    """The address and the process id of a server of our own."""
    log = folder / "log"
    environ = {**os.environ, "STOA_DATA_DIR": str(folder / "data"), "STOA_PORT": "0", "STOA_LOG_LEVEL": "warning"}
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "infra.cli", "serve"], stdout=output, stderr=output, env=environ
        )
    try:
        while "Stoa is ready: " not in log.read_text():
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        yield log.read_text().split("Stoa is ready: ")[1].split()[0], process.pid
    finally:
        process.terminate()
        process.wait()


class Memory:
    """The most resident memory of a process within a block, in MiB."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.most = 0.0

    def now(self) -> float:
        """What it has at the moment."""
        status = Path(f"/proc/{self._pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look at it all the while."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(SAMPLE_S):
                self.most = max(self.most, self.now())

        self.most = self.now()
        watching = threading.Thread(target=watch)
        watching.start()
        try:
            yield
        finally:
            over.set()
            watching.join()


async def content(megabytes: int) -> AsyncIterator[bytes]:
    """A file that nobody keeps in memory."""
    for _ in range(megabytes):
        yield CHUNK


def digest(megabytes: int) -> str:
    """Its SHA-256."""
    found = hashlib.sha256()
    for _ in range(megabytes):
        found.update(CHUNK)
    return found.hexdigest()


async def graphql(client: httpx.AsyncClient, query: str, **variables: Any) -> Any:
    """The data of an operation that must succeed."""
    body = (await client.post("/graphql", json={"query": query, "variables": variables})).json()
    assert "errors" not in body, body
    return body["data"]


async def send(client: httpx.AsyncClient, name: str, megabytes: int) -> str:
    """Send a file. Returns the SHA-256 that the server made of it."""
    size = megabytes * len(CHUNK)
    url = (await graphql(client, CREATE_UPLOAD, name=name, sizeBytes=size))["createUpload"]["url"]
    answer = await client.put(url, content=content(megabytes), headers={"content-length": str(size)})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["sha256"])


async def fetch(client: httpx.AsyncClient) -> str:
    """Read the first file. Returns the SHA-256 of what came."""
    url = (await graphql(client, CONTENT))["storageObjects"]["nodes"][0]["content"]
    found = hashlib.sha256()
    async with client.stream("GET", url) as answer:
        assert answer.status_code == 200
        async for chunk in answer.aiter_bytes():
            found.update(chunk)
    return found.hexdigest()


async def measure(url: str, pid: int, megabytes: int) -> dict[str, Any]:
    """Seconds, MiB a second, and MiB of memory above idle: one file up, down, and many up at once."""
    memory, found = Memory(pid), {}
    async with httpx.AsyncClient(base_url=url, timeout=600) as client:
        account = {"username": "bench", "password": PASSWORD}
        await client.post("/api/v1/auth/register", json=account)
        token = (await client.post("/api/v1/auth/login", json=account)).json()["accessToken"]
        client.headers["authorization"] = f"Bearer {token}"
        await send(client, "z-first", 1)  # what is imported at first use is no part of it
        idle, wanted = memory.now(), digest(megabytes)
        each = max(1, megabytes // AT_ONCE)
        names = [f"many-{number}" for number in range(AT_ONCE)]

        async def many() -> str:
            sums = await asyncio.gather(*(send(client, name, each) for name in names))
            assert set(sums) == {digest(each)}
            return wanted

        for what, work in {
            "up": lambda: send(client, "a", megabytes),
            "down": lambda: fetch(client),
            "many": many,
        }.items():
            started = time.perf_counter()
            with memory.watched():
                assert await work() == wanted, f"{what}: other bytes came than were sent"
            took_s = time.perf_counter() - started
            found[what] = {
                "seconds": round(took_s, 2),
                "mib_per_s": round(megabytes / took_s),
                "mib_above_idle": round(memory.most - idle, 1),
            }
    return {"mib": megabytes, "idle_mib": round(idle, 1), **found}


def main() -> None:
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 1024
    with tempfile.TemporaryDirectory(prefix="stoa-bench-") as parent:
        os.chmod(parent, 0o711)
        with serving(Path(parent)) as (url, pid):
            print(json.dumps(asyncio.run(measure(url, pid, megabytes)), indent=2))


if __name__ == "__main__":
    main()
