"""Channels, who is known in them, and the messages on their way in and out.

Revision: 0009
After: 0008
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)

# In the order in which they can be dropped.
TABLES = ("channel_messages", "channel_conversations", "channel_identities", "channel_links", "channels")


def _of_channel(table: str) -> sa.ForeignKeyConstraint:
    channel = ["stoa.channels.id"]
    return sa.ForeignKeyConstraint(["channel_id"], channel, name=f"fk_{table}_channel_id", ondelete="CASCADE")


def _of_user(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["user_id"], ["stoa.users.id"], name=f"fk_{table}_user_id", ondelete="CASCADE")


def upgrade() -> None:
    op.create_table(
        "channels",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("config", JSONB(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["stoa.tenants.id"], name="fk_channels_tenant_id"),
        sa.PrimaryKeyConstraint("id", name="pk_channels"),
        schema="stoa",
    )
    op.create_index("ix_channels_tenant_id", "channels", ["tenant_id"], schema="stoa")
    op.execute(
        "CREATE TRIGGER discard_secrets AFTER DELETE ON stoa.channels REFERENCING OLD TABLE AS old_rows "
        "FOR EACH STATEMENT EXECUTE FUNCTION stoa.discard_secrets('channel')"
    )
    op.create_table(
        "channel_links",
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("channel_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        _of_channel("channel_links"),
        _of_user("channel_links"),
        sa.PrimaryKeyConstraint("token_hash", name="pk_channel_links"),
        schema="stoa",
    )
    for column in ("channel_id", "user_id", "expires_at"):
        op.create_index(f"ix_channel_links_{column}", "channel_links", [column], schema="stoa")
    op.create_table(
        "channel_identities",
        sa.Column("channel_id", sa.Uuid(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        _of_channel("channel_identities"),
        _of_user("channel_identities"),
        sa.PrimaryKeyConstraint("channel_id", "sender", name="pk_channel_identities"),
        schema="stoa",
    )
    op.create_index(
        "ix_channel_identities_channel_id_user_id",
        "channel_identities",
        ["channel_id", "user_id"],
        unique=True,
        schema="stoa",
    )
    op.create_index("ix_channel_identities_user_id", "channel_identities", ["user_id"], schema="stoa")
    op.create_table(
        "channel_conversations",
        sa.Column("channel_id", sa.Uuid(), nullable=False),
        sa.Column("chat", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("app_id", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=True),
        _of_channel("channel_conversations"),
        _of_user("channel_conversations"),
        sa.PrimaryKeyConstraint("channel_id", "chat", "user_id", name="pk_channel_conversations"),
        schema="stoa",
    )
    op.create_index("ix_channel_conversations_user_id", "channel_conversations", ["user_id"], schema="stoa")
    op.create_table(
        "channel_messages",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("channel_id", sa.Uuid(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("chat", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=True),
        sa.Column("external_id", sa.Text(), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("about", JSONB(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", MOMENT, nullable=False),
        sa.Column("lease", sa.Uuid(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("settled_at", MOMENT, nullable=True),
        _of_channel("channel_messages"),
        sa.PrimaryKeyConstraint("id", name="pk_channel_messages"),
        schema="stoa",
    )
    op.create_index(
        "ix_channel_messages_channel_id_direction_external_id",
        "channel_messages",
        ["channel_id", "direction", "external_id"],
        unique=True,
        schema="stoa",
    )
    waiting = sa.text("state = 'waiting'")
    op.create_index(
        "ix_channel_messages_waiting",
        "channel_messages",
        ["direction", "due_at"],
        schema="stoa",
        postgresql_where=waiting,
    )
    op.create_index(
        "ix_channel_messages_chat",
        "channel_messages",
        ["channel_id", "chat", "direction", "id"],
        schema="stoa",
        postgresql_where=waiting,
    )
    op.create_index("ix_channel_messages_settled_at", "channel_messages", ["settled_at"], schema="stoa")


def downgrade() -> None:
    for table in TABLES:
        op.drop_table(table, schema="stoa")
