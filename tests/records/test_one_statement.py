"""Writing one record is one statement, and so one transaction; reading is one, whatever is asked for.

Counted where it arrives, in PostgreSQL's own log; and in Python, where no row or field may cost anything.
"""

import re
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from domain.apps import catalog
from domain.identity import principals
from tests import build
from tests.build import Collections
from tests.harness import Databases, Stoa, running
from tests.holding import held
from tests.typed.asking import Typed

# Process, database and statement of an entry of the log.
STATEMENT = re.compile(
    r"^\S+ \S+ \S+ \[(\d+)\] \w+@(\w+) LOG: +(?:execute [^:]+|statement): (.*?)(?=^\d{4}-)", re.M | re.S
)
# What reads the outbox, and looks for posts to channels, runs of agents, workers and jobs.
BACKGROUND = re.compile(r"stoa\.(outbox o|channel_\w+|agent_runs|app_deployments|jobs|sessions)\b")
Run = Callable[[], Any]


@pytest.fixture(scope="module")
def stoa(databases: Databases, valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stoa]:
    """A server whose statements are in the log."""
    with (
        pytest.MonkeyPatch.context() as patch,
        running(databases.logged(), valkey_url, tmp_path_factory.mktemp("stoa")) as server,
    ):
        for known in (catalog, principals):  # how an app is declared, and who somebody is, is asked once
            patch.setattr(known, "TRUSTED_S", 600)
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
    """What the connections that wrote parcels were asked while something ran, but for what others asked them."""
    parcels.query("parcels")  # so that the app is known

    def statements(run: Run) -> list[str]:
        begin = postgres_log.stat().st_size
        run()
        name = urlsplit(stoa.database_url).path.removeprefix("/")
        text = postgres_log.read_bytes()[begin:].decode() + "0000-"
        entries = [(pid, sql.strip()) for pid, database, sql in STATEMENT.findall(text) if database == name]
        writing = {pid for pid, sql in entries if f'"{parcels.app_id}"."parcels"' in sql}
        return [sql for pid, sql in entries if pid in writing and not BACKGROUND.search(sql)]

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


# Reading.

BY_ID = "query($id: ID!) { parcel(id: $id) { code weight depot { name } } }"
LISTED = """query($first: Int!) {
  parcels(first: $first, orderBy: {code: ASC}) { totalCount nodes { id code weight status depot { name } } }
}"""
NESTED = "{ depots { nodes { name parcels(first: 3) { nodes { code depot { name parcels { totalCount } } } } } } }"


def test_each_way_to_read_is_one_statement(parcels: Collections, asked: Callable[[Run], list[str]]) -> None:
    client, path, typed = parcels.person.client, parcels.path("parcels"), Typed.of(parcels)
    made = parcels.create("parcels", code="to read")
    where = {"where": {"code": {"$like": "to %"}}, "orderBy": "code"}
    record = f'{{ record(app: "{parcels.app_id}", entity: "parcels", id: "{made["id"]}") }}'
    ways: list[Run] = [
        lambda: client.get(f"{path}/{made['id']}").raise_for_status(),
        lambda: client.get(f"{path}?code=to%20read&limit=5").raise_for_status(),
        lambda: client.post(f"{path}/query", json=where).raise_for_status(),
        lambda: parcels.person.data(record),
        lambda: typed.data(BY_ID, id=made["id"]),
        lambda: typed.data(LISTED, first=10),
        lambda: typed.data(NESTED),
        lambda: typed.data("{ parcels { totalCount } depots { totalCount } }"),
    ]
    for read in ways:
        read()  # a connection that meets a type of values for the first time asks about it
        assert kinds(asked(read)) == ["SELECT"]


class Counted:
    """An awaitable that counts the Python functions its own steps call: what others do while it waits is not its.

    Nor is what happens within `uncounted`.
    """

    def __init__(self, steps: Coroutine[Any, Any, None]) -> None:
        self.calls, self._steps, self._counts = 0, steps, True

    @contextmanager
    def uncounted(self) -> Iterator[None]:
        sys.setprofile(None)
        self._counts = False
        yield
        self._counts = True
        sys.setprofile(self._profile)

    def __await__(self) -> Generator[Any, Any, None]:
        step = partial(self._steps.send, None)
        while True:
            sys.setprofile(self._profile if self._counts else None)
            try:
                waited_for = step()
            except StopIteration:
                return
            finally:
                sys.setprofile(None)
            try:
                yield waited_for
                step = partial(self._steps.send, None)
            except BaseException as error:
                step = partial(self._steps.throw, error)

    def _profile(self, _frame: Any, event: str, _argument: Any) -> None:
        self.calls += event == "call"


@pytest.fixture
def python_calls(stoa: Stoa, monkeypatch: pytest.MonkeyPatch) -> Callable[[Run], int]:
    """How many Python functions the server calls to answer: the fewest of some times, which finds all it keeps."""
    counts: list[int] = []
    answer = stoa.app._answer

    async def counted(scope: Any, receive: Any, send: Any) -> None:
        # How often a socket is read or written, and whether its reader has to wait, is the system's affair.
        async def received() -> Any:
            with answering.uncounted():
                return await receive()

        async def sent(message: Any) -> None:
            with answering.uncounted():
                await send(message)

        answering = Counted(answer(scope, received, sent))
        await answering
        counts.append(answering.calls)

    def fewest(run: Run) -> int:
        run()
        counts.clear()
        for _ in range(7):
            run()
        return min(counts)

    monkeypatch.setattr(stoa.app, "_answer", counted)
    return fewest


@pytest.fixture(scope="module")
def thousand(parcels: Collections) -> Collections:
    for start in (0, 500):
        rows = [{"code": f"row {start + n:04}", "weight": n} for n in range(500)]
        parcels.person.client.post(parcels.path("parcels", "bulk"), json=rows).raise_for_status()
    return parcels


def test_a_thousand_rows_cost_no_more_python_than_one(
    thousand: Collections, python_calls: Callable[[Run], int]
) -> None:
    client, path, typed = thousand.person.client, thousand.path("parcels"), Typed.of(thousand)

    def listed(count: int) -> int:
        return python_calls(lambda: client.get(f"{path}?limit={count}").raise_for_status())

    def asked(count: int) -> int:
        return python_calls(lambda: typed.data(LISTED, first=count))

    assert len(client.get(f"{path}?limit=1000").json()) == 1000
    assert listed(1000) == listed(1)
    assert asked(1000) == asked(1)
    assert python_calls(lambda: typed.data(NESTED)) <= asked(1)  # which has a variable to read
    assert (listed(1) < 360, asked(1) < 280) == (True, True)


def test_a_record_by_its_id_costs_little_python(thousand: Collections, python_calls: Callable[[Run], int]) -> None:
    made = thousand.create("parcels", code="by id")
    client, path, typed = thousand.person.client, thousand.path("parcels", made["id"]), Typed.of(thousand)
    calls = [
        python_calls(lambda: typed.data(BY_ID, id=made["id"])),
        python_calls(lambda: client.get(path).raise_for_status()),
    ]
    assert (calls[0] < 300, calls[1] < 360) == (True, True), calls
