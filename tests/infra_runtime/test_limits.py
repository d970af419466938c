"""Limits: what is counted where, and what becomes of the count when Valkey goes."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import redis.asyncio as redis

from domain.kernel.errors import Limited
from domain.kernel.limits import Allowance
from infra.limits import CountedLimits

THREE = Allowance("three", 3, 60)


@pytest_asyncio.fixture
async def limits(valkey_url: str) -> AsyncIterator[CountedLimits]:
    made = CountedLimits(b"a secret", valkey_url)
    yield made
    await made.close()


async def taken(limits: CountedLimits, allowance: Allowance, key: str) -> bool:
    """Whether a use was allowed."""
    try:
        await limits.take(allowance, key)
    except Limited:
        return False
    return True


async def test_as_many_as_allowed_and_no_more(limits: CountedLimits) -> None:
    assert [await taken(limits, THREE, "plain") for _ in range(5)] == [True, True, True, False, False]
    assert await taken(limits, THREE, "another key")
    assert await taken(limits, Allowance("other", 3, 60), "plain")


async def test_at_once_there_are_no_more_either(limits: CountedLimits) -> None:
    allowed = await asyncio.gather(*(taken(limits, THREE, "at once") for _ in range(50)))
    assert sum(allowed) == 3


async def test_what_is_given_back_was_never_used(limits: CountedLimits) -> None:
    uses = [await limits.take(THREE, "given back") for _ in range(3)]
    await uses[1].give_back()
    assert [await taken(limits, THREE, "given back") for _ in range(2)] == [True, False]


async def test_uses_grow_old_one_by_one(limits: CountedLimits) -> None:
    short = Allowance("short", 2, 0.4)
    assert await taken(limits, short, "old")
    await asyncio.sleep(0.25)
    assert await taken(limits, short, "old")
    assert not await taken(limits, short, "old")
    await asyncio.sleep(0.25)  # the first is old now, the second is not
    assert [await taken(limits, short, "old"), await taken(limits, short, "old")] == [True, False]


async def test_it_says_when_to_come_again(limits: CountedLimits) -> None:
    for _ in range(3):
        await limits.take(THREE, "again")
    with pytest.raises(Limited) as limited:
        await limits.take(THREE, "again")
    assert limited.value.retry_after_s is not None
    assert 58 < limited.value.retry_after_s <= 60


async def test_processes_count_together(valkey_url: str) -> None:
    several = [CountedLimits(b"a secret", valkey_url) for _ in range(3)]
    assert [await taken(process, THREE, "together") for process in (*several, *several)] == [True] * 3 + [False] * 3
    await several[0].remember("me", 60)
    assert [await process.remembers("me") for process in several] == [True] * 3
    assert not await several[0].remembers("you")
    stranger = CountedLimits(b"another installation's", valkey_url)
    assert await taken(stranger, THREE, "together")
    assert not await stranger.remembers("me")
    for process in (*several, stranger):
        await process.close()


async def test_no_key_can_be_read_in_valkey_and_all_of_them_go(limits: CountedLimits, valkey_url: str) -> None:
    await limits.take(THREE, "ann@example.com")
    await limits.remember("ann@example.com", 60)
    async with redis.Redis.from_url(valkey_url) as valkey:
        names = [name async for name in valkey.scan_iter("stoa:limits:*")]
        assert names
        assert not [name for name in names if b"ann" in name]
        assert min([await valkey.pttl(name) for name in names]) > 0


async def test_without_valkey_the_process_counts() -> None:
    limits = CountedLimits(b"a secret", None)
    assert [await taken(limits, THREE, "alone") for _ in range(4)] == [True, True, True, False]
    await limits.remember("me", 60)
    assert [await limits.remembers("me"), await limits.remembers("you")] == [True, False]


async def test_a_valkey_that_is_away_or_silent_costs_a_moment_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and never says a word
        limits = CountedLimits(b"a secret", f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        started = asyncio.get_running_loop().time()
        assert [await taken(limits, THREE, "silent") for _ in range(4)] == [True, True, True, False]
        assert asyncio.get_running_loop().time() - started < 1
        await limits.close()


async def test_turns_are_taken_one_after_the_other(limits: CountedLimits) -> None:
    inside: list[int] = []
    most = 0

    async def go(key: str) -> None:
        nonlocal most
        async with limits.turn(key):
            inside.append(1)
            most = max(most, len(inside))
            await asyncio.sleep(0.001)
            inside.pop()

    await asyncio.gather(*(go("one") for _ in range(10)))
    assert most == 1
    await asyncio.gather(*(go(str(number)) for number in range(10)))
    assert most > 1
