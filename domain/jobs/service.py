"""Jobs: handing them in, looking at them, calling them off, having them run again.

Everybody sees their own; those of others are for who holds `job.manage_others` of the app.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Select, delete, exists, or_, select

from domain.access import acting
from domain.access.permissions import EVERYTHING, app_key
from domain.hooks.model import RecordHook
from domain.jobs.events import JobChanged
from domain.jobs.model import FINISHED, Job, JobKind, JobOrigin, JobStatus
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Conflict, Invalid, Limited, Missing
from domain.kernel.ids import parse_uuid, uuid7
from domain.kernel.page import Page, PageArgs, keyset_page
from domain.kernel.rawjson import RawJson, json_of
from domain.kernel.reading import json_problem
from domain.kernel.unit import Statement

PAYLOAD_BYTES_MAX = 768 * 1024  # a message to deployed code has at most a MiB
AT_ONCE_MAX = 1_000
WAITING_MAX = 100_000  # of an app; what hooks hand in is counted, and never refused, since records are not
AGAIN_S = 5.0
PRIORITY_MIN, PRIORITY_MAX = -10, 10
ATTEMPTS_MAX = 100
BACKOFF_S_DEFAULT, BACKOFF_S_MAX = 10, 3600
LATEST = timedelta(days=366)
NUMBER_MAX = 2**63 - 1
KEPT = timedelta(days=14)  # after it has finished
FORGOTTEN_AT_ONCE = 5_000


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to be. By default it runs at once, and when it fails it has failed."""

    payload: Any = field(default_factory=dict)
    run_at: datetime | None = None
    priority: int = 0
    attempts_max: int = 1
    backoff_s: int = BACKOFF_S_DEFAULT
    kind: JobKind = JobKind.CODE
    origin: JobOrigin = JobOrigin.USER
    cron_id: UUID | None = None


# Handing in.


async def enqueue(ctx: Ctx, app_id: str, new: Sequence[NewJob], user_id: UUID | None = None) -> Sequence[Job]:
    """Hand in jobs for an app's code, all of them or none. Whether the app is installed is not asked.

    They run in the caller's name, or in that of who has agreed to it, `user_id`, see `domain.access.acting`.
    Raises Denied; Invalid on a job's part; Limited.
    """
    ctx.need(app_key(app_id, "invoke"))
    owner_id = await acting.principal(ctx, user_id, "user")
    if not 0 < len(new) <= AT_ONCE_MAX:
        raise Invalid("jobs", f"there must be 1 to {AT_ONCE_MAX} jobs")
    for index, job in enumerate(new):
        _check(ctx, job, f"jobs.{index}." if len(new) > 1 else "")
    return await put(ctx, app_id, new, owner_id)


def _check(ctx: Ctx, job: NewJob, path: str) -> None:
    if not PRIORITY_MIN <= job.priority <= PRIORITY_MAX:
        raise Invalid(f"{path}priority", f"priority must be {PRIORITY_MIN} to {PRIORITY_MAX}")
    if not 1 <= job.attempts_max <= ATTEMPTS_MAX:
        raise Invalid(f"{path}maxAttempts", f"maxAttempts must be 1 to {ATTEMPTS_MAX}")
    if not 0 <= job.backoff_s <= BACKOFF_S_MAX:
        raise Invalid(f"{path}backoffSeconds", f"backoffSeconds must be 0 to {BACKOFF_S_MAX}")
    if job.run_at is not None and job.run_at > ctx.now + LATEST:
        raise Invalid(f"{path}runAt", f"runAt must be within {LATEST.days} days")
    check_payload(job.payload, f"{path}payload")


def check_payload(payload: Any, path: str = "payload") -> None:
    """Raises Invalid for what cannot be kept, or told to deployed code."""
    problem = json_problem(payload)
    if problem is not None:
        raise Invalid(path, f"{path} {problem}")
    if len(json_of(payload).encode()) > PAYLOAD_BYTES_MAX:
        raise Invalid(path, f"{path} must be at most {PAYLOAD_BYTES_MAX} bytes of JSON")


async def put(ctx: Ctx, app_id: str, new: Sequence[NewJob], user_id: UUID | None) -> Sequence[Job]:
    """Store jobs, in the name of `user_id`, all or none. For other areas: nobody is asked who may. Raises Limited."""
    ids = [uuid7() for _ in new]
    columns = (
        ids,
        [job.kind for job in new],
        [job.priority for job in new],
        [job.run_at for job in new],
        [json_of(job.payload) for job in new],
        [job.attempts_max for job in new],
        [job.backoff_s for job in new],
        [job.cron_id for job in new],
        [job.origin for job in new],
    )
    asked = Statement(_PUT_SQL, (ctx.tenant_id, app_id, user_id, *columns, WAITING_MAX - len(new)))
    stored = {row["id"]: row for row in await ctx.fetch(asked)}
    if len(stored) < len(new):
        raise Limited(f"{WAITING_MAX} jobs of the app are waiting already", retry_after_s=AGAIN_S)
    return [Job(**{**stored[id], "payload": RawJson(stored[id]["payload"])}) for id in ids]


_PUT_SQL = """
WITH stored AS (
    INSERT INTO stoa.jobs (
        tenant_id, app_id, user_id, status, attempts, losses, fence, created_at,
        id, kind, priority, run_at, payload, attempts_max, backoff_s, cron_id, origin
    )
    SELECT $1, $2, $3, 'pending', 0, 0, 0, now(),
           n.id, n.kind, n.priority, coalesce(n.run_at, now()), n.payload::jsonb, n.attempts_max, n.backoff_s,
           n.cron_id, n.origin
    FROM unnest(
        $4::uuid[], $5::text[], $6::int[], $7::timestamptz[], $8::text[], $9::int[], $10::int[], $11::uuid[],
        $12::text[]
    ) WITH ORDINALITY AS n (id, kind, priority, run_at, payload, attempts_max, backoff_s, cron_id, origin, place)
    WHERE (
        SELECT count(*) FROM (
            SELECT FROM stoa.jobs WHERE status = 'pending' AND tenant_id = $1 AND app_id = $2 LIMIT $13::int + 1
        ) w
    ) <= $13::int
    ORDER BY n.place
    RETURNING *
), told AS (
    INSERT INTO stoa.outbox (tenant_id, kind, payload)
    SELECT tenant_id, 'job.changed', jsonb_build_object('app_id', app_id, 'job_id', id, 'status', status) FROM stored
)
SELECT id, number, tenant_id, app_id, user_id, status, attempts, losses, fence, created_at, kind, priority, run_at,
       payload::text AS payload, attempts_max, backoff_s, cron_id, origin
FROM stored
"""


# Looking.


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs. `finished` tells those that are from those that are not."""

    status: JobStatus | None = None
    finished: bool | None = None


def _seen(ctx: Ctx, app_id: str) -> Select[Job]:
    """The jobs of the app that the caller may see. Raises Unauthenticated.

    Those of hooks hold records: they are for who may manage others' jobs, and those of another app's records for who
    may do everything. Whoever has a hook may not read records by it for ever.
    """
    own, rows = ctx.user(), ctx.visible(Job).where(Job.app_id == app_id)
    if ctx.may(EVERYTHING):
        return rows
    if not ctx.may(app_key(app_id, "job.manage_others")):
        return rows.where(Job.user_id == own, Job.hook_id.is_(None))
    of_this_app = exists().where(RecordHook.id == Job.hook_id, RecordHook.app_id == app_id)
    return rows.where(or_(Job.hook_id.is_(None), of_this_app))


async def jobs(ctx: Ctx, app_id: str, wanted: JobFilter, args: PageArgs) -> Page[Job]:
    """An app's jobs, newest first. Raises Unauthenticated; Invalid on `first` or `after`."""
    rows = _seen(ctx, app_id)
    if wanted.status is not None:
        rows = rows.where(Job.status == wanted.status)
    if wanted.finished is not None:
        rows = rows.where(Job.status.in_(FINISHED) if wanted.finished else Job.status.not_in(FINISHED))
    scope = f"jobs:{app_id}:{wanted.status}:{wanted.finished}"
    return await keyset_page(ctx, rows, args, scope=scope, by=(Job.number,), descending=True)


async def job(ctx: Ctx, app_id: str, id: str) -> Job:
    """One job, by its id or its number. Raises Unauthenticated, Missing; Invalid on `id`."""
    return _found(await ctx.first(_called(_seen(ctx, app_id), id)))


def _called(rows: Select[Job], id: str) -> Select[Job]:
    uuid = parse_uuid(id)
    if uuid is not None:
        return rows.where(Job.id == uuid)
    if not (id.isascii() and id.isdecimal() and len(id) < 20 and int(id) <= NUMBER_MAX):
        raise Invalid("id", f"invalid job id: '{id[:80]}'")
    return rows.where(Job.number == int(id))


def _found(row: Job | None) -> Job:
    if row is None:
        raise Missing("job not found")
    return row


async def changes(ctx: Ctx, app_id: str, id: str | None) -> AsyncGenerator[Job, None]:
    """Jobs of the app as they change; one of them as it is now, and as it changes.

    Raises Unauthenticated, Missing; Invalid on `id`. A reader that is too slow is told Gone.
    """
    ctx.user()
    one = None if id is None else await job(ctx, app_id, id)
    listening = ctx.ports.changes.listen(ctx.tenant_id, JobChanged.kind, app_id, None if one is None else one.id)
    return _told(ctx, app_id, None if one is None else one.id, listening)


async def _told(ctx: Ctx, app_id: str, id: UUID | None, listening: Any) -> AsyncGenerator[Job, None]:
    async with aclosing(listening) as changed:
        if id is not None and (row := await _fresh(ctx, app_id, id)) is not None:
            yield row
        async for each in changed:
            if (row := await _fresh(ctx, app_id, each)) is not None:
                yield row


async def _fresh(ctx: Ctx, app_id: str, id: UUID) -> Job | None:
    return await ctx.first(_seen(ctx, app_id).where(Job.id == id).execution_options(populate_existing=True))


# Calling off, and again.


async def cancel(ctx: Ctx, app_id: str, id: str) -> Job:
    """Call a job off. One that runs already is not stopped, and its result is refused.

    Raises Unauthenticated, Missing; Conflict when it has finished; Invalid on `id`.
    """
    row = await _locked(ctx, app_id, id)
    if row.status in FINISHED:
        raise Conflict(f"the job is {row.status} already")
    row.status, row.finished_at, row.holder, row.leased_until = JobStatus.CANCELLED, ctx.now, None, None
    return await _changed(ctx, row)


async def retry(ctx: Ctx, app_id: str, id: str) -> Job:
    """Run a job again that has failed or was called off, as if it were new.

    Raises Unauthenticated, Denied, Missing; Conflict for any other; Invalid on `id`.
    """
    ctx.need(app_key(app_id, "invoke"))
    row = await _locked(ctx, app_id, id)
    if row.status not in (JobStatus.FAILED, JobStatus.CANCELLED):
        raise Conflict(f"the job is {row.status}: only one that failed or was cancelled runs again")
    row.status, row.run_at, row.error, row.finished_at = JobStatus.PENDING, ctx.now, None, None
    row.attempts, row.losses = 0, 0
    return await _changed(ctx, row)


async def _locked(ctx: Ctx, app_id: str, id: str) -> Job:
    rows = _called(_seen(ctx, app_id), id).with_for_update()
    return _found(await ctx.first(rows.execution_options(populate_existing=True)))


async def _changed(ctx: Ctx, row: Job) -> Job:
    row.fence += 1
    await ctx.flush()
    ctx.emit(JobChanged(row.app_id, row.id, row.status))
    return row


# For other areas, and chores.


async def waiting(ctx: Ctx, cron_id: UUID) -> int:
    """How many jobs of a cron are waiting or running, counted to a thousand."""
    rows = ctx.visible(Job).where(Job.cron_id == cron_id, Job.status.in_((JobStatus.PENDING, JobStatus.RUNNING)))
    return len((await ctx.execute(rows.with_only_columns(Job.id).limit(1_000))).all())


async def forget(ctx: Ctx, app_id: str) -> None:
    """Let go of all jobs of an app that is no more; what runs comes to nothing."""
    await ctx.execute(delete(Job).where(Job.tenant_id == ctx.tenant_id, Job.app_id == app_id))


async def forget_old(ctx: Ctx) -> None:
    """Let go of jobs that finished long ago."""
    old = select(Job.id).where(Job.finished_at < ctx.now - KEPT).limit(FORGOTTEN_AT_ONCE)
    await ctx.execute(delete(Job).where(Job.id.in_(old)))
