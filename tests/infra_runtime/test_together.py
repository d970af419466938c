"""Reads that are run as one tell each who asks what it would be told alone."""

import asyncio
import datetime
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import pytest

from domain.kernel.errors import TimedOut, Unavailable
from domain.kernel.unit import Statement, StatementRefused
from infra.postgres.database import Database
from infra.postgres.together import AT_ONCE, Together, as_one
from tests.harness import Databases

NAMES = (
    "SELECT t.name FROM public.things t WHERE t.owner = $1::text AND t.n > $2::double precision ORDER BY t.name DESC"
)


@dataclass
class Counted:
    """A database, reads of it that are run together, and the statements that were sent."""

    database: Database
    sent: list[Statement] = field(default_factory=list)
    together: Together = field(init=False)

    def __post_init__(self) -> None:
        self.together = Together(self.fetch)

    async def fetch(self, statement: Statement) -> Sequence[Any]:
        self.sent.append(statement)
        return await self.database.fetch(statement)

    async def told(self, sql: str, *values: Sequence[object]) -> list[Any]:
        """What those who ask at once, each with some values, are told: the rows' first own values, or what is wrong."""
        asked = [self.together.rows(Statement(sql, tuple(one))) for one in values]
        found = await asyncio.gather(*asked, return_exceptions=True)
        return [one if isinstance(one, BaseException) else [_first(row) for row in one] for one in found]


def _first(row: Any) -> object:
    return next(value for name, value in row.items() if not name.startswith("asked "))


@pytest.fixture
async def things(databases: Databases) -> AsyncIterator[Counted]:
    url = databases.new()
    connection = await asyncpg.connect(url)
    await connection.execute(
        "CREATE TABLE public.things (n int PRIMARY KEY, name text, owner text, made date);"
        "INSERT INTO public.things SELECT n, chr(96 + n), (ARRAY['ann', 'bo', '$1::text'])[n % 3 + 1],"
        "date '2025-01-01' + n FROM generate_series(1, 9) n"
    )
    await connection.close()
    database = await Database.open(url, 2)
    yield Counted(database)
    await database.close()


async def test_each_is_told_what_it_would_be_told_alone(things: Counted) -> None:
    values = [("ann", 0.0), ("bo", 4.5), ("ann", 9.0), ("nobody", 0.0), ("$1::text", 0.0)]
    alone = [await things.told(NAMES, one) for one in values]
    assert alone == [[["i", "f", "c"]], [["g"]], [[]], [[]], [["h", "e", "b"]]]
    things.sent.clear()
    assert await things.told(NAMES, *values) == [one for (one,) in alone]
    assert len(things.sent) == 1


async def test_what_is_the_same_for_all_stays_one_value_be_it_a_list(things: Counted) -> None:
    sql = "SELECT t.name FROM public.things t WHERE t.n = ANY ($1::int[]) AND t.owner = $2::text ORDER BY t.n"
    assert await things.told(sql, ([1, 2, 3, 6], "ann"), ([1, 2, 3, 6], "bo")) == [["c", "f"], ["a"]]
    assert [statement.args for statement in things.sent] == [([1, 2, 3, 6], ["ann", "bo"])]
    things.sent.clear()
    assert await things.told(sql, ([3], "ann"), ([6], "ann")) == [["c"], ["f"]]
    assert len(things.sent) == 2  # a list is no element of a list


async def test_values_of_every_kind_may_differ(things: Counted) -> None:
    days = [datetime.date(2025, 1, day) for day in (2, 9)]
    assert await things.told("SELECT t.name FROM public.things t WHERE t.made = $1::date", *zip(days)) == [["a"], ["h"]]
    assert await things.told("SELECT $1::timestamp with time zone IS NULL, $2::text", (None, "a"), (None, "b")) == [
        [True],
        [True],
    ]
    assert await things.told("SELECT coalesce($1::text, 'none')", ("a",), (None,)) == [["a"], ["none"]]
    assert len(things.sent) == 3


async def test_different_words_and_those_who_ask_the_same_in_every_value_go_apart(things: Counted) -> None:
    one, other = "SELECT $1::text || 'x'", "SELECT $1::text || 'y'"
    assert await asyncio.gather(things.told(one, ("a",), ("b",)), things.told(other, ("a",))) == [
        [["ax"], ["bx"]],
        [["ay"]],
    ]
    assert len(things.sent) == 2
    assert await things.told(one, ("a",), ("a",)) == [["ax"], ["ax"]]


async def test_so_many_are_run_as_one_at_most(things: Counted) -> None:
    numbers = [(str(n),) for n in range(2 * AT_ONCE + 1)]
    assert await things.told("SELECT $1::text", *numbers) == [[number] for (number,) in numbers]
    assert [len(statement.args[0]) for statement in things.sent[:2]] == [AT_ONCE, AT_ONCE]  # type: ignore[arg-type]
    assert things.sent[2].args == (str(2 * AT_ONCE),)


async def test_who_asks_for_what_is_refused_is_the_only_one_who_is(things: Counted) -> None:
    good, bad, other = await things.told("SELECT 12 / $1::integer", (2,), (0,), (3,))
    assert (good, other) == ([6], [4])
    assert isinstance(bad, StatementRefused)
    assert bad.sqlstate == "22012"
    assert len(things.sent) == 4


async def test_what_takes_too_long_together_may_not_alone(things: Counted) -> None:
    fetch = things.together._fetch

    async def hurried(statement: Statement) -> Sequence[Any]:
        if "asked number" in statement.sql:
            raise TimedOut("the statement took longer than it may")
        return await fetch(statement)

    things.together._fetch = hurried
    assert await things.told("SELECT $1::integer", *[(n,) for n in range(9)]) == [[n] for n in range(9)]


async def test_that_nothing_can_be_read_is_told_to_all(things: Counted) -> None:
    await things.database.close()
    told = await things.told("SELECT $1::text", ("a",), ("b",))
    assert [type(one) for one in told] == [Unavailable] * 2
    assert len(things.sent) == 1


async def test_who_gives_up_leaves_the_others_as_they_are(things: Counted) -> None:
    asked = [asyncio.create_task(things.together.rows(Statement("SELECT $1::text", (text,)))) for text in "abc"]
    await asyncio.sleep(0)
    asked[1].cancel()
    first, gone, last = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(gone, asyncio.CancelledError)
    assert [_first(rows[0]) for rows in (first, last)] == ["a", "c"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("sql", "differing"),
    [
        ("SELECT 1", ()),
        ("SELECT $1::text[]", (1,)),
        ("SELECT $1", (1,)),
        ("SELECT '$1::text' AS \"$1::text\"", (1,)),
    ],
)
def test_what_cannot_be_run_as_one(sql: str, differing: tuple[int, ...]) -> None:
    assert as_one(sql, differing) is None


def test_texts_and_names_are_left_as_they_are() -> None:
    text = as_one("""SELECT '$1::text', 'it''s $1::text', "$1::text" FROM x WHERE a = $1::text AND b = $2::int""", (1,))
    assert text is not None
    assert (
        """(SELECT '$1::text', 'it''s $1::text', "$1::text" FROM x WHERE a = "asked with".a1::text AND b = $2::int) q"""
        in text
    )
    assert "unnest($1::text[])" in text
