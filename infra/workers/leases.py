"""Which host runs which app, as the database has it: a lease that is renewed, by the database's clock."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from domain.kernel.unit import Statement
from domain.workers.model import Wanted
from domain.workers.ports import WorkerState

LEASE_S = 15
HEARTBEAT_S = 3.0
ADOPTED_AT_ONCE = 20

Fetch = Callable[[Statement], Awaitable[Sequence[Mapping[str, Any]]]]
App = tuple[UUID, str]  # tenant and app


@dataclass(frozen=True, slots=True)
class Place:
    """A host, and where it listens."""

    host_id: UUID
    address: str
    leased: bool  # whether the app that was asked for is there


class Elsewhere(Exception):
    """Another host has the app."""


class Leases:
    """The leases of one host."""

    def __init__(self, fetch: Fetch, host_id: UUID, address: str) -> None:
        self._fetch = fetch
        self._host_id = host_id
        self._address = address

    async def announce(self) -> None:
        """Be a host from now on. What an earlier process of the same identity had is still ours."""
        await self._fetch(Statement(_ANNOUNCE_SQL, (self._host_id, self._address)))

    async def renew(self) -> dict[App, Wanted]:
        """Keep what is ours for another while: the apps, with what is wanted of each."""
        rows = await self._fetch(Statement(_RENEW_SQL, (self._host_id, LEASE_S)))
        return {(row["tenant_id"], row["app_id"]): Wanted(row["wanted"]) for row in rows}

    async def claim(self, app: App) -> Wanted | None:
        """Take the app, if nobody has it: what is wanted of it, None for one without a worker. Raises Elsewhere."""
        rows = await self._fetch(Statement(_CLAIM_SQL, (*app, self._host_id, LEASE_S)))
        if not rows:
            return None
        if not rows[0]["ours"]:
            raise Elsewhere
        return Wanted(rows[0]["wanted"])

    async def want(self, app: App, wanted: Wanted) -> None:
        """Note what is wanted of an app, which may be new, and take it. Raises Elsewhere."""
        rows = await self._fetch(Statement(_WANT_SQL, (*app, wanted, self._host_id, LEASE_S)))
        if not rows:
            raise Elsewhere

    async def note(self, app: App, state: WorkerState) -> None:
        """Tell those that cannot ask us how the worker is."""
        await self._fetch(Statement(_NOTE_SQL, (*app, self._host_id, state)))

    async def orphans(self) -> list[App]:
        """Apps that are to run and that no living host has, as far as they fall to us."""
        rows = await self._fetch(Statement(_ORPHANS_SQL, (self._host_id, LEASE_S, ADOPTED_AT_ONCE)))
        return [(row["tenant_id"], row["app_id"]) for row in rows]

    async def versions(self) -> list[UUID]:
        """The versions in use of our apps."""
        return [row["id"] for row in await self._fetch(Statement(_VERSIONS_SQL, (self._host_id,)))]

    async def leave(self) -> None:
        """Be a host no more: others may take over at once."""
        await self._fetch(Statement(_LEAVE_SQL, (self._host_id,)))


async def place_of(fetch: Fetch, app: App) -> Place | None:
    """The host that has the app; else the one that it falls to; None where no host is alive."""
    rows = await fetch(Statement(_PLACE_SQL, (*app, LEASE_S)))
    return Place(rows[0]["id"], rows[0]["address"], rows[0]["leased"]) if rows else None


async def noted_state(fetch: Fetch, app: App) -> WorkerState | None:
    """How the app's worker is, as far as the database knows; None for one that never was started."""
    return (await _noted(fetch, _STATE_SQL, app)).get(app[1])


async def noted_states(fetch: Fetch, tenant_id: UUID) -> dict[str, WorkerState]:
    """How the tenant's workers are, as far as the database knows."""
    return await _noted(fetch, _STATES_SQL, (tenant_id,))


async def _noted(fetch: Fetch, sql: str, args: tuple[object, ...]) -> dict[str, WorkerState]:
    rows = await fetch(Statement(sql, args))
    # What nobody runs at the moment will run again when a host comes for it.
    return {row["app_id"]: WorkerState(row["state"]) if row["leased"] else WorkerState.STOPPED for row in rows}


_ALIVE = "h.heartbeat_at > clock_timestamp() - make_interval(secs => {0})"
# Every host comes to the same answer without a word to the others.
_FALLS_TO = "md5(h.id::text || {0} || {1})"

_ANNOUNCE_SQL = """
WITH gone AS (DELETE FROM stoa.worker_hosts WHERE heartbeat_at < clock_timestamp() - interval '1 hour' AND id <> $1)
INSERT INTO stoa.worker_hosts (id, address, started_at, heartbeat_at)
VALUES ($1, $2, clock_timestamp(), clock_timestamp())
ON CONFLICT (id) DO UPDATE SET address = $2, started_at = clock_timestamp(), heartbeat_at = clock_timestamp()
"""
_RENEW_SQL = """
WITH beat AS (UPDATE stoa.worker_hosts SET heartbeat_at = clock_timestamp() WHERE id = $1)
UPDATE stoa.app_workers SET leased_until = clock_timestamp() + make_interval(secs => $2)
WHERE host_id = $1 RETURNING tenant_id, app_id, wanted
"""
_FREE = "(w.host_id IS NULL OR w.host_id = {0} OR w.leased_until < clock_timestamp())"
_CLAIM_SQL = f"""
WITH taken AS (
    UPDATE stoa.app_workers w SET host_id = $3, leased_until = clock_timestamp() + make_interval(secs => $4)
    WHERE tenant_id = $1 AND app_id = $2 AND {_FREE.format("$3")} RETURNING wanted
)
SELECT wanted, true AS ours FROM taken
UNION ALL SELECT w.wanted, false FROM stoa.app_workers w
WHERE w.tenant_id = $1 AND w.app_id = $2 AND NOT EXISTS (SELECT FROM taken)
"""
_WANT_SQL = f"""
INSERT INTO stoa.app_workers AS w (tenant_id, app_id, wanted, state, host_id, leased_until)
VALUES ($1, $2, $3, 'stopped', $4, clock_timestamp() + make_interval(secs => $5))
ON CONFLICT (tenant_id, app_id) DO UPDATE
SET wanted = excluded.wanted, host_id = excluded.host_id, leased_until = excluded.leased_until
WHERE {_FREE.format("$4")} RETURNING true
"""
_NOTE_SQL = "UPDATE stoa.app_workers SET state = $4 WHERE tenant_id = $1 AND app_id = $2 AND host_id = $3"
_ORPHANS_SQL = f"""
SELECT w.tenant_id, w.app_id FROM stoa.app_workers w
WHERE w.wanted = 'running' AND (w.host_id IS NULL OR w.leased_until < clock_timestamp()) AND $1 = (
    SELECT h.id FROM stoa.worker_hosts h WHERE {_ALIVE.format("$2")}
    ORDER BY {_FALLS_TO.format("w.tenant_id::text", "w.app_id")} LIMIT 1
)
LIMIT $3
"""
_VERSIONS_SQL = """
SELECT d.id FROM stoa.app_deployments d JOIN stoa.app_workers w USING (tenant_id, app_id)
WHERE w.host_id = $1 AND d.part = 'backend'
"""
_LEAVE_SQL = """
WITH gone AS (DELETE FROM stoa.worker_hosts WHERE id = $1)
UPDATE stoa.app_workers SET host_id = NULL, leased_until = NULL WHERE host_id = $1
"""
_PLACE_SQL = f"""
SELECT h.id, h.address, w.app_id IS NOT NULL AS leased
FROM stoa.worker_hosts h LEFT JOIN stoa.app_workers w
ON w.tenant_id = $1 AND w.app_id = $2 AND w.host_id = h.id AND w.leased_until > clock_timestamp()
WHERE {_ALIVE.format("$3")}
ORDER BY w.app_id IS NULL, {_FALLS_TO.format("$1::uuid::text", "$2::text")} LIMIT 1
"""
_LEASED = "w.leased_until IS NOT NULL AND w.leased_until > clock_timestamp() AS leased"
_STATE_SQL = f"SELECT app_id, state, {_LEASED} FROM stoa.app_workers w WHERE tenant_id = $1 AND app_id = $2"
_STATES_SQL = f"SELECT app_id, state, {_LEASED} FROM stoa.app_workers w WHERE tenant_id = $1 LIMIT 10000"
