"""GraphQL over HTTP: methods, media types, statuses, parameters, stored documents, what errors tell."""

import socket

import httpx
import orjson
import pytest

from graph.http import BODY_BYTES_MAX
from tests import build
from tests.build import Collections
from tests.harness import Person, Stoa

RESPONSE = "application/graphql-response+json"
JSON = "application/json"
SSE = "text/event-stream"
BOTH = f"{RESPONSE}, {JSON};q=0.9"


@pytest.fixture(scope="module")
def parcels(admin: Person) -> Collections:
    return build.app(admin, build.entity("parcels", build.field("code"), build.field("weight", "number")))


@pytest.fixture(scope="module")
def anonymous(stoa: Stoa) -> httpx.Client:
    return stoa.client()


def asked(client: httpx.Client, query: str = "{health{status}}", accept: str | None = RESPONSE, **more: object):
    headers = {} if accept is None else {"accept": accept}
    return client.post("/graphql", json={"query": query, **more}, headers=headers)


def code(response: httpx.Response) -> str:
    return response.json()["errors"][0]["extensions"]["code"]


# Media types.


@pytest.mark.parametrize(
    ("accept", "answered"),
    [
        (RESPONSE, RESPONSE),
        (JSON, JSON),
        (BOTH, RESPONSE),
        (f"{JSON}, {RESPONSE}", RESPONSE),
        (f"{RESPONSE};q=0.5, {JSON}", JSON),
        (f"{RESPONSE};q=0, {JSON};q=0.1", JSON),
        (f"{RESPONSE}; charset=utf-8, {JSON}; charset=utf-8", RESPONSE),
        (f"{RESPONSE}, application/graphql+json, {JSON}, {SSE}, multipart/mixed", RESPONSE),
        ("*/*", RESPONSE),
        ("application/*", RESPONSE),
        (f"*/*;q=0.1, {JSON}", JSON),
        (f"{SSE}", SSE),
        (f"{SSE}, {JSON};q=0.2", SSE),
    ],
)
def test_the_answer_is_what_the_caller_likes_best(anonymous: httpx.Client, accept: str, answered: str) -> None:
    response = asked(anonymous, accept=accept)
    assert (response.status_code, response.headers["content-type"].partition(";")[0]) == (200, answered)
    if answered != SSE:
        assert response.json() == {"data": {"health": {"status": "ok"}}}


def test_a_caller_that_says_nothing_is_answered_as_graphql_response(stoa: Stoa) -> None:
    with socket.create_connection(stoa.address.split(":")) as raw:
        body = b'{"query":"{health{status}}"}'
        raw.sendall(
            b"POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\n"
            b"content-length: %d\r\n\r\n%b" % (len(body), body)
        )
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"content-type: application/graphql-response+json\r\n" in answer


@pytest.mark.parametrize("accept", ["image/png", f"{JSON};q=0", "text/plain", "multipart/mixed"])
def test_a_caller_that_takes_nothing_of_ours_is_told(anonymous: httpx.Client, accept: str) -> None:
    response = asked(anonymous, accept=accept)
    assert (response.status_code, code(response)) == (406, "NOT_ACCEPTABLE")


def test_a_query_may_be_answered_as_a_stream_of_one_event(anonymous: httpx.Client) -> None:
    response = asked(anonymous, accept=SSE)
    data = '{"data":{"health":{"status":"ok"}}}'
    assert response.text == f":\n\nevent: next\ndata: {data}\n\nevent: complete\ndata:\n\n"


# Statuses: requests that are refused before anything runs have one of their own, but for JSON.


@pytest.mark.parametrize(
    ("query", "status", "refused"),
    [
        ("{", 400, "INVALID_INPUT"),
        ("{nothing}", 400, "INVALID_INPUT"),
        ("query a {__typename} query b {__typename}", 400, "INVALID_INPUT"),
        ("fragment f on Query {__typename}", 400, "INVALID_INPUT"),
        ("{" + "__typename " * 400 + "}", 400, "QUERY_TOO_COMPLEX"),
        ("{__schema{queryType{name}}}", 401, "UNAUTHENTICATED"),
        ("{me{id}}", 401, "UNAUTHENTICATED"),
        ("query ($full: Boolean!) {health(full: $full){status}}", 400, "INVALID_INPUT"),
        ('subscription {recordChanged(app: "a", entity: "b") {id}}', 401, "UNAUTHENTICATED"),
    ],
)
def test_a_refused_request_has_its_status(anonymous: httpx.Client, query: str, status: int, refused: str) -> None:
    response = asked(anonymous, query, BOTH + f", {SSE}")
    assert (response.status_code, code(response)) == (status, refused)
    assert response.headers["content-type"] == RESPONSE
    assert "data" not in response.json()
    streamed = asked(anonymous, query, SSE)
    assert (streamed.status_code, streamed.headers["content-type"]) == (status, RESPONSE)
    if "subscription" not in query:
        as_json = asked(anonymous, query, JSON)
        assert (as_json.status_code, as_json.headers["content-type"]) == (200, JSON)
        assert as_json.json() == response.json()


def test_a_field_that_is_refused_is_no_refused_request(admin: Person) -> None:
    unknown = f'{{user(id: "{"0" * 8}-0000-0000-0000-{"0" * 12}"){{id}}}}'
    response = asked(admin.client, unknown)
    assert (response.status_code, code(response)) == (200, "NOT_FOUND")
    assert response.json()["data"] is None
    assert response.json()["errors"][0]["path"] == ["user"]


# Methods and bodies.


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "QUERY"])
def test_only_post_asks(anonymous: httpx.Client, method: str) -> None:
    response = anonymous.request(method, "/graphql", params={"query": "{health{status}}"})
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    if method != "HEAD":
        assert code(response) == "METHOD_NOT_ALLOWED"


def test_a_mutation_by_get_does_nothing(admin: Person) -> None:
    query = 'mutation {createRole(name: "by-get"){name}}'
    assert admin.client.get("/graphql", params={"query": query}).status_code == 405
    assert "by-get" not in [role["name"] for role in admin.data("{roles{name}}")["roles"]]


def test_a_browser_gets_the_page(anonymous: httpx.Client) -> None:
    response = anonymous.get("/graphql", headers={"accept": "text/html,application/xhtml+xml"})
    assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")


QUERY = b'{"query":"{health{status}}"}'


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("APPLICATION/JSON", 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("application/graphql", 415),
        ("", 415),
    ],
)
def test_only_json_asks(anonymous: httpx.Client, content_type: str, status: int) -> None:
    response = anonymous.post("/graphql", content=QUERY, headers={"content-type": content_type})
    assert response.status_code == status
    if status != 200:
        assert code(response) == "UNSUPPORTED_MEDIA_TYPE"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "invalid JSON"),
        (b"NONSENSE", "invalid JSON"),
        (b'{"query":', "invalid JSON"),
        (b'{"query":"{health{status}}"} {}', "invalid JSON"),
        (b'{"query":"\xff"}', "invalid JSON"),
        (b'{"query":"\\ud800"}', "invalid JSON"),
        ('{"query":"{health{status}}"}'.encode("utf-16"), "invalid JSON"),
        (b'{"query":"{health{status}}","variables":{"a":NaN}}', "invalid JSON"),
        (b'{"query":"{health{status}}","query":"{me{id}}"}', "invalid JSON"),
        (b'{"query":"{health{status}}","variables":{"a":1,"a":2}}', "invalid JSON"),
        (b'{"query":"{health{status}}","variables":' + b'{"a":' * 5_000 + b"1" + b"}" * 5_001, "invalid JSON"),
        (b'{"query":"{health{status}}","variables":{"a":' + b"1" * 5_000 + b"}}", "invalid JSON"),
        (b"[" + QUERY + b"]", "the body must be an object; batches are not taken"),
        (b"[]", "the body must be an object; batches are not taken"),
        (b'"{health{status}}"', "the body must be an object; batches are not taken"),
        (b"null", "the body must be an object; batches are not taken"),
        (b"{}", "query is required"),
        (b'{"qeury":"{health{status}}"}', "query is required"),
        (b'{"query":null}', "query is required"),
        (b'{"query":7}', "query must be a string"),
        (b'{"query":["{health{status}}"]}', "query must be a string"),
        (b'{"query":"{health{status}}","variables":[7]}', "variables must be an object"),
        (b'{"query":"{health{status}}","variables":"{}"}', "variables must be an object"),
        (b'{"query":"{health{status}}","operationName":7}', "operationName must be a string"),
        (b'{"query":"{health{status}}","extensions":[]}', "extensions must be an object"),
        (b'{"documentId":7}', "documentId must be a string"),
    ],
)
def test_what_is_no_graphql_request_is_refused(anonymous: httpx.Client, body: bytes, problem: str) -> None:
    for accept in (RESPONSE, JSON):
        headers = {"content-type": JSON, "accept": accept}
        response = anonymous.post("/graphql", content=body, headers=headers)
        assert (response.status_code, code(response)) == (400, "INVALID_INPUT")
        assert response.json()["errors"][0]["message"].startswith(problem)


def test_optional_parameters_may_be_null_and_the_empty_name_is_none(anonymous: httpx.Client) -> None:
    for more in ({"variables": None, "operationName": None, "extensions": None}, {"operationName": ""}, {"id": 1}):
        assert asked(anonymous, **more).json() == {"data": {"health": {"status": "ok"}}}


def test_the_operation_of_the_given_name_is_run(anonymous: httpx.Client) -> None:
    document = "query a {x: __typename} query b {y: __typename}"
    assert asked(anonymous, document, operationName="b").json() == {"data": {"y": "Query"}}
    response = asked(anonymous, document, operationName="c")
    assert (response.status_code, response.json()["errors"][0]["extensions"]["field"]) == (400, "operationName")


def test_a_body_may_be_as_large_as_the_limit_and_no_larger(anonymous: httpx.Client) -> None:
    room = BODY_BYTES_MAX - len(QUERY)
    headers = {"content-type": JSON}
    assert anonymous.post("/graphql", content=QUERY + b" " * room, headers=headers).status_code == 200
    response = anonymous.post("/graphql", content=QUERY + b" " * (room + 1), headers=headers)
    assert (response.status_code, code(response)) == (413, "PAYLOAD_TOO_LARGE")


def test_a_body_that_stops_in_the_middle_harms_nobody(stoa: Stoa, anonymous: httpx.Client) -> None:
    with socket.create_connection(stoa.address.split(":")) as raw:
        raw.sendall(
            b"POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{"
        )
    assert asked(anonymous).status_code == 200


# Stored documents.


def test_a_stored_operation_is_asked_by_its_id(parcels: Collections) -> None:
    made = parcels.create("parcels", code="P-1")
    variables = {"appId": parcels.app_id, "entity": "parcels"}
    body = {"documentId": "rootcx.listRecords", "variables": variables}
    response = parcels.person.client.post("/graphql", json=body)
    assert response.json() == {"data": {"records": {"rows": [made]}}}
    assert [made] == parcels.person.client.get(parcels.path("parcels")).json()


def test_a_stored_mutation_does_and_answers_the_same(parcels: Collections) -> None:
    variables = {"appId": parcels.app_id, "entity": "parcels", "record": {"code": "stored"}}
    response = parcels.person.client.post(
        "/graphql", json={"documentId": "rootcx.createRecord", "variables": variables}
    )
    made = response.json()["data"]["createRecord"]
    assert parcels.person.client.get(parcels.path("parcels", made["id"])).json() == made


def test_a_stored_operation_asks_who_calls(anonymous: httpx.Client) -> None:
    response = anonymous.post("/graphql", json={"documentId": "rootcx.me"})
    assert (response.status_code, code(response)) == (401, "UNAUTHENTICATED")
    assert anonymous.post("/graphql", json={"documentId": "rootcx.health"}).status_code == 200


@pytest.mark.parametrize("id", ["rootcx.nothing", "", "rootcx", "rootcx.listRecords "])
def test_an_unknown_stored_operation_is_told(admin: Person, id: str) -> None:
    response = admin.client.post("/graphql", json={"documentId": id})
    assert (response.status_code, code(response)) == (400, "INVALID_INPUT")
    assert response.json()["errors"][0]["extensions"]["field"] == "documentId"


# Credentials.


@pytest.mark.parametrize("header", ["Bearer nonsense", "Bearer", "Basic YTpi", "bearer", ""])
def test_a_bad_credential_is_refused_where_one_is_needed(anonymous: httpx.Client, header: str) -> None:
    headers = {"authorization": header}
    assert anonymous.post("/graphql", json={"query": "{health{status}}"}, headers=headers).status_code == 200
    response = anonymous.post("/graphql", json={"query": "{me{id}}"}, headers=headers)
    assert (response.status_code, code(response)) == (401, "UNAUTHENTICATED")


def test_a_document_that_asks_one_field_too_much_is_not_public(anonymous: httpx.Client) -> None:
    for query in (
        "{health{status} me{id}}",
        "{health{status} ... {me{id}}}",
        "{...f} fragment f on Query {health{status} ...g} fragment g on Query {me{id}}",
    ):
        response = asked(anonymous, query)
        assert (response.status_code, code(response)) == (401, "UNAUTHENTICATED")
        assert "data" not in response.json()


# The schema is told to those who are signed in.


def test_the_schema_is_told_to_those_who_are_signed_in(anonymous: httpx.Client, stoa: Stoa) -> None:
    for query in (
        "{__schema{queryType{name}}}",
        '{__type(name: "User"){name}}',
        "{...f} fragment f on Query{__schema{queryType{name}}}",
    ):
        refused = asked(anonymous, query)
        assert (refused.status_code, code(refused)) == (401, "UNAUTHENTICATED")
    assert asked(anonymous, "{__typename}").json() == {"data": {"__typename": "Query"}}
    person = stoa.person()
    assert person.data("{__schema{queryType{name}}}") == {"__schema": {"queryType": {"name": "Query"}}}
    # What a signed-in user had prepared is no way in for others.
    assert code(asked(anonymous, "{__schema{queryType{name}}}")) == "UNAUTHENTICATED"


@pytest.mark.parametrize(
    ("query", "variables"),
    [
        ("{helth{status}}", {}),
        ("{health(ful: true){status}}", {}),
        ("{health{statu}}", {}),
        ("query ($a: Bolean) {health(full: $a){status}}", {}),
        ('{records(app: "a", entity: "b", direction: ASCC){rows}}', {}),
        ('query ($d: Direction!) {records(app: "a", entity: "b", direction: $d){rows}}', {"d": "ASCC"}),
        ("query ($f: [AuditFilterInput!]) {auditEntries(filters: $f){id}}", {"f": [{"feld": "APP", "value": "x"}]}),
    ],
)
def test_names_are_suggested_only_to_those_who_are_signed_in(
    anonymous: httpx.Client, stoa: Stoa, query: str, variables: dict[str, object]
) -> None:
    for accept in (RESPONSE, JSON):
        refused = asked(anonymous, query, accept, variables=variables)
        assert "Did you mean" not in refused.text
    assert "Did you mean" in asked(stoa.person().client, query, variables=variables).text


def test_an_error_of_a_variable_says_where_it_is(admin: Person) -> None:
    response = asked(
        admin.client,
        "query ($f: [AuditFilterInput!]) {auditEntries(filters: $f){id}}",
        variables={"f": [{"field": "APP", "value": "x"}, {"field": "APP", "value": 7}]},
    )
    assert response.status_code == 400
    error = response.json()["errors"][0]
    assert error["message"] == "f.1.value: String cannot represent a non string value: 7"
    assert error["extensions"] == {"code": "INVALID_INPUT", "field": "f.1.value", "path": ["f", 1, "value"]}


def test_a_required_variable_is_named(admin: Person) -> None:
    response = asked(admin.client, "query ($id: UUID!) {user(id: $id){id}}")
    assert response.json()["errors"][0]["message"] == "id: is required"


def test_the_answer_is_utf8_json_with_a_request_id(admin: Person) -> None:
    response = asked(admin.client, "{me{username}}")
    assert orjson.loads(response.content) == {"data": {"me": {"username": "admin"}}}
    assert response.headers["x-request-id"].startswith("req_")
    assert response.headers["x-content-type-options"] == "nosniff"
