"""The vault as a whole: whether its keys are the right ones, and turning the master key while it is in use."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

from domain.kernel.ctx import ANONYMOUS, Ctx, Request
from domain.secrets import rotation
from domain.secrets.ports import Cipher, Unreadable
from domain.secrets.rotation import Trouble
from infra import ports
from infra.failure import Failure
from infra.keys import LiveRing
from infra.postgres.database import Database
from infra.secrets.cipher import AesGcmCipher

BATCH = 500
BUSY_S = 0.05

T = TypeVar("T")


async def check(database: Database, cipher: Cipher, source: str) -> None:
    """Raises Failure when secrets are stored that the keys of `source` don't open."""
    found = await _in_unit(database, cipher, rotation.troubles)
    for key_id, trouble in found.items():
        what = "is not among the keys" if trouble is Trouble.MISSING else "is another key than the one"
        raise Failure(
            f"the secrets of this database need master key {key_id}, which {what} in {source}:"
            " put the right one back, or take the database it belongs to"
        )


async def rotate(database: Database, ring: LiveRing) -> tuple[str, int]:
    """Put all secrets under the first master key, a new one where the ring is ours. Its id, and how many there were.

    A rotation that was broken off goes on with the key it had begun with. Raises Failure.
    """
    cipher = AesGcmCipher(ring.now)
    await check(database, cipher, ring.source)
    if ring.rotates and not await _in_unit(database, cipher, rotation.waiting):
        ring.rotate()
    done = 0
    try:
        while True:
            count = await _in_unit(database, cipher, lambda ctx: rotation.rewrap(ctx, BATCH))
            done += count
            if count:
                continue
            waiting = await _in_unit(database, cipher, rotation.waiting)
            if not waiting and await _in_unit(database, cipher, rotation.forget_unused):
                return cipher.key_ids()[0], done
            await asyncio.sleep(BUSY_S)  # somebody is writing one just now
    except Unreadable as broken:
        raise Failure(f"{broken}: delete it and go on; {done} others are done") from None


async def _in_unit(database: Database, cipher: Cipher, work: Callable[[Ctx], Awaitable[T]]) -> T:
    async with database.unit(writes=True) as unit:
        some = ports.only(cipher=cipher)
        done = await work(
            Ctx(actor=ANONYMOUS, now=datetime.now(UTC), unit=unit, ports=some, request=Request(door="vault"))
        )
        await unit.commit()
        return done
