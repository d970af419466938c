"""Agents without code of their own, which think with a model that we ask."""

import pytest

from tests.agents.asking import agent
from tests.agents.provider import Provider, Say
from tests.harness import Person
from tests.workers.hosting import RunningHost

pytestmark = pytest.mark.usefixtures("host")


def test_an_agent_of_nothing_but_its_description_answers(admin: Person, model: Provider, host: RunningHost) -> None:
    asked = agent(admin, "plain", systemPrompt="You plan tours.")
    model.script(Say("good morning to you"))
    run = asked.ask("hello")
    session = run.last[1]["session_id"]
    assert run.last == ("done", {"response": "good morning to you", "session_id": session, "tokens": 10})
    assert run.text == "good morning to you"
    assert {kind for kind, _ in run.events[:-1]} == {"chunk"}
    assert all(data["session_id"] == session for _, data in run.events)
    system, user = model.told()
    assert system[0] == "system"
    assert system[1].startswith("You plan tours.")
    assert user == ("user", "hello")
    assert model.headers[0]["authorization"] == "Bearer sk-test"
    assert (model.asked[0]["model"], model.asked[0].get("tools")) == ("scripted", None)


def test_tools_are_called_and_told_of(admin: Person, model: Provider, stoa) -> None:
    asked = agent(admin, "tooled", "query_data", "mutate_data")
    model.script(
        Say(calls=[("mutate_data", {"entity": "parcels", "action": "create", "data": {"code": "P1", "weight": 2}})]),
        Say("looking", calls=[("query_data", {"entity": "parcels", "where": {"code": "P1"}})]),
        Say("there is one"),
    )
    run = asked.ask("make one")
    assert run.kinds == [
        "tool_call_started", "tool_call_completed", "chunk", "tool_call_started", "tool_call_completed", "chunk", "done"
    ]  # fmt: skip
    made, found = run.of("tool_call_completed")
    assert (made["tool_name"], made["output"]["code"], made["error"]) == ("mutate_data", "P1", None)
    assert (found["output"]["total"], found["output"]["data"][0]["id"]) == (1, made["output"]["id"])
    assert run.last[1]["tokens"] == 30
    audit = stoa.sql("SELECT * FROM stoa.audit_log WHERE app_id = 'tooled' AND entity = 'parcels'")
    assert [(str(row["actor_id"]), str(row["delegator_id"]), row["door"]) for row in audit] == [
        (asked.user_id, admin.id, "agent_tool")
    ]
