"""Runs: who may follow them, what becomes of them when processes end, and those that nobody watches."""

import json
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from domain.agents import delegations
from domain.agents.ports import Reply, Trigger
from domain.kernel.ctx import Actor, Ctx, Request
from domain.kernel.errors import Denied, Failed, Missing
from domain.kernel.model import DEFAULT_TENANT
from tests import build
from tests.agents.asking import Agent, Background, agent
from tests.agents.provider import Provider, Refuse, Say
from tests.harness import Databases, Person, Stoa, running
from tests.workers.hosting import RunningHost, eventually, hosting

pytestmark = pytest.mark.usefixtures("host")

CREATE = ("mutate_data", {"entity": "parcels", "action": "create", "data": {"code": "R1"}})
INVOKE = "mutation ($app: ID!, $message: String!) { invokeAgent(app: $app, message: $message) { id status sessionId } }"
FOLLOW = """
subscription ($id: UUID!, $after: Int! = 0) {
  agentRun(invocation: $id, after: $after) { kind sequence ... on AgentDone { response } ... on AgentFailed { error } }
}
"""


def followed(person: Person, id: str, after: int = 0) -> list[dict[str, Any]]:
    """The events of a run, to its end."""
    body = {"query": FOLLOW, "variables": {"id": id, "after": after}}
    headers = {"authorization": f"Bearer {person.token}", "accept": "text/event-stream"}
    url = person.client.base_url.join("/graphql")
    with httpx.stream("POST", url, json=body, headers=headers, timeout=30) as answer:
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: {")]
    return [json.loads(line)["data"]["agentRun"] for line in lines]


# Following.


def test_a_run_is_begun_and_followed_over_graphql(admin: Person, model: Provider) -> None:
    agent(admin, "graphed", "query_data")
    model.script(Say("let me see", calls=[("query_data", {"entity": "parcels"})]), Say("none"))
    begun = admin.data(INVOKE, app="graphed", message="how many")["invokeAgent"]
    assert begun["status"] == "RUNNING"
    events = followed(admin, begun["id"])
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    assert {event["kind"] for event in events} == {"chunk", "tool_call_started", "tool_call_completed", "done"}
    assert events[-1] == {"kind": "done", "sequence": len(events), "response": "none"}
    assert followed(admin, begun["id"]) == events  # the log is there for whoever comes late
    assert followed(admin, begun["id"], after=2) == events[2:]
    query = "query ($id: UUID!) { agentRun(id: $id) { status response error tokens trigger } }"
    assert admin.data(query, id=begun["id"])["agentRun"] == {
        "status": "DONE", "response": "none", "error": None, "tokens": 20, "trigger": "USER"
    }  # fmt: skip


def test_the_end_is_told_when_the_log_is_gone(stoa: Stoa, admin: Person, model: Provider) -> None:
    agent(admin, "cleared")
    model.script(Say("hello"), Refuse(400, {"error": {"message": "no"}}))
    for end in (
        {"kind": "done", "response": "hello"},
        {"kind": "error", "error": "the model's provider answered 400: no"},
    ):
        id = admin.data(INVOKE, app="cleared", message="hi")["invokeAgent"]["id"]
        assert followed(admin, id)[-1].items() >= end.items()
        stoa.sql("DELETE FROM stoa.agent_run_events WHERE run_id = $1::uuid", id)
        assert followed(admin, id) == [{**end, "sequence": 1}]


def test_runs_and_conversations_are_their_owners(stoa: Stoa, admin: Person, model: Provider) -> None:
    owned = agent(admin, "private", "query_data", memory={"enabled": True}, supervision={"mode": "strict"})
    keys = ("app:private:invoke", "app:private:parcels.read", "tool:query_data")
    ada, bob = build.reader(stoa, admin, *keys), build.reader(stoa, admin, *keys)
    model.script(Say("the canary sings", calls=[("query_data", {"entity": "parcels"})]), Say("done"), Say("bob's"))
    asked = Background(owned.as_(ada), "sing")
    required = asked.wait_for("approval_required")
    session, id = required["session_id"], required["approval_id"]
    run = str(stoa.sql("SELECT id FROM stoa.agent_runs WHERE invoker_id = $1::uuid", ada.id)[0]["id"])
    assert [row["approvalId"] for row in owned.as_(ada).approvals()] == [id]
    assert [row["approvalId"] for row in owned.approvals()] == [id]
    assert owned.as_(bob).approvals() == []
    assert owned.as_(bob).decide(id, "approve").status_code == 403
    assert bob.code("query ($id: UUID!) { agentRun(id: $id) { status } }", id=run) == "NOT_FOUND"
    refused = bob.client.post(
        "/graphql", json={"query": FOLLOW, "variables": {"id": run}}, headers={"accept": "text/event-stream"}
    )
    assert "NOT_FOUND" in refused.text
    stolen = {"message": "what was said?", "session_id": session}
    assert bob.client.post(f"{owned.path}/invoke", json=stolen).status_code == 404  # while it is under way
    assert owned.as_(ada).decide(id, "approve").status_code == 200
    assert asked.ended().last[0] == "done"
    assert bob.client.get(f"{owned.path}/sessions/{session}").status_code == 403
    assert bob.client.post(f"{owned.path}/invoke", json=stolen).status_code == 404  # and when it is stored
    model.script(Say("to the manager"))
    assert owned.ask("go on", session_id=session).last[1]["response"] == "to the manager"
    assert [content for role, content in model.told() if role == "assistant"] == ["done"]
    owners = stoa.sql("SELECT owner_id, turn_count FROM stoa.agent_sessions WHERE app_id = 'private'")
    assert [(str(row["owner_id"]), row["turn_count"]) for row in owners] == [(ada.id, 2)]


def test_a_decision_that_nobody_takes_is_a_no_in_the_end(stoa: Stoa, admin: Person, model: Provider) -> None:
    asked = agent(admin, "patient", "mutate_data", supervision={"mode": "strict"})
    model.script(Say(calls=[CREATE]), Say("never mind"))
    running = Background(asked, "go")
    id = running.wait_for("approval_required")["approval_id"]
    stoa.sql("UPDATE stoa.agent_approvals SET created_at = created_at - interval '7 days' WHERE id = $1::uuid", id)
    assert asked.approvals() == []
    assert asked.decide(id, "approve").status_code == 404
    run = running.ended()
    assert run.of("tool_call_completed")[0]["error"] == "rejected: nobody decided within 7 days"
    assert stoa.sql("SELECT 1 FROM patient.parcels") == []


def test_rights_that_are_lost_while_a_call_waits_are_lost_for_it(stoa: Stoa, admin: Person, model: Provider) -> None:
    asked = agent(admin, "losing", "mutate_data", supervision={"mode": "strict"})
    ada = stoa.person()
    role = build.grant(admin, ada, "app:losing:*", "tool:*")
    model.script(Say(calls=[CREATE]), Say("never mind"))
    running = Background(asked.as_(ada), "go")
    id = running.wait_for("approval_required")["approval_id"]
    assert admin.client.post("/api/v1/roles/revoke", json={"userId": ada.id, "role": role}).status_code == 200
    assert asked.decide(id, "approve").status_code == 200
    ended = "SELECT response FROM stoa.agent_runs WHERE app_id = 'losing' AND status = 'done'"
    eventually(lambda: stoa.sql(ended), 20)
    errors = stoa.sql("SELECT error FROM stoa.agent_tool_calls WHERE call_id = 'call_0' ORDER BY id DESC LIMIT 1")
    assert errors[0]["error"] == "permission denied: tool:mutate_data"
    assert stoa.sql("SELECT 1 FROM losing.parcels") == []


def test_so_many_runs_at_once_and_no_more(stoa: Stoa, admin: Person) -> None:
    agent(admin, "crowded")
    ada = build.reader(stoa, admin, "app:crowded:invoke")
    stoa.sql(
        "INSERT INTO stoa.agent_runs (id, tenant_id, app_id, session_id, session_owner_id, invoker_id, trigger, depth,"
        " message, files, status, created_at, holder_id, leased_until) SELECT gen_random_uuid(), $1, 'crowded',"
        " gen_random_uuid(), $2::uuid, $2::uuid, 'user', 0, 'x', '[]', 'running', now(), gen_random_uuid(),"
        " now() + interval '1 hour' FROM generate_series(1, 50)",
        DEFAULT_TENANT,
        ada.id,
    )
    refused = ada.client.post("/api/v1/apps/crowded/agent/invoke", json={"message": "hi"})
    assert (refused.status_code, refused.json()["error"]) == (429, "50 runs are under way already")
    assert len(stoa.sql("SELECT 1 FROM stoa.agent_runs WHERE app_id = 'crowded'")) == 50


# When processes end.


def served(url: str, valkey_url: str, folder: Path, model: Provider) -> Any:
    told = {"llm_provider": "openai", "llm_base_url": model.url, "llm_key": "k", "llm_model": "scripted"}
    return running(url, valkey_url, folder, **told)


CODE = """
serve({ onAgent: async (invocation, caller, { agent }) => {
  await agent.tool("mutate_data", { entity: "parcels", action: "create", data: { code: "C1" } });
  return "made";
}});
"""


def test_what_waits_for_somebody_outlives_the_server(
    databases: Databases, valkey_url: str, tmp_path: Path, model: Provider
) -> None:
    url = databases.new()
    model.script(Say("I will", calls=[CREATE]))
    with served(url, valkey_url, tmp_path, model) as first, hosting(first):
        person = first.person("admin")
        waiting = agent(person, "waiting", "mutate_data", memory={"enabled": True}, supervision={"mode": "strict"})
        coded = agent(person, "coded", "mutate_data", code=CODE, supervision={"mode": "strict"})
        id = Background(waiting, "make one").wait_for("approval_required")["approval_id"]
        Background(coded, "make one").wait_for("approval_required")
    with served(url, valkey_url, tmp_path, model) as second:
        person = second.signed_in("admin")
        waiting, coded = Agent(person, "waiting"), Agent(person, "coded")
        assert [row["approvalId"] for row in waiting.approvals()] == [id]
        model.script(Say("it is made"))
        assert waiting.decide(id, "approve").json() == {"status": "ok"}
        assert waiting.decide(id, "approve").status_code == 404
        runs = "SELECT app_id, status, response, error FROM stoa.agent_runs ORDER BY app_id"
        eventually(lambda: {row["status"] for row in second.sql(runs)} == {"done", "failed"}, 30)
        lost, done = second.sql(runs)
        assert (done["app_id"], done["response"]) == ("waiting", "it is made")
        assert lost["error"] == "the worker host has gone"
        assert [row["code"] for row in second.sql("SELECT code FROM waiting.parcels")] == ["R1"]
        assert second.sql("SELECT 1 FROM coded.parcels") == []
        assert coded.approvals() == []
        assert [role for role, _ in model.told()] == ["system", "user", "assistant", "tool"]
        told = (
            "SELECT e.kind FROM stoa.agent_run_events e JOIN stoa.agent_runs r ON r.id = e.run_id "
            "WHERE r.app_id = 'waiting' AND e.kind <> 'chunk' ORDER BY e.sequence"
        )
        eventually(lambda: len(second.sql(told)) == 4)
        assert [row["kind"] for row in second.sql(told)] == [
            "tool_call_started", "approval_required", "tool_call_completed", "done"
        ]  # fmt: skip
        assert len(person.client.get(f"{waiting.path}/sessions").json()) == 1


def test_a_call_that_was_made_is_not_made_again(stoa: Stoa, admin: Person, model: Provider, host: RunningHost) -> None:
    """As if the process had died between the record and the end of the run."""
    made = agent(admin, "twice", "mutate_data")
    model.script(Say(calls=[CREATE]), Refuse(400, {"error": {"message": "gone"}}))
    made.ask("make one")
    assert len(stoa.sql("SELECT 1 FROM twice.parcels")) == 1
    state = {
        "messages": [
            {"role": "user", "content": "make one", "uses": [], "use_id": None, "tool_name": None},
            {"role": "assistant", "content": "", "use_id": None, "tool_name": None,
             "uses": [{"id": "call_0", "name": CREATE[0], "args": CREATE[1]}]},
        ],
        "turns": 1, "tokens": 5, "told_before": [], "summaries": [],
    }  # fmt: skip
    model.script(Say("it was made"))
    stoa.sql(
        "UPDATE stoa.agent_runs SET finished_at = NULL, status = 'running', error = NULL, state = $1::jsonb, "
        "leased_until = now() - interval '1 second' WHERE app_id = 'twice'",
        json.dumps(state),
    )
    eventually(lambda: stoa.sql("SELECT response FROM stoa.agent_runs WHERE app_id = 'twice'")[0]["response"], 20)
    assert model.told()[-1][0] == "tool"
    assert json.loads(model.told()[-1][1])["code"] == "R1"
    assert len(stoa.sql("SELECT 1 FROM twice.parcels")) == 1


def test_a_conversation_that_code_held_is_lost_with_the_process(stoa: Stoa, admin: Person) -> None:
    held = agent(admin, "held", code='serve({ onAgent: async () => "hello" });')
    assert held.ask("hi").last[0] == "done"
    stoa.sql(
        "UPDATE stoa.agent_runs SET finished_at = NULL, status = 'running', response = NULL, "
        "leased_until = now() - interval '1 second' WHERE app_id = 'held'"
    )
    run = "SELECT status, error FROM stoa.agent_runs WHERE app_id = 'held'"
    eventually(lambda: stoa.sql(run)[0]["status"] == "failed", 20)
    assert stoa.sql(run)[0]["error"] == "the run was interrupted: the process that followed it has ended"


# Agents that ask agents.


def test_an_agent_asks_another_and_does_no_more_through_it(stoa: Stoa, admin: Person, model: Provider) -> None:
    asking = agent(admin, "asking", "invoke_agent")
    agent(admin, "asked", "invoke_agent", "mutate_data", "query_data")
    model.script(
        Say(calls=[("invoke_agent", {"app_id": "asked", "message": "hello"})]), Say("denied"),
    )  # fmt: skip
    denied = asking.ask("go").of("tool_call_completed")[0]
    assert denied["error"] == "permission denied: app:asked:invoke"
    asking.allow("app:asked:invoke")
    model.script(
        Say(calls=[("invoke_agent", {"app_id": "asked", "message": "hello"})]),
        Say("one moment", calls=[CREATE, ("invoke_agent", {"app_id": "asking", "message": "back"})]),
        Say("here"),
        Say("all done"),
    )
    run = asking.ask("go")
    completed = run.of("tool_call_completed")[0]
    assert (completed["output"], completed["error"]) == ({"agent": "asked", "response": "here"}, None)
    assert {data["app_id"] for data in run.of("sub_agent_chunk")} == {"asked"}
    assert "".join(data["delta"] for data in run.of("sub_agent_chunk")) == "one momenthere"
    calls = stoa.sql(
        "SELECT c.tool_name, c.error FROM stoa.agent_tool_calls c JOIN stoa.agent_runs r ON r.id = c.run_id "
        "WHERE r.app_id = 'asked' ORDER BY c.id"
    )
    assert [(row["tool_name"], row["error"]) for row in calls] == [
        ("mutate_data", "permission denied: tool:mutate_data"),
        ("invoke_agent", "an agent that another one asks cannot ask further ones"),
    ]
    assert stoa.sql("SELECT 1 FROM asked.parcels") == []
    model.script(Say(calls=[("invoke_agent", {"app_id": "asking", "message": "me"})]), Say("no"))
    assert asking.ask("go").of("tool_call_completed")[0]["error"] == "an agent does not ask itself"


# Unattended.


class Unattended:
    """Runs that nobody watches, as jobs and webhooks begin them."""

    def __init__(self, host: RunningHost, app_id: str) -> None:
        self.host, self.app_id = host, app_id

    def invoke(self, owner: Person | None, trigger: Trigger = Trigger.CRON) -> Reply:
        owner_id = None if owner is None else UUID(owner.id)
        invoked = self.host.platform.agents.invoke(DEFAULT_TENANT, self.app_id, owner_id, "nightly", trigger)
        return self.host.do(invoked)

    def delegate(self, owner: Person, reference: UUID) -> bool:
        async def give(ctx: Ctx) -> bool:
            return await delegations.give(ctx, self.app_id, UUID(owner.id), reference)

        return self.host.do(self.host.platform.perform(Actor(), Request(), give))

    def withdraw(self, reference: UUID) -> None:
        self.host.do(self.host.platform.perform(Actor(), Request(), lambda ctx: delegations.withdraw(ctx, reference)))


def test_nobody_s_name_is_used_who_has_not_agreed(
    stoa: Stoa, admin: Person, model: Provider, host: RunningHost
) -> None:
    agent(admin, "nightly")
    build.app(admin, app_id="agentless")
    nightly, reference = Unattended(host, "nightly"), uuid4()
    owner = stoa.person()
    role = build.grant(admin, owner, "app:nightly:invoke")

    def denied(why: str, whom: Person | None = owner) -> None:
        before = len(stoa.sql("SELECT 1 FROM stoa.agent_runs"))
        with pytest.raises(Denied, match=why):
            nightly.invoke(whom)
        assert len(stoa.sql("SELECT 1 FROM stoa.agent_runs")) == before

    denied("has not delegated")
    denied("no owner", None)
    assert nightly.delegate(owner, reference) is True
    model.script(Say("counted"))
    reply = nightly.invoke(owner)
    assert reply.response == "counted"
    stored = stoa.sql("SELECT owner_id, turn_count FROM stoa.agent_sessions WHERE id = $1", reply.session_id)
    assert [(str(row["owner_id"]), row["turn_count"]) for row in stored] == [(str(UUID(int=0)), 1)]
    body = {"userId": owner.id, "role": role}
    assert admin.client.post("/api/v1/roles/revoke", json=body).status_code == 200
    denied("does not hold app:nightly:invoke")
    assert admin.client.post("/api/v1/roles/assign", json=body).status_code == 200
    stoa.sql("UPDATE stoa.users SET disabled_at = now() WHERE id = $1::uuid", owner.id)
    denied("no owner")
    stoa.sql("UPDATE stoa.users SET disabled_at = NULL WHERE id = $1::uuid", owner.id)
    nightly.withdraw(reference)
    denied("has not delegated")
    with pytest.raises(Missing):
        Unattended(host, "agentless").invoke(owner)
    assert Unattended(host, "agentless").delegate(owner, reference) is False


def test_a_cron_s_run_stays_within_its_app(stoa: Stoa, admin: Person, model: Provider, host: RunningHost) -> None:
    other = build.app(admin, build.entity("secrets", build.field("text")), app_id="beside")
    other.create("secrets", text="canary")
    wide = agent(admin, "wide", "query_data")
    wide.allow("app:beside:secrets.read")
    unattended = Unattended(host, "wide")
    unattended.delegate(admin, uuid4())
    for trigger, error in ((Trigger.CRON, "permission denied: app:beside:secrets.read"), (Trigger.CHANNEL, None)):
        uses = [("query_data", {"app": "beside", "entity": "secrets"}), ("query_data", {"entity": "parcels"})]
        model.script(Say(calls=uses), Say("ok"))
        run = unattended.invoke(admin, trigger).run_id
        calls = stoa.sql("SELECT error FROM stoa.agent_tool_calls WHERE run_id = $1 ORDER BY id", run)
        assert [call["error"] for call in calls] == [error, None]


def test_a_run_that_fails_unwatched_tells_who_waits_for_it(admin: Person, model: Provider, host: RunningHost) -> None:
    agent(admin, "broken")
    unattended = Unattended(host, "broken")
    unattended.delegate(admin, uuid4())
    model.script(Refuse(401, {"error": {"message": "bad key"}}))
    with pytest.raises(Failed, match="answered 401: bad key"):
        unattended.invoke(admin)
