"""What an agent is: agent.json of the code it was deployed with (RootCX agent protocol, "definition")."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from domain.kernel.errors import Invalid
from domain.kernel.reading import Node

NAME_CHARS_MAX = 200
TEXT_CHARS_MAX = 100_000
POLICIES_MAX = 200
CALLS_MAX = 1_000_000  # that a rate may allow

TURNS_DEFAULT, TURNS_MAX = 20, 100
CONTEXT_TOKENS_DEFAULT, CONTEXT_TOKENS_MAX = 100_000, 10_000_000
RECENT_MESSAGES_DEFAULT, RECENT_MESSAGES_MAX = 12, 1_000

_WINDOW = re.compile(r"([0-9]{1,9})([smhd]?)")
_UNIT_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
ANY = "*"


class Mode(StrEnum):
    """How far an agent is left alone."""

    AUTONOMOUS = "autonomous"
    SUPERVISED = "supervised"  # its policies say what takes an approval
    STRICT = "strict"  # everything does


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `most` calls in any `within_s` seconds; `window` is how the definition spells that."""

    most: int
    within_s: int
    window: str


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds for calls of this kind. `action` is query, mutate or a tool's name; `*` is any."""

    action: str
    entity: str = ANY
    needs_approval: bool = False
    rate_limit: RateLimit | None = None


@dataclass(frozen=True, slots=True)
class Supervision:
    """How an agent is watched over."""

    mode: Mode = Mode.AUTONOMOUS
    policies: tuple[Policy, ...] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """How much an agent may think. Those that are None are for us to choose."""

    max_turns: int | None = None
    max_context_tokens: int | None = None
    keep_recent_messages: int | None = None


@dataclass(frozen=True, slots=True)
class Definition:
    """The parts of agent.json, None where it does not have them."""

    system_prompt: str | None
    memory: bool | None
    limits: Limits | None
    supervision: Supervision | None

    @classmethod
    def of(cls, config: dict[str, Any]) -> "Definition":
        """Read the parts. Raises Invalid with the path."""
        root = Node(config, "")
        memory = root.object("memory")
        return cls(
            _text(root, "systemPrompt", TEXT_CHARS_MAX),
            None if memory is None else memory.flag("enabled"),
            _limits(root.object("limits")),
            _supervision(root.object("supervision")),
        )


@dataclass(frozen=True, slots=True)
class NewAgent:
    """An agent to be registered."""

    name: str
    description: str | None
    config: dict[str, Any]  # of `Definition`


PARTS = ("systemPrompt", "memory", "limits", "supervision")


def parse(document: Any) -> NewAgent:
    """The agent that agent.json describes. Raises Invalid with the path in it."""
    root = Node(document, "")
    name = root.text("name").strip()
    if not 0 < len(name) <= NAME_CHARS_MAX:
        raise Invalid("name", f"name must be 1 to {NAME_CHARS_MAX} characters")
    config = {part: root.json(part) for part in PARTS if root.has(part)}
    Definition.of(config)
    return NewAgent(name, _text(root, "description", TEXT_CHARS_MAX), config)


def _text(node: Node, key: str, most: int) -> str | None:
    text: str | None = node.text(key, default=None)
    if text is not None and len(text) > most:
        raise Invalid(node.path(key), f"{node.path(key)} must be at most {most} characters")
    return text


def _limits(node: Node | None) -> Limits | None:
    if node is None:
        return None
    return Limits(
        _number(node, "maxTurns", TURNS_MAX),
        _number(node, "maxContextTokens", CONTEXT_TOKENS_MAX),
        _number(node, "keepRecentMessages", RECENT_MESSAGES_MAX),
    )


def _number(node: Node, key: str, most: int) -> int | None:
    value = node.raw(key)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise Invalid(node.path(key), f"{node.path(key)} must be a whole number from 1 to {most}")
    return value


def _supervision(node: Node | None) -> Supervision | None:
    if node is None:
        return None
    mode = node.text("mode", default=Mode.AUTONOMOUS)
    if mode not in list(Mode):
        raise Invalid(node.path("mode"), f"{node.path('mode')} must be one of {', '.join(Mode)}")
    policies = tuple(_policy(policy) for policy in node.objects("policies"))
    if len(policies) > POLICIES_MAX:
        raise Invalid(node.path("policies"), f"{node.path('policies')} must be at most {POLICIES_MAX}")
    return Supervision(Mode(mode), policies)


def _policy(node: Node) -> Policy:
    requires = node.text("requires", default=None)
    if requires not in (None, "approval"):
        raise Invalid(node.path("requires"), f"{node.path('requires')} must be 'approval'")
    limit = node.object("rateLimit")
    entity = node.text("entity", default=ANY)
    return Policy(node.text("action"), entity, requires is not None, None if limit is None else _rate_limit(limit))


def _rate_limit(node: Node) -> RateLimit:
    most = _number(node, "max", CALLS_MAX)
    if most is None:
        raise Invalid(node.path("max"), f"{node.path('max')} is required")
    window = node.raw("window")
    spelled = _WINDOW.fullmatch(str(window)) if isinstance(window, str | int) and not isinstance(window, bool) else None
    within_s = int(spelled[1]) * _UNIT_S[spelled[2]] if spelled else 0
    if within_s == 0:
        raise Invalid(node.path("window"), f"{node.path('window')} must be a time like 90s, 30m, 2h or 1d")
    return RateLimit(most, within_s, str(window))
