"""Turning the master key: every data key is wrapped anew while the secrets are in use."""

from enum import StrEnum

from sqlalchemy import delete, exists, select

from domain.kernel.ctx import Ctx
from domain.kernel.unit import FOREIGN_KEY_STATES, StatementRefused
from domain.secrets import in_rows, service
from domain.secrets.model import MasterKey, Secret
from domain.secrets.ports import Unreadable


class Trouble(StrEnum):
    """Why a master key that secrets need cannot be used."""

    MISSING = "missing"  # no key of this id is at hand
    WRONG = "wrong"  # the one at hand is another one


async def troubles(ctx: Ctx) -> dict[str, Trouble]:
    """The master keys that stored secrets need and that cannot be used, by id."""
    cipher = ctx.ports.cipher
    found: dict[str, Trouble] = {}
    for key in await ctx.all(select(MasterKey)):
        if key.id not in cipher.key_ids():
            found[key.id] = Trouble.MISSING
        elif not cipher.proves(key.id, key.proof):
            found[key.id] = Trouble.WRONG
    return found


async def waiting(ctx: Ctx) -> bool:
    """Whether a secret is still under another master key than the first."""
    if await in_rows.key_ids(ctx) - {_current(ctx)}:
        return True
    return bool((await ctx.execute(select(exists().where(Secret.key_id != _current(ctx))))).scalar())


async def rewrap(ctx: Ctx, most: int) -> int:
    """Put up to `most` secrets under the first master key; how many there were to do. Raises Unreadable.

    Those that somebody is just writing are passed over. A secret reads the same before and after.
    """
    await service.register_key(ctx, _current(ctx))
    rows = await ctx.all(
        select(Secret)
        .where(Secret.key_id != _current(ctx))
        .order_by(Secret.tenant_id, Secret.scope, Secret.key)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    for secret in rows:
        try:
            service.put(secret, ctx.ports.cipher.rewrapped(service.sealed_in(secret), service.place_of(secret)))
        except Unreadable as broken:
            raise Unreadable(f"secret {secret.scope}/{secret.key} cannot be read ({broken})") from None
    await ctx.flush()
    return len(rows) or await in_rows.rewrap(ctx, _current(ctx), most)


async def forget_unused(ctx: Ctx) -> bool:
    """Forget master keys that no secret needs any more; False when one of them was just taken into use again."""
    kept = {_current(ctx), *await in_rows.key_ids(ctx)}
    unused = MasterKey.id.not_in(select(Secret.key_id)) & MasterKey.id.not_in(kept)
    try:
        forgotten = await ctx.execute(delete(MasterKey).where(unused).returning(MasterKey.id))
    except StatementRefused as refused:
        if refused.sqlstate in FOREIGN_KEY_STATES:
            return False
        raise
    # No key of the database's holds for rows of records: one may have been sealed while we looked.
    again = set(forgotten.scalars()) & await in_rows.key_ids(ctx)
    for key_id in again:
        await service.register_key(ctx, key_id)
    return not again


def _current(ctx: Ctx) -> str:
    return ctx.ports.cipher.key_ids()[0]
