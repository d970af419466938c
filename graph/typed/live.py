"""Subscriptions over the typed schema: each change of some records, and lists that stay as they are in the database.

What an event shows is read when it is told, by the one statement that its selection compiles into. Subscribers who
ask for the same with the same rights share that reading, however many they are.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import orjson
from graphql import ExecutionResult

from domain.access.permissions import Verb
from domain.kernel.bounded import Bounded
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Gone
from domain.kernel.events import Changes, RecordChange, Watch
from domain.kernel.unit import Statement
from domain.records.declared import AppSchema
from domain.records.later import filled
from domain.records.live import subscribe
from domain.records.opening import need_verb
from graph.typed.write import Template

SHARED_MAX = 1_000  # readings that others may be about to ask for
SETTLING_S = 0.05  # changes that come within this are shown together

Variables: TypeAlias = Mapping[str, Any]
Row: TypeAlias = tuple[str, str, str]  # a record of a list: its id, and its JSON as one of them and by itself
Share: TypeAlias = Callable[[tuple[str, ...], Callable[[], Awaitable[Any]]], Awaitable[Any]]

OPERATIONS = {"INSERT": "CREATED", "UPDATE": "UPDATED", "DELETE": "DELETED"}


class Shared:
    """Readings that are made once for all who ask for the same at the same time."""

    def __init__(self) -> None:
        self._made: Bounded[tuple[str, ...], asyncio.Task[Any]] = Bounded(SHARED_MAX)

    async def __call__(self, key: tuple[str, ...], make: Callable[[], Awaitable[Any]]) -> Any:
        """What `make` comes to, or came to for this key."""
        task = self._made.get(key)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = self._made.put(key, asyncio.ensure_future(make()))
        return await asyncio.shield(task)


@dataclass(frozen=True, slots=True)
class ChangePlan:
    """A compiled `…Changed`: which changes, and what is told of each.

    `parts` are the keys of the answer's object with what each tells; `record` reads the record by `ids`.
    """

    schema: AppSchema
    key: str
    watch: Watch
    parts: Sequence[tuple[str, str]]
    record: Template | None

    async def events(
        self, ctx: Ctx, share: Share, variables: Variables, after: str | None
    ) -> AsyncGenerator[ExecutionResult, None]:
        """A result for each change. Raises Invalid, Gone."""
        need_verb(ctx, self.schema, self.watch.entity, Verb.READ)
        watch = replace(self.watch, args=filled(self.watch.args, variables))
        return self._told(ctx, share, variables, await subscribe(ctx, watch, after))

    async def _told(
        self, ctx: Ctx, share: Share, variables: Variables, changes: Changes
    ) -> AsyncGenerator[ExecutionResult, None]:
        try:
            async for change in changes:
                record = await self._record(ctx, share, variables, change)
                told = {key: self._part(what, change, record) for key, what in self.parts}
                yield ExecutionResult({self.key: told})
        finally:
            await changes.aclose()

    async def _record(self, ctx: Ctx, share: Share, variables: Variables, change: RecordChange) -> str | None:
        if self.record is None or change.after is None:
            return None
        statement = _bound(ctx, self.record.filled({**variables, "ids": [change.record_id]}))

        async def read() -> str | None:
            rows = await ctx.fetch(statement)
            return rows[0]["doc"] if rows else None

        found: str | None = await share((change.cursor, statement.sql, repr(statement.args)), read)
        return found

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


@dataclass(frozen=True, slots=True)
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

    async def events(self, ctx: Ctx, share: Share, variables: Variables) -> AsyncGenerator[ExecutionResult, None]:
        """The list, and what becomes of it."""
        for entity in self.shown:
            need_verb(ctx, self.schema, entity, Verb.READ)
        changes = [await subscribe(ctx, watch) for watch in self.watches]
        return self._told(ctx, share, _bound(ctx, self.listing.filled(variables)), changes)

    async def _told(
        self, ctx: Ctx, share: Share, statement: Statement, changes: Sequence[Changes]
    ) -> AsyncGenerator[ExecutionResult, None]:
        newest = _Newest(changes)
        try:
            shown = await self._read(ctx, share, statement, "")
            yield ExecutionResult({self.key: self._event(None, shown)})
            async for cursor in newest:
                now = await self._read(ctx, share, statement, cursor)
                if now != shown:
                    before, shown = shown, now
                    yield ExecutionResult({self.key: self._event(before, shown)})
        finally:
            await newest.aclose()

    async def _read(self, ctx: Ctx, share: Share, statement: Statement, cursor: str) -> list[Row]:
        """The records of the list."""

        async def read() -> list[Row]:
            return [(row["id"], row["listed"], row["single"]) for row in await ctx.fetch(statement)]

        if not cursor:  # what was asked a while ago is not what is there now
            return await read()
        found: list[Row] = await share((cursor, statement.sql, repr(statement.args)), read)
        return found

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


class _Newest:
    """The cursor of the newest of several series of changes, once they have settled."""

    def __init__(self, changes: Sequence[Changes]) -> None:
        self._changes = changes
        self._cursor = ""
        self._gone: Gone | None = None
        self._heard = asyncio.Event()
        self._tasks = [asyncio.ensure_future(self._listen(series)) for series in changes]

    async def _listen(self, series: Changes) -> None:
        try:
            async for change in series:
                self._cursor = max(self._cursor, change.cursor, key=_position)
                self._heard.set()
        except Gone as gone:
            self._gone = gone
            self._heard.set()

    def __aiter__(self) -> "_Newest":
        return self

    async def __anext__(self) -> str:
        await self._heard.wait()
        await asyncio.sleep(SETTLING_S)
        self._heard.clear()
        if self._gone is not None:
            raise self._gone
        return self._cursor

    async def aclose(self) -> None:
        """Listen no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for series in self._changes:
            await series.aclose()


def _position(cursor: str) -> tuple[int, int]:
    tx, _, id = cursor.partition("-")
    return (int(tx), int(id)) if cursor else (-1, -1)
