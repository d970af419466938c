"""What fails beside us is a short, honest 503 or nothing at all; nothing is half done, or twice; all of it heals."""

import os
import signal
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from infra.embedded.postgres import EmbeddedPostgres
from infra.embedded.valkey import EmbeddedValkey
from infra.postgres import database, migrate
from tests import build
from tests.build import Collections
from tests.graph.listening import eventually, listening
from tests.harness import Databases, Person, Stoa, at_once, running, settled
from tests.holding import held


@pytest.fixture
def parcels(fresh: Stoa) -> Collections:
    return parcels_of(fresh.person("admin"))


def parcels_of(admin: Person) -> Collections:
    return build.app(admin, build.entity("parcels", build.field("code")))


class Load:
    """Clients that read and write without a pause, and what they are answered."""

    def __init__(self, stoa: Stoa, parcels: Collections) -> None:
        self._stoa = stoa
        self._parcels = parcels
        self._over = threading.Event()
        self.answers: Counter[tuple[str, int, str]] = Counter()
        self.acknowledged: list[str] = []
        self.odd: list[str] = []

    def _client(self) -> httpx.Client:
        return httpx.Client(base_url=self._stoa.base_url, headers=self._parcels.person.client.headers, timeout=30)

    def _run(self, number: int) -> None:
        kinds = (self._write, self._read, self._query, self._health)
        with self._client() as client:
            while not self._over.is_set():
                kinds[number % len(kinds)](client)

    def _write(self, client: httpx.Client) -> None:
        code = str(uuid4())
        answer = client.post(self._parcels.path("parcels"), json={"code": code})
        if answer.status_code == 201:
            self.acknowledged.append(code)
        self._note("write", answer, 201)

    def _read(self, client: httpx.Client) -> None:
        self._note("read", client.get(self._parcels.path("parcels"), params={"limit": "3"}), 200)

    def _query(self, client: httpx.Client) -> None:
        answer = client.post("/graphql", json={"query": "{me{username} roles{name} apps{id}}"})
        errors = answer.json().get("errors", [])
        codes = {error["extensions"]["code"] for error in errors} or {"ok"}
        self.answers["query", answer.status_code, ",".join(sorted(codes))] += 1
        if not codes <= {"ok", "UNAVAILABLE"} or (errors and "retry-after" not in answer.headers):
            self.odd.append(answer.text)

    def _health(self, client: httpx.Client) -> None:
        began = time.monotonic()
        self._note("health", client.get("/health"), 200)
        if time.monotonic() - began > 3:  # at once, on a machine that has others to serve
            self.odd.append(f"health took {time.monotonic() - began:.1f} s")

    def _note(self, kind: str, answer: httpx.Response, success: int) -> None:
        told = "ok" if answer.status_code == success else str(answer.json().get("code"))
        self.answers[kind, answer.status_code, told] += 1
        honest = (answer.status_code, told) == (503, "unavailable") and "retry-after" in answer.headers
        if answer.status_code != success and not (honest and kind != "health"):
            self.odd.append(answer.text)

    def successes(self) -> int:
        return sum(count for (_, _, told), count in self.answers.items() if told == "ok")

    @contextmanager
    def under_way(self) -> Iterator[None]:
        with ThreadPoolExecutor(8) as threads:
            runs = [threads.submit(self._run, number) for number in range(8)]
            try:
                yield
            finally:
                self._over.set()
        for run in runs:
            run.result()

    def assert_honest(self) -> None:
        """Only successes and 503s; what was acknowledged is there."""
        assert self.odd == []
        refused = sum(count for (_, _, told), count in self.answers.items() if told != "ok")
        assert refused > 0, f"nobody noticed: {self.answers}"
        stored = {row["code"] for row in self._stoa.sql(f'SELECT code FROM "{self._parcels.app_id}"."parcels"')}
        assert set(self.acknowledged) <= stored


def heals(stoa: Stoa, parcels: Collections) -> None:
    """Everything answers again, on every connection there may be."""
    answers = at_once([lambda: parcels.person.graphql("{me{username} apps{id}}") for _ in range(25)])
    assert all("errors" not in answer for answer in answers)
    made = at_once([lambda: parcels.create("parcels", code="healed") for _ in range(25)])
    assert len({record["id"] for record in made}) == 25


def test_backends_that_are_cut_off_are_503s_and_heal(fresh: Stoa, parcels: Collections, databases: Databases) -> None:
    load = Load(fresh, parcels)
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()"
    name = fresh.sql("SELECT current_database() AS name")[0]["name"]
    with load.under_way():
        for _ in range(12):
            before = load.successes()
            eventually(lambda b=before: load.successes() > b + 20)
            settled(databases._as_superuser(cut.replace("$1", f"'{name}'")))
    load.assert_honest()
    heals(fresh, parcels)


@pytest.fixture
def own_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """An engine of the test's own, to be stopped at will."""
    with tempfile.TemporaryDirectory(prefix="stoa-test-") as folder:
        Path(folder).chmod(0o711)
        postgres = EmbeddedPostgres(Path(folder), durable=False)
        try:
            settled(migrate.upgrade(postgres.start()))
            yield postgres
        finally:
            postgres.stop(2)


def test_a_database_that_restarts_is_503s_and_heals(own_postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    with running(own_postgres.url, None, tmp_path) as stoa:
        parcels = parcels_of(stoa.person("admin"))
        load = Load(stoa, parcels)
        with listening(stoa, parcels.person, app=parcels.app_id, entity="parcels") as events:
            parcels.create("parcels", code="before")
            cursor = events.change()["cursor"]
        with load.under_way():
            eventually(lambda: load.successes() > 50)
            own_postgres.stop(5)
            time.sleep(1)
            own_postgres.start()
            after = load.successes()
            eventually(lambda: load.successes() > after + 100)
        load.assert_honest()
        heals(stoa, parcels)
        with listening(stoa, parcels.person, app=parcels.app_id, entity="parcels", after=cursor) as events:
            stored = stoa.sql(
                f"SELECT code FROM \"{parcels.app_id}\".\"parcels\" WHERE code NOT IN ('before', 'healed')"
            )
            heard = {events.change()["record"]["code"] for _ in stored}
        assert set(load.acknowledged) <= heard == {row["code"] for row in stored}
        made = parcels.create("parcels", code="after")
        assert parcels.person.client.get(parcels.path("parcels", made["id"])).json() == made


def test_a_database_that_is_away_is_told_at_once(own_postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    with running(own_postgres.url, None, tmp_path) as stoa:
        parcels = parcels_of(stoa.person("admin"))
        time.sleep(1.1)  # nothing is believed from before
        own_postgres.stop(5)
        began = time.monotonic()
        for answer in (
            parcels.person.client.get(parcels.path("parcels")),
            parcels.person.client.post(parcels.path("parcels"), json={"code": "x"}),
            parcels.person.client.get("/api/v1/users"),
            stoa.client().get("/api/v1/auth/mode"),
            stoa.client().post("/api/v1/auth/login", json={"username": "admin", "password": "Str0ngPass1"}),
        ):
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            assert int(answer.headers["retry-after"]) >= 1
        for query in (
            "{me{id}}",
            'mutation{deleteRole(name: "x")}',
            'subscription{recordChanged(app:"a",entity:"b"){id}}',
        ):
            answer = parcels.person.client.post("/graphql", json={"query": query})
            assert (answer.status_code, answer.json()["errors"][0]["extensions"]["code"]) == (503, "UNAVAILABLE")
            assert int(answer.headers["retry-after"]) >= 1
        assert stoa.client().get("/health").status_code == 200
        full = stoa.client().get("/health", params={"full": ""})
        assert (full.status_code, full.json()["database"]) == (200, {"reachable": False})
        assert time.monotonic() - began < 5
        own_postgres.start()
        heals(stoa, parcels)


def test_a_statement_that_takes_too_long_is_a_timeout(
    databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "STATEMENT_TIMEOUT_MS", 300)
    with running(databases.new(), None, tmp_path) as stoa:
        parcels = parcels_of(stoa.person("admin"))
        with held(stoa.database_url, f'LOCK TABLE "{parcels.app_id}"."parcels" IN ACCESS EXCLUSIVE MODE'):
            read = parcels.person.client.get(parcels.path("parcels"))
            write = parcels.person.client.post(parcels.path("parcels"), json={"code": "x"})
            query = f'{{records(app: "{parcels.app_id}", entity: "parcels") {{ rows }}}}'
            assert parcels.person.code(query) == "QUERY_TIMEOUT"
        assert [(answer.status_code, answer.json()["code"]) for answer in (read, write)] == [(400, "query_timeout")] * 2
        assert parcels.query("parcels")["total"] == 0
        heals(stoa, parcels)


def test_a_pool_that_is_used_up_is_a_503_in_two_seconds_and_health_answers(
    databases: Databases, tmp_path: Path
) -> None:
    with running(databases.new(), None, tmp_path, database_connections=2) as stoa:
        parcels = parcels_of(stoa.person("admin"))
        there = [parcels.path("parcels", parcels.create("parcels", code=code)["id"]) for code in ("a", "b")]
        base = {"base_url": stoa.base_url, "headers": parcels.person.client.headers, "timeout": 30}
        waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"

        def timed(method: str, path: str, **more: Any) -> tuple[int, float, httpx.Response]:
            began = time.monotonic()
            with httpx.Client(**base) as client:
                answer = client.request(method, path, **more)
            return answer.status_code, time.monotonic() - began, answer

        with ThreadPoolExecutor(20) as threads:
            with held(stoa.database_url, f'LOCK TABLE "{parcels.app_id}"."parcels" IN ACCESS EXCLUSIVE MODE'):
                path = parcels.path("parcels")
                # Statements of different words and values, of which none is run with another: two read, two write.
                holding = [threads.submit(timed, "GET", path, params={"limit": n}) for n in (1, 2)]
                holding += [threads.submit(timed, "PATCH", one, json={"code": "held"}) for one in there]
                eventually(lambda: len(stoa.sql(waiting)) == 4)
                runs = [threads.submit(timed, "POST", path, json={"code": f"{n}"}) for n in range(7)]
                runs += [threads.submit(timed, "GET", path) for _ in range(7)]
                time.sleep(0.3)
                nobody = {"headers": {"authorization": ""}}  # who somebody is may have to be looked up
                healths = [timed("GET", "/health", **nobody) for _ in range(10)]
                eventually(lambda: all(run.done() for run in runs))
            answers = [run.result() for run in runs]
        refused = [(took_s, answer) for status, took_s, answer in answers if status == 503]
        assert len(refused) == 14
        assert [run.result()[0] for run in holding] == [200] * 4
        assert {answer.json()["code"] for _, answer in refused} == {"unavailable"}
        assert all(answer.headers["retry-after"] == "1" for _, answer in refused)
        assert (
            max(took_s for took_s, _ in refused) < database.ACQUIRE_TIMEOUT_S + 1.5
        )  # the machine has others to serve
        assert {status for status, _, _ in healths} == {200}
        assert statistics.median(took_s for _, took_s, _ in healths) < 0.25
        assert [row["code"] for row in parcels.query("parcels")["data"]] == ["held"] * 2


def test_what_is_cut_off_is_whole_or_not_there_and_once_however_often_it_is_sent(
    fresh: Stoa, parcels: Collections, databases: Databases
) -> None:
    """Batches, sent with their key until they are taken, while connections are cut: rows, log and events agree."""
    name = fresh.sql("SELECT current_database() AS name")[0]["name"]
    cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid()"
    over = threading.Event()
    refused: Counter[int] = Counter()

    def keep_cutting() -> None:
        while not over.wait(0.1):
            settled(databases._as_superuser(cut))

    def send(worker: int) -> None:
        with httpx.Client(base_url=fresh.base_url, headers=parcels.person.client.headers, timeout=30) as client:
            for batch in range(8):
                rows = [{"code": f"{worker}-{batch}-{row}"} for row in range(5)]
                key = {"idempotency-key": f"{worker}-{batch}"}
                while (answer := client.post(parcels.path("parcels", "bulk"), json=rows, headers=key)).is_error:
                    refused[answer.status_code] += 1
                assert [record["code"] for record in answer.json()] == [row["code"] for row in rows]

    with ThreadPoolExecutor(7) as threads:
        cutting = threads.submit(keep_cutting)
        try:
            for run in [threads.submit(send, worker) for worker in range(6)]:
                run.result()
        finally:
            over.set()
        cutting.result()
    assert refused.keys() == {503}
    expected = sorted(f"{worker}-{batch}-{row}" for worker in range(6) for batch in range(8) for row in range(5))
    assert sorted(row["code"] for row in fresh.sql(f'SELECT code FROM "{parcels.app_id}"."parcels"')) == expected
    logged = "SELECT new_record->>'code' AS code FROM stoa.audit_log WHERE entity = 'parcels' AND operation = 'INSERT'"
    assert sorted(row["code"] for row in fresh.sql(logged)) == expected
    at_once([lambda: parcels.person.graphql("{me{username} apps{id}}") for _ in range(25)])  # finds what was cut last
    heals(fresh, parcels)


@pytest.fixture
def own_valkey() -> Iterator[EmbeddedValkey]:
    """An engine of the test's own, to be killed at will."""
    with tempfile.TemporaryDirectory(prefix="stoa-test-") as folder:
        Path(folder).chmod(0o711)
        valkey = EmbeddedValkey(Path(folder))
        try:
            valkey.start()
            yield valkey
        finally:
            valkey.stop(1)


def test_without_valkey_everything_is_answered_and_processes_still_hear_each_other(
    own_valkey: EmbeddedValkey, databases: Databases, tmp_path: Path
) -> None:
    (tmp_path / "one").mkdir()
    url = databases.new()
    with running(url, own_valkey.url, tmp_path / "one") as one, running(url, own_valkey.url, tmp_path / "one") as other:
        parcels = parcels_of(one.person("admin"))
        reader = httpx.Client(base_url=other.base_url, headers=parcels.person.client.headers, timeout=30)

        def all_is_well(code: str) -> None:
            began = time.monotonic()
            made = parcels.create("parcels", code=code)
            assert reader.get(parcels.path("parcels", made["id"])).json() == made
            assert one.signed_in("admin").id == parcels.person.id
            assert one.client().get("/health").json() == {"status": "ok"}
            assert time.monotonic() - began < 5

        with reader, listening(other, parcels.person, app=parcels.app_id, entity="parcels") as events:
            all_is_well("before")
            assert events.change()["record"]["code"] == "before"
            assert own_valkey.pid is not None
            os.kill(own_valkey.pid, signal.SIGKILL)
            for number in range(3):
                all_is_well(f"without {number}")
                assert events.change()["record"]["code"] == f"without {number}"
            own_valkey.start()
            all_is_well("after")
            assert events.change()["record"]["code"] == "after"
