"""Turning the master key: while secrets are read and written, after a crash, and with the wrong keys."""

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import pytest

from domain.kernel.model import DEFAULT_TENANT
from domain.kernel.unit import Statement
from domain.secrets import rotation, service
from domain.secrets.model import Secret
from infra import keys
from infra.failure import Failure
from infra.keys import MASTER, Key, LiveRing
from infra.platform import Platform
from infra.postgres.database import Database
from infra.secrets import vault
from infra.secrets.cipher import AesGcmCipher
from infra.settings import Settings
from tests.harness import Databases, Person, Stoa, running, settled
from tests.infra.running import outcome

PLATFORM = "/api/v1/platform/secrets"
MANY = 3_000

T = TypeVar("T")


@pytest.fixture
def server(databases: Databases, valkey_url: str, tmp_path: Path) -> Iterator[Stoa]:
    with running(databases.new(), valkey_url, tmp_path) as made:
        yield made


def ring_of(folder: Path) -> LiveRing:
    return LiveRing((), folder, MASTER)


def planted(stoa: Stoa, ring: LiveRing, count: int) -> None:
    """So many secrets in a scope of their own, `KEY_7` with the value `value 7`."""
    cipher = AesGcmCipher(ring.now)

    def row(number: int) -> tuple[Any, ...]:
        secret = Secret(tenant_id=DEFAULT_TENANT, scope="planted", key=f"KEY_{number}", version=1)
        sealed = cipher.seal(f"value {number}".encode(), service.place_of(secret))
        return secret.tenant_id, "planted", secret.key, 1, sealed.key_id, sealed.wrapped_key, sealed.ciphertext

    async def insert() -> None:
        connection = await asyncpg.connect(stoa.database_url)
        sql = "INSERT INTO stoa.secrets VALUES ($1, $2, $3, $4, $5, $6, $7, now(), now())"
        await connection.executemany(sql, [row(number) for number in range(count)])
        await connection.close()

    settled(insert())


def with_database(stoa: Stoa, work: Callable[[Database], Awaitable[T]]) -> T:
    """What `work` makes of a database of its own, as a command beside the server has it."""

    async def run() -> T:
        database = await Database.open(stoa.database_url, 1)
        try:
            return await work(database)
        finally:
            await database.close()

    result: T = settled(run())
    return result


def rotated(stoa: Stoa, ring: LiveRing) -> tuple[str, int]:
    return with_database(stoa, lambda database: vault.rotate(database, ring))


def in_use(stoa: Stoa) -> dict[str, int]:
    """How many secrets each master key has, of those the database remembers."""
    sql = (
        "SELECT m.id, count(s.key) AS n FROM stoa.master_keys m LEFT JOIN stoa.secrets s ON s.key_id = m.id GROUP BY 1"
    )
    return {row["id"]: row["n"] for row in stoa.sql(sql)}


def set_platform(person: Person, key: str, value: str) -> int:
    return person.client.post(PLATFORM, json={"key": key, "value": value}).status_code


def test_it_turns_while_secrets_are_read_and_written(server: Stoa, tmp_path: Path) -> None:
    admin, ring = server.person(), ring_of(tmp_path)
    for number in range(20):
        assert set_platform(admin, f"KEY_{number}", f"value {number}") == 200
    planted(server, ring, MANY)
    old = ring.now()[0].kid
    expected = {f"KEY_{number}": f"value {number}" for number in range(20)}
    reads: list[bool] = []
    writes: list[int] = []
    over = threading.Event()

    def read() -> None:
        client = server.client(admin.token)
        while not over.is_set():
            answer = client.get(f"{PLATFORM}/env")
            told = answer.json() if answer.status_code == 200 else {}
            reads.append(expected.items() <= told.items())

    def write() -> None:
        client = server.client(admin.token)
        while not over.is_set():
            body = {"key": f"WRITTEN_{len(writes) % 7}", "value": str(len(writes))}
            writes.append(client.post(PLATFORM, json=body).status_code)

    threads = [threading.Thread(target=work) for work in (read, read, write)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    began = time.monotonic()
    new, count = rotated(server, ring)
    took_s = time.monotonic() - began
    time.sleep(0.3)
    over.set()
    for thread in threads:
        thread.join()
    assert reads.count(False) == 0
    assert set(writes) == {200}
    assert (len(reads) > 20, len(writes) > 5, took_s < 10) == (True, True, True)
    assert count >= MANY + 20
    assert (new != old, list(in_use(server))) == (True, [new])
    assert [key.kid for key in ring.now()] == [new, old]
    values = with_database(server, lambda database: _planted_values(database, ring))
    assert values == {f"KEY_{number}": f"value {number}" for number in range(MANY)}


async def _planted_values(database: Database, ring: LiveRing) -> dict[str, str]:
    rows = await database.fetch(Statement("SELECT * FROM stoa.secrets WHERE scope = 'planted'"))
    cipher = AesGcmCipher(ring.now)
    secrets = [Secret(**dict(row)) for row in rows]
    return {s.key: cipher.unseal(service.sealed_in(s), service.place_of(s)).decode() for s in secrets}


def test_a_rotation_that_was_broken_off_goes_on_with_its_key(server: Stoa, tmp_path: Path) -> None:
    admin, ring = server.person(), ring_of(tmp_path)
    assert set_platform(admin, "KEY", "value") == 200
    planted(server, ring, 1_200)
    old, half = ring.now()[0].kid, ring.rotate()

    async def one_batch(database: Database) -> int:
        cipher = AesGcmCipher(ring.now)
        return await vault._in_unit(database, cipher, lambda ctx: rotation.rewrap(ctx, vault.BATCH))

    assert with_database(server, one_batch) == vault.BATCH
    assert in_use(server) == {old: 1_201 - vault.BATCH, half.kid: vault.BATCH}
    assert admin.client.get(f"{PLATFORM}/env").json() == {"KEY": "value"}
    assert rotated(server, ring) == (half.kid, 1_201 - vault.BATCH)
    assert in_use(server) == {half.kid: 1_201}
    assert [key.kid for key in ring.now()] == [half.kid, old]


def test_keys_of_the_environment_are_turned_to_the_first_of_them(
    databases: Databases, valkey_url: str, tmp_path: Path
) -> None:
    url, old, new = databases.new(), Key("old", os.urandom(32)), Key("new", os.urandom(32))
    with running(url, valkey_url, tmp_path, master_keys=(old,)) as first:
        admin = first.person("admin")
        assert set_platform(admin, "KEY", "value") == 200
        assert in_use(first) == {"old": 1}
    with running(url, valkey_url, tmp_path, master_keys=(new, old)) as second:
        admin = second.signed_in("admin")
        assert admin.client.get(f"{PLATFORM}/env").json() == {"KEY": "value"}
        ring = LiveRing((new, old), tmp_path, MASTER)
        assert rotated(second, ring) == ("new", 1)
        assert rotated(second, ring) == ("new", 0)
        assert in_use(second) == {"new": 1}
    with running(url, valkey_url, tmp_path, master_keys=(new,)) as third:  # the old one is needed no more
        assert third.signed_in("admin").client.get(f"{PLATFORM}/env").json() == {"KEY": "value"}
    assert not (tmp_path / MASTER.file_name).exists()


def test_a_server_that_lacks_a_key_writes_no_secret_that_others_could_not_read(server: Stoa, tmp_path: Path) -> None:
    """Two servers with files of their own: the second must not begin to encrypt with what the first has not."""
    admin = server.person()
    assert set_platform(admin, "KEY", "value") == 200
    (tmp_path / MASTER.file_name).write_text(f"other {os.urandom(32).hex()}\n")
    answer = admin.client.post(PLATFORM, json={"key": "OTHER", "value": "x"})
    assert (answer.status_code, "master key" in answer.json()["error"]) == (503, True)
    assert admin.client.get(PLATFORM).json() == ["KEY"]


def opened(database_url: str, settings: Settings) -> None:
    async def run() -> None:
        async with Platform.open(settings, database_url, None):
            await asyncio.sleep(0)

    settled(run())


def test_the_wrong_key_stops_the_start(server: Stoa, tmp_path: Path) -> None:
    assert set_platform(server.person(), "KEY", "value") == 200
    (right,) = keys.read_or_create(tmp_path, MASTER)
    settings = Settings(data_dir=tmp_path).with_keys()

    def with_keys(*ring: Key) -> Settings:
        return Settings(data_dir=tmp_path, keys=settings.keys, master_keys=ring)

    opened(server.database_url, settings)
    opened(server.database_url, with_keys(Key("more", os.urandom(32)), right))
    with pytest.raises(Failure, match=f"need master key {right.kid}, which is not among the keys in STOA_MASTER_KEY"):
        opened(server.database_url, with_keys(Key("other", right.secret)))
    with pytest.raises(Failure, match=f"need master key {right.kid}, which is another key than the one in STOA_MASTER"):
        opened(server.database_url, with_keys(Key(right.kid, os.urandom(32))))
    (tmp_path / MASTER.file_name).unlink()
    with pytest.raises(Failure, match=f"not among the keys in {tmp_path / MASTER.file_name}"):
        opened(server.database_url, settings)
    with pytest.raises(Failure, match="put the right one back"):
        rotated(server, LiveRing((Key("other", os.urandom(32)),), tmp_path, MASTER))


def test_serve_says_so_in_a_line(server: Stoa, valkey_url: str, tmp_path: Path) -> None:
    assert set_platform(server.person(), "KEY", "value") == 200
    environ = {"STOA_DATABASE_URL": server.database_url, "STOA_VALKEY_URL": valkey_url, "STOA_PORT": "0"}
    environ |= {"STOA_DATA_DIR": str(tmp_path / "elsewhere"), "STOA_MASTER_KEY": f"other:{'ab' * 32}"}
    code, _, err = outcome("serve", **environ)
    assert code == 1
    assert "which is not among the keys in STOA_MASTER_KEY: put the right one back" in err
    assert "Traceback" not in err
    assert "ab" * 32 not in err


def test_the_command_turns_the_key_of_a_folder(server: Stoa, tmp_path: Path) -> None:
    admin = server.person()
    assert set_platform(admin, "KEY", "value") == 200
    environ = {"STOA_DATABASE_URL": server.database_url, "STOA_DATA_DIR": str(tmp_path)}
    code, out, _ = outcome("secrets", "rotate", **environ)
    new, old = keys.read_or_create(tmp_path, MASTER)
    assert (code, out) == (
        0,
        f"1 secrets are now under master key {new.kid}; the others in {tmp_path / MASTER.file_name} are for older"
        " backups only\n",
    )
    assert in_use(server) == {new.kid: 1}
    assert admin.client.get(f"{PLATFORM}/env").json() == {"KEY": "value"}
    assert set_platform(admin, "LATER", "value") == 200
    assert in_use(server) == {new.kid: 2}
    assert old.kid != new.kid


def test_a_secret_that_was_tampered_with_is_named(server: Stoa, tmp_path: Path) -> None:
    admin, ring = server.person(), ring_of(tmp_path)
    for key in ("GOOD", "BAD"):
        assert set_platform(admin, key, "value") == 200
    server.sql("UPDATE stoa.secrets SET wrapped_key = ciphertext WHERE key = 'BAD'")
    with pytest.raises(Failure, match="secret platform/BAD cannot be read"):
        rotated(server, ring)
    assert admin.client.delete(f"{PLATFORM}/BAD").status_code == 200
    assert rotated(server, ring)[1] == 1
    assert admin.client.get(f"{PLATFORM}/env").json() == {"GOOD": "value"}


# The ring.


@pytest.mark.parametrize("text", ["ab" * 31, "ab" * 33, "x" * 64, "kid:" + "ab" * 33, "a b", "kid:", "a:x", ""])
def test_what_is_no_master_key(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(has|is|key|there)") as refused:
        keys.parse(text, MASTER)
    assert "abab" not in str(refused.value)


def test_rings_of_master_keys() -> None:
    (bare,) = keys.parse("AB" * 32, MASTER)
    assert (bare.secret, len(bare.kid)) == (bytes.fromhex("ab" * 32), 12)
    assert [key.kid for key in keys.parse(f"new:{'ab' * 32},old:{'cd' * 32}", MASTER)] == ["new", "old"]


def test_a_ring_sees_new_keys_and_does_not_forget_those_of_a_file_that_went(tmp_path: Path) -> None:
    ring = ring_of(tmp_path)
    (first,) = ring.now()
    second = keys.rotate(tmp_path, MASTER)
    assert ring.now() == (second, first)
    (tmp_path / MASTER.file_name).unlink()
    assert ring.now() == (second, first)
    assert not (tmp_path / MASTER.file_name).exists()
