"""Many rows into a table at once: checked rows wait in a table of the transaction's own, and go over by MERGE.

A constraint refuses a statement, not a row. So rows go over in portions; one that is refused is halved until the bad
rows stand alone, each with the refusal that an ordinary write of it would have got. That needs to know nothing of what
constraints there are, and it also lets a row follow another one that is about the same record.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from domain.access.permissions import Verb
from domain.kernel.ctx import Ctx
from domain.kernel.errors import DomainError
from domain.kernel.unit import FOREIGN_KEY_STATES, UNIQUE_STATE, Statement, StatementRefused
from domain.records.declared import Field
from domain.records.naming import literal, quoted
from domain.records.opening import Opened
from domain.records.plan import default_sql, wanted_marks
from domain.records.refusals import DeclarationChanged, record_refusal
from domain.records.service import author
from domain.records.sql import REFUSED, ROW, Params, changeable, checked, condition, relation, signing

PORTION = 2000  # rows
WAITING = "import_rows"
# Columns of our own beside the fields' have names that no field can have.
ID = f"{ROW}.id::text"
NUMBER, VALUES = '"row number"', '"row values"'


class Write(StrEnum):
    """What is done with rows: those whose key a record has are about that one."""

    INSERT = "insert"
    UPDATE = "update"  # rows about no record are left out
    UPSERT = "upsert"


@dataclass(frozen=True, slots=True)
class Merge:
    """What to do with the rows: `fields` are all that any of them has, `key` is a unique one."""

    at: Opened
    fields: Sequence[Field]
    write: Write
    key: Field | None


@dataclass(frozen=True, slots=True)
class Merged:
    """What became of a row: INSERT or UPDATE of a record, or a refusal, with the line the row begins in."""

    number: int
    action: str | None
    record_id: str | None
    refusal: DomainError | None = None
    line: int | None = None


async def prepare(ctx: Ctx) -> None:
    """Make the table in which rows wait, and say who writes them."""
    columns = "(number bigint PRIMARY KEY, line bigint, row jsonb NOT NULL)"
    await ctx.fetch(Statement(f"CREATE TEMPORARY TABLE {WAITING} {columns} ON COMMIT DROP"))
    params = Params()
    await ctx.fetch(Statement(signing(author(ctx), params), tuple(params.values)))


async def wait(ctx: Ctx, rows: Sequence[tuple[int, int | None, str]]) -> None:
    """Let rows wait: their numbers, the lines they begin in, and their values in stored form as JSON text."""
    if rows:
        await ctx.copy(WAITING, ("number", "line", "row"), rows)


async def refused(ctx: Ctx, what: Merge) -> list[Merged]:
    """The waiting rows that links and unique fields refuse whatever else is done, taken out of those that wait.

    What `merge` would find out row by row is asked once for all of them, since whole files are bad for such a reason:
    the same one a second time, or before those it links to. What depends on other rows of the import is left to it.
    """
    found = []
    fields = {field.name: field for field in what.fields}
    for wanted in wanted_marks(what.at.schema, what.at.entity).values():
        field = fields.get(wanted.column or "")
        bad = None if field is None else _bad(what, wanted.kind, field)
        if field is None or bad is None:
            continue
        state = UNIQUE_STATE if wanted.kind == "unique" else FOREIGN_KEY_STATES[0]
        refusal = _refusal(what, StatementRefused(state, "", table=what.at.entity.name, constraint=wanted.name))
        value = f"jsonb_to_record(i.row) AS v ({quoted(field.name)} {field.type.column})"
        sql = (
            f"DELETE FROM {WAITING} w USING {WAITING} i CROSS JOIN LATERAL {value} "
            f"WHERE w.number = i.number AND {bad} RETURNING w.number, w.line"
        )
        rows = await ctx.fetch(Statement(sql))
        found += [Merged(row["number"], None, None, refusal, row["line"]) for row in rows]
    return found


def _bad(what: Merge, kind: str, field: Field) -> str | None:
    """SQL: a constraint refuses the value; None where that cannot be told of a row alone."""
    schema, value = what.at.schema, f"v.{quoted(field.name)}"
    if kind == "unique" and what.write is Write.INSERT:
        there = relation(schema, what.at.entity)
        return f"EXISTS (SELECT FROM {there} {ROW} WHERE {ROW}.{quoted(field.name)} = {value})"
    if kind == "fk" and field.link is not None and field.link.target in schema.types:
        target = schema.types[field.link.target]
        if target != what.at.entity:
            there = relation(schema, target)
            return f"{value} IS NOT NULL AND NOT EXISTS (SELECT FROM {there} {ROW} WHERE {ROW}.id = {value})"
    return None


def _refusal(what: Merge, refused: StatementRefused) -> DomainError:
    """What a caller is told. Raises what is no refusal of a row."""
    refusal = record_refusal(what.at.schema, what.at.entity, refused)
    if not isinstance(refusal, DomainError) or isinstance(refusal, DeclarationChanged):
        raise refusal from refused
    return refusal


async def merge(ctx: Ctx, what: Merge, last: int) -> AsyncGenerator[list[Merged], None]:
    """What becomes of the waiting rows up to the number `last`, a portion at a time."""
    for begin in range(1, last + 1, PORTION):
        yield await _portion(ctx, what, begin, min(begin + PORTION - 1, last))


async def _portion(ctx: Ctx, what: Merge, begin: int, end: int) -> list[Merged]:
    await ctx.fetch(Statement("SAVEPOINT portion"))
    try:
        rows = await ctx.fetch(_statement(what, begin, end))
    except StatementRefused as refused:
        await ctx.fetch(Statement("ROLLBACK TO SAVEPOINT portion"))
        await ctx.fetch(Statement("RELEASE SAVEPOINT portion"))  # each that stays open makes the next ones slower
        if begin < end:
            middle = (begin + end) // 2
            return [*await _portion(ctx, what, begin, middle), *await _portion(ctx, what, middle + 1, end)]
        refusal = _refusal(what, refused)
        found = await ctx.fetch(Statement(f"SELECT line FROM {WAITING} WHERE number = $1", (begin,)))
        return [Merged(begin, None, None, refusal, found[0]["line"])]
    await ctx.fetch(Statement("RELEASE SAVEPOINT portion"))
    return [Merged(row["number"], row["action"], row["id"]) for row in rows]


def _statement(what: Merge, begin: int, end: int) -> Statement:
    """A row's fields that it has no value for take their default in a new record, and stay in one that is there."""
    params = Params()
    numbers = f"i.number BETWEEN {params.add(begin, 'bigint')} AND {params.add(end, 'bigint')}"
    typed = ", ".join(f"{quoted(field.name)} {field.type.column}" for field in what.fields)
    source = (
        f"SELECT i.number AS {NUMBER}, i.row AS {VALUES}, v.* "
        f"FROM {WAITING} i CROSS JOIN LATERAL jsonb_to_record(i.row) AS v ({typed}) WHERE {numbers} ORDER BY i.number"
    )
    met, guard = "false", what.at.entity.guard
    if what.key is not None:
        met = f"{ROW}.{quoted(what.key.name)} = s.{quoted(what.key.name)}"
        if guard is not None and what.write is Write.UPDATE:  # what the caller may not see is not there
            met = f"{met} AND {condition(guard.raw, guard.rows, params)}"
    clauses, checks = [], []
    if what.write is not Write.INSERT:
        sets = [f"{quoted(field.name)} = {_given(field, ROW)}" for field in what.fields if field != what.key]
        touched = "now()"
        allowed = changeable(what.at.entity, Verb.UPDATE, what.fields, params)
        if allowed != "true":  # a row that is left out would not be told of
            touched = f"CASE WHEN {allowed} THEN now() ELSE {REFUSED}::timestamptz END"
        clauses.append(f"WHEN MATCHED THEN UPDATE SET {', '.join([*sets, f'updated_at = {touched}'])}")
        told = checked(what.at.schema, what.at.entity, Verb.UPDATE, what.fields, ID, params)
        checks.append(f"WHEN 'UPDATE' THEN {told}")
    if what.write is not Write.UPDATE:
        names = ", ".join(quoted(field.name) for field in what.fields)
        values = ", ".join(_given(field, None) for field in what.fields)
        clauses.append(f"WHEN NOT MATCHED THEN INSERT ({names}) VALUES ({values})")
        told = checked(what.at.schema, what.at.entity, Verb.CREATE, what.fields, ID, params)
        checks.append(f"WHEN 'INSERT' THEN {told}")
    id = f"CASE merge_action() {' '.join(checks)} END"
    sql = (
        f"MERGE INTO {relation(what.at.schema, what.at.entity)} {ROW} USING ({source}) s ON {met} "
        f"{' '.join(clauses)} RETURNING merge_action() AS action, s.{NUMBER} AS number, {id} AS id"
    )
    return Statement(sql, tuple(params.values))


def _given(field: Field, otherwise: str | None) -> str:
    """The row's value, where it has one; else that of the record `otherwise`, or the default."""
    type = field.type.column
    default = default_sql(field, type) or f"NULL::{type}"
    kept = default if otherwise is None else f"{otherwise}.{quoted(field.name)}"
    return f"CASE WHEN s.{VALUES} ? {literal(field.name)} THEN s.{quoted(field.name)} ELSE {kept} END"
