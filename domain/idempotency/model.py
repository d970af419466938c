"""Answers kept for requests that may be sent again."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from domain.kernel.model import Base, OfTenant


class IdempotencyKey(OfTenant, Base):
    """The key a caller gave an unsafe request, with what it asked (a hash) and what it was answered.

    A request that waits for somebody outside has a row without an answer meanwhile; `created_at` is then when that is
    over at the latest.
    """

    __tablename__ = "idempotency_keys"
    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request_hash: Mapped[bytes] = mapped_column(LargeBinary)
    answer: Mapped[bytes] = mapped_column(LargeBinary)  # the operation's data, as JSON; empty while it waits
    created_at: Mapped[datetime] = mapped_column(index=True)
