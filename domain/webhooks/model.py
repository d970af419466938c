"""Incoming webhooks. What makes their URLs secret is in the vault; rows are found by its hash."""

from uuid import UUID

from sqlalchemy import ForeignKey, ForeignKeyConstraint, LargeBinary, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from domain.kernel.model import SCHEMA, Base, Identified


class Webhook(Identified, Base):
    """A URL of an app. Whoever posts to it calls `method` of the app's code, in the name of the owner."""

    __tablename__ = "webhooks"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "app_id"], [f"{SCHEMA}.apps.tenant_id", f"{SCHEMA}.apps.id"], ondelete="CASCADE"
        ),
        UniqueConstraint("tenant_id", "app_id", "name"),
    )
    app_id: Mapped[str]
    name: Mapped[str]
    method: Mapped[str]  # `agent` for the app's agent
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    signed_only: Mapped[bool]
    owner_id: Mapped[UUID | None] = mapped_column(ForeignKey(f"{SCHEMA}.users.id", ondelete="SET NULL"), index=True)
