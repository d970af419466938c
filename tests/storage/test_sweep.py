"""What nobody refers to is taken away, and only that; and what a killed server leaves behind."""

import os
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from infra.chores import sweep
from infra.settings import Settings
from infra.storage.folder import FolderBlobs
from tests.harness import PASSWORD, Databases, Person, Stoa
from tests.infra.running import command, eventually
from tests.storage.files import CREATE_UPLOAD, Bucket, given_up, kept, on_disk


def context(stoa: Stoa) -> dict[str, Any]:
    """What a worker gives its chores."""
    return {"settings": stoa.app.platform.settings, "database_url": stoa.database_url}


async def test_what_is_given_up_goes_and_what_is_kept_stays(stoa: Stoa, admin: Person) -> None:
    bucket = Bucket(admin)
    stay, go = bucket.put("stay.txt"), [bucket.put(f"{number}.txt") for number in range(22)]
    for id in go:
        admin.client.delete(f"{bucket.path}/{id}")
    assert given_up(stoa) == 22
    assert len(on_disk(stoa)) == 23
    await sweep(context(stoa))
    assert given_up(stoa) == 0
    assert on_disk(stoa) == [row["id"].hex for row in kept(stoa)]
    assert admin.client.get(f"{bucket.path}/{stay}").content == b"abc"
    await sweep(context(stoa))


async def test_what_is_still_coming_is_left_alone(stoa: Stoa, admin: Person) -> None:
    bucket = Bucket(admin)
    slot = bucket.slot("slow.bin", 2_000_000)
    host, port = stoa.address.split(":")
    with closing(socket.create_connection((host, int(port)), timeout=20)) as sock:
        sock.sendall(f"PUT {slot['url']} HTTP/1.1\r\nhost: x\r\ncontent-length: 2000000\r\n\r\n".encode())
        sock.sendall(bytes(1_500_000))
        assert eventually(lambda: any(name.endswith(".part") for name in on_disk(stoa)), 10)
        await sweep(context(stoa))
        sock.sendall(bytes(500_000))
        assert sock.recv(100).startswith(b"HTTP/1.1 201")
    assert bucket.names() == ["slow.bin"]


async def test_a_file_that_is_given_up_while_it_comes_is_refused(stoa: Stoa, admin: Person) -> None:
    bucket = Bucket(admin)
    slot = bucket.slot("late.bin", 2_000_000)
    host, port = stoa.address.split(":")
    with closing(socket.create_connection((host, int(port)), timeout=20)) as sock:
        sock.sendall(f"PUT {slot['url']} HTTP/1.1\r\nhost: x\r\ncontent-length: 2000000\r\n\r\n".encode())
        sock.sendall(bytes(1_500_000))
        assert eventually(lambda: any(name.endswith(".part") for name in on_disk(stoa)), 10)
        stoa.sql("UPDATE stoa.blobs SET expires_at = now() WHERE expires_at > now()")  # as if hours had passed
        await sweep(context(stoa))
        sock.sendall(bytes(500_000))
        assert not sock.recv(100).startswith(b"HTTP/1.1 2")
    assert bucket.names() == []


async def test_a_store_that_fails_is_tried_again(stoa: Stoa, admin: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = Bucket(admin)
    admin.client.delete(f"{bucket.path}/{bucket.put('a.txt')}")
    before = given_up(stoa)

    async def fails(self: FolderBlobs, id: Any) -> None:
        raise OSError("no disk")

    with monkeypatch.context() as patched:
        patched.setattr(FolderBlobs, "delete", fails)
        with pytest.raises(OSError, match="no disk"):
            await sweep(context(stoa))
    assert given_up(stoa) == before
    await sweep(context(stoa))
    assert given_up(stoa) == 0


# A server that is killed.


class Killable:
    """A server in a process of its own, on a database and folder that outlive it."""

    def __init__(self, database_url: str, valkey_url: str, folder: Path) -> None:
        self.data_dir = folder / "data"
        self._log = folder / "log"
        self._environ = {
            "STOA_DATABASE_URL": database_url,
            "STOA_VALKEY_URL": valkey_url,
            "STOA_DATA_DIR": str(self.data_dir),
            "STOA_PORT": "0",
        }

    @contextmanager
    def running(self) -> Iterator[tuple[str, int]]:
        """Its address and process id."""
        self._log.unlink(missing_ok=True)
        process = command("serve", "--no-worker", log=self._log, **self._environ)
        try:
            assert eventually(lambda: "Stoa is ready" in self._log.read_text(), 30), self._log.read_text()
            [url] = re.findall(r"Stoa is ready: (\S+)", self._log.read_text())
            yield url, process.pid
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait(10)

    def on_disk(self) -> list[str]:
        return [path.name for path in (self.data_dir / "blobs").rglob("*") if path.is_file()]


async def test_a_server_that_is_killed_in_the_middle_leaves_nothing_to_see_and_loses_nothing_it_took(
    databases: Databases, valkey_url: str, tmp_path: Path
) -> None:
    database_url = databases.new()
    server = Killable(database_url, valkey_url, tmp_path)
    account = {"username": "ada", "password": PASSWORD}
    taken = os.urandom(300_000)

    def signed_in(url: str) -> httpx.Client:
        client = httpx.Client(base_url=url, timeout=20)
        client.post("/api/v1/auth/register", json=account)
        token = client.post("/api/v1/auth/login", json=account).json()["accessToken"]
        client.headers["authorization"] = f"Bearer {token}"
        return client

    def slot(client: httpx.Client, name: str, size: int) -> dict[str, Any]:
        asked = {"bucket": "default", "name": name, "sizeBytes": size, "expiresIn": 900}
        made: dict[str, Any] = client.post("/graphql", json={"query": CREATE_UPLOAD, "variables": asked}).json()
        return dict(made["data"]["createUpload"])

    with server.running() as (url, pid):
        with closing(signed_in(url)) as client:
            whole, broken = slot(client, "whole.bin", len(taken)), slot(client, "broken.bin", 3_000_000)
            assert client.put(whole["url"], content=taken).status_code == 201
        host, port = url.removeprefix("http://").split(":")
        with closing(socket.create_connection((host, int(port)), timeout=20)) as sock:
            sock.sendall(f"PUT {broken['url']} HTTP/1.1\r\nhost: x\r\ncontent-length: 3000000\r\n\r\n".encode())
            sock.sendall(bytes(2_500_000))
            assert eventually(lambda: any(name.endswith(".part") for name in server.on_disk()), 10)
            os.kill(pid, signal.SIGKILL)
            with suppress(ConnectionResetError):
                assert sock.recv(100) == b""
    assert [name.endswith(".part") for name in sorted(server.on_disk(), key=len)] == [False, True]

    with server.running() as (url, _), closing(signed_in(url)) as client:
        names = [row["name"] for row in client.get("/api/v1/storage/objects/default").json()]
        assert names == ["whole.bin"]
        assert client.get(f"/api/v1/storage/objects/default/{broken['id']}").status_code == 404
        assert client.get(f"/api/v1/storage/objects/default/{whole['id']}").content == taken
        connection = await asyncpg.connect(database_url)
        await connection.execute("UPDATE stoa.blobs SET expires_at = now() WHERE expires_at > now()")  # two hours pass
        await sweep({"settings": Settings(data_dir=server.data_dir), "database_url": database_url})
        assert [name.endswith(".part") for name in server.on_disk()] == [False]
        assert await connection.fetchval("SELECT count(*) FROM stoa.blobs") == 1
        await connection.close()
        assert client.put(broken["url"], content=bytes(3_000_000)).status_code == 201
