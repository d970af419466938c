"""Imports: many records at once, from a file, each checked as if it were written by itself.

Rows are read and checked portion by portion, wait in a table of the transaction's own, and then go over; the triggers
of the table log them and tell of them as of any other write. A dry run and an import that is rejected do all of that,
and roll back.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from tempfile import TemporaryFile
from typing import Any
from uuid import UUID

from sqlalchemy import func, select

from domain.access.permissions import Verb
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Conflict, DomainError, Invalid, Limited, TooLarge, Unavailable
from domain.kernel.ids import uuid7
from domain.kernel.rawjson import json_of
from domain.kernel.secret import SecretText
from domain.kernel.unit import StatementRefused
from domain.records.declared import Field
from domain.records.opening import Opened, opened
from domain.records.service import refuse_missing, row_of
from domain.records.types import NotOfType
from domain.storage import objects
from domain.transfer import merging
from domain.transfer.cells import Habits, value_of
from domain.transfer.formats import Format
from domain.transfer.merging import Merge, Merged, Write
from domain.transfer.model import SILENT_AFTER, Import, ImportState
from domain.transfer.reading import Reading, Source, SourceRow, listed, source
from domain.transfer.receiving import Given, format_given, received

AT_ONCE = 1000  # rows read and checked
ROWS_MAX = 1_000_000
ERRORS_KEPT = 1000
RESULTS_MAX = 10_000  # rows up to which an answer tells what became of each
UNDER_WAY_MAX = 4  # of one tenant
RECEIVE_S_MAX = 1800.0
IMPORT_S_MAX = 3600.0
TELL_S = 0.5  # how often a running one tells how far it is


@dataclass(frozen=True, slots=True)
class Wanted:
    """How to import. `mapping` leads from the names of columns to fields; to nothing for what is to be left out."""

    format: Format | None = None
    mapping: Mapping[str, str | None] = field(default_factory=dict)
    write: Write = Write.INSERT
    key: str | None = None
    skip_bad: bool = False
    dry_run: bool = False
    delimiter: str | None = None
    sheet: str | None = None
    habits: Habits = field(default_factory=Habits)
    rows_max: int = ROWS_MAX


@dataclass(frozen=True, slots=True)
class RowResult:
    """What became of a row, counted from 1. Without an action it was left out or refused."""

    row: int
    action: str | None
    record_id: str | None


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of an import; `results` are of its rows, where they are few."""

    row: Import
    results: Sequence[RowResult]


async def run(ctx: Ctx, app_id: str, entity: str, given: Given, wanted: Wanted, id: UUID | None = None) -> Imported:
    """Import records. `id` is what the import shall have, for who wants to follow it.

    To be called before the operation asks the database for anything: it works in units of its own. What is wrong with
    rows is told in the answer. Raises Denied, Missing, Limited; Conflict for an id that is taken; TooLarge, and Invalid
    for what cannot be read as a whole.
    """
    ctx.user()
    begun = await ctx.apart(lambda own: _begin(own, app_id, entity, given, wanted, id))
    job = _Job(ctx, begun.at, begun.row, wanted)
    try:
        if given.rows is not None:
            done = await ctx.outside(job.run(listed(given.rows)), IMPORT_S_MAX)
        else:
            with TemporaryFile() as file:
                await ctx.outside(received(ctx, given, file), RECEIVE_S_MAX)
                how = Reading(format_given(given, wanted.format), wanted.delimiter, wanted.sheet)
                rows = await asyncio.to_thread(source, file, how, ctx.ports.tables)
                done = await ctx.outside(job.run(rows), IMPORT_S_MAX)
    except DomainError as refused:
        await _ended(ctx, begun.row.id, ImportState.FAILED, job.count, refused.message)
        raise
    return Imported(done, job.results)


@dataclass(frozen=True, slots=True)
class _Begun:
    at: Opened
    row: Import


async def _begin(ctx: Ctx, app_id: str, entity: str, given: Given, wanted: Wanted, id: UUID | None) -> _Begun:
    verbs = {Write.INSERT: [Verb.CREATE], Write.UPDATE: [Verb.UPDATE], Write.UPSERT: [Verb.CREATE, Verb.UPDATE]}
    for verb in verbs[wanted.write]:
        at = await opened(ctx, app_id, entity, verb)
    _check(at, given, wanted)
    if given.stored is not None:
        await objects.readable(ctx, given.stored.bucket, given.stored.id)
    running = (Import.stored_state == ImportState.RUNNING) & (Import.heard_at > ctx.now - SILENT_AFTER)
    under_way = select(func.count()).where(Import.tenant_id == ctx.tenant_id, running)
    if (await ctx.execute(under_way)).scalar_one() >= UNDER_WAY_MAX:
        raise Limited(f"{UNDER_WAY_MAX} imports are under way already", retry_after_s=5)
    row = Import(
        id=id or uuid7(), app_id=app_id, entity=entity, filename=_storable(given.file.filename) if given.file else None,
        dry_run=wanted.dry_run, stored_state=ImportState.RUNNING, read=0, created=0, updated=0, skipped=0, failed=0,
        errors=[], message=None, created_by=ctx.user(), heard_at=ctx.now, finished_at=None,
    )  # fmt: skip
    try:
        return _Begun(at, await ctx.add(row))
    except StatementRefused as refused:
        if refused.constraint == "pk_imports":
            raise Conflict("there is an import with this id already", field="id") from refused
        raise


def _check(at: Opened, given: Given, wanted: Wanted) -> None:
    ways = [given.file, given.text, given.rows, given.stored]
    if sum(way is not None for way in ways) != 1:
        raise Invalid("file", "one of file, text, rows and object is what to import")
    if (wanted.key is None) is not (wanted.write is Write.INSERT):
        raise Invalid("key", f"to {wanted.write} records {'takes no' if wanted.key else 'takes a'} key")
    if wanted.key is not None and wanted.key not in _unique(at, wanted.write):
        raise Invalid("key", f"key must be a unique field of '{at.entity.name}'")
    for column, name in wanted.mapping.items():
        if name and name not in at.entity.columns:
            raise Invalid("mapping", f"'{column[:80]}' is mapped to '{name[:80]}', no field of '{at.entity.name}'")
    if not 1 <= wanted.rows_max <= ROWS_MAX:
        raise Invalid("rowsMax", f"rowsMax must be between 1 and {ROWS_MAX}")
    if wanted.delimiter is not None and (len(wanted.delimiter) != 1 or wanted.delimiter in '"\r\n'):
        raise Invalid("delimiter", "delimiter must be one character, and no quote or line end")


def _unique(at: Opened, write: Write) -> set[str]:
    """The fields that tell records apart; an id that nobody may choose only for records that are there."""
    indexed = {
        index.parts[0].column
        for index in at.entity.indexes
        if index.unique and len(index.parts) == 1 and index.where is None and index.parts[0].column is not None
    }
    ids = {"id"} if at.entity.own_id or write is Write.UPDATE else set()
    return {field.name for field in at.entity.fields if field.unique} | indexed | ids


class _NothingStored(Exception):
    """The end of an import that leaves nothing behind."""


@dataclass(slots=True)
class _Count:
    """How far an import is."""

    read: int = 0
    created: int = 0
    updated: int = 0
    skipped: int = 0
    failed: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)

    def refuse(self, row: int, line: int | None, refused: DomainError) -> None:
        """Count a bad row; the first ones are kept with what is wrong."""
        self.failed += 1
        if len(self.errors) < ERRORS_KEPT:
            code, message = refused.code, refused.message
            field = None if refused.field is None else _storable(refused.field)
            told = {"row": row, "line": line, "field": field, "code": code, "message": _storable(message)}
            self.errors.append(told)

    def write(self, row: Import) -> None:
        """Note it on the import's row."""
        row.read, row.created, row.updated = self.read, self.created, self.updated
        row.skipped, row.failed = self.skipped, self.failed
        row.errors = sorted(self.errors, key=lambda error: int(error["row"]))


class _Job:
    """An import that runs."""

    def __init__(self, ctx: Ctx, at: Opened, row: Import, wanted: Wanted) -> None:
        self.count = _Count()
        self.results: list[RowResult] = []
        self._ctx = ctx
        self._at = at
        self._id = row.id
        self._wanted = wanted
        self._habits = wanted.habits
        self._fields: dict[str, Field] = {}
        self._told = 0.0

    async def run(self, rows: Source) -> Import:
        """All of it. Raises Invalid where it cannot be read, TooLarge."""
        targets = None if rows.columns is None else _targets(self._at, rows.columns, self._wanted.mapping)
        self._habits = replace(self._habits, guarded=self._habits.guarded and rows.texts)
        try:
            return await self._ctx.apart(lambda own: self._stored(own, rows, targets))
        except _NothingStored:
            pass
        bad = self.count.failed and not self._wanted.skip_bad
        return await _ended(self._ctx, self._id, ImportState.REJECTED if bad else ImportState.DONE, self.count)

    async def _stored(self, own: Ctx, rows: Source, targets: "Mapping[str, Field] | None") -> Import:
        await merging.prepare(own)
        while taken := await asyncio.to_thread(lambda: list(islice(rows.rows, AT_ONCE))):
            checked = await asyncio.to_thread(self._checked, taken, targets)
            await merging.wait(own, checked)
            await self._tell()
        if self._fields:
            await self._merged(own)
        if self._wanted.dry_run or (self.count.failed and not self._wanted.skip_bad):
            raise _NothingStored
        row = await own.lock(Import, self._id)
        return await _finish(own, row, ImportState.DONE, self.count)

    def _checked(
        self, taken: Sequence[SourceRow], targets: "Mapping[str, Field] | None"
    ) -> list[tuple[int, int | None, str]]:
        """The good rows among these in stored form, with numbers and lines; the bad ones are counted."""
        good = []
        for came in taken:
            self.count.read += 1
            number = self.count.read
            if number > self._wanted.rows_max:
                raise TooLarge(f"there are more than {self._wanted.rows_max} rows", field="file")
            try:
                text = _text(self._row(came, targets))
            except DomainError as refused:
                self.count.refuse(number, came.line, refused)
                continue
            good.append((number, came.line, text))
        return good

    def _row(self, came: SourceRow, targets: "Mapping[str, Field] | None") -> dict[str, Any]:
        if came.problem is not None:
            raise Invalid(None, came.problem)
        if targets is None:
            mapping = self._wanted.mapping
            named = ((mapping.get(name, name), value) for name, value in came.values.items())
            values = {name: value for name, value in named if name}
        else:
            habits = self._habits
            cells = ((targets[column], cell) for column, cell in came.values.items() if column in targets)
            values = {f.name: value_of(f, cell, habits) for f, cell in cells if cell not in habits.blanks}
        row = row_of(self._at, values, "row")
        columns = self._at.entity.columns
        for name, value in row.items():
            if isinstance(value, SecretText) or not columns[name].stored:
                raise Invalid(name, f"field '{name}' is of a type that is not for files: {columns[name].type.name}")
        if self._wanted.key is not None:
            self._add_key(row, values)
        elif self._wanted.write is Write.INSERT:
            refuse_missing(self._at, row)
        self._fields |= {name: self._at.entity.columns[name] for name in row}
        return row

    def _add_key(self, row: dict[str, Any], values: Mapping[str, Any]) -> None:
        """The key of a row, which may be one that nobody writes: the id of the record it is about."""
        key = self._at.entity.columns[self._wanted.key or ""]
        if key.name not in row and values.get(key.name) is not None:
            try:
                row[key.name] = key.type.stored(values[key.name])
            except NotOfType as wrong:
                raise Invalid(key.name, f"field '{key.name}' {wrong}") from wrong

    async def _merged(self, own: Ctx) -> None:
        columns = self._at.entity.columns.values()
        wanted = self._wanted
        key = None if wanted.key is None else self._at.entity.columns[wanted.key]
        fields = [f for f in columns if f.name in self._fields or f == key]
        what = Merge(self._at, fields, wanted.write, key)
        left_out = self.count.read - self.count.failed
        for merged in await merging.refused(own, what):
            left_out -= 1
            self._became(merged)
        async with aclosing(merging.merge(own, what, self.count.read)) as portions:
            async for portion in portions:
                for merged in portion:
                    left_out -= 1
                    self._became(merged)
                await self._tell()
        self.count.skipped = left_out

    def _became(self, merged: Merged) -> None:
        if merged.refusal is not None:
            self.count.refuse(merged.number, merged.line, merged.refusal)
        elif merged.action == "INSERT":
            self.count.created += 1
        else:
            self.count.updated += 1
        if self.count.read <= RESULTS_MAX and merged.refusal is None:
            id = None if self._wanted.dry_run else merged.record_id
            self.results.append(RowResult(merged.number, merged.action, id))

    async def _tell(self) -> None:
        """Note how far it is, now and then, for others to see; in a unit of its own, if a connection is free."""
        now = asyncio.get_running_loop().time()
        if now - self._told < TELL_S:
            return
        self._told = now
        with suppress(Unavailable):
            await self._ctx.apart(self._note)

    async def _note(self, own: Ctx) -> None:
        row = await own.lock(Import, self._id)
        self.count.write(row)
        row.heard_at = datetime.now(UTC)
        await own.flush()


def _text(row: Mapping[str, Any]) -> str:
    """The row as JSON text. Raises Invalid for half a surrogate pair, which JSON can spell and nobody can store."""
    text = str(json_of(row))
    try:
        text.encode()
    except UnicodeEncodeError as problem:
        raise Invalid(None, "the record holds half of a surrogate pair, which is no character") from problem
    return text


def _storable(text: str) -> str:
    """A text with what came in a file in it, as PostgreSQL can hold it."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")


def _targets(at: Opened, columns: Sequence[str], mapping: Mapping[str, str | None]) -> dict[str, Field]:
    """The field of each column that is taken. Raises Invalid on `mapping`."""
    for column in mapping:
        if column not in columns:
            raise Invalid("mapping", f"the table has no column '{column[:80]}'")
    named = {column: mapping.get(column, column) for column in columns}
    for column, name in named.items():
        if name and name not in at.entity.columns:
            raise Invalid(
                "mapping", f"column '{column[:80]}' is no field of '{at.entity.name}': map it to one, or to nothing"
            )
    taken = [name for name in named.values() if name]
    if len(set(taken)) < len(taken):
        raise Invalid("mapping", "two columns lead to the same field")
    return {column: at.entity.columns[name] for column, name in named.items() if name}


async def _ended(ctx: Ctx, id: UUID, state: ImportState, count: _Count, message: str | None = None) -> Import:
    async def finish(own: Ctx) -> Import:
        return await _finish(own, await own.lock(Import, id), state, count, message)

    return await ctx.apart(finish)


async def _finish(ctx: Ctx, row: Import, state: ImportState, count: _Count, message: str | None = None) -> Import:
    count.write(row)
    row.stored_state, row.message = state, None if message is None else _storable(message)
    row.heard_at = row.finished_at = datetime.now(UTC)
    await ctx.flush()
    return row
