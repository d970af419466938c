"""RootCX's acceptance behaviours about agents (48 to 51), by their numbers; the agents are code in workers."""

import json
from typing import Any
from uuid import uuid4

import pytest

from tests import build
from tests.agents.asking import Agent, Background, agent, watching
from tests.agents.provider import Provider
from tests.agents.serving import host, model, stoa
from tests.harness import Person, Stoa
from tests.workers.hosting import eventually

__all__ = ["host", "model", "stoa"]

pytestmark = pytest.mark.usefixtures("host")

# Says back what it was told before, and calls the tools that the message lists as JSON.
CODE = """
serve({ onAgent: async (invocation, caller, { agent, agentConfig }) => {
  agent.chunk("one ");
  agent.chunk("two");
  if (invocation.message.startsWith("[")) {
    const answers = [];
    for (const [tool, args] of JSON.parse(invocation.message)) {
      try { answers.push({ result: await agent.tool(tool, args) }); }
      catch (problem) { answers.push({ error: problem.message }); }
    }
    return { response: JSON.stringify(answers), tokens: 7 };
  }
  if (invocation.message === "tools") return JSON.stringify(agentConfig.tool_descriptors.map((tool) => tool.name));
  if (invocation.message === "fail") throw new Error("no tour today");
  const { history, invoker_user_id: invoker } = invocation;
  return { response: JSON.stringify({ history, invoker }), tokens: 311 };
}});
"""
QUERY = '[["query_data", {"entity": "parcels"}]]'


@pytest.fixture(scope="module")
def remembering(admin: Person) -> Agent:
    return agent(admin, "remembering", code=CODE, memory={"enabled": True})


@pytest.fixture(scope="module")
def strict(admin: Person) -> Agent:
    made = agent(admin, "strict", "query_data", code=CODE, memory={"enabled": True}, supervision={"mode": "strict"})
    build.Collections(admin, "strict").create("parcels", code="P1")
    return made


def told(run: Any) -> Any:
    """The response of a run, which is JSON."""
    kind, data = run.last
    assert kind == "done", data
    return json.loads(data["response"])


def test_48_invoking_streams_chunks_and_a_last_done(remembering: Agent, admin: Person) -> None:
    run = remembering.ask("hello")
    assert run.text == "one two"
    assert run.kinds == ["chunk", "done"]
    session = run.last[1]["session_id"]
    assert run.last[1]["tokens"] == 311
    assert told(run) == {"history": [], "invoker": admin.id}
    again = remembering.ask("more", session_id=session)
    assert again.last[1]["session_id"] == session
    assert told(again)["history"] == [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": run.last[1]["response"]},
    ]


def test_48_without_memory_there_is_no_history(admin: Person) -> None:
    forgetful = agent(admin, "forgetful", code=CODE)
    session = str(uuid4())
    for message in ("hello", "more"):
        run = forgetful.ask(message, session_id=session)
        assert told(run)["history"] == []
        assert run.last[1]["session_id"] == session
    assert admin.client.get(f"{forgetful.path}/sessions").json() == []


def test_48_what_the_code_throws_is_the_last_event(remembering: Agent) -> None:
    kind, data = remembering.ask("fail").last
    assert (kind, data["error"]) == ("error", "no tour today")


def test_49_an_approved_call_is_made(strict: Agent) -> None:
    asked = Background(strict, QUERY)
    required = asked.wait_for("approval_required")
    assert (required["tool_name"], required["args"]) == ("query_data", {"entity": "parcels"})
    listed = strict.approvals()
    assert [(row["approvalId"], row["appId"], row["toolName"], row["args"]) for row in listed] == [
        (required["approval_id"], "strict", "query_data", {"entity": "parcels"})
    ]
    assert listed[0]["sessionId"] == required["session_id"]
    assert strict.decide(required["approval_id"], "approve").json() == {"status": "ok"}
    run = asked.ended()
    completed = run.of("tool_call_completed")[0]
    assert (completed["error"], [row["code"] for row in completed["output"]]) == (None, ["P1"])
    assert completed["call_id"] == run.of("tool_call_started")[0]["call_id"] == listed[0]["callId"]
    assert [row["code"] for row in told(run)[0]["result"]] == ["P1"]
    assert strict.approvals() == []
    assert strict.decide(required["approval_id"], "approve").status_code == 404


def test_49_a_rejected_call_is_an_error_with_the_reason(strict: Agent) -> None:
    for said, reason in (({"reason": "not today"}, "not today"), ({}, "rejected by user")):
        asked = Background(strict, QUERY)
        id = asked.wait_for("approval_required")["approval_id"]
        assert strict.decide(id, "reject", **said).status_code == 200
        run = asked.ended()
        assert run.of("tool_call_completed")[0]["error"] == f"rejected: {reason}"
        assert told(run) == [{"error": f"rejected: {reason}"}]
        assert strict.decide(id, "approve").status_code == 404


def test_49_other_decisions_are_refused(strict: Agent) -> None:
    asked = Background(strict, QUERY)
    id = asked.wait_for("approval_required")["approval_id"]
    assert strict.decide(id, "maybe").status_code == 400
    assert strict.decide("nonsense", "approve").status_code == 400
    assert strict.decide(str(uuid4()), "approve").status_code == 404
    assert Agent(strict.person, "remembering").decide(id, "approve").status_code == 404
    assert [row["approvalId"] for row in strict.approvals()] == [id]
    assert strict.decide(id, "reject").status_code == 200
    asked.ended()


def test_50_the_third_call_within_the_window_is_too_many(admin: Person) -> None:
    policies = [{"action": "*", "rateLimit": {"max": 2, "window": "1h"}}]
    hasty = agent(
        admin, "hasty", "query_data", "list_apps", code=CODE, supervision={"mode": "autonomous", "policies": policies}
    )
    call = '["query_data", {"entity": "parcels"}]'
    first, second, third, other = told(hasty.ask(f'[{call},{call},{call},["list_apps",{{}}]]'))
    assert first == second == {"result": []}
    assert third["error"].startswith("rate limited: retry after ")
    assert "result" in other
    assert told(hasty.ask(f"[{call}]")) == [{"result": []}]


def test_51_a_fresh_agent_may_write_its_records_and_use_no_tool(admin: Person) -> None:
    fresh = agent(admin, "newcomer", code=CODE)
    effective = admin.client.get(f"/api/v1/permissions/{fresh.user_id}").json()
    verbs = ("create", "delete", "read", "update")
    assert effective == {
        "roles": ["app:newcomer:agent"],
        "permissions": sorted(["app:newcomer:invoke", *(f"app:newcomer:parcels.{verb}" for verb in verbs)]),
    }
    assert told(fresh.ask(QUERY)) == [{"error": "permission denied: tool:query_data"}]
    assert told(fresh.ask("tools")) == []
    fresh.allow("tool:query_data")
    assert told(fresh.ask(QUERY)) == [{"result": []}]
    eventually(lambda: told(fresh.ask("tools")) == ["query_data"])


def test_51_an_agent_never_does_what_its_invoker_may_not(stoa: Stoa, admin: Person) -> None:
    helper = agent(admin, "helper", "query_data", "mutate_data", code=CODE)
    create = '[["mutate_data", {"entity": "parcels", "action": "create", "data": {"code": "X"}}]]'
    reader = build.reader(stoa, admin, "app:helper:invoke", "app:helper:parcels.read", "tool:*")
    assert told(helper.as_(reader).ask(QUERY)) == [{"result": []}]
    assert told(helper.as_(reader).ask(create)) == [{"error": "permission denied: app:helper:parcels.create"}]
    without_tools = build.reader(stoa, admin, "app:helper:invoke", "app:helper:parcels.read")
    assert told(helper.as_(without_tools).ask(QUERY)) == [{"error": "permission denied: tool:query_data"}]
    assert stoa.sql("SELECT 1 FROM helper.parcels") == []


# The routes (section 2.15).


def test_agents_are_listed_by_name(admin: Person, remembering: Agent, strict: Agent) -> None:
    listed = {row["app_id"]: row for row in admin.client.get("/api/v1/agents").json()}
    assert listed["strict"] == {
        "app_id": "strict",
        "name": "Dispatcher",
        "description": None,
        "config": {
            "systemPrompt": None,
            "memory": {"enabled": True},
            "limits": None,
            "supervision": {"mode": "strict", "policies": []},
        },
        "user_id": strict.user_id,
    }
    apps = {row["id"]: row["type"] for row in admin.client.get("/api/v1/apps").json()}
    assert apps["strict"] == "agent"


def test_sessions_are_listed_newest_first_and_shown_with_their_calls(strict: Agent, admin: Person) -> None:
    earlier = strict.ask("hi").last[1]["session_id"]
    asked = Background(strict, QUERY)
    strict.decide(asked.wait_for("approval_required")["approval_id"], "approve")
    run = asked.ended()
    id = run.last[1]["session_id"]
    newest = admin.client.get(f"{strict.path}/sessions?limit=1").json()
    assert [(row["id"], row["status"], row["total_tokens"], row["turn_count"]) for row in newest] == [
        (id, "active", 7, 1)
    ]
    assert newest[0]["messages"] == [
        {"role": "user", "content": QUERY},
        {"role": "assistant", "content": run.last[1]["response"]},
    ]
    assert newest[0]["created_at"].endswith("+00")
    second = admin.client.get(f"{strict.path}/sessions?limit=1&offset=1").json()
    assert second[0]["id"] == earlier
    shown = admin.client.get(f"{strict.path}/sessions/{id}").json()
    assert (shown["totalTokens"], shown["turnCount"], shown["title"]) == (7, 1, None)
    question, answer = shown["messages"]
    assert "toolCalls" not in question
    assert (question["tokenCount"], answer["tokenCount"], answer["isSummary"]) == (None, 7, False)
    (call,) = answer["toolCalls"]
    assert (call["tool_name"], call["status"], call["error"]) == ("query_data", "completed", None)
    assert (call["input"], [row["code"] for row in call["output"]]) == ({"entity": "parcels"}, ["P1"])
    assert admin.client.get(f"{strict.path}/sessions/{uuid4()}").status_code == 404
    assert admin.client.get(f"{strict.path}/sessions/abc").status_code == 400


def test_invoking_is_refused_before_anything_is_streamed(stoa: Stoa, admin: Person, remembering: Agent) -> None:
    build.app(admin, app_id="agentless")
    stranger = stoa.person()

    def status(person: Person, app_id: str, **body: Any) -> int:
        code: int = person.client.post(f"/api/v1/apps/{app_id}/agent/invoke", json=body).status_code
        return code

    before = len(stoa.sql("SELECT 1 FROM stoa.agent_runs"))
    assert status(stranger, "remembering", message="hi") == 403
    assert status(stranger, "agentless", message="hi") == 403
    assert status(admin, "agentless", message="hi") == 404
    assert status(admin, "remembering") == 400
    assert status(admin, "remembering", message="") == 400
    assert status(admin, "remembering", message="hi", file_ids=["x"]) == 400
    assert status(admin, "remembering", message="hi", file_ids=[str(uuid4())]) == 404
    assert status(admin, "remembering", message="hi", session_id="x") == 400
    assert len(stoa.sql("SELECT 1 FROM stoa.agent_runs")) == before


def test_the_fleet_stream_tells_of_every_run(stoa: Stoa, admin: Person, remembering: Agent) -> None:
    stream = watching(stoa, admin, "/api/v1/agents/stream")
    first = Background(remembering, "hello")
    name, data = next(stream)
    events = [data]
    while events[-1]["_event"] != "done":
        name, data = next(stream)
        assert name == ""
        events.append(data)
    run = first.ended()
    assert "".join(data["delta"] for data in events[:-1]) in "one two"
    assert events[-1] == {
        "app_id": "remembering",
        "session_id": run.last[1]["session_id"],
        "_event": "done",
        "response": run.last[1]["response"],
        "tokens": 311,
    }


def test_an_agent_is_called_otherwise_and_taken_away(stoa: Stoa, admin: Person) -> None:
    gone = agent(admin, "passing", code=CODE, memory={"enabled": True})
    gone.ask("hello")
    patched = admin.client.patch("/api/v1/agents/passing", json={"name": "Other", "description": "plans"})
    assert patched.json() == {"status": "ok"}
    shown = admin.client.get("/api/v1/apps/passing/agent").json()
    assert (shown["name"], shown["description"]) == ("Other", "plans")
    stranger = stoa.person()
    assert stranger.client.delete("/api/v1/agents/passing").status_code == 403
    assert admin.client.delete("/api/v1/agents/passing").json() == {"status": "ok"}
    assert admin.client.delete("/api/v1/agents/passing").status_code == 404
    assert admin.client.get("/api/v1/apps/passing/agent").status_code == 404
    for table in ("agents", "agent_sessions", "agent_messages", "agent_runs"):
        assert stoa.sql(f"SELECT 1 FROM stoa.{table} WHERE app_id = 'passing'") == []
    assert {row["id"]: row["type"] for row in admin.client.get("/api/v1/apps").json()}["passing"] == "app"


def test_57_an_uninstalled_app_takes_its_agent_along(stoa: Stoa, admin: Person, model: Provider) -> None:
    leaving = agent(admin, "leaving", "query_data", code=CODE, supervision={"mode": "strict"}, memory={"enabled": True})
    leaving.ask("hello")
    waiting = Background(leaving, QUERY)
    waiting.wait_for("approval_required")
    assert admin.client.delete("/api/v1/apps/leaving").status_code == 200
    kind, data = waiting.ended().last
    assert (kind, data["error"]) == ("error", "the run is gone")
    for table in ("agents", "agent_sessions", "agent_messages", "agent_runs", "agent_approvals"):
        assert stoa.sql(f"SELECT 1 FROM stoa.{table} WHERE app_id = 'leaving'") == []
    assert leaving.approvals() == []
