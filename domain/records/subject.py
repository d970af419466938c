"""One record that something is about: its versions, comments, shares."""

from dataclasses import dataclass
from datetime import datetime

from domain.access.permissions import Verb
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Missing
from domain.kernel.unit import Statement, StatementRefused
from domain.records.opening import Opened, opened, record_id
from domain.records.refusals import record_refusal
from domain.records.sql import ROW, Params, source
from domain.records.types import NotOfType


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
        operand = type.operand(id)
    except NotOfType:
        return None
    params = Params()
    picked = f"{ROW}.id = {params.add(operand, type.column)}"
    sql = f"SELECT {ROW}.created_at FROM {source(at.schema, at.entity, params)} {ROW} WHERE {picked}"
    try:
        rows = await ctx.fetch(Statement(sql + lock, tuple(params.values)))
    except StatementRefused as refused:
        raise record_refusal(at.schema, at.entity, refused) from refused
    return Subject(at, id, rows[0]["created_at"]) if rows else None


def missing(id: str) -> Missing:
    """The one wording for a record that is not there."""
    return Missing(f"record '{id}' not found")
