"""What following costs, without a clock: work for each change, not for each of those who follow."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from domain.kernel.unit import Statement
from graph import answer
from infra.postgres import database
from infra.postgres.reads import Reads
from tests import build
from tests.build import Collections, entity, field, link
from tests.graph.listening import CHANGED as GENERIC
from tests.graph.listening import Events, eventually, listening, socket
from tests.harness import Person, Stoa

TYPED = """subscription($w: ContactWhere, $after: String) {
  contactChanged(where: $w, after: $after) { cursor operation record { name company { name } } }
}"""
LIVE = "subscription($n: Int) { contactsLive(orderBy: {name: ASC}, first: $n) { nodes { name } changed { index } } }"
ADULTS = {"age": {"gte": 18}}


@pytest.fixture
def crm(admin: Person) -> Collections:
    return build.app(
        admin,
        entity("companies", field("name")),
        entity("contacts", field("name"), field("age", "number"), link("company_id", "companies")),
    )


class Work:
    """The statements over an app's records, and the answers that were encoded, as long as it is watched."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        self.encoded: list[Any] = []

    def clear(self) -> None:
        self.statements.clear()
        self.encoded.clear()


@pytest.fixture
def work(crm: Collections, monkeypatch: pytest.MonkeyPatch) -> Work:
    work = Work()

    def counted(fetch: Callable[[Any, Statement], Awaitable[Any]]) -> Callable[[Any, Statement], Awaitable[Any]]:
        async def fetched(connections: Any, statement: Statement) -> Any:
            if f'"{crm.app_id}"."' in statement.sql:
                work.statements.append(statement.sql)
            return await fetch(connections, statement)

        return fetched

    def dumps(value: Any) -> bytes:
        if value and value.keys() & {"contactChanged", "contactsLive", "recordChanged"}:
            work.encoded.append(value)
        return orjson.dumps(value)

    monkeypatch.setattr(database, "_fetch", counted(database._fetch))
    monkeypatch.setattr(Reads, "rows", counted(Reads.rows))
    monkeypatch.setattr(answer, "orjson", SimpleNamespace(dumps=dumps))
    return work


@contextmanager
def following(stoa: Stoa, people: Sequence[Person], query: str, path: str, **variables: Any) -> Iterator[list[Events]]:
    """A stream for each of some people."""
    with ExitStack() as open:
        yield [open.enter_context(listening(stoa, person, query, path, **variables)) for person in people]


def payloads(streams: Sequence[Events], count: int = 1) -> list[list[Any]]:
    return [[stream.next() for _ in range(count)] for stream in streams]


@pytest.mark.parametrize("readers", [1, 8])
def test_a_typed_change_is_asked_read_and_encoded_once(
    stoa: Stoa, admin: Person, crm: Collections, work: Work, readers: int
) -> None:
    with following(stoa, [admin] * readers, TYPED, f"/graphql/{crm.app_id}", w=ADULTS) as streams:
        crm.create("contacts", name="warm", age=20)
        payloads(streams)
        work.clear()
        crm.create("contacts", name="Ann", age=30)
        told = payloads(streams)
    assert told == [told[0]] * readers
    assert told[0][0]["data"]["contactChanged"]["record"] == {"name": "Ann", "company": None}
    asked = [sql for sql in work.statements if "jsonb_populate_record" in sql]
    read = [sql for sql in work.statements if "INSERT" not in sql and sql not in asked]
    assert (len(asked), len(read), len(work.encoded)) == (1, 1, 1)


@pytest.mark.parametrize("readers", [1, 8])
def test_a_change_by_the_names_of_app_and_entity_is_asked_and_encoded_once(
    stoa: Stoa, admin: Person, crm: Collections, work: Work, readers: int
) -> None:
    asked = {"app": crm.app_id, "entity": "contacts", "where": ADULTS}
    with following(stoa, [admin] * readers, GENERIC, "/graphql", **asked) as streams:
        crm.create("contacts", name="warm", age=20)
        payloads(streams)
        work.clear()
        made = crm.create("contacts", name="Ann", age=30)
        told = payloads(streams)
    assert told == [told[0]] * readers
    assert told[0][0]["data"]["recordChanged"]["record"] == made
    assert sum("jsonb_populate_record" in sql for sql in work.statements) == 1
    assert len(work.encoded) == 1


def test_streams_and_sockets_are_sent_what_was_encoded_once(
    stoa: Stoa, admin: Person, crm: Collections, work: Work
) -> None:
    path = f"/graphql/{crm.app_id}"
    with following(stoa, [admin] * 2, TYPED, path) as streams, socket(stoa, path=path) as ours:
        ours.open(admin.token)
        for id in ("a", "b"):
            ours.subscribe(id, TYPED)
        eventually(lambda: stoa.app.platform.runner.streams == 4)
        crm.create("contacts", name="Ann")
        (told, again), heard = payloads(streams), [ours.receive() for _ in range(2)]
    assert told == again
    assert sorted(heard, key=lambda message: message["id"]) == [
        {"id": id, "type": "next", "payload": told[0]} for id in ("a", "b")
    ]
    assert len(work.encoded) == 1


@pytest.mark.parametrize("readers", [1, 8])
def test_a_list_that_stays_as_it_is_is_read_once_a_change(
    stoa: Stoa, admin: Person, crm: Collections, work: Work, readers: int
) -> None:
    with following(stoa, [admin] * readers, LIVE, f"/graphql/{crm.app_id}", n=5) as streams:
        first = payloads(streams)
        work.clear()
        crm.create("contacts", name="Ann")
        told = payloads(streams)
    assert first == [[{"data": {"contactsLive": {"nodes": [], "changed": []}}}]] * readers
    assert told == [[{"data": {"contactsLive": {"nodes": None, "changed": [{"index": 0}]}}}]] * readers
    assert sum("INSERT" not in sql for sql in work.statements) == 1
    assert len(work.encoded) == 1


def test_who_joins_a_list_finds_what_it_wrote_and_hears_what_comes(stoa: Stoa, admin: Person, crm: Collections) -> None:
    path = f"/graphql/{crm.app_id}"
    with listening(stoa, admin, LIVE, path, n=9) as early:
        assert early.next() == {"data": {"contactsLive": {"nodes": [], "changed": []}}}
        for number in range(5):
            crm.create("contacts", name=f"{number}")
            with listening(stoa, admin, LIVE, path, n=9) as late:
                payload = late.next()
                assert payload is not None
                assert [node["name"] for node in payload["data"]["contactsLive"]["nodes"]] == [
                    *map(str, range(number + 1))
                ]
            changed = early.next()
            assert changed == {"data": {"contactsLive": {"nodes": None, "changed": [{"index": number}]}}}


def test_those_with_other_rights_share_nothing(stoa: Stoa, admin: Person, crm: Collections, work: Work) -> None:
    contacts, companies = (f"app:{crm.app_id}:{name}.read" for name in ("contacts", "companies"))
    reader, other, more = (
        build.reader(stoa, admin, *keys) for keys in ((contacts,), (contacts,), (contacts, companies))
    )
    query = "subscription { contactChanged { record { name } } }"
    with following(stoa, [reader, other, more, admin], query, f"/graphql/{crm.app_id}") as streams:
        crm.create("contacts", name="Ann")
        told = payloads(streams)
    assert told == [[{"data": {"contactChanged": {"record": {"name": "Ann"}}}}]] * 4
    assert len(work.encoded) == 3  # two have equal rights


def test_those_who_ask_for_something_else_share_nothing(
    stoa: Stoa, admin: Person, crm: Collections, work: Work
) -> None:
    path = f"/graphql/{crm.app_id}"
    asked = [{"w": {"age": {"gte": age}}} for age in (10, 20, 30)]
    with ExitStack() as open:
        streams = [open.enter_context(listening(stoa, admin, TYPED, path, **variables)) for variables in asked]
        crm.create("contacts", name="20", age=20)
        crm.create("contacts", name="30", age=30)
        told = [
            [payload["data"]["contactChanged"]["record"]["name"] for payload in stream]
            for stream in (*payloads(streams[:2], 2), *payloads(streams[2:]))
        ]
    assert told == [["20", "30"], ["20", "30"], ["30"]]
    assert len(work.encoded) == 5


def test_all_are_told_in_order_wherever_they_begin(stoa: Stoa, admin: Person, crm: Collections) -> None:
    path = f"/graphql/{crm.app_id}"
    with listening(stoa, admin, TYPED, path) as events:
        crm.create("contacts", name="0")
        ((first,),) = payloads([events])
    cursor = first["data"]["contactChanged"]["cursor"]
    crm.create_many("contacts", [{"name": str(number)} for number in range(1, 120)])
    with following(stoa, [admin] * 3, TYPED, path, after=cursor) as late, listening(stoa, admin, TYPED, path) as now:
        crm.create_many("contacts", [{"name": str(number)} for number in range(120, 200)])
        told = [*payloads(late, 199), *payloads([now], 80)]
    names = [[payload["data"]["contactChanged"]["record"]["name"] for payload in stream] for stream in told]
    assert names == [[*map(str, range(1, 200))]] * 3 + [[*map(str, range(120, 200))]]
    assert told[0] == told[1] == told[2]
    assert told[0][-80:] == told[3]
