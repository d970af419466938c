"""What agents need of the outside: a place that runs them, and models that think."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID


class Trigger(StrEnum):
    """What began a run."""

    USER = "user"  # who invoked it and may watch it
    CRON = "cron"
    HOOK = "hook"
    WEBHOOK = "webhook"
    CHANNEL = "channel"
    AGENT = "agent"  # another agent, within a run of its own


# Runs of these do no more than the app's own business, whatever their owner and the agent may do beyond.
SCOPED = frozenset({Trigger.CRON, Trigger.HOOK, Trigger.WEBHOOK})


@dataclass(frozen=True, slots=True)
class Reply:
    """What a run came to. A later run with the same `session_id` goes on from it, if the agent has a memory."""

    response: str
    session_id: UUID
    run_id: UUID


class UnattendedAgents(Protocol):
    """Runs of agents that nobody watches, in the name of an owner who has agreed to it.

    The agreement is a standing delegation, see `domain.agents.delegations`: whoever makes a cron, a hook, a webhook
    or a link to a channel gives one with it.
    """

    async def invoke(
        self,
        tenant_id: UUID,
        app_id: str,
        owner_id: UUID | None,
        message: str,
        trigger: Trigger,
        session_id: UUID | None = None,
        hooks: int = 0,
    ) -> Reply:
        """The agent's answer, at the end of its run: that may take long, where it needs somebody's approval.

        `hooks` is how many hooks of records led to it.
        Whoever stops waiting doesn't stop the run. Raises Missing without an agent; Denied without an owner who is
        enabled, may invoke the app, and has delegated to the agent; Failed with what the run ended by; Unavailable.
        """
        ...


# Models.


@dataclass(frozen=True, slots=True)
class ModelName:
    """Which model thinks, and whose it is."""

    provider: str
    model: str


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as a model is told of it. `input_schema` is a JSON Schema of its arguments."""

    name: str
    description: str
    input_schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A call of a tool that a model asks for."""

    id: str
    name: str
    args: Any  # an object, if the model did as it was told


@dataclass(frozen=True, slots=True)
class Said:
    """One message of a conversation with a model.

    `role` is user, assistant or tool. An assistant's may hold `uses` of tools; each is followed by a tool's message
    with its `use_id`.
    """

    role: str
    content: str
    uses: tuple[ToolUse, ...] = ()
    use_id: str | None = None
    tool_name: str | None = None


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model is asked."""

    system: str | None
    messages: Sequence[Said]
    tools: Sequence[ToolSpec] = ()


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of what a model says, as it comes."""

    text: str


@dataclass(frozen=True, slots=True)
class Turn:
    """All that a model said at a time. Without `uses` it is its last word. `tokens` counts those of both sides."""

    text: str
    uses: tuple[ToolUse, ...] = field(default=())
    tokens: int | None = None


class Models(Protocol):
    """The model that thinks for agents without code of their own."""

    @property
    def default(self) -> ModelName | None:
        """Which model it is; None where none is configured."""
        ...

    def turn(self, prompt: Prompt) -> AsyncIterator[Delta | Turn]:
        """What the model says, piece by piece, the whole of it last.

        Raises Failed with what the provider says of its failure; Unavailable where none is configured.
        """
        ...

    async def close(self) -> None:
        """Give connections up."""
        ...


# Runs, as those see them who follow one.


@dataclass(frozen=True, slots=True)
class RunEvent:
    """What happened in a run. `sequence` counts from 1 within the run.

    `kind` and `body` are those of RootCX's stream of an invocation (agent protocol, 6.4): chunk, tool_call_started,
    tool_call_completed, approval_required, session_compacted, sub_agent_chunk; done or error is the last.
    """

    tenant_id: UUID
    run_id: UUID
    app_id: str
    session_id: UUID
    invoker_id: UUID
    sequence: int
    kind: str
    body: Mapping[str, Any]

    @property
    def last(self) -> bool:
        """Whether nothing follows."""
        return self.kind in ENDS


ENDS = frozenset({"done", "error"})


@dataclass(frozen=True, slots=True)
class Missed:
    """So many events were dropped, for who is too slow to read them."""

    events: int


class AgentRuns(UnattendedAgents, Protocol):
    """The runs of all agents. One begins when the operation that invoked it has committed."""

    def follow(self, tenant_id: UUID, run_id: UUID, after: int = 0) -> AsyncGenerator[RunEvent, None]:
        """The run's events behind `after`, from the log and then as they come, until its end."""
        ...

    async def fleet(self, tenant_id: UUID) -> AsyncGenerator[RunEvent | Missed, None]:
        """The events of all the tenant's runs from now on."""
        ...
