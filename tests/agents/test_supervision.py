"""What agent.json may say, and what follows for calls of tools."""

from typing import Any

import pytest

from domain.agents.definition import Definition, Limits, Mode, Policy, RateLimit, Supervision, parse
from domain.agents.supervision import Pace, needs_approval
from domain.kernel.errors import Invalid

APPROVAL = Policy("mutate", "parcels", needs_approval=True)


def supervised(*policies: Policy, mode: Mode = Mode.SUPERVISED) -> Supervision:
    return Supervision(mode, policies)


@pytest.mark.parametrize(
    ("supervision", "tool", "args", "waits"),
    [
        (None, "mutate_data", {"entity": "parcels"}, False),
        (supervised(APPROVAL, mode=Mode.AUTONOMOUS), "mutate_data", {"entity": "parcels"}, False),
        (supervised(mode=Mode.STRICT), "list_apps", {}, True),
        (supervised(), "mutate_data", {"entity": "parcels"}, False),
        (supervised(APPROVAL), "mutate_data", {"entity": "parcels"}, True),
        (supervised(APPROVAL), "mutate_data", {"entity": "couriers"}, False),
        (supervised(APPROVAL), "mutate_data", {}, False),
        (supervised(APPROVAL), "query_data", {"entity": "parcels"}, False),
        (supervised(Policy("query", needs_approval=True)), "query_data", {"entity": "parcels"}, True),
        (supervised(Policy("call_action", needs_approval=True)), "call_action", {"app": "x"}, True),
        (supervised(Policy("call_action", needs_approval=True)), "invoke_agent", {}, False),
        (supervised(Policy("*", needs_approval=True)), "list_apps", {}, True),
        (supervised(Policy("*", "parcels", needs_approval=True)), "list_apps", {}, False),
        (supervised(Policy("mutate", rate_limit=RateLimit(1, 60, "1m"))), "mutate_data", {"entity": "x"}, False),
    ],
)
def test_which_calls_wait_for_somebody(supervision: Supervision | None, tool: str, args: Any, waits: bool) -> None:
    assert (needs_approval(supervision, tool, args) is not None) == waits


def test_calls_are_counted_by_tool_and_the_refused_ones_are_not() -> None:
    pace = Pace([Policy("*", rate_limit=RateLimit(2, 3600, "1h"))])
    assert [pace.too_fast("a", {}) for _ in range(2)] == [None, None]
    assert pace.too_fast("a", {}) == "rate limited: retry after 3600s"
    assert pace.too_fast("b", {}) is None


def test_a_pace_of_one_entity_holds_for_that_one() -> None:
    pace = Pace([Policy("mutate", "parcels", rate_limit=RateLimit(1, 60, "60s"))])
    assert pace.too_fast("mutate_data", {"entity": "parcels"}) is None
    assert pace.too_fast("mutate_data", {"entity": "parcels"}) == "rate limited: retry after 60s"
    assert pace.too_fast("mutate_data", {"entity": "couriers"}) is None


def test_a_window_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("domain.agents.supervision.monotonic", lambda: now)
    pace = Pace([Policy("*", rate_limit=RateLimit(1, 90, "90s"))])
    assert pace.too_fast("a", {}) is None
    now += 30
    assert pace.too_fast("a", {}) == "rate limited: retry after 60s"
    now += 60
    assert pace.too_fast("a", {}) is None


def test_everything_a_definition_may_say() -> None:
    new = parse(
        {
            "name": " Dispatcher ",
            "description": "Plans tours",
            "systemPrompt": "You plan.",
            "memory": {"enabled": True},
            "limits": {"maxTurns": 20, "maxContextTokens": 60000, "keepRecentMessages": 12},
            "supervision": {
                "mode": "supervised",
                "policies": [
                    {"action": "mutate", "entity": "parcels", "requires": "approval"},
                    {"action": "*", "rateLimit": {"max": 30, "window": "1h"}},
                ],
            },
            "unknown": 1,
        }
    )
    assert (new.name, new.description, "unknown" in new.config) == ("Dispatcher", "Plans tours", False)
    assert Definition.of(new.config) == Definition(
        "You plan.",
        True,
        Limits(20, 60000, 12),
        supervised(APPROVAL, Policy("*", rate_limit=RateLimit(30, 3600, "1h"))),
    )


@pytest.mark.parametrize(
    ("window", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1d", 86400), ("45", 45), (7, 7)]
)
def test_windows(window: Any, seconds: int) -> None:
    policies = [{"action": "*", "rateLimit": {"max": 1, "window": window}}]
    supervision = Definition.of({"supervision": {"policies": policies}}).supervision
    assert supervision is not None
    limit = supervision.policies[0].rate_limit
    assert limit is not None
    assert (supervision.mode, limit.within_s) == (Mode.AUTONOMOUS, seconds)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": None}, "name"),
        ({"name": " "}, "name"),
        ({"name": 5}, "name"),
        ({"systemPrompt": []}, "systemPrompt"),
        ({"memory": True}, "memory"),
        ({"memory": {"enabled": "yes"}}, "memory.enabled"),
        ({"limits": {"maxTurns": 0}}, "limits.maxTurns"),
        ({"limits": {"maxTurns": 1.5}}, "limits.maxTurns"),
        ({"limits": {"maxContextTokens": True}}, "limits.maxContextTokens"),
        ({"supervision": {"mode": "Strict"}}, "supervision.mode"),
        ({"supervision": {"policies": {}}}, "supervision.policies"),
    ],
)
def test_what_cannot_be_read_is_refused_and_not_taken_for_nothing(wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse({"name": "Dispatcher", **wrong})
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        ({}, "action"),
        ({"action": "*", "requires": "prayer"}, "requires"),
        ({"action": "*", "rateLimit": {"max": 1}}, "rateLimit.window"),
        ({"action": "*", "rateLimit": {"window": "1h"}}, "rateLimit.max"),
        ({"action": "*", "rateLimit": {"max": 0, "window": "1h"}}, "rateLimit.max"),
        ({"action": "*", "rateLimit": {"max": 1, "window": "1w"}}, "rateLimit.window"),
        ({"action": "*", "rateLimit": {"max": 1, "window": "0s"}}, "rateLimit.window"),
    ],
)
def test_a_policy_that_cannot_be_read_is_refused(policy: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse({"name": "Dispatcher", "supervision": {"policies": [policy]}})
    assert refused.value.field == f"supervision.policies.0.{field}"
