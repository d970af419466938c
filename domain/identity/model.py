"""Tenants, the accounts in them, the names they sign in with, and their sessions."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from domain.kernel.ids import uuid7
from domain.kernel.model import SCHEMA, Base, Identified, OfTenant

SYSTEM_USER = UUID("00000000-0000-0000-0000-000000000001")


class Tenant(Base):
    """One organisation's world: nothing in it is seen from another."""

    __tablename__ = "tenants"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    slug: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    created_at: Mapped[datetime]


class AccountKind(StrEnum):
    """Whose account it is. Only a human signs in with a password."""

    HUMAN = "human"
    AGENT = "agent"
    SERVICE = "service"
    SYSTEM = "system"


class User(Identified, Base):
    """An account. `password_hash` is an Argon2id PHC string, None where the account has no password."""

    __tablename__ = "users"
    __table_args__ = (Index(None, "tenant_id", "kind"),)
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey(f"{SCHEMA}.tenants.id"))
    username: Mapped[str]
    email: Mapped[str | None]
    display_name: Mapped[str | None]
    password_hash: Mapped[str | None]
    kind: Mapped[str] = mapped_column(default=AccountKind.HUMAN)
    disabled_at: Mapped[datetime | None]

    @property
    def contact(self) -> str:
        """The e-mail address, or the user name of an account without one."""
        return self.email or self.username


class LoginName(OfTenant, Base):
    """A name an account answers to when signing in: its user name and its address share one name space."""

    __tablename__ = "login_names"
    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)  # NFKC, case folded
    user_id: Mapped[UUID] = mapped_column(ForeignKey(f"{SCHEMA}.users.id", ondelete="CASCADE"), index=True)


class Session(Identified, Base):
    """One sign-in. Its refresh tokens carry a generation; only the newest one renews it."""

    __tablename__ = "sessions"
    user_id: Mapped[UUID] = mapped_column(ForeignKey(f"{SCHEMA}.users.id", ondelete="CASCADE"), index=True)
    generation: Mapped[int] = mapped_column(default=0)
    rotated_at: Mapped[datetime | None]
    expires_at: Mapped[datetime] = mapped_column(index=True)
