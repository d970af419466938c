"""Units of work on a real pool, and the words for what goes wrong."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from asyncpg.exceptions import InternalClientError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from domain.kernel.errors import TimedOut, Unavailable
from domain.kernel.unit import Statement, StatementRefused
from infra.postgres import database
from infra.postgres.database import Database
from infra.postgres.faults import is_lost, translated
from tests.harness import Databases


@pytest.fixture
async def opened(databases: Databases) -> AsyncIterator[Database]:
    opened = await Database.open(databases.new(), 2)
    await opened.fetch(Statement("CREATE TABLE public.things (n int PRIMARY KEY)"))
    yield opened
    await opened.close()


INSERT = "INSERT INTO public.things VALUES ({})"


async def count(opened: Database) -> int:
    return (await opened.fetch(Statement("SELECT count(*) AS n FROM public.things")))[0]["n"]


async def test_a_unit_that_is_not_committed_is_undone(opened: Database) -> None:
    async with opened.unit(writes=True) as unit:
        await unit.fetch(Statement(INSERT.format(1)))
        await unit.run(lambda session: session.execute(text(INSERT.format(2))))
        assert len(await unit.fetch(Statement("SELECT * FROM public.things"))) == 2  # both in one transaction
        assert await count(opened) == 0
    assert await count(opened) == 0


async def test_a_unit_that_is_committed_stays(opened: Database) -> None:
    async with opened.unit(writes=True) as unit:
        await unit.fetch(Statement(INSERT.format(1)))
        await unit.run(lambda session: session.execute(text(INSERT.format(2))))
        await unit.commit()
    assert await count(opened) == 2


async def test_a_unit_whose_block_fails_is_undone(opened: Database) -> None:
    async def fail() -> None:
        async with opened.unit(writes=True) as unit:
            await unit.fetch(Statement(INSERT.format(1)))
            raise KeyError

    with pytest.raises(KeyError):
        await fail()
    assert await count(opened) == 0


async def test_a_unit_that_is_cancelled_in_the_middle_gives_its_connection_back(opened: Database) -> None:
    async def hang() -> None:
        async with opened.unit(writes=True) as unit:
            await unit.fetch(Statement(INSERT.format(1)))
            await unit.run(lambda session: session.execute(text("SELECT pg_sleep(5)")))

    for _ in range(4):  # more than there are connections
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(hang(), 0.2)
    assert await count(opened) == 0
    async with opened.unit(writes=True) as unit:
        await unit.fetch(Statement(INSERT.format(1)))
        await unit.commit()
    assert await count(opened) == 1


async def test_a_reading_unit_holds_no_connection_between_two_reads(opened: Database) -> None:
    units = [opened.unit(writes=False) for _ in range(10)]  # with two connections
    entered = [await unit.__aenter__() for unit in units]
    for unit in entered:
        assert (await unit.run(lambda session: session.execute(text("SELECT 1")))).scalar() == 1
        assert (await unit.fetch(Statement("SELECT 1 AS one")))[0]["one"] == 1
    for unit in units:
        await unit.__aexit__(None, None, None)


async def test_a_statement_that_is_refused_says_why_and_spoils_nothing_else(opened: Database) -> None:
    await opened.fetch(Statement(INSERT.format(1)))
    with pytest.raises(StatementRefused) as refused:
        await opened.fetch(Statement(INSERT.format(1)))
    assert (refused.value.sqlstate, refused.value.table) == ("23505", "things")
    assert refused.value.constraint == "things_pkey"
    assert await count(opened) == 1


async def test_connections_that_were_cut_are_replaced(opened: Database, databases: Databases) -> None:
    cut = Statement("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'stoa' "
                    "AND datname = current_database() AND pid <> pg_backend_pid()")  # fmt: skip
    for _ in range(3):
        async with opened.unit(writes=True) as unit:
            await unit.fetch(Statement("SELECT 1"))
            await opened.fetch(cut)
            with pytest.raises(Unavailable):
                await unit.fetch(Statement("SELECT 1"))
        async with opened.unit(writes=True) as unit:
            assert (await unit.fetch(Statement("SELECT 1 AS one")))[0]["one"] == 1


async def test_a_database_that_is_not_there_is_unavailable() -> None:
    absent = await Database.open("postgresql://stoa@127.0.0.1:1/stoa", 2)
    with pytest.raises(Unavailable) as refused:
        await absent.fetch(Statement("SELECT 1"))
    assert refused.value.retry_after_s == 1
    async with absent.unit(writes=True) as unit:
        with pytest.raises(Unavailable):
            await unit.fetch(Statement("SELECT 1"))
    await absent.close()


def of_state(state: str) -> asyncpg.PostgresError:
    error = asyncpg.PostgresError("text that nobody shall see")
    error.sqlstate = state
    return error


@pytest.mark.parametrize(
    "state",
    ["08006", "08003", "53300", "53100", "57P01", "57P03", "58030", "25P03", "40001", "40P01", "55P03", "XX000"],
)
def test_what_passes_is_unavailable(state: str) -> None:
    assert isinstance(translated(of_state(state)), Unavailable)
    assert isinstance(translated(DBAPIError("", {}, of_state(state))), Unavailable)


def test_a_cancelled_statement_is_a_timeout() -> None:
    assert isinstance(translated(of_state("57014")), TimedOut)


@pytest.mark.parametrize("state", ["23505", "42703", "22P02", "42501"])
def test_what_the_statement_did_wrong_is_its_own(state: str) -> None:
    refused = translated(of_state(state))
    assert isinstance(refused, StatementRefused)
    assert refused.sqlstate == state
    assert not is_lost(of_state(state))


@pytest.mark.parametrize(
    "lost",
    [InternalClientError("got result for unknown protocol state 0"), asyncpg.InterfaceError("connection is closed"),
     ConnectionRefusedError(), ConnectionResetError(), OSError(), TimeoutError(), PoolTimeout()],
)  # fmt: skip
def test_a_connection_that_dies_under_a_call_is_a_lost_one(lost: Exception) -> None:
    """asyncpg has an exception for it that is no InterfaceError; a pool that does not know hands it out again."""
    assert isinstance(translated(lost), Unavailable)
    assert is_lost(lost)
    assert is_lost(DBAPIError("", {}, lost))


def test_a_bug_stays_one() -> None:
    bug = KeyError("x")
    assert translated(bug) is bug
    assert not is_lost(bug)


def test_waiting_for_a_connection_is_bounded() -> None:
    assert database.ACQUIRE_TIMEOUT_S <= 2


# Units that may come to one statement.

RETURNING = f"{INSERT} RETURNING n"


async def test_the_statement_that_concludes_a_unit_needs_no_commit(opened: Database) -> None:
    async with opened.unit(writes=True, single=True) as unit:
        assert [row["n"] for row in await unit.conclude(Statement(RETURNING.format(1)))] == [1]
        assert await count(opened) == 1
        await unit.commit()
    assert await count(opened) == 1


async def test_nothing_follows_what_concluded_a_unit(opened: Database) -> None:
    async with opened.unit(writes=True, single=True) as unit:
        await unit.conclude(Statement(RETURNING.format(1)))
        for more in (unit.fetch, unit.conclude):
            with pytest.raises(RuntimeError):
                await more(Statement(RETURNING.format(2)))
        with pytest.raises(RuntimeError):
            await unit.run(lambda session: session.execute(text(INSERT.format(2))))
        with pytest.raises(RuntimeError):
            await unit.copy("things", ["n"], [(2,)])
    assert await count(opened) == 1


async def test_a_unit_goes_on_behind_a_statement_that_changed_nothing(opened: Database) -> None:
    async with opened.unit(writes=True, single=True) as unit:
        assert await unit.conclude(Statement("DELETE FROM public.things WHERE n = 7 RETURNING n")) == []
        await unit.fetch(Statement(INSERT.format(1)))
        assert await count(opened) == 0  # it is a transaction again
        await unit.commit()
    assert await count(opened) == 1


async def test_what_concludes_a_unit_that_has_begun_is_part_of_its_transaction(opened: Database) -> None:
    async with opened.unit(writes=True, single=True) as unit:
        await unit.fetch(Statement(INSERT.format(1)))
        await unit.conclude(Statement(RETURNING.format(2)))
        assert await count(opened) == 0
    assert await count(opened) == 0


async def test_what_concludes_a_unit_of_several_parts_is_part_of_its_transaction(opened: Database) -> None:
    async with opened.unit(writes=True) as unit:
        await unit.conclude(Statement(RETURNING.format(1)))
        assert await count(opened) == 0
        await unit.fetch(Statement(INSERT.format(2)))
    assert await count(opened) == 0


async def test_a_concluding_statement_that_is_refused_leaves_nothing(opened: Database) -> None:
    await opened.fetch(Statement(INSERT.format(1)))
    async with opened.unit(writes=True, single=True) as unit:
        with pytest.raises(StatementRefused):
            await unit.conclude(Statement("INSERT INTO public.things VALUES (2), (1) RETURNING n"))
    assert await count(opened) == 1


async def test_a_statement_that_is_fetched_anew_is_planned_each_time(opened: Database) -> None:
    asked = Statement("SELECT n FROM public.things WHERE n > $1 ORDER BY n", (0,))
    for _ in range(10):  # a plan is kept from the sixth time on
        await opened.fetch_anew(asked)
        await opened.fetch(asked)
    planned = Statement(
        "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement = $1", (asked.sql,)
    )
    assert [tuple(row.values()) for row in await opened.fetch_anew(planned)] == [(0, 10)]
    assert [tuple(row.values()) for row in await opened.fetch(planned)] == [(5, 5)]
