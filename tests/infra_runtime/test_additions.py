"""Rows that are added at the same time: how many transactions they come to, and whose refusal is whose."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import orjson
import pytest

from domain.kernel.errors import Unavailable
from domain.kernel.unit import Statement, StatementRefused
from infra.postgres.additions import CHARS_MAX, RUNS_MAX, Additions
from infra.postgres.connections import Connections
from tests.harness import Databases
from tests.infra_runtime.watching import Watching

ADD = """INSERT INTO public.things (name, owner, slow)
SELECT v.name, $1::text, pg_sleep(coalesce(v.nap, 0))::text
FROM ROWS FROM (jsonb_to_recordset($2::jsonb) AS (name text, nap float8)) WITH ORDINALITY AS v (name, nap, n)
ORDER BY v.n
RETURNING name || ' of ' || owner AS doc"""


def thing(name: str, owner: object = "ann", **more: Any) -> Statement:
    return Statement(ADD, (owner, orjson.dumps([{"name": name, **more}]).decode()), adds=1)


@dataclass
class Watched(Watching):
    """Additions over two connections, and how many rows each of their statements had."""

    calling_off: Connections = field(init=False)
    additions: Additions = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.calling_off = Connections(self.connect, 1)
        self.additions = Additions(self.connections, 5, self.calling_off)

    def noted(self, logged: Any) -> int:
        return len(orjson.loads(logged.args[1]))

    async def told(self, *statements: Statement) -> list[Any]:
        """What each is told that is handed in at the same time: of its row, or why there is none."""
        found = await asyncio.gather(*map(self.additions.rows, statements), return_exceptions=True)
        await asyncio.sleep(0.01)  # the driver tells what it sent in the loop's next turn
        return [one if isinstance(one, BaseException) else [row["doc"] for row in one] for one in found]

    async def stored(self) -> list[str]:
        connection = await asyncpg.connect(self.url)
        rows = await connection.fetch("SELECT name FROM public.things ORDER BY name")
        await connection.close()
        return [row["name"] for row in rows]


@pytest.fixture
async def watched(databases: Databases) -> AsyncIterator[Watched]:
    watched = Watched(databases.new())
    await watched.execute(
        "CREATE TABLE public.things (name text PRIMARY KEY CHECK (name <> ''), owner text, slow text)"
    )
    yield watched
    await watched.connections.close()
    await watched.calling_off.close()


async def test_one_by_one_each_is_its_own_transaction(watched: Watched) -> None:
    for name in ("a", "b", "c"):
        assert await watched.told(thing(name)) == [[f"{name} of ann"]]
    assert watched.sent == [1, 1, 1]


async def test_what_is_handed_in_at_once_is_added_together_and_each_is_told_of_its_own(watched: Watched) -> None:
    names = [f"{n:03}" for n in range(250)]
    assert await watched.told(*map(thing, names)) == [[f"{name} of ann"] for name in names]
    assert watched.sent == [100, 100, 50]
    assert await watched.stored() == names


async def test_so_much_is_added_together_at_most(watched: Watched) -> None:
    names = [letter * 400_000 for letter in "abcde"]
    told = await watched.told(*(thing(name[0], long=name) for name in names))
    assert told == [[f"{name[0]} of ann"] for name in names]
    assert watched.sent == [2, 2, 1]
    assert await watched.told(thing("f", long="f" * CHARS_MAX)) == [["f of ann"]]


async def test_what_differs_in_more_than_the_row_goes_apart(watched: Watched) -> None:
    """Who it is that adds is such a thing."""
    told = await watched.told(thing("a"), thing("b", "bo"), thing("c"), thing("d", "bo"))
    assert told == [["a of ann"], ["b of bo"], ["c of ann"], ["d of bo"]]
    assert watched.sent == [2, 2]


async def test_who_is_refused_is_refused_alone(watched: Watched) -> None:
    assert await watched.told(thing("b")) == [["b of ann"]]
    watched.sent.clear()
    first, second, third, fourth, fifth = await watched.told(*map(thing, ("a", "b", "c", "", "c")))
    assert first == ["a of ann"]
    assert [one.sqlstate for one in (second, fourth)] == ["23505", "23514"]
    assert sorted([third == ["c of ann"], fifth == ["c of ann"]]) == [False, True]
    assert {type(one) for one in (third, fifth)} == {list, StatementRefused}
    assert sorted(watched.sent) == [1, 1, 1, 1, 1, 5]
    assert await watched.stored() == ["a", "b", "c"]


async def test_who_gives_up_before_it_is_sent_adds_nothing(watched: Watched) -> None:
    held = [await watched.connections.take(5) for _ in range(2)]
    handed = [asyncio.create_task(watched.additions.rows(thing(name))) for name in ("a", "b", "c")]
    await asyncio.sleep(0.01)
    handed[1].cancel()
    await asyncio.sleep(0)
    for connection in held:
        watched.connections.give_back(connection)
    found = await asyncio.gather(*handed, return_exceptions=True)
    assert isinstance(found[1], asyncio.CancelledError)
    assert await watched.stored() == ["a", "c"]


async def test_who_gives_up_while_it_is_under_way_adds_nothing_and_the_others_do(watched: Watched) -> None:
    names = {"a": 0.0, "b": 1.0, "c": 0.0}
    handed = [asyncio.create_task(watched.additions.rows(thing(name, nap=nap))) for name, nap in names.items()]
    await asyncio.sleep(0.3)
    handed[1].cancel()
    found = await asyncio.wait_for(asyncio.gather(*handed, return_exceptions=True), 0.6)
    assert isinstance(found[1], asyncio.CancelledError)
    assert [[row["doc"] for row in one] for one in (found[0], found[2])] == [["a of ann"], ["c of ann"]]
    await asyncio.sleep(1)
    assert await watched.stored() == ["a", "c"]
    assert sorted(watched.sent) == [1, 1, 3]
    alone = asyncio.create_task(watched.additions.rows(thing("d", nap=0.5)))
    await asyncio.sleep(0.2)
    alone.cancel()
    await asyncio.sleep(0.6)
    assert await watched.stored() == ["a", "c"]
    assert await watched.told(thing("e")) == [["e of ann"]]


async def test_one_that_waits_for_long_holds_up_those_beside_it_and_no_others(watched: Watched) -> None:
    slow = [asyncio.create_task(watched.told(thing(f"slow {n}", nap=0.6))) for n in range(1)]
    await asyncio.sleep(0.2)
    assert await asyncio.wait_for(watched.told(thing("quick")), 0.3) == [["quick of ann"]]
    assert not slow[0].done()
    assert await slow[0] == [["slow 0 of ann"]]
    assert RUNS_MAX == 2


async def test_where_nobody_knows_what_became_of_it_nothing_is_tried_again(watched: Watched) -> None:
    handed = [asyncio.create_task(watched.additions.rows(thing(name, nap=0.5))) for name in ("a", "b")]
    await asyncio.sleep(0.2)
    await watched.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'INSERT INTO public.things%'"
    )
    found = await asyncio.gather(*handed, return_exceptions=True)
    assert [type(one) for one in found] == [Unavailable] * 2
    assert await watched.stored() == []


async def test_where_no_connection_comes_free_all_are_told(watched: Watched) -> None:
    watched.additions = Additions(watched.connections, 0.1, watched.calling_off)
    held = [await watched.connections.take(5) for _ in range(2)]
    found = await watched.told(thing("a"), thing("b"))
    assert [type(one) for one in found] == [Unavailable] * 2
    for connection in held:
        watched.connections.give_back(connection)
    assert await watched.told(thing("a")) == [["a of ann"]]
    assert await watched.stored() == ["a"]
