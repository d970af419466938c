"""Guesses at passwords: few for an account, some for an address, and none that lock its owner out for ever.

Ten failures in a quarter of an hour are an account's, whether there is such an account or not. Strangers share these
ten; an address from which somebody signed in to the account before has ten of its own, so that nobody keeps the
owner out by guessing. Only guesses that were made count: to be refused prolongs nothing.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from domain.identity.names import NAME_CHARS_MAX, login_key
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Unauthenticated
from domain.kernel.limits import Allowance, Use

WITHIN_S = 15 * 60
OF_ACCOUNT = Allowance("guesses at an account", 10, WITHIN_S)
KNOWN_S = 30 * 24 * 3600  # how long an address is known after somebody signed in from it


@asynccontextmanager
async def guess(ctx: Ctx, name: str) -> AsyncIterator[None]:
    """One guess at the password of whoever answers to `name`. It counts if it ends as Unauthenticated.

    Guesses at one account wait for each other: of many at once no more are made than one after the other. Raises
    Limited.
    """
    limits = ctx.ports.limits
    account = f"{ctx.tenant_id}:{login_key(name[: NAME_CHARS_MAX + 1])}"
    here = f"{account} from {ctx.request.client_ip}"
    async with limits.turn(account):
        known = await limits.remembers(here)
        taken = [await limits.take(OF_ACCOUNT, here)] if known else await _as_stranger(ctx, account)
        try:
            yield
        except Unauthenticated:
            raise
        except BaseException:
            await _give_back(taken)
            raise
        await _give_back(taken)
        if not known:
            await limits.remember(here, KNOWN_S)


async def _as_stranger(ctx: Ctx, account: str) -> list[Use]:
    limits, most = ctx.ports.limits, ctx.ports.failures_per_address
    taken = [await limits.take(OF_ACCOUNT, account)]
    if most:
        of_address = Allowance("guesses of an address", most, WITHIN_S)
        try:
            taken.append(await limits.take(of_address, str(ctx.request.client_ip)))
        except BaseException:
            await _give_back(taken)
            raise
    return taken


async def _give_back(taken: list[Use]) -> None:
    for use in taken:
        await use.give_back()
