"""Records on their way out and in: exports and imports."""

from typing import Annotated

import strawberry

from domain.access.permissions import Verb
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Code
from domain.records.spelling import dialects
from domain.transfer import exporting, formats
from domain.transfer.exporting import Export
from graph.records import App, DialectArg, Direction, Entity, Where, may
from graph.rules import PUBLIC, about, bounded, query
from graph.scalars import FileRef, JsonObject

Info = strawberry.Info[Ctx, None]

EXPORTS = "/exports/"  # where the URLs of exports lead

TransferFormat = strawberry.enum(
    formats.Format, name="TransferFormat", description="How records are written down; PDF is not read."
)


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
        expires_in: Annotated[
            int, bounded("For how many seconds the URL is good.", minimum=1, maximum=exporting.LIFE_S_MAX)
        ] = exporting.LIFE_S_DEFAULT,
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

    @query(access=PUBLIC, refuses=[Code.NOT_FOUND, Code.GONE])
    async def signed_export(
        self, info: Info, token: Annotated[str, about("The last part of the URL of an export.")]
    ) -> FileRef:
        """The export that a URL leads to. The answer is good for as long as the URL is, and no longer."""
        return FileRef(EXPORTS + exporting.resealed(info.context, await exporting.unsealed(info.context, token)))
