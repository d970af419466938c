"""The rules of graphql-transport-ws, and who may open a socket at all."""

from datetime import timedelta
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from graph import ws
from tests import build
from tests.build import Collections
from tests.graph.listening import CHANGED, PROTOCOL, Socket, code, eventually, socket
from tests.harness import Person, Stoa

HEALTH = "{health{status}}"


@pytest.fixture(scope="module")
def parcels(admin: Person) -> Collections:
    return build.app(admin, build.entity("parcels", build.field("code")))


def changed(socket: Socket, id: str, parcels: Collections, **variables: Any) -> None:
    socket.subscribe(id, CHANGED, app=parcels.app_id, entity="parcels", **variables)


# Messages in their order.


def test_a_query_is_answered_and_completed(stoa: Stoa) -> None:
    with socket(stoa) as here:
        here.open()
        here.subscribe("1", HEALTH)
        assert here.receive() == {"id": "1", "type": "next", "payload": {"data": {"health": {"status": "ok"}}}}
        assert here.receive() == {"id": "1", "type": "complete"}
        here.subscribe("1", HEALTH)  # the id is free again
        assert here.receive()["id"] == "1"


def test_a_mutation_is_done(stoa: Stoa, admin: Person) -> None:
    with socket(stoa) as here:
        here.open(admin.token)
        here.subscribe("m", 'mutation {createRole(name: "by-socket"){name}}')
        assert here.receive()["payload"] == {"data": {"createRole": {"name": "by-socket"}}}
    assert "by-socket" in [role["name"] for role in admin.data("{roles{name}}")["roles"]]


def test_a_subscription_tells_until_it_is_completed(stoa: Stoa, parcels: Collections) -> None:
    with socket(stoa) as here:
        here.open(parcels.person.token)
        changed(here, "s", parcels)
        eventually(lambda: stoa.app.platform.runner.streams == 1)
        here.send(type="ping")
        assert here.receive() == {"type": "pong"}
        made = parcels.create("parcels", code="heard")
        told = here.receive()
        assert (told["id"], told["type"]) == ("s", "next")
        assert told["payload"]["data"]["recordChanged"]["record"]["id"] == made["id"]
        here.send(type="complete", id="s")
        eventually(lambda: stoa.app.platform.runner.streams == 0)
        parcels.create("parcels", code="unheard")
        here.subscribe("q", HEALTH)
        assert here.receive()["id"] == "q"


def test_a_refused_operation_is_an_error_and_no_end_of_the_socket(stoa: Stoa, admin: Person) -> None:
    with socket(stoa) as here:
        here.open(admin.token)
        for query, refused in (
            ("{", "INVALID_INPUT"),
            ("{nothing}", "INVALID_INPUT"),
            ("{" + "__typename " * 400 + "}", "QUERY_TOO_COMPLEX"),
            ("query ($id: UUID!) {user(id: $id){id}}", "INVALID_INPUT"),
            ('subscription {recordChanged(app: "no", entity: "no") {id}}', "NOT_FOUND"),
        ):
            here.subscribe("e", query)
            message = here.receive()
            if message["type"] == "next":  # refused when it ran
                assert code(message["payload"]["errors"]) == refused
                message = here.receive()
                assert message == {"id": "e", "type": "complete"}
            else:
                assert (message["type"], code(message["payload"])) == ("error", refused)
        here.subscribe("1", HEALTH)
        assert here.receive()["type"] == "next"


def test_those_who_are_not_signed_in_may_ask_what_is_public(stoa: Stoa) -> None:
    with socket(stoa) as here:
        here.open()
        here.subscribe("1", "{me{id}}")
        message = here.receive()
        assert (message["type"], code(message["payload"])) == ("error", "UNAUTHENTICATED")
        here.subscribe("2", HEALTH)
        assert here.receive()["type"] == "next"


def test_a_token_may_come_with_the_request(stoa: Stoa, admin: Person) -> None:
    with socket(stoa, additional_headers={"authorization": f"Bearer {admin.token}"}) as here:
        here.open()
        here.subscribe("1", "{me{username}}")
        assert here.receive()["payload"] == {"data": {"me": {"username": "admin"}}}


# Ends.


@pytest.mark.parametrize(
    "frame",
    [
        "nonsense",
        "[]",
        '"connection_init"',
        "{}",
        '{"type": 7}',
        '{"type": "start"}',
        '{"type": "connection_init", "payload": 7}',
        '{"type": "connection_init", "type": "connection_init"}',
        '{"type": "complete"}',
        b'{"type": "connection_init"}',
        '{"type": "connection_init", "payload": ' + '{"a":' * 5_000 + "1" + "}" * 5_001,
    ],
)
def test_what_is_no_message_ends_with_4400(stoa: Stoa, frame: str | bytes) -> None:
    with socket(stoa) as here:
        here.connection.send(frame)
        assert here.closed() == 4400


@pytest.mark.parametrize(
    "message",
    [
        {"id": "1"},
        {"id": "1", "payload": {}},
        {"id": "1", "payload": []},
        {"id": "1", "payload": {"query": 7}},
        {"id": "1", "payload": {"query": HEALTH, "variables": []}},
        {"id": "1", "payload": {"query": HEALTH, "operationName": 7}},
        {"id": 7, "payload": {"query": HEALTH}},
        {"payload": {"query": HEALTH}},
    ],
)
def test_what_is_no_subscribe_message_ends_with_4400(stoa: Stoa, message: dict[str, Any]) -> None:
    with socket(stoa) as here:
        here.open()
        here.send(type="subscribe", **message)
        assert here.closed() == 4400


def test_subscribing_before_being_let_in_ends_with_4401(stoa: Stoa) -> None:
    with socket(stoa) as here:
        here.subscribe("1", HEALTH)
        assert here.closed() == 4401


@pytest.mark.parametrize("header", ["Bearer nonsense", "nonsense", 7, ""])
def test_a_bad_token_ends_with_4403(stoa: Stoa, header: object) -> None:
    with socket(stoa) as here:
        here.send(type="connection_init", payload={"Authorization": header})
        assert here.closed() == 4403


@pytest.mark.parametrize("subprotocols", [(), ("graphql-ws",), ("nonsense",)])
def test_another_protocol_ends_with_4406(stoa: Stoa, subprotocols: tuple[str, ...]) -> None:
    with socket(stoa, subprotocols) as here:
        assert here.closed() == 4406


def test_the_protocol_is_chosen_among_several(stoa: Stoa) -> None:
    with socket(stoa, ("graphql-ws", PROTOCOL)) as here:
        assert here.connection.subprotocol == PROTOCOL
        here.open()


def test_saying_nothing_ends_with_4408(stoa: Stoa, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ws, "INIT_TIMEOUT", timedelta(seconds=0.2))
    with socket(stoa) as here:
        assert here.closed() == 4408


def test_an_id_that_is_taken_ends_with_4409(stoa: Stoa, parcels: Collections) -> None:
    with socket(stoa) as here:
        here.open(parcels.person.token)
        changed(here, "s", parcels)
        changed(here, "s", parcels)
        assert here.closed() == 4409


def test_introducing_oneself_twice_ends_with_4429(stoa: Stoa) -> None:
    with socket(stoa) as here:
        here.open()
        here.send(type="connection_init")
        assert here.closed() == 4429


def test_a_message_may_be_as_large_as_a_body_and_no_larger(stoa: Stoa) -> None:
    with socket(stoa) as here:
        here.open()
        here.subscribe("1", HEALTH, unused="x" * 200_000)
        assert [here.receive()["type"], here.receive()["type"]] == ["next", "complete"]
        here.subscribe("2", HEALTH, unused="x" * 300_000)
        assert here.closed() == 1009


# Bounds.


def test_a_socket_has_twenty_operations_at_once(stoa: Stoa, parcels: Collections) -> None:
    with socket(stoa) as here:
        here.open(parcels.person.token)
        for number in range(ws.OPERATIONS_MAX):
            changed(here, str(number), parcels)
        changed(here, "one more", parcels)
        refused = here.receive()
        assert (refused["id"], refused["type"], code(refused["payload"])) == ("one more", "error", "RATE_LIMITED")
        here.send(type="complete", id="0")
        here.subscribe("a query", HEALTH)
        assert here.receive()["id"] == "a query"


def test_a_vanished_socket_leaves_nothing_behind(stoa: Stoa, parcels: Collections) -> None:
    runner = stoa.app.platform.runner
    with socket(stoa) as here:
        here.open(parcels.person.token)
        for number in range(5):
            changed(here, str(number), parcels)
        eventually(lambda: runner.streams == 5)
        here.connection.socket.close()
    eventually(lambda: runner.streams == 0)


# Pages of others.


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1", "http://127.0.0.1.evil.example"])
def test_a_page_of_another_origin_opens_no_socket(stoa: Stoa, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refused, socket(stoa, origin=origin):
        pass
    assert refused.value.response.status_code == 403


def test_a_page_of_ours_opens_one(stoa: Stoa) -> None:
    with socket(stoa, origin=stoa.base_url) as here:
        here.open()
