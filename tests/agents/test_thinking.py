"""Agents without code of their own, which think with a model that we ask."""

import json
import threading
from pathlib import Path

import pytest

from domain.agents.ports import Prompt, Said
from domain.agents.running import UNUSABLE
from domain.kernel.errors import Failed
from infra.agents.models import ProviderModels
from infra.outbound import HttpOutbound
from infra.settings import Settings
from tests import build
from tests.agents.asking import Agent, Background, agent
from tests.agents.provider import Provider, Raw, Refuse, Say, Turn
from tests.harness import Databases, Person, Stoa, running
from tests.workers.hosting import RunningHost, eventually, hosting

pytestmark = pytest.mark.usefixtures("host")

SUMMARY = ("user", "Summary of the conversation so far:\nshe asked for all")


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


def test_tools_are_called_and_told_of(admin: Person, model: Provider, stoa: Stoa) -> None:
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


def test_pieces_come_before_the_end(admin: Person, model: Provider) -> None:
    asked = agent(admin, "slow")
    gate = threading.Event()
    model.script(Say("first second", gate=gate))
    run = Background(asked, "hi")
    assert run.wait_for("chunk")["delta"] == "first "
    assert [kind for kind, _ in run.events] == ["chunk"]
    gate.set()
    assert run.ended().last[1]["response"] == "first second"


def test_a_run_goes_on_when_its_invoker_leaves(admin: Person, model: Provider, stoa: Stoa) -> None:
    asked = agent(admin, "lonely", "mutate_data", memory={"enabled": True})
    gate = threading.Event()
    create = {"entity": "parcels", "action": "create", "data": {"code": "L1"}}
    model.script(Say("first second", calls=[("mutate_data", create)], gate=gate), Say("done"))
    with asked.asking("make one") as events:
        assert next(events)[0] == "chunk"
    gate.set()
    eventually(lambda: [row["turn_count"] for row in admin.client.get(f"{asked.path}/sessions").json()] == [1])
    assert [row["code"] for row in stoa.sql("SELECT code FROM lonely.parcels")] == ["L1"]


def test_memory_is_told_again_and_only_in_its_session(admin: Person, model: Provider) -> None:
    asked = agent(admin, "mindful", memory={"enabled": True})
    model.script(Say("Ada it is"), Say("Ada"), Say("who?"))
    session = asked.ask("call me Ada").last[1]["session_id"]
    asked.ask("who am I", session_id=session)
    assert model.told()[1:] == [("user", "call me Ada"), ("assistant", "Ada it is"), ("user", "who am I")]
    asked.ask("who am I")
    assert model.told()[1:] == [("user", "who am I")]


def test_without_memory_nothing_is_stored(admin: Person, model: Provider, stoa: Stoa) -> None:
    asked = agent(admin, "mindless")
    model.script(Say("one"), Say("two"))
    session = asked.ask("hi").last[1]["session_id"]
    asked.ask("again", session_id=session)
    assert model.told()[1:] == [("user", "again")]
    assert stoa.sql("SELECT 1 FROM stoa.agent_sessions WHERE app_id = 'mindless'") == []


def test_a_long_conversation_is_summarized_once(admin: Person, model: Provider) -> None:
    limits = {"maxContextTokens": 30, "keepRecentMessages": 1}
    asked = agent(admin, "talkative", memory={"enabled": True}, limits=limits)
    model.script(Say("a " * 60 + "end"))
    session = asked.ask("tell me all").last[1]["session_id"]
    model.script(Say("she asked for all"), Say("more"))
    run = asked.ask("and now", session_id=session)
    assert run.kinds == ["session_compacted", "chunk", "done"]
    assert run.of("session_compacted")[0]["summary"] == "she asked for all"
    asked_for, old = model.told(0)
    assert asked_for[1].startswith("Summarize the conversation below")
    assert (old[1][-7:], len(old[1])) == ("a a end", 120)
    assert model.told(1)[1:] == [SUMMARY, ("user", "and now")]
    model.script(Say("less"))
    assert asked.ask("again", session_id=session).kinds == ["chunk", "done"]
    assert model.told()[1:] == [SUMMARY, ("user", "and now"), ("assistant", "more"), ("user", "again")]
    shown = admin.client.get(f"{asked.path}/sessions/{session}").json()["messages"]
    assert [(message["role"], message["isSummary"]) for message in shown] == [
        ("user", False),
        ("assistant", False),
        ("system", True),
        ("user", False),
        ("assistant", False),
        ("user", False),
        ("assistant", False),
    ]


# What goes wrong.


@pytest.mark.parametrize(
    ("turn", "error"),
    [
        (Refuse(401, {"error": {"message": "bad key"}}), "the model's provider answered 401: bad key"),
        (Refuse(400, {"error": {"message": "no such model"}}), "the model's provider answered 400: no such model"),
        (Refuse(400, "plain"), "the model's provider answered 400: plain"),
        (Say("half an", breaks_off=True), "does not speak HTTP as it should"),
        (Say("half an", stops=True), "the model's answer broke off"),
        (Raw(["data: {nonsense\n\n"]), "did not answer as it should"),
        (Raw(["data: [DONE]\n\n"]), "did not answer as it should"),
        (Refuse(302, {}, {"location": "http://127.0.0.1:1/elsewhere"}), "did not answer as it should: Error code: 302"),
    ],
)
def test_a_provider_that_fails_ends_the_run_with_what_it_says(
    admin: Person, model: Provider, failing: Agent, turn: Turn, error: str
) -> None:
    model.script(turn)
    run = failing.ask("hi")
    assert run.last[0] == "error"
    assert error in run.last[1]["error"]
    assert len(model.asked) == 1


@pytest.fixture(scope="module")
def failing(admin: Person, host: RunningHost) -> Agent:
    return agent(admin, "failing", "query_data", limits={"maxTurns": 3})


def test_a_provider_that_is_overloaded_is_asked_again(failing: Agent, model: Provider) -> None:
    again = Refuse(503, {"error": {"message": "later"}}, {"retry-after-ms": "10"})
    model.script(again, Say("here I am"))
    assert failing.ask("hi").last[1]["response"] == "here I am"
    assert len(model.asked) == 2


def test_a_loop_of_tools_comes_to_an_end(failing: Agent, model: Provider) -> None:
    model.script(*[Say(calls=[("query_data", {"entity": "parcels"})])] * 10)
    run = failing.ask("for ever")
    assert run.last == (
        "error",
        {"error": "the agent did not come to an end within 3 turns", "session_id": run.last[1]["session_id"]},
    )
    assert len(model.asked) == 3


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (("query_data", {"entity": "nothing"}), "permission denied: app:failing:nothing.read"),
        (("query_data", {}), "entity is required"),
        (("query_data", {"entity": "parcels", "where": {"code": {"$regex": "x"}}}), "$regex"),
        (("query_data", "[1]"), UNUSABLE),
        (("query_data", "{not json"), UNUSABLE),
        (("query_data", '{"where": ' + "[" * 300 + "]" * 300 + "}"), "of 200 levels at most"),
        (("query_data", {"entity": "parcels", "where": {"code": "\x00"}}), "without U+0000"),
        (("mutate_data", {"entity": "parcels", "action": "create", "data": {}}), "permission denied: tool:mutate_data"),
        (("format_disk", {}), "unknown tool 'format_disk'"),
    ],
)
def test_a_call_that_fails_is_told_to_the_model_and_the_run_goes_on(
    failing: Agent, model: Provider, call: tuple[str, object], error: str
) -> None:
    model.script(Say(calls=[call]), Say("sorry"))
    run = failing.ask("try")
    assert error in run.of("tool_call_completed")[0]["error"]
    assert run.last[1]["response"] == "sorry"
    role, content = model.told()[-1]
    assert role == "tool"
    assert error in json.loads(content)["error"]


def test_what_tools_return_is_bounded(admin: Person, model: Provider) -> None:
    asked = agent(admin, "wordy", "query_data")
    build.Collections(admin, "wordy").create_many("parcels", [{"code": "x" * 1000} for _ in range(100)])
    build.Collections(admin, "wordy").create("parcels", code="y" * 600_000)
    few = {"entity": "parcels", "where": {"code": {"$like": "x%"}}, "limit": 100}
    model.script(Say(calls=[("query_data", few)]), Say(calls=[("query_data", {"entity": "parcels"})]), Say("much"))
    run = asked.ask("all")
    shown, refused = run.of("tool_call_completed")
    assert len(shown["output"]["data"]) == 100
    assert "ask for a part of it" in refused["error"]
    cut = next(content for role, content in model.told() if role == "tool")
    assert cut.endswith(
        f"[cut: these are 65536 of {len(json.dumps(shown['output'], separators=(',', ':')))} characters]"
    )


def test_no_model_no_answer(databases: Databases, valkey_url: str, tmp_path: Path) -> None:
    with running(databases.new(), valkey_url, tmp_path) as bare, hosting(bare):
        admin = bare.person("admin")
        asked = agent(admin, "speechless")
        kind, data = asked.ask("hi").last
        assert (kind, data["error"]) == (
            "error",
            "no model is configured: set STOA_LLM_PROVIDER and STOA_LLM_MODEL",
        )


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
async def test_a_provider_at_an_address_inside_is_not_asked(provider: str) -> None:
    told = Settings(llm_provider=provider, llm_base_url="http://10.0.0.1:8080/v1", llm_key="x", llm_model="x")
    outbound = HttpOutbound()
    models = ProviderModels(told, outbound)
    with pytest.raises(Failed, match=r"cannot be reached: 10\.0\.0\.1: not a public address"):
        async for _ in models.turn(Prompt("system", [Said("user", "hi")])):
            pass
    await models.close()
    await outbound.close()
