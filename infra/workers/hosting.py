"""Being a worker host for as long as the process lives, running what is handed in, and carrying messages."""

import asyncio
import time
from collections.abc import Callable

import asyncpg

from domain.kernel.errors import Unavailable
from infra.channels.post import Post
from infra.jobs import scheduler
from infra.jobs.dispatcher import Dispatcher
from infra.logs import get_logger
from infra.platform import Platform
from infra.settings import Settings
from infra.workers.host import Host
from infra.workers.host_folder import HostFolder
from infra.workers.sandbox import Sandbox

BACKOFF_S = (0.2, 0.5, 1, 2, 5)
# What a database that is away, or not yet brought up to this version, ends a platform with.
UNREACHABLE = (Unavailable, OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)

log = get_logger(__name__)


async def host(settings: Settings, database_url: str, valkey_url: str | None) -> None:
    """Run the workers of deployed apps and their jobs until cancelled, whatever the database does meanwhile."""
    folder = HostFolder.take(settings.data_dir)
    try:
        sandbox = await Sandbox(folder.path).tried()
        failures = 0
        while True:
            started = time.monotonic()
            try:
                await _host(settings, database_url, valkey_url, folder, sandbox)
            except* UNREACHABLE as problem:
                failures = 0 if time.monotonic() - started > max(BACKOFF_S) else failures + 1
                delay_s = BACKOFF_S[min(failures, len(BACKOFF_S) - 1)]
                log.warning("worker_host_waits", error=str(problem.exceptions[0]), again_in_s=delay_s)
                await asyncio.sleep(delay_s)
    finally:
        folder.release()


async def _host(
    settings: Settings, database_url: str, valkey_url: str | None, folder: HostFolder, sandbox: Sandbox
) -> None:
    async with Platform.open(settings.with_keys(), database_url, valkey_url) as platform:
        await work(platform, Host(platform, folder, sandbox))


async def work(platform: Platform, host: Host, ready: Callable[[], None] = lambda: None) -> None:
    """Run deployed apps on this host, and whatever is handed in, and carry messages, until cancelled."""
    platform.workers.local = host
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(host.run(ready))
        tasks.create_task(Dispatcher(platform).run())
        tasks.create_task(scheduler.fire(platform))
        tasks.create_task(Post(platform).run())
