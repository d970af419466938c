"""Whatever dies meanwhile, a job that was acknowledged comes to one result: none is lost, none is told twice.

Every process that runs jobs is killed, Valkey with all it knows, and every connection to PostgreSQL, while jobs are
handed in and run. Planted and seen red: a job that is told of without a look at its fence, and a sweep that forgets.
"""

import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any
from uuid import uuid4

import httpx
import pytest
import redis

from infra.embedded.valkey import EmbeddedValkey
from tests.harness import Databases, Person, Stoa, running
from tests.infra.running import command
from tests.workers.hosting import deployed, eventually, hosting

CODE = "serve({rpc: {}, onJob: async ({n, ms}) => { await new Promise((r) => setTimeout(r, ms)); return n }})"
ENQUEUE = 'mutation ($jobs: [JobInput!]!) { enqueueJobs(app: "works", jobs: $jobs) { id } }'
LEASED = "SELECT count(DISTINCT holder) AS holders FROM stoa.jobs WHERE status = 'running'"
HANG_UP = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'stoa'
"""
TOLD = """
SELECT payload->>'job_id' AS id, count(*) AS times FROM stoa.outbox
WHERE kind = 'job.changed' AND payload->>'status' IN ('completed', 'failed') GROUP BY 1
"""


@pytest.fixture
def valkey() -> Iterator[EmbeddedValkey]:
    with tempfile.TemporaryDirectory(prefix="stoa-jobs-", ignore_cleanup_errors=True) as folder:
        valkey = EmbeddedValkey(Path(folder))
        valkey.start()
        yield valkey
        valkey.stop(1)


@pytest.fixture
def server(databases: Databases, valkey: EmbeddedValkey, tmp_path: Path) -> Iterator[Stoa]:
    with running(databases.new(), valkey.url, tmp_path) as stoa:
        yield stoa


@contextmanager
def workers(stoa: Stoa, count: int, log: Path) -> Iterator[list["Popen[str]"]]:
    """Processes that run jobs, killed at the end of the block if not before."""
    settings = stoa.app._settings
    environ = {
        "STOA_DATABASE_URL": stoa.database_url,
        "STOA_VALKEY_URL": stoa.valkey_url or "",
        "STOA_DATA_DIR": str(settings.data_dir),
        "STOA_PUBLIC_URL": stoa.base_url,
    }
    processes = [command("worker", log=log, **environ) for _ in range(count)]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


class HandingIn:
    """Somebody who hands jobs in without a pause; what was acknowledged is theirs to count on."""

    def __init__(self, person: Person, ms: int) -> None:
        self.acknowledged: dict[str, int] = {}
        self._client = httpx.Client(base_url=person.client.base_url, headers=person.client.headers, timeout=30)
        self._ms = ms
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        n = 1000
        while not self._over.wait(0.02):
            n += 1
            key, body = uuid4().hex, {"payload": {"n": n, "ms": self._ms}}
            for _ in range(50):  # the same key until somebody says yes: it is handed in once
                answer = self._client.post("/api/v1/apps/works/jobs", json=body, headers={"idempotency-key": key})
                if answer.status_code == 201:
                    self.acknowledged[answer.json()["job_id"]] = n
                    break
                assert answer.status_code in (409, 503), answer.text
                time.sleep(0.1)

    def end(self) -> None:
        self._over.set()
        self._thread.join(30)
        self._client.close()


def test_nothing_that_dies_loses_a_job_or_doubles_its_result(
    server: Stoa, valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    admin = server.person("admin")
    log = tmp_path / "workers.log"
    with workers(server, 2, log):
        eventually(lambda: server.sql("SELECT count(*) AS n FROM stoa.worker_hosts")[0]["n"] == 2, 40)
        deployed(admin, "works", CODE)
        jobs = [{"payload": {"n": n, "ms": 900}} for n in range(100)]
        made = admin.data(ENQUEUE, jobs=jobs)["enqueueJobs"]
        expected = {job["id"]: n for n, job in enumerate(made)}
        handing_in = HandingIn(admin, ms=50)
        eventually(lambda: server.sql(LEASED)[0]["holders"] == 2, 10)
    # Both are gone without a word; so is all that Valkey knew, and every connection there was.
    redis.Redis(unix_socket_path=valkey.url.removeprefix("unix://")).flushall()
    server.sql(HANG_UP)
    held = server.sql("SELECT id::text FROM stoa.jobs WHERE status = 'running'")
    assert len(held) > 10
    with workers(server, 1, log):
        time.sleep(2)
        handing_in.end()
        expected |= handing_in.acknowledged
        unfinished = "SELECT count(*) AS n FROM stoa.jobs WHERE finished_at IS NULL"
        eventually(lambda: server.sql(unfinished)[0]["n"] == 0, 60)
    rows = {row["id"]: row for row in server.sql("SELECT id::text, status, result, attempts, losses FROM stoa.jobs")}
    assert rows.keys() == expected.keys()
    assert Counter(row["status"] for row in rows.values()) == {"completed": len(expected)}
    assert {id: int(row["result"]) for id, row in rows.items()} == expected
    assert {row["id"] for row in held} <= {id for id, row in rows.items() if row["losses"] > 0}
    assert {row["id"]: row["times"] for row in server.sql(TOLD)} == dict.fromkeys(expected, 1)


def test_without_valkey_a_job_starts_at_the_next_look(databases: Databases, tmp_path: Path) -> None:
    with running(databases.new(), None, tmp_path) as stoa:
        admin = stoa.person("admin")
        with hosting(stoa):
            app = deployed(admin, "works", CODE)
            made: Any = admin.client.post(f"/api/v1/apps/{app.id}/jobs", json={"payload": {"n": 1, "ms": 0}}).json()
            eventually(
                lambda: admin.client.get(f"/api/v1/apps/works/jobs/{made['job_id']}").json()["status"] == "completed",
                3,
            )
