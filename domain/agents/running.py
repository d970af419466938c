"""One run of an agent, from its beginning to its end.

Where the app's code runs an agent, its model is asked by that code: we hand it the conversation and the tools, and do
the calls it asks for. For an agent without such code we ask the model ourselves, see `domain.agents.thinking`. Either
way a call is made here: at its pace, with the rights of the run at that moment, after somebody's approval where the
agent is supervised.
"""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from time import monotonic
from typing import Any, Protocol, TypeVar
from uuid import UUID

import orjson
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert

from domain.access.permissions import Grants, app_key, tool_key
from domain.agents import invoking, sessions
from domain.agents.definition import Definition
from domain.agents.model import (
    APPROVAL_LIFE,
    Agent,
    AgentApproval,
    AgentRun,
    AgentToolCall,
    Decision,
    RunStatus,
    ToolCallStatus,
)
from domain.agents.ports import SCOPED, ToolSpec, ToolUse, Trigger
from domain.agents.supervision import Pace, needs_approval
from domain.agents.tools import TOOLS, Tool, bounded, described, specs
from domain.kernel.ctx import Actor, Ctx, Request
from domain.kernel.errors import DomainError, Failed, Missing, permission_denied
from domain.kernel.ids import uuid7
from domain.kernel.rawjson import json_of
from domain.kernel.reading import JSON_DEPTH_MAX, Node, json_problem
from domain.ports import Ports
from domain.storage import links
from domain.storage.model import AppFile
from domain.workers import service as workers
from domain.workers.model import Part
from domain.workers.ports import RPC_TIMEOUT_S, AgentEvent, WorkerCaller

LEASE_S = 15
SILENCE_S_MAX = 600.0  # how long code may say nothing while no call of its own is under way
CALL_ID_CHARS_MAX, TOOL_NAME_CHARS_MAX = 200, 200
ARGS_CHARS_MAX = 256 * 1024
CALLS_MAX = 1_000  # of one run
UNUSABLE = f"the arguments must be an object, of {JSON_DEPTH_MAX} levels at most and without U+0000"
DOOR = "agent_tool"  # how the audit log calls what agents do

T = TypeVar("T")
Work = Callable[[Ctx], Awaitable[T]]


@dataclass(frozen=True, slots=True)
class Facts:
    """What a run begins with."""

    id: UUID
    tenant_id: UUID
    app_id: str
    session_id: UUID
    session_owner_id: UUID
    invoker_id: UUID
    trigger: Trigger
    depth: int
    scope: list[str] | None
    message: str
    files: list[Any]
    state: dict[str, Any] | None
    agent_id: UUID  # its account
    name: str
    definition: Definition
    has_code: bool
    interrupted: bool  # another process had it before
    hooks: int = 0  # of records that led to it

    @property
    def remembers(self) -> bool:
        """Whether the conversation is stored: always, where nobody was there to read it."""
        return bool(self.definition.memory) or self.trigger in (Trigger.CRON, Trigger.HOOK)


class Around(Protocol):
    """What a run is part of."""

    @property
    def ports(self) -> Ports:
        """The adapters of the platform."""
        ...

    @property
    def public_url(self) -> str:
        """Where code that runs an agent reaches us."""
        ...

    async def account(self, tenant_id: UUID, user_id: UUID) -> Actor:
        """An account with the rights of this moment. Raises Unauthenticated."""
        ...

    async def perform(self, actor: Actor, request: Request, work: Work[T]) -> T:
        """What `work` comes to in a unit of its own, committed. Raises DomainError."""
        ...

    def tell(self, run: Facts, kind: str, body: Mapping[str, Any]) -> None:
        """Tell those who follow the run."""
        ...

    async def decided(self, approval_id: UUID) -> None:
        """Wait until somebody may have decided."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call of a tool comes to."""

    result: Any = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class End:
    """What a run comes to: a response or an error."""

    response: str = ""
    tokens: int | None = None
    error: str | None = None


class NoAgentCode(Exception):
    """The app's code runs no agent."""


# Taking a run up.


async def take_up(ctx: Ctx, run_id: UUID, holder_id: UUID) -> Facts | None:
    """Make the run that of this process, if no other has it. None if one has, or it has ended."""
    free = AgentRun.holder_id.is_(None) | (AgentRun.leased_until < func.clock_timestamp())
    row = select(AgentRun).where(AgentRun.id == run_id, AgentRun.finished_at.is_(None), free)
    run = (await ctx.execute(row.with_for_update(skip_locked=True))).scalar_one_or_none()
    if run is None:
        return None
    interrupted = run.holder_id is not None
    lease = {"holder_id": holder_id, "leased_until": func.clock_timestamp() + timedelta(seconds=LEASE_S)}
    await ctx.execute(update(AgentRun).where(AgentRun.id == run_id).values(**lease))
    ctx.enter(run.tenant_id)
    agent = await ctx.first(ctx.visible(Agent).where(Agent.app_id == run.app_id))
    if agent is None:  # it went a moment ago, and takes its runs with it
        return None
    code = await workers.deployment(ctx, run.app_id, Part.BACKEND)
    return Facts(
        id=run.id,
        tenant_id=run.tenant_id,
        app_id=run.app_id,
        session_id=run.session_id,
        session_owner_id=run.session_owner_id,
        invoker_id=run.invoker_id,
        trigger=Trigger(run.trigger),
        depth=run.depth,
        hooks=run.hooks,
        scope=run.scope,
        message=run.message,
        files=run.files,
        state=run.state,
        agent_id=agent.user_id,
        name=agent.name,
        definition=agent.definition,
        has_code=code is not None and code.entry_point is not None,
        interrupted=interrupted,
    )


class Running:
    """A run that this process has taken up."""

    def __init__(self, around: Around, facts: Facts) -> None:
        self.around = around
        self.facts = facts
        supervision = facts.definition.supervision
        self._pace = Pace(supervision.policies if supervision else ())
        self._calls = 0
        self._request = Request(door=DOOR, hooks=facts.hooks)
        self.summaries: list[sessions.Summary] = []

    # Whose rights it has.

    async def actor(self) -> Actor:
        """The agent with what it and its invoker may both do at this moment. Raises Unauthenticated."""
        agent = await self.around.account(self.facts.tenant_id, self.facts.agent_id)
        invoker = await self.around.account(self.facts.tenant_id, self.facts.invoker_id)
        grants = agent.grants.both(invoker.grants)
        if self.facts.scope is not None:
            grants = grants.both(Grants(self.facts.scope))
        return replace(agent, grants=grants, delegator_id=self.facts.invoker_id)

    async def perform(self, work: Work[T]) -> T:
        """Work of the run's own book-keeping."""
        actor = Actor(self.facts.tenant_id, self.facts.agent_id, delegator_id=self.facts.invoker_id)
        return await self.around.perform(actor, self._request, work)

    def tell(self, kind: str, body: Mapping[str, Any]) -> None:
        """Tell those who follow the run."""
        self.around.tell(self.facts, kind, body)

    async def tools(self) -> list[ToolSpec]:
        """The tools it may use at this moment."""
        actor = await self.actor()
        return await self.perform(lambda ctx: specs(ctx, self.facts.app_id, actor.grants))

    # Calls of tools.

    async def call(self, use: ToolUse) -> Outcome:
        """What a call comes to; one that was made before this process took the run up is not made again."""
        began = monotonic()
        known = await self.perform(lambda ctx: self._open(ctx, use))
        if isinstance(known, Outcome):
            return known
        if known is None:
            self.tell("tool_call_started", {"call_id": use.id, "tool_name": use.name, "input": use.args})
        try:
            outcome = await self._attempt(use, began)
        except DomainError as refused:
            outcome = Outcome(error=refused.message)
        await self.perform(lambda ctx: _close(ctx, self.facts.id, use, outcome, began))
        told = {"call_id": use.id, "tool_name": use.name, "output": outcome.result, "error": outcome.error}
        self.tell("tool_call_completed", {**told, "duration_ms": _ms(began)})
        return outcome

    async def _open(self, ctx: Ctx, use: ToolUse) -> Outcome | AgentToolCall | None:
        """Note that a call begins. What is known of it, if it is: its outcome, or that it had begun."""
        row = {"id": uuid7(), "tenant_id": ctx.tenant_id, "created_at": ctx.now, "run_id": self.facts.id}
        row |= {"call_id": use.id, "tool_name": use.name, "input": use.args, "output": None}
        new = insert(AgentToolCall).values({**row, "status": ToolCallStatus.RUNNING}).on_conflict_do_nothing()
        if (await ctx.execute(new.returning(AgentToolCall.id))).scalar_one_or_none() is not None:
            return None
        of_run = ctx.visible(AgentToolCall).where(AgentToolCall.run_id == self.facts.id)
        known = await ctx.first(of_run.where(AgentToolCall.call_id == use.id))
        if known is None or (known.tool_name, known.input) != (use.name, use.args):
            return Outcome(error="another call has this id")
        if known.status != ToolCallStatus.RUNNING:
            return Outcome(known.output, known.error)
        tool = TOOLS.get(use.name)
        waited = ctx.visible(AgentApproval).where(AgentApproval.run_id == self.facts.id)
        waiting = await ctx.first(waited.where(AgentApproval.call_id == use.id, AgentApproval.decision.is_(None)))
        if waiting is None and (tool is None or tool.work is None):
            return Outcome(error="the process that made this call has ended, what came of it is not known")
        return known

    async def _attempt(self, use: ToolUse, began: float) -> Outcome:
        """Raises DomainError for a call that is not made, or fails."""
        tool = TOOLS.get(use.name)
        self._calls += 1
        if tool is None:
            return Outcome(error=f"unknown tool '{use.name[:80]}'")
        if self._calls > CALLS_MAX:
            return Outcome(error=f"a run may call tools {CALLS_MAX} times")
        problem = unusable(use.args) or self._pace.too_fast(use.name, use.args)
        if problem is not None:
            return Outcome(error=problem)
        actor = await self._allowed(tool)
        reason = needs_approval(self.facts.definition.supervision, use.name, use.args)
        if reason is not None:
            rejected = await self._rejected(use, reason)
            if rejected is not None:
                return Outcome(error=rejected)
            actor = await self._allowed(tool)  # that may have taken days
        return Outcome(await self._done(tool, use, actor, began))

    async def _allowed(self, tool: Tool) -> Actor:
        """Who makes a call of this tool. Raises Denied."""
        actor, key = await self.actor(), tool_key(tool.name)
        if not actor.grants.allows(key):
            raise permission_denied(key)
        return actor

    async def _done(self, tool: Tool, use: ToolUse, actor: Actor, began: float) -> Any:
        """What the call returns. Raises DomainError."""
        args = Node(use.args, "")
        if tool.work is not None:
            work = tool.work

            async def done(ctx: Ctx) -> Any:
                result = bounded(await work(ctx, self.facts.app_id, args))
                await _close(ctx, self.facts.id, use, Outcome(result), began)  # known as done if, and only if, it is
                return result

            return await self.around.perform(actor, self._request, done)
        match tool.name:
            case "call_action":
                return bounded(await self._call_action(args, actor))
            case "call_integration":
                return bounded(await self._call_integration(args, actor))
        return bounded(await self._invoke_agent(args, actor))

    # Tools that wait for somebody outside.

    async def _call_action(self, args: Node, actor: Actor) -> Any:
        app, action, input = args.text("app"), args.text("action"), args.raw("input", default={})
        await self.around.perform(actor, self._request, lambda ctx: workers.may_call_action(ctx, app, action))
        caller = self._worker_caller(actor)
        return await self.around.ports.workers.rpc(self.facts.tenant_id, app, action, input, caller, RPC_TIMEOUT_S)

    async def _call_integration(self, args: Node, actor: Actor) -> Any:
        id, action, input = args.text("integration_id"), args.text("action"), args.raw("input", default={})
        own, integrations = self.facts.app_id, self.around.ports.integrations

        async def called(ctx: Ctx) -> Any:
            return await integrations.call(ctx, own, id, action, input)

        return await self.around.perform(actor, self._request, called)

    async def _invoke_agent(self, args: Node, actor: Actor) -> Any:
        """The answer of another agent, which may do no more than this one."""
        app, message = args.text("app_id"), args.text("message")
        if app == self.facts.app_id:
            raise Failed("an agent does not ask itself")
        if self.facts.depth > 0:
            raise Failed("an agent that another one asks cannot ask further ones")
        if not actor.grants.allows(app_key(app, "invoke")):
            raise permission_denied(app_key(app, "invoke"))
        asked = invoking.Invocation(
            app,
            message,
            self.facts.invoker_id,
            Trigger.AGENT,
            depth=1,
            hooks=self.facts.hooks,
            scope=sorted(actor.grants.keys),
        )
        run = await self.around.perform(actor, self._request, lambda ctx: invoking.begin(ctx, asked))
        async for event in self.around.ports.agents.follow(self.facts.tenant_id, run.id):
            if event.kind == "chunk":
                self.tell("sub_agent_chunk", {"app_id": app, "delta": event.body["delta"]})
            elif event.kind == "error":
                raise Failed(f"the agent of '{app}' failed: {event.body['error']}")
            elif event.kind == "done":
                return {"agent": app, "response": event.body["response"]}
        raise Failed(f"the agent of '{app}' said nothing")

    # Approvals.

    async def _rejected(self, use: ToolUse, reason: str) -> str | None:
        """Wait for somebody's decision. None for an approval, else why the call is not made."""
        id = await self.perform(lambda ctx: self._ask(ctx, use, reason))
        while True:
            verdict = await self.perform(lambda ctx: _verdict(ctx, id, _hash_of(use)))
            if verdict is not None:
                await self.perform(lambda ctx: self._become(ctx, RunStatus.RUNNING))
                return verdict or None
            await self.around.decided(id)

    async def _ask(self, ctx: Ctx, use: ToolUse, reason: str) -> UUID:
        row = {"id": uuid7(), "tenant_id": ctx.tenant_id, "created_at": ctx.now, "app_id": self.facts.app_id}
        row |= {"run_id": self.facts.id, "session_id": self.facts.session_id, "invoker_id": self.facts.invoker_id}
        row |= {"call_id": use.id, "tool_name": use.name, "args": use.args, "call_hash": _hash_of(use)}
        new = insert(AgentApproval).values({**row, "reason": reason}).on_conflict_do_nothing()
        id: UUID | None = (await ctx.execute(new.returning(AgentApproval.id))).scalar_one_or_none()
        await self._become(ctx, RunStatus.WAITING)
        if id is not None:
            told = {"approval_id": str(id), "tool_name": use.name, "args": use.args, "reason": reason}
            self.tell("approval_required", told)
            return id
        asked = select(AgentApproval.id).where(AgentApproval.run_id == self.facts.id, AgentApproval.call_id == use.id)
        found: UUID = (await ctx.execute(asked)).scalar_one()
        return found

    async def _become(self, ctx: Ctx, status: RunStatus) -> None:
        await ctx.execute(update(AgentRun).where(AgentRun.id == self.facts.id).values(status=status))

    # By the app's code.

    async def by_code(self) -> End:
        """Let the app's code run the agent. Raises NoAgentCode, DomainError."""
        actor = await self.actor()
        invocation = await self._invocation()
        caller = self._worker_caller(actor)
        ports, facts = self.around.ports, self.facts
        run = await ports.workers.agent_invoke(facts.tenant_id, facts.app_id, invocation, caller)
        calling: set[asyncio.Task[None]] = set()
        try:
            while True:
                event = await _heard(run, calling)
                if event.type == "agent_tool_call":
                    task = asyncio.create_task(self._answer(run, event.fields))
                    calling.add(task)
                    task.add_done_callback(calling.discard)
                elif (end := self._end_of(event)) is not None:
                    return end
        finally:
            for task in calling:
                task.cancel()
            await asyncio.gather(*calling, return_exceptions=True)
            await run.aclose()

    def _end_of(self, event: AgentEvent) -> End | None:
        """Pass an event of the code's on; the end of the run, if it is that. Raises NoAgentCode."""
        match event.type:
            case "agent_chunk":
                self.tell("chunk", {"delta": clean(event.fields.get("delta"))})
            case "agent_session_compacted":
                summary = clean(event.fields.get("summary"))
                self.summaries.append(sessions.Summary(summary))
                self.tell("session_compacted", {"summary": summary})
            case "agent_done":
                tokens = event.fields.get("tokens")
                counted = isinstance(tokens, int) and not isinstance(tokens, bool) and 0 <= tokens < 2**31
                return End(clean(event.fields.get("response")), tokens if counted else None)
            case "agent_error":
                if event.fields.get("unsupported") is True:
                    raise NoAgentCode
                return End(error=clean(event.fields.get("error")) or "the agent failed")
        return None

    async def _answer(self, run: Any, asked: Mapping[str, Any]) -> None:
        use = ToolUse(
            str(asked.get("call_id"))[:CALL_ID_CHARS_MAX], str(asked.get("tool_name"))[:200], asked.get("args")
        )
        problem = json_problem(use.args)
        use = replace(use, name=clean(use.name), id=clean(use.id), args=None if problem else use.args)
        outcome = await self.call(use)
        await run.tool_result(str(asked.get("call_id")), result=outcome.result, error=outcome.error)

    async def _invocation(self) -> dict[str, Any]:
        """RootCX agent protocol, "agent_invoke"; `tools`, `system_prompt` and `config` are what it may need besides."""
        facts, model = self.facts, self.around.ports.models.default
        history, attachments = await self.perform(self._told_before)
        told: dict[str, Any] = {
            "invoke_id": str(facts.id),
            "session_id": str(facts.session_id),
            "message": facts.message,
            "history": history,
            "llm": None if model is None else {"provider": model.provider, "model": model.model},
            "invoker_user_id": str(facts.invoker_id),
            "attachments": attachments,
            "task_scope": facts.scope if facts.trigger in SCOPED else None,
            "system_prompt": facts.definition.system_prompt,
            "tools": [described(tool) for tool in await self.tools()],
        }
        limits = facts.definition.limits
        if limits is not None and limits.max_turns is not None:
            told["max_turns"] = limits.max_turns
        return told | ({"is_sub_invoke": True} if facts.depth else {})

    async def _told_before(self, ctx: Ctx) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
        history = await sessions.history(ctx, self.facts) if self.facts.remembers else []
        attachments = []
        for id in self.facts.files:
            file = await ctx.first(ctx.visible(AppFile).where(AppFile.id == UUID(id)))
            if file is not None:
                url = f"{self.around.public_url}/api/v1/storage/download/{links.reading(ctx, file)}"
                attachments.append({"name": file.name, "content_type": file.media_type, "url": url})
        return [{"role": told.role, "content": told.content} for told in history], attachments

    def _worker_caller(self, actor: Actor) -> WorkerCaller:
        keys = tuple(sorted(actor.grants.keys))
        return WorkerCaller(
            actor.user_id, actor.email, keys, delegator_id=self.facts.invoker_id, hooks=self.facts.hooks
        )

    # The end.

    async def end(self, ctx: Ctx, end: End, holder_id: UUID) -> bool:
        """Write what the run came to, and remember the conversation; whether it was still this process's."""
        status = RunStatus.FAILED if end.error is not None else RunStatus.DONE
        ours = AgentRun.id == self.facts.id, AgentRun.holder_id == holder_id, AgentRun.finished_at.is_(None)
        values = {"status": status, "response": end.response, "error": end.error, "tokens": end.tokens, "state": None}
        written = update(AgentRun).where(*ours).values(**values, finished_at=ctx.now).returning(AgentRun.id)
        if (await ctx.execute(written)).scalar_one_or_none() is None:
            return False
        pending = AgentApproval.run_id == self.facts.id, AgentApproval.closed_at.is_(None)
        await ctx.execute(update(AgentApproval).where(*pending).values(closed_at=ctx.now))
        if end.error is None and self.facts.remembers:
            said = sessions.Exchange(self.facts.message, end.response, end.tokens, self.summaries)
            await sessions.remember(ctx, self.facts, said)
        return True


async def _heard(run: Any, calling: set[asyncio.Task[None]]) -> AgentEvent:
    """The code's next event. Raises Failed when it says nothing for too long."""
    following = asyncio.ensure_future(anext(run))
    try:
        while True:
            done, _ = await asyncio.wait([following], timeout=SILENCE_S_MAX)
            if done:
                event: AgentEvent = following.result()
                return event
            if not calling:
                raise Failed(f"the agent said nothing for {SILENCE_S_MAX:g} s")
    except StopAsyncIteration:
        raise Failed("the agent ended without an answer") from None
    finally:
        following.cancel()


async def _close(ctx: Ctx, run_id: UUID, use: ToolUse, outcome: Outcome, began: float) -> None:
    """Note what a call came to, unless that is known. Raises Missing once the run is gone."""
    status = ToolCallStatus.COMPLETED if outcome.error is None else ToolCallStatus.FAILED
    of_call = AgentToolCall.run_id == run_id, AgentToolCall.call_id == use.id
    values = {"output": outcome.result, "error": outcome.error, "status": status, "duration_ms": _ms(began)}
    running = AgentToolCall.status == ToolCallStatus.RUNNING
    await ctx.execute(update(AgentToolCall).where(*of_call, running).values(**values))


async def _verdict(ctx: Ctx, id: UUID, call_hash: str) -> str | None:
    """What was decided: "" for an approval of exactly this call, why not for another, None for nothing yet."""
    row = await ctx.first(ctx.visible(AgentApproval).where(AgentApproval.id == id))
    if row is None:
        raise Missing("the run is gone")
    if row.decision == Decision.APPROVE:
        return "" if row.call_hash == call_hash else "rejected: this is not the call that was approved"
    if row.decision == Decision.REJECT:
        return f"rejected: {row.note}"
    if row.closed_at is None and ctx.now - row.created_at < APPROVAL_LIFE:
        return None
    row.closed_at = row.closed_at or ctx.now
    await ctx.flush()
    return f"rejected: nobody decided within {APPROVAL_LIFE.days} days"


def _hash_of(use: ToolUse) -> str:
    return hashlib.sha256(json.dumps([use.name, use.args], sort_keys=True).encode()).hexdigest()


def unusable(args: Any) -> str | None:
    """What is wrong with arguments."""
    if not isinstance(args, dict):
        return UNUSABLE
    problem = json_problem(args)
    if problem is not None:
        return f"the arguments {problem}"
    return "the arguments are too large" if len(json_of(args)) > ARGS_CHARS_MAX else None


def _ms(began: float) -> int:
    return round((monotonic() - began) * 1000)


def clean(text: Any) -> str:
    """Text as it can be stored: what code or a model says may hold anything."""
    spelled = text if isinstance(text, str) else "" if text is None else orjson.dumps(text, default=str).decode()
    return spelled.replace("\x00", "").encode("utf-8", "replace").decode()
