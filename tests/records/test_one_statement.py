"""Writing one record is one statement, and so one transaction: counted where it arrives, in PostgreSQL's own log."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from domain.apps import catalog
from tests import build
from tests.build import Collections
from tests.harness import Databases, Stoa, running
from tests.holding import held
from tests.typed.asking import Typed

# Process, database and statement of an entry of the log.
STATEMENT = re.compile(
    r"^\S+ \S+ \S+ \[(\d+)\] \w+@(\w+) LOG: +(?:execute [^:]+|statement): (.*?)(?=^\d{4}-)", re.M | re.S
)
Run = Callable[[], Any]


@pytest.fixture(scope="module")
def stoa(databases: Databases, valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stoa]:
    """A server whose statements are in the log."""
    with (
        pytest.MonkeyPatch.context() as patch,
        running(databases.logged(), valkey_url, tmp_path_factory.mktemp("stoa")) as server,
    ):
        patch.setattr(catalog, "TRUSTED_S", 600)  # whether an app is still declared as it was is asked once
        yield server


@pytest.fixture(scope="module")
def parcels(stoa: Stoa) -> Collections:
    return build.app(
        stoa.person("admin"),
        build.entity("depots", build.field("name", required=True)),
        build.entity(
            "parcels",
            build.field("code", required=True),
            build.field("weight", "number"),
            build.field("status", enum_values=["new", "sent"]),
            build.link("depot_id", "depots"),
            indexes=[{"name": "parcels_code", "columns": ["code"], "unique": True}],
        ),
    )


@pytest.fixture
def asked(stoa: Stoa, parcels: Collections, postgres_log: Path) -> Callable[[Run], list[str]]:
    """What the connections that wrote parcels were asked while something ran."""
    parcels.query("parcels")  # so that the app is known

    def statements(run: Run) -> list[str]:
        begin = postgres_log.stat().st_size
        run()
        name = urlsplit(stoa.database_url).path.removeprefix("/")
        text = postgres_log.read_bytes()[begin:].decode() + "0000-"
        entries = [(pid, sql.strip()) for pid, database, sql in STATEMENT.findall(text) if database == name]
        writing = {pid for pid, sql in entries if f'"{parcels.app_id}"."parcels"' in sql}
        return [sql for pid, sql in entries if pid in writing and not sql.startswith("SELECT o.tx")]  # the feed's

    return statements


def kinds(statements: list[str]) -> list[str]:
    """What each does."""
    found = (re.match(r"(?:WITH author AS .*?\)\) )?([A-Z]+)", sql, re.S) for sql in statements)
    return [word[1] for word in found if word is not None]


def everything(stoa: Stoa, parcels: Collections) -> dict[str, int]:
    tables = [f'"{parcels.app_id}"."parcels"', "stoa.audit_log", "stoa.outbox", "stoa.idempotency_keys"]
    return {table: stoa.sql(f"SELECT count(*) AS n FROM {table}")[0]["n"] for table in tables}


def test_each_way_to_write_one_record_is_one_statement(parcels: Collections, asked: Callable[[Run], list[str]]) -> None:
    client, path, typed = parcels.person.client, parcels.path("parcels"), Typed.of(parcels)
    made = parcels.create("parcels", code="one", weight=1)
    by_id = f'app: "{parcels.app_id}", entity: "parcels", id: "{made["id"]}"'
    values = f'app: "{parcels.app_id}", entity: "parcels", values'
    assert kinds(asked(lambda: client.post(path, json={"code": "two"}))) == ["INSERT"]
    assert kinds(asked(lambda: client.post(f"{path}/bulk", json=[{"code": "b1"}, {"code": "b2"}]))) == ["INSERT"]
    assert kinds(asked(lambda: client.patch(f"{path}/{made['id']}", json={"weight": 2}))) == ["UPDATE"]
    assert kinds(asked(lambda: parcels.person.data(f'mutation {{ createRecord({values}: {{code: "g"}}) }}'))) == [
        "INSERT"
    ]
    assert kinds(
        asked(lambda: parcels.person.data(f"mutation {{ updateRecord({by_id}, values: {{weight: 3}}) }}"))
    ) == ["UPDATE"]
    assert kinds(asked(lambda: typed.data('mutation { createParcel(values: {code: "t"}) { id code } }'))) == ["INSERT"]
    assert kinds(asked(lambda: client.delete(f"{path}/{made['id']}"))) == ["DELETE"]


def test_it_writes_the_record_its_log_entry_and_its_event_once(stoa: Stoa, parcels: Collections) -> None:
    path = parcels.path("parcels")
    before = everything(stoa, parcels)
    made = parcels.create("parcels", code="once")
    parcels.person.client.patch(f"{path}/{made['id']}", json={"weight": 2}).raise_for_status()
    parcels.person.client.delete(f"{path}/{made['id']}").raise_for_status()
    after = everything(stoa, parcels)
    assert [after[table] - before[table] for table in before] == [0, 3, 3, 0]
    told = stoa.sql(
        "SELECT a.operation, a.actor_id::text AS actor_id, a.door, o.kind FROM stoa.audit_log a "
        "JOIN stoa.outbox o ON o.audit_id = a.id WHERE a.record_id = $1 ORDER BY a.id",
        made["id"],
    )
    signed = {"actor_id": parcels.person.id, "door": "api", "kind": "record.changed"}
    assert told == [{"operation": verb, **signed} for verb in ("INSERT", "UPDATE", "DELETE")]


@pytest.mark.parametrize(
    ("values", "status", "code"),
    [
        ({"code": "taken"}, 409, "conflict"),
        ({"code": "linked", "depot_id": "00000000-0000-0000-0000-000000000009"}, 409, "conflict"),
        ({"code": "checked", "status": "lost"}, 400, "invalid_input"),
        ({"code": "typed", "weight": "much"}, 400, "invalid_input"),
        ({"weight": 1}, 400, "invalid_input"),
    ],
)
def test_one_that_is_refused_leaves_nothing(
    stoa: Stoa, parcels: Collections, values: dict[str, Any], status: int, code: str
) -> None:
    if not parcels.query("parcels", where={"code": "taken"})["total"]:
        parcels.create("parcels", code="taken")
    before = everything(stoa, parcels)
    answer = parcels.person.client.post(parcels.path("parcels"), json=values)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    many = parcels.person.client.post(parcels.path("parcels", "bulk"), json=[{"code": "first"}, values])
    assert many.status_code == status
    assert everything(stoa, parcels) == before


def test_a_record_that_is_not_there_is_missing(stoa: Stoa, parcels: Collections) -> None:
    before = everything(stoa, parcels)
    nowhere = parcels.path("parcels", "00000000-0000-0000-0000-000000000009")
    assert parcels.person.client.patch(nowhere, json={"weight": 2}).status_code == 404
    assert parcels.person.client.delete(nowhere).status_code == 404
    assert everything(stoa, parcels) == before


def test_several_of_an_operation_are_one_transaction(parcels: Collections, asked: Callable[[Run], list[str]]) -> None:
    create = f'createRecord(app: "{parcels.app_id}", entity: "parcels", values: {{code: "%s"}})'
    query = f"mutation {{ a: {create % 'a'} ...b }} fragment b on Mutation {{ b: {create % 'b'} }}"
    ran = asked(lambda: parcels.person.data(query))
    assert kinds(ran) == ["BEGIN", "INSERT", "INSERT", "COMMIT"]


def test_with_an_idempotency_key_it_is_one_transaction_with_the_answer_that_is_kept(
    parcels: Collections, asked: Callable[[Run], list[str]]
) -> None:
    headers = {"idempotency-key": "a key of the test"}

    def create() -> None:
        answer = parcels.person.client.post(parcels.path("parcels"), json={"code": "kept"}, headers=headers)
        assert answer.status_code == 201

    ran = kinds(asked(create))
    assert (ran[0], ran[-1]) == ("BEGIN", "COMMIT")
    assert ran.count("INSERT") == 2  # the record, and the answer
    create()
    assert parcels.query("parcels", where={"code": "kept"})["total"] == 1


def test_a_connection_that_is_lost_in_the_middle_leaves_nothing(stoa: Stoa, parcels: Collections) -> None:
    """The record is in, its entry of the log is not yet: then the backend goes."""
    before = everything(stoa, parcels)
    answers = []
    waiting = (
        "SELECT pg_terminate_backend(pid) AS gone FROM pg_stat_activity WHERE datname = current_database() "
        "AND wait_event_type = 'Lock' AND query LIKE '%INSERT INTO%'"
    )

    def create() -> None:
        answers.append(parcels.person.client.post(parcels.path("parcels"), json={"code": "half"}))

    with held(stoa.database_url, "LOCK TABLE stoa.audit_log IN EXCLUSIVE MODE"):
        thread = threading.Thread(target=create)
        thread.start()
        while not stoa.sql(waiting):
            time.sleep(0.02)
        thread.join()
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(503, "unavailable")]
    assert everything(stoa, parcels) == before
