"""Jobs. The row is the truth of a job; whoever runs it holds it for a while, and its result counts while it does."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from domain.kernel.model import SCHEMA, Base, Identified, JsonText
from domain.kernel.rawjson import RawJson


class JobStatus(StrEnum):
    """How a job is."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINISHED = (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)


class JobKind(StrEnum):
    """Who does it."""

    CODE = "code"  # the job handler of the app's deployed code
    AGENT = "agent"  # the app's agent


class JobOrigin(StrEnum):
    """What handed it in."""

    USER = "user"
    CRON = "cron"
    HOOK = "hook"
    WEBHOOK = "webhook"


WAITING = text("status = 'pending'")
HELD = text("status = 'running'")
OF_A_CRON = text("cron_id IS NOT NULL AND status IN ('pending', 'running')")


class Job(Identified, Base):
    """One job. Times are the database's own.

    `fence` rises whenever somebody else is to run it, or nobody: a result that comes with an older one is refused.
    `attempts` counts how often it was begun, `losses` how many of these ended with no word from who ran it.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        Index("ix_jobs_waiting", "tenant_id", "app_id", "priority", "run_at", "number", postgresql_where=WAITING),
        Index("ix_jobs_held", "leased_until", postgresql_where=HELD),
        Index("ix_jobs_of_a_cron", "cron_id", postgresql_where=OF_A_CRON),
        Index(None, "tenant_id", "app_id", "number"),
        Index(None, "finished_at"),
    )
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey(f"{SCHEMA}.tenants.id"))
    number: Mapped[int] = mapped_column(BigInteger, Identity(always=True), unique=True)
    app_id: Mapped[str]  # which need not be installed
    kind: Mapped[str]
    origin: Mapped[str]
    status: Mapped[str]
    priority: Mapped[int]  # higher ones go before
    run_at: Mapped[datetime]  # not before
    payload: Mapped[RawJson] = mapped_column(JsonText)
    result: Mapped[RawJson | None] = mapped_column(JsonText)
    error: Mapped[str | None]
    attempts: Mapped[int]
    losses: Mapped[int]
    attempts_max: Mapped[int]  # how often it may fail before it has
    backoff_s: Mapped[int]  # how long it rests after the first failure; twice as long after each further one
    user_id: Mapped[UUID | None]  # in whose name
    cron_id: Mapped[UUID | None]
    hook_id: Mapped[UUID | None]  # of the hook that wrote it; its payload is a record then
    hooks: Mapped[int] = mapped_column(server_default="0")  # that led to it, each by what the one before had done
    fence: Mapped[int]
    holder: Mapped[UUID | None]
    leased_until: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
