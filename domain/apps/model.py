"""Installed apps."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from domain.kernel.model import SCHEMA, Base, OfTenant


class App(OfTenant, Base):
    """An app of a tenant: its manifest, and the PostgreSQL schema that holds its records."""

    __tablename__ = "apps"
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey(f"{SCHEMA}.tenants.id"), primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    version: Mapped[str]
    description: Mapped[str]
    kind: Mapped[str]  # app, integration or agent
    manifest: Mapped[dict[str, Any]] = mapped_column(JSONB)  # in its parsed form, unknown keys gone
    schema_name: Mapped[str] = mapped_column(unique=True)
    revision: Mapped[int]  # rises with every installation that changed something
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    @property
    def entities(self) -> list[str]:
        """The names of the declared object types."""
        return [entity["entityName"] for entity in self.manifest["dataContract"]]
