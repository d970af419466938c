"""Many-to-many fields: lists of ids, kept in a table of links beside the records' own."""

from collections.abc import Mapping, Sequence
from typing import Any

from domain.kernel.ctx import Ctx
from domain.kernel.errors import Conflict
from domain.kernel.unit import FOREIGN_KEY_STATES, Statement, StatementRefused
from domain.records.computed import Links
from domain.records.declared import Field
from domain.records.opening import Opened
from domain.records.refusals import NOWHERE
from domain.records.sql import Params, source

Row = Mapping[str, Any]


def linked_fields(at: Opened, rows: Sequence[Row]) -> list[Field]:
    """The many-to-many fields that rows have a value for. Raises Denied where a policy of the caller's closes one."""
    found = [
        field
        for field in at.entity.fields
        if isinstance(field.computed, Links) and any(field.name in row for row in rows)
    ]
    if at.entity.guard is not None:
        at.entity.guard.refuse_closed(field.name for field in found)
    return found


async def write_links(ctx: Ctx, at: Opened, fields: Sequence[Field], id: object, row: Row) -> None:
    """Make the links of the record with this id those of the row, in their order.

    Raises Conflict for a link to a record that is not there, or not for the caller: which of the two is not told.
    """
    for field in fields:
        if field.name in row:
            values = row[field.name] or []
            nowhere = Conflict(NOWHERE.format(field=field.name), field=field.name)
            unseen = _unseen(at, field, values)
            if unseen is not None and (await ctx.fetch(unseen))[0]["unseen"]:
                raise nowhere
            try:
                await ctx.fetch(_replaced(at, field, id, values))
            except StatementRefused as refused:
                if refused.sqlstate not in FOREIGN_KEY_STATES:
                    raise
                raise nowhere from refused


def _unseen(at: Opened, field: Field, values: list[Any]) -> Statement | None:
    """Whether one of the records is not there for the caller, as `unseen`; None where they all are that there are."""
    links, type = field.computed, field.type.element
    assert isinstance(links, Links)
    target = at.schema.types[links.entity]
    if target.guard is None:
        return None
    params = Params()
    targets = params.add([type.operand(value) for value in values], type.bound_list)
    there = f"SELECT FROM {source(at.schema, target, params)} l WHERE l.id = v.id"
    sql = f"SELECT EXISTS (SELECT FROM unnest({targets}) AS v (id) WHERE NOT EXISTS ({there})) AS unseen"
    return Statement(sql, tuple(params.values))


def _replaced(at: Opened, field: Field, id: object, values: list[Any]) -> Statement:
    links, type = field.computed, field.type.element
    assert isinstance(links, Links)
    params = Params()
    itself = params.add(id, at.entity.columns["id"].type.bound)
    targets = params.add([type.operand(value) for value in values], type.bound_list)
    sql = (
        f"WITH gone AS (DELETE FROM {links.table} WHERE source_id = {itself} AND target_id <> ALL ({targets})) "
        f"INSERT INTO {links.table} (source_id, target_id, position) "
        f"SELECT {itself}, v.target_id, v.position FROM unnest({targets}) WITH ORDINALITY AS v (target_id, position) "
        "ON CONFLICT (source_id, target_id) DO UPDATE SET position = excluded.position"
    )
    return Statement(sql, tuple(params.values))
