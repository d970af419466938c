"""The jobs as one who runs them sees them: taken for a while, kept, told of, given back. Times are the database's.

Each of these is one statement, and so one transaction. Whoever has lost a job (it was frozen, say, or cut off) finds
that its fence has risen since: nothing it says of the job is taken any more.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.jobs.model import JobKind, JobOrigin, JobStatus
from domain.kernel.unit import Statement

LEASE_S = 10
LOSSES_MAX = 10  # a job that takes those who run it down with it has failed then
SWEPT_AT_ONCE = 500

Fetch = Callable[[Statement], Awaitable[Sequence[Mapping[str, Any]]]]
App = tuple[UUID, str]


@dataclass(frozen=True, slots=True)
class Taken:
    """A job that is ours to run. `payload` is JSON text."""

    id: UUID
    fence: int
    tenant_id: UUID
    app_id: str
    kind: JobKind
    origin: JobOrigin
    payload: str
    user_id: UUID | None
    hook_id: UUID | None
    hooks: int
    attempts: int
    losses: int
    attempts_max: int
    backoff_s: int
    run_at: datetime

    @property
    def app(self) -> App:
        """Whose job it is."""
        return self.tenant_id, self.app_id


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job. A pending one is run again in `again_s`; `lost` says that nobody knows how it went."""

    job: Taken
    status: JobStatus
    result: str | None = None  # JSON text
    error: str | None = None
    again_s: float = 0.0
    lost: bool = False


class JobQueue:
    """The jobs of one who runs them, `holder`."""

    def __init__(self, fetch: Fetch, holder: UUID) -> None:
        self._fetch = fetch
        self.holder = holder

    async def take(self, most: int, most_of_an_app: int, busy: Mapping[App, int]) -> list[Taken]:
        """Jobs that are due, each app's in turn, higher priorities first; `busy` tells how many of an app run here."""
        apps = list(busy)
        args = (self.holder, LEASE_S, most, most_of_an_app)
        running = ([app[0] for app in apps], [app[1] for app in apps], [busy[app] for app in apps])
        rows = await self._fetch(Statement(_TAKE_SQL, (*args, *running)))
        return [Taken(**{**row, "kind": JobKind(row["kind"]), "origin": JobOrigin(row["origin"])}) for row in rows]

    async def keep(self, ids: Collection[UUID]) -> set[UUID]:
        """Hold these for another while. Those that are still ours."""
        rows = await self._fetch(Statement(_KEEP_SQL, (self.holder, list(ids), LEASE_S)))
        return {row["id"] for row in rows}

    async def tell(self, outcomes: Sequence[Outcome]) -> set[UUID]:
        """Store what became of jobs, once: of those only that are still ours. Their ids."""
        columns = (
            [outcome.job.id for outcome in outcomes],
            [outcome.job.fence for outcome in outcomes],
            [outcome.status for outcome in outcomes],
            [outcome.result for outcome in outcomes],
            [outcome.error for outcome in outcomes],
            [outcome.again_s for outcome in outcomes],
            [outcome.lost for outcome in outcomes],
        )
        return {row["id"] for row in await self._fetch(Statement(_TELL_SQL, (*columns, LOSSES_MAX)))}

    async def sweep(self) -> int:
        """Give back what nobody keeps any more; how many jobs that were."""
        return len(await self._fetch(Statement(_SWEEP_SQL, (SWEPT_AT_ONCE, LOSSES_MAX))))


_TOLD = """
INSERT INTO stoa.outbox (tenant_id, kind, payload)
SELECT tenant_id, 'job.changed', jsonb_build_object('app_id', app_id, 'job_id', id, 'status', status) FROM changed
"""
# One look into the index for each queue (an app's jobs of one priority), however many jobs wait in it: an app with a
# million of them keeps nobody waiting.
_TAKE_SQL = f"""
WITH RECURSIVE queues AS (
    (
        SELECT tenant_id, app_id, priority FROM stoa.jobs WHERE status = 'pending'
        ORDER BY tenant_id, app_id, priority LIMIT 1
    )
    UNION ALL
    SELECT n.tenant_id, n.app_id, n.priority FROM queues q CROSS JOIN LATERAL (
        SELECT tenant_id, app_id, priority FROM stoa.jobs
        WHERE status = 'pending' AND (tenant_id, app_id, priority) > (q.tenant_id, q.app_id, q.priority)
        ORDER BY tenant_id, app_id, priority LIMIT 1
    ) n
), due AS (
    SELECT d.id, d.priority, d.run_at, d.number, $4::int - coalesce(b.count, 0) AS room, row_number() OVER (
        PARTITION BY q.tenant_id, q.app_id ORDER BY q.priority DESC, d.run_at, d.number
    ) AS turn
    FROM queues q
    CROSS JOIN LATERAL (
        SELECT id, priority, run_at, number FROM stoa.jobs
        WHERE status = 'pending' AND tenant_id = q.tenant_id AND app_id = q.app_id AND priority = q.priority
        AND run_at <= now()
        ORDER BY run_at, number LIMIT $4::int
    ) d
    LEFT JOIN unnest($5::uuid[], $6::text[], $7::int[]) AS b (tenant_id, app_id, count)
    ON b.tenant_id = q.tenant_id AND b.app_id = q.app_id
), chosen AS MATERIALIZED (
    SELECT id FROM due WHERE turn <= room ORDER BY turn, priority DESC, run_at, number LIMIT $3
), free AS MATERIALIZED (
    SELECT j.id FROM stoa.jobs j JOIN chosen USING (id) WHERE j.status = 'pending' FOR UPDATE OF j SKIP LOCKED
), changed AS (
    UPDATE stoa.jobs j SET status = 'running', attempts = attempts + 1, fence = fence + 1, holder = $1,
        leased_until = clock_timestamp() + make_interval(secs => $2::int), started_at = clock_timestamp()
    FROM free WHERE j.id = free.id
    RETURNING j.id, j.fence, j.tenant_id, j.app_id, j.kind, j.origin, j.payload::text AS payload, j.user_id, j.hook_id,
        j.hooks, j.attempts, j.losses, j.attempts_max, j.backoff_s, j.run_at, j.status, j.priority, j.number
), told AS ({_TOLD})
SELECT id, fence, tenant_id, app_id, kind, origin, payload, user_id, hook_id, hooks, attempts, losses, attempts_max,
    backoff_s, run_at
FROM changed ORDER BY priority DESC, run_at, number
"""
_KEEP_SQL = """
UPDATE stoa.jobs SET leased_until = clock_timestamp() + make_interval(secs => $3::int)
WHERE id = ANY ($2::uuid[]) AND holder = $1 AND status = 'running' RETURNING id
"""
_LOST_TOO_OFTEN = "'whoever ran it was lost ' || j.losses + 1 || ' times'"
_TELL_SQL = f"""
WITH outcome AS (
    SELECT * FROM unnest($1::uuid[], $2::int[], $3::text[], $4::text[], $5::text[], $6::float8[], $7::bool[])
    AS t (id, fence, status, result, error, again_s, lost)
), judged AS (
    SELECT t.id, t.again_s, t.result::jsonb AS result, t.lost::int AS losses,
        CASE WHEN t.lost AND j.losses >= $8::int THEN 'failed' ELSE t.status END AS status,
        CASE WHEN t.lost AND j.losses >= $8::int THEN {_LOST_TOO_OFTEN} ELSE t.error END AS error
    FROM outcome t JOIN stoa.jobs j ON j.id = t.id AND j.fence = t.fence AND j.status = 'running'
    FOR UPDATE OF j
), changed AS (
    UPDATE stoa.jobs j SET status = t.status, result = t.result, error = t.error, losses = j.losses + t.losses,
        run_at = CASE t.status WHEN 'pending' THEN clock_timestamp() + make_interval(secs => t.again_s)
            ELSE j.run_at END,
        finished_at = CASE t.status WHEN 'pending' THEN NULL ELSE clock_timestamp() END,
        holder = NULL, leased_until = NULL
    FROM judged t WHERE j.id = t.id
    RETURNING j.id, j.tenant_id, j.app_id, j.status
), told AS ({_TOLD})
SELECT id FROM changed
"""
_SWEEP_SQL = f"""
WITH lost AS (
    SELECT id FROM stoa.jobs WHERE status = 'running' AND leased_until < now()
    ORDER BY leased_until LIMIT $1 FOR UPDATE SKIP LOCKED
), changed AS (
    UPDATE stoa.jobs j SET status = CASE WHEN j.losses >= $2::int THEN 'failed' ELSE 'pending' END,
        error = CASE WHEN j.losses >= $2::int THEN {_LOST_TOO_OFTEN} END,
        finished_at = CASE WHEN j.losses >= $2::int THEN clock_timestamp() END,
        losses = j.losses + 1, holder = NULL, leased_until = NULL
    FROM lost WHERE j.id = lost.id
    RETURNING j.id, j.tenant_id, j.app_id, j.status
), told AS ({_TOLD})
SELECT id FROM changed
"""
