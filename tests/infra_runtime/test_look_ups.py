"""Look-ups that are asked for at the same time: how many statements they come to, and whose is whose."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from domain.kernel.unit import LookUp, Statement, StatementRefused
from infra.postgres.database import Database
from infra.postgres.look_ups import KEYS_MAX, RUNS_MAX, LookUps
from tests.harness import Databases
from tests.infra_runtime.watching import Watching

SQL = "SELECT (SELECT t.name FROM public.things t WHERE t.n = k.n{}) AS found FROM unnest($1::int[]) WITH ORDINALITY AS k (n, i) ORDER BY k.i"  # noqa: E501
THING = LookUp(SQL.format(""))


def thing_of(owner: str) -> LookUp:
    return LookUp(SQL.format(" AND t.owner = $2"), (owner,))


@dataclass
class Watched(Watching):
    """Look-ups, and how often each statement was sent."""

    look_ups: LookUps = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.look_ups = LookUps(self.connections, 5)

    async def found(self, look_up: LookUp, *keys: int) -> list[object]:
        asked = (self.look_ups.found(look_up, key) for key in keys)
        return await asyncio.gather(*asked, return_exceptions=True)


@pytest.fixture
async def watched(databases: Databases) -> AsyncIterator[Watched]:
    watched = Watched(databases.new())
    await watched.execute(
        "CREATE TABLE public.things (n int PRIMARY KEY, name text, owner text);"
        "INSERT INTO public.things SELECT n, 'thing ' || n, CASE WHEN n % 2 = 0 THEN 'ann' ELSE 'bo' END "
        "FROM generate_series(1, 100) n"
    )
    yield watched
    await watched.connections.close()


async def test_those_asked_for_at_once_are_one_statement(watched: Watched) -> None:
    assert await watched.found(THING, 3, 1, 3, 999, 2) == ["thing 3", "thing 1", "thing 3", None, "thing 2"]
    assert watched.sent == [THING.sql]


async def test_one_by_one_each_is_its_own(watched: Watched) -> None:
    for n in (1, 2, 3):
        assert await watched.found(THING, n) == [f"thing {n}"]
    assert watched.sent == [THING.sql] * 3


async def test_what_differs_in_more_than_the_key_goes_apart(watched: Watched) -> None:
    """A value of the policy is such a thing: what one person may see is nothing to another."""
    asked = [("ann", 1), ("bo", 1), ("ann", 2), ("bo", 2), ("ann", 3), ("bo", 3)]
    found = await asyncio.gather(*(watched.look_ups.found(thing_of(owner), n) for owner, n in asked))
    assert found == [None, "thing 1", "thing 2", None, None, "thing 3"]
    assert watched.sent == [thing_of("").sql] * 2


async def test_what_is_asked_while_no_connection_is_free_goes_together(watched: Watched) -> None:
    held = [await watched.connections.take(5) for _ in range(2)]
    asked = []
    for n in range(1, 21):
        asked.append(asyncio.create_task(watched.look_ups.found(THING, n)))
        await asyncio.sleep(0.001)
    for connection in held:
        watched.connections.give_back(connection)
    assert await asyncio.gather(*asked) == [f"thing {n}" for n in range(1, 21)]
    assert watched.sent == [THING.sql]


async def test_what_is_asked_while_enough_runs_are_under_way_goes_together(watched: Watched) -> None:
    slow = LookUp(SQL.format(" AND (SELECT 1 FROM pg_sleep(0.2)) = 1"))
    asked = []
    for n in range(1, 21):
        asked.append(asyncio.create_task(watched.look_ups.found(slow, n)))
        await asyncio.sleep(0.005)
    assert await asyncio.gather(*asked) == [f"thing {n}" for n in range(1, 21)]
    assert len(watched.sent) <= 2 * RUNS_MAX
    assert await watched.found(slow, 7) == ["thing 7"]


async def test_a_statement_has_so_many_keys_at_most(watched: Watched) -> None:
    found = await watched.found(THING, *([1] * (KEYS_MAX + 1)))
    assert found == ["thing 1"] * (KEYS_MAX + 1)
    assert watched.sent == [THING.sql] * 2


async def test_who_gives_up_leaves_the_others_as_they_are(watched: Watched) -> None:
    asked = [asyncio.create_task(watched.look_ups.found(THING, n)) for n in (1, 2, 3)]
    await asyncio.sleep(0)
    asked[0].cancel()
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert found[1:] == ["thing 2", "thing 3"]


async def test_a_refusal_is_told_to_all_who_asked_and_to_nobody_else(watched: Watched) -> None:
    wrong = LookUp(SQL.format(" AND t.absent"))
    refused, found = await asyncio.gather(watched.found(wrong, 1, 2), watched.found(THING, 1))
    assert [(type(one), one.sqlstate) for one in refused] == [(StatementRefused, "42703")] * 2  # type: ignore[attr-defined]
    assert refused[0] is not refused[1]
    assert found == ["thing 1"]
    assert await watched.found(THING, 2) == ["thing 2"]


async def test_in_a_transaction_what_it_wrote_is_found_and_by_nobody_else(watched: Watched) -> None:
    database = await Database.open(watched.url, 2)
    async with database.unit(writes=True) as writing, database.unit(writes=False) as reading:
        await writing.fetch(Statement("UPDATE public.things SET name = 'mine' WHERE n = 1"))
        assert await writing.look_up(THING, 1) == "mine"
        assert await reading.look_up(THING, 1) == "thing 1"
    await database.close()
