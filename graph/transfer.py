"""Records on their way out and in: exports and imports."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import strawberry

from domain.access.permissions import Verb
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Code
from domain.kernel.page import PageArgs
from domain.kernel.upload import Upload
from domain.records.spelling import dialects
from domain.transfer import exporting, formats, importing, imports, merging, model
from domain.transfer.cells import Habits
from domain.transfer.exporting import Export
from domain.transfer.importing import Imported, RowResult, Wanted
from domain.transfer.receiving import Given, StoredFile
from graph.connection import FIRST, After, Connection, First, connection
from graph.records import App, DialectArg, Direction, Entity, Where, may
from graph.rules import PUBLIC, about, bounded, mutation, query, subscription
from graph.scalars import FileRef, JsonObject

Info = strawberry.Info[Ctx, None]

EXPORTS = "/exports/"  # where the URLs of exports lead

TransferFormat = strawberry.enum(
    formats.Format, name="TransferFormat", description="How records are written down; PDF is not read."
)

ExpiresIn = Annotated[int, bounded("For how many seconds the URL is good.", minimum=1, maximum=exporting.LIFE_S_MAX)]
ImportState = strawberry.enum(
    model.ImportState,
    name="ImportState",
    description="How an import is. Nothing of it was stored if it was rejected, has failed or was interrupted.",
)
ImportWrite = strawberry.enum(
    merging.Write,
    name="ImportWrite",
    description="What is done with rows; to update takes a key, and leaves rows out that no record has the key of.",
)
ImportId = Annotated[UUID, about("The import's id.")]


@strawberry.type(description="What is wrong with a row of an import.")
class ImportError:
    row: int = strawberry.field(description="Counted from 1, without the header.")
    line: int | None = strawberry.field(description="Where the row begins in the file, counted from 1.")
    field: str | None
    code: str = strawberry.field(description="As `extensions.code` of an error would be.")
    message: str


@strawberry.type(description="What became of a row of an import.")
class ImportRow:
    row: int = strawberry.field(description="Counted from 1, without the header.")
    action: str | None = strawberry.field(description="INSERT or UPDATE.")
    record_id: strawberry.ID | None = strawberry.field(description="The record's id; null in a dry run.")


@strawberry.type(description="An import. Its numbers grow while it runs.")
class Import:
    id: UUID
    app_id: strawberry.ID
    entity: str
    filename: str | None
    dry_run: bool
    read: int = strawberry.field(description="Rows, good and bad.")
    created: int = strawberry.field(description="Records; in a dry run, that would have been.")
    updated: int
    skipped: int = strawberry.field(description="Rows about records that are not there, when updating.")
    failed: int = strawberry.field(description="Rows that were bad.")
    message: str | None = strawberry.field(description="Why it failed as a whole.")
    created_by: UUID
    created_at: datetime
    finished_at: datetime | None

    @strawberry.field(description="How it is.")
    def state(self: model.Import) -> ImportState:  # type: ignore[valid-type]
        return self.state(datetime.now(UTC))  # which a subscription's beginning is no more

    @strawberry.field(description="What is wrong with rows, the first 1000 of them.")
    def errors(self: model.Import) -> list[ImportError]:
        return [ImportError(**error) for error in self.errors]


@strawberry.type(description="An import that has ended.")
class ImportPayload:
    outcome: strawberry.Private[Imported]

    @strawberry.field(graphql_type=Import, name="import", description="The import.")
    def imported(self) -> model.Import:
        return self.outcome.row

    @strawberry.field(
        graphql_type=list[ImportRow],
        description="What became of the rows that were taken, where there were up to 10,000 rows.",
    )
    def rows(self) -> list[RowResult]:
        return list(self.outcome.results)


@strawberry.input(description="A file in storage.")
class StoredFileInput:
    bucket: str
    id: UUID


@strawberry.type
class TransferQuery:
    @query(access=may(Verb.READ), refuses=[Code.NOT_FOUND])
    async def export_records(
        self,
        info: Info,
        app: App,
        entity: Entity,
        format: Annotated[TransferFormat, about("As what file.")] = formats.Format.CSV,  # type: ignore[valid-type]
        where: Where = None,
        dialect: DialectArg = dialects.Dialect.STOA,
        order_by: Annotated[str | None, about("A field; `created_at` without one.")] = None,
        direction: Annotated[Direction, about("Which way.")] = Direction.ASC,
        columns: Annotated[list[str] | None, about("The fields, in order; all without them.")] = None,
        labels: Annotated[JsonObject | None, about("What to write above columns, by field; its name else.")] = None,
        header: Annotated[bool, about("Whether columns have a header, in tables.")] = True,
        guarded: Annotated[
            bool, about("Whether texts that a spreadsheet would take for formulas get an apostrophe, in CSV.")
        ] = True,
        first: Annotated[int | None, bounded("At most so many; all of them without it.", minimum=1)] = None,
        expires_in: ExpiresIn = exporting.LIFE_S_DEFAULT,
    ) -> FileRef:
        """Records as a file, made while it is sent: what whoever asked for it may read at that moment.

        A workbook has up to 1,000,000 of them, a document 5,000; the other formats have no bound.
        """
        wanted = Export(
            app_id=app,
            entity=entity,
            format=format,
            where=where,
            dialect=dialect,
            order_by=order_by,
            descending=direction is Direction.DESC,
            columns=columns or (),
            labels=None if labels is None else {str(name): str(label) for name, label in labels.items()},
            header=header,
            guarded=guarded,
            first=first,
        )
        return FileRef(EXPORTS + await exporting.sign(info.context, wanted, expires_in))

    @query(refuses=[Code.NOT_FOUND, Code.FORBIDDEN])
    async def export_view(
        self,
        info: Info,
        id: Annotated[UUID, about("The saved view's id.")],
        format: Annotated[TransferFormat, about("As what file.")] = formats.Format.CSV,  # type: ignore[valid-type]
        expires_in: ExpiresIn = exporting.LIFE_S_DEFAULT,
    ) -> FileRef:
        """The records that a saved view shows as a file: its columns, in its order, as it is when the URL is used."""
        wanted = await exporting.of_view(info.context, id, format)
        return FileRef(EXPORTS + await exporting.sign(info.context, wanted, expires_in))

    @query(access=PUBLIC, refuses=[Code.NOT_FOUND, Code.GONE])
    async def signed_export(
        self, info: Info, token: Annotated[str, about("The last part of the URL of an export.")]
    ) -> FileRef:
        """The export that a URL leads to. The answer is good for as long as the URL is, and no longer."""
        return FileRef(EXPORTS + exporting.resealed(info.context, await exporting.unsealed(info.context, token)))

    @query(graphql_type=Import, refuses=[Code.NOT_FOUND])
    async def record_import(self, info: Info, id: ImportId) -> model.Import:
        """One import: one's own, or any into an app one administers."""
        return await imports.get(info.context, id)

    @query(graphql_type=Connection[Import], access=may(Verb.READ), refuses=[Code.NOT_FOUND])
    async def record_imports(
        self, info: Info, app: App, entity: Entity, first: First = FIRST, after: After = None
    ) -> Connection[model.Import]:
        """The imports into an entity, newest first: one's own, or all for who administers the app."""
        return connection(await imports.page(info.context, app, entity, PageArgs(first, after)))


@strawberry.type
class TransferMutation:
    @mutation(
        access=may(Verb.CREATE),
        refuses=[Code.NOT_FOUND, Code.CONFLICT, Code.PAYLOAD_TOO_LARGE, Code.RATE_LIMITED, Code.FORBIDDEN],
    )
    async def import_records(
        self,
        info: Info,
        app: App,
        entity: Entity,
        id: Annotated[UUID | None, about("An id for the import, to follow it by `importProgress` meanwhile.")] = None,
        file: Annotated[Upload | None, about("What to import, as a file.")] = None,
        text: Annotated[str | None, about("What to import, as a text in that format.")] = None,
        rows: Annotated[list[JsonObject] | None, about("What to import, as records.")] = None,
        object: Annotated[StoredFileInput | None, about("What to import, as a file in storage.")] = None,
        format: Annotated[TransferFormat | None, about("What it is; a file's name tells it else.")] = None,  # type: ignore[valid-type]
        mapping: Annotated[
            JsonObject | None, about("The field of each column, by the column's name; null leaves a column out.")
        ] = None,
        write: Annotated[ImportWrite, about("What to do with rows.")] = merging.Write.INSERT,  # type: ignore[valid-type]
        key: Annotated[str | None, about("The unique field by which rows are about records, to update them.")] = None,
        skip_bad: Annotated[bool, about("Whether good rows are stored where others are bad.")] = False,
        dry_run: Annotated[bool, about("Whether to find out only what would be.")] = False,
        delimiter: Annotated[str | None, about("Between the cells of a CSV file; found out without it.")] = None,
        sheet: Annotated[str | None, about("The sheet of a workbook; the first without it.")] = None,
        blanks: Annotated[list[str] | None, about("Texts in cells that stand for no value, like NULL.")] = None,
        guarded: Annotated[
            bool, about("Whether to take off the apostrophe that an export puts before what looks like a formula.")
        ] = True,
        rows_max: Annotated[
            int, bounded("More rows are refused.", minimum=1, maximum=importing.ROWS_MAX)
        ] = importing.ROWS_MAX,
    ) -> ImportPayload:
        """Create many records, or change them, from CSV, JSON, NDJSON or a workbook.

        All of it is stored, or nothing where a row is bad, unless those are to be skipped. What cells say is read as
        people write it (`1,234.5`, `yes`); a blank cell is no value: the default in a new record, no change in another.
        """
        given = Given(file, text, rows, None if object is None else StoredFile(object.bucket, object.id))
        wanted = Wanted(
            format=format,
            mapping={str(column): None if name is None else str(name) for column, name in (mapping or {}).items()},
            write=write,
            key=key,
            skip_bad=skip_bad,
            dry_run=dry_run,
            delimiter=delimiter,
            sheet=sheet,
            habits=Habits(frozenset(blanks or ()), guarded),
            rows_max=rows_max,
        )
        return ImportPayload(outcome=await importing.run(info.context, app, entity, given, wanted, id))


@strawberry.type
class TransferSubscription:
    @subscription()
    async def import_progress(self, info: Info, id: ImportId) -> AsyncGenerator[Import, None]:
        """An import each time it is further, until it has ended. One that has not begun yet is waited for."""
        return _shown(imports.progress(info.context, id))


async def _shown(progress: AsyncGenerator[model.Import, None]) -> AsyncGenerator[Import, None]:
    async with aclosing(progress):
        async for row in progress:
            yield row  # type: ignore[misc]
