"""One run, several processes: what is told in one is heard in the others."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from domain.agents import service, tidying
from domain.agents.definition import Definition
from domain.agents.model import Decision
from domain.agents.ports import Missed, RunEvent, Trigger
from domain.agents.running import Facts
from domain.kernel.ctx import ANONYMOUS, Request
from domain.kernel.model import DEFAULT_TENANT
from infra.agents.journal import WAITING_MAX
from tests.agents.asking import Background, agent
from tests.agents.provider import Provider, Say
from tests.harness import Databases, Person, Stoa, running
from tests.workers.hosting import RunningHost, hosting

pytestmark = pytest.mark.usefixtures("host")

QUERY = ("query_data", {"entity": "parcels"})


def run_of(stoa: Stoa, app_id: str) -> UUID:
    id: UUID = stoa.sql("SELECT id FROM stoa.agent_runs WHERE app_id = $1", app_id)[0]["id"]
    return UUID(str(id))


def test_a_run_is_followed_and_decided_on_from_another_process(
    stoa: Stoa, admin: Person, model: Provider, host: RunningHost
) -> None:
    asked = agent(admin, "elsewhere", "query_data", supervision={"mode": "strict"})
    model.script(Say("one two", calls=[QUERY]), Say("three"))
    running = Background(asked, "go")
    approval = UUID(running.wait_for("approval_required")["approval_id"])
    other, run = host.platform, run_of(stoa, "elsewhere")
    # Either may have it: we follow it in one of them, and the invoker in the other.
    assert [run in platform.agents._running for platform in (stoa.app.platform, other)].count(True) == 1

    async def follow_and_decide() -> list[RunEvent]:
        actor = await other.account(DEFAULT_TENANT, UUID(admin.id))
        events = []
        async for event in other.agents.follow(DEFAULT_TENANT, run):
            events.append(event)
            if event.kind == "approval_required":
                await other.perform(
                    actor, Request(), lambda ctx: service.decide(ctx, "elsewhere", approval, Decision.APPROVE)
                )
        return events

    events = host.do(follow_and_decide())
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert "".join(event.body["delta"] for event in events if event.kind == "chunk") == "one twothree"
    assert events[-1].body == {"response": "three", "tokens": 20}
    assert running.ended().last[1]["response"] == "three"


def test_every_process_tells_of_all_runs(stoa: Stoa, admin: Person, model: Provider, host: RunningHost) -> None:
    asked = agent(admin, "everywhere")
    model.script(Say("hello"))
    other = host.platform.agents

    async def first_end() -> RunEvent:
        fleet = await other.fleet(DEFAULT_TENANT)
        listening.set_result(None)
        async for event in fleet:
            assert isinstance(event, RunEvent)
            if event.last:
                await fleet.aclose()
                return event
        raise AssertionError

    async def begun() -> Any:
        return asyncio.get_running_loop().create_future()

    listening = host.do(begun())
    heard = asyncio.run_coroutine_threadsafe(first_end(), host._loop)

    async def listens() -> None:
        await listening

    host.do(listens())
    asked.ask("hi")
    event = heard.result(20)
    assert (event.app_id, event.kind, event.body) == ("everywhere", "done", {"response": "hello", "tokens": 10})


def test_who_reads_too_slowly_is_told_how_much_was_missed(stoa: Stoa, admin: Person, host: RunningHost) -> None:
    runs = host.platform.agents
    facts = Facts(
        uuid4(), uuid4(), "none", uuid4(), uuid4(), uuid4(), Trigger.USER, 0, None, "", [], None, uuid4(), "Nobody",
        Definition(None, None, None, None), False, False,
    )  # fmt: skip

    async def flood() -> list[Any]:
        fleet = await runs.fleet(facts.tenant_id)
        for number in range(WAITING_MAX + 88):
            runs.tell(facts, "session_compacted", {"summary": str(number)})
        await runs._journal.written()
        heard = [await anext(fleet) for _ in range(2)]
        await fleet.aclose()
        return heard

    first, missed = host.do(flood())
    assert (first.body, missed) == ({"summary": "0"}, Missed(88))


def test_old_events_and_runs_are_dropped_and_remembered_calls_stay(
    stoa: Stoa, admin: Person, model: Provider, host: RunningHost
) -> None:
    for app_id, memory in (("remembered", True), ("unremembered", False)):
        asked = agent(admin, app_id, "query_data", memory={"enabled": memory})
        model.script(Say(calls=[QUERY]), Say("none"))
        asked.ask("how many")
    old = "('remembered', 'unremembered')"
    stoa.sql(f"UPDATE stoa.agent_runs SET finished_at = finished_at - interval '31 days' WHERE app_id IN {old}")
    stoa.sql("UPDATE stoa.agent_run_events SET created_at = created_at - interval '25 hours'")
    asked = agent(admin, "recent")
    model.script(Say("hello"))
    asked.ask("hi")
    host.do(host.platform.perform(ANONYMOUS, Request(), tidying.forget_old))
    kept = [row["app_id"] for row in stoa.sql("SELECT app_id FROM stoa.agent_runs ORDER BY app_id")]
    assert {"remembered", "recent"} <= set(kept)
    assert "unremembered" not in kept
    events = stoa.sql("SELECT DISTINCT r.app_id FROM stoa.agent_run_events e JOIN stoa.agent_runs r ON r.id = e.run_id")
    assert [row["app_id"] for row in events] == ["recent"]
    (session,) = admin.client.get("/api/v1/apps/remembered/agent/sessions").json()
    shown = admin.client.get(f"/api/v1/apps/remembered/agent/sessions/{session['id']}").json()
    assert [call["tool_name"] for call in shown["messages"][1]["toolCalls"]] == ["query_data"]
    told = admin.client.get(f"/api/v1/apps/remembered/agent/sessions/{session['id']}/events").json()
    said = [(event["type"], event.get("content"), event.get("toolName")) for event in told]
    assert sorted(said, key=str) == [
        ("message", "how many", None), ("message", "none", None), ("tool_call", None, "query_data")
    ]  # fmt: skip
    assert [event["at"] for event in told] == sorted(event["at"] for event in told)
    assert told[-1] == {
        "type": "message", "id": shown["messages"][1]["id"], "role": "assistant", "content": "none", "tokenCount": 20,
        "isSummary": False, "at": shown["messages"][1]["createdAt"],
    }  # fmt: skip


def test_without_valkey_it_is_only_later(databases: Databases, tmp_path: Path, model: Provider) -> None:
    told = {"llm_provider": "openai", "llm_base_url": model.url, "llm_model": "scripted"}
    with running(databases.new(), None, tmp_path, **told) as alone, hosting(alone) as beside:
        admin = alone.person("admin")
        asked = agent(admin, "later", "query_data", supervision={"mode": "strict"})
        model.script(Say("one", calls=[QUERY]), Say("two"))
        followed = Background(asked, "go")
        approval = UUID(followed.wait_for("approval_required")["approval_id"])
        other = beside.platform

        async def decide_and_follow() -> RunEvent:
            actor = await other.account(DEFAULT_TENANT, UUID(admin.id))
            decision = Decision.APPROVE
            await other.perform(actor, Request(), lambda ctx: service.decide(ctx, "later", approval, decision))
            *_, last = [event async for event in other.agents.follow(DEFAULT_TENANT, run_of(alone, "later"))]
            return last

        assert beside.do(decide_and_follow()).body == {"response": "two", "tokens": 20}
        assert followed.ended().last[1]["response"] == "two"
