"""Roles, who holds them, and the registry of keys that can be given."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import Text

from domain.kernel.model import SCHEMA, Base, OfTenant


class Role(OfTenant, Base):
    """A named set of permission keys, with parents whose keys it has too."""

    __tablename__ = "roles"
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey(f"{SCHEMA}.tenants.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    description: Mapped[str | None]
    inherits: Mapped[list[str]] = mapped_column(ARRAY(Text))  # names; one that no role has adds nothing
    permissions: Mapped[list[str]] = mapped_column(ARRAY(Text))
    created_at: Mapped[datetime]


class RoleAssignment(OfTenant, Base):
    """One user holding one role, by name."""

    __tablename__ = "role_assignments"
    __table_args__ = (Index(None, "tenant_id", "role"),)
    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey(f"{SCHEMA}.users.id", ondelete="CASCADE"), primary_key=True)
    role: Mapped[str] = mapped_column(primary_key=True)
    assigned_at: Mapped[datetime]


class PermissionKey(OfTenant, Base):
    """A key that is offered when roles are written. A key works in a role whether it is listed or not."""

    __tablename__ = "permission_keys"
    __table_args__ = (Index(None, "tenant_id", "app_id"),)
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey(f"{SCHEMA}.tenants.id"), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    description: Mapped[str]
    app_id: Mapped[str | None]  # the app whose manifest declares it; None for the platform's own


class ActingAgreement(OfTenant, Base):
    """Somebody's standing agreement that another hands in work to be done in their name."""

    __tablename__ = "acting_agreements"
    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    principal_id: Mapped[UUID] = mapped_column(
        ForeignKey(f"{SCHEMA}.users.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    actor_id: Mapped[UUID] = mapped_column(
        ForeignKey(f"{SCHEMA}.users.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    created_at: Mapped[datetime]
