"""The feed of committed changes: each is heard once, by everybody it concerns, in one order, whoever writes."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import orjson
import pytest

from domain.kernel.errors import Gone, Invalid
from domain.kernel.events import LOGGED, RecordChange, Watch
from domain.kernel.model import DEFAULT_TENANT
from domain.kernel.unit import Statement
from infra import outbox
from infra.outbox import OutboxFeed
from infra.postgres.database import Database
from tests.harness import Databases

APP, ENTITY, TABLE = "feedtest", "things", '"feedtest"."things"'
ROW = f"jsonb_populate_record(NULL::{TABLE}, {LOGGED}) t"
WATCH = Watch(DEFAULT_TENANT, APP, ENTITY, ROW)
SOON_S = 5.0

TABLE_SQL = f"""
CREATE SCHEMA feedtest;
CREATE TABLE {TABLE} (id uuid PRIMARY KEY, n int, text text);
CREATE TRIGGER i AFTER INSERT ON {TABLE} REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION stoa.record_inserted('{DEFAULT_TENANT}', '{APP}', '{ENTITY}');
CREATE TRIGGER u AFTER UPDATE ON {TABLE} REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION stoa.record_updated('{DEFAULT_TENANT}', '{APP}', '{ENTITY}');
CREATE TRIGGER d AFTER DELETE ON {TABLE} REFERENCING OLD TABLE AS old_rows
FOR EACH STATEMENT EXECUTE FUNCTION stoa.record_deleted('{DEFAULT_TENANT}', '{APP}', '{ENTITY}');
"""


class World:
    """A database with a table that is watched, and feeds of it."""

    def __init__(self, database: Database, url: str) -> None:
        self.database = database
        self.url = url
        self.feeds: list[OutboxFeed] = []
        self.heard: list[tuple[UUID, str, dict[str, Any]]] = []

    async def feed(self, valkey_url: str | None = None, fetch: Any = None) -> OutboxFeed:
        feed = OutboxFeed(fetch or self.database.fetch, valkey_url, lambda *told: self.heard.append(told))
        self.feeds.append(feed)
        await feed.start()
        return feed

    async def insert(self, *numbers: int, text: str = "") -> None:
        rows = ", ".join(f"('{uuid4()}', {n}, $1::text)" for n in numbers)
        await self.database.fetch(Statement(f"INSERT INTO {TABLE} VALUES {rows}", (text,)))

    async def written(self) -> list[str]:
        """The cursors of all changes there are, in the order of the log."""
        rows = await self.database.fetch(Statement("SELECT o.tx::text, o.id FROM stoa.outbox o ORDER BY o.tx, o.id"))
        return [f"{row['tx']}-{row['id']}" for row in rows]


@pytest.fixture
async def world(databases: Databases) -> AsyncIterator[World]:
    url = databases.new()
    database = await Database.open(url, 10)
    connection = await asyncpg.connect(url)
    await connection.execute(TABLE_SQL)
    await connection.close()
    world = World(database, url)
    yield world
    for feed in world.feeds:
        await feed.stop()
    await database.close()


def n_of(change: RecordChange) -> int:
    number: int = orjson.loads(change.after or change.before or b"{}")["n"]
    return number


async def numbers(changes: Any, count: int) -> list[int]:
    return [n_of(await asyncio.wait_for(anext(changes), SOON_S)) for _ in range(count)]


async def silent(changes: Any, for_s: float = 0.3) -> bool:
    """Whether nothing comes for a while."""
    following = asyncio.ensure_future(anext(changes))
    done, _ = await asyncio.wait([following], timeout=for_s)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    return not done


async def eventually(so: Callable[[], bool]) -> None:
    """Wait until it is so. Fails when it takes too long."""
    for _ in range(2_000):
        if so():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came to be")


def matching(condition: str, *args: object) -> Watch:
    return replace(WATCH, matches=condition, args=args)


# The property.


class Writer:
    """Writes numbers of its own in transactions of every kind, and remembers what it committed."""

    def __init__(self, url: str, number: int, seed: int, feed: OutboxFeed) -> None:
        self._url = url
        self._random = random.Random(f"{seed}:{number}")
        self._numbers = iter(range(number * 1_000_000, (number + 1) * 1_000_000))
        self._feed = feed
        self.committed: list[int] = []

    async def run(self, transactions: int) -> None:
        connection = await asyncpg.connect(self._url)
        try:
            for _ in range(transactions):
                await self._transaction(connection)
        finally:
            await connection.close()

    async def _transaction(self, connection: Any) -> None:
        chance = self._random.random()
        transaction = connection.transaction()
        await transaction.start()
        written = []
        for _ in range(self._random.randint(1, 3)):
            n = next(self._numbers)
            await connection.execute(f"INSERT INTO {TABLE} VALUES ($1, $2, '')", uuid4(), n)
            written.append(n)
            if chance < 0.15:
                await asyncio.sleep(self._random.uniform(0, 0.3))  # commits late, behind many that began later
        if chance > 0.9:
            await transaction.rollback()
            return
        await transaction.commit()
        self.committed += written
        if chance > 0.3:
            self._feed.committed()  # the others commit unnoticed, as from another machine


async def read_steadily(feed: OutboxFeed, told: list[RecordChange]) -> None:
    changes = await feed.subscribe(WATCH, None)
    while True:
        told.append(await anext(changes))


async def read_interrupted(feeds: Sequence[OutboxFeed], begin: str, told: list[RecordChange], seed: int) -> None:
    """Read a little, leave or just vanish, and go on behind the last change seen, at any of the processes."""
    dice = random.Random(seed)
    cursor = begin
    while True:
        changes = await dice.choice(feeds).subscribe(WATCH, cursor)
        for _ in range(dice.randint(1, 12)):
            change = await anext(changes)
            told.append(change)
            cursor = change.cursor
        if dice.random() < 0.5:
            await changes.aclose()
        del changes
        await asyncio.sleep(dice.uniform(0, 0.02))


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_every_change_is_heard_once_in_one_order_by_readers_that_come_and_go(world: World, seed: int) -> None:
    """Planted and seen red: ordering by id alone, taking rows that are not settled, replaying one change too few,
    and not knowing that a reader may be ahead of this process."""
    feed, other = await world.feed(), await world.feed()
    steady: list[RecordChange] = []
    interrupted: list[RecordChange] = []
    elsewhere: list[RecordChange] = []
    await world.insert(-1)
    begin = (await world.written())[0]
    readers = [asyncio.create_task(read_steadily(feed, steady))]
    await asyncio.sleep(0.05)
    readers += [
        asyncio.create_task(read_interrupted([feed, other], begin, interrupted, seed)),
        asyncio.create_task(read_interrupted([other], begin, elsewhere, seed + 100)),
    ]
    writers = [Writer(world.url, number, seed, feed) for number in range(8)]
    await asyncio.gather(*(writer.run(15) for writer in writers))
    committed = sorted(n for writer in writers for n in writer.committed)
    await eventually(lambda: min(map(len, (steady, interrupted, elsewhere))) >= len(committed))
    await asyncio.sleep(0.1)  # time for what should not come
    for reader in readers:
        assert not reader.done() or reader.exception() is None
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    order = (await world.written())[1:]
    assert sorted(map(n_of, interrupted)) == committed
    assert [change.cursor for change in interrupted] == order
    assert [change.cursor for change in elsewhere] == order
    assert [change.cursor for change in steady if n_of(change) >= 0] == order


# Order and settling.


async def test_what_commits_late_is_told_in_its_place(world: World) -> None:
    """The first to write comes first, though it commits last; until then the others wait."""
    feed = await world.feed()
    changes = await feed.subscribe(WATCH, None)
    connection = await asyncpg.connect(world.url)
    late = connection.transaction()
    await late.start()
    await connection.execute(f"INSERT INTO {TABLE} VALUES ('{uuid4()}', 1, '')")
    await world.insert(2)
    feed.committed()
    assert await silent(changes)
    await connection.execute(f"INSERT INTO {TABLE} VALUES ('{uuid4()}', 3, '')")
    await late.commit()
    await connection.close()
    assert await numbers(changes, 3) == [1, 3, 2]


async def test_what_is_rolled_back_is_never_told(world: World) -> None:
    feed = await world.feed()
    changes = await feed.subscribe(WATCH, None)
    connection = await asyncpg.connect(world.url)
    undone = connection.transaction()
    await undone.start()
    await connection.execute(f"INSERT INTO {TABLE} VALUES ('{uuid4()}', 1, '')")
    await undone.rollback()
    await connection.close()
    await world.insert(2)
    feed.committed()
    assert await numbers(changes, 1) == [2]


async def test_a_subscription_begins_where_it_joins(world: World) -> None:
    feed = await world.feed()
    await world.insert(1)
    feed.committed()
    await asyncio.sleep(0.2)
    changes = await feed.subscribe(WATCH, None)
    await world.insert(2)
    feed.committed()
    assert await numbers(changes, 1) == [2]


async def test_many_that_join_at_the_start_hear_the_same(world: World) -> None:
    feed = OutboxFeed(world.database.fetch, None, lambda *_: None)
    world.feeds.append(feed)
    joining = [asyncio.create_task(feed.subscribe(WATCH, None)) for _ in range(20)]
    await feed.start()
    listeners = await asyncio.gather(*joining)
    assert feed.listeners == 20
    await world.insert(1, 2, 3)
    feed.committed()
    for changes in listeners:
        assert await numbers(changes, 3) == [1, 2, 3]
        assert await silent(changes, 0.01)


async def test_a_slow_start_does_not_go_back(world: World) -> None:
    """The first to ask where the log stands gets its answer late, when others have gone on."""
    answers = iter([0.3])

    async def fetch(statement: Statement) -> Sequence[Mapping[str, Any]]:
        rows = await world.database.fetch(statement)
        if statement.sql == outbox._HEAD_SQL:
            await asyncio.sleep(next(answers, 0))
        return rows

    feed = OutboxFeed(fetch, None, lambda *_: None)
    world.feeds.append(feed)
    joining = asyncio.create_task(feed.subscribe(WATCH, None))
    await asyncio.sleep(0.1)
    await feed.start()
    early = await feed.subscribe(WATCH, None)
    await world.insert(1)
    feed.committed()
    assert await numbers(early, 1) == [1]
    late = await joining
    feed.committed()
    assert await silent(early)
    assert await silent(late, 0.05)


# Conditions.


async def test_a_condition_holds_before_or_after_the_change(world: World) -> None:
    feed = await world.feed()
    small = await feed.subscribe(matching("t.n < $1", 10), None)
    large = await feed.subscribe(matching("t.n > $1", 10), None)
    await world.insert(5, 50)
    for change in ("n = 60 WHERE n = 5", "n = 70 WHERE n = 60"):
        await world.database.fetch(Statement(f"UPDATE {TABLE} SET {change}"))
    await world.database.fetch(Statement(f"DELETE FROM {TABLE} WHERE n = 70"))
    feed.committed()
    assert await numbers(small, 2) == [5, 60]  # created, and when it left
    assert await numbers(large, 4) == [50, 60, 70, 70]
    assert await silent(small)


async def test_a_condition_is_asked_once_for_all_that_have_it(world: World) -> None:
    asked: list[str] = []

    async def fetch(statement: Statement) -> Sequence[Mapping[str, Any]]:
        asked.append(statement.sql)
        return await world.database.fetch(statement)

    feed = await world.feed(fetch=fetch)
    listeners = [await feed.subscribe(matching("t.n = $1", number % 2), None) for number in range(10)]
    await world.insert(1)
    feed.committed()
    assert await numbers(listeners[1], 1) == [1]
    assert await silent(listeners[0])
    assert sum("jsonb_populate_record" in sql for sql in asked) == 2


async def test_a_condition_on_what_is_no_more_ends_the_subscription(world: World) -> None:
    feed = await world.feed()
    gone = await feed.subscribe(matching("t.text = $1", "x"), None)
    stays = await feed.subscribe(matching("t.n = $1", 1), None)
    await world.database.fetch(Statement(f"ALTER TABLE {TABLE} DROP COLUMN text"))
    await world.database.fetch(Statement(f"INSERT INTO {TABLE} VALUES ('{uuid4()}', 1)"))
    feed.committed()
    assert await numbers(stays, 1) == [1]
    for _ in range(2):
        with pytest.raises(Gone, match="speaks of what is no more"):
            await asyncio.wait_for(anext(gone), SOON_S)
    assert feed.listeners == 1


def shown(change: RecordChange) -> tuple[str, Any, Any]:
    before, after = (None if state is None else orjson.loads(state) for state in (change.before, change.after))
    return change.operation, before, after


async def test_a_reader_is_told_what_it_may_see_of_a_record_before_and_after(world: World) -> None:
    """Of a record that comes into sight or leaves it, the other side isn't there for the reader."""
    feed = await world.feed()
    document = "json_build_object('twice', t.n * 2, 'text', CASE WHEN t.n > $2 THEN t.text END)::text"
    watch = replace(WATCH, visible="t.n < $1", document=document, args=(100, 10))
    changes = await feed.subscribe(watch, None)
    wanted = await feed.subscribe(replace(watch, matches="t.n = $3", args=(100, 10, 7)), None)
    whole = await feed.subscribe(replace(watch, document=None, args=(100,)), None)
    await world.insert(200, 5, text="x")
    for change in ("n = 300 WHERE n = 200", "n = 50 WHERE n = 300", "n = 7 WHERE n = 5", "n = 400 WHERE n = 7"):
        await world.database.fetch(Statement(f"UPDATE {TABLE} SET {change}"))
    await world.database.fetch(Statement(f"DELETE FROM {TABLE}"))
    feed.committed()
    five, seven, fifty = {"twice": 10, "text": None}, {"twice": 14, "text": None}, {"twice": 100, "text": "x"}
    told = [("INSERT", None, five), ("UPDATE", None, fifty), ("UPDATE", five, seven), ("UPDATE", seven, None)]
    told.append(("DELETE", fifty, None))
    assert [shown(await asyncio.wait_for(anext(changes), SOON_S)) for _ in told] == told
    assert [shown(await asyncio.wait_for(anext(wanted), SOON_S)) for _ in range(2)] == told[2:4]
    assert await numbers(whole, 5) == [5, 50, 7, 7, 50]
    for told_all in (changes, wanted, whole):
        assert await silent(told_all, 0.05)


async def test_what_a_reader_may_not_see_makes_no_match(world: World) -> None:
    """A condition that holds for the hidden side of a change says nothing of the side that is seen."""
    feed = await world.feed()
    changes = await feed.subscribe(replace(WATCH, visible="t.n < 10", matches="t.n <> 5"), None)
    await world.insert(5)
    await world.database.fetch(Statement(f"UPDATE {TABLE} SET n = 50"))
    await world.database.fetch(Statement(f"UPDATE {TABLE} SET n = 6"))
    feed.committed()
    assert await numbers(changes, 1) == [6]
    assert await silent(changes, 0.05)


async def test_changes_of_others_are_not_told(world: World) -> None:
    feed = await world.feed()
    elsewhere = [
        await feed.subscribe(replace(WATCH, tenant_id=UUID(int=7)), None),
        await feed.subscribe(replace(WATCH, app_id="other"), None),
        await feed.subscribe(replace(WATCH, entity="other"), None),
    ]
    here = await feed.subscribe(WATCH, None)
    await world.insert(1)
    feed.committed()
    assert await numbers(here, 1) == [1]
    assert all([await silent(changes, 0.05) for changes in elsewhere])


# Resuming.


async def test_a_reader_resumes_behind_its_cursor(world: World) -> None:
    await world.insert(*range(250))  # more than are read at once
    cursors = await world.written()
    feed = await world.feed()
    for begin in (0, 99, 100, 248):
        changes = await feed.subscribe(WATCH, cursors[begin])
        assert await numbers(changes, 249 - begin) == list(range(begin + 1, 250))
        assert await silent(changes, 0.05)
    assert await silent(await feed.subscribe(WATCH, cursors[249]), 0.05)


async def test_a_reader_resumes_with_its_condition(world: World) -> None:
    await world.insert(*range(20))
    feed = await world.feed()
    changes = await feed.subscribe(matching("t.n % 5 = 0"), "0-0")
    await world.insert(100, 101)
    feed.committed()
    assert await numbers(changes, 5) == [0, 5, 10, 15, 100]


@pytest.mark.parametrize(
    "cursor",
    ["", "1", "-", "1-", "-1", "1-2-3", "a-b", " 1-1", "1-1\n", "1-1;", "٣-٤", "1.0-1", "-1-1", "9" * 19 + "-1",
     "1-" + "9" * 19, "9" * 40 + "-1", "\x00"],
)  # fmt: skip
async def test_what_is_no_cursor_is_refused(world: World, cursor: str) -> None:
    feed = await world.feed()
    with pytest.raises(Invalid) as refused:
        await feed.subscribe(WATCH, cursor)
    assert refused.value.field == "after"
    assert feed.listeners == 0


async def test_a_cursor_of_another_log_is_gone(world: World) -> None:
    """After a restore from a backup, say: what comes next would be skipped in silence."""
    feed = await world.feed()
    with pytest.raises(Gone):
        await feed.subscribe(WATCH, f"{10**15}-1")


async def prune_to(world: World, cursor: str) -> None:
    """As `domain.outbox.service.prune` does when time has passed."""
    tx, id = cursor.split("-")
    await world.database.fetch(
        Statement("DELETE FROM stoa.outbox WHERE (tx, id) <= ($1::text::xid8, $2)", (tx, int(id)))
    )
    await world.database.fetch(
        Statement("UPDATE stoa.outbox_horizon SET tx = $1::text::xid8, outbox_id = $2", (tx, int(id)))
    )


async def test_a_cursor_the_log_was_pruned_behind_is_gone(world: World) -> None:
    await world.insert(1, 2, 3)
    feed = await world.feed()
    cursors = await world.written()
    await prune_to(world, cursors[1])
    with pytest.raises(Gone):
        await feed.subscribe(WATCH, cursors[0])
    assert await numbers(await feed.subscribe(WATCH, cursors[1]), 1) == [3]


async def test_a_log_that_is_pruned_under_a_reader_does_not_skip(world: World) -> None:
    await world.insert(*range(250))
    feed = await world.feed()
    cursors = await world.written()
    changes = await feed.subscribe(WATCH, cursors[0])
    assert await numbers(changes, 50) == list(range(1, 51))
    await prune_to(world, cursors[220])
    read = await numbers(changes, 50)  # was read before
    assert read == list(range(51, 101))
    with pytest.raises(Gone):
        await asyncio.wait_for(anext(changes), SOON_S)


# Slow readers.


async def test_a_reader_that_falls_behind_is_told_and_resumes_without_loss(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "WAITING_MAX", 20)
    feed = await world.feed()
    slow, quick = await feed.subscribe(WATCH, None), await feed.subscribe(WATCH, None)
    await world.insert(0)
    feed.committed()
    first = await asyncio.wait_for(anext(slow), SOON_S)
    for begin in range(1, 61, 10):
        await world.insert(*range(begin, begin + 10))
        feed.committed()
        assert await numbers(quick, 10 if begin > 1 else 11) == list(range(begin if begin > 1 else 0, begin + 10))
    for _ in range(2):
        with pytest.raises(Gone, match="too slow"):
            await asyncio.wait_for(anext(slow), SOON_S)
    assert feed.listeners == 1
    again = await feed.subscribe(WATCH, first.cursor)
    assert await numbers(again, 60) == list(range(1, 61))


async def test_what_waits_for_a_slow_reader_is_bounded_in_bytes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "WAITING_BYTES_MAX", 100_000)
    feed = await world.feed()
    slow = await feed.subscribe(WATCH, None)
    await world.insert(1, text="x" * 500_000)  # one that is larger than all the room there is comes through
    feed.committed()
    assert await numbers(slow, 1) == [1]
    for n in range(5):
        await world.insert(n, text="x" * 30_000)
    feed.committed()
    await asyncio.sleep(0.3)
    assert feed.listeners == 0
    assert slow._listener.waiting.qsize() == 1  # why it ended; what waited has been let go
    with pytest.raises(Gone, match="too slow"):
        await asyncio.wait_for(anext(slow), SOON_S)


async def test_a_subscription_nobody_holds_is_forgotten(world: World) -> None:
    feed = await world.feed()
    held = await feed.subscribe(WATCH, None)
    dropped = await feed.subscribe(WATCH, None)
    assert feed.listeners == 2
    del dropped
    assert feed.listeners == 1
    await held.aclose()
    assert feed.listeners == 0


# Other processes.


async def heard_after_s(act: Callable[[], Awaitable[None]], changes: Any) -> float:
    loop = asyncio.get_running_loop()
    following = asyncio.ensure_future(anext(changes))
    await act()
    began = loop.time()
    await asyncio.wait_for(following, SOON_S)
    return loop.time() - began


async def test_another_process_hears_at_once_over_valkey(world: World, valkey_url: str) -> None:
    here, there = await world.feed(valkey_url), await world.feed(valkey_url)
    changes = await there.subscribe(WATCH, None)
    await asyncio.sleep(0.3)

    async def write() -> None:
        await world.insert(1)
        here.committed()

    waits = [await heard_after_s(write, changes) for _ in range(3)]
    assert min(waits) < 0.3


@pytest.mark.parametrize("url", [None, "redis://127.0.0.1:1/0"])
async def test_without_valkey_another_process_hears_within_a_second(world: World, url: str | None) -> None:
    here, there = await world.feed(url), await world.feed(url)
    changes = await there.subscribe(WATCH, None)

    async def write() -> None:
        await world.insert(1)
        here.committed()

    assert await heard_after_s(write, changes) < outbox.POLL_S + 0.5


async def test_events_of_the_platform_are_heard_once_by_every_process(world: World) -> None:
    feed = await world.feed()
    await feed.subscribe(WATCH, None)
    sql = "INSERT INTO stoa.outbox (tenant_id, kind, payload) VALUES ($1, 'app.changed', '{\"app_id\": \"x\"}')"
    await world.database.fetch(Statement(sql, (DEFAULT_TENANT,)))
    feed.committed()
    await asyncio.sleep(0.3)
    assert world.heard == [(DEFAULT_TENANT, "app.changed", {"app_id": "x"})]
