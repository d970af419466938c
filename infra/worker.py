"""The worker process: arq on Valkey wakes it, PostgreSQL holds what it works on. It runs deployed apps, too.

Neither engine's absence ends it: it waits, a little longer each time, and goes on.
"""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg
import orjson
import uvloop
from arq.connections import ArqRedis, RedisSettings, create_pool
from arq.cron import CronJob, cron
from arq.worker import Worker
from redis.exceptions import RedisError

from infra.chores import sweep, tidy
from infra.logs import get_logger
from infra.settings import Settings
from infra.workers.hosting import host

QUEUE = "stoa:jobs"
POLL_S = 0.5
JOB_S_MAX = 300
# What a job under way gets when the worker is told to stop; its lease brings it back.
STOP_S = 1.5
BACKOFF_S = (0.2, 0.5, 1, 2, 5)
DATABASE_S_MAX = 10

# What a chore may meet while an engine is away; the next interval tries again.
UNREACHABLE = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, RedisError)

Context = dict[str, Any]
Times = set[int] | None

log = get_logger(__name__)


@dataclass(frozen=True)
class Maintenance:
    """A chore done once an interval, whichever worker gets to it. The interval divides a minute, an hour or a day.

    `run` takes a context with `settings`, `database_url` and `valkey_url`; to run twice must do no harm.
    """

    name: str
    run: Callable[[Context], Awaitable[None]]
    every: timedelta

    def falls_on(self) -> tuple[Times, Times, Times]:
        """The hours, minutes and seconds of the day it is due, as arq takes them: None for all of them."""
        seconds = self.every.total_seconds()
        for unit_s, day_part_s, place in ((1, 60, 2), (60, 3600, 1), (3600, 86400, 0)):
            if 0 < seconds <= day_part_s and day_part_s % seconds == 0 and seconds % unit_s == 0:
                due: list[Times] = [None if position < place else {0} for position in range(3)]
                due[place] = set(range(0, day_part_s // unit_s, int(seconds) // unit_s))
                return due[0], due[1], due[2]
        raise ValueError(f"{self.name}: {self.every} does not divide a minute, an hour or a day")


async def measure_database(context: Context) -> None:
    """Log the database's size, its connections, and the age of its oldest transaction, which holds back vacuum."""
    connection = await asyncpg.connect(context["database_url"], timeout=DATABASE_S_MAX)
    try:
        row = await connection.fetchrow(
            "SELECT pg_database_size(current_database()) AS size_bytes, count(*) AS connections,"
            " coalesce(extract(epoch FROM max(clock_timestamp() - xact_start)), 0)::float8 AS oldest_transaction_s"
            " FROM pg_stat_activity WHERE datname = current_database()",
            timeout=DATABASE_S_MAX,
        )
        log.info("database_measured", **dict(row))
    finally:
        await connection.close(timeout=DATABASE_S_MAX)


MAINTENANCE: list[Maintenance] = [
    Maintenance("measure_database", measure_database, timedelta(minutes=5)),
    Maintenance("tidy", tidy, timedelta(minutes=10)),
    Maintenance("sweep", sweep, timedelta(minutes=1)),
]


def dumps(value: dict[str, Any]) -> bytes:
    """A job or result as JSON. arq's own choice, pickle, would let whoever can write to Valkey run code here."""
    return orjson.dumps(value, default=_in_words)


def loads(data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(data)
    return found


def _in_words(value: object) -> str:
    """An exception is a job's result when it failed; its kind and text are enough."""
    return f"{type(value).__name__}: {value}"


async def connect(valkey_url: str) -> ArqRedis:
    """A client that enqueues for the worker, with its queue and serializers."""
    return await create_pool(
        queue_settings(valkey_url), job_serializer=dumps, job_deserializer=loads, default_queue_name=QUEUE
    )


def queue_settings(valkey_url: str) -> RedisSettings:
    """arq's own reading of a URL keeps percent signs as they are, unlike redis-py's."""
    parts = urlsplit(valkey_url)
    database = parse_qs(parts.query).get("db", [parts.path.strip("/") if parts.scheme != "unix" else "0"])[0]
    return RedisSettings(
        host=parts.hostname or "localhost",
        port=parts.port or 6379,
        ssl=parts.scheme == "rediss",
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        database=int(database or 0),
        unix_socket_path=unquote(parts.path) if parts.scheme == "unix" else None,
        conn_retries=0,
    )


def run(settings: Settings, database_url: str, valkey_url: str) -> None:
    """Work until SIGTERM or SIGINT."""
    uvloop.run(_run({"settings": settings, "database_url": database_url, "valkey_url": valkey_url}))


async def _run(context: Context) -> None:
    stopping = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stopping.set)
    working = {
        asyncio.create_task(_work(context)),
        asyncio.create_task(host(context["settings"], context["database_url"], context["valkey_url"])),
    }
    stopped = asyncio.create_task(stopping.wait())
    await asyncio.wait({*working, stopped}, return_when=asyncio.FIRST_COMPLETED)
    for part in working:
        if part.done():
            part.result()  # it only ends by an error of ours
        part.cancel()
    await asyncio.wait(working, timeout=STOP_S)
    stopped.cancel()
    log.info("worker_stopped")


async def _work(context: Context) -> None:
    """Run arq for ever: one that loses Valkey ends, and is replaced when Valkey is back."""
    failures = 0
    while True:
        started = time.monotonic()
        try:
            await _attend(context)
        except (RedisError, OSError, TimeoutError) as problem:
            failures = 0 if time.monotonic() - started > max(BACKOFF_S) else failures + 1
            delay_s = BACKOFF_S[min(failures, len(BACKOFF_S) - 1)]
            log.warning("valkey_unreachable", error=_in_words(problem), again_in_s=delay_s)
            await asyncio.sleep(delay_s)


async def _attend(context: Context) -> None:
    """One arq worker, from a connection to Valkey to its loss."""
    pool = await connect(context["valkey_url"])
    worker = Worker(
        cron_jobs=[_cron(chore) for chore in MAINTENANCE],
        queue_name=QUEUE,
        redis_pool=pool,
        ctx=dict(context),
        handle_signals=False,
        poll_delay=POLL_S,
        job_timeout=JOB_S_MAX,
        job_serializer=dumps,
        job_deserializer=loads,
        timezone=UTC,
        log_results=False,
    )
    log.info("worker_ready", maintenance=[chore.name for chore in MAINTENANCE])
    try:
        await worker.async_run()
    finally:
        for task in worker.tasks.values():
            task.cancel()
        await asyncio.gather(*worker.tasks.values(), return_exceptions=True)
        with suppress(RedisError, OSError):
            await pool.aclose(close_connection_pool=True)


def _cron(chore: Maintenance) -> CronJob:
    async def run(ctx: Context, *_args: Any, **_kwargs: Any) -> None:
        started = time.monotonic()
        outcome, error = "done", None
        try:
            await chore.run(ctx)
        except UNREACHABLE as problem:
            outcome, error = "failed", _in_words(problem)
        except Exception as problem:
            outcome, error = "broken", _in_words(problem)
            log.exception("maintenance_broken", name=chore.name)
        duration_ms = round((time.monotonic() - started) * 1000)
        log.info("maintenance", name=chore.name, outcome=outcome, duration_ms=duration_ms, error=error)

    hours, minutes, seconds = chore.falls_on()
    return cron(run, name=chore.name, hour=hours, minute=minutes, second=seconds, timeout=JOB_S_MAX, max_tries=1)
