"""Tools of agents: what there is, and calling them oneself."""

from typing import Any

import pytest

from tests import build
from tests.agents.asking import PARCELS
from tests.build import Collections
from tests.harness import Person, Stoa
from tests.workers.hosting import RunningHost, deployed

CODE = "serve({ rpc: { weigh: ({ code }, caller) => ({ code, by: caller.userId }) } });"
NAMES = [
    "query_data", "mutate_data", "list_apps", "describe_app", "list_integrations", "call_integration", "invoke_agent",
    "list_actions", "call_action",
]  # fmt: skip


@pytest.fixture(scope="module")
def app(admin: Person, host: RunningHost) -> Collections:
    actions = [{"id": "weigh", "name": "Weigh", "inputSchema": {"type": "object"}}]
    made = build.app(admin, PARCELS, app_id="tools", actions=actions, instructions="Weigh gently.")
    deployed(admin, "tools", CODE)
    return made


def call(person: Person, name: str, status: int = 200, **args: Any) -> Any:
    answer = person.client.post(f"/api/v1/tools/{name}/execute", json={"appId": "tools", "args": args})
    assert answer.status_code == status, answer.text
    return answer.json() if status == 200 else answer.json()["error"]


def test_the_tools_there_are(admin: Person) -> None:
    listed = admin.client.get("/api/v1/tools").json()
    assert [tool["name"] for tool in listed] == NAMES
    assert all(tool["description"] for tool in listed)
    keys = {entry["key"] for entry in admin.client.get("/api/v1/permissions/available").json()}
    assert {f"tool:{name}" for name in NAMES} <= keys


def test_records_are_written_and_read(admin: Person, app: Collections) -> None:
    write = {"entity": "parcels"}
    one = call(admin, "mutate_data", **write, action="create", data={"code": "A", "weight": 1})
    assert (one["code"], one["weight"]) == ("A", 1)
    more = call(admin, "mutate_data", **write, action="bulk_create", data=[{"code": "B"}, {"code": "C"}])
    assert [row["code"] for row in more] == ["B", "C"]
    changed = call(admin, "mutate_data", **write, action="update", id=one["id"], data={"weight": 2})
    assert (changed["id"], changed["weight"]) == (one["id"], 2)
    gone = call(admin, "mutate_data", **write, action="delete", id=more[0]["id"])
    assert gone == f"record '{more[0]['id']}' deleted"
    assert sorted(row["code"] for row in call(admin, "query_data", entity="parcels")) == ["A", "C"]
    page = call(admin, "query_data", entity="parcels", orderBy="code", order="asc", limit=1)
    assert (page["total"], [row["code"] for row in page["data"]]) == (2, ["A"])
    assert call(admin, "query_data", entity="parcels", where={"weight": {"$gte": 2}})["data"] == [changed]
    assert call(admin, "query_data", entity="parcels", app="tools", offset=5) == {"data": [], "total": 0}


def test_numbers_of_any_size_are_taken(admin: Person, app: Collections) -> None:
    assert call(admin, "list_apps", much=10**40) == call(admin, "list_apps")
    one = call(admin, "mutate_data", entity="parcels", action="create", data={"code": "heavy", "weight": 10**40})
    assert one["weight"] == 1e40


def test_apps_and_their_actions_are_told_of(admin: Person, app: Collections) -> None:
    listed = {entry["id"]: entry for entry in call(admin, "list_apps")}
    assert listed["tools"] == {"id": "tools", "name": "Tools", "entities": ["parcels"]}
    told = call(admin, "describe_app", app="tools")
    assert (told["app"], told["name"]) == ("tools", "Tools")
    assert [field["name"] for field in told["dataContract"][0]["fields"]] == ["code", "weight"]
    (offered,) = [entry for entry in call(admin, "list_actions") if entry["appId"] == "tools"]
    assert offered == call(admin, "list_actions", app="tools")[0]
    assert (offered["instructions"], [action["id"] for action in offered["actions"]]) == ("Weigh gently.", ["weigh"])
    assert call(admin, "list_integrations") == []


def test_an_action_is_called_with_its_key_only(stoa: Stoa, admin: Person, app: Collections) -> None:
    weigh = {"app": "tools", "action": "weigh", "input": {"code": "A"}}
    holder = build.reader(stoa, admin, "tool:call_action", "app:tools:action:weigh")
    assert call(holder, "call_action", **weigh) == {"code": "A", "by": holder.id}
    without = build.reader(stoa, admin, "tool:call_action", "app:tools:invoke")
    assert call(without, "call_action", 403, **weigh) == "permission denied: app:tools:action:weigh"
    assert "has no action 'fly'" in call(admin, "call_action", 404, **{**weigh, "action": "fly"})


def test_what_a_tool_is_refused(stoa: Stoa, admin: Person, app: Collections) -> None:
    before = app.query("parcels")["total"]
    create = {"entity": "parcels", "action": "create", "data": {"code": "X"}}
    assert call(stoa.person(), "mutate_data", 403, **create) == "permission denied: tool:mutate_data"
    tool_only = build.reader(stoa, admin, "tool:mutate_data")
    assert call(tool_only, "mutate_data", 403, **create) == "permission denied: app:tools:parcels.create"
    assert "unknown tool 'format_disk'" in call(admin, "format_disk", 404)
    assert "is for agents" in call(admin, "invoke_agent", 400, app_id="tools", message="hi")
    assert "entity is required" in call(admin, "mutate_data", 400, action="create", data={})
    assert "action must be" in call(admin, "mutate_data", 400, entity="parcels", action="drop")
    assert "limit must be a whole number" in call(admin, "query_data", 400, entity="parcels", limit="5")
    assert "unknown field 'colour'" in call(
        admin, "mutate_data", 400, entity="parcels", action="create", data={"colour": 1}
    )
    assert app.query("parcels")["total"] == before
