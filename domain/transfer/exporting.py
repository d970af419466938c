"""Exports: the records of an entity as a file, made while it is sent.

Nothing of an export is stored. What it is of stands in the URL, under our seal: whoever has the URL gets what its maker
may read at the moment it is used, and no more.
"""

import json
import zlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from domain.access.permissions import Verb
from domain.collaboration import views
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Gone, Invalid, Missing, TooComplex
from domain.kernel.unit import Statement
from domain.records.declared import Field
from domain.records.naming import quoted
from domain.records.opening import Opened, opened
from domain.records.query import Condition, Order
from domain.records.service import Query, order_of
from domain.records.spelling.dialects import Dialect, condition_of
from domain.records.sql import ROW, Params, condition, count, order_by, shown, source
from domain.transfer.formats import MEDIA_TYPES, Column, Format, Sheet
from domain.transfer.ports import TableWriter
from domain.transfer.writing import writer

LIFE_S_DEFAULT = 15 * 60
LIFE_S_MAX = 24 * 3600
TOKEN_CHARS_MAX = 8000  # what URLs may be long, everywhere
AT_ONCE = 500  # records
ROWS_MAX = {Format.XLSX: 1_000_000, Format.PDF: 5_000}  # a sheet of a workbook has 1,048,576 rows
COLUMNS_MAX = {Format.PDF: 30}
SEAL = "records:export"


@dataclass(frozen=True, slots=True)
class Export:
    """What is wanted of which records, and how. No `columns` stands for all of them; `labels` are by column.

    With a `view`, its records, order and columns are what is wanted, as it is when the export is made.
    """

    app_id: str
    entity: str
    format: Format
    view: UUID | None = None
    where: Any = None
    dialect: Dialect = Dialect.STOA
    order_by: str | None = None
    descending: bool = False
    columns: Sequence[str] = ()
    labels: dict[str, str] | None = None
    header: bool = True
    guarded: bool = True
    first: int | None = None


@dataclass(frozen=True, slots=True)
class Signed:
    """An export that somebody may have, until then, as the user who asked for it."""

    export: Export
    tenant_id: UUID
    user_id: UUID
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Prepared:
    """An export that can be made."""

    filename: str
    media_type: str
    statement: Statement
    writer: TableWriter


async def of_view(ctx: Ctx, id: UUID, format: Format) -> Export:
    """The export of a saved view's records. Raises Denied, Missing."""
    row = await views.view(ctx, id)
    return Export(row.app_id, row.entity, format, view=id)


async def sign(ctx: Ctx, export: Export, life_s: int = LIFE_S_DEFAULT) -> str:
    """A token for the export. Raises Denied, Missing; Invalid on what is wrong with it, or for one too long."""
    at = await opened(ctx, export.app_id, export.entity, Verb.READ)
    _checked(at, await _with_view(ctx, export))
    if not 1 <= life_s <= LIFE_S_MAX:
        raise Invalid("expiresIn", f"expiresIn must be between 1 and {LIFE_S_MAX} seconds")
    return _sealed(ctx, Signed(export, ctx.tenant_id, ctx.user(), ctx.now + timedelta(seconds=life_s)))


def resealed(ctx: Ctx, signed: Signed) -> str:
    """A token for what was opened with one, good for as long and no longer."""
    return _sealed(ctx, signed)


def _sealed(ctx: Ctx, signed: Signed) -> str:
    told = [signed.tenant_id, signed.user_id, signed.expires_at.timestamp(), asdict(signed.export)]
    token = ctx.ports.seal.seal(zlib.compress(json.dumps(told, default=str).encode()), SEAL)
    if len(token) > TOKEN_CHARS_MAX:
        raise Invalid("where", "where is too long for a URL: save it as a view, or ask for less at once")
    return token


async def unsealed(ctx: Ctx, token: str) -> Signed:
    """What a token is for. Raises Missing, Gone."""
    payload = ctx.ports.seal.unseal(token, SEAL) if len(token) <= TOKEN_CHARS_MAX else None
    if payload is None:
        raise Missing("there is no such export, or its URL was changed")
    tenant_id, user_id, end, told = json.loads(zlib.decompress(payload))
    expires_at = datetime.fromtimestamp(end, ctx.now.tzinfo)
    if expires_at <= ctx.now:
        raise Gone("the URL has expired, ask for another one")
    view = None if told["view"] is None else UUID(told["view"])
    export = Export(**{**told, "view": view, "format": Format(told["format"]), "dialect": Dialect(told["dialect"])})
    return Signed(export, UUID(tenant_id), UUID(user_id), expires_at)


async def prepare(ctx: Ctx, export: Export) -> Prepared:
    """The export, ready to be made by who asked for it. Raises Denied, Missing, Invalid, TooComplex."""
    at = await opened(ctx, export.app_id, export.entity, Verb.READ)
    export = await _with_view(ctx, export)
    plan = _checked(at, export)
    most = ROWS_MAX.get(export.format)
    if most is not None and (export.first is None or export.first > most):
        found = (await ctx.fetch(count(at.schema, at.entity, plan.where)))[0]["total"]
        if min(found, export.first or found) > most:
            raise TooComplex(f"more than {most} records are too many for {export.format.upper()}", field="format")
    sheet = Sheet(
        title=export.entity,
        columns=tuple(_column(field, export) for field in plan.fields),
        header=export.header,
        guarded=export.guarded,
    )
    return Prepared(
        filename=f"{export.entity}-{ctx.now:%Y-%m-%d}.{export.format}",
        media_type=MEDIA_TYPES[export.format],
        statement=_statement(at, plan, export.first),
        writer=writer(export.format, sheet, ctx.ports.tables),
    )


async def batches(ctx: Ctx, prepared: Prepared) -> AsyncGenerator[list[str], None]:
    """The records as JSON texts, some at a time, as they were at one moment."""
    async with aclosing(ctx.follow(prepared.statement, AT_ONCE)) as batches:
        async for rows in batches:
            yield [row["doc"] for row in rows]


async def _with_view(ctx: Ctx, export: Export) -> Export:
    """The export with what its view says today. Raises Missing."""
    if export.view is None:
        return export
    says = views.terms_of(await views.view(ctx, export.view))
    return replace(
        export,
        where=says.where,
        dialect=says.dialect,
        order_by=says.order_by,
        descending=says.descending,
        columns=says.columns,
    )


@dataclass(frozen=True, slots=True)
class _Plan:
    fields: Sequence[Field]
    where: Condition
    order: Sequence[Order]


def _checked(at: Opened, export: Export) -> _Plan:
    names = list(export.columns) or list(at.entity.columns)
    for name in (*names, *(export.labels or ())):
        if name not in at.entity.columns:
            raise Invalid("columns", f"unknown field '{name[:80]}' of '{at.entity.name}'")
    if len(set(names)) < len(names):
        raise Invalid("columns", "columns must be different")
    most = COLUMNS_MAX.get(export.format)
    if most is not None and len(names) > most:
        raise Invalid("columns", f"{export.format.upper()} has room for {most} columns: choose some")
    if export.first is not None and export.first < 1:
        raise Invalid("first", "first must be at least 1")
    query = Query(None, export.dialect, export.order_by, export.descending)
    where = condition_of(export.where, export.dialect, at.entity)
    return _Plan([at.entity.columns[name] for name in names], where, order_of(at.entity, query))


def _column(field: Field, export: Export) -> Column:
    return Column(field.name, (export.labels or {}).get(field.name, field.name), field.type.name)


def _statement(at: Opened, plan: _Plan, first: int | None) -> Statement:
    params = Params()
    columns = ", ".join(f"{shown(field, ROW)} AS {quoted(field.name)}" for field in plan.fields)
    sql = (
        f"SELECT (SELECT row_to_json(d.*) FROM (SELECT {columns}) d)::text AS doc "
        f"FROM {source(at.schema, at.entity, params)} {ROW} WHERE {condition(at.schema, plan.where, params)} "
        f"ORDER BY {order_by(plan.order, params)}"
    )
    if first is not None:
        sql += f" LIMIT {params.add(first, 'bigint')}"
    return Statement(sql, tuple(params.values))
