"""Agents for the people who have them: what they are, what was said, and what waits for a decision."""

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from uuid import UUID

from sqlalchemy import Select, func, select

from domain.access.permissions import EVERYTHING, Permission, app_key
from domain.agents import invoking, registration
from domain.agents.definition import NAME_CHARS_MAX, TEXT_CHARS_MAX
from domain.agents.events import ApprovalDecided
from domain.agents.model import (
    APPROVAL_LIFE,
    Agent,
    AgentApproval,
    AgentMessage,
    AgentRun,
    AgentSession,
    AgentToolCall,
    Decision,
)
from domain.agents.ports import Missed, RunEvent
from domain.audit import service as audit
from domain.audit.service import Note
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Denied, Invalid, Missing
from domain.kernel.page import Page, PageArgs, keyset_page

AGENTS_MAX = 10_000
APPROVALS_MAX = 1_000
SHOWN_MESSAGES_MAX = 200  # of each session of a list, the newest
MESSAGES_MAX = 10_000
NOTE_CHARS_MAX = 2_000
REJECTED = "rejected by user"
OFFSET_MAX = 1_000_000


# Agents.


async def agents(ctx: Ctx) -> Sequence[Agent]:
    """All agents by name. Raises Unauthenticated."""
    ctx.user()
    return await ctx.all(ctx.visible(Agent).order_by(Agent.name, Agent.app_id).limit(AGENTS_MAX))


async def agent(ctx: Ctx, app_id: str) -> Agent:
    """The agent of an app. Raises Unauthenticated, Missing."""
    ctx.user()
    return _found(app_id, await registration.find(ctx, app_id))


def _found(app_id: str, row: Agent | None) -> Agent:
    if row is None:
        raise Missing(f"app '{app_id[:80]}' has no agent")
    return row


async def update(ctx: Ctx, app_id: str, changes: Mapping[str, str | None]) -> Agent:
    """Write `name` or `description` anew, until its code is deployed again. Raises Denied, Missing, Invalid."""
    ctx.need(Permission.AGENTS_MANAGE)
    row = _found(app_id, await registration.find(ctx, app_id))
    if "name" in changes:
        name = (changes["name"] or "").strip()
        if not 0 < len(name) <= NAME_CHARS_MAX:
            raise Invalid("name", f"name must be 1 to {NAME_CHARS_MAX} characters")
        row.name = name
    if "description" in changes:
        description = changes["description"]
        if description is not None and len(description) > TEXT_CHARS_MAX:
            raise Invalid("description", f"description must be at most {TEXT_CHARS_MAX} characters")
        row.description = description
    row.updated_at = ctx.now
    await ctx.flush()
    return row


async def remove(ctx: Ctx, app_id: str) -> None:
    """Take the agent of an app away with its sessions; it comes back with its code. Raises Denied, Missing."""
    ctx.need(Permission.AGENTS_MANAGE)
    if not await registration.forget(ctx, app_id):
        raise Missing(f"app '{app_id[:80]}' has no agent")
    await audit.note(ctx, Note("agents", app_id, "DELETE"))


# Sessions.


async def sessions(ctx: Ctx, app_id: str, args: PageArgs, offset: int = 0) -> Page[AgentSession]:
    """The sessions with an agent, the one that changed last first. Raises Denied, Invalid."""
    ctx.need(Permission.AGENTS_MANAGE)
    if not 0 <= offset <= OFFSET_MAX:
        raise Invalid("offset", f"offset must be between 0 and {OFFSET_MAX}")
    rows = ctx.visible(AgentSession).where(AgentSession.app_id == app_id)
    by = (AgentSession.updated_at, AgentSession.id)
    scope = f"agent_sessions:{app_id}"
    return await keyset_page(ctx, rows.offset(offset) if offset else rows, args, scope=scope, by=by, descending=True)


async def session(ctx: Ctx, app_id: str, id: UUID) -> AgentSession:
    """One session. Raises Denied, Missing."""
    ctx.need(Permission.AGENTS_MANAGE)
    row = await ctx.first(ctx.visible(AgentSession).where(AgentSession.app_id == app_id, AgentSession.id == id))
    if row is None:
        raise Missing("session not found")
    return row


async def messages_of(ctx: Ctx, app_id: str, session_ids: Collection[UUID]) -> dict[UUID, list[AgentMessage]]:
    """The newest messages of each session, oldest first. Whoever has the sessions may have these."""
    most = SHOWN_MESSAGES_MAX if len(session_ids) > 1 else MESSAGES_MAX
    newest = func.row_number().over(partition_by=AgentMessage.session_id, order_by=AgentMessage.id.desc())
    rows = select(AgentMessage.id, newest.label("place")).where(
        AgentMessage.tenant_id == ctx.tenant_id,
        AgentMessage.app_id == app_id,
        AgentMessage.session_id.in_(session_ids),
    )
    numbered = rows.subquery()
    shown = ctx.visible(AgentMessage).join(numbered, numbered.c.id == AgentMessage.id).where(numbered.c.place <= most)
    found: dict[UUID, list[AgentMessage]] = {id: [] for id in session_ids}
    for message in await ctx.all(shown.order_by(AgentMessage.id)):
        found[message.session_id].append(message)
    return found


async def tool_calls_of(ctx: Ctx, message_ids: Collection[UUID]) -> dict[UUID, list[AgentToolCall]]:
    """The calls that led to each message, in their order."""
    found: dict[UUID, list[AgentToolCall]] = {id: [] for id in message_ids}
    of_messages = ctx.visible(AgentToolCall).where(AgentToolCall.message_id.in_(message_ids))
    for call in await ctx.all(of_messages.order_by(AgentToolCall.id)):
        if call.message_id is not None:
            found[call.message_id].append(call)
    return found


# Runs.


async def invoke(
    ctx: Ctx, app_id: str, message: str, session_id: UUID | None = None, files: Sequence[str] | None = None
) -> AgentRun:
    """Begin a run for the caller. Raises as `invoking.invoke` does."""
    return await invoking.invoke(ctx, app_id, message, session_id, tuple(files or ()))


async def ask(
    ctx: Ctx, app_id: str, message: str, session_id: UUID | None = None, files: Sequence[str] | None = None
) -> AsyncGenerator[RunEvent, None]:
    """Begin a run for the caller, and follow it. Raises as `invoking.invoke` does."""
    ctx.need(app_key(app_id, "invoke"))
    begun = await ctx.apart(lambda first: invoke(first, app_id, message, session_id, files))
    return ctx.ports.agents.follow(ctx.tenant_id, begun.id)


async def run(ctx: Ctx, id: UUID) -> AgentRun:
    """A run of one's own, or anybody's for who manages agents or administers the app.

    Raises Unauthenticated, Missing.
    """
    ctx.user()
    row = await ctx.first(ctx.visible(AgentRun).where(AgentRun.id == id))
    if row is None or not watches(ctx, row.app_id, row.invoker_id):
        raise Missing("run not found")
    return row


def watches(ctx: Ctx, app_id: str, invoker_id: UUID) -> bool:
    """Whether the caller may see what an agent of this app does for that user."""
    everyones = ctx.may(Permission.AGENTS_MANAGE) or ctx.may(app_key(app_id, EVERYTHING))
    return everyones or ctx.actor.user_id == invoker_id


async def follow(ctx: Ctx, id: UUID, after: int = 0) -> AsyncGenerator[RunEvent, None]:
    """The events of a run behind `after`, to its end. Raises Unauthenticated, Missing."""
    await ctx.apart(lambda first: run(first, id))
    return ctx.ports.agents.follow(ctx.tenant_id, id, after)


async def fleet(ctx: Ctx) -> AsyncGenerator[RunEvent | Missed, None]:
    """What happens from now on in all runs that the caller may see. Raises Unauthenticated."""
    ctx.user()
    return _watched(ctx, await ctx.ports.agents.fleet(ctx.tenant_id))


async def _watched(
    ctx: Ctx, events: AsyncGenerator[RunEvent | Missed, None]
) -> AsyncGenerator[RunEvent | Missed, None]:
    try:
        async for event in events:
            if isinstance(event, Missed) or watches(ctx, event.app_id, event.invoker_id):
                yield event
    finally:
        await events.aclose()


# Approvals.


async def approvals(ctx: Ctx, app_id: str) -> Sequence[AgentApproval]:
    """The calls that wait for a decision the caller may take, oldest first. Raises Unauthenticated."""
    user_id = ctx.user()
    rows = _pending(ctx, app_id)
    if not watches(ctx, app_id, UUID(int=0)):
        rows = rows.where(AgentApproval.invoker_id == user_id)
    return await ctx.all(rows.order_by(AgentApproval.id).limit(APPROVALS_MAX))


def _pending(ctx: Ctx, app_id: str) -> Select[AgentApproval]:
    undecided = AgentApproval.decision.is_(None), AgentApproval.closed_at.is_(None)
    in_time = AgentApproval.created_at > ctx.now - APPROVAL_LIFE
    return ctx.visible(AgentApproval).where(AgentApproval.app_id == app_id, *undecided, in_time)


async def decide(ctx: Ctx, app_id: str, id: UUID, decision: Decision, reason: str | None = None) -> AgentApproval:
    """Say whether a call that waits is made: by whom the agent acts for, or who manages agents or the app.

    Raises Unauthenticated; Missing for one that is unknown or decided; Denied; Invalid on `reason`.
    """
    user_id = ctx.user()
    if reason is not None and (len(reason) > NOTE_CHARS_MAX or "\x00" in reason):
        raise Invalid("reason", f"reason must be at most {NOTE_CHARS_MAX} characters, without U+0000")
    row = await ctx.first(_pending(ctx, app_id).where(AgentApproval.id == id).with_for_update())
    if row is None:
        raise Missing("there is no such approval to be decided")
    if not watches(ctx, app_id, row.invoker_id):
        raise Denied("only who invoked the agent, or who manages it, may decide this")
    row.decision, row.decided_by, row.closed_at = decision, user_id, ctx.now
    row.note = None if decision is Decision.APPROVE else (reason or "").strip() or REJECTED
    await ctx.flush()
    decided = {"tool": row.tool_name, "args": row.args, "decision": decision, "reason": row.note}
    await audit.note(ctx, Note("agent_approvals", str(id), "UPDATE", after={"app": app_id, **decided}))
    ctx.emit(ApprovalDecided(row.run_id, row.id))
    return row
