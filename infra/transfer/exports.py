"""Exports on their way: made in threads while they are sent, a few at once."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

from domain.kernel.ctx import Ctx, Request
from domain.kernel.errors import DomainError, Limited, TimedOut
from domain.transfer import exporting
from domain.transfer.exporting import Prepared
from graph.run import Caller, Runner
from graph.transfer import EXPORTS
from rest_compat.engine.backend import Made
from rest_compat.engine.errors import Refusal

AT_ONCE_MAX = 4  # of this process: each holds a connection for as long as its reader reads
EXPORT_S_MAX = 900.0
RETRY_AFTER_S = 5.0
DOOR = "export"


class Exports:
    """Those of one process."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._under_way = 0

    async def opened(self, reference: str) -> Made:
        """The export behind a reference of ours, ready to be made. Raises Refusal."""
        token = reference.removeprefix(EXPORTS)
        try:
            signed = await self._runner.look(partial(exporting.unsealed, token=token))
            caller = await self._runner.account(signed.tenant_id, signed.user_id, Request(door=DOOR))
            prepared = await self._runner.look(lambda ctx: exporting.prepare(ctx, signed.export), caller)
        except DomainError as refused:
            raise _refusal(refused) from refused
        return Made(prepared.filename, prepared.media_type, partial(self._parts, prepared, caller))

    async def _parts(self, prepared: Prepared, caller: Caller) -> AsyncGenerator[bytes, None]:
        if self._under_way >= AT_ONCE_MAX:
            raise _refusal(Limited("too many exports are under way, try again", retry_after_s=RETRY_AFTER_S))
        self._under_way += 1
        try:
            ends = asyncio.get_running_loop().time() + EXPORT_S_MAX
            async with self._runner.reading(caller) as ctx, aclosing(_made(ctx, prepared)) as parts:
                async for part in parts:
                    if asyncio.get_running_loop().time() > ends:
                        raise TimedOut(f"the export took longer than {EXPORT_S_MAX:g} s")
                    yield part
        except DomainError as refused:
            raise _refusal(refused) from refused
        finally:
            self._under_way -= 1
            prepared.writer.close()


async def _made(ctx: Ctx, prepared: Prepared) -> AsyncGenerator[bytes, None]:
    async with aclosing(exporting.batches(ctx, prepared)) as batches:
        async for documents in batches:
            part = await asyncio.to_thread(prepared.writer.rows, documents)
            if part:
                yield part
    rest = prepared.writer.end()
    while last := await asyncio.to_thread(lambda: next(rest, b"")):
        yield last


def _refusal(refused: DomainError) -> Refusal:
    return Refusal(refused.code, refused.message, field=refused.field, retry_after_s=refused.retry_after_s)
