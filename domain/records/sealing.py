"""Secret fields: sealed on the way into a row, revealed by an operation and a permission of their own.

The envelope is in the row, so that a record that goes, however it goes, takes its secrets along. It is bound to its
record: copied to another one it cannot be read.
"""

from collections.abc import Sequence
from typing import Any

from domain.access.permissions import Verb, reveal_key
from domain.audit import service as audit
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Invalid
from domain.kernel.ids import uuid7
from domain.kernel.secret import SecretText
from domain.kernel.unit import Statement
from domain.records.naming import quoted
from domain.records.opening import Opened, id_operand, missing, opened, record_id
from domain.records.sql import ROW, Params, source
from domain.records.types import SecretType
from domain.secrets import in_rows

Row = dict[str, Any]


async def sealed_row(ctx: Ctx, at: Opened, id: str, row: Row) -> Row:
    """The row of the record with this id with its secrets sealed. Raises Unavailable without the master keys."""
    found = dict(row)
    for name, value in row.items():
        if isinstance(value, SecretText):
            found[name] = await in_rows.seal(ctx, at.schema.app_id, id, value)
    return found


async def sealed_rows(ctx: Ctx, at: Opened, rows: Sequence[Row]) -> list[Row]:
    """New rows with their secrets sealed: those get their ids here, which secrets are bound to."""
    if not any(isinstance(value, SecretText) for row in rows for value in row.values()):
        return list(rows)
    return [await sealed_row(ctx, at, str(row["id"]), row) for row in named(rows)]


def named(rows: Sequence[Row]) -> list[Row]:
    """New rows with ids: what they are called before they are stored."""
    return [row if row.get("id") is not None else {**row, "id": str(uuid7())} for row in rows]


async def reveal(ctx: Ctx, app_id: str, entity: str, id: str, field: str) -> SecretText | None:
    """A secret of a record in the clear, None where it has none. Who looked is in the audit log.

    Raises Denied, Missing; Invalid on `field`.
    """
    id = record_id(ctx, app_id, id)
    ctx.need(reveal_key(app_id, entity))
    at = await opened(ctx, app_id, entity, Verb.READ)
    ctx.keep_nothing()
    declared = at.entity.stored.get(field)
    if declared is None or not isinstance(declared.type, SecretType):
        raise Invalid("field", f"'{field[:80]}' is not a secret field of '{entity}'")
    params, type = Params(), at.entity.columns["id"].type
    parts, picked = (
        in_rows.parts_of(f"{ROW}.{quoted(field)}"),
        f"{ROW}.id = {params.add(id_operand(at.entity, id), type.bound)}",
    )
    sql = f"SELECT {parts} FROM {source(at.schema, at.entity, params)} {ROW} WHERE {picked}"
    rows = await ctx.fetch(Statement(sql, tuple(params.values)))
    if not rows:
        raise missing(id)
    await audit.note(ctx, audit.Note(entity, id, "REVEAL", after={"field": field}, app_id=app_id))
    return in_rows.revealed(ctx, app_id, id, rows[0])
