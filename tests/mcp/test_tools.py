"""Stored operations as tools of the Model Context Protocol."""

import json

import httpx
import jsonschema_rs
import pytest
from mcp.shared.exceptions import MCPError

from tests import build
from tests.build import Collections
from tests.harness import Person, Stoa
from tests.mcp.speaking import MODES, every_tool, refused, speaking, told


@pytest.fixture(scope="module")
def app(admin: Person) -> Collections:
    return build.app(
        admin, build.entity("parcels", build.field("code", required=True), build.field("weight", "number"))
    )


@pytest.mark.parametrize("mode", MODES)
async def test_an_operation_does_the_same_as_its_route(stoa: Stoa, admin: Person, app: Collections, mode: str) -> None:
    where = {"appId": app.app_id, "entity": "parcels"}
    async with speaking(stoa, admin, mode) as client:
        made = told(await client.call_tool("createRecord", {**where, "record": {"code": mode, "weight": 1.5}}))
        assert made == admin.client.get(app.path("parcels", made["id"])).json()
        asked = {**where, "where": {"code": mode}, "limit": 5}
        answer = await client.call_tool("queryRecords", asked)
        assert told(answer) == {"data": [made], "total": 1}
        assert json.loads(answer.content[0].text) == told(answer)
        listed = told(await client.call_tool("listRecords", {**where, "where": {"code": mode}}))
        assert listed == {"result": [made]}
        gone = told(await client.call_tool("deleteRecord", {**where, "id": made["id"]}))
        assert gone == {"message": f"record '{made['id']}' deleted"}
    assert admin.client.get(app.path("parcels", made["id"])).status_code == 404


async def test_tools_say_what_they_take_and_whether_they_only_read(stoa: Stoa, admin: Person) -> None:
    async with speaking(stoa, admin) as client:
        tools = await every_tool(client)
    assert len(tools) > 50
    for tool in tools.values():
        jsonschema_rs.meta.validate(tool.input_schema)
        assert tool.input_schema["type"] == "object"
        assert tool.description
    query, delete = tools["queryRecords"], tools["deleteRecord"]
    assert (query.annotations.read_only_hint, delete.annotations.read_only_hint) == (True, False)
    assert delete.annotations.destructive_hint is True
    assert query.description.startswith("RootCX: Records that meet conditions")
    assert sorted(query.input_schema["required"]) == ["appId", "entity"]
    assert query.input_schema["properties"]["limit"]["default"] == 100
    assert query.input_schema["properties"]["order"]["enum"][:2] == ["ASC", "DESC"]


async def test_what_is_no_json_at_once_is_no_tool(stoa: Stoa, admin: Person) -> None:
    async with speaking(stoa, admin) as client:
        tools = await every_tool(client)
    assert not tools.keys() & {
        "login", "register", "health", "workerLogs", "invokeAgent", "agentsStream", "deployApp", "uploadObject",
        "followMagicLink", "authorizeOidc", "readFile", "downloadByNonce",
    }  # fmt: skip


async def test_the_list_holds_what_the_caller_may(stoa: Stoa, admin: Person, app: Collections) -> None:
    nobody = stoa.person()
    secrets = build.reader(stoa, admin, "admin:secrets.manage")
    invoker = build.reader(stoa, admin, f"app:{app.app_id}:invoke")
    found = {}
    for name, person in (("admin", admin), ("nobody", nobody), ("secrets", secrets), ("invoker", invoker)):
        async with speaking(stoa, person) as client:
            found[name] = set(await every_tool(client))
    assert found["nobody"] < found["secrets"] < found["admin"]
    assert "setPlatformSecret" in found["secrets"] - found["nobody"]
    assert "enqueueJob" in found["invoker"] - found["nobody"]
    assert {"listApps", "me"} <= found["nobody"]


async def test_a_call_is_refused_as_its_route_is_and_does_nothing(stoa: Stoa, admin: Person, app: Collections) -> None:
    reader = build.reader(stoa, admin, f"app:{app.app_id}:parcels.read")
    where = {"appId": app.app_id, "entity": "parcels"}
    before = app.query("parcels")["total"]
    async with speaking(stoa, reader) as client:
        denied = refused(await client.call_tool("createRecord", {**where, "record": {"code": "x"}}))
        assert denied["error"] == f"permission denied: app:{app.app_id}:parcels.create"
        assert denied["code"] == "forbidden"
    async with speaking(stoa, admin) as client:
        for arguments, field in (
            ({**where, "record": {"weight": 1}}, "code"),
            ({**where, "record": []}, "record"),
            ({"entity": "parcels", "record": {"code": "x"}}, "appId"),
            ({**where, "record": {"code": "x"}, "more": 1}, "more"),
        ):
            wrong = refused(await client.call_tool("createRecord", arguments))
            assert (wrong["code"], field in wrong["error"]) == ("invalid_input", True), wrong
        missing = refused(await client.call_tool("getRecord", {**where, "id": "00000000-0000-4000-8000-000000000000"}))
        assert missing["code"] == "not_found"
        with pytest.raises(MCPError, match="there is no tool 'nonsense'"):
            await client.call_tool("nonsense", {})
    assert app.query("parcels")["total"] == before


def test_without_a_good_token_the_door_is_shut(stoa: Stoa) -> None:
    asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    accept = {"accept": "application/json, text/event-stream"}
    for headers in ({}, {"authorization": "Bearer nonsense"}, {"authorization": "Basic eDp5"}):
        answer = httpx.post(f"{stoa.base_url}/mcp", json=asked, headers={**accept, **headers})
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert answer.json()["code"] == "unauthenticated"
    for method in ("GET", "DELETE"):
        assert httpx.request(method, f"{stoa.base_url}/mcp").status_code == 405


def test_nonsense_is_refused_and_harms_nothing(stoa: Stoa, admin: Person) -> None:
    headers = {
        "authorization": f"Bearer {admin.token}",
        "accept": "application/json, text/event-stream",
        "content-type": "application/json",
    }
    for body, status in (
        (b"{", 400),
        (b"[]", 400),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":5}}', 200),
        (b'{"jsonrpc":"2.0","id":1,"method":"no/such"}', 200),
        (b" " * (1024 * 1024 + 1), 413),
    ):
        answer = httpx.post(f"{stoa.base_url}/mcp", content=body, headers=headers)
        assert answer.status_code == status, (body[:80], answer.text)
        assert status != 200 or "error" in answer.json()


def test_the_package_is_loaded_when_it_is_first_asked_for() -> None:
    import subprocess
    import sys

    told = "import sys, infra.app; print(sorted({'mcp', 'pydantic_ai', 'openai', 'anthropic'} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
