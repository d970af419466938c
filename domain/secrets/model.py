"""Secrets as they lie in the database, and the master keys they need."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from domain.kernel.model import SCHEMA, Base, OfTenant


class MasterKey(Base):
    """A master key that secrets are encrypted with: not the key, only what it can be known by."""

    __tablename__ = "master_keys"
    id: Mapped[str] = mapped_column(primary_key=True)
    proof: Mapped[bytes]
    created_at: Mapped[datetime]


class Secret(OfTenant, Base):
    """One secret of a scope. The ciphertext is bound to tenant, scope, key and version."""

    __tablename__ = "secrets"
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey(f"{SCHEMA}.tenants.id"), primary_key=True)
    scope: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int]  # counts the values there were under this key
    key_id: Mapped[str] = mapped_column(ForeignKey(f"{SCHEMA}.master_keys.id"), index=True)
    wrapped_key: Mapped[bytes]
    ciphertext: Mapped[bytes]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
