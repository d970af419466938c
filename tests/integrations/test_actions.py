"""Actions that are done by a request: what is asked, what is refused, and what comes back."""

from pathlib import Path
from typing import Any

import pytest

from tests import build
from tests.harness import Person, Stoa
from tests.integrations import catalog
from tests.integrations.people import configured, connected, connection, deployed, run, user_of
from tests.integrations.service import Service


@pytest.fixture(scope="module")
def person(stoa: Stoa, service: Service, admin: Person, parcelnet: str) -> Person:
    """Somebody who is connected and may do everything."""
    made = build.reader(stoa, admin, f"integration:{parcelnet}:*")
    connected(stoa, service, made, parcelnet)
    return made


def test_the_request_is_made_of_input_and_credentials(service: Service, person: Person) -> None:
    answer = run(person, "parcelnet", "find", {"id": "a b/ü?#", "with": ["events", "owner"], "limit": 5})
    assert (answer.status_code, answer.json()["ok"], answer.json()["status"]) == (200, True, 200)
    asked = service.asked[-1]
    assert (asked.method, asked.path) == ("GET", "/api/parcels/a%20b%2F%C3%BC%3F%23")
    assert asked.query == {"with": ["events", "owner"], "limit": ["5"]}
    assert asked.headers["authorization"].removeprefix("Bearer ") in service.good
    assert asked.body is None


def test_a_body_keeps_the_types_of_its_values_and_leaves_out_what_is_not_there(
    service: Service, person: Person
) -> None:
    answer = run(person, "parcelnet", "send", {"to": "Ada", "weight": 1.5})
    assert answer.json()["data"]["body"] == {"to": "Ada", "weight": 1.5, "note": "for Ada"}
    assert service.asked[-1].headers["content-type"] == "application/json"
    assert "x-trace" not in service.asked[-1].headers
    run(person, "parcelnet", "send", {"to": "Ada", "trace": "t-1"})
    assert service.asked[-1].body == {"to": "Ada", "note": "for Ada"}
    assert service.asked[-1].headers["x-trace"] == "t-1"


def test_a_form_is_sent_as_one(service: Service, person: Person) -> None:
    run(person, "parcelnet", "label", {"text": "a&b=c", "tags": ["x", "y"]})
    assert service.asked[-1].headers["content-type"] == "application/x-www-form-urlencoded"
    assert service.asked[-1].body == "tags=x&tags=y&text=a%26b%3Dc"


@pytest.mark.parametrize(
    ("action", "given", "field"),
    [
        ("find", {}, "id"),
        ("find", {"id": 5}, "id"),
        ("find", {"id": "a", "limit": "many"}, "limit"),
        ("find", {"id": ".."}, "id"),
        ("find", [], ""),
        ("send", {"to": "Ada", "trace": "a\r\nx-admin: yes"}, "trace"),
        ("open", {"path": "a/../../admin"}, "path"),
        ("open", {}, "path"),
        ("find", {"id": "x" * 5000}, ""),
    ],
)
def test_input_that_does_not_fit_is_refused_by_its_name_before_anybody_is_asked(
    service: Service, person: Person, action: str, given: Any, field: str
) -> None:
    answer = run(person, "parcelnet", action, given)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input"), answer.text
    assert answer.json().get("field", "") == field
    assert service.asked == []


def test_a_path_of_several_parts_stays_below_where_it_begins(service: Service, person: Person) -> None:
    assert run(person, "parcelnet", "open", {"path": "/a/b c"}).json()["data"]["path"] == "/open/a/b%20c"
    assert run(person, "parcelnet", "open", {"path": "//other.example/x"}).json()["data"]["path"].startswith("/open/")
    assert run(person, "parcelnet", "open", {"path": "@other.example:80/x?y#z"}).status_code == 200
    assert service.asked[-1].path == "/open/@other.example:80/x%3Fy%23z"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ((404, b'{"why": "gone"}'), {"ok": False, "status": 404, "code": "HTTP_404", "data": {"why": "gone"}}),
        ((302, b"http://127.0.0.1:1/"), {"ok": False, "status": 302, "code": "HTTP_302", "data": "http://127.0.0.1:1/"}),
        ((200, b"not json \x00 \xff"), {"ok": True, "status": 200, "data": "not json � �"}),
        ((200, b""), {"ok": True, "status": 200, "data": None}),
        ((200, b"x" * (2**20 + 1)), {"ok": False, "status": 200, "code": "ANSWER_TOO_LARGE", "data": None}),
        ((200, b"[" * 300 + b"]" * 300), {"ok": True, "status": 200, "data": None}),
    ],
)  # fmt: skip
def test_what_comes_back_is_told_as_it_is(
    service: Service, person: Person, said: tuple[int, bytes], expected: dict[str, Any]
) -> None:
    service.answers["/open/x"] = said
    told = run(person, "parcelnet", "open", {"path": "x"}).json()
    code = told.pop("error", {}).get("code")
    assert told == {name: value for name, value in expected.items() if name != "code"}
    assert code == expected.get("code")
    assert len(service.asked) == 1


def test_a_service_that_says_no_with_a_status_of_yes(
    stoa: Stoa, service: Service, admin: Person, parcelnet: str
) -> None:
    person = user_of(stoa, admin, parcelnet, "slackish")
    connected(stoa, service, person, parcelnet)
    service.answers["/said"] = (200, b'{"ok": true, "n": 1}')
    assert run(person, parcelnet, "slackish").json() == {"ok": True, "status": 200, "data": {"ok": True, "n": 1}}
    service.answers["/said"] = (200, b'{"ok": false, "error": "no_such_channel"}')
    error = run(person, parcelnet, "slackish").json()["error"]
    assert error == {"code": "REFUSED", "message": "no_such_channel"}
    assert person.client.get(f"/api/v1/integrations/{parcelnet}/auth").json()["deadCount"] == 0
    service.answers["/said"] = (200, b'{"ok": false, "error": "token_revoked"}')
    assert run(person, parcelnet, "slackish").json()["error"]["code"] == "INSUFFICIENT_PERMISSIONS"
    assert person.client.get(f"/api/v1/integrations/{parcelnet}/auth").json()["deadCount"] == 1


def test_who_is_not_connected_is_told_so(stoa: Stoa, service: Service, admin: Person, parcelnet: str) -> None:
    person = user_of(stoa, admin, parcelnet, "find")
    answer = run(person, parcelnet, "find", {"id": "p"})
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert "no account is connected" in answer.json()["error"]
    assert service.asked == []


def test_what_nobody_declared_or_deployed_is_not_found(admin: Person, parcelnet: str) -> None:
    assert run(admin, parcelnet, "fly").status_code == 404
    assert run(admin, "nowhere", "find").status_code == 404
    assert run(admin, "echo\u00e9", "x").status_code == 404


def test_the_same_over_graphql(service: Service, person: Person) -> None:
    query = (
        """mutation ($input: JSON) { runIntegrationAction(integration: "parcelnet", action: "find", input: $input) }"""
    )
    told = person.data(query, input={"id": "p9"})["runIntegrationAction"]
    assert told["data"]["path"] == "/api/parcels/p9"
    assert person.code(query, input={}) == "INVALID_INPUT"


# Keys that people enter.


def test_a_key_is_asked_for_checked_and_used(stoa: Stoa, service: Service, admin: Person) -> None:
    deployed(admin, "keyed")
    person = user_of(stoa, admin, "keyed", "whoami")
    asked = person.client.post("/api/v1/integrations/keyed/auth/start").json()
    assert (asked["type"], asked["schema"]["required"]) == ("credentials", ["access_token"])
    path = "/api/v1/integrations/keyed/auth/credentials"
    for wrong, field in (
        ({}, "credentials.access_token"),
        ({"access_token": "abc"}, "credentials.access_token"),
        ({"access_token": "abcd", "more": 1}, "credentials"),
    ):
        answer = person.client.post(path, json={"credentials": wrong})
        assert (answer.status_code, answer.json()["field"]) == (400, field)
    assert person.client.post(path, json={"label": "x"}).status_code == 400
    token = service.given()["access_token"]
    made = person.client.post(path, json={"credentials": {"access_token": token}, "label": "mine"}).json()
    assert made["message"] == "credentials stored"
    assert connection(person, "keyed")["id"] == made["connectionId"]
    assert connection(person, "keyed")["label"] == "mine"
    assert run(person, "keyed", "whoami").json()["ok"] is True
    again = person.client.post(path, json={"credentials": {"access_token": "wrong"}, "label": "mine"}).json()
    assert again["connectionId"] == made["connectionId"]
    assert run(person, "keyed", "whoami").json()["error"]["code"] == "INSUFFICIENT_PERMISSIONS"


def test_connections_are_ones_own(stoa: Stoa, service: Service, admin: Person, person: Person) -> None:
    mine = connection(person, "parcelnet")["id"]
    other = user_of(stoa, admin, "parcelnet", "find")
    path = f"/api/v1/integrations/parcelnet/connections/{mine}"
    assert other.client.patch(path, json={"label": "x"}).status_code == 403
    assert other.client.delete(path).status_code == 403
    assert other.client.get("/api/v1/integrations/parcelnet/connections").json() == []
    assert person.client.patch(path.replace("parcelnet", "http"), json={"label": "x"}).status_code == 404
    assert person.client.patch(path, json={"label": " "}).status_code == 400
    assert person.client.patch(path, json={"label": "home"}).json() == {"message": "updated"}
    assert connection(person, "parcelnet")["label"] == "home"
    query = """mutation ($c: UUID) { runIntegrationAction(integration: "parcelnet", action: "find", connection: $c) }"""
    assert other.code(query, c=mine) == "FORBIDDEN"
    second = user_of(stoa, admin, "parcelnet")
    connected(stoa, service, second, "parcelnet")
    theirs = connection(second, "parcelnet")["id"]
    gone = second.client.delete(f"/api/v1/integrations/parcelnet/connections/{theirs}")
    assert gone.json() == {"message": "connection deleted"}
    assert second.client.delete(f"/api/v1/integrations/parcelnet/connections/{theirs}").status_code == 404
    assert stoa.sql("SELECT key FROM stoa.secrets WHERE scope = $1", f"integration_connection:{theirs}") == []


# Where requests go.


def test_what_is_not_public_is_not_asked(
    stoa: Stoa, service: Service, admin: Person, folder: Path, parcelnet: str
) -> None:
    for id, url in (("inward", "http://169.254.169.254/latest"), ("filed", "https://user:pw@example.com/")):
        catalog.put(folder, {**catalog.keyed(url), "appId": id, "name": id, "userAuth": None,
                             "actions": [catalog.action("ask", {"url": url})]})  # fmt: skip
        deployed(admin, id)
        answer = run(admin, id, "ask")
        assert (answer.status_code, answer.json()["code"]) == (500, "upstream_failed"), answer.text


def test_the_http_integration_asks_the_configured_api_and_nobody_else(service: Service, admin: Person) -> None:
    deployed(admin, "http")
    listed = {row["id"]: row["configured"] for row in admin.client.get("/api/v1/integrations").json()}
    assert listed["http"] is False
    refused = run(admin, "http", "get", {"path": "x"})
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    token = service.given()["access_token"]
    values = {"baseUrl": f"{service.url}/api/v2/", "authorization": f"Bearer {token}", "unknown": "x"}
    assert admin.client.put("/api/v1/integrations/http/config", json=values).status_code == 200
    listed = {row["id"]: row["configured"] for row in admin.client.get("/api/v1/integrations").json()}
    assert listed["http"] is True
    told = run(admin, "http", "get", {"path": "things/1", "query": {"q": "a b", "n": [1, 2]}}).json()
    assert told["data"]["path"] == "/api/v2/things/1"
    assert service.asked[-1].query == {"q": ["a b"], "n": ["1", "2"]}
    assert run(admin, "http", "post", {"path": "things", "body": {"a": [1, None]}}).json()["data"]["body"] == {
        "a": [1, None]
    }
    assert run(admin, "http", "delete", {"path": "things/1"}).json()["data"]["method"] == "DELETE"
    assert run(admin, "http", "get", {"path": "x", "query": "no"}).status_code == 400
    assert admin.client.get("/api/v1/platform/secrets").json().count("HTTP_BASE_URL") == 1
    assert admin.client.put("/api/v1/integrations/http/config", json={"baseUrl": ""}).status_code == 200
    assert "HTTP_BASE_URL" not in admin.client.get("/api/v1/platform/secrets").json()


def test_only_administrators_configure(stoa: Stoa, admin: Person, parcelnet: str) -> None:
    plain = build.reader(stoa, admin, "integration:parcelnet:*")
    answer = plain.client.put("/api/v1/integrations/parcelnet/config", json={"clientId": "mine"})
    assert answer.status_code == 403
    assert admin.client.put("/api/v1/integrations/nowhere/config", json={}).status_code == 404
    assert admin.client.put("/api/v1/integrations/parcelnet/config", json={"clientId": 5}).status_code == 400
    configured(admin, "parcelnet")


# Apps.


def test_apps_act_for_those_who_bound_them(
    stoa: Stoa, service: Service, admin: Person, person: Person, parcelnet: str
) -> None:
    app = build.app(admin, build.entity("things")).app_id
    path = f"/api/v1/apps/{app}/integrations"
    other = user_of(stoa, admin, parcelnet, "find")
    unbound = run(other, parcelnet, "find", {"id": "p"}, headers={"x-app-id": app})
    assert (unbound.status_code, unbound.json()["code"]) == (403, "forbidden")
    refused = other.client.post(path, json={"integrationId": parcelnet})
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden"), refused.text
    mine = connection(person, parcelnet)["id"]
    bound = person.client.post(path, json={"integrationId": parcelnet, "connectionId": mine})
    assert bound.json() == {"message": "bound"}
    (row,) = other.client.get(path).json()
    assert {**row, "createdAt": None} == {
        "integrationId": parcelnet, "enabled": True, "connectionId": mine, "scope": "app", "createdAt": None,
    }  # fmt: skip
    foreign = run(other, parcelnet, "find", {"id": "p"}, headers={"x-app-id": app})
    assert (foreign.status_code, foreign.json()["code"]) == (403, "forbidden")
    assert service.asked == []
    assert run(person, parcelnet, "find", {"id": "p"}, headers={"x-app-id": app}).json()["ok"] is True
    connected(stoa, service, other, parcelnet)
    own = other.client.post(path, json={"integrationId": parcelnet, "scope": "user"})
    assert own.json() == {"message": "bound"}
    assert run(other, parcelnet, "find", {"id": "p"}, headers={"x-app-id": app}).json()["ok"] is True
    assert len(other.client.get(path).json()) == 2
    assert len(person.client.get(path).json()) == 1
    stolen = {"integrationId": parcelnet, "connectionId": mine, "scope": "user"}
    assert other.client.post(path, json=stolen).status_code == 403
    assert other.client.delete(f"{path}/{parcelnet}").status_code == 403
    assert other.client.delete(f"{path}/{parcelnet}", params={"scope": "user"}).json() == {"message": "unbound"}
    assert other.client.delete(f"{path}/{parcelnet}", params={"scope": "user"}).status_code == 404
    assert person.client.delete(f"{path}/{parcelnet}").json() == {"message": "unbound"}
    assert person.client.get(path).json() == []
    assert person.client.get("/api/v1/apps/nowhere/integrations").status_code == 404


def test_an_administrator_delegates_a_connection_to_an_agent(
    stoa: Stoa, service: Service, admin: Person, parcelnet: str
) -> None:
    app = build.app(admin, build.entity("things")).app_id
    path = f"/api/v1/integrations/{parcelnet}/auth"
    nothing = {"connected": False, "connectionCount": 0, "deadCount": 0}
    assert admin.client.get(path, params={"agent_app_id": app}).json() == nothing
    refused = admin.client.post(f"{path}/delegate", json={"agent_app_id": app})
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    connected(stoa, service, admin, parcelnet)
    assert admin.client.post(f"{path}/delegate", json={"agent_app_id": app}).json() == {"message": "delegated"}
    assert admin.client.get(path, params={"agent_app_id": app}).json()["connected"] is True
    plain = user_of(stoa, admin, parcelnet, "find")
    assert plain.client.get(path, params={"agent_app_id": app}).status_code == 403
    assert plain.client.post(f"{path}/delegate", json={"agent_app_id": app}).status_code == 403
