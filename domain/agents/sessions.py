"""What an agent remembers of a conversation."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import exists, update
from sqlalchemy.dialects.postgresql import insert

from domain.agents.model import NOBODY, AgentMessage, AgentSession, AgentToolCall
from domain.agents.ports import Trigger
from domain.kernel.ctx import Ctx

if TYPE_CHECKING:
    from domain.agents.running import Facts

HISTORY_MESSAGES_MAX = 1_000
HISTORY_CHARS_MAX = 500_000  # a worker's line is bounded, too
ACTIVE = "active"


@dataclass(frozen=True, slots=True)
class Summary:
    """What stands for messages that are too many; `to` is the last stored one of them, if it is ours to say."""

    text: str
    to: UUID | None = None


@dataclass(frozen=True, slots=True)
class Exchange:
    """What was said in one run."""

    message: str
    response: str
    tokens: int | None
    summaries: Sequence[Summary] = field(default_factory=tuple)


def owner_of(trigger: Trigger, invoker_id: UUID) -> UUID:
    """Whose a session is: nobody's in particular, where a cron or a hook began it."""
    return NOBODY if trigger in (Trigger.CRON, Trigger.HOOK) else invoker_id


async def history(ctx: Ctx, facts: "Facts") -> list[AgentMessage]:
    """What was said in the session before, oldest first; of very much the newest part."""
    of_session = AgentMessage.app_id == facts.app_id, AgentMessage.session_id == facts.session_id
    owned = exists().where(
        AgentSession.tenant_id == ctx.tenant_id,
        AgentSession.app_id == facts.app_id,
        AgentSession.id == facts.session_id,
        AgentSession.owner_id == facts.session_owner_id,
    )
    newest = ctx.visible(AgentMessage).where(*of_session, owned).order_by(AgentMessage.id.desc())
    kept: list[AgentMessage] = []
    chars = 0
    for message in await ctx.all(newest.limit(HISTORY_MESSAGES_MAX)):
        chars += len(message.content)
        if chars > HISTORY_CHARS_MAX:
            break
        kept.append(message)
    return kept[::-1]


async def remember(ctx: Ctx, facts: "Facts", said: Exchange) -> None:
    """Store what was said, and what the agent did for it; not where somebody else's session took the id meanwhile."""
    key = {"tenant_id": ctx.tenant_id, "app_id": facts.app_id, "id": facts.session_id}
    first = {"owner_id": facts.session_owner_id, "status": ACTIVE, "created_at": ctx.now}
    counts = {"total_tokens": said.tokens or 0, "turn_count": 1, "updated_at": ctx.now}
    new = insert(AgentSession).values({**key, **first, **counts})
    counted = {
        "total_tokens": AgentSession.total_tokens + new.excluded.total_tokens,
        "turn_count": AgentSession.turn_count + 1,
        "updated_at": new.excluded.updated_at,
    }
    own = AgentSession.owner_id == new.excluded.owner_id
    stored = new.on_conflict_do_update(index_elements=list(key), set_=counted, where=own).returning(AgentSession.id)
    if (await ctx.execute(stored)).scalar_one_or_none() is None:
        return
    for summary in said.summaries:
        await _store(ctx, facts, "system", summary.text, summary=summary)
    await _store(ctx, facts, "user", said.message)
    answer = await _store(ctx, facts, "assistant", said.response, tokens=said.tokens)
    of_run = AgentToolCall.run_id == facts.id
    await ctx.execute(update(AgentToolCall).where(of_run).values(message_id=answer.id))


async def _store(
    ctx: Ctx, facts: "Facts", role: str, content: str, *, tokens: int | None = None, summary: Summary | None = None
) -> AgentMessage:
    row = AgentMessage(app_id=facts.app_id, session_id=facts.session_id, role=role, content=content)
    row.token_count, row.is_summary = tokens, summary is not None
    row.summarized_to = None if summary is None else summary.to
    return await ctx.add(row)
