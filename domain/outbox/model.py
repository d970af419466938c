"""The outbox: events of committed operations, in an order every reader can resume in."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Identity, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import UserDefinedType

from domain.kernel.model import Base, OfTenant


class TransactionId(UserDefinedType[int]):
    """PostgreSQL's 64-bit transaction id, which never wraps."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """The type's name."""
        return "xid8"


ischema_names["xid8"] = TransactionId  # so that reading a database's tables knows the type, too


class OutboxRow(OfTenant, Base):
    """One event. `tx` orders rows by the transaction that wrote them.

    Ids alone are given out before the commit, so a reader could pass over one that commits late. A reader takes
    rows whose `tx` is below every running transaction and orders by (tx, id): nothing can appear behind it.
    """

    __tablename__ = "outbox"
    __table_args__ = (Index(None, "tx", "id"), Index(None, "created_at"))
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    tx: Mapped[int] = mapped_column(TransactionId, server_default=text("pg_current_xact_id()"))
    tenant_id: Mapped[UUID]
    kind: Mapped[str]
    payload: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    audit_id: Mapped[int | None] = mapped_column(BigInteger)  # of a record's change: the row that has its values
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class OutboxHorizon(Base):
    """How far the outbox has been pruned: a cursor before this one cannot be resumed. One row."""

    __tablename__ = "outbox_horizon"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tx: Mapped[int] = mapped_column(TransactionId, server_default=text("'0'"))
    outbox_id: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
