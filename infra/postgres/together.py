"""Reads that differ in nothing but their values: those that are asked for at the same time are one statement.

Many who follow the same with rights of their own ask the same, each with their own id among the values. Asked one by
one, that is as many round trips and plans; together PostgreSQL is sent the values as lists, and runs the statement
for each of them.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from domain.kernel.errors import TimedOut
from domain.kernel.unit import Statement, StatementRefused

AT_ONCE = 25  # statements that are run as one, in the time that one may take
ALONE_AT_ONCE = 4  # of those that cannot be: as many connections

Values = tuple[object, ...]
Rows = Sequence[Mapping[str, Any]]
Fetch = Callable[[Statement], Awaitable[Rows]]
_Asked = tuple[Values, "asyncio.Future[Rows]"]

# A text or a quoted name, which is passed over, or a parameter with the type it is cast to.
_PART = re.compile(
    r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | \$(?P<number>[0-9]+)(?: ::
        (?P<type>(?: double\ precision | time(?:stamp)?\ with(?:out)?\ time\ zone | [a-z_][a-z0-9_]* )(?:\[\])?)
    )?""",
    re.VERBOSE,
)
# Names that no statement of ours has.
_WITH, _NUMBER, _ROW = '"asked with"', '"asked number"', '"asked row"'


class Together:
    """Runs statements by `fetch`: those of one turn of the event loop that have the same text, as one.

    That one is refused, or takes too long, may be somebody else's fault: then each is run by itself.
    """

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._asked: dict[str, list[_Asked]] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def rows(self, statement: Statement) -> Rows:
        """The rows of the statement. Raises what `fetch` does."""
        loop = asyncio.get_running_loop()
        asked = self._asked.get(statement.sql)
        if asked is None:
            asked = self._asked[statement.sql] = []
            run = loop.create_task(self._run(statement.sql))
            self._running.add(run)
            run.add_done_callback(self._running.discard)
        answer = loop.create_future()
        asked.append((statement.args, answer))
        return await answer

    async def _run(self, sql: str) -> None:
        asked = self._asked.pop(sql)
        for begin in range(0, len(asked), AT_ONCE):
            some = asked[begin : begin + AT_ONCE]
            if len(some) == 1 or not await self._run_as_one(sql, some):
                turns = asyncio.Semaphore(ALONE_AT_ONCE)
                await asyncio.gather(*(self._run_alone(turns, sql, *one) for one in some))

    async def _run_alone(
        self, turns: asyncio.Semaphore, sql: str, values: Values, answer: "asyncio.Future[Rows]"
    ) -> None:
        async with turns:
            try:
                _tell(answer, await self._fetch(Statement(sql, values)))
            except Exception as problem:
                _tell(answer, problem)

    async def _run_as_one(self, sql: str, asked: Sequence[_Asked]) -> bool:
        """Whether it came to an answer for each."""
        columns = list(zip(*(values for values, _ in asked), strict=True))
        differing = tuple(number for number, column in enumerate(columns, 1) if _differ(column))
        text = as_one(sql, differing)
        if text is None:
            return False
        values = [list(column) if number in differing else column[0] for number, column in enumerate(columns, 1)]
        found: list[list[Mapping[str, Any]]] = [[] for _ in asked]
        try:
            for row in await self._fetch(Statement(text, tuple(values))):
                found[row["asked number"] - 1].append(row)
        except (StatementRefused, TimedOut):
            return False
        except Exception as problem:
            for _, answer in asked:
                _tell(answer, problem)
            return True
        for rows, (_, answer) in zip(found, asked, strict=True):
            _tell(answer, rows)
        return True


@lru_cache(512)
def as_one(sql: str, differing: tuple[int, ...]) -> str | None:
    """The SELECT for each of some values of the parameters of these numbers, which are lists then.

    Its rows come in order, each with the `asked number` of its values, from 1. None where it can't be made: a value
    that is a list is no element of one, and one that is cast to nothing is of no known type.
    """
    types = {int(part["number"]): part["type"] for part in _PART.finditer(sql) if part["number"] is not None}
    if not differing or any((types.get(number) or "[]").endswith("[]") for number in differing):
        return None

    def replaced(part: re.Match[str]) -> str:
        if part["number"] is None or int(part["number"]) not in differing:
            return part[0]
        return f"{_WITH}.a{part['number']}::{types[int(part['number'])]}"

    lists = ", ".join(f"${number}::{types[number]}[]" for number in differing)
    names = ", ".join(f"a{number}" for number in differing)
    each = f"SELECT q.*, row_number() OVER () AS {_ROW} FROM ({_PART.sub(replaced, sql)}) q"
    return (
        f"SELECT {_WITH}.n AS {_NUMBER}, s.* FROM unnest({lists}) WITH ORDINALITY AS {_WITH} ({names}, n) "
        f"CROSS JOIN LATERAL ({each}) s ORDER BY {_WITH}.n, s.{_ROW}"
    )


def _differ(column: Sequence[object]) -> bool:
    first = column[0]
    return any(one is not first and (one != first or type(one) is not type(first)) for one in column)


def _tell(answer: "asyncio.Future[Rows]", what: Rows | Exception) -> None:
    if answer.done():  # who asked has left
        return
    if isinstance(what, Exception):
        answer.set_exception(what)
    else:
        answer.set_result(what)
