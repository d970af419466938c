"""How an app comes to have an agent, and what its code is given."""

import json
from typing import Any

import httpx
import pytest

from tests import build
from tests.agents.asking import PARCELS, Agent, agent, agent_json
from tests.agents.provider import Provider, Say
from tests.harness import Person, Stoa
from tests.workers.hosting import deploy

pytestmark = pytest.mark.usefixtures("host")

TELLS = """
serve({ onAgent: async ({ message, history, ...told }, caller) => JSON.stringify({ ...told, caller }) });
"""
NO_AGENT = 'serve({ rpc: { ping: () => "pong" } });'
NO_AGENT_IN_PYTHON = 'from stoa import serve\nserve({"ping": lambda params, caller, ctx: "pong"})\n'


def listed(person: Person) -> dict[str, dict[str, Any]]:
    return {row["app_id"]: row for row in person.client.get("/api/v1/agents").json()}


def kind(person: Person, app_id: str) -> str:
    apps = {row["id"]: row["type"] for row in person.client.get("/api/v1/apps").json()}
    found: str = apps[app_id]
    return found


def test_code_that_was_there_before_its_app_makes_an_agent_of_it(admin: Person) -> None:
    assert deploy(admin, "early", {"agent.json": agent_json()}).status_code == 200
    assert "early" not in listed(admin)
    build.app(admin, PARCELS, app_id="early")
    assert listed(admin)["early"]["name"] == "Dispatcher"
    assert kind(admin, "early") == "agent"


def test_an_agent_stays_with_a_new_manifest_and_follows_its_code(stoa: Stoa, admin: Person) -> None:
    made = agent(admin, "changing", "query_data")
    user = made.user_id
    build.app(admin, PARCELS, build.entity("labels", build.field("text")), app_id="changing")
    assert kind(admin, "changing") == "agent"
    new = agent_json(description="anew", limits={"maxTurns": 2})
    assert deploy(admin, "changing", {"agent.json": new}).status_code == 200
    now = listed(admin)["changing"]
    assert (now["description"], now["config"]["limits"]["maxTurns"], now["user_id"]) == ("anew", 2, user)
    held = admin.client.get(f"/api/v1/permissions/{user}").json()["permissions"]
    assert "tool:query_data" in held  # what people gave it stays


def test_an_agent_that_comes_back_begins_with_its_first_role(admin: Person) -> None:
    made = agent(admin, "returning", "query_data")
    user = made.user_id
    assert admin.client.delete("/api/v1/apps/returning").status_code == 200
    again = agent(admin, "returning")
    assert again.user_id == user
    assert admin.client.get(f"/api/v1/permissions/{user}").json()["roles"] == ["app:returning:agent"]


@pytest.mark.parametrize("wrong", ['{"description": "nameless"}', '{"name": "x", "supervision": {"mode": "lax"}}'])
def test_an_agent_that_cannot_be_read_is_not_deployed(stoa: Stoa, admin: Person, wrong: str) -> None:
    made = agent(admin, f"unread{len(wrong)}")
    before = listed(admin)[made.app_id]
    refused = deploy(admin, made.app_id, {"agent.json": wrong})
    assert refused.status_code == 400
    assert refused.json()["error"].startswith("agent.json: ")
    assert listed(admin)[made.app_id] == before
    deployed = "SELECT agent->>'name' AS name FROM stoa.app_deployments WHERE app_id = $1"
    assert [row["name"] for row in stoa.sql(deployed, made.app_id)] == ["Dispatcher"]


def test_nothing_but_noise_is_neither_code_nor_an_agent(admin: Person) -> None:
    build.app(admin, PARCELS, app_id="noise")
    assert "no entry point" in deploy(admin, "noise", {"agent.json": "{nonsense"}).json()["error"]
    assert "noise" not in listed(admin)


@pytest.mark.parametrize(("file", "code"), [("index.js", NO_AGENT), ("main.py", NO_AGENT_IN_PYTHON)])
def test_code_that_runs_no_agent_leaves_it_to_the_model(admin: Person, model: Provider, file: str, code: str) -> None:
    made = agent(admin, f"bare_{file.partition('.')[0]}", code=code, file=file)
    model.script(Say("from the model"))
    assert made.ask("hi").last[1]["response"] == "from the model"
    rpc = admin.client.post(f"/api/v1/apps/{made.app_id}/rpc", json={"method": "ping"})
    assert rpc.json() == "pong"


def uploaded(person: Person, app_id: str) -> str:
    files = {"file": ("tour.csv", b"a,b\n1,2\n", "text/csv")}
    made = person.client.post(f"/api/v1/apps/{app_id}/upload", files=files)
    assert made.status_code == 201, made.text
    id: str = made.json()["file_id"]
    return id


def test_code_is_told_who_asks_and_given_the_files(stoa: Stoa, admin: Person) -> None:
    made = agent(admin, "given", "query_data", code=TELLS, systemPrompt="Plan.", limits={"maxTurns": 3})
    run = made.ask("hi", file_ids=[uploaded(admin, "given")])
    told = json.loads(run.last[1]["response"])
    assert (told["session_id"], told["invoker_user_id"]) == (run.last[1]["session_id"], admin.id)
    assert (told["llm"], told["system_prompt"], told["max_turns"]) == (
        {"provider": "openai", "model": "scripted"}, "Plan.", 3
    )  # fmt: skip
    assert (told["task_scope"], "is_sub_invoke" in told) == (None, False)
    assert [tool["name"] for tool in told["tools"]] == ["query_data"]
    assert "- parcels: code (text), weight (number)" in told["tools"][0]["description"]
    assert told["caller"]["userId"] == made.user_id
    assert "tool:query_data" in told["caller"]["effectivePerms"]
    (attachment,) = told["attachments"]
    assert (attachment["name"], attachment["content_type"]) == ("tour.csv", "text/csv")
    assert httpx.get(attachment["url"]).content == b"a,b\n1,2\n"


def test_a_model_is_told_which_files_came(admin: Person, model: Provider) -> None:
    made = agent(admin, "filed")
    id = uploaded(admin, "filed")
    model.script(Say("thanks"))
    made.ask("look", file_ids=[id])
    assert model.told()[1] == (
        "user",
        f"look\n\nFiles that came with this message:\n- tour.csv (text/csv, 8 bytes, file id {id})",
    )


def test_files_of_others_are_not_given_away(stoa: Stoa, admin: Person) -> None:
    made = agent(admin, "guarded", code=TELLS)
    bob = build.reader(stoa, admin, "app:guarded:invoke")
    body = {"message": "hi", "file_ids": [uploaded(admin, "guarded")]}
    assert bob.client.post(f"{made.path}/invoke", json=body).status_code == 404
    assert stoa.sql("SELECT 1 FROM stoa.agent_runs WHERE app_id = 'guarded'") == []
    assert Agent(admin, "guarded").ask("hi").last[0] == "done"
