"""Beginning runs of agents."""

from dataclasses import dataclass, field
from uuid import UUID, uuid4

from sqlalchemy import func, select

from domain.access.permissions import Permission, app_key, tool_key
from domain.agents import delegations, registration, sessions
from domain.agents.events import AgentInvoked
from domain.agents.model import AgentRun, AgentSession, RunStatus
from domain.agents.ports import SCOPED, Trigger
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Invalid, Limited, Missing
from domain.kernel.ids import parse_uuid
from domain.storage import app_files

MESSAGE_CHARS_MAX = 100_000
FILES_MAX = 20
RUNS_MAX = 50  # of one invoker, at once
AGAIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Invocation:
    """A run that is to begin, by whoever may."""

    app_id: str
    message: str
    invoker_id: UUID
    trigger: Trigger
    session_id: UUID | None = None
    files: tuple[str, ...] = ()
    depth: int = 0
    hooks: int = 0
    scope: list[str] | None = field(default=None)


def scope_of(trigger: Trigger, app_id: str) -> list[str] | None:
    """What a run may not go beyond: the app's own business and its tools, where a cron or the like began it."""
    return [app_key(app_id, "*"), tool_key("*")] if trigger in SCOPED else None


async def invoke(
    ctx: Ctx, app_id: str, message: str, session_id: UUID | None = None, file_ids: tuple[str, ...] = ()
) -> AgentRun:
    """Begin a run for the caller.

    Raises Denied; Missing without an agent, for an unknown file, or for somebody else's session; Invalid on `message`
    or `files`; Limited.
    """
    ctx.need(app_key(app_id, "invoke"))
    if len(file_ids) > FILES_MAX:
        raise Invalid("files", f"there may be {FILES_MAX} files")
    for index, id in enumerate(file_ids):
        parsed = parse_uuid(id)
        if parsed is None:
            raise Invalid(f"files.{index}", f"invalid file id: '{id[:80]}'")
        await app_files.get(ctx, app_id, parsed)
    return await begin(ctx, Invocation(app_id, message, ctx.user(), Trigger.USER, session_id, file_ids))


async def begin_unattended(
    ctx: Ctx, app_id: str, owner_id: UUID | None, message: str, trigger: Trigger, session_id: UUID | None, hooks: int
) -> AgentRun:
    """Begin a run that nobody watches. Raises Missing, Denied, Invalid on `message`, Limited."""
    await delegations.need(ctx, app_id, owner_id)
    assert owner_id is not None
    scope = scope_of(trigger, app_id)
    return await begin(ctx, Invocation(app_id, message, owner_id, trigger, session_id, hooks=hooks, scope=scope))


async def begin(ctx: Ctx, asked: Invocation) -> AgentRun:
    """Note that a run begins, once this operation commits. Raises Missing, Invalid on `message`, Limited."""
    if await registration.find(ctx, asked.app_id) is None:
        raise Missing(f"app '{asked.app_id}' has no agent")
    if not asked.message.strip() or len(asked.message) > MESSAGE_CHARS_MAX or "\x00" in asked.message:
        raise Invalid("message", f"message must be 1 to {MESSAGE_CHARS_MAX} characters, without U+0000")
    session_id = asked.session_id or uuid4()
    owner_id = await _session_owner(ctx, asked, session_id)
    await _need_room(ctx, asked.invoker_id)
    run = AgentRun(
        app_id=asked.app_id,
        session_id=session_id,
        session_owner_id=owner_id,
        invoker_id=asked.invoker_id,
        trigger=asked.trigger,
        depth=asked.depth,
        hooks=asked.hooks,
        scope=asked.scope,
        message=asked.message,
        files=list(asked.files),
        status=RunStatus.RUNNING,
    )
    await ctx.add(run)
    ctx.emit(AgentInvoked(run.id))
    return run


async def _session_owner(ctx: Ctx, asked: Invocation, session_id: UUID) -> UUID:
    """Whose conversation this is. Raises Missing for somebody else's, stored or under way."""
    own = sessions.owner_of(asked.trigger, asked.invoker_id)
    stored = AgentSession.app_id == asked.app_id, AgentSession.id == session_id
    session = await ctx.first(ctx.visible(AgentSession).where(*stored))
    under_way = AgentRun.app_id == asked.app_id, AgentRun.session_id == session_id, AgentRun.finished_at.is_(None)
    run = await ctx.first(ctx.visible(AgentRun).where(*under_way).limit(1))
    owners: set[UUID] = {*([session.owner_id] if session else ()), *([run.session_owner_id] if run else ())}
    if owners <= {own}:
        return own
    if len(owners) == 1 and asked.trigger is Trigger.USER and ctx.may(Permission.AGENTS_MANAGE):
        whose: UUID = owners.pop()
        return whose
    raise Missing("session not found", field="sessionId")


async def _need_room(ctx: Ctx, invoker_id: UUID) -> None:
    open = (AgentRun.tenant_id == ctx.tenant_id, AgentRun.invoker_id == invoker_id, AgentRun.finished_at.is_(None))
    if (await ctx.execute(select(func.count()).select_from(AgentRun).where(*open))).scalar_one() >= RUNS_MAX:
        raise Limited(f"{RUNS_MAX} runs are under way already", retry_after_s=AGAIN_S)
