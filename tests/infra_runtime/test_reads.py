"""Reads that wait for a connection: which of them are run as one, and that none is told what was before it came."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import pytest

from domain.kernel.errors import Unavailable
from domain.kernel.unit import Statement, StatementRefused
from infra.postgres import lanes
from infra.postgres.lanes import Lanes
from infra.postgres.reads import Reads
from tests.harness import Databases
from tests.infra_runtime.watching import Watching

NAMES = "SELECT t.name FROM public.things t WHERE t.owner = $1::text ORDER BY t.n"
ANN, BO = Statement(NAMES, ("ann",)), Statement(NAMES, ("bo",))


@dataclass
class Watched(Watching):
    """Reads over so many connections, and the statements that were sent."""

    reads: Reads = field(init=False)
    held: list["asyncpg.Connection"] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.reads = Reads(Lanes(self.connections, self.connections, 5))

    async def statements(self) -> list[str]:
        """What was sent so far: the driver tells in the loop's next turn."""
        await asyncio.sleep(0.01)
        return self.sent

    async def hold(self) -> None:
        """From now on no connection is free."""
        self.held = [await self.connections.take(5) for _ in range(2)]

    def let_go(self) -> None:
        """They are free again."""
        while self.held:
            self.connections.give_back(self.held.pop())

    async def asking(self, *statements: Statement) -> list["asyncio.Task[list[Any]]"]:
        """Somebody who asks for each, one after the other."""
        asked = []
        for statement in statements:
            asked.append(asyncio.create_task(self.told(statement)))
            await asyncio.sleep(0.001)
        return asked

    async def told(self, statement: Statement) -> list[Any]:
        """The first value of each row."""
        return [next(iter(row.values())) for row in await self.reads.rows(statement)]


@pytest.fixture
async def watched(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watched]:
    monkeypatch.setattr(lanes, "SLOW_S", 60)  # what is slow here is meant to be
    watched = Watched(databases.new())
    await watched.execute(
        "CREATE TABLE public.things (n int PRIMARY KEY, name text, owner text);"
        "INSERT INTO public.things VALUES (1, 'cup', 'ann'), (2, 'saw', 'bo'), (3, 'hat', 'ann')"
    )
    yield watched
    watched.let_go()
    await watched.connections.close()


async def test_while_a_connection_is_free_each_goes_its_own_way(watched: Watched) -> None:
    await watched.hold()
    watched.let_go()
    for _ in range(3):
        assert await watched.told(ANN) == ["cup", "hat"]
    assert await watched.statements() == [NAMES] * 3


async def test_those_who_wait_with_the_same_words_and_values_are_answered_together(watched: Watched) -> None:
    await watched.hold()
    asked = await watched.asking(*[ANN, BO] * 10)
    watched.let_go()
    assert await asyncio.gather(*asked) == [["cup", "hat"], ["saw"]] * 10
    assert await watched.statements() == [NAMES] * 2


async def test_who_comes_later_is_told_what_is_there_by_then(watched: Watched) -> None:
    slow = Statement("SELECT t.name, pg_sleep(0.3) FROM public.things t WHERE t.n = 1")
    await watched.hold()
    first = await watched.asking(slow)
    watched.connections.give_back(watched.held.pop())
    await asyncio.sleep(0.1)  # the statement is under way
    await watched.execute("UPDATE public.things SET name = 'mug' WHERE n = 1")
    later = await watched.asking(slow)
    assert await asyncio.gather(*first, *later) == [["cup"], ["mug"]]
    assert await watched.statements() == [slow.sql] * 2


async def test_equal_values_of_different_types_are_different_things(watched: Watched) -> None:
    sql = "SELECT ($1::text || (SELECT min(t.n) FROM public.things t))"
    spelled = [Statement(sql, (value,)) for value in ("1", "True")]
    typed = [Statement("SELECT (SELECT min(t.n) FROM public.things t) + $1", (value,)) for value in (1, True)]
    await watched.hold()
    asked = await watched.asking(*spelled, *typed)
    watched.let_go()
    assert await asyncio.gather(*asked) == [["11"], ["True1"], [2], [2]]
    assert len(await watched.statements()) == 4


async def test_lists_among_the_values_go_their_own_way(watched: Watched) -> None:
    statement = Statement("SELECT t.name FROM public.things t WHERE t.n = ANY ($1::int[])", ([2],))
    await watched.hold()
    asked = await watched.asking(statement, statement)
    watched.let_go()
    assert await asyncio.gather(*asked) == [["saw"], ["saw"]]
    assert len(await watched.statements()) == 2


async def test_who_gives_up_leaves_the_others_as_they_are(watched: Watched) -> None:
    await watched.hold()
    asked = await watched.asking(ANN, ANN, ANN)
    asked[0].cancel()
    await asyncio.sleep(0.01)
    watched.let_go()
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert found[1:] == [["cup", "hat"]] * 2
    assert await watched.statements() == [NAMES]


async def test_a_refusal_is_told_to_all_who_asked_and_to_nobody_else(watched: Watched) -> None:
    wrong = Statement("SELECT t.absent FROM public.things t")
    await watched.hold()
    asked = await watched.asking(wrong, ANN, wrong)
    watched.let_go()
    first, found, second = await asyncio.gather(*asked, return_exceptions=True)
    assert [(type(one), one.sqlstate) for one in (first, second)] == [(StatementRefused, "42703")] * 2  # type: ignore[union-attr]
    assert first is not second
    assert found == ["cup", "hat"]
    assert await watched.told(ANN) == ["cup", "hat"]


async def test_where_no_connection_comes_free_all_are_told_and_the_next_can_try(watched: Watched) -> None:
    watched.reads = Reads(Lanes(watched.connections, watched.connections, 0.1))
    await watched.hold()
    found = await asyncio.gather(*await watched.asking(ANN, ANN), return_exceptions=True)
    assert [type(one) for one in found] == [Unavailable] * 2
    asked = await watched.asking(ANN)
    watched.let_go()
    assert await asked[0] == ["cup", "hat"]
