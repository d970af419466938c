"""Agents: what they are, asking them, following what they do, and deciding what they may."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import datetime
from enum import Enum
from typing import Annotated, Any
from uuid import UUID

import strawberry

from domain.access.permissions import Permission, app_key, tool_key
from domain.agents import calling, definition, invoking, model, ports, service
from domain.agents.model import Decision
from domain.agents.ports import Missed
from domain.agents.tools import Tool
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Code
from domain.kernel.page import Page, PageArgs
from graph.connection import FIRST, After, Connection, First, connection
from graph.rules import Access, about, bounded, mutation, query, subscription
from graph.scalars import Json, JsonObject
from graph.selection import selects

Info = strawberry.Info[Ctx, None]

MANAGER = Access(permission=Permission.AGENTS_MANAGE)
MAY_INVOKE = Access(permission=app_key("{app}", "invoke"))

AppId = Annotated[strawberry.ID, about("The app's id.")]
Message = Annotated[str, bounded("What the agent is asked.", min_length=1, max_length=invoking.MESSAGE_CHARS_MAX)]
SessionId = Annotated[UUID | None, about("The conversation to go on with; a new one without it.")]
FileIds = Annotated[list[str] | None, bounded("Ids of files that the app was given.", max_items=invoking.FILES_MAX)]

AgentMode = strawberry.enum(definition.Mode, name="AgentMode", description="How far an agent is left alone.")
AgentTrigger = strawberry.enum(ports.Trigger, name="AgentTrigger", description="What began a run.")
AgentRunStatus = strawberry.enum(model.RunStatus, name="AgentRunStatus", description="How far a run is.")
ToolCallStatus = strawberry.enum(
    model.ToolCallStatus, name="ToolCallStatus", description="How far a call of a tool is."
)
ApprovalDecision = strawberry.enum(
    Decision, name="ApprovalDecision", description="What is said to a call that waits for somebody's decision."
)


# What they are.


@strawberry.type(description="Whether an agent remembers its conversations.")
class AgentMemory:
    enabled: bool


@strawberry.type(description="How much an agent may think; null leaves it to the platform.")
class AgentLimits:
    max_turns: int | None = strawberry.field(description="How often its model may be asked in one run.")
    max_context_tokens: int | None = strawberry.field(
        description="How long a conversation its model is told; what is more is summarized."
    )
    keep_recent_messages: int | None = strawberry.field(description="How many messages are never summarized.")


@strawberry.type(description="How often a tool may be called in one run.")
class AgentRateLimit:
    max: int
    window: str = strawberry.field(description="A time: 90s, 30m, 2h, 1d.")


@strawberry.type(description="What holds for calls of this kind.")
class AgentPolicy:
    action: str = strawberry.field(description="query, mutate, the name of a tool, or * for any.")
    entity: str = strawberry.field(description="The entity it is about, or * for any.")
    requires: str | None = strawberry.field(description="`approval`, where somebody has to agree.")
    rate_limit: AgentRateLimit | None


@strawberry.type(description="How an agent is watched over.")
class AgentSupervision:
    mode: AgentMode  # type: ignore[valid-type]
    policies: list[AgentPolicy]


@strawberry.type(description="What an agent was deployed with; null where that says nothing.")
class AgentConfig:
    system_prompt: str | None
    memory: AgentMemory | None
    limits: AgentLimits | None
    supervision: AgentSupervision | None


@strawberry.type(description="The agent of an app.")
class Agent:
    app_id: strawberry.ID
    name: str
    description: str | None
    user_id: UUID = strawberry.field(description="The account it acts as. Its roles say what it may do at most.")
    created_at: datetime
    updated_at: datetime

    @strawberry.field
    def config(self: model.Agent) -> AgentConfig:
        return _config(self.definition)


def _config(told: definition.Definition) -> AgentConfig:
    limits, watched = told.limits, told.supervision
    return AgentConfig(
        system_prompt=told.system_prompt,
        memory=None if told.memory is None else AgentMemory(enabled=told.memory),
        limits=limits,  # type: ignore[arg-type]
        supervision=None
        if watched is None
        else AgentSupervision(mode=watched.mode, policies=[_policy(policy) for policy in watched.policies]),
    )


def _policy(policy: definition.Policy) -> AgentPolicy:
    limit = policy.rate_limit
    return AgentPolicy(
        action=policy.action,
        entity=policy.entity,
        requires="approval" if policy.needs_approval else None,
        rate_limit=None if limit is None else AgentRateLimit(max=limit.most, window=limit.window),
    )


# What was said.


@strawberry.type(description="One call of a tool.")
class ToolCall:
    id: UUID
    call_id: str = strawberry.field(description="As its events call it.")
    tool_name: str
    input: Json | None
    output: Json | None
    error: str | None
    status: ToolCallStatus  # type: ignore[valid-type]
    duration_ms: int | None
    created_at: datetime


@strawberry.type(description="One message of a session.")
class AgentMessage:
    row: strawberry.Private[model.AgentMessage]
    calls: strawberry.Private[Sequence[model.AgentToolCall]]

    @strawberry.field
    def id(self) -> UUID:
        return self.row.id

    @strawberry.field(description="user, assistant, or system for a summary.")
    def role(self) -> str:
        return self.row.role

    @strawberry.field
    def content(self) -> str:
        return self.row.content

    @strawberry.field(description="What the answer took, of both sides.")
    def token_count(self) -> int | None:
        return self.row.token_count

    @strawberry.field(description="Whether it stands for older messages.")
    def is_summary(self) -> bool:
        return self.row.is_summary

    @strawberry.field
    def created_at(self) -> datetime:
        return self.row.created_at

    @strawberry.field(
        description="The calls that led to it; null where there were none.", graphql_type=list[ToolCall] | None
    )
    def tool_calls(self) -> Sequence[model.AgentToolCall] | None:
        return self.calls or None


@strawberry.enum(description="What happened in a session.")
class AgentSessionEventKind(Enum):
    MESSAGE = "MESSAGE"
    TOOL_CALL = "TOOL_CALL"


@strawberry.type(description="A message of a session, or a call of a tool that led to one.")
class AgentSessionEvent:
    kind: AgentSessionEventKind
    at: datetime
    message: AgentMessage | None = None
    tool_call: ToolCall | None = strawberry.field(default=None, graphql_type=ToolCall | None)


@strawberry.type(description="A conversation with an agent.")
class AgentSession:
    row: strawberry.Private[model.AgentSession]
    known: strawberry.Private[Sequence[model.AgentMessage] | None] = None

    @strawberry.field
    def id(self) -> UUID:
        return self.row.id

    @strawberry.field
    def app_id(self) -> strawberry.ID:
        return strawberry.ID(self.row.app_id)

    @strawberry.field(description="Whose it is; zeros where a cron or a hook began it.")
    def owner_id(self) -> UUID:
        return self.row.owner_id

    @strawberry.field
    def title(self) -> str | None:
        return self.row.title

    @strawberry.field
    def status(self) -> str:
        return self.row.status

    @strawberry.field
    def total_tokens(self) -> int:
        return self.row.total_tokens

    @strawberry.field(description="How many runs it has had.")
    def turn_count(self) -> int:
        return self.row.turn_count

    @strawberry.field
    def created_at(self) -> datetime:
        return self.row.created_at

    @strawberry.field
    def updated_at(self) -> datetime:
        return self.row.updated_at

    @strawberry.field(
        description=f"Oldest first. In a list of sessions there are the newest {service.SHOWN_MESSAGES_MAX} of each."
    )
    async def messages(self, info: Info) -> list[AgentMessage]:
        return await self._messages(info, with_calls=selects(info, "toolCalls"))

    @strawberry.field(description="Its messages and the calls of tools between them, by time.")
    async def events(self, info: Info) -> list[AgentSessionEvent]:
        happened = []
        for message in await self._messages(info, with_calls=True):
            for call in message.calls:
                calls = AgentSessionEventKind.TOOL_CALL
                happened.append(AgentSessionEvent(kind=calls, at=call.created_at, tool_call=call))  # type: ignore[arg-type]
            said = AgentSessionEventKind.MESSAGE
            happened.append(AgentSessionEvent(kind=said, at=message.row.created_at, message=message))
        return sorted(happened, key=lambda event: event.at)

    async def _messages(self, info: Info, *, with_calls: bool) -> list[AgentMessage]:
        ctx = info.context
        rows = self.known
        if rows is None:
            rows = (await service.messages_of(ctx, self.row.app_id, [self.row.id]))[self.row.id]
        calls = await service.tool_calls_of(ctx, [row.id for row in rows]) if with_calls else {}
        return [AgentMessage(row=row, calls=calls.get(row.id, ())) for row in rows]


# What it does.


@strawberry.type(description="One invocation of an agent.")
class AgentRun:
    id: UUID
    app_id: strawberry.ID
    session_id: UUID
    invoker_id: UUID = strawberry.field(description="For whom it acts.")
    trigger: AgentTrigger  # type: ignore[valid-type]
    status: AgentRunStatus  # type: ignore[valid-type]
    message: str
    response: str | None = strawberry.field(description="Once it is done.")
    error: str | None = strawberry.field(description="Once it has failed.")
    tokens: int | None
    created_at: datetime
    finished_at: datetime | None


@strawberry.interface(description="What happened in a run. AgentDone or AgentFailed is the last.")
class AgentRunEvent:
    event: strawberry.Private[ports.RunEvent]

    @strawberry.field(description="What kind of event it is, as a word.")
    def kind(self) -> str:
        return self.event.kind

    @strawberry.field(description="Counts from 1 within the run: where to go on behind.")
    def sequence(self) -> int:
        return self.event.sequence

    @strawberry.field(description="The run.")
    def invocation(self) -> UUID:
        return self.event.run_id

    @strawberry.field
    def app_id(self) -> strawberry.ID:
        return strawberry.ID(self.event.app_id)

    @strawberry.field
    def session_id(self) -> UUID:
        return self.event.session_id


def _told(key: str, description: str | None = None) -> Any:
    """A field of an event that is in its body."""

    def read(self: AgentRunEvent):  # type: ignore[no-untyped-def]  # of the type that the field is declared to have
        return self.event.body[key]

    return strawberry.field(resolver=read, description=description)


@strawberry.type(description="A piece of the answer.")
class AgentChunk(AgentRunEvent):
    delta: str = _told("delta")


@strawberry.type(description="A tool is called.")
class AgentToolCallStarted(AgentRunEvent):
    call_id: str = _told("call_id")
    tool_name: str = _told("tool_name")
    input: Json | None = _told("input")


@strawberry.type(description="A call of a tool has ended: with an output or with an error.")
class AgentToolCallCompleted(AgentRunEvent):
    call_id: str = _told("call_id")
    tool_name: str = _told("tool_name")
    output: Json | None = _told("output")
    error: str | None = _told("error")
    duration_ms: int = _told("duration_ms")


@strawberry.type(description="A call of a tool waits for somebody's decision.")
class AgentApprovalRequired(AgentRunEvent):
    approval_id: UUID = _told("approval_id")
    tool_name: str = _told("tool_name")
    args: Json | None = _told("args")
    reason: str = _told("reason")


@strawberry.type(description="A summary stands for the older part of the conversation.")
class AgentSessionCompacted(AgentRunEvent):
    summary: str = _told("summary")


@strawberry.type(description="A piece of what another agent says that this one asked.")
class AgentSubAgentChunk(AgentRunEvent):
    asked_app_id: strawberry.ID = _told("app_id", "The other agent's app.")
    delta: str = _told("delta")


@strawberry.type(description="The answer is whole.")
class AgentDone(AgentRunEvent):
    response: str = _told("response")
    tokens: int | None = _told("tokens")


@strawberry.type(description="There will be no answer.")
class AgentFailed(AgentRunEvent):
    error: str | None = _told("error", "Why.")


@strawberry.type(description="Events were left out: the reader was too slow.")
class AgentEventsMissed:
    count: int


FleetEvent = Annotated[
    AgentChunk
    | AgentToolCallStarted
    | AgentToolCallCompleted
    | AgentApprovalRequired
    | AgentSessionCompacted
    | AgentSubAgentChunk
    | AgentDone
    | AgentFailed
    | AgentEventsMissed,
    strawberry.union("AgentFleetEvent", description="What happens in any run, or that some of it was missed."),
]

EVENTS: dict[str, type[AgentRunEvent]] = {
    "chunk": AgentChunk,
    "tool_call_started": AgentToolCallStarted,
    "tool_call_completed": AgentToolCallCompleted,
    "approval_required": AgentApprovalRequired,
    "session_compacted": AgentSessionCompacted,
    "sub_agent_chunk": AgentSubAgentChunk,
    "done": AgentDone,
    "error": AgentFailed,
}


@strawberry.type(description="A call of a tool that waits for somebody's decision, or has had it.")
class AgentApproval:
    id: UUID
    app_id: strawberry.ID
    session_id: UUID
    invoker_id: UUID = strawberry.field(description="For whom the agent acts.")
    call_id: str
    tool_name: str
    args: Json | None
    reason: str = strawberry.field(description="Why it waits.")
    decision: ApprovalDecision | None  # type: ignore[valid-type]
    note: str | None = strawberry.field(description="Why it was rejected.")
    created_at: datetime

    @strawberry.field(description="The run that waits with it.")
    def invocation(self: model.AgentApproval) -> UUID:
        return self.run_id


@strawberry.type(description="What agents can do on the platform. It takes the permission `tool:{name}`.")
class AgentTool:
    name: str
    description: str

    @strawberry.field(description="The JSON Schema of its arguments.")
    def input_schema(self: Tool) -> JsonObject:
        return JsonObject(dict(self.spec("").input_schema))


@strawberry.type
class AgentsQuery:
    @query(graphql_type=list[AgentTool])
    async def agent_tools(self, info: Info) -> list[Tool]:
        """The tools that agents may be allowed."""
        return calling.tools(info.context)

    @query(graphql_type=list[Agent])
    async def agents(self, info: Info) -> Sequence[model.Agent]:
        """All agents, by name."""
        return await service.agents(info.context)

    @query(graphql_type=Agent, refuses=[Code.NOT_FOUND])
    async def agent(self, info: Info, app: AppId) -> model.Agent:
        """The agent of an app."""
        return await service.agent(info.context, app)

    @query(access=MANAGER)
    async def agent_sessions(
        self,
        info: Info,
        app: AppId,
        first: First = FIRST,
        after: After = None,
        offset: Annotated[
            int, bounded("How many to leave out at the beginning.", minimum=0, maximum=service.OFFSET_MAX)
        ] = 0,
    ) -> Connection[AgentSession]:
        """The conversations with an agent, the one that changed last first."""
        ctx = info.context
        page = await service.sessions(ctx, app, PageArgs(first, after), offset)
        told = selects(info, "messages") or selects(info, "events")
        known = await service.messages_of(ctx, app, [row.id for row in page.rows]) if told else {}
        rows = [AgentSession(row=row, known=known.get(row.id)) for row in page.rows]
        return connection(Page(rows, page.cursors, page.has_next, page.has_previous, page.count))

    @query(access=MANAGER, refuses=[Code.NOT_FOUND])
    async def agent_session(self, info: Info, app: AppId, id: UUID) -> AgentSession:
        """One conversation with an agent."""
        return AgentSession(row=await service.session(info.context, app, id))

    @query(graphql_type=AgentRun, refuses=[Code.NOT_FOUND])
    async def agent_run(self, info: Info, id: UUID) -> model.AgentRun:
        """A run: one's own, or anybody's for who manages agents or administers the app."""
        return await service.run(info.context, id)

    @query(graphql_type=list[AgentApproval])
    async def agent_approvals(self, info: Info, app: AppId) -> Sequence[model.AgentApproval]:
        """The calls of tools that wait for a decision the caller may take, oldest first."""
        return await service.approvals(info.context, app)


@strawberry.type
class AgentsMutation:
    @mutation(
        access=Access(permission=tool_key("{name}")), refuses=[Code.NOT_FOUND, Code.CONFLICT, Code.UPSTREAM_FAILED]
    )
    async def call_tool(
        self,
        info: Info,
        name: Annotated[str, about("The tool's name.")],
        app: Annotated[strawberry.ID, about("The app in whose place it is called.")],
        args: Annotated[JsonObject, about("Its arguments.")],
    ) -> Json | None:
        """What a tool of agents returns, with the caller's own rights."""
        return Json(await calling.call(info.context, app, name, args))

    @mutation(access=MAY_INVOKE, graphql_type=AgentRun, refuses=[Code.NOT_FOUND, Code.RATE_LIMITED])
    async def invoke_agent(
        self, info: Info, app: AppId, message: Message, session: SessionId = None, files: FileIds = None
    ) -> model.AgentRun:
        """Ask an app's agent. It runs on by itself: the subscription `agentRun` follows it."""
        return await service.invoke(info.context, app, message, session, files)

    @mutation(graphql_type=AgentApproval, refuses=[Code.NOT_FOUND, Code.FORBIDDEN])
    async def decide_approval(
        self,
        info: Info,
        app: AppId,
        id: UUID,
        decision: ApprovalDecision,  # type: ignore[valid-type]
        reason: Annotated[
            str | None, bounded("Why it is rejected: the agent is told.", max_length=service.NOTE_CHARS_MAX)
        ] = None,
    ) -> model.AgentApproval:
        """Say whether a call that waits is made: who invoked the agent may, and who manages agents or the app."""
        return await service.decide(info.context, app, id, decision, reason)

    @mutation(access=MANAGER, graphql_type=Agent, refuses=[Code.NOT_FOUND])
    async def update_agent(
        self,
        info: Info,
        app: AppId,
        name: Annotated[
            strawberry.Maybe[str], bounded("What it is called.", min_length=1, max_length=definition.NAME_CHARS_MAX)
        ] = None,
        description: Annotated[strawberry.Maybe[str | None], about("What it does.")] = None,
    ) -> model.Agent:
        """Call an agent otherwise, until its code is deployed again."""
        given = {"name": name, "description": description}
        return await service.update(info.context, app, {key: some.value for key, some in given.items() if some})

    @mutation(access=MANAGER, refuses=[Code.NOT_FOUND])
    async def remove_agent(self, info: Info, app: AppId) -> strawberry.ID:
        """Take an app's agent away with all it remembers, until its code is deployed again. Returns the app's id."""
        await service.remove(info.context, app)
        return app


@strawberry.type
class AgentsSubscription:
    @subscription(access=MAY_INVOKE, refuses=[Code.NOT_FOUND, Code.RATE_LIMITED])
    async def ask_agent(
        self, info: Info, app: AppId, message: Message, session: SessionId = None, files: FileIds = None
    ) -> AsyncGenerator[AgentRunEvent, None]:
        """Ask an app's agent and follow its run. It runs on if nobody follows any more."""
        return _events(await service.ask(info.context, app, message, session, files))

    @subscription(refuses=[Code.NOT_FOUND])
    async def agent_run(
        self,
        info: Info,
        invocation: Annotated[UUID, about("The run's id.")],
        after: Annotated[int, bounded("The `sequence` to go on behind; 0 for all there is.", minimum=0)] = 0,
    ) -> AsyncGenerator[AgentRunEvent, None]:
        """What happened in a run and what happens, to its end. One's own, or as `agentRun` of the queries has it."""
        return _events(await service.follow(info.context, invocation, after))

    @subscription()
    async def agent_events(self, info: Info) -> AsyncGenerator[FleetEvent, None]:
        """What happens from now on in all runs that the caller may see."""
        return _fleet(await service.fleet(info.context))


def _shown(event: ports.RunEvent) -> AgentRunEvent:
    return EVENTS[event.kind](event=event)


async def _events(events: AsyncGenerator[ports.RunEvent, None]) -> AsyncGenerator[AgentRunEvent, None]:
    async with aclosing(events):
        async for event in events:
            yield _shown(event)


async def _fleet(events: AsyncGenerator[ports.RunEvent | Missed, None]) -> AsyncGenerator[Any, None]:
    async with aclosing(events):
        async for event in events:
            yield AgentEventsMissed(count=event.events) if isinstance(event, Missed) else _shown(event)
