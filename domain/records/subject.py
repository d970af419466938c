"""One record that something is about: its versions, comments, shares."""

from dataclasses import dataclass
from datetime import datetime

from domain.access.permissions import Verb
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Missing
from domain.kernel.unit import Statement
from domain.records.opening import Opened, id_operand, missing, opened, record_id
from domain.records.refusals import refused_as_declared
from domain.records.sql import ROW, Params, source


@dataclass(frozen=True, slots=True)
class Subject:
    """A record the caller may see. `created_at` tells it from an earlier one of the same id."""

    at: Opened
    id: str
    created_at: datetime


async def subject(ctx: Ctx, app_id: str, entity: str, id: str, verb: Verb = Verb.READ) -> Subject:
    """The record, if the caller may do that to it. Raises Invalid on `id`, Denied, Missing."""
    id = record_id(ctx, app_id, id)
    at = await opened(ctx, app_id, entity, verb)
    found = await find(ctx, at, id)
    if found is None:
        raise missing(id)
    return found


async def held(ctx: Ctx, app_id: str, entity: str, id: str, verb: Verb = Verb.READ) -> Subject:
    """As `subject`; and the record stays until this operation ends."""
    id = record_id(ctx, app_id, id)
    at = await opened(ctx, app_id, entity, verb)
    found = await find(ctx, at, id, lock=" FOR KEY SHARE")
    if found is None:
        raise missing(id)
    return found


async def find(ctx: Ctx, at: Opened, id: str, lock: str = "") -> Subject | None:
    """The record with this id, or None."""
    type = at.entity.columns["id"].type
    try:
        operand = id_operand(at.entity, id)
    except Missing:
        return None
    params = Params()
    picked = f"{ROW}.id = {params.add(operand, type.column)}"
    sql = f"SELECT {ROW}.created_at FROM {source(at.schema, at.entity, params)} {ROW} WHERE {picked}"
    rows = await refused_as_declared(at.schema, at.entity, ctx.fetch(Statement(sql + lock, tuple(params.values))))
    return Subject(at, id, rows[0]["created_at"]) if rows else None
