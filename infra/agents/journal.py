"""What runs tell those who follow them: written to the database in small batches, and passed on as it is written.

Whoever follows a run reads the log, then what comes, and the log again where something was missed: from this process,
from another one (which tells over Valkey), or after a while of silence. So nothing is lost without Valkey, it is only
later; the view over all runs is then of this process alone.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any
from uuid import UUID, uuid4

import orjson
import redis.asyncio as redis

from domain.agents.ports import Missed, RunEvent
from domain.agents.running import Facts
from domain.kernel.errors import Unavailable
from domain.kernel.unit import Statement, StatementRefused
from infra.hearing import heard
from infra.logs import get_logger

POLL_S = 2.0
BATCH_MAX = 500
WAITING_MAX = 512  # events that a slow reader may be behind
AGAIN_S = 1.0
PUBLISH_S, QUIET_S = 0.25, 5.0
CHANNEL = "stoa:agents"
JOINED = frozenset({"chunk", "sub_agent_chunk"})  # pieces of a text: those that wait together are one
CHUNK_CHARS_MAX = 8192

Fetch = Callable[[Statement], Awaitable[Sequence[Mapping[str, Any]]]]

log = get_logger(__name__)

_WRITE_SQL = """
INSERT INTO stoa.agent_run_events (tenant_id, run_id, sequence, kind, body, created_at)
SELECT e.tenant_id, e.run_id, e.sequence, e.kind, e.body, now()
FROM jsonb_to_recordset($1::jsonb) AS e (tenant_id uuid, run_id uuid, sequence int, kind text, body jsonb)
WHERE EXISTS (SELECT FROM stoa.agent_runs r WHERE r.id = e.run_id) ON CONFLICT DO NOTHING
"""
_READ_SQL = """
SELECT sequence, kind, body::text AS body FROM stoa.agent_run_events
WHERE tenant_id = $1 AND run_id = $2 AND sequence > $3 ORDER BY sequence LIMIT 500
"""
_RUN_SQL = """
SELECT app_id, session_id, invoker_id, status, response, error, tokens, finished_at IS NOT NULL AS finished
FROM stoa.agent_runs WHERE tenant_id = $1 AND id = $2
"""
_LAST_SQL = "SELECT coalesce(max(sequence), 0) AS last FROM stoa.agent_run_events WHERE run_id = $1"


@dataclass(eq=False)
class _Reader:
    """Who listens. What does not fit is counted."""

    waiting: "asyncio.Queue[RunEvent]"
    missed: int = 0

    def tell(self, event: RunEvent) -> None:
        try:
            self.waiting.put_nowait(event)
        except asyncio.QueueFull:
            self.missed += 1


def _reader() -> _Reader:
    return _Reader(asyncio.Queue(WAITING_MAX))


class Journal:
    """The log of all runs, and those who listen in this process."""

    def __init__(self, fetch: Fetch, valkey_url: str | None) -> None:
        self._fetch = fetch
        self._valkey: redis.Redis | None = redis.Redis.from_url(valkey_url) if valkey_url else None
        self._origin = uuid4().hex
        self._quiet_until = 0.0
        self._pending: list[RunEvent] = []
        self._wake = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._sequences: Counter[UUID] = Counter()
        self._followers: dict[UUID, set[_Reader]] = {}
        self._fleets: dict[UUID, set[_Reader]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to write, and to hear of others."""
        self._tasks = [asyncio.create_task(self._write())]
        if self._valkey is not None:
            self._tasks.append(asyncio.create_task(self._listen()))

    async def stop(self) -> None:
        """Write what waits, and stop."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), AGAIN_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._valkey is not None:
            await self._valkey.aclose()

    # Telling.

    async def begin(self, run_id: UUID) -> None:
        """Go on where another process has stopped telling of this run."""
        self._sequences[run_id] = (await self._fetch(Statement(_LAST_SQL, (run_id,))))[0]["last"]

    def tell(self, run: Facts, kind: str, body: Mapping[str, Any]) -> None:
        """Tell those who follow the run, or all runs."""
        whose = run.tenant_id, run.id, run.app_id, run.session_id, run.invoker_id
        self._pending.append(RunEvent(*whose, 0, kind, body))
        self._empty.clear()
        self._wake.set()

    async def written(self) -> None:
        """Wait until everything that was told is in the log."""
        await self._empty.wait()

    def forget(self, run_id: UUID) -> None:
        """Nothing more will be told of this run."""
        self._sequences.pop(run_id, None)

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._pending:
                batch, self._pending = self._pending[:BATCH_MAX], self._pending[BATCH_MAX:]
                numbered = [self._numbered(event) for event in _joined(batch)]
                try:
                    await self._store(numbered)
                    for event in numbered:
                        self._deliver(event)
                    await self._publish(numbered)
                except Exception:  # the runs go on, and so must this
                    log.exception("agent_events_failed")
            self._empty.set()

    def _numbered(self, event: RunEvent) -> RunEvent:
        self._sequences[event.run_id] += 1
        return replace(event, sequence=self._sequences[event.run_id])

    async def _store(self, events: Sequence[RunEvent]) -> None:
        rows = [
            {"tenant_id": e.tenant_id, "run_id": e.run_id, "sequence": e.sequence, "kind": e.kind, "body": e.body}
            for e in events
        ]
        while True:
            try:
                await self._fetch(Statement(_WRITE_SQL, (orjson.dumps(rows, default=str).decode(),)))
                return
            except Unavailable:
                await asyncio.sleep(AGAIN_S)
            except StatementRefused:  # a run that went in this moment; whoever listens still hears of it
                log.exception("agent_events_refused")
                return

    def _deliver(self, event: RunEvent) -> None:
        for reader in (*self._followers.get(event.run_id, ()), *self._fleets.get(event.tenant_id, ())):
            reader.tell(event)

    # Listening.

    async def follow(self, tenant_id: UUID, run_id: UUID, after: int = 0) -> AsyncGenerator[RunEvent, None]:
        """The run's events behind `after`, from the log and then as they come, until its end."""
        reader = _reader()
        self._followers.setdefault(run_id, set()).add(reader)
        try:
            while True:
                found = await self._fetch(Statement(_RUN_SQL, (tenant_id, run_id)))
                run = found[0] if found else None
                async for event in self._logged(tenant_id, run_id, run, after):
                    yield event
                    after = event.sequence
                    if event.last:
                        return
                if run is None or run["finished"]:
                    yield _end(tenant_id, run_id, run, after + 1)
                    return
                async for event in _live(reader, after):
                    yield event
                    after = event.sequence
                    if event.last:
                        return
        finally:
            self._followers[run_id].discard(reader)
            if not self._followers[run_id]:
                del self._followers[run_id]

    async def _logged(
        self, tenant_id: UUID, run_id: UUID, run: Mapping[str, Any] | None, after: int
    ) -> AsyncGenerator[RunEvent, None]:
        more = run is not None
        while more and run is not None:
            rows = await self._fetch(Statement(_READ_SQL, (tenant_id, run_id, after)))
            for row in rows:
                whose = tenant_id, run_id, run["app_id"], run["session_id"], run["invoker_id"]
                yield RunEvent(*whose, row["sequence"], row["kind"], orjson.loads(row["body"]))
                after = row["sequence"]
            more = len(rows) == BATCH_MAX

    async def fleet(self, tenant_id: UUID) -> AsyncGenerator[RunEvent | Missed, None]:
        """The events of all the tenant's runs from now on."""
        reader = _reader()
        self._fleets.setdefault(tenant_id, set()).add(reader)
        return self._told(tenant_id, reader)

    async def _told(self, tenant_id: UUID, reader: _Reader) -> AsyncGenerator[RunEvent | Missed, None]:
        try:
            while True:
                yield await reader.waiting.get()
                if reader.missed:
                    missed, reader.missed = reader.missed, 0
                    yield Missed(missed)
        finally:
            self._fleets[tenant_id].discard(reader)

    # Other processes.

    async def _publish(self, events: Sequence[RunEvent]) -> None:
        if self._valkey is None or monotonic() < self._quiet_until:
            return
        message = {"origin": self._origin, "events": [_packed(event) for event in events]}
        try:
            async with asyncio.timeout(PUBLISH_S):
                await self._valkey.publish(CHANNEL, orjson.dumps(message, default=str))
        except (redis.RedisError, OSError, TimeoutError):
            self._quiet_until = monotonic() + QUIET_S  # others look into the log; nobody here waits for Valkey

    async def _listen(self) -> None:
        assert self._valkey is not None
        async for message in heard(self._valkey, CHANNEL):
            if message is not None:
                self._heard(orjson.loads(message))

    def _heard(self, message: Mapping[str, Any]) -> None:
        if message["origin"] != self._origin:
            for told in message["events"]:
                *ids, sequence, kind, body = told
                tenant_id, run_id, session_id, invoker_id = map(UUID, (ids[0], ids[1], ids[3], ids[4]))
                self._deliver(RunEvent(tenant_id, run_id, ids[2], session_id, invoker_id, sequence, kind, body))


async def _live(reader: _Reader, after: int) -> AsyncGenerator[RunEvent, None]:
    """What comes, as long as it follows on what was read; it ends when the log is to be looked into."""
    while True:
        try:
            async with asyncio.timeout(POLL_S):
                event = await reader.waiting.get()
        except TimeoutError:
            return
        if event.sequence > after + 1 or reader.missed:
            reader.missed = 0
            while not reader.waiting.empty():
                reader.waiting.get_nowait()
            return
        if event.sequence == after + 1:
            after = event.sequence
            yield event


def _joined(events: Iterable[RunEvent]) -> list[RunEvent]:
    """The events, with pieces of one text that follow each other as one piece."""
    joined: list[RunEvent] = []
    latest: dict[UUID, int] = {}
    for event in events:
        at = latest.get(event.run_id)
        before = None if at is None else joined[at]
        if at is not None and before is not None and before.kind == event.kind and event.kind in JOINED:
            others = {name: value for name, value in event.body.items() if name != "delta"}
            text = before.body["delta"] + event.body["delta"]
            if len(text) <= CHUNK_CHARS_MAX and others.items() <= before.body.items():
                joined[at] = replace(before, body={**before.body, "delta": text})
                continue
        latest[event.run_id] = len(joined)
        joined.append(event)
    return joined


def _packed(event: RunEvent) -> list[Any]:
    whose = [event.tenant_id, event.run_id, event.app_id, event.session_id, event.invoker_id]
    return [*whose, event.sequence, event.kind, event.body]


def _end(tenant_id: UUID, run_id: UUID, run: Mapping[str, Any] | None, sequence: int) -> RunEvent:
    """The last event of a run whose log has been cleared, or that was lost."""
    if run is None:
        nobody = UUID(int=0)
        return RunEvent(tenant_id, run_id, "", nobody, nobody, sequence, "error", {"error": "the run is gone"})
    whose = tenant_id, run_id, run["app_id"], run["session_id"], run["invoker_id"]
    if run["error"] is not None:
        return RunEvent(*whose, sequence, "error", {"error": run["error"]})
    return RunEvent(*whose, sequence, "done", {"response": run["response"], "tokens": run["tokens"]})
