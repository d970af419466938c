"""What belongs to a record: visible to who may read the record, and gone with it."""

from datetime import timedelta
from typing import Any, TypeVar

from sqlalchemy import Select, delete, or_, update

from domain.collaboration.model import Association, Comment, OfRecord, RecordShare, SavedView
from domain.kernel.ctx import Ctx
from domain.kernel.unit import Statement
from domain.records.past import TRASH_KEPT
from domain.records.subject import Subject

ATTACHED: tuple[type[Any], ...] = (Comment, Association, RecordShare)
LOOKED_BACK = timedelta(days=7)  # how long chores may have stood still

M = TypeVar("M", bound=OfRecord)


def place(subject: Subject) -> dict[str, Any]:
    """What ties a row to the record."""
    at = subject.at
    return {
        "app_id": at.schema.app_id,
        "entity": at.entity.name,
        "record_id": subject.id,
        "record_created_at": subject.created_at,
    }


def of(ctx: Ctx, model: type[M], subject: Subject) -> Select[M]:
    """A select of the rows that belong to the record."""
    rows: Select[M] = ctx.visible(model)  # type: ignore[type-var]
    return rows.filter_by(**place(subject))


async def rename(ctx: Ctx, app_id: str, former: str, entity: str) -> None:
    """Keep what belongs to the records of an entity that is called otherwise now, and its views."""
    models: tuple[type[Any], ...] = (*ATTACHED, SavedView)
    for model in models:
        of_entity = (model.tenant_id == ctx.tenant_id, model.app_id == app_id, model.entity == former)
        await ctx.execute(update(model).where(*of_entity).values(entity=entity))
    to_entity = (Association.to_app_id == app_id) & (Association.to_entity == former)
    await ctx.execute(
        update(Association).where(Association.tenant_id == ctx.tenant_id, to_entity).values(to_entity=entity)
    )


async def forget_app(ctx: Ctx, app_id: str) -> None:
    """Let go of everything that belongs to the records of an app that is no more."""
    models: tuple[type[Any], ...] = (*ATTACHED, SavedView)
    for model in models:
        await ctx.execute(delete(model).where(model.tenant_id == ctx.tenant_id, model.app_id == app_id))
    await ctx.execute(
        delete(Association).where(Association.tenant_id == ctx.tenant_id, Association.to_app_id == app_id)
    )


async def forget_record(ctx: Ctx, app_id: str, entity: str, id: str) -> None:
    """Let go of everything that belongs to a record that is gone for good."""
    for model in ATTACHED:
        of_record = (model.app_id == app_id) & (model.entity == entity) & (model.record_id == id)
        if model is Association:
            to_record = (model.to_app_id == app_id) & (model.to_entity == entity) & (model.to_id == id)
            of_record = or_(of_record, to_record)
        await ctx.execute(delete(model).where(model.tenant_id == ctx.tenant_id, of_record))


async def forget_gone(ctx: Ctx) -> None:
    """Let go of everything that belongs to records, of all tenants, which cannot come out of the trash any more."""
    until = ctx.now - TRASH_KEPT
    for place in ENDS:
        await ctx.fetch(Statement(_FORGET_SQL.format(**place), (until - LOOKED_BACK, until)))


ENDS = [
    {"table": f"stoa.{model.__tablename__}", "app": "app_id", "entity": "entity", "id": "record_id"}
    for model in ATTACHED
]
ENDS.append({"table": "stoa.record_associations", "app": "to_app_id", "entity": "to_entity", "id": "to_id"})

# A record's last entry is its deletion: it has not come back, and nothing else has come in its place.
_FORGET_SQL = """
DELETE FROM {table} r USING stoa.audit_log a
WHERE a.operation = 'DELETE' AND a.changed_at > $1 AND a.changed_at <= $2
  AND r.tenant_id = a.tenant_id AND r.{app} = a.app_id AND r.{entity} = a.entity AND r.{id} = a.record_id
  AND NOT EXISTS (
      SELECT FROM stoa.audit_log l
      WHERE l.tenant_id = a.tenant_id AND l.record_id = a.record_id AND l.id > a.id
        AND l.app_id = a.app_id AND l.entity = a.entity
  )
"""
