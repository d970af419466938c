"""Subscriptions over the typed schema: each change of some records, and lists that stay as they are in the database.

What an event shows is read when it is told, by the one statement that its selection compiles into. Subscribers who
ask for the same with the same rights share that reading and what it was made into, however many they are.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Hashable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import orjson

from domain.access.permissions import Verb
from domain.kernel.bounded import Bounded
from domain.kernel.ctx import Ctx
from domain.kernel.events import Changes, RecordChange, Watch
from domain.kernel.unit import Statement
from domain.records.declared import AppSchema
from domain.records.later import filled
from domain.records.live import bound
from domain.records.opening import need_verb
from graph.answer import Answer
from graph.broadcast import Place
from graph.changes import ChangeSeries
from graph.typed.write import Template

SHARED_MAX = 256  # readings that others may be about to ask for
SETTLING_S = 0.05  # changes that come within this are shown together

Variables: TypeAlias = Mapping[str, Any]
Row: TypeAlias = tuple[str, str, str]  # a record of a list: its id, and its JSON as one of them and by itself
Share: TypeAlias = Callable[[Hashable, Callable[[], Awaitable[Any]]], Awaitable[Any]]

OPERATIONS = {"INSERT": "CREATED", "UPDATE": "UPDATED", "DELETE": "DELETED"}


class Shared:
    """Readings that are made once for all who ask for the same at the same time."""

    def __init__(self) -> None:
        self._made: Bounded[Hashable, asyncio.Task[Any]] = Bounded(SHARED_MAX)

    async def __call__(self, key: Hashable, make: Callable[[], Awaitable[Any]]) -> Any:
        """What `make` comes to, or came to for this key."""
        task = self._made.get(key)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = self._made.put(key, asyncio.ensure_future(make()))
        return await asyncio.shield(task)


@dataclass(frozen=True, eq=False, slots=True)
class ChangePlan:
    """A compiled `…Changed`: which changes, and what is told of each.

    `parts` are the keys of the answer's object with what each tells; `record` reads the record by `ids`.
    """

    schema: AppSchema
    key: str
    watch: Watch
    parts: Sequence[tuple[str, str]]
    record: Template | None

    def followed(self, ctx: Ctx, share: Share, variables: Variables) -> ChangeSeries:
        """The changes with these variables. Raises Denied, Invalid."""
        need_verb(ctx, self.schema, self.watch.entity, Verb.READ)
        watch = bound(ctx, replace(self.watch, args=filled(self.watch.args, variables)))
        record = None if self.record is None else _bound(ctx, self.record.filled({**variables, "ids": []}))
        key = (self, repr(watch), repr(record))

        async def answer(change: RecordChange) -> Answer:
            """The one answer of all, of those too who come later and are told what they missed."""
            made: Answer = await share((key, change.cursor), lambda: self._answer(ctx, variables, change))
            return made

        return ChangeSeries(ctx.ports.feed, watch, key, answer)

    async def _answer(self, ctx: Ctx, variables: Variables, change: RecordChange) -> Answer:
        record = None
        if self.record is not None and change.after is not None:
            rows = await ctx.fetch_together(self.record.filled({**variables, "ids": [change.record_id]}))
            record = rows[0]["doc"] if rows else None
        return Answer({self.key: {key: self._part(what, change, record) for key, what in self.parts}})

    def _part(self, what: str, change: RecordChange, record: str | None) -> Any:
        match what:
            case "record":
                return None if record is None else orjson.Fragment(record)
            case "operation":
                return OPERATIONS[change.operation]
            case "id":
                return change.record_id
            case "cursor":
                return change.cursor
            case "changedAt":
                return change.changed_at.isoformat()
            case "actorId":
                return None if change.actor_id is None else str(change.actor_id)
        return what.removeprefix("=")


@dataclass(frozen=True, eq=False, slots=True)
class LivePlan:
    """A compiled `…Live`: the list's statement, the entities it shows, and the changes that may change it.

    `parts` are the keys of the answer's object with what each tells, `placed` those of a record with its place.
    """

    schema: AppSchema
    shown: Sequence[str]
    key: str
    listing: Template
    watches: Sequence[Watch]
    parts: Sequence[tuple[str, str]]
    placed: Sequence[tuple[str, str]]

    def followed(self, ctx: Ctx, variables: Variables) -> "LiveSeries":
        """The list with these variables. Raises Denied, Invalid."""
        for entity in self.shown:
            need_verb(ctx, self.schema, entity, Verb.READ)
        statement = _bound(ctx, self.listing.filled(variables))
        watches = [bound(ctx, watch) for watch in self.watches]
        return LiveSeries(self, ctx, statement, watches, (self, repr(statement), repr(watches)))

    def answer(self, before: Sequence[Row] | None, now: Sequence[Row]) -> Answer:
        """The list, or what has become of it."""
        return Answer({self.key: self._event(before, now)})

    def _event(self, before: Sequence[Row] | None, now: Sequence[Row]) -> dict[str, Any]:
        """What a subscriber is told: all, or what is new, different or elsewhere, and what is gone."""
        known = {row[0]: (index, row) for index, row in enumerate(before or ())}
        there = {row[0] for row in now}
        changed = [
            {key: _placed(what, index, row) for key, what in self.placed}
            for index, row in enumerate(now)
            if known.get(row[0]) != (index, row)
        ]
        told: dict[str, Any] = {
            "nodes": [orjson.Fragment(listed) for _, listed, _ in now] if before is None else None,
            "changed": [] if before is None else changed,
            "removed": [id for id in known if id not in there],
        }
        return {key: told[what] if what in told else what.removeprefix("=") for key, what in self.parts}


def _placed(what: str, index: int, row: Row) -> Any:
    match what:
        case "index":
            return index
        case "id":
            return row[0]
        case "node":
            return orjson.Fragment(row[2])
    return what.removeprefix("=")


def _bound(ctx: Ctx, statement: Statement) -> Statement:
    """The statement as it is this caller's: what it reads is shared with those whose statement is the same."""
    return Statement(statement.sql, ctx.bound(statement.args))


class LiveSeries:
    """What becomes of a list, see `graph.broadcast.Series`: read once for all readers, whoever it is read for."""

    def __init__(self, plan: LivePlan, ctx: Ctx, statement: Statement, watches: Sequence[Watch], key: Hashable) -> None:
        self.key = key
        self._plan = plan
        self._ctx = ctx
        self._statement = statement
        self._watches = watches
        self._heard = asyncio.Event()
        self._listening: list[asyncio.Task[None]] = []
        self._settles: asyncio.TimerHandle | None = None
        self._joining: list[asyncio.Future[None]] = []
        self._shown: list[Row] = []
        self._whole: Answer | None = None  # the list as it is shown
        self._number = 0  # of what has become of it

    async def open(self) -> None:
        """Listen."""
        changes = [await self._ctx.ports.feed.subscribe(watch, None) for watch in self._watches]
        self._listening = [asyncio.create_task(self._hear(series)) for series in changes]

    async def _hear(self, changes: Changes) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with aclosing(changes):
                async for _ in changes:
                    self._settles = self._settles or loop.call_later(SETTLING_S, self._heard.set)
        finally:
            self._heard.set()

    async def answers(self) -> AsyncGenerator[tuple[Place, Answer], None]:
        """What becomes of the list, each time it is another than before."""
        joining: list[asyncio.Future[None]] = []
        try:
            while True:
                await self._heard.wait()
                self._heard.clear()
                self._settles = None
                joining, self._joining = self._joining, []
                self._refuse_gone()
                now = await self._read()
                if now != self._shown:
                    before, self._shown, self._whole = self._shown, now, None
                    self._number += 1
                    yield (self._number, 0), self._plan.answer(before, now)
                for joined in joining:
                    if not joined.done():  # one who has left meanwhile
                        joined.set_result(None)
        except Exception as problem:
            for joined in (*joining, *self._joining):
                if not joined.done():
                    joined.set_exception(problem)
            raise
        finally:
            for task in self._listening:
                task.cancel()
            await asyncio.gather(*self._listening, return_exceptions=True)

    def _refuse_gone(self) -> None:
        """Raises what listening has ended with."""
        for task in self._listening:
            if task.done():
                task.result()

    async def _read(self) -> list[Row]:
        return [(row["id"], row["listed"], row["single"]) for row in await self._ctx.fetch_together(self._statement)]

    async def before(self, after: str | None) -> tuple[Place, AsyncIterator[Answer]]:
        """The list as it is now: who writes and then joins finds what it wrote."""
        joined = asyncio.get_running_loop().create_future()
        self._joining.append(joined)
        self._heard.set()
        await joined
        self._whole = self._whole or self._plan.answer(None, self._shown)
        return (self._number, 0), _one(self._whole)


async def _one(answer: Answer) -> AsyncGenerator[Answer, None]:
    yield answer
