"""What has had its time: tokens nobody sent, and messages that were settled long ago."""

from datetime import timedelta

from sqlalchemy import delete

from domain.channels.model import ChannelLink, ChannelMessage
from domain.kernel.ctx import Ctx

KEPT = timedelta(days=7)


async def forget_old(ctx: Ctx) -> None:
    """Drop what has expired."""
    await ctx.execute(delete(ChannelLink).where(ChannelLink.expires_at < ctx.now))
    await ctx.execute(delete(ChannelMessage).where(ChannelMessage.settled_at < ctx.now - KEPT))
