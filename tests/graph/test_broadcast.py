"""One execution for all who follow the same: each reader is told everything once and in order, or that it isn't."""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest

from domain.kernel.errors import Gone, Invalid
from graph import broadcast
from graph.answer import Answer
from graph.broadcast import Broadcasts, Place, Reader, Wanted


class Numbers:
    """A series of numbers, as far as they have been counted; a reader may begin behind any of them."""

    key = "numbers"

    def __init__(self) -> None:
        self.counted = 0
        self.opened = 0
        self.problem: Exception | None = None
        self._more = asyncio.Event()

    def count(self) -> None:
        self.counted += 1
        self._more.set()

    def fail(self, problem: Exception) -> None:
        self.problem = problem
        self._more.set()

    async def open(self) -> None:
        await asyncio.sleep(0)
        self.opened += 1
        self._told = self.counted

    async def answers(self) -> AsyncGenerator[tuple[Place, Answer], None]:
        while True:
            while self._told < self.counted:
                await asyncio.sleep(0)
                self._told += 1
                yield (self._told, 0), Answer({"n": self._told})
            if self.problem is not None:
                raise self.problem
            await self._more.wait()
            self._more.clear()

    async def before(self, after: str | None) -> tuple[Place, AsyncIterator[Answer]]:
        if after is not None and not after.isdigit():
            raise Invalid("after", "not a number")
        now = self.counted
        begin = now if after is None else int(after)
        return (max(begin, now), 0), self._missed(begin, now)

    async def _missed(self, begin: int, now: int) -> AsyncGenerator[Answer, None]:
        for number in range(begin + 1, now + 1):
            await asyncio.sleep(0)
            yield Answer({"n": number})


def number(answer: Answer) -> int:
    assert answer.data is not None
    n: int = answer.data["n"]
    return n


async def take(reader: Any, count: int) -> list[int]:
    async with asyncio.timeout(5):
        return [number(await anext(reader)) for _ in range(count)]


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize("seed", range(5))
async def test_readers_that_come_and_go_are_told_each_number_once_in_order(seed: int) -> None:
    dice, numbers, running = random.Random(seed), Numbers(), Broadcasts()
    told: list[list[int]] = []

    async def read() -> None:
        """Read a little, leave, and go on behind the last one."""
        mine: list[int] = []
        told.append(mine)
        reader = await running.join(Wanted(numbers, "0"))
        try:
            while len(mine) < 300:
                mine.append(number(await anext(reader)))
                if dice.random() < 0.05:
                    await reader.aclose()
                    await asyncio.sleep(dice.choice([0, 0.001]))
                    reader = await running.join(Wanted(numbers, str(mine[-1])))
        finally:
            await reader.aclose()

    async def count() -> None:
        for _ in range(300):
            numbers.count()
            if dice.random() < 0.5:
                await asyncio.sleep(0)

    async with asyncio.timeout(20):
        await asyncio.gather(count(), *(read() for _ in range(12)))
    assert told == [[*range(1, 301)]] * 12
    assert running._running == {}


async def test_all_that_follow_the_same_are_handed_the_same_answer() -> None:
    numbers, running = Numbers(), Broadcasts()
    readers = await asyncio.gather(*(running.join(Wanted(numbers)) for _ in range(10)))
    numbers.count()
    answers = [await anext(reader) for reader in readers]
    assert len({id(answer) for answer in answers}) == 1
    assert numbers.opened == 1
    assert len({id(answer.event) for answer in answers}) == 1
    for reader in readers:
        await reader.aclose()
    assert running._running == {}


async def test_who_joins_is_not_told_what_was_before() -> None:
    numbers, running = Numbers(), Broadcasts()
    early = await running.join(Wanted(numbers))
    numbers.count()  # told to nobody yet
    late = await running.join(Wanted(numbers))
    numbers.count()
    assert await take(early, 2) == [1, 2]
    assert await take(late, 1) == [2]


@pytest.mark.parametrize(("name", "most"), [("WAITING_MAX", 20), ("WAITING_BYTES_MAX", 160)])
async def test_who_does_not_keep_up_is_told_and_holds_nothing(
    monkeypatch: pytest.MonkeyPatch, name: str, most: int
) -> None:
    monkeypatch.setattr(broadcast, name, most)
    numbers, running = Numbers(), Broadcasts()
    slow, quick = await running.join(Wanted(numbers)), await running.join(Wanted(numbers))
    for counted in range(1, 101):
        numbers.count()
        assert await take(quick, 1) == [counted]
        assert len(slow._waiting) <= 22
    assert slow._waiting == broadcast.deque()
    for _ in range(2):
        with pytest.raises(Gone, match="too slow"):
            await anext(slow)
    await slow.aclose()
    numbers.count()
    assert await take(quick, 1) == [101]
    again = await running.join(Wanted(numbers, "7"))
    assert await take(again, 94) == [*range(8, 102)]


async def test_one_answer_that_is_larger_than_the_room_there_is_comes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcast, "WAITING_BYTES_MAX", 1)
    numbers, running = Numbers(), Broadcasts()
    reader = await running.join(Wanted(numbers))
    numbers.count()
    assert await take(reader, 1) == [1]


async def test_a_series_that_fails_fails_for_all_and_begins_anew_for_the_next() -> None:
    numbers, running = Numbers(), Broadcasts()
    readers = [await running.join(Wanted(numbers)) for _ in range(3)]
    numbers.fail(Gone("pruned"))
    for reader in readers:
        with pytest.raises(Gone, match="pruned"):
            await asyncio.wait_for(anext(reader), 5)
    numbers.problem = None
    reader = await running.join(Wanted(numbers))
    numbers.count()
    assert await take(reader, 1) == [1]
    assert numbers.opened == 2


async def test_what_cannot_be_opened_is_refused_to_all_who_wait() -> None:
    class Closed(Numbers):
        async def open(self) -> None:
            await asyncio.sleep(0)
            raise Gone("closed")

    running = Broadcasts()
    joining = [running.join(Wanted(Closed())) for _ in range(3)]
    assert [type(one) for one in await asyncio.gather(*joining, return_exceptions=True)] == [Gone] * 3
    assert running._running == {}


async def test_who_is_refused_leaves_nothing_behind() -> None:
    numbers, running = Numbers(), Broadcasts()
    with pytest.raises(Invalid):
        await running.join(Wanted(numbers, "x"))
    assert running._running == {}


async def test_a_reader_that_is_ended_while_it_waits_is_told_why() -> None:
    numbers, running = Numbers(), Broadcasts()
    reader = await running.join(Wanted(numbers))
    waiting = asyncio.ensure_future(anext(reader))
    await settle()
    reader.end(Invalid("x", "over"))
    with pytest.raises(Invalid, match="over"):
        await asyncio.wait_for(waiting, 5)


async def test_a_source_of_its_own_is_ended_while_it_is_waited_for() -> None:
    closed = []

    async def silence() -> AsyncGenerator[Answer, None]:
        try:
            yield Answer({"n": 1})
            await asyncio.Event().wait()
        finally:
            closed.append(True)

    for problem, raised in ((Gone("over"), Gone), (None, StopAsyncIteration)):
        reader = broadcast.Alone(silence())
        assert await take(reader, 1) == [1]
        waiting = asyncio.ensure_future(anext(reader))
        await settle()
        reader.end(problem)
        with pytest.raises(raised):
            await asyncio.wait_for(waiting, 5)
        await reader.aclose()
    assert closed == [True, True]


async def test_a_task_that_is_cancelled_is_cancelled() -> None:
    async def silence() -> AsyncGenerator[Answer, None]:
        await asyncio.Event().wait()
        yield Answer(None)

    numbers, running = Numbers(), Broadcasts()
    reader: Reader = await running.join(Wanted(numbers))
    for one in (reader, broadcast.Alone(silence())):
        waiting = asyncio.ensure_future(anext(one))  # type: ignore[arg-type]
        await settle()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
