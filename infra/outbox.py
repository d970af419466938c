"""The feed: one reader of the outbox a process, and as many listeners as there are.

The reader sleeps until something commits (here, or in another process, which tells over Valkey) and looks once a
second anyway, so that a lost message costs a second and nothing else. A change is read once; each distinct watch of
its listeners is asked about it once, by PostgreSQL: whether it is told, and what of the record. Watches that differ in
their values only, those of people under one policy, are asked about together.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID
from weakref import WeakSet

import orjson
import redis.asyncio as redis

from domain.apps.events import AppChanged
from domain.kernel.errors import Gone, Invalid, Unavailable
from domain.kernel.events import LOGGED, RecordChange, Watch, place_of
from domain.kernel.unit import Statement, StatementRefused
from infra.hearing import heard
from infra.logs import get_logger
from infra.postgres.together import Together

POLL_S = 1.0
UNSETTLED_POLL_S = 0.02  # while an event is committed but an older transaction still runs
GATHERED_S = 0.02  # what is committed within this time after a reading, or a message to others, waits for the next one
BATCH = 100  # rows read at once, with their values: what this takes of memory
ASKED_AT_ONCE = 4  # watches about a change: as many connections
WAITING_MAX = 1_000  # changes a slow listener may be behind
WAITING_BYTES_MAX = 8 * 2**20  # and what they may hold
POSITION_MAX = 2**63 - 1
CHANNEL = "stoa:outbox"
RECONNECT_S = 1.0

Fetch = Callable[[Statement], Awaitable[Sequence[Mapping[str, Any]]]]
Topic = tuple[UUID, str, str]  # tenant, app, entity
Position = tuple[int, int]  # transaction, row

log = get_logger(__name__)

# `tx` below every running transaction: nothing can appear before such a row any more. A row's values are read
# once it is settled, and only where they are wanted.
_READ_SQL = """
SELECT o.tx::text AS tx, o.id, o.tenant_id, o.kind, o.payload::text AS payload, s.settled,
       a.app_id, a.entity, a.operation, a.record_id, a.actor_id, a.changed_at,
       CASE WHEN s.settled AND {wanted} THEN a.old_record::text END AS before,
       CASE WHEN s.settled AND {wanted} THEN a.new_record::text END AS after, {wanted} AS loaded
FROM stoa.outbox o
CROSS JOIN LATERAL (SELECT o.tx < pg_snapshot_xmin(pg_current_snapshot()) AS settled) s
LEFT JOIN stoa.audit_log a ON a.id = o.audit_id
WHERE {rows} ORDER BY o.tx, o.id LIMIT {limit}
"""
_BEHIND = "(o.tx, o.id) > ($1::text::xid8, $2::bigint)"
_LIVE_SQL = _READ_SQL.format(
    wanted="o.tenant_id::text || '.' || a.app_id || '.' || a.entity = ANY ($3::text[])", rows=_BEHIND, limit=BATCH
)
_REPLAY_SQL = _READ_SQL.format(
    wanted="true", rows=f"{_BEHIND} AND o.tenant_id = $3 AND a.app_id = $4 AND a.entity = $5", limit=BATCH
)
_ONE_SQL = _READ_SQL.format(wanted="true", rows="o.id = $1", limit=1)
_HEAD_SQL = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS tx"
# How far the log reaches back, and whether a transaction can have written to it yet.
_REACH_SQL = """
SELECT tx::text AS tx, outbox_id AS id, $1::text::xid8 < pg_snapshot_xmax(pg_current_snapshot()) AS past
FROM stoa.outbox_horizon
"""
_CURSOR = re.compile(r"[0-9]{1,19}-[0-9]{1,19}")


@dataclass(eq=False)
class _Listener:
    """One subscription. It hears what is read from now on; what comes before is replayed from the table."""

    watch: Watch
    waiting: asyncio.Queue[RecordChange | Gone] = field(default_factory=asyncio.Queue)
    waiting_bytes: int = 0

    def __post_init__(self) -> None:
        self.asks = repr(self.watch)  # asked once for all that have it in common

    def tell(self, change: RecordChange) -> bool:
        """Whether there was room for the change."""
        size = _bytes(change)
        fits = self.waiting_bytes + size <= WAITING_BYTES_MAX or self.waiting.empty()
        if not fits or self.waiting.qsize() >= WAITING_MAX:
            return False
        self.waiting_bytes += size
        self.waiting.put_nowait(change)
        return True

    def end(self, why: Gone) -> None:
        """Let go of what waits, and say why there will be no more."""
        while not self.waiting.empty():
            self.waiting.get_nowait()
        self.waiting.put_nowait(why)

    async def next(self) -> RecordChange:
        """The next change. Raises Gone when this listener has been ended."""
        told = await self.waiting.get()
        if isinstance(told, Gone):
            self.waiting.put_nowait(told)  # it stays ended, however often it is asked
            raise told
        self.waiting_bytes -= _bytes(told)
        return told


class OutboxFeed:
    """See `domain.kernel.events.Feed`. `started` before use, `stopped` after."""

    def __init__(
        self,
        fetch: Fetch,
        valkey_url: str | None,
        hear: Callable[[UUID, str, dict[str, Any]], None],
        ask: Fetch | None = None,
    ) -> None:
        self._fetch = fetch
        self._ask = Together(
            _at_once(ask or fetch, ASKED_AT_ONCE)
        ).rows  # about a change: the log is read in another way
        self._valkey: redis.Redis | None = redis.Redis.from_url(valkey_url) if valkey_url else None
        self._hear = hear
        self._wake = asyncio.Event()
        self._tell_others = asyncio.Event()
        self._listeners: dict[Topic, WeakSet[_Listener]] = {}
        self._position: Position | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to read; what happened before is of no interest."""
        self._tasks = [asyncio.create_task(self._read())]
        if self._valkey is not None:
            self._tasks += [asyncio.create_task(self._listen()), asyncio.create_task(self._publish())]

    async def stop(self) -> None:
        """Stop reading."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._valkey is not None:
            await self._valkey.aclose()

    def committed(self) -> None:
        """Something was committed in this process: look, and tell the other processes to."""
        self._wake.set()
        self._tell_others.set()

    @property
    def listeners(self) -> int:
        """How many subscriptions there are."""
        return sum(map(len, self._listeners.values()))

    # Listening.

    async def subscribe(self, watch: Watch, after: str | None) -> "_Subscription":
        """The changes `watch` asks for, behind `after` or from now on."""
        listener = _Listener(watch)
        topic = (watch.tenant_id, watch.app_id, watch.entity)
        self._listeners.setdefault(topic, WeakSet()).add(listener)
        try:
            return _Subscription(self, listener, *await self.missed(watch, after))
        except BaseException:
            self.leave(listener)
            raise

    async def missed(self, watch: Watch, after: str | None) -> tuple[Position, AsyncGenerator[RecordChange, None]]:
        """See `domain.kernel.events.Feed`."""
        begin = None if after is None else await self._resumable(after)
        now = await self._where()
        begin = begin or now
        return max(begin, now), self.replay(watch, begin, now)

    def leave(self, listener: "_Listener") -> None:
        """Tell this one no more."""
        topic = (listener.watch.tenant_id, listener.watch.app_id, listener.watch.entity)
        self._listeners.get(topic, WeakSet()).discard(listener)

    async def _where(self) -> Position:
        if self._position is None:
            head = int((await self._fetch(Statement(_HEAD_SQL)))[0]["tx"]) - 1, POSITION_MAX
            self._position = self._position or head  # somebody else may have been faster
        return self._position

    async def _resumable(self, cursor: str) -> Position:
        """The position of a cursor. Raises Invalid, Gone."""
        position = place_of(cursor) if _CURSOR.fullmatch(cursor) else None
        if position is None or max(position) > POSITION_MAX:
            raise Invalid("after", "not a cursor of changes")
        await self._refuse_unreachable(position)
        return position

    async def _refuse_unreachable(self, position: Position) -> None:
        """Raises Gone for a position the log no longer reaches, or one of a log that was longer than this one."""
        reach = (await self._fetch(Statement(_REACH_SQL, (str(position[0]),))))[0]
        if position < (int(reach["tx"]), reach["id"]) or not reach["past"]:
            raise Gone("the log of changes does not reach back to this cursor; read the records anew")

    async def replay(self, watch: Watch, begin: Position, end: Position) -> AsyncGenerator[RecordChange, None]:
        """The changes behind `begin`, up to `end`. Raises Gone when the log is pruned faster than they are read."""
        more = True
        while more and begin < end:
            asked = (str(begin[0]), begin[1], watch.tenant_id, watch.app_id, watch.entity)
            rows = await self._fetch(Statement(_REPLAY_SQL, asked))
            await self._refuse_unreachable(begin)
            for row in rows:
                begin = (int(row["tx"]), row["id"])
                change = _change(row)
                if begin <= end and (seen := await self._seen(change, watch)) is not None:
                    yield seen
            more = len(rows) == BATCH

    # Reading.

    async def _read(self) -> None:
        """Read for ever, whatever the database does meanwhile.

        At once after a while of nothing; under load, what comes within moments is read together.
        """
        while True:
            pause = POLL_S
            again = asyncio.get_running_loop().time() + GATHERED_S
            try:
                await self._where()
                while not (settled := await self._batch()):
                    if settled is None:
                        pause = UNSETTLED_POLL_S
                        break
            except Unavailable:
                log.warning("outbox_waits", reason="the database is not ready")
            except Exception:
                log.exception("outbox_failed")
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            await asyncio.sleep(again - asyncio.get_running_loop().time())
            self._wake.clear()

    async def _batch(self) -> bool | None:
        """Deliver what is there. True at the end, False when there is more, None when more must settle first."""
        tx, id = await self._where()
        for topic in [topic for topic, listeners in self._listeners.items() if not listeners]:
            del self._listeners[topic]
        topics = [".".join(map(str, topic)) for topic in self._listeners]
        rows = await self._fetch(Statement(_LIVE_SQL, (str(tx), id, topics)))
        for row in rows:
            if not row["settled"]:
                return None
            await self._deliver(row)
        return len(rows) < BATCH

    async def _deliver(self, row: Mapping[str, Any]) -> None:
        position = (int(row["tx"]), row["id"])
        if row["app_id"] is not None:
            await self._tell(row)
        elif row["payload"] is not None:
            payload = orjson.loads(row["payload"])
            if row["kind"] == AppChanged.kind:
                self._refuse_former(row["tenant_id"], payload)
            self._hear(row["tenant_id"], row["kind"], payload)
        self._position = position

    def _refuse_former(self, tenant_id: UUID, app: Mapping[str, Any]) -> None:
        """End who listens under policies that the app has no more: what they may be told was settled by those."""
        for topic, listeners in self._listeners.items():
            for listener in list(listeners) if topic[:2] == (tenant_id, app["app_id"]) else ():
                if listener.watch.policies != app.get("policies"):  # older servers say none
                    listener.end(Gone("the policies of the app have changed; subscribe anew from the last cursor"))
                    self.leave(listener)

    async def _tell(self, row: Mapping[str, Any]) -> None:
        """Tell the change to every listener it concerns; those that join while we ask are asked about as well."""
        topic = (row["tenant_id"], row["app_id"], row["entity"])
        seen: dict[str, RecordChange | Gone | None] = {}
        change = None
        while unasked := {li.asks: li.watch for li in self._listeners.get(topic, ()) if li.asks not in seen}:
            if not row["loaded"]:
                row = (await self._fetch(Statement(_ONE_SQL, (row["id"],))))[0]
            change = change or _change(row)
            told = await asyncio.gather(*(self._seen_or_gone(change, watch) for watch in unasked.values()))
            seen.update(zip(unasked, told, strict=True))
        for listener in list(self._listeners.get(topic, ())):
            one = seen[listener.asks]
            if isinstance(one, RecordChange) and not listener.tell(one):
                one = Gone("the reader was too slow; resume from the last cursor it has")
            if isinstance(one, Gone):
                listener.end(one)
                self.leave(listener)

    async def _seen_or_gone(self, change: RecordChange, watch: Watch) -> RecordChange | Gone | None:
        try:
            return await self._seen(change, watch)
        except Gone as gone:
            return gone

    async def _seen(self, change: RecordChange, watch: Watch) -> RecordChange | None:
        """The change as a watch has it told, if it does at all. Raises Gone when nobody can tell."""
        if not watch.asks:
            return change
        try:
            rows = await self._ask(_asking(change, watch))
        except StatementRefused as refused:
            raise Gone("what was declared has changed, and the condition speaks of what is no more") from refused
        if not any(row["told"] for row in rows):
            return None
        shown = iter([None if row["document"] is None else row["document"].encode() for row in rows])
        before, after = (None if state is None else next(shown) for state in (change.before, change.after))
        return replace(change, before=before, after=after)

    # Other processes.

    async def _listen(self) -> None:
        assert self._valkey is not None
        async for _ in heard(self._valkey, CHANNEL):
            self._wake.set()

    async def _publish(self) -> None:
        assert self._valkey is not None
        while True:
            await self._tell_others.wait()
            self._tell_others.clear()
            with suppress(redis.RedisError, OSError):
                async with asyncio.timeout(RECONNECT_S):
                    await self._valkey.publish(CHANNEL, b"")
            await asyncio.sleep(GATHERED_S)


class _Subscription:
    """See `domain.kernel.events.Changes`. One that nobody holds any more is forgotten by itself."""

    def __init__(
        self, feed: OutboxFeed, listener: _Listener, behind: Position, past: AsyncGenerator[RecordChange, None]
    ) -> None:
        self._feed = feed
        self._listener = listener
        self._behind = behind
        self._past = past

    def __aiter__(self) -> "_Subscription":
        return self

    async def __anext__(self) -> RecordChange:
        async for change in self._past:
            return change
        while True:
            change = await self._listener.next()
            if change.place > self._behind:
                return change

    async def aclose(self) -> None:
        self._feed.leave(self._listener)


def _at_once(fetch: Fetch, most: int) -> Fetch:
    """The same, for so many statements at once."""
    turns = asyncio.Semaphore(most)

    async def fetched(statement: Statement) -> Sequence[Mapping[str, Any]]:
        async with turns:
            return await fetch(statement)

    return fetched


def _asking(change: RecordChange, watch: Watch) -> Statement:
    """What is asked of a change: a row for the record before it and one for after it, of those there are."""
    states = b",".join(state for state in (change.before, change.after) if state is not None)
    args = (*watch.args, f"[{states.decode()}]")
    told = " AND ".join(f"({asked})" for asked in (watch.visible, watch.matches) if asked is not None) or "true"
    shown = watch.document or f"{LOGGED}::text"
    if watch.visible is not None:
        shown = f"CASE WHEN {watch.visible} THEN {shown} END"
    return Statement(
        f"SELECT coalesce({told}, false) AS told, {shown} AS document "
        f"FROM jsonb_array_elements(${len(args)}::jsonb) WITH ORDINALITY s ({LOGGED}, state), {watch.row} "
        "ORDER BY s.state",
        args,
    )


def _bytes(change: RecordChange) -> int:
    return len(change.before or b"") + len(change.after or b"")


def _change(row: Mapping[str, Any]) -> RecordChange:
    return RecordChange(
        cursor=f"{row['tx']}-{row['id']}",
        tenant_id=row["tenant_id"],
        app_id=row["app_id"],
        entity=row["entity"],
        operation=row["operation"],
        record_id=row["record_id"],
        before=None if row["before"] is None else row["before"].encode(),
        after=None if row["after"] is None else row["after"].encode(),
        changed_at=row["changed_at"],
        actor_id=row["actor_id"],
    )
