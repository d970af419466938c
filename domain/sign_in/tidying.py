"""What has had its time: attempts, nonces and links that nobody can use any more."""

from sqlalchemy import delete

from domain.kernel.ctx import Ctx
from domain.sign_in.model import MagicLink, SessionNonce, SignInAttempt


async def forget_old(ctx: Ctx) -> None:
    """Drop what has expired."""
    for once in (SignInAttempt, SessionNonce, MagicLink):
        await ctx.execute(delete(once).where(once.expires_at < ctx.now))
