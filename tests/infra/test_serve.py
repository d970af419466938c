"""`stoa serve` as a whole: it starts in order, survives its parts, and leaves nothing behind."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException
from urllib.error import URLError

import asyncpg
import pytest
from websockets.sync.client import connect as open_websocket

from infra.lock import holder
from tests.infra.running import PATIENCE_S, TINY, Stoa, command, eventually, outcome, processes_of


async def execute(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


@pytest.fixture
def external(database, valkey_url) -> dict[str, str]:
    """Engines that are there already: a server that has nothing to embed starts faster."""
    return {"STOA_DATABASE_URL": database, "STOA_VALKEY_URL": valkey_url}


def block(stoa: Stoa) -> None:
    """Hold up the server's event loop, until it is gone."""
    with suppress(OSError, HTTPException):
        stoa.get("/block")


async def test_a_whole_life(stoa: Stoa, data_dir):
    stoa.start()
    report = stoa.report()
    assert report["pid"] == stoa.pid
    assert stoa.url == f"http://127.0.0.1:{report['port']}"
    assert eventually(lambda: stoa.events("worker_ready"))
    assert holder(data_dir).database_url == report["database_url"]
    await execute(report["database_url"], "CREATE TABLE kept AS SELECT 42 AS answer")

    assert stoa.stop() == 0
    assert holder(data_dir) is None
    assert stoa.said().count("Stoa is ready") == 1

    stoa.log.unlink()
    started = time.monotonic()
    stoa.start()
    assert await execute(stoa.report()["database_url"], "SELECT answer FROM kept") == 42
    assert time.monotonic() - started < 3
    assert stoa.stop(signal.SIGTERM) == 0


def test_ctrl_c_cuts_streams_and_sockets_and_lets_a_request_finish(stoa: Stoa, external):
    stoa.start(**external)
    host, port = stoa.url.removeprefix("http://").split(":")
    stream = socket.create_connection((host, int(port)))
    stream.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
    assert stream.recv(15) == b"HTTP/1.1 200 OK"
    with open_websocket(f"ws://{host}:{port}/") as chat, ThreadPoolExecutor() as pool:
        slow = pool.submit(stoa.get, "/slow")
        time.sleep(0.3)
        assert stoa.stop(within_s=15) == 0
        assert slow.result() == b"done"
        with pytest.raises(Exception, match="1012"):
            chat.recv(timeout=1)
    stream.close()


def test_a_blocked_server_is_cut_off(stoa: Stoa, external):
    stoa.start(**external)
    threading.Thread(target=block, args=(stoa,), daemon=True).start()
    time.sleep(0.3)
    assert stoa.stop(within_s=15) == 0
    assert stoa.events("server_cut_off")


def test_kill_9_of_each_part_and_of_the_whole(stoa: Stoa):
    stoa.start()
    assert eventually(lambda: stoa.events("worker_ready"))
    for program in ("postgres", "valkey-server"):
        before = stoa.child(program)
        os.kill(before, signal.SIGKILL)
        assert eventually(lambda program=program, before=before: stoa.child(program) not in (before, None))
    (worker,) = [line for line in processes_of(stoa.data_dir) if "infra.cli worker" in line]
    os.kill(int(worker.split()[0]), signal.SIGKILL)
    assert eventually(lambda: len(stoa.events("worker_ready")) >= 2)
    assert [event["child"] for event in stoa.events("child_back")] == ["postgres", "valkey", "worker"]

    assert len(processes_of(stoa.data_dir)) > 5
    stoa.stop(signal.SIGKILL)  # leaves nothing either
    stoa.log.unlink()
    stoa.start()
    assert stoa.stop() == 0


def test_ctrl_c_while_starting(stoa: Stoa, data_dir):
    stoa.start(wait=False)
    assert eventually(lambda: (data_dir / "postgres").exists())
    assert stoa.stop() == 0
    assert "Stoa is ready" not in stoa.said()
    assert "Traceback" not in stoa.said()


def test_other_commands_on_the_folder_of_a_server(stoa: Stoa, data_dir):
    stoa.start("--no-worker")
    assert outcome("migrate", STOA_DATA_DIR=str(data_dir))[:2] == (0, "the database is up to date\n")
    code, out, err = outcome("serve", STOA_DATA_DIR=str(data_dir), STOA_PORT="0")
    assert (code, out) == (2, "")
    assert err.startswith(f"stoa: the data folder {data_dir} is in use by pid {stoa.pid} on ")
    assert err.count("\n") == 1
    assert stoa.stop() == 0


def test_a_taken_port_is_said_before_anything_starts(data_dir):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, err = outcome("serve", "--port", str(port), STOA_DATA_DIR=str(data_dir))
    assert (code, out) == (2, "")
    assert err == f"stoa: port {port} is in use; set STOA_PORT (or --port) to another one\n"
    assert list(data_dir.iterdir()) == []


def test_an_application_that_does_not_start_ends_it_all(stoa: Stoa, external):
    stoa.start(wait=False, TINY_BREAKS="1", **external)
    assert stoa.wait() == 1
    assert "stoa: the application did not start, see the log above" in stoa.said()
    assert processes_of(stoa.data_dir) == []


def test_servers_on_external_engines_share_a_folder(data_dir, external):
    first, second = Stoa(data_dir), Stoa(data_dir)
    second.log = second.log.with_name("second.log")
    try:
        first.start("--no-worker", **external)
        second.start("--no-worker", **external)
        assert first.report()["pid"] != second.report()["pid"]
        assert sorted(path.name for path in data_dir.iterdir()) == ["secret.keys"]
    finally:
        first.end()
        second.end()


def test_several_server_processes_share_the_port_and_are_brought_back(stoa: Stoa, external):
    stoa.start(STOA_WORKERS="2", **external)
    pids: set[int] = set()
    assert eventually(lambda: pids.add(stoa.report()["pid"]) or len(pids) == 2)
    assert stoa.pid not in pids
    with pytest.raises((OSError, HTTPException)):
        stoa.get("/die")
    assert eventually(lambda: stoa.events("child_back"))
    assert eventually(lambda: len(pids & {stoa.report()["pid"] for _ in range(20)}) == 1)

    drained = stoa.report()["pid"]
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(stoa.report) for _ in range(400)]
        os.kill(drained, signal.SIGTERM)
        assert all(answer.result() for answer in answers)
    assert eventually(lambda: len(stoa.events("child_back")) == 2)
    assert stoa.stop() == 0


def test_several_server_processes_that_do_not_start_end_it_all(stoa: Stoa, external):
    stoa.start(wait=False, STOA_WORKERS="2", TINY_BREAKS="1", **external)
    assert stoa.wait() == 1
    assert "a server process did not start, see the log above" in stoa.said()
    assert eventually(lambda: processes_of(stoa.data_dir) == [])


def test_requests_wait_in_line_while_the_server_starts(data_dir, external):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    stoa = Stoa(data_dir)
    try:
        stoa.start("--no-worker", "--port", str(port), wait=False, **external)
        stoa.url = f"http://127.0.0.1:{port}"
        answers = []

        def answered() -> bool:
            try:
                answers.append(stoa.report())
            except URLError:
                return False
            return True

        assert eventually(answered)
        assert answers[0]["port"] == port
    finally:
        stoa.end()


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"STOA_PORT": "x"}, "stoa: STOA_PORT='x' is not a whole number; allowed: 0 to 65535\n"),
        ({"STOA_HOST": "no-such-host.invalid"}, "stoa: no-such-host.invalid is not an address of this machine"),
        ({"STOA_HOST": "192.0.2.1", "STOA_PORT": "0"}, "stoa: cannot listen on 192.0.2.1 port 0"),
        ({"STOA_DATABASE_URL": "postgresql://x@127.0.0.1:1/x"}, "stoa: cannot reach the database: "),
    ],
)
def test_what_people_can_put_right_is_one_line(data_dir, environ, said):
    code, out, err = outcome(
        "serve", "--application", TINY, **{"STOA_DATA_DIR": str(data_dir), "STOA_PORT": "0", **environ}
    )
    complaints = [line for line in err.splitlines() if not line.startswith("{")]
    assert len(complaints) == 1
    assert f"{complaints[0]}\n".startswith(said)
    assert out == ""
    assert code in (1, 2)
    assert eventually(lambda: processes_of(data_dir) == [])


def test_a_second_ctrl_c_does_not_wait(stoa: Stoa, external):
    stoa.start(**external)
    threading.Thread(target=block, args=(stoa,), daemon=True).start()
    time.sleep(0.3)
    for _ in range(3):
        stoa.send(signal.SIGINT)
        time.sleep(0.1)
    assert stoa.wait(5) != 0
    assert eventually(lambda: processes_of(stoa.data_dir) == [], 4)


def test_migrate_without_a_server(data_dir):
    assert outcome("migrate", STOA_DATA_DIR=str(data_dir))[:2] == (0, "the database is up to date\n")
    assert processes_of(data_dir) == []


def test_interrupting_migrate_leaves_nothing(data_dir):
    process = command("migrate", STOA_DATA_DIR=str(data_dir))
    assert eventually(lambda: (data_dir / "postgres").exists())
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, err
    assert "Traceback" not in err


def test_what_a_password_takes_to_check_is_given_back() -> None:
    """A hash takes 19 MiB; glibc would keep them, since it has seen blocks of that size freed."""
    script = """if True:
        import re
        from pathlib import Path
        import argon2
        from infra.server import _return_large_blocks

        def resident_kib():
            return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

        _return_large_blocks()
        hasher = argon2.PasswordHasher(time_cost=1, memory_cost=19 * 1024, parallelism=1)
        hasher.hash("warm")
        before = resident_kib()
        for _ in range(3):
            hasher.hash("Str0ngPass1")
        print(resident_kib() - before)
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) < 5 * 1024, done.stdout
