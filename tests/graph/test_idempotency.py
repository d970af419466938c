"""A request that is sent twice is done once, by whichever door, and answered to the letter."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import orjson
import pytest

from tests import build
from tests.build import Collections
from tests.harness import Person, Stoa, at_once
from tests.holding import held

CREATE = """
mutation create($app: ID!, $values: JSONObject!) { createRecord(app: $app, entity: "parcels", values: $values) }
"""


@pytest.fixture(scope="module")
def parcels(admin: Person) -> Collections:
    return build.app(
        admin,
        build.entity(
            "parcels", build.field("code", required=True), build.field("weight", "number"), build.field("about", "json")
        ),
    )


def key() -> dict[str, str]:
    return {"idempotency-key": str(uuid4())}


def codes(parcels: Collections) -> Counter[str]:
    return Counter(row["code"] for row in parcels.query("parcels", limit=1000)["data"])


def kept(stoa: Stoa) -> int:
    return stoa.sql("SELECT count(*) AS n FROM stoa.idempotency_keys")[0]["n"]


def meaning(response: httpx.Response) -> dict[str, Any]:
    """The headers that say something of the answer itself."""
    told = {name: value for name, value in response.headers.items() if name not in ("date", "x-request-id")}
    return {name: value for name, value in told.items() if name != "idempotency-replayed"}


def posted(parcels: Collections, body: Any, headers: dict[str, str], person: Person | None = None) -> httpx.Response:
    return (person or parcels.person).client.post(parcels.path("parcels"), json=body, headers=headers)


def asked(person: Person, query: str, variables: dict[str, Any], headers: dict[str, str]) -> httpx.Response:
    return person.client.post("/graphql", json={"query": query, "variables": variables}, headers=headers)


def test_a_rest_request_sent_twice_has_one_effect_and_one_answer(parcels: Collections) -> None:
    headers = key()
    body = {"code": "rest", "weight": 1.10, "about": {"b": [1, 2.50, None], "a": "ä\u2028"}}
    first = posted(parcels, body, headers)
    again = posted(parcels, body, headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert meaning(again) == meaning(first)
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert codes(parcels)["rest"] == 1


def test_a_graphql_request_sent_twice_has_one_effect_and_one_answer(parcels: Collections) -> None:
    headers = key()
    variables = {"app": parcels.app_id, "values": {"code": "graphql", "weight": 0.1, "about": {"x": {"y": []}}}}
    first = asked(parcels.person, CREATE, variables, headers)
    again = asked(parcels.person, CREATE, variables, headers)
    assert (first.status_code, again.status_code, again.content) == (200, 200, first.content)
    assert meaning(again) == meaning(first)
    assert again.headers["idempotency-replayed"] == "true"
    assert codes(parcels)["graphql"] == 1


@pytest.mark.parametrize(
    ("method", "rest", "body"),
    [
        ("POST", ("bulk",), [{"code": "many-1"}, {"code": "many-2", "about": [1.0]}]),
        ("PATCH", ("{id}",), {"code": "changed"}),
        ("DELETE", ("{id}",), None),
    ],
)
def test_every_method_that_changes_something_is_answered_again(
    parcels: Collections, method: str, rest: tuple[str, ...], body: Any
) -> None:
    headers = key()
    id = parcels.create("parcels", code="old")["id"]
    path = parcels.path("parcels", *(part.format(id=id) for part in rest))
    first = parcels.person.client.request(method, path, json=body, headers=headers)
    again = parcels.person.client.request(method, path, json=body, headers=headers)
    assert first.is_success
    assert (again.status_code, again.content, meaning(again)) == (first.status_code, first.content, meaning(first))


def test_another_request_with_the_same_key_is_refused(parcels: Collections) -> None:
    headers = key()
    assert posted(parcels, {"code": "first"}, headers).status_code == 201
    other = posted(parcels, {"code": "second"}, headers)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    elsewhere = parcels.person.client.post(parcels.path("parcels", "bulk"), json=[{"code": "third"}], headers=headers)
    assert (elsewhere.status_code, elsewhere.json()["code"]) == (409, "idempotency_key_reused")
    variables = {"app": parcels.app_id, "values": {"code": "first"}}
    by_graphql = asked(parcels.person, CREATE, variables, headers)
    assert by_graphql.status_code == 409
    assert by_graphql.json()["errors"][0]["extensions"]["code"] == "IDEMPOTENCY_KEY_REUSED"
    assert codes(parcels)["first"] == 1
    assert codes(parcels)["second"] == codes(parcels)["third"] == 0


def test_operations_of_one_document_are_other_requests(parcels: Collections) -> None:
    headers = key()
    document = f"""
        mutation a {{ made: createRecord(app: "{parcels.app_id}", entity: "parcels", values: {{code: "op-a"}}) }}
        mutation b {{ made: createRecord(app: "{parcels.app_id}", entity: "parcels", values: {{code: "op-b"}}) }}
    """
    answers = [
        parcels.person.client.post("/graphql", json={"query": document, "operationName": name}, headers=headers)
        for name in ("a", "b")
    ]
    assert [answer.status_code for answer in answers] == [200, 409]
    assert (codes(parcels)["op-a"], codes(parcels)["op-b"]) == (1, 0)


def test_a_stored_operation_is_the_same_request_by_either_door(parcels: Collections) -> None:
    headers = key()
    first = posted(parcels, {"code": "two-doors"}, headers)
    variables = {"appId": parcels.app_id, "entity": "parcels", "record": {"code": "two-doors"}}
    again = parcels.person.client.post(
        "/graphql", json={"documentId": "rootcx.createRecord", "variables": variables}, headers=headers
    )
    assert again.json() == {"data": {"createRecord": first.json()}}
    assert again.headers["idempotency-replayed"] == "true"
    assert codes(parcels)["two-doors"] == 1


def test_a_refused_request_keeps_nothing_and_may_be_sent_again(parcels: Collections, stoa: Stoa) -> None:
    headers = key()
    before = kept(stoa)
    refused = posted(parcels, {"weight": 1}, headers)
    assert (refused.status_code, refused.json()["field"]) == (400, "code")
    wrong = asked(parcels.person, CREATE, {"app": parcels.app_id, "values": {"code": 1, "nothing": 2}}, headers)
    assert wrong.json()["errors"][0]["extensions"]["code"] == "INVALID_INPUT"
    assert kept(stoa) == before
    assert posted(parcels, {"code": "corrected"}, headers).status_code == 201
    assert (codes(parcels)["corrected"], kept(stoa)) == (1, before + 1)


def test_a_denied_request_keeps_nothing(parcels: Collections, stoa: Stoa) -> None:
    headers, stranger, before = key(), stoa.person(), kept(stoa)
    assert posted(parcels, {"code": "denied"}, headers, stranger).status_code == 403
    assert kept(stoa) == before
    build.grant(parcels.person, stranger, f"app:{parcels.app_id}:parcels.create")
    assert posted(parcels, {"code": "denied"}, headers, stranger).status_code == 201


def test_a_key_is_its_users_own(parcels: Collections, stoa: Stoa) -> None:
    other = build.reader(stoa, parcels.person, f"app:{parcels.app_id}:parcels.create")
    headers = key()
    first = posted(parcels, {"code": "mine"}, headers)
    second = posted(parcels, {"code": "mine"}, headers, other)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["id"] != second.json()["id"]
    assert posted(parcels, {"code": "other"}, headers, other).status_code == 409


def test_twenty_at_once_have_one_effect(parcels: Collections) -> None:
    headers = key()
    clients = [
        httpx.Client(base_url=parcels.person.client.base_url, headers=parcels.person.client.headers) for _ in range(20)
    ]
    answers = at_once(
        [lambda c=c: c.post(parcels.path("parcels"), json={"code": "crowd"}, headers=headers) for c in clients]
    )
    for client in clients:
        client.close()
    assert codes(parcels)["crowd"] == 1
    done = [answer for answer in answers if answer.status_code == 201]
    busy = [answer for answer in answers if answer.status_code == 409]
    assert len(done) + len(busy) == 20
    assert len({answer.content for answer in done}) == 1
    assert all(answer.json()["code"] == "conflict" and answer.headers["retry-after"] == "1" for answer in busy)
    assert posted(parcels, {"code": "crowd"}, headers).content == done[0].content


def test_a_request_in_flight_is_said_to_be(parcels: Collections, stoa: Stoa) -> None:
    """The first is held up by a lock on the table, the second asks meanwhile."""
    headers = key()
    with ThreadPoolExecutor(1) as threads:
        with held(stoa.database_url, f'LOCK TABLE "{parcels.app_id}"."parcels" IN ACCESS EXCLUSIVE MODE'):
            first = threads.submit(posted, parcels, {"code": "flight"}, headers)
            while not stoa.sql("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted"):
                assert not first.done()
            second = posted(parcels, {"code": "flight"}, headers)
        assert first.result().status_code == 201
    assert (second.status_code, second.json()["code"]) == (409, "conflict")
    assert second.headers["retry-after"] == "1"
    assert codes(parcels)["flight"] == 1


def test_a_key_is_forgotten_after_its_time(parcels: Collections, stoa: Stoa) -> None:
    headers = key()
    first = posted(parcels, {"code": "old-key"}, headers)
    stoa.sql(
        "UPDATE stoa.idempotency_keys SET created_at = created_at - interval '47 hours' WHERE key = $1",
        headers["idempotency-key"],
    )
    assert posted(parcels, {"code": "old-key"}, headers).content == first.content
    stoa.sql(
        "UPDATE stoa.idempotency_keys SET created_at = created_at - interval '2 hours' WHERE key = $1",
        headers["idempotency-key"],
    )
    fresh = posted(parcels, {"code": "old-key-2"}, headers)
    assert (fresh.status_code, fresh.json()["code"]) == (201, "old-key-2")
    assert posted(parcels, {"code": "old-key-2"}, headers).content == fresh.content


@pytest.mark.parametrize(("length", "status"), [(1, 201), (255, 201), (256, 400)])
def test_a_key_has_a_length(parcels: Collections, length: int, status: int) -> None:
    answer = posted(parcels, {"code": f"key-{length}"}, {"idempotency-key": "k" * length})
    assert answer.status_code == status
    if status == 400:
        assert (answer.json()["code"], answer.json()["field"]) == ("invalid_input", "Idempotency-Key")


def test_a_key_is_printable_text(parcels: Collections) -> None:
    assert posted(parcels, {"code": "x"}, {"idempotency-key": ""}).status_code == 400
    assert posted(parcels, {"code": "x"}, {"idempotency-key": "a\tb"}).status_code == 400
    assert codes(parcels)["x"] == 0


def test_numbers_of_any_size_may_come_with_a_key(parcels: Collections) -> None:
    headers = key()
    answer = posted(parcels, {"code": "huge", "about": 10**30}, headers)
    assert (answer.status_code, answer.json()["about"]) == (201, 10**30)
    assert posted(parcels, {"code": "huge", "about": 10**30}, headers).content == answer.content
    again = asked(parcels.person, CREATE, {"app": parcels.app_id, "values": {"code": 10**30}}, key())
    assert again.json()["data"]["createRecord"]["code"] == str(10**30)


def test_reading_asks_for_no_key_and_keeps_none(parcels: Collections, stoa: Stoa) -> None:
    headers, before = key(), kept(stoa)
    for _ in range(2):
        assert parcels.person.client.get(parcels.path("parcels"), headers=headers).status_code == 200
        assert asked(parcels.person, "{me{id}}", {}, headers).status_code == 200
    assert kept(stoa) == before


def test_tokens_are_kept_under_no_key(stoa: Stoa, admin: Person) -> None:
    """Signing in answers with tokens: they are nobody's to read in a table, and each sign-in is one of its own."""
    headers, before = key(), kept(stoa)
    body = {"username": "admin", "password": "Str0ngPass1"}
    answers = [admin.client.post("/api/v1/auth/login", json=body, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json()["refreshToken"] != answers[1].json()["refreshToken"]
    assert kept(stoa) == before


def test_a_mutation_of_several_fields_is_kept_whole(parcels: Collections) -> None:
    headers = key()
    query = f"""mutation {{
        a: createRecord(app: "{parcels.app_id}", entity: "parcels", values: {{code: "whole-a", weight: 1.0}})
        b: createRecords(app: "{parcels.app_id}", entity: "parcels", values: [{{code: "whole-b", weight: 2.50}}])
        role: createRole(name: "whole") {{ name permissions }}
    }}"""
    first = asked(parcels.person, query, {}, headers)
    again = asked(parcels.person, query, {}, headers)
    assert orjson.loads(first.content)["data"]["role"] == {"name": "whole", "permissions": []}
    assert again.content == first.content
    assert (codes(parcels)["whole-a"], codes(parcels)["whole-b"]) == (1, 1)
