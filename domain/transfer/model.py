"""Imports: what became of them, and how far they are."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Index
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from domain.kernel.model import Base, Identified

SILENT_AFTER = timedelta(seconds=60)  # an import that says nothing for so long has been ended from outside


class ImportState(StrEnum):
    """How an import is."""

    RUNNING = "running"
    DONE = "done"  # what is counted was stored, unless it was a dry run
    REJECTED = "rejected"  # some of it was bad, so nothing was stored
    FAILED = "failed"  # it could not be read, or was refused as a whole; nothing was stored
    INTERRUPTED = "interrupted"  # whoever ran it is gone; nothing was stored


class Import(Identified, Base):
    """One import, kept for a while after its end. Its numbers grow while it runs."""

    __tablename__ = "imports"
    __table_args__ = (
        Index(None, "tenant_id", "app_id", "entity", "created_at"),
        Index(None, "created_at"),
    )
    app_id: Mapped[str]
    entity: Mapped[str]
    filename: Mapped[str | None]
    dry_run: Mapped[bool]
    stored_state: Mapped[str] = mapped_column("state")
    read: Mapped[int] = mapped_column(BigInteger)  # rows, good and bad
    created: Mapped[int] = mapped_column(BigInteger)
    updated: Mapped[int] = mapped_column(BigInteger)
    skipped: Mapped[int] = mapped_column(BigInteger)
    failed: Mapped[int] = mapped_column(BigInteger)
    errors: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)  # of rows, the first of them
    message: Mapped[str | None]  # why it failed as a whole
    created_by: Mapped[UUID]
    heard_at: Mapped[datetime]  # when it last told how far it is
    finished_at: Mapped[datetime | None]

    def state(self, now: datetime) -> ImportState:
        """How it is at that moment."""
        silent = self.stored_state == ImportState.RUNNING and self.heard_at < now - SILENT_AFTER
        return ImportState.INTERRUPTED if silent else ImportState(self.stored_state)
