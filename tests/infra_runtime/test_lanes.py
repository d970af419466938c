"""Where statements run: planned once, unless their values matter to the plan and it was slow without them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from domain.kernel.errors import TimedOut
from domain.kernel.unit import Statement
from infra.postgres import lanes
from infra.postgres.database import Database
from infra.postgres.lanes import Lanes
from tests.harness import Databases, execute

OLDEST = "SELECT t.n FROM public.things t WHERE t.kind = $1::text ORDER BY t.n LIMIT $2::bigint"
COMMON, RARE = Statement(OLDEST, ("common", 3)), Statement(OLDEST, ("rare", 3))
BY_KEY = Statement("SELECT t.kind, pg_sleep(0.1) FROM public.things t WHERE t.n = $1::int", (7,))


@pytest.fixture
async def url(databases: Databases) -> str:
    """Many common things and a few rare ones, which come last; to pass one by takes a moment."""
    url = databases.new()
    await execute(
        url,
        "CREATE TABLE public.things AS SELECT n, CASE WHEN n > 199990 THEN 'rare' ELSE 'common' END AS kind "
        "FROM generate_series(1, 200000) n; CREATE UNIQUE INDEX things_n ON public.things (n);"
        "CREATE INDEX things_kind ON public.things (kind); ANALYZE public.things;"
        "CREATE FUNCTION public.passed(int) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS "
        "'BEGIN PERFORM pg_sleep(0.00001); RETURN true; END'",
    )
    return url


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    opened = await Database.open(url, 2)
    yield opened
    await opened.close()


async def tried(of: Lanes) -> None:
    """Wait until all that was slow has been tried otherwise."""
    while of._trying:
        await asyncio.gather(*of._trying)


async def found(database: Database, statement: Statement) -> list[Any]:
    async with database.unit(writes=False) as unit:
        return [next(iter(row.values())) for row in await unit.fetch(statement)]


async def planned(database: Database, sql: str) -> tuple[int, int]:
    """How often the connection that is taken first ran a statement by a plan for any values, and by one for its."""
    async with database._lanes.once.lent(5) as connection:
        row = await connection.fetchrow(
            "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement = $1", sql
        )
    assert row is not None
    return row[0], row[1]


async def test_a_statement_is_planned_once(database: Database) -> None:
    for n in range(1, 9):
        await found(database, Statement(OLDEST, ("common", n)))
    assert await planned(database, OLDEST) == (8, 0)


async def test_one_that_is_slow_without_its_values_is_planned_for_them(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = database._lanes
    assert await found(database, COMMON) == [1, 2, 3]
    monkeypatch.setattr(lanes, "SLOW_S", 0)
    assert await found(database, RARE) == [199991, 199992, 199993]
    await tried(of)
    assert of.of(COMMON) is of.of(RARE) is of.usual
    assert await found(database, RARE) == [199991, 199992, 199993]
    assert await found(database, COMMON) == [1, 2, 3]


async def test_one_that_its_values_make_no_quicker_stays_where_it_is(database: Database) -> None:
    of = database._lanes
    assert await found(database, BY_KEY) == ["common"]
    assert len(of._trying) == 1
    await tried(of)
    assert await found(database, BY_KEY) == ["common"]
    assert not of._trying  # it is not tried again so soon
    assert of.of(BY_KEY) is of.once
    assert await planned(database, BY_KEY.sql) == (2, 0)


async def test_what_writes_is_not_done_again(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "SLOW_S", 0)
    gone = Statement("DELETE FROM public.things t WHERE t.kind = $1::text RETURNING t.n", ("rare",))
    assert len(await found(database, gone)) == 10
    await tried(database._lanes)
    assert await found(database, Statement("SELECT count(*) FROM public.things")) == [199_990]


async def test_one_that_is_cut_off_was_slow(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.postgres.database.STATEMENT_TIMEOUT_MS", 300)
    slowly = OLDEST.replace("ORDER BY", "AND public.passed(t.n) ORDER BY")
    database = await Database.open(url, 1)
    try:
        with pytest.raises(TimedOut):
            await found(database, Statement(slowly, ("rare", 3)))
        await tried(database._lanes)
        assert await found(database, Statement(slowly, ("rare", 3))) == [199991, 199992, 199993]
    finally:
        await database.close()


async def test_one_that_fails_when_it_is_tried_stays_where_it_is(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "SLOW_S", 0)
    shown = Statement("SHOW timezone")  # which has no plan
    assert await found(database, shown) == ["UTC"]
    await tried(database._lanes)
    assert database._lanes.of(shown) is database._lanes.once
