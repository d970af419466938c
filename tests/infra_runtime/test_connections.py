"""Connections that are lent in turn: who is served when, and what becomes of those that fail or are broken off."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from infra.postgres import connections
from infra.postgres.connections import Connections
from tests.harness import Databases

Make = Callable[[int], Connections]


@pytest.fixture
def url(databases: Databases) -> str:
    return databases.new()


@pytest.fixture
async def make(url: str) -> AsyncIterator[Callable[..., Connections]]:
    made: list[Connections] = []

    def make(most: int, connect: Callable[[], Awaitable[Any]] | None = None) -> Connections:
        made.append(Connections(connect or (lambda: asyncpg.connect(url)), most))
        return made[-1]

    yield make
    for one in made:
        await asyncio.wait_for(one.close(), 10)


async def ask(pool: Connections, sql: str = "SELECT 1", timeout_s: float = 5) -> Any:
    async with pool.lent(timeout_s) as connection:
        return await connection.fetchval(sql)


async def backends(url: str) -> int:
    """How many connections to the database there are, beside the one that looks."""
    connection = await asyncpg.connect(url)
    try:
        count: int = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return count
    finally:
        await connection.close()


async def settled(url: str, most: int) -> int:
    """How many connections to the database there are, as soon as there are no more than `most`; after 5 s, in all."""
    for _ in range(250):
        if await backends(url) <= most:
            break
        await asyncio.sleep(0.02)
    return await backends(url)


async def test_they_are_lent_in_the_order_they_were_asked_for(make: Make) -> None:
    pool = make(1)
    served: list[int] = []

    async def one(number: int) -> None:
        async with pool.lent(5):
            served.append(number)
            await asyncio.sleep(0)

    await asyncio.gather(*(one(number) for number in range(50)))
    assert served == list(range(50))


async def test_who_comes_when_one_is_given_back_stands_behind_who_waits(make: Make) -> None:
    pool = make(1)
    served: list[str] = []

    async def one(name: str) -> None:
        async with pool.lent(5):
            served.append(name)

    first = await pool.take(5)
    waiting = asyncio.create_task(one("who waited"))
    await asyncio.sleep(0)
    pool.give_back(first)
    late = asyncio.create_task(one("who came late"))
    await asyncio.gather(waiting, late)
    assert served == ["who waited", "who came late"]


async def test_a_burst_at_a_cold_start_is_served_by_the_first_that_is_there(url: str, make: Any) -> None:
    """The others may take as long as they like to open: nobody waits for one in particular."""
    opened, others = 0, asyncio.Event()

    async def connect() -> Any:
        nonlocal opened
        opened += 1
        if opened > 1:
            await others.wait()
        return await asyncpg.connect(url)

    pool = make(10, connect)
    assert await asyncio.gather(*(ask(pool) for _ in range(64))) == [1] * 64
    assert opened == 10
    others.set()


async def test_no_more_are_opened_than_there_may_be(url: str, make: Make) -> None:
    pool = make(3)
    assert await asyncio.gather(*(ask(pool) for _ in range(30))) == [1] * 30
    assert await backends(url) <= 3


async def test_waiting_has_an_end_and_leaves_the_line(make: Make) -> None:
    pool = make(1)
    held = await pool.take(5)
    with pytest.raises(TimeoutError):
        await ask(pool, timeout_s=0.05)
    pool.give_back(held)
    assert await ask(pool) == 1


async def test_who_gives_up_loses_no_connection(make: Make) -> None:
    pool = make(1)
    for turns in range(6):  # given up before, while and after it is their turn
        held = await pool.take(5)
        waiting = asyncio.create_task(ask(pool))
        await asyncio.sleep(0)
        if turns >= 3:
            pool.give_back(held)
        for _ in range(turns % 3):
            await asyncio.sleep(0)
        waiting.cancel()
        if turns < 3:
            pool.give_back(held)
        await asyncio.gather(waiting, return_exceptions=True)
        assert await ask(pool) == 1


async def test_a_query_that_is_broken_off_ends_in_postgresql_and_its_connection_is_replaced(
    url: str, make: Make
) -> None:
    pool = make(2)
    for _ in range(4):  # more than there may be
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ask(pool, "SELECT pg_sleep(60)"), 0.3)
    assert await ask(pool) == 1
    assert await settled(url, 2) <= 2


async def test_what_postgresql_refuses_costs_no_connection(make: Make) -> None:
    pool = make(1)
    pid = await ask(pool, "SELECT pg_backend_pid()")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await ask(pool, "SELECT 1 / 0")
    async with pool.lent(5) as connection:
        with pytest.raises(asyncpg.DataError):
            await connection.fetchval("SELECT $1::int", "no number")
    assert await ask(pool, "SELECT pg_backend_pid()") == pid


async def test_connections_that_were_cut_are_replaced(url: str, make: Make) -> None:
    pool = make(2)
    await asyncio.gather(*(ask(pool, "SELECT pg_sleep(0.01)") for _ in range(4)))
    cutting = await asyncpg.connect(url)
    await cutting.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await cutting.close()
    await asyncio.sleep(0.1)
    assert await asyncio.gather(*(ask(pool) for _ in range(10))) == [1] * 10


async def test_that_none_can_be_opened_is_told_to_everybody_who_waits(make: Any) -> None:
    async def connect() -> Any:
        raise ConnectionRefusedError

    pool = make(2, connect)
    told = await asyncio.gather(*(ask(pool) for _ in range(10)), return_exceptions=True)
    assert [type(one) for one in told] == [ConnectionRefusedError] * 10


async def test_that_no_more_can_be_opened_is_nobodys_trouble_where_one_will_come_back(url: str, make: Any) -> None:
    opened = 0

    async def connect() -> Any:
        nonlocal opened
        opened += 1
        if opened > 1:
            raise asyncpg.TooManyConnectionsError("too many")
        return await asyncpg.connect(url)

    pool = make(5, connect)
    held = await pool.take(5)
    waiting = [asyncio.create_task(ask(pool)) for _ in range(5)]
    await asyncio.sleep(0.05)
    assert not any(one.done() for one in waiting)
    pool.give_back(held)
    assert await asyncio.gather(*waiting) == [1] * 5


async def test_those_that_nobody_needs_are_closed(url: str, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "IDLE_S", 0.2)
    pool = make(3)
    await asyncio.gather(*(ask(pool, "SELECT pg_sleep(0.05)") for _ in range(3)))
    assert await settled(url, 0) == 0
    assert await ask(pool) == 1


async def test_closing_waits_for_those_that_are_lent_and_refuses_who_comes(url: str, make: Make) -> None:
    pool = make(2)
    held = await pool.take(5)
    closing = asyncio.create_task(pool.close())
    await asyncio.sleep(0.05)
    assert not closing.done()
    assert await held.fetchval("SELECT 1") == 1
    pool.give_back(held)
    await asyncio.wait_for(closing, 5)
    assert await backends(url) == 0
    with pytest.raises(asyncpg.InterfaceError):
        await ask(pool)
