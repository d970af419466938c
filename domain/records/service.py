"""Records: reading, finding and writing them, whatever app declared them. What comes out is the row as JSON text."""

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NoReturn, TypeAlias, TypeVar

import orjson

from domain.access.permissions import Verb
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Invalid, TooComplex
from domain.kernel.page import FIRST_DEFAULT, bounded_first, seal_cursor, unseal_cursor
from domain.kernel.rawjson import RawJson, array_of, json_of
from domain.kernel.unit import Statement
from domain.records import searching, sql
from domain.records.declared import SYSTEM_FIELDS, Field, ObjectType
from domain.records.identity import chosen_apps, linked_records
from domain.records.later import Origin, as_given, filled, read_operand, traced
from domain.records.linking import linked_fields, write_links
from domain.records.opening import Opened, id_operand, missing, opened, record_id
from domain.records.policies import of_any_row
from domain.records.query import All, Condition, Op, Order, Sought, Test
from domain.records.refusals import DeclarationChanged, outside, refused_as_declared
from domain.records.sealing import named, sealed_row, sealed_rows
from domain.records.spelling.dialects import Dialect, condition_of
from domain.records.sql import Author, Select, Told
from domain.records.types import MASK, ListType, NotOfType, SecretType

BULK_MAX = 1000
ROWS_MAX = 100_000  # what a list without a limit may come to
OFFSET_MAX = 10_000_000

WHERE = "where"
LIMIT, OFFSET = as_given("limit"), as_given("offset")
EQUAL_BESIDE = frozenset({Dialect.STOA, Dialect.ROOTCX})  # where a value beside a field is what it must equal

T = TypeVar("T")
Rows: TypeAlias = Sequence[Mapping[str, Any]]


# Reading.


async def get(ctx: Ctx, app_id: str, entity: str, id: str) -> RawJson:
    """One record. Raises Invalid on `id`, Denied, Missing."""
    id = record_id(ctx, app_id, id)

    async def read(at: Opened) -> RawJson:
        operand = id_operand(at.entity, id)
        found = await refused_as_declared(at.schema, at.entity, ctx.look_up(sql.look_up(at.schema, at.entity), operand))
        if found is None:
            raise missing(id)
        return RawJson(found)

    return await _as_declared(ctx, app_id, entity, read)


async def _as_declared(ctx: Ctx, app_id: str, entity: str, read: Callable[[Opened], Awaitable[T]]) -> T:
    """What `read` makes of the entity; once more if its declaration changed since it was looked up."""
    try:
        return await read(await opened(ctx, app_id, entity, Verb.READ))
    except DeclarationChanged:
        ctx.ports.catalog.forget(ctx.tenant_id, app_id)
        return await read(await opened(ctx, app_id, entity, Verb.READ))


def _has_id(at: Opened, id: str) -> Test:
    """Which record has this id. Raises Missing as `id_operand` does."""
    return Test(at.entity.columns["id"], Op.EQ, id_operand(at.entity, id))


def _one(rows: Rows, id: str) -> RawJson:
    if not rows:
        raise missing(id)
    return RawJson(rows[0]["doc"])


async def _fetch(ctx: Ctx, at: Opened, statement: Statement) -> Rows:
    return await refused_as_declared(at.schema, at.entity, ctx.fetch(statement))


async def _conclude(ctx: Ctx, at: Opened, statement: Statement) -> Rows:
    """Run the statement that is all that its operation does."""
    return await refused_as_declared(at.schema, at.entity, ctx.conclude(statement))


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked of an entity's records. `after` and `offset` exclude each other.

    `first` None means all of them (RootCX lists), up to a bound.
    """

    where: Any = None
    dialect: Dialect = Dialect.STOA
    order_by: str | None = None
    descending: bool = True
    first: int | None = FIRST_DEFAULT
    after: str | None = None
    offset: int = 0
    search: str | None = None  # words to find; the best matches first where no order is asked for
    linked: Any = None  # whose records with the same identity to add: True, or the ids of apps

    @property
    def is_plain(self) -> bool:
        """Whether it asks for no more than that fields have these values."""
        if self.search is not None or self.after is not None or self.linked is not None:
            return False
        if self.where is None:
            return True
        if not isinstance(self.where, dict) or self.dialect not in EQUAL_BESIDE:
            return False
        return not any(value is None or isinstance(value, dict | list) for value in self.where.values())


@dataclass(frozen=True, slots=True)
class Found:
    """A page of records. Only what was wanted is there."""

    rows: RawJson | None
    documents: Sequence[RawJson]
    cursors: Sequence[str]
    has_next: bool
    total: int | None


async def find(ctx: Ctx, app_id: str, entity: str, query: Query, wanted: Collection[str]) -> Found:
    """A page of records, newest first unless told otherwise, ties by id.

    `wanted` names what is needed of it: `rows` (all in one JSON text), `documents` (each by itself, with its
    cursor) and `total`. Raises Denied, Missing, and Invalid on the part of the query that is wrong.
    """
    return await _as_declared(ctx, app_id, entity, lambda at: _found(ctx, at, query, wanted))


async def _found(ctx: Ctx, at: Opened, query: Query, wanted: Collection[str]) -> Found:
    if query.is_plain and "rows" in wanted and "documents" not in wanted:
        return await _plainly_found(ctx, at, query, total="total" in wanted)
    where = condition_of(query.where, query.dialect, at.entity)
    order = order_of(at.entity, query)
    if query.search is not None:
        sought = sought_of(at.entity, query.search)
        where = All([where, sought])
        order = order if query.order_by else [Order(sought, descending=True), *order]
    scope = _scope(at, query)
    key = unseal_cursor(ctx, scope, query.after) if query.after is not None else None
    select = Select(
        at.schema, at.entity, where, order, limit=_limit(query), offset=_offset(query), after=key,
        window_total="total" in wanted and query.dialect is Dialect.ROOTCX,
        linked=await linked_records(ctx, at, chosen_apps(query.linked)),
    )  # fmt: skip
    if "documents" in wanted:
        found = await _documents(ctx, at, query, select, scope)
    elif "rows" in wanted or select.window_total:
        found = await _rows(ctx, at, select.whole(), counted=select.window_total)
    else:
        found = Found(None, (), (), has_next=False, total=None)
    if "total" in wanted and found.total is None:
        found = replace(found, total=await _count(ctx, at, where))
    return found


async def _plainly_found(ctx: Ctx, at: Opened, query: Query, *, total: bool) -> Found:
    """What `_found` comes to, by a statement that is made once for all queries of this form."""
    by, limit, offset = _ordered_by(at.entity, query), _limit(query), _offset(query)
    counted = total and query.dialect is Dialect.ROOTCX

    def made() -> Statement:
        where = condition_of(traced(query.where, Origin(WHERE)), query.dialect, at.entity)
        order, begin = _order(at.entity, by, query), OFFSET if offset else 0
        return Select(at.schema, at.entity, where, order, LIMIT, begin, window_total=counted).whole()

    form = (
        "list", at.entity.name, query.dialect, tuple(query.where or ()),
        by.name, query.descending, offset > 0, counted,
    )  # fmt: skip
    statement = at.schema.statement(form, made)
    given = {WHERE: query.where, LIMIT.variable: limit, OFFSET.variable: offset}
    found = await _rows(ctx, at, Statement(statement.sql, filled(statement.args, given)), counted=counted)
    if total and not counted:
        where = condition_of(query.where, query.dialect, at.entity)
        found = replace(found, total=await _count(ctx, at, where))
    return found


async def _count(ctx: Ctx, at: Opened, where: Condition) -> int:
    counted = await _fetch(ctx, at, sql.count(at.schema, at.entity, where))
    total: int = counted[0]["total"]
    return total


def sought_of(entity: ObjectType, text: str) -> Sought:
    """What a search text asks of an entity's records. Raises Invalid on `search`."""
    if entity.search is None:
        raise Invalid("search", f"the records of '{entity.name}' are not searched: its declaration has no search")
    asked = read_operand(searching.reader(entity.search), text, "search")
    return Sought(entity, asked.text, asked.alike, asked.exact or None)


def order_of(entity: ObjectType, query: Query) -> list[Order]:
    """The order a query asks for, ended by the id. Raises Invalid."""
    return _order(entity, _ordered_by(entity, query), query)


def _order(entity: ObjectType, field: Field, query: Query) -> list[Order]:
    order = [Order(field, query.descending)]
    return order if field.name == "id" else [*order, Order(entity.columns["id"])]


def _ordered_by(entity: ObjectType, query: Query) -> Field:
    """The field that a query orders by. Raises Invalid."""
    name = query.order_by or "created_at"
    field = entity.columns.get(name)
    if field is None and query.dialect is Dialect.ROOTCX:
        field = entity.columns["created_at"]
    if field is None:
        raise Invalid("orderBy", f"unknown field '{name[:80]}' of '{entity.name}'")
    if not field.type.sortable and query.dialect is not Dialect.ROOTCX:
        raise Invalid("orderBy", f"records cannot be ordered by the {field.type.name} field '{name}'")
    return field


def _scope(at: Opened, query: Query) -> str:
    """What a cursor is good for: this list in this order."""
    asked = [
        at.schema.app_id,
        at.entity.name,
        query.order_by,
        query.descending,
        query.where,
        query.dialect,
        query.search,
    ]
    return f"records:{json_of(asked)}"


def _limit(query: Query) -> int:
    if query.first is None:
        return ROWS_MAX + 1
    return bounded_first(query.first)


def _offset(query: Query) -> int:
    if not 0 <= query.offset <= OFFSET_MAX:
        raise Invalid("offset", f"offset must be between 0 and {OFFSET_MAX}")
    if query.offset and query.after is not None:
        raise Invalid("offset", "offset and after exclude each other")
    return query.offset


async def _rows(ctx: Ctx, at: Opened, statement: Statement, *, counted: bool) -> Found:
    """What `Select.whole` tells."""
    row = (await _fetch(ctx, at, statement))[0]
    if row["returned"] > ROWS_MAX:
        raise TooComplex(f"more than {ROWS_MAX} records: ask for a part of them with limit and offset", field="limit")
    return Found(RawJson(row["rows"]), (), (), has_next=False, total=row["total"] if counted else None)


async def _documents(ctx: Ctx, at: Opened, query: Query, select: Select, scope: str) -> Found:
    assert isinstance(select.limit, int)
    found = await _fetch(ctx, at, replace(select, limit=select.limit + 1, window_total=False).rowwise())
    page = found[: select.limit]
    documents = [RawJson(row["doc"]) for row in page]
    cursors = [seal_cursor(ctx, scope, orjson.loads(row["key"])) for row in page]
    return Found(array_of(documents), documents, cursors, len(found) > select.limit, None)


# Writing.


def author(ctx: Ctx) -> Author:
    """Who writes, as the audit log has it."""
    delegator = ctx.actor.delegator_id
    return Author(
        user_id=str(ctx.user()), delegator_id=str(delegator or ""), door=ctx.request.door, hooks=ctx.request.hooks
    )


# Who writes, in a statement that is kept, and what it has beside.
AUTHOR = Author(as_given("author user"), as_given("author delegator"), as_given("author door"))
ROWS = as_given("rows")


def author_values(author: Author) -> dict[str, Any]:
    """What a run fills `AUTHOR` with."""
    return {"author user": author.user_id, "author delegator": author.delegator_id, "author door": author.door}


async def create(ctx: Ctx, app_id: str, entity: str, values: Any) -> RawJson:
    """Store a new record. Fields left out take their default. Raises Denied, Missing, Conflict, Invalid."""
    at = await opened(ctx, app_id, entity, Verb.CREATE)
    row = row_of(at, values, "values")
    if not row:
        raise Invalid("values", "the record must have at least one field")
    refuse_missing(at, row)
    return (await _insert_only(ctx, at, [row]))[0]


async def create_many(ctx: Ctx, app_id: str, entity: str, records: Any) -> list[RawJson]:
    """Store up to 1000 new records, all or none, and return them in order.

    A field that any of them has is written in each: the ones without it get null, not the default (RootCX Data
    API, bulk). Raises Denied, Missing, Conflict, Invalid.
    """
    at = await opened(ctx, app_id, entity, Verb.CREATE)
    if not isinstance(records, list):
        raise Invalid("values", "the records must be a list")
    if not 1 <= len(records) <= BULK_MAX:
        raise Invalid("values", f"there must be 1 to {BULK_MAX} records, there are {len(records)}")
    rows = []
    for index, values in enumerate(records):
        with _of_many(index):
            rows.append(row_of(at, values, ""))
    if not all(records) or not any(rows):
        raise Invalid("values", "each record must have at least one field")
    names = {name for row in rows for name in row}
    rows = [{name: row.get(name) for name in names} for row in rows]
    for index, row in enumerate(rows):
        with _of_many(index):
            refuse_missing(at, row)
    return await _insert_only(ctx, at, rows)


@contextmanager
def _of_many(index: int) -> Iterator[None]:
    """Around what is done with one of many records: a refusal tells which one."""
    try:
        yield
    except Invalid as wrong:
        inside = f".{wrong.field}" if wrong.field else ""
        raise Invalid(f"values.{index}{inside}", f"at index {index}: {wrong.message}") from wrong


def row_of(at: Opened, values: Any, path: str) -> dict[str, Any]:
    """The fields to write, checked and in stored form. What the system sets or computes is left out. Raises Invalid."""
    if not isinstance(values, dict):
        raise Invalid(path, "the record must be an object")
    if not values:
        raise Invalid(path, "the record must have at least one field")
    row = {}
    for name, value in values.items():
        field = at.entity.columns.get(name)
        if field is None:
            raise Invalid(name, f"unknown field '{name[:80]}' of '{at.entity.name}'")
        set_by_writer = name not in SYSTEM_FIELDS or (name == "id" and at.entity.own_id)
        as_it_is = isinstance(field.type, SecretType) and value == MASK  # as it was shown
        if set_by_writer and field.writable and not as_it_is:
            row[name] = _stored(field, value)
    return row


def _stored(field: Field, value: Any) -> Any:
    if value is None:
        if field.required:
            raise Invalid(field.name, f"field '{field.name}' is required")
        return None
    try:
        stored = field.type.stored(value)
    except NotOfType as wrong:
        raise Invalid(field.name, f"field '{field.name}' {wrong}") from wrong
    if field.options is not None:
        _refuse_other(field, stored)
    return stored


def _refuse_other(field: Field, stored: Any) -> None:
    """Raises Invalid for a value (of a list, one of its values) that is none of the field's options."""
    assert field.options is not None
    type = field.type.element
    known = {type.operand(option) for option in field.options}
    values = stored if isinstance(field.type, ListType) else [stored]
    if not all(type.operand(value) in known for value in values):
        raise Invalid(field.name, f"field '{field.name}' must be one of {', '.join(field.options[:20])}")


def refuse_missing(at: Opened, row: Mapping[str, Any]) -> None:
    """Raises Invalid where a required field has no value, and no default."""
    for field in at.entity.fields:
        absent = row.get(field.name) is None and (field.name in row or field.default is None)
        if field.required and absent and field.name != "id" and field.writable:
            raise Invalid(field.name, f"field '{field.name}' is required")


async def _insert_only(ctx: Ctx, at: Opened, rows: list[dict[str, Any]]) -> list[RawJson]:
    """Insert rows as `insert_rows` does, which is all that the operation does."""
    if linked_fields(at, rows):
        return await insert_rows(ctx, at, rows)
    stored = await _conclude(ctx, at, _insertion(ctx, at, await sealed_rows(ctx, at, rows)))
    return [RawJson(row["doc"]) for row in stored]


def _insertion(ctx: Ctx, at: Opened, rows: list[dict[str, Any]], told: Told | None = None) -> Statement:
    fields = [field for name, field in at.entity.stored.items() if name in rows[0]]
    text, by = str(json_of(rows)), author(ctx)
    if told is not None or by.hooks:
        made = sql.insert(at.schema, at.entity, fields, text, by, told)
        return made if len(rows) == 1 else replace(made, adds=None)
    form = ("insert", at.entity.name, *[field.name for field in fields])
    made = at.schema.statement(form, lambda: sql.insert(at.schema, at.entity, fields, ROWS, AUTHOR))
    args = filled(made.args, {ROWS.variable: text, **author_values(by)})
    return Statement(made.sql, args, made.adds if len(rows) == 1 else None)


async def insert_rows(ctx: Ctx, at: Opened, rows: list[dict[str, Any]], told: Told | None = None) -> list[RawJson]:
    """Insert rows in stored form, each with the same fields, as they are. Raises Conflict, Invalid."""
    links = linked_fields(at, rows)
    rows = await sealed_rows(ctx, at, named(rows) if links else rows)
    stored = await _fetch(ctx, at, _insertion(ctx, at, rows, told))
    for row in rows if links else ():
        await write_links(ctx, at, links, id_operand(at.entity, row["id"]), row)
    if links and told is None:
        ids = [id_operand(at.entity, row["id"]) for row in rows]
        stored = await _fetch(ctx, at, sql.by_ids(at.schema, of_any_row(at.entity), ids))
    return [RawJson(row["doc"]) for row in stored]


async def update(ctx: Ctx, app_id: str, entity: str, id: str, changes: Any) -> RawJson:
    """Change the given fields of a record; null clears one. Raises Denied, Missing, Conflict, Invalid."""
    id = record_id(ctx, app_id, id)
    at = await opened(ctx, app_id, entity, Verb.UPDATE)
    row = {name: value for name, value in row_of(at, changes, "values").items() if name != "id"}
    fields = [field for name, field in at.entity.stored.items() if name in row]
    links = linked_fields(at, [row])
    written = {name: value for name, value in row.items() if name not in {link.name for link in links}}
    text = str(json_of(await sealed_row(ctx, at, id, written)))
    statement = sql.update(at.schema, at.entity, fields, _has_id(at, id), f"[{text}]", author(ctx))
    if not links:
        return await _changed(ctx, at, await _conclude(ctx, at, statement), id)
    await _changed(ctx, at, await _fetch(ctx, at, statement), id)
    await write_links(ctx, at, links, id_operand(at.entity, id), row)
    return _one(await _fetch(ctx, at, sql.by_id(at.schema, of_any_row(at.entity), id_operand(at.entity, id))), id)


async def _changed(ctx: Ctx, at: Opened, rows: Rows, id: str) -> RawJson:
    """What became of one record. Raises Missing; Denied where the caller may only see it."""
    if not rows:
        await refuse_unchanged(ctx, at, id)
    return RawJson(rows[0]["doc"])


async def refuse_unchanged(ctx: Ctx, at: Opened, id: str) -> NoReturn:
    """Say why a record was not changed. Raises Denied where the caller may see it; Missing where not even that."""
    if at.entity.guard is not None and await _fetch(
        ctx, at, sql.by_id(at.schema, at.entity, id_operand(at.entity, id))
    ):
        raise outside(at.entity)
    raise missing(id)


async def delete(ctx: Ctx, app_id: str, entity: str, id: str) -> RawJson:
    """Delete a record; returns what it was. Raises Denied, Missing, Conflict, Invalid on `id`."""
    id = record_id(ctx, app_id, id)
    at = await opened(ctx, app_id, entity, Verb.DELETE)
    statement = sql.delete(at.schema, at.entity, _has_id(at, id), author(ctx))
    return await _changed(ctx, at, await _conclude(ctx, at, statement), id)
