"""Firing crons. Any number of processes may do this: whichever is first fires what is due, in one transaction."""

import asyncio
import os

from domain.crons import service as crons
from domain.kernel.ctx import ANONYMOUS, Request
from domain.kernel.unit import Statement
from infra.jobs.dispatcher import AWAY
from infra.logs import get_logger
from infra.platform import Platform

LOOK_S = 1.0  # at most: a cron may have been made by another process
REQUEST = Request(door="scheduler")

_NEXT_SQL = "SELECT extract(epoch FROM min(next_at) - clock_timestamp())::float8 AS in_s FROM stoa.crons"

log = get_logger(__name__)


async def fire(platform: Platform) -> None:
    """Fire crons until cancelled."""
    while True:
        wait_s = LOOK_S
        try:
            wait_s = await _wait_s(platform)
            if wait_s <= 0:
                await platform.perform(ANONYMOUS, REQUEST, lambda ctx: crons.fire_due(ctx, os.getpid()))
                wait_s = await _wait_s(platform)
        except AWAY as problem:
            log.warning("crons_not_fired", reason=str(problem))
        except Exception:
            log.exception("crons_not_fired")
        await asyncio.sleep(min(LOOK_S, max(wait_s, 0.05)))


async def _wait_s(platform: Platform) -> float:
    in_s: float | None = (await platform.fetch(Statement(_NEXT_SQL)))[0]["in_s"]
    return LOOK_S if in_s is None else in_s
