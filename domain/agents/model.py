"""Agents, what they are asked, what they do meanwhile, and who has to agree to it."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from domain.agents.definition import Definition
from domain.kernel.model import SCHEMA, Base, Identified, OfTenant

APPROVAL_LIFE = timedelta(days=7)  # how long a call waits for somebody
NOBODY = UUID(int=0)  # whose the sessions of crons and hooks are (RootCX agent protocol, "sessions")


def _of_agent() -> ForeignKeyConstraint:
    agent = [f"{SCHEMA}.agents.tenant_id", f"{SCHEMA}.agents.app_id"]
    return ForeignKeyConstraint(["tenant_id", "app_id"], agent, ondelete="CASCADE")


class Agent(OfTenant, Base):
    """The agent of an app, as its code was deployed with."""

    __tablename__ = "agents"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "app_id"], [f"{SCHEMA}.apps.tenant_id", f"{SCHEMA}.apps.id"], ondelete="CASCADE"
        ),
    )
    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    app_id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey(f"{SCHEMA}.users.id"), index=True)  # it acts as this account
    name: Mapped[str]
    description: Mapped[str | None]
    config: Mapped[dict[str, Any]] = mapped_column(JSONB)  # the other parts of agent.json, as they were read
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    @property
    def definition(self) -> Definition:
        """What the agent is, its parts read."""
        return Definition.of(self.config)


class AgentDelegation(OfTenant, Base):
    """Somebody's standing agreement that an agent acts for them unattended; `reference` is what it was given with."""

    __tablename__ = "agent_delegations"
    __table_args__ = (_of_agent(), Index(None, "tenant_id", "reference"))
    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    app_id: Mapped[str] = mapped_column(primary_key=True)
    owner_id: Mapped[UUID] = mapped_column(
        ForeignKey(f"{SCHEMA}.users.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    reference: Mapped[UUID] = mapped_column(primary_key=True)
    created_at: Mapped[datetime]


class AgentSession(OfTenant, Base):
    """A conversation that an agent remembers. Ids are the callers' to choose, so each app has its own."""

    __tablename__ = "agent_sessions"
    __table_args__ = (_of_agent(), Index(None, "tenant_id", "app_id", "updated_at", "id"))
    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    app_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    owner_id: Mapped[UUID]
    title: Mapped[str | None]
    status: Mapped[str]
    total_tokens: Mapped[int]
    turn_count: Mapped[int]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class AgentMessage(Identified, Base):
    """One message of a session. Ids give their order."""

    __tablename__ = "agent_messages"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "app_id", "session_id"],
            [f"{SCHEMA}.agent_sessions.{name}" for name in ("tenant_id", "app_id", "id")],
            ondelete="CASCADE",
        ),
        Index(None, "tenant_id", "app_id", "session_id", "id"),
    )
    app_id: Mapped[str]
    session_id: Mapped[UUID]
    role: Mapped[str]  # user, assistant, or system for a summary
    content: Mapped[str]
    token_count: Mapped[int | None]
    is_summary: Mapped[bool]
    summarized_to: Mapped[UUID | None]  # of a summary of ours: the last message it stands for


class RunStatus(StrEnum):
    """How far a run is."""

    RUNNING = "running"
    WAITING = "waiting"  # for somebody's decision
    DONE = "done"
    FAILED = "failed"


class AgentRun(Identified, Base):
    """One invocation of an agent. The process that has the lease runs it; its times are the database's own."""

    __tablename__ = "agent_runs"
    __table_args__ = (
        _of_agent(),
        Index(None, "finished_at"),
        Index("ix_agent_runs_open", "leased_until", postgresql_where=text("finished_at IS NULL")),
        Index(None, "tenant_id", "app_id", "invoker_id"),
        Index(None, "tenant_id", "app_id", "session_id"),
    )
    app_id: Mapped[str]
    session_id: Mapped[UUID]
    session_owner_id: Mapped[UUID]  # whose conversation it goes on with, or begins
    invoker_id: Mapped[UUID]  # for whom it acts
    trigger: Mapped[str]
    depth: Mapped[int]  # how many agents had it begun through each other
    hooks: Mapped[int] = mapped_column(server_default="0")  # of records that led to it
    scope: Mapped[list[str] | None]  # keys it may not go beyond, whatever its agent and its invoker may
    message: Mapped[str]
    files: Mapped[list[Any]] = mapped_column(JSONB)
    status: Mapped[str]
    response: Mapped[str | None]
    error: Mapped[str | None]
    tokens: Mapped[int | None]
    state: Mapped[dict[str, Any] | None] = mapped_column(JSONB)  # what another process needs to go on with it
    holder_id: Mapped[UUID | None]
    leased_until: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class ToolCallStatus(StrEnum):
    """How far a call of a tool is."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


class AgentToolCall(Identified, Base):
    """One call of a tool within a run. `message_id` is the answer it led to, once that is remembered."""

    __tablename__ = "agent_tool_calls"
    __table_args__ = (Index(None, "run_id", "call_id", unique=True),)
    run_id: Mapped[UUID] = mapped_column(ForeignKey(f"{SCHEMA}.agent_runs.id", ondelete="CASCADE"))
    message_id: Mapped[UUID | None] = mapped_column(
        ForeignKey(f"{SCHEMA}.agent_messages.id", ondelete="CASCADE"), index=True
    )
    call_id: Mapped[str]
    tool_name: Mapped[str]
    input: Mapped[Any] = mapped_column(JSONB)
    output: Mapped[Any] = mapped_column(JSONB)
    error: Mapped[str | None]
    status: Mapped[str]
    duration_ms: Mapped[int | None]


class Decision(StrEnum):
    """What somebody says to a call that waits for them."""

    APPROVE = "approve"
    REJECT = "reject"


class AgentApproval(Identified, Base):
    """A call of a tool that waits, or waited, for somebody's decision: on exactly this call, see `call_hash`."""

    __tablename__ = "agent_approvals"
    __table_args__ = (
        _of_agent(),
        Index(None, "run_id", "call_id", unique=True),
        Index(
            "ix_agent_approvals_pending",
            "tenant_id",
            "app_id",
            "id",
            postgresql_where=text("decision IS NULL AND closed_at IS NULL"),
        ),
    )
    app_id: Mapped[str]
    run_id: Mapped[UUID] = mapped_column(ForeignKey(f"{SCHEMA}.agent_runs.id", ondelete="CASCADE"))
    session_id: Mapped[UUID]
    invoker_id: Mapped[UUID]
    call_id: Mapped[str]
    tool_name: Mapped[str]
    args: Mapped[Any] = mapped_column(JSONB)
    call_hash: Mapped[str]  # SHA-256 of the tool's name and the arguments
    reason: Mapped[str]
    decision: Mapped[str | None]
    note: Mapped[str | None]  # why it was rejected
    decided_by: Mapped[UUID | None]
    closed_at: Mapped[datetime | None]  # decided, or its run has ended


class AgentRunEvent(OfTenant, Base):
    """What a run told those who follow it, in order. Kept for a day."""

    __tablename__ = "agent_run_events"
    __table_args__ = (Index(None, "created_at"),)
    tenant_id: Mapped[UUID]
    run_id: Mapped[UUID] = mapped_column(ForeignKey(f"{SCHEMA}.agent_runs.id", ondelete="CASCADE"), primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    body: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_at: Mapped[datetime]
