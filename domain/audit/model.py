"""The audit log: what happened to which record, written by the tables' own triggers."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Identity, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from domain.kernel.model import Base, JsonText, OfTenant
from domain.kernel.rawjson import RawJson

DELETED = text("operation = 'DELETE'")  # what can be in the trash


class AuditEntry(OfTenant, Base):
    """One change of one record, or of the platform itself. Rows are only ever added."""

    __tablename__ = "audit_log"
    __table_args__ = (
        Index(None, "tenant_id", "app_id", "entity", "id"),
        Index(None, "tenant_id", "record_id"),
        Index("ix_audit_log_deleted", "tenant_id", "app_id", "entity", "id", postgresql_where=DELETED),
        Index("ix_audit_log_deleted_at", "changed_at", postgresql_where=DELETED),
    )
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    tenant_id: Mapped[UUID]  # no key to the tenants: each entry would lock a row that all writers share
    app_id: Mapped[str]
    entity: Mapped[str]
    record_id: Mapped[str]
    operation: Mapped[str]  # INSERT, UPDATE or DELETE; PURGE out of the trash; READ of what is a secret
    old_record: Mapped[RawJson | None] = mapped_column(JsonText)
    new_record: Mapped[RawJson | None] = mapped_column(JsonText)
    actor_id: Mapped[UUID | None]
    delegator_id: Mapped[UUID | None]  # for whom an agent acted
    door: Mapped[str | None]  # api, agent_tool, ...; None for a change by hand
    changed_at: Mapped[datetime]
