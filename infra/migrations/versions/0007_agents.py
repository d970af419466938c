"""Agents: their definitions, sessions, runs, calls of tools, and the approvals these wait for.

Revision: 0007
After: 0006
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TABLES = (
    "agent_tool_calls",
    "agent_run_events",
    "agent_messages",
    "agent_approvals",
    "agent_sessions",
    "agent_runs",
    "agent_delegations",
    "agents",
)  # in the order in which they can be dropped
MOMENT = sa.DateTime(timezone=True)
TOOLS = {
    "query_data": "read records",
    "mutate_data": "write records",
    "list_apps": "see which apps there are",
    "describe_app": "see what an app declares",
    "list_integrations": "see which integrations there are",
    "call_integration": "call integrations",
    "invoke_agent": "ask other agents",
    "list_actions": "see which actions apps offer",
    "call_action": "call actions of apps",
}


def upgrade() -> None:
    op.create_table(
        "agents",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("app_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("config", JSONB(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "app_id"],
            ["stoa.apps.tenant_id", "stoa.apps.id"],
            name="fk_agents_tenant_id_app_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["user_id"], ["stoa.users.id"], name="fk_agents_user_id"),
        sa.PrimaryKeyConstraint("tenant_id", "app_id", name="pk_agents"),
        schema="stoa",
    )
    op.create_index("ix_agents_user_id", "agents", ["user_id"], schema="stoa")
    op.create_table(
        "agent_delegations",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("app_id", sa.Text(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("reference", sa.Uuid(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["owner_id"], ["stoa.users.id"], name="fk_agent_delegations_owner_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "app_id"],
            ["stoa.agents.tenant_id", "stoa.agents.app_id"],
            name="fk_agent_delegations_tenant_id_app_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "app_id", "owner_id", "reference", name="pk_agent_delegations"),
        schema="stoa",
    )
    op.create_index("ix_agent_delegations_owner_id", "agent_delegations", ["owner_id"], schema="stoa")
    op.create_index(
        "ix_agent_delegations_tenant_id_reference", "agent_delegations", ["tenant_id", "reference"], schema="stoa"
    )
    op.create_table(
        "agent_runs",
        sa.Column("app_id", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("session_owner_id", sa.Uuid(), nullable=False),
        sa.Column("invoker_id", sa.Uuid(), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("depth", sa.Integer(), nullable=False),
        sa.Column("scope", ARRAY(sa.Text()), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("files", JSONB(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("response", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("tokens", sa.Integer(), nullable=True),
        sa.Column("state", JSONB(), nullable=True),
        sa.Column("holder_id", sa.Uuid(), nullable=True),
        sa.Column("leased_until", MOMENT, nullable=True),
        sa.Column("finished_at", MOMENT, nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "app_id"],
            ["stoa.agents.tenant_id", "stoa.agents.app_id"],
            name="fk_agent_runs_tenant_id_app_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_agent_runs"),
        schema="stoa",
    )
    op.create_index("ix_agent_runs_finished_at", "agent_runs", ["finished_at"], schema="stoa")
    op.create_index(
        "ix_agent_runs_open",
        "agent_runs",
        ["leased_until"],
        schema="stoa",
        postgresql_where=sa.text("finished_at IS NULL"),
    )
    op.create_index(
        "ix_agent_runs_tenant_id_app_id_invoker_id", "agent_runs", ["tenant_id", "app_id", "invoker_id"], schema="stoa"
    )
    op.create_index(
        "ix_agent_runs_tenant_id_app_id_session_id",
        "agent_runs",
        ["tenant_id", "app_id", "session_id"],
        schema="stoa",
    )
    op.create_table(
        "agent_sessions",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("app_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("title", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("total_tokens", sa.Integer(), nullable=False),
        sa.Column("turn_count", sa.Integer(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "app_id"],
            ["stoa.agents.tenant_id", "stoa.agents.app_id"],
            name="fk_agent_sessions_tenant_id_app_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "app_id", "id", name="pk_agent_sessions"),
        schema="stoa",
    )
    op.create_index(
        "ix_agent_sessions_tenant_id_app_id_updated_at_id",
        "agent_sessions",
        ["tenant_id", "app_id", "updated_at", "id"],
        schema="stoa",
    )
    op.create_table(
        "agent_approvals",
        sa.Column("app_id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("invoker_id", sa.Uuid(), nullable=False),
        sa.Column("call_id", sa.Text(), nullable=False),
        sa.Column("tool_name", sa.Text(), nullable=False),
        sa.Column("args", JSONB(), nullable=False),
        sa.Column("call_hash", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("decided_by", sa.Uuid(), nullable=True),
        sa.Column("closed_at", MOMENT, nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["stoa.agent_runs.id"], name="fk_agent_approvals_run_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "app_id"],
            ["stoa.agents.tenant_id", "stoa.agents.app_id"],
            name="fk_agent_approvals_tenant_id_app_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_agent_approvals"),
        schema="stoa",
    )
    op.create_index(
        "ix_agent_approvals_pending",
        "agent_approvals",
        ["tenant_id", "app_id", "id"],
        schema="stoa",
        postgresql_where=sa.text("decision IS NULL AND closed_at IS NULL"),
    )
    op.create_index(
        "ix_agent_approvals_run_id_call_id", "agent_approvals", ["run_id", "call_id"], unique=True, schema="stoa"
    )
    op.create_table(
        "agent_messages",
        sa.Column("app_id", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("token_count", sa.Integer(), nullable=True),
        sa.Column("is_summary", sa.Boolean(), nullable=False),
        sa.Column("summarized_to", sa.Uuid(), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "app_id", "session_id"],
            ["stoa.agent_sessions.tenant_id", "stoa.agent_sessions.app_id", "stoa.agent_sessions.id"],
            name="fk_agent_messages_tenant_id_app_id_session_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_agent_messages"),
        schema="stoa",
    )
    op.create_index(
        "ix_agent_messages_tenant_id_app_id_session_id_id",
        "agent_messages",
        ["tenant_id", "app_id", "session_id", "id"],
        schema="stoa",
    )
    op.create_table(
        "agent_run_events",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("body", JSONB(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["stoa.agent_runs.id"], name="fk_agent_run_events_run_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "sequence", name="pk_agent_run_events"),
        schema="stoa",
    )
    op.create_index("ix_agent_run_events_created_at", "agent_run_events", ["created_at"], schema="stoa")
    op.create_table(
        "agent_tool_calls",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=True),
        sa.Column("call_id", sa.Text(), nullable=False),
        sa.Column("tool_name", sa.Text(), nullable=False),
        sa.Column("input", JSONB(), nullable=False),
        sa.Column("output", JSONB(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("duration_ms", sa.Integer(), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["message_id"], ["stoa.agent_messages.id"], name="fk_agent_tool_calls_message_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["stoa.agent_runs.id"], name="fk_agent_tool_calls_run_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_agent_tool_calls"),
        schema="stoa",
    )
    op.create_index("ix_agent_tool_calls_message_id", "agent_tool_calls", ["message_id"], schema="stoa")
    op.create_index(
        "ix_agent_tool_calls_run_id_call_id", "agent_tool_calls", ["run_id", "call_id"], unique=True, schema="stoa"
    )

    for name, about in TOOLS.items():
        op.execute(
            "INSERT INTO stoa.permission_keys (tenant_id, key, description) "
            f"SELECT id, 'tool:{name}', 'Let agents {about}' FROM stoa.tenants ON CONFLICT DO NOTHING"
        )


def downgrade() -> None:
    op.execute("DELETE FROM stoa.permission_keys WHERE key LIKE 'tool:%' AND app_id IS NULL")
    for table in TABLES:
        op.drop_table(table, schema="stoa")
