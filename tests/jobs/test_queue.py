"""Taking jobs, keeping them, telling of them: what holds between any number of those who run them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from domain.jobs.model import JobStatus
from domain.kernel.model import DEFAULT_TENANT
from domain.kernel.unit import Statement
from infra.jobs.queue import LOSSES_MAX, JobQueue, Outcome, Taken
from infra.postgres.database import Database
from tests.harness import Databases

PUT = """
INSERT INTO stoa.jobs (id, tenant_id, app_id, kind, origin, status, priority, run_at, payload, attempts, losses,
    attempts_max, backoff_s, fence, created_at)
SELECT gen_random_uuid(), $1::uuid, $2, 'code', 'user', 'pending', $3::int, now() + make_interval(secs => $4::float8),
    to_jsonb(n), 0, 0, 1, 10, 0, now()
FROM generate_series(1, $5::int) n
"""


@pytest.fixture(scope="module")
def url(databases: Databases) -> str:
    return databases.new()


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    database = await Database.open(url, 8)
    yield database
    await sql(database, "DELETE FROM stoa.jobs")
    await sql(database, "DELETE FROM stoa.outbox")
    await database.close()


async def sql(database: Database, text: str, *args: object) -> list[dict[str, Any]]:
    return [dict(row) for row in await database.fetch(Statement(text, args))]


async def put(database: Database, count: int = 1, app: str = "app", priority: int = 0, in_s: float = 0) -> None:
    await sql(database, PUT, DEFAULT_TENANT, app, priority, in_s, count)


def queue(database: Database) -> JobQueue:
    return JobQueue(database.fetch, uuid4())


async def take(
    queue: JobQueue, most: int = 100, of_an_app: int = 100, busy: dict[Any, int] | None = None
) -> list[Taken]:
    return await queue.take(most, of_an_app, busy or {})


def done(job: Taken, result: str = '"done"') -> Outcome:
    return Outcome(job, JobStatus.COMPLETED, result)


async def lapse(database: Database) -> None:
    await sql(database, "UPDATE stoa.jobs SET leased_until = now() - interval '1 second' WHERE status = 'running'")


async def row(database: Database, id: UUID) -> dict[str, Any]:
    (found,) = await sql(
        database, "SELECT status, result::text, error, attempts, losses, fence FROM stoa.jobs WHERE id = $1", id
    )
    return found


# Who has a job.


async def test_each_is_taken_once_however_many_would(database: Database) -> None:
    await put(database, 300)

    async def taken() -> list[UUID]:
        mine, own = queue(database), []
        while jobs := await take(mine, 20):
            own += [job.id for job in jobs]
        return own

    held = await asyncio.gather(*(taken() for _ in range(6)))
    ids = [id for own in held for id in own]
    assert (len(ids), len(set(ids))) == (300, 300)


async def test_the_result_of_who_has_lost_a_job_is_refused(database: Database) -> None:
    await put(database)
    frozen, other = queue(database), queue(database)
    (before,) = await take(frozen)
    await lapse(database)
    assert await other.sweep() == 1
    assert await frozen.tell([done(before, '"too late"')]) == set()
    (after,) = await take(other)
    assert (after.id, after.fence) == (before.id, before.fence + 1)
    assert await frozen.keep([before.id]) == set()
    assert await frozen.tell([done(before, '"too late"')]) == set()
    assert await other.tell([done(after)]) == {after.id}
    assert await frozen.tell([done(before, '"too late"')]) == set()
    assert await other.tell([done(after, '"twice"')]) == set()
    stored = await row(database, after.id)
    assert (stored["status"], stored["result"], stored["attempts"], stored["losses"]) == ("completed", '"done"', 2, 1)


async def test_a_result_is_told_of_once(database: Database) -> None:
    await put(database, 3)
    mine = queue(database)
    jobs = await take(mine)
    for _ in range(2):
        await mine.tell([done(job) for job in jobs])
    told = await sql(database, "SELECT payload->>'job_id' AS id, payload->>'status' AS status FROM stoa.outbox")
    for status in ("running", "completed"):
        assert sorted(t["id"] for t in told if t["status"] == status) == sorted(str(job.id) for job in jobs)


async def test_what_is_kept_is_not_swept(database: Database) -> None:
    await put(database, 2)
    mine = queue(database)
    kept, lost = await take(mine)
    await lapse(database)
    assert await mine.keep([kept.id]) == {kept.id}
    assert await mine.sweep() == 1
    assert (await row(database, kept.id))["status"] == "running"
    assert (await row(database, lost.id))["status"] == "pending"


async def test_one_that_takes_everybody_down_with_it_has_failed(database: Database) -> None:
    await put(database)
    mine = queue(database)
    for _ in range(LOSSES_MAX + 1):
        (job,) = await take(mine)
        await lapse(database)
        await mine.sweep()
    stored = await row(database, job.id)
    assert (stored["status"], stored["error"]) == ("failed", f"whoever ran it was lost {LOSSES_MAX + 1} times")
    assert await take(mine) == []


async def test_what_was_called_off_stays_so(database: Database) -> None:
    await put(database)
    mine = queue(database)
    (job,) = await take(mine)
    await sql(database, "UPDATE stoa.jobs SET status = 'cancelled', fence = fence + 1")
    assert await mine.keep([job.id]) == set()
    assert await mine.tell([done(job)]) == set()
    assert (await row(database, job.id))["result"] is None


async def test_one_that_is_run_again_rests_meanwhile(database: Database) -> None:
    await put(database)
    mine = queue(database)
    (job,) = await take(mine)
    await mine.tell([Outcome(job, JobStatus.PENDING, error="no", again_s=0.5)])
    assert await take(mine) == []
    await asyncio.sleep(0.6)
    (again,) = await take(mine)
    assert (again.attempts, again.losses, again.fence) == (2, 0, job.fence + 1)


# Which job.


async def test_older_ones_and_higher_priorities_of_an_app_go_before(database: Database) -> None:
    await put(database, 3)
    await put(database, 1, priority=5)
    await put(database, 1, priority=-5)
    await put(database, 1, in_s=60, priority=10)
    jobs = await take(queue(database), 100)
    seen = await sql(database, "SELECT id, number, priority FROM stoa.jobs")
    by_id = {r["id"]: (r["priority"], r["number"]) for r in seen}
    order = [by_id[job.id] for job in jobs]
    assert [priority for priority, _ in order] == [5, 0, 0, 0, -5]
    assert order[1:4] == sorted(order[1:4])


async def test_each_app_has_its_turn_however_many_others_wait(database: Database) -> None:
    await put(database, 500, app="busy")
    await put(database, 2, app="small")
    await put(database, 2, app="tiny")
    jobs = await take(queue(database), 6)
    assert sorted(job.app_id for job in jobs) == ["busy", "busy", "small", "small", "tiny", "tiny"]


async def test_of_an_app_only_so_many_run_at_once(database: Database) -> None:
    await put(database, 50, app="busy")
    await put(database, 1, app="other")
    mine = queue(database)
    jobs = await take(mine, 100, 5, {(DEFAULT_TENANT, "busy"): 3})
    assert sorted(job.app_id for job in jobs) == ["busy", "busy", "other"]
    assert await take(mine, 100, 5, {(DEFAULT_TENANT, "busy"): 5}) == []


async def test_looking_costs_the_same_however_many_wait(database: Database) -> None:
    """What is looked at is told by PostgreSQL: rows behind the first few of each app's are not."""
    await put(database, 20_000, app="busy")
    await put(database, 5_000, app="later", in_s=3600)
    await sql(database, "ANALYZE stoa.jobs")
    before = await _rows_read(database)
    await take(queue(database), 20, 20)
    assert await _rows_read(database) - before < 500


async def _rows_read(database: Database) -> int:
    await sql(database, "SELECT pg_stat_force_next_flush()")
    (found,) = await sql(
        database,
        "SELECT (seq_tup_read + coalesce(idx_tup_fetch, 0))::int AS n FROM pg_stat_user_tables "
        "WHERE relid = 'stoa.jobs'::regclass",
    )
    return int(found["n"])
