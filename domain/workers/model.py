"""What is deployed, which worker is wanted, and which host has it."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from domain.kernel.model import SCHEMA, Base, OfTenant


class Part(StrEnum):
    """The part of an app that an archive holds."""

    BACKEND = "backend"
    FRONTEND = "frontend"


class AppDeployment(OfTenant, Base):
    """The archive in use for one part of an app. The app itself need not be installed."""

    __tablename__ = "app_deployments"
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey(f"{SCHEMA}.tenants.id"), primary_key=True)
    app_id: Mapped[str] = mapped_column(primary_key=True)
    part: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(unique=True)  # of this version; its unpacked form is kept under it
    blob_id: Mapped[UUID] = mapped_column(ForeignKey(f"{SCHEMA}.blobs.id"), index=True)
    size_bytes: Mapped[int]
    entry_point: Mapped[str | None]  # of a backend: the file it begins with
    agent: Mapped[dict[str, Any] | None] = mapped_column(JSONB)  # the archive's agent.json
    deployed_by: Mapped[UUID]
    created_at: Mapped[datetime]


class Wanted(StrEnum):
    """What people want of a worker."""

    RUNNING = "running"
    STOPPED = "stopped"


class AppWorker(OfTenant, Base):
    """The worker of one app. The host that has the lease runs it; the times are the database's own."""

    __tablename__ = "app_workers"
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey(f"{SCHEMA}.tenants.id"), primary_key=True)
    app_id: Mapped[str] = mapped_column(primary_key=True)
    wanted: Mapped[str]
    state: Mapped[str]  # as its host last said
    host_id: Mapped[UUID | None] = mapped_column(index=True)
    leased_until: Mapped[datetime | None]


class WorkerHost(Base):
    """A process that runs workers. One whose heart has not beaten for a while is gone."""

    __tablename__ = "worker_hosts"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    address: Mapped[str]  # unix:/path/of/socket, or tcp:host:port
    started_at: Mapped[datetime]
    heartbeat_at: Mapped[datetime]
