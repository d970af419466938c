"""Integrations that are code: what it is asked, and what becomes of its answers."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import build
from tests.harness import Person, Stoa
from tests.integrations import catalog
from tests.integrations.people import CALLBACK, deployed, run, user_of
from tests.workers.hosting import RunningHost, hosting
from tests.workers.hosting import deployed as app_deployed

CODE = """
const seen = [];
serve({rpc: {
  __integration: async (params, caller, ctx) => {
    seen.push({...params, caller});
    if (params.action === "tell") return seen.splice(0);
    if (params.action === "fail") throw new Error("no parcels today");
    if (params.action === "lose") return {ok: false, error: {code: "INSUFFICIENT_PERMISSIONS"}};
    if (params.action === "sync") return await ctx.selfAction("syncConnectedUsers", {actionName: "echo"});
    return {ok: false, action: params.action, input: params.input};
  },
  __auth_start: (params) => ({type: "redirect", url: `https://parcels.test/agree?state=${params.state}`, params}),
  __auth_callback: (params) => {
    if (params.query.code === "bad") throw new Error("they said no");
    return {credentials: {key: params.query.code, config: params.config}, label: "from code"};
  },
  __webhook: (params) => params,
}});
"""

CALLER = """
serve({rpc: {
  go: (params, caller, ctx) => ctx.callIntegration("coded", "echo", params.input, params.asUser),
}});
"""


@pytest.fixture(scope="module")
def host(stoa: Stoa) -> Iterator[RunningHost]:
    with hosting(stoa) as running:
        yield running


@pytest.fixture(scope="module")
def coded(admin: Person, host: RunningHost, folder: Path) -> str:
    """An integration of the catalog that is code."""
    definition = {
        "appId": "coded",
        "name": "Coded",
        "configSchema": {"properties": {"account": {"platformSecret": "CODED_ACCOUNT"}, "note": {"type": "string"}}},
        "userAuth": {"type": "oauth2"},
        "actions": [catalog.action(id) for id in ("echo", "tell", "fail", "lose", "sync")],
    }
    catalog.put(folder, definition, {"index.ts": CODE})
    deployed(admin, "coded")
    saved = admin.client.put("/api/v1/integrations/coded/config", json={"account": "acme", "note": "x"})
    assert saved.status_code == 200
    return "coded"


def connected(stoa: Stoa, person: Person, code: str = "k-1") -> None:
    """Connect somebody by what the code says."""
    began = person.client.post("/api/v1/integrations/coded/auth/start").json()
    assert began["url"].startswith("https://parcels.test/agree?state=")
    page = stoa.client().get(CALLBACK, params={"state": began["params"]["state"], "code": code})
    assert "<h1>Connected</h1>" in page.text


def test_the_code_is_asked_with_input_config_and_the_callers_credentials(stoa: Stoa, admin: Person, coded: str) -> None:
    person = user_of(stoa, admin, coded, "echo", "tell")
    answer = run(person, coded, "echo", {"n": 1})
    assert (answer.status_code, answer.json()) == (200, {"ok": False, "action": "echo", "input": {"n": 1}})
    run(person, coded, "tell")
    connected(stoa, person)
    assert run(person, coded, "echo").json()["input"] == {}
    sync, asked, _ = run(person, coded, "tell").json()
    assert (sync["action"], sync["caller"]["userId"]) == ("sync_connect", person.id)
    connection = person.client.get(f"/api/v1/integrations/{coded}/connections").json()[0]
    assert connection["label"] == "from code"
    assert asked == {
        "action": "echo",
        "input": {},
        "config": {"account": "acme"},
        "userCredentials": {"key": "k-1", "config": {"account": "acme"}},
        "userId": person.id,
        "connectionId": connection["id"],
        "caller": {"userId": person.id, "email": person.name, "connectionId": connection["id"]},
    }


def test_what_the_code_throws_is_told(stoa: Stoa, admin: Person, coded: str) -> None:
    person = user_of(stoa, admin, coded, "fail")
    answer = run(person, coded, "fail")
    assert (answer.status_code, answer.json()["error"]) == (500, "no parcels today")


def test_lost_permissions_kill_the_connection(stoa: Stoa, admin: Person, coded: str) -> None:
    person = user_of(stoa, admin, coded, "lose")
    connected(stoa, person)
    assert run(person, coded, "lose").json() == {"ok": False, "error": {"code": "INSUFFICIENT_PERMISSIONS"}}
    status = person.client.get(f"/api/v1/integrations/{coded}/auth").json()
    assert status == {"connected": False, "connectionCount": 1, "deadCount": 1}


def test_the_code_may_not_agree(stoa: Stoa, admin: Person, coded: str) -> None:
    person = user_of(stoa, admin, coded)
    began = person.client.post("/api/v1/integrations/coded/auth/start").json()["params"]
    assert set(began) == {"config", "callbackUrl", "state", "userId"}
    assert (began["config"], began["userId"]) == ({"account": "acme"}, person.id)
    page = stoa.client().get(CALLBACK, params={"state": began["state"], "code": "bad"})
    assert (page.status_code, "they said no" in page.text) == (200, True)
    assert person.client.get(f"/api/v1/integrations/{coded}/auth").json()["connected"] is False


def test_an_apps_code_calls_what_it_is_bound_to_and_nothing_else(
    stoa: Stoa, admin: Person, host: RunningHost, coded: str
) -> None:
    app = build.app(admin, build.entity("things"), app_id="courier")
    caller = app_deployed(admin, app.app_id, CALLER)
    person = build.reader(stoa, admin, f"integration:{coded}:echo", f"app:{app.app_id}:invoke")
    assert "not bound" in caller.as_(person).error("go", {"input": {"n": 2}})
    bound = admin.client.post(f"/api/v1/apps/{app.app_id}/integrations", json={"integrationId": coded})
    assert bound.status_code == 200
    assert caller.as_(person).call("go", {"input": {"n": 2}})["input"] == {"n": 2}
    assert "only the app itself" in caller.as_(person).error("go", {"input": {}, "asUser": admin.id})
    assert caller.as_(person).call("go", {"input": {"n": 3}, "asUser": person.id})["input"] == {"n": 3}
    without = build.reader(stoa, admin, f"app:{app.app_id}:invoke")
    assert "permission denied" in caller.as_(without).error("go", {"input": {}})


def test_an_integrations_code_does_something_for_everybody_who_is_connected(
    stoa: Stoa, admin: Person, coded: str
) -> None:
    people = [user_of(stoa, admin, coded, "sync") for _ in range(2)]
    for person in people:
        connected(stoa, person)
    run(admin, coded, "tell")
    expected = len(admin.client.get(f"/api/v1/integrations/{coded}/connected-users").json())
    assert expected >= 2
    assert run(admin, coded, "sync").json() == {"ok": True, "synced": expected}
    asked = [call for call in run(admin, coded, "tell").json() if call["action"] == "echo"]
    assert {person.id for person in people} <= {call["userId"] for call in asked}
    assert "permission denied" in run(people[0], coded, "sync").json()["error"]


def test_the_code_is_told_what_is_posted_with_the_integrations_token(stoa: Stoa, admin: Person, coded: str) -> None:
    token = deployed(admin, coded)
    outside = stoa.client()
    told = outside.post(f"/api/v1/hooks/{token}", json={"parcel": 7}, headers={"x-event": "moved"})
    assert told.status_code == 200, told.text
    params = told.json()
    assert params["body"] == {"parcel": 7}
    assert base64.b64decode(params["rawBody"]) == b'{"parcel":7}'
    assert params["headers"]["x-event"] == "moved"
    assert params["config"] == {"account": "acme"}
    text = outside.post(f"/api/v1/hooks/{token}", content=b"\xff not json").json()
    assert (text["body"], base64.b64decode(text["rawBody"])) == ("� not json", b"\xff not json")
    assert outside.post(f"/api/v1/hooks/{token[:-1]}", json={}).status_code == 404
