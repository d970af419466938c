"""The audit log."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import strawberry

from domain.access.permissions import Permission
from domain.audit import service
from domain.audit.model import AuditEntry as Entry
from domain.audit.service import AuditField as Field
from domain.audit.service import AuditFilter, AuditQuery, Match
from domain.kernel.ctx import Ctx
from domain.kernel.page import FIRST_MAX
from graph.records import Direction
from graph.rules import Access, about, bounded, query
from graph.scalars import BigInt, Json

Info = strawberry.Info[Ctx, None]

AuditField = strawberry.enum(service.AuditField, description="What audit entries can be filtered and ordered by.")
AuditMatch = strawberry.enum(service.Match, name="AuditMatch", description="How a field is compared.")


@strawberry.input(description="One condition on audit entries.")
class AuditFilterInput:
    field: AuditField  # type: ignore[valid-type]
    value: str
    match: AuditMatch = service.Match.EQ  # type: ignore[valid-type]


@strawberry.type(description="One change of one record. Entries are only ever added.")
class AuditEntry:
    id: BigInt
    app: strawberry.ID
    entity: str
    record_id: str
    operation: str = strawberry.field(description="INSERT, UPDATE or DELETE")
    old_record: Json | None
    new_record: Json | None
    actor_id: UUID | None
    delegator_id: UUID | None = strawberry.field(description="For whom an agent acted.")
    door: str | None = strawberry.field(description="By which way the change came; null for one by hand.")
    changed_at: datetime


def _entry(row: Entry) -> AuditEntry:
    def json(value: Any) -> Json | None:
        return None if value is None else Json(value)

    return AuditEntry(
        id=BigInt(row.id),
        app=strawberry.ID(row.app_id),
        entity=row.entity,
        record_id=row.record_id,
        operation=row.operation,
        old_record=json(row.old_record),
        new_record=json(row.new_record),
        actor_id=row.actor_id,
        delegator_id=row.delegator_id,
        door=row.door,
        changed_at=row.changed_at,
    )


@strawberry.type
class AuditLogQuery:
    @query(access=Access(permission=Permission.AUDIT_READ))
    async def audit_entries(
        self,
        info: Info,
        app: Annotated[strawberry.ID | None, about("Of this app only.")] = None,
        entity: Annotated[str | None, about("Of this entity only.")] = None,
        record_id: Annotated[str | None, about("Of this record only.")] = None,
        operation: Annotated[str | None, about("INSERT, UPDATE or DELETE only.")] = None,
        filters: Annotated[list[AuditFilterInput] | None, about("Conditions that all must hold.")] = None,
        order_by: Annotated[AuditField | None, about("Without it by id.")] = None,  # type: ignore[valid-type]
        direction: Annotated[Direction, about("Which way.")] = Direction.DESC,
        first: Annotated[int, bounded("How many to return.", minimum=1, maximum=FIRST_MAX)] = service.FIRST_DEFAULT,
        before: Annotated[BigInt | None, about("Only entries with a smaller id.")] = None,
    ) -> list[AuditEntry]:
        """The changes of records, newest first unless told otherwise."""
        equal = {Field.APP: app, Field.ENTITY: entity, Field.RECORD_ID: record_id, Field.OPERATION: operation}
        wanted = [AuditFilter(field, Match.EQ, value) for field, value in equal.items() if value is not None]
        wanted += [AuditFilter(f.field, f.match, f.value) for f in filters or ()]
        asked = AuditQuery(wanted, order_by, direction is Direction.DESC, first, before)
        return [_entry(row) for row in await service.entries(info.context, asked)]
