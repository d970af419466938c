"""How much memory and time large files take.

A server takes one file by a signed URL and gives it back; its memory is looked at all the while, above what it has when
idle. The same with as many senders at once as one caller may have.
"""

import asyncio
import hashlib
import os
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from bench.serving import Server, resident_mib, serving
from bench.table import table

MEGABYTES = 1024
CHUNK = os.urandom(2**20)
AT_ONCE = 10
SAMPLE_S = 0.02
ABOVE_IDLE_MIB_MAX = 64
CREATE_UPLOAD = """
mutation ($name: String!, $sizeBytes: BigInt!) {
  createUpload(bucket: "default", name: $name, sizeBytes: $sizeBytes) { url }
}
"""
CONTENT = """
query { storageObjects(bucket: "default", first: 1) { nodes { content } } }
"""


Row = tuple[str, str, str]


def run() -> str:
    """The table of the group."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as server:
        rows = asyncio.run(_measured(server, MEGABYTES))
    return table(("figure", "measured", "to reach"), rows)


class Most:
    """The most resident memory of a process within a block, in MiB."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.mib = 0.0

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look at it all the while."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(SAMPLE_S):
                self.mib = max(self.mib, resident_mib(self._pid))

        self.mib = resident_mib(self._pid)
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


async def _measured(server: Server, megabytes: int) -> list[Row]:
    rows, most, each = [], Most(server.pid), max(1, megabytes // AT_ONCE)
    async with httpx.AsyncClient(base_url=f"http://{server.address}", timeout=600) as client:
        client.headers["authorization"] = server.token
        await send(client, "z-first", 1)  # what is imported at first use is no part of it
        idle, wanted = server.memory_mib, digest(megabytes)

        async def many() -> str:
            sums = await asyncio.gather(*(send(client, f"many-{number}", each) for number in range(AT_ONCE)))
            assert set(sums) == {digest(each)}
            return wanted

        works = {
            f"{megabytes} MiB up": lambda: send(client, "a", megabytes),
            f"{megabytes} MiB down": lambda: fetch(client),
            f"{AT_ONCE} x {each} MiB up at once": many,
        }
        for what, work in works.items():
            started = time.perf_counter()
            with most.watched():
                assert await work() == wanted, f"{what}: other bytes came than were sent"
            took_s = time.perf_counter() - started
            measured = f"{most.mib - idle:.0f} MiB above idle, {megabytes / took_s:.0f} MiB/s"
            rows.append((what, measured, f"< {ABOVE_IDLE_MIB_MAX} MiB above idle"))
    return rows
