"""How the installation is doing."""

import asyncio
from dataclasses import dataclass

from domain.kernel.ctx import Ctx
from domain.kernel.unit import Statement
from domain.runtime.ports import Cpu, Disk, Memory

PROBE_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Health:
    """What a look at the machine and its database shows."""

    memory: Memory
    cpu: Cpu | None
    disk: Disk | None
    database_reachable: bool


async def health(ctx: Ctx) -> Health:
    """The state of the parts; a database that does not answer within two seconds is not reachable."""
    machine = ctx.ports.machine
    return Health(machine.memory(), machine.cpu(), machine.disk(), await database_reachable(ctx))


async def database_reachable(ctx: Ctx) -> bool:
    """Whether the database answers."""
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            await ctx.fetch(Statement("SELECT 1 AS one"))
    except Exception:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Status:
    """The version that runs, and whether the database is there."""

    version: str
    database_online: bool


async def status(ctx: Ctx) -> Status:
    """The runtime's status. Raises Unauthenticated."""
    ctx.user()
    return Status(ctx.ports.machine.version, await database_reachable(ctx))
