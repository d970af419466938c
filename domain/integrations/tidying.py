"""What has had its time: attempts to connect that never came back."""

from sqlalchemy import delete

from domain.integrations.model import IntegrationAttempt
from domain.kernel.ctx import Ctx


async def forget_old(ctx: Ctx) -> None:
    """Drop what has expired."""
    await ctx.execute(delete(IntegrationAttempt).where(IntegrationAttempt.expires_at < ctx.now))
