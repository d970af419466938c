"""Crons, and what became of each time one was due."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, ForeignKeyConstraint, Identity, Index, Sequence, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from domain.kernel.model import SCHEMA, Base, Identified, JsonText, OfTenant
from domain.kernel.rawjson import RawJson

NUMBERS = Sequence("cron_numbers", schema=SCHEMA, metadata=Base.metadata)


class Overlap(StrEnum):
    """What is done when a cron is due while a job of it waits or runs."""

    SKIP = "skip"
    QUEUE = "queue"


class Cron(Identified, Base):
    """A schedule of an app. It is enabled while it has a `number`, which is another one each time it is."""

    __tablename__ = "crons"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "app_id"], [f"{SCHEMA}.apps.tenant_id", f"{SCHEMA}.apps.id"], ondelete="CASCADE"
        ),
        UniqueConstraint("tenant_id", "app_id", "name"),
    )
    app_id: Mapped[str]
    name: Mapped[str]
    schedule: Mapped[str]
    timezone: Mapped[str | None]  # an IANA name; UTC without one
    payload: Mapped[RawJson] = mapped_column(JsonText)
    overlap: Mapped[str]
    number: Mapped[int | None] = mapped_column(BigInteger)
    next_at: Mapped[datetime | None] = mapped_column(index=True)
    owner_id: Mapped[UUID | None] = mapped_column(ForeignKey(f"{SCHEMA}.users.id", ondelete="SET NULL"), index=True)
    updated_at: Mapped[datetime]

    @property
    def enabled(self) -> bool:
        """Whether it is due at all."""
        return self.number is not None


class RunStatus(StrEnum):
    """What became of a time that a cron was due."""

    SUCCEEDED = "succeeded"  # a job was handed in
    SKIPPED = "skipped"  # one was there already


class CronRun(OfTenant, Base):
    """One time that a cron was due, or triggered by hand."""

    __tablename__ = "cron_runs"
    __table_args__ = (Index(None, "cron_id", "id"),)
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    cron_id: Mapped[UUID] = mapped_column(ForeignKey(f"{SCHEMA}.crons.id", ondelete="CASCADE"))
    number: Mapped[int | None] = mapped_column(BigInteger)  # the cron's then
    status: Mapped[str]
    message: Mapped[str]
    process_id: Mapped[int]
    job_id: Mapped[UUID | None]
    due_at: Mapped[datetime | None]  # None for one that was triggered
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime] = mapped_column(index=True)
