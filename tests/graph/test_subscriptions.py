"""Changes as they commit, to whoever may see them: over event streams and sockets, from where one left off."""

import asyncio
import socket as sockets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import httpx
import orjson
import pytest

from domain.kernel.model import DEFAULT_TENANT
from graph import broadcast, run
from infra.identity.tokens import LEEWAY_S
from tests import build
from tests.build import Collections
from tests.graph.listening import CHANGED, Events, code, eventually, listening, socket
from tests.harness import Databases, Person, Stoa, running


@pytest.fixture(scope="module")
def parcels(admin: Person) -> Collections:
    return build.app(
        admin,
        build.entity("parcels", build.field("code"), build.field("weight", "number")),
        build.entity("letters", build.field("code")),
    )


@contextmanager
def heard(stoa: Stoa, parcels: Collections, person: Person | None = None, **variables: object) -> Iterator[Events]:
    with listening(stoa, person or parcels.person, app=parcels.app_id, entity="parcels", **variables) as events:
        yield events


# What is told.


def test_every_change_is_told_as_it_was_and_as_it_is(stoa: Stoa, parcels: Collections) -> None:
    with heard(stoa, parcels) as events:
        made = parcels.create("parcels", code="new", weight=1.5)
        created = events.change()
        path = parcels.path("parcels", made["id"])
        changed = parcels.person.client.patch(path, json={"weight": 2}).json()
        updated = events.change()
        parcels.person.client.delete(path)
        deleted = events.change()
    assert [(c["operation"], c["id"], c["previous"], c["record"]) for c in (created, updated, deleted)] == [
        ("CREATED", made["id"], None, made),
        ("UPDATED", made["id"], made, changed),
        ("DELETED", made["id"], changed, None),
    ]
    assert {c["actorId"] for c in (created, updated, deleted)} == {parcels.person.id}
    moments = [datetime.fromisoformat(c["changedAt"]) for c in (created, updated, deleted)]
    assert moments == sorted(moments)
    assert abs(datetime.now(UTC) - moments[0]) < timedelta(minutes=1)


def test_records_written_together_are_told_one_by_one(stoa: Stoa, parcels: Collections) -> None:
    with heard(stoa, parcels) as events:
        made = parcels.create_many("parcels", [{"code": f"many-{number}"} for number in range(150)])
        told = [events.change() for _ in made]
    assert [change["record"] for change in told] == made
    assert len({change["cursor"] for change in told}) == 150


def test_only_the_entity_asked_for_is_told(stoa: Stoa, parcels: Collections) -> None:
    with heard(stoa, parcels) as events:
        parcels.create("letters", code="a letter")
        made = parcels.create("parcels", code="a parcel")
        assert events.change()["id"] == made["id"]


def test_a_condition_holds_before_or_after_the_change(stoa: Stoa, parcels: Collections) -> None:
    with heard(stoa, parcels, where={"weight": {"gt": 10}}) as events:
        light = parcels.create("parcels", weight=1)
        heavy = parcels.create("parcels", weight=11)
        assert events.change()["id"] == heavy["id"]
        for weight, told in ((12, True), (2, True), (3, False), (20, True)):
            changed = parcels.person.client.patch(parcels.path("parcels", heavy["id"]), json={"weight": weight}).json()
            if told:
                assert events.change()["record"] == changed
        parcels.person.client.delete(parcels.path("parcels", light["id"]))
        parcels.person.client.delete(parcels.path("parcels", heavy["id"]))
        assert (events.change()["operation"], heavy["id"]) == ("DELETED", heavy["id"])


def test_what_is_rolled_back_is_not_told(stoa: Stoa, parcels: Collections) -> None:
    with heard(stoa, parcels) as events:
        refused = parcels.person.graphql(f"""mutation {{
            createRecord(app: "{parcels.app_id}", entity: "parcels", values: {{code: "undone"}})
            deleteRole(name: "nothing")
        }}""")
        assert code(refused["errors"]) == "NOT_FOUND"
        assert parcels.person.client.post(
            parcels.path("parcels", "bulk"), json=[{"code": "x"}, {"weight": "y"}]
        ).is_error
        made = parcels.create("parcels", code="done")
        assert events.change()["id"] == made["id"]


def test_a_change_by_hand_is_told_too(stoa: Stoa, parcels: Collections) -> None:
    with heard(stoa, parcels) as events:
        stoa.sql(f'INSERT INTO "{parcels.app_id}"."parcels" (code) VALUES (\'by hand\')')
        change = events.change()
    assert (change["record"]["code"], change["actorId"]) == ("by hand", None)


def test_sockets_and_streams_are_told_the_same(stoa: Stoa, parcels: Collections) -> None:
    with heard(stoa, parcels) as events, socket(stoa) as here:
        here.open(parcels.person.token)
        here.subscribe("s", CHANGED, app=parcels.app_id, entity="parcels")
        eventually(lambda: stoa.app.platform.runner.streams == 2)
        parcels.create("parcels", code="both")
        assert here.receive() == {"id": "s", "type": "next", "payload": {"data": {"recordChanged": events.change()}}}


# Where one left off.


def test_a_reader_goes_on_behind_its_cursor(stoa: Stoa, parcels: Collections) -> None:
    with heard(stoa, parcels) as events:
        parcels.create("parcels", code="seen")
        cursor = events.change()["cursor"]
    missed = parcels.create_many("parcels", [{"code": f"missed-{number}"} for number in range(3)])
    with heard(stoa, parcels, after=cursor) as events:
        now = parcels.create("parcels", code="now")
        assert [events.change()["record"] for _ in range(4)] == [*missed, now]


def test_a_reader_goes_on_under_load_without_loss_or_doubling(stoa: Stoa, parcels: Collections) -> None:
    with heard(stoa, parcels) as events:
        first = parcels.create("parcels", code="first")
        cursor = events.change()["cursor"]
    written: list[str] = [first["id"]]

    def write(number: int) -> None:
        with httpx.Client(base_url=stoa.base_url, headers=parcels.person.client.headers) as client:
            for _ in range(20):
                made = client.post(parcels.path("parcels"), json={"code": f"writer-{number}"})
                written.append(made.json()["id"])

    writers = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for writer in writers:
        writer.start()
    read = [first["id"]]
    while len(read) < 161:
        with heard(stoa, parcels, after=cursor) as events:
            for _ in range(min(13, 161 - len(read))):
                change = events.change()
                cursor = change["cursor"]
                read.append(change["id"])
    for writer in writers:
        writer.join()
    assert sorted(read) == sorted(written)
    with heard(stoa, parcels, after=cursor) as events:
        last = parcels.create("parcels", code="last")
        assert events.change()["id"] == last["id"]


@pytest.mark.parametrize("cursor", ["", "nonsense", "1-", "1-1-1", "1-1' OR 1=1", "9" * 30 + "-1"])
def test_what_is_no_cursor_is_refused(stoa: Stoa, parcels: Collections, cursor: str) -> None:
    with heard(stoa, parcels, after=cursor) as events:
        assert events.refusal() == "INVALID_INPUT"


def test_a_cursor_behind_which_the_log_was_pruned_is_gone(databases: Databases, tmp_path: Path) -> None:
    with running(databases.new(), None, tmp_path) as stoa:
        parcels = build.app(stoa.person("admin"), build.entity("parcels", build.field("code")))
        with heard(stoa, parcels) as events:
            parcels.create("parcels", code="old")
            cursor = events.change()["cursor"]
            parcels.create("parcels", code="newer")
            newer = events.change()["cursor"]
        stoa.sql("DELETE FROM stoa.outbox WHERE id <= $1", int(newer.partition("-")[2]))
        tx, _, id = newer.partition("-")
        stoa.sql("UPDATE stoa.outbox_horizon SET tx = $1::text::xid8, outbox_id = $2", tx, int(id))
        with heard(stoa, parcels, after=cursor) as events:
            assert events.refusal() == "GONE"
        with heard(stoa, parcels, after=newer) as events:
            made = parcels.create("parcels", code="newest")
            assert events.change()["id"] == made["id"]


# Who may listen.


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams look at their callers more often than they do in earnest."""
    monkeypatch.setattr(run, "RECHECK_S", 0.2)


def reading(parcels: Collections) -> str:
    return f"app:{parcels.app_id}:parcels.read"


def test_those_without_the_right_hear_nothing(stoa: Stoa, parcels: Collections) -> None:
    stranger = build.reader(stoa, parcels.person, f"app:{parcels.app_id}:letters.read")
    with heard(stoa, parcels, stranger) as events:
        payload = events.next()
        assert payload is not None
        assert code(payload["errors"]) == "FORBIDDEN"
        assert payload["errors"][0]["extensions"]["details"] == {"permission": reading(parcels)}
        assert events.next() is None
    assert stoa.app.platform.runner.streams == 0


def revoke(parcels: Collections, person: Person, role: str) -> None:
    body = {"userId": person.id, "role": role}
    assert parcels.person.client.post("/api/v1/roles/revoke", json=body).status_code == 200


def narrow(parcels: Collections, person: Person, role: str) -> None:
    changes = {"permissions": [f"app:{parcels.app_id}:letters.read"]}
    assert parcels.person.client.patch(f"/api/v1/roles/{role}", json=changes).status_code == 200


@pytest.mark.parametrize("take", [revoke, narrow])
def test_a_right_that_is_taken_away_ends_the_stream(
    stoa: Stoa, parcels: Collections, soon: None, take: Callable[[Collections, Person, str], None]
) -> None:
    listener = stoa.person()
    role = build.grant(parcels.person, listener, reading(parcels))
    with heard(stoa, parcels, listener) as events:
        made = parcels.create("parcels", code="may be seen")
        assert events.change()["id"] == made["id"]
        take(parcels, listener, role)
        parcels.create("parcels", code="may not be seen")
        assert events.refusal() == "FORBIDDEN"


def test_a_right_that_is_taken_away_ends_a_stream_on_which_nothing_happens(
    stoa: Stoa, parcels: Collections, soon: None
) -> None:
    listener = stoa.person()
    role = build.grant(parcels.person, listener, reading(parcels))
    with heard(stoa, parcels, listener) as events:
        revoke(parcels, listener, role)
        assert events.refusal() == "FORBIDDEN"


def test_another_right_that_is_taken_away_does_not(stoa: Stoa, parcels: Collections, soon: None) -> None:
    listener = build.reader(stoa, parcels.person, reading(parcels))
    role = build.grant(parcels.person, listener, f"app:{parcels.app_id}:letters.read")
    with heard(stoa, parcels, listener) as events:
        revoke(parcels, listener, role)
        time.sleep(0.5)
        made = parcels.create("parcels", code="still seen")
        assert events.change()["id"] == made["id"]


def disable(stoa: Stoa, person: Person) -> None:
    stoa.sql("UPDATE stoa.users SET disabled_at = now() WHERE id = $1", UUID(person.id))


def delete(stoa: Stoa, person: Person) -> None:
    stoa.sql("DELETE FROM stoa.users WHERE id = $1", UUID(person.id))


def expiring(stoa: Stoa, person: Person) -> Person:
    """The same person with a token that is taken for a second and a half more."""
    tokens = stoa.app.platform.ports.tokens
    made = datetime.now(UTC) - timedelta(seconds=tokens.access_life_s + LEEWAY_S - 1.5)
    token = tokens.access(user_id=UUID(person.id), tenant_id=DEFAULT_TENANT, name=person.name, now=made)
    return Person(person.id, person.name, token, person.refresh_token, person.client)


def wait(stoa: Stoa, person: Person) -> None:
    """The token expires by itself."""


@pytest.mark.parametrize("end", [disable, delete, wait])
def test_an_account_that_ends_ends_its_streams(
    stoa: Stoa, parcels: Collections, soon: None, end: Callable[[Stoa, Person], None]
) -> None:
    listener = build.reader(stoa, parcels.person, reading(parcels))
    if end is wait:
        listener = expiring(stoa, listener)
    began = time.monotonic()
    with heard(stoa, parcels, listener) as events:
        end(stoa, listener)
        assert events.refusal() == "UNAUTHENTICATED"
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("end", [disable, wait])
def test_an_account_that_ends_ends_its_sockets_with_4401(
    stoa: Stoa, parcels: Collections, soon: None, end: Callable[[Stoa, Person], None]
) -> None:
    listener = build.reader(stoa, parcels.person, reading(parcels))
    if end is wait:
        listener = expiring(stoa, listener)
    with socket(stoa) as here:
        here.open(listener.token)
        here.subscribe("s", CHANGED, app=parcels.app_id, entity="parcels")
        eventually(lambda: stoa.app.platform.runner.streams == 1)
        end(stoa, listener)
        assert here.closed() == 4401
    eventually(lambda: stoa.app.platform.runner.streams == 0)


def test_an_operation_on_a_socket_whose_token_is_over_is_refused(stoa: Stoa, parcels: Collections) -> None:
    listener = build.reader(stoa, parcels.person, reading(parcels))
    with socket(stoa) as here:
        here.open(listener.token)
        here.subscribe("1", "{me{username}}")
        assert here.receive()["payload"] == {"data": {"me": {"username": listener.name}}}
        assert here.receive()["type"] == "complete"
        disable(stoa, listener)
        time.sleep(1.1)  # as long as a look at an account is believed
        here.subscribe("2", "{me{username}}")
        assert here.closed() == 4401


# How many, how slow, and how they end.


def test_a_user_has_a_bounded_number_of_streams(
    stoa: Stoa, parcels: Collections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "STREAMS_MAX", 2)
    other = build.reader(stoa, parcels.person, reading(parcels))
    with heard(stoa, parcels), heard(stoa, parcels):
        with heard(stoa, parcels) as events:
            assert events.response.status_code == 429
            assert code(orjson.loads(events.response.read())["errors"]) == "RATE_LIMITED"
            assert int(events.response.headers["retry-after"]) > 0
        with heard(stoa, parcels, other) as events:
            made = parcels.create("parcels", code="others have their own")
            assert events.change()["id"] == made["id"]
    eventually(lambda: stoa.app.platform.runner.streams == 0)
    with heard(stoa, parcels) as events:
        made = parcels.create("parcels", code="again")
        assert events.change()["id"] == made["id"]


def test_a_reader_that_leaves_is_forgotten(stoa: Stoa, parcels: Collections) -> None:
    for _ in range(3):
        with heard(stoa, parcels):
            assert stoa.app.platform.runner.streams == 1
        eventually(lambda: stoa.app.platform.runner.streams == 0)


def test_a_reader_that_does_not_read_is_told_and_others_are_not_held_up(
    stoa: Stoa, parcels: Collections, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it doesn't take waits in the kernel and in our queue, and not for long: 16 MB are written meanwhile."""
    monkeypatch.setattr(broadcast, "WAITING_BYTES_MAX", 2**20)
    body = orjson.dumps({"query": CHANGED, "variables": {"app": parcels.app_id, "entity": "parcels"}})
    host, port = stoa.address.split(":")
    with sockets.socket() as slow, heard(stoa, parcels) as quick:
        slow.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
        slow.connect((host, int(port)))
        slow.sendall(
            b"POST /graphql HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\ncontent-type: application/json\r\n"
            b"authorization: Bearer %b\r\ncontent-length: %d\r\n\r\n%b"
            % (parcels.person.token.encode(), len(body), body)
        )
        runner = stoa.app.platform.runner
        eventually(lambda: runner.streams == 2)
        for number in range(40):
            parcels.create("parcels", code=f"{number}:" + "x" * 400_000)
            assert quick.change()["record"]["code"].startswith(f"{number}:")
        slow.settimeout(10)
        answer = b""
        while b"event: complete" not in answer[-200:]:
            part = slow.recv(2**20)
            assert part, "the stream has ended in the middle"
            answer += part
        eventually(lambda: runner.streams == 1)
    assert b'"code":"GONE"' in answer[-1000:]
    assert len(answer) < 12_000_000


def test_a_server_that_stops_ends_its_streams(databases: Databases, tmp_path: Path) -> None:
    with running(databases.new(), None, tmp_path) as stoa:
        parcels = build.app(stoa.person("admin"), build.entity("parcels", build.field("code")))
        with heard(stoa, parcels) as events:
            loop = stoa.app.platform.feed._tasks[0].get_loop()
            asyncio.run_coroutine_threadsafe(stoa.app.drain(), loop).result(5)
            assert events.next() is None


# Two processes on one database.


@pytest.mark.parametrize("with_valkey", [True, False])
def test_processes_see_each_others_changes(
    databases: Databases, valkey_url: str, tmp_path: Path, with_valkey: bool
) -> None:
    database_url, valkey = databases.new(), valkey_url if with_valkey else None
    with running(database_url, valkey, tmp_path) as here, running(database_url, valkey, tmp_path) as there:
        parcels = build.app(here.person("admin"), build.entity("parcels", build.field("code")))
        with heard(there, parcels) as events:
            made = parcels.create("parcels", code="from here")
            change = events.change()
        assert change["record"] == made
        missed = parcels.create("parcels", code="missed")
        with heard(here, parcels, after=change["cursor"]) as events:  # a cursor is good everywhere
            assert events.change()["record"] == missed
