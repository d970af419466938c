"""What agents leave behind, and for how long."""

from datetime import timedelta

from sqlalchemy import delete, exists

from domain.agents.model import AgentRun, AgentRunEvent, AgentToolCall
from domain.kernel.ctx import Ctx

EVENTS_KEPT = timedelta(days=1)  # by then whoever follows a run has its end
RUNS_KEPT = timedelta(days=30)  # those whose calls belong to a remembered conversation stay with it


async def forget_old(ctx: Ctx) -> None:
    """Drop the events of old runs, and the runs that no conversation remembers."""
    await ctx.execute(delete(AgentRunEvent).where(AgentRunEvent.created_at < ctx.now - EVENTS_KEPT))
    remembered = exists().where(AgentToolCall.run_id == AgentRun.id, AgentToolCall.message_id.is_not(None))
    await ctx.execute(delete(AgentRun).where(AgentRun.finished_at < ctx.now - RUNS_KEPT, ~remembered))
