"""Hooks of records. The tables' own triggers look for them, and write the jobs."""

from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from domain.kernel.model import SCHEMA, Base, Identified


class Operation(StrEnum):
    """What happens to a record."""

    INSERT = "INSERT"
    UPDATE = "UPDATE"
    DELETE = "DELETE"


class HookAction(StrEnum):
    """What a hook does."""

    JOB = "job"  # a job for the app's code
    AGENT = "agent"  # the app's agent is told


class RecordHook(Identified, Base):
    """One job for each record of `entity` that `operation` happens to.

    `target_app_id` is the app whose code or agent it is for, the records' own app without one.
    """

    __tablename__ = "record_hooks"
    __table_args__ = (Index(None, "tenant_id", "app_id", "entity", "operation"),)
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey(f"{SCHEMA}.tenants.id"))
    app_id: Mapped[str]
    entity: Mapped[str]
    operation: Mapped[str]
    action: Mapped[str]
    target_app_id: Mapped[str | None]
    config: Mapped[dict[str, Any]] = mapped_column(JSONB)
    active: Mapped[bool]
    declared_by: Mapped[str | None]  # the app whose manifest asks for it
    owner_id: Mapped[UUID | None] = mapped_column(ForeignKey(f"{SCHEMA}.users.id", ondelete="SET NULL"), index=True)
