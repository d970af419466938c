"""The worker: its chores, its wire format, and what it outlives."""

import asyncio
import os
import signal
import time
from datetime import timedelta

import pytest

from infra import worker
from infra.embedded.valkey import EmbeddedValkey
from infra.settings import Settings
from infra.worker import Maintenance
from tests.infra.running import PATIENCE_S, Stoa, command, eventually, outcome, processes_of


async def nothing(_context: worker.Context) -> None:
    return


@pytest.fixture
def chores(monkeypatch):
    """Chores of the test's own, a fresh list."""
    found: list[Maintenance] = []
    monkeypatch.setattr(worker, "MAINTENANCE", found)
    monkeypatch.setattr(worker, "POLL_S", 0.05)
    return found


async def run_until(condition, database_url: str, valkey_url: str, within_s: float = PATIENCE_S) -> None:
    """A worker in this process, until the condition holds."""
    context = {"settings": Settings(), "database_url": database_url, "valkey_url": valkey_url}
    working = asyncio.create_task(worker._work(context))
    try:
        async with asyncio.timeout(within_s):
            while not condition():
                assert not working.done(), working.result()
                await asyncio.sleep(0.02)
    finally:
        working.cancel()
        await asyncio.wait({working}, timeout=2)


@pytest.mark.parametrize(
    ("every", "times"),
    [
        (timedelta(seconds=20), (None, None, {0, 20, 40})),
        (timedelta(minutes=1), (None, None, {0})),
        (timedelta(minutes=15), (None, {0, 15, 30, 45}, {0})),
        (timedelta(hours=1), (None, {0}, {0})),
        (timedelta(hours=12), ({0, 12}, {0}, {0})),
        (timedelta(days=1), ({0}, {0}, {0})),
    ],
)
def test_intervals(every, times):
    assert Maintenance("chore", nothing, every).falls_on() == times


@pytest.mark.parametrize("seconds", [0, -5, 0.5, 7, 90, 7 * 60, 5 * 3600, 2 * 86400])
def test_an_interval_that_fits_no_clock_is_refused(seconds):
    with pytest.raises(ValueError, match=r"chore: .* does not divide"):
        Maintenance("chore", nothing, timedelta(seconds=seconds)).falls_on()


async def test_a_chore_runs_with_its_context(chores, postgres_url, valkey_url):
    seen = []

    async def look(context: worker.Context) -> None:
        seen.append(context)

    chores.append(Maintenance("look", look, timedelta(seconds=1)))
    await run_until(lambda: seen, postgres_url, valkey_url)
    assert (seen[0]["database_url"], seen[0]["valkey_url"]) == (postgres_url, valkey_url)
    assert isinstance(seen[0]["settings"], Settings)


async def test_a_chore_that_fails_is_run_again(chores, postgres_url, valkey_url):
    tries = []

    async def fail(_context: worker.Context) -> None:
        tries.append(1)
        raise ConnectionRefusedError("no database here") if len(tries) == 1 else ZeroDivisionError

    chores.append(Maintenance("fail", fail, timedelta(seconds=1)))
    await run_until(lambda: len(tries) >= 2, postgres_url, valkey_url)


async def test_it_outlives_valkey(chores, postgres_url, data_dir):
    runs = []

    async def note(_context: worker.Context) -> None:
        runs.append(time.monotonic())

    chores.append(Maintenance("note", note, timedelta(seconds=1)))
    valkey = EmbeddedValkey(data_dir)
    back = []

    def crashed_and_came_back() -> bool:
        if runs and valkey.alive() and not back:
            os.kill(valkey.pid, signal.SIGKILL)
            assert eventually(lambda: not valkey.alive())
            back.append(asyncio.get_running_loop().call_later(0.5, valkey.start) and time.monotonic() + 0.5)
        return bool(back) and runs[-1] > back[0]

    try:
        await run_until(crashed_and_came_back, postgres_url, valkey.start())
    finally:
        valkey.stop()


async def test_what_is_enqueued_is_json(valkey_url):
    queue = await worker.connect(valkey_url)
    try:
        await queue.flushdb()
        job = await queue.enqueue_job("run", {"id": 1}, word="ü")
        stored = await queue.get(f"arq:job:{job.job_id}")
        assert worker.loads(stored)["k"] == {"word": "ü"}
        assert (await queue.queued_jobs(queue_name=worker.QUEUE))[0].args == [{"id": 1}]
        await queue.flushdb()
    finally:
        await queue.aclose(close_connection_pool=True)
    assert worker.loads(worker.dumps({"r": ValueError("bad")})) == {"r": "ValueError: bad"}


async def test_the_real_chore_measures(postgres_url):
    await worker.measure_database({"database_url": postgres_url})


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("redis://:p%40ss@host:1/3", {"host": "host", "port": 1, "password": "p@ss", "database": 3, "ssl": False}),
        ("rediss://host", {"host": "host", "port": 6379, "database": 0, "ssl": True}),
        ("unix:///a%20b/v.sock?db=2", {"unix_socket_path": "/a b/v.sock", "database": 2}),
    ],
)
def test_urls(url, wanted):
    found = worker.queue_settings(url)
    assert {name: getattr(found, name) for name in wanted} == wanted


def test_alone_it_says_what_is_missing(data_dir):
    code, out, err = outcome("worker", STOA_DATA_DIR=str(data_dir))
    assert (code, out) == (2, "")
    assert err == (
        f"stoa: no server with embedded engines runs on {data_dir}: start `stoa serve` there,"
        " or set STOA_DATABASE_URL and STOA_VALKEY_URL\n"
    )


def test_beside_a_server_it_attaches_and_outlives_it(stoa: Stoa, data_dir):
    stoa.start("--no-worker")
    log = data_dir.parent / "worker.log"
    process = command("worker", log=log, STOA_DATA_DIR=str(data_dir))
    try:
        assert eventually(lambda: "worker_ready" in log.read_text())
        stoa.send(signal.SIGINT)
        assert stoa.wait() == 0
        assert eventually(lambda: "valkey_unreachable" in log.read_text())
        assert [line for line in processes_of(data_dir) if "infra.cli worker" not in line] == []
        stoa.start("--no-worker")
        assert eventually(lambda: log.read_text().count("worker_ready") == 2)
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
        assert time.monotonic() - started < 2
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in log.read_text()
