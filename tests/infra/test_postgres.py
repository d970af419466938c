"""The embedded PostgreSQL: what it is, and what it survives."""

import os
import signal
import stat
import tempfile
import threading
from pathlib import Path

import asyncpg
import pytest

from infra.embedded import child as children
from infra.embedded.child import Stopped
from infra.embedded.postgres import EXTENSIONS, EmbeddedPostgres
from infra.failure import Failure
from tests.infra.running import eventually

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="what only root meets")


@pytest.fixture(scope="module")
def home():
    """One cluster for the tests of a server's life; to make one takes most of a second."""
    with tempfile.TemporaryDirectory(prefix="stoa-test-") as folder:
        os.chmod(folder, 0o711)
        yield Path(folder)


@pytest.fixture
def postgres(home):
    """A server that isn't started yet."""
    server = EmbeddedPostgres(home)
    yield server
    server.stop(2)


async def ask(url: str, question: str):
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


async def write_row(url: str) -> None:
    await ask(url, "CREATE TABLE IF NOT EXISTS kept (answer int)")
    await ask(url, "TRUNCATE kept")
    await ask(url, "INSERT INTO kept VALUES (42)")


async def kept_row(url: str) -> int:
    return await ask(url, "SELECT sum(answer) FROM kept")


async def test_it_is_what_the_platform_needs(postgres_url):
    assert (await ask(postgres_url, "SHOW server_version")).startswith("18.")
    assert await ask(postgres_url, "SELECT current_user::text") == "stoa"
    assert await ask(postgres_url, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False
    assert (
        await ask(
            postgres_url,
            "SELECT pg_get_userbyid(datdba) || ' ' || datlocprovider::text || ' ' || datlocale || ' '"
            " || pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()",
        )
        == "stoa b C.UTF-8 UTF8"
    )
    assert await ask(postgres_url, "SELECT upper('straße naïve')") == "STRAßE NAÏVE"
    settings = {"listen_addresses": "", "jit": "off", "data_checksums": "on", "TimeZone": "UTC", "fsync": "off"}
    for name, value in settings.items():
        assert await ask(postgres_url, f"SHOW {name}") == value
    extensions = await ask(postgres_url, "SELECT array_agg(extname::text) FROM pg_extension")
    assert set(EXTENSIONS) <= set(extensions)


async def test_vectors_are_compared(postgres_url):
    nearest = "SELECT x FROM (VALUES ('[1,0]'::vector), ('[0,1]')) v(x) ORDER BY x <-> '[0.1,0.9]' LIMIT 1"
    assert await ask(postgres_url, f"SELECT ({nearest})::text") == "[0,1]"


async def test_stop_and_start_keep_what_was_written(postgres):
    url = postgres.start()
    await write_row(url)
    postgres.stop()
    assert not postgres.alive()
    assert not (postgres.cluster / "postmaster.pid").exists()
    assert postgres.start() == url
    assert await kept_row(url) == 42


async def test_it_recovers_from_kill_9(postgres):
    url = postgres.start()
    await write_row(url)
    os.kill(postgres.pid, signal.SIGKILL)
    assert eventually(lambda: not postgres.alive())
    postgres.start()
    assert await kept_row(url) == 42


async def test_a_recycled_pid_does_not_stop_the_start(postgres):
    """As in a container, where the pid of a killed server soon is another program's: here, this test's."""
    url = postgres.start()
    await write_row(url)
    kept = [(path, path.read_text()) for path in (postgres.cluster / "postmaster.pid", _socket_lock(postgres))]
    postgres.stop()
    for path, text in kept:
        path.write_text(text.replace(text.split("\n", 1)[0], str(os.getpid()), 1))
        os.chown(path, postgres.folder.stat().st_uid, postgres.folder.stat().st_gid)
    assert postgres.start() == url
    assert await kept_row(url) == 42


def test_two_on_one_folder_is_one_too_many(postgres):
    postgres.start()
    second = EmbeddedPostgres(postgres.folder.parent)
    with pytest.raises(Failure, match=rf"another postgres is still at work in .* \(pid .*{postgres.pid}"):
        second.launch(0)
    assert postgres.alive()


def test_a_start_can_be_called_off(data_dir):
    stopping = threading.Event()
    stopping.set()
    with pytest.raises(Stopped):
        EmbeddedPostgres(data_dir, stopping=stopping).start()
    assert sorted(path.name for path in (data_dir / "postgres").iterdir()) == ["initdb.log"]


def test_a_failed_start_says_why(postgres):
    postgres.start()
    postgres.stop()
    version = (postgres.cluster / "PG_VERSION").read_text()
    (postgres.cluster / "PG_VERSION").write_text("9.6\n")
    try:
        with pytest.raises(Failure, match=r"PostgreSQL did not start: .*initialized by PostgreSQL version 9\.6"):
            postgres.start()
    finally:
        (postgres.cluster / "PG_VERSION").write_text(version)


def test_a_long_log_is_put_aside_at_the_start(postgres, monkeypatch):
    postgres.start()
    postgres.stop()
    log = postgres.folder / "server.log"
    monkeypatch.setattr(children, "LOG_BYTES_MAX", log.stat().st_size - 1)
    before = log.read_text()
    postgres.start()
    assert (postgres.folder / "server.log.1").read_text() == before
    assert before not in log.read_text()


async def test_a_path_too_long_for_a_socket_gets_a_short_private_folder(data_dir):
    server = EmbeddedPostgres(data_dir / ("x" * 90), durable=False)
    server.folder.parent.mkdir(mode=0o711)
    url = server.start()
    try:
        assert await ask(url, "SELECT 1") == 1
        sockets = Path(url.partition("host=")[2])
        assert sockets.parent == Path(tempfile.gettempdir())
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
    finally:
        server.stop()
    assert not sockets.exists()


@AS_ROOT
async def test_as_root_it_runs_under_an_account_of_less_rights(postgres, home):
    url = postgres.start()
    if postgres.folder.stat().st_uid == 0:
        pytest.skip("this checkout cannot be reached by another account")
    assert os.stat(f"/proc/{postgres.pid}").st_uid == postgres.folder.stat().st_uid
    assert stat.S_IMODE(postgres.folder.stat().st_mode) == 0o700
    assert home.stat().st_uid == 0
    assert await ask(url, "SELECT 1") == 1


@AS_ROOT
async def test_as_root_in_a_private_home_it_runs_in_a_user_namespace(data_dir):
    data_dir.chmod(0o700)
    server = EmbeddedPostgres(data_dir, durable=False)
    url = server.start()
    try:
        assert await ask(url, "SELECT 1") == 1
        assert Path(f"/proc/{server.pid}/uid_map").read_text().split() == ["1000", "0", "1"]
        assert server.cluster.stat().st_uid == 0
        assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    finally:
        server.stop()


@AS_ROOT
def test_as_root_without_any_account_it_says_what_to_do(data_dir, monkeypatch):
    monkeypatch.setattr("infra.embedded.account._candidates", list)
    with pytest.raises(Failure, match=rf"none can reach both {data_dir}/postgres and .* set STOA_DATA_DIR"):
        EmbeddedPostgres(data_dir).start()
    assert list(data_dir.iterdir()) == []


def _socket_lock(postgres: EmbeddedPostgres) -> Path:
    return Path(postgres.url.partition("host=")[2]) / ".s.PGSQL.5432.lock"
