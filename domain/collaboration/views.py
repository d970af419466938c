"""Saved views: queries over an entity's records that people keep under a name, for themselves or for all."""

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any
from uuid import UUID

from sqlalchemy import Select

from domain.access.permissions import EVERYTHING, Verb, app_key
from domain.collaboration.model import SavedView
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Conflict, Denied, DomainError, Invalid, Missing
from domain.kernel.page import PageArgs
from domain.kernel.rawjson import RawJson, json_of
from domain.kernel.reading import json_problem
from domain.kernel.unit import StatementRefused
from domain.records import service
from domain.records.opening import Opened, opened
from domain.records.service import Found, Query
from domain.records.spelling.dialects import Dialect, condition_of

NAME_CHARS_MAX = 120
VIEWS_MAX = 1000
LAYOUT_BYTES_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class ViewTerms:
    """What a view says. `shared` makes it everybody's who may read the records."""

    name: str
    where: Any = None
    dialect: Dialect = Dialect.STOA
    order_by: str | None = None
    descending: bool = True
    columns: Sequence[str] = ()
    layout: dict[str, Any] = field(default_factory=dict)
    shared: bool = False


async def views(ctx: Ctx, app_id: str, entity: str) -> Sequence[SavedView]:
    """The caller's own views of an entity and everybody's, by name. Raises Denied, Missing."""
    await opened(ctx, app_id, entity, Verb.READ)
    rows = _visible(ctx).where(SavedView.app_id == app_id, SavedView.entity == entity)
    return await ctx.all(rows.order_by(SavedView.name, SavedView.id).limit(VIEWS_MAX))


async def view(ctx: Ctx, id: UUID) -> SavedView:
    """One view. Raises Denied, Missing."""
    row = await ctx.first(_visible(ctx).where(SavedView.id == id))
    if row is None:
        raise Missing("view not found")
    await opened(ctx, row.app_id, row.entity, Verb.READ)
    return row


def _visible(ctx: Ctx) -> Select[SavedView]:
    everybodys = SavedView.owner_id.is_(None)
    return ctx.visible(SavedView).where(everybodys | (SavedView.owner_id == ctx.user()))


async def create(ctx: Ctx, app_id: str, entity: str, terms: ViewTerms) -> SavedView:
    """Keep a view; one for everybody takes the right to change records. Raises Denied, Missing, Conflict, Invalid."""
    at = await opened(ctx, app_id, entity, Verb.UPDATE if terms.shared else Verb.READ)
    row = SavedView(app_id=app_id, entity=entity, created_by=ctx.user())
    _write(ctx, row, at, terms)
    try:
        return await ctx.add(row)
    except StatementRefused as refused:
        raise _name_taken(terms, refused) from refused


async def update(ctx: Ctx, id: UUID, changes: dict[str, Any]) -> SavedView:
    """Change parts of a view, named as in `ViewTerms`. Raises Denied, Missing, Conflict, Invalid."""
    row = await _changeable(ctx, id)
    terms = replace(terms_of(row), **changes)
    _write(ctx, row, await opened(ctx, row.app_id, row.entity, Verb.UPDATE if terms.shared else Verb.READ), terms)
    try:
        await ctx.flush()
    except StatementRefused as refused:
        raise _name_taken(terms, refused) from refused
    return row


async def delete(ctx: Ctx, id: UUID) -> SavedView:
    """Let go of a view. Returns what it was. Raises Denied, Missing."""
    row = await _changeable(ctx, id)
    await ctx.remove(row)
    return row


async def records(ctx: Ctx, id: UUID, args: PageArgs, wanted: Collection[str]) -> Found:
    """The records that a view shows. Raises as `find` does."""
    row = await view(ctx, id)
    terms = terms_of(row)
    query = Query(terms.where, terms.dialect, terms.order_by, terms.descending, args.first, args.after)
    return await service.find(ctx, row.app_id, row.entity, query, wanted)


async def problem(ctx: Ctx, row: SavedView) -> str | None:
    """What a view speaks of that is no longer declared; None while it works."""
    try:
        at = await opened(ctx, row.app_id, row.entity, Verb.READ)
        _refuse_unknown(at, terms_of(row))
    except DomainError as refused:
        return refused.message
    return None


def terms_of(row: SavedView) -> ViewTerms:
    """What a stored view says."""
    return ViewTerms(
        name=row.name,
        where=None if row.where is None else json.loads(row.where),
        dialect=Dialect(row.dialect),
        order_by=row.order_by,
        descending=row.descending,
        columns=row.columns,
        layout=row.layout,
        shared=row.owner_id is None,
    )


async def _changeable(ctx: Ctx, id: UUID) -> SavedView:
    """The view, if the caller made it or administers the app."""
    row = await view(ctx, id)
    if row.created_by != ctx.user() and not ctx.may(app_key(row.app_id, EVERYTHING)):
        raise Denied("a view is changed by who made it, or by who administers the app")
    return await ctx.lock(SavedView, id)


def _write(ctx: Ctx, row: SavedView, at: Opened, terms: ViewTerms) -> None:
    if not 1 <= len(terms.name.strip()) <= NAME_CHARS_MAX:
        raise Invalid("name", f"name must be 1 to {NAME_CHARS_MAX} characters")
    for name, value in asdict(terms).items():
        wrong = json_problem(value)
        if wrong is not None:
            raise Invalid(name, f"{name} {wrong}")
    if len(json_of(terms.layout)) > LAYOUT_BYTES_MAX:
        raise Invalid("layout", f"layout must be at most {LAYOUT_BYTES_MAX} bytes of JSON")
    _refuse_unknown(at, terms)
    row.name = terms.name.strip()
    row.owner_id = None if terms.shared else row.created_by
    row.where = None if terms.where is None else RawJson(json_of(terms.where))
    row.dialect = terms.dialect
    row.order_by, row.descending = terms.order_by, terms.descending
    row.columns, row.layout = list(terms.columns), terms.layout
    row.updated_at = ctx.now


def _refuse_unknown(at: Opened, terms: ViewTerms) -> None:
    condition_of(terms.where, terms.dialect, at.entity)
    service.order_of(at.entity, Query(None, terms.dialect, terms.order_by, terms.descending))
    for name in terms.columns:
        if name not in at.entity.columns:
            raise Invalid("columns", f"unknown field '{name[:80]}' of '{at.entity.name}'")
    if len(set(terms.columns)) < len(terms.columns):
        raise Invalid("columns", "columns must be different")


def _name_taken(terms: ViewTerms, refused: StatementRefused) -> Exception:
    if refused.constraint == "uq_saved_views_name":
        return Conflict(f"there is a view '{terms.name}' already", field="name")
    return refused
