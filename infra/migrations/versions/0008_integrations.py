"""What is deployed of the catalog of integrations, connections to other services, and which apps may use them.

Revision: 0008
After: 0007
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
APP = ["stoa.apps.tenant_id", "stoa.apps.id"]

# In the order in which they can be dropped.
TABLES = (
    "integration_attempts",
    "integration_bindings",
    "integration_connections",
    "integration_configs",
    "integrations",
)

# What the vault keeps for a row goes with it, whichever way the row goes. `TG_ARGV[0]` is the scope's first part.
DISCARD = """
CREATE FUNCTION stoa.discard_secrets() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM stoa.secrets s USING old_rows o
    WHERE s.tenant_id = o.tenant_id AND s.scope = TG_ARGV[0] || ':' || o.id::text;
    RETURN NULL;
END $$
"""
WITH_SECRETS = {
    "integrations": "integration",
    "integration_configs": "integration_config",
    "integration_connections": "integration_connection",
}


def _of_app(table: str, column: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["tenant_id", column], APP, name=f"fk_{table}_tenant_id_{column}", ondelete="CASCADE"
    )


def _of_user(table: str, column: str = "user_id") -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], ["stoa.users.id"], name=f"fk_{table}_{column}", ondelete="CASCADE")


def upgrade() -> None:
    op.create_table(
        "integrations",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("definition", JSONB(), nullable=False),
        sa.Column("webhook_hash", sa.LargeBinary(), nullable=False),
        sa.Column("deployed_by", sa.Uuid(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        _of_app("integrations", "id"),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_integrations"),
        sa.UniqueConstraint("webhook_hash", name="uq_integrations_webhook_hash"),
        schema="stoa",
    )
    op.create_table(
        "integration_configs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("integration_id", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        _of_app("integration_configs", "integration_id"),
        sa.PrimaryKeyConstraint("id", name="pk_integration_configs"),
        schema="stoa",
    )
    op.create_index(
        "ix_integration_configs_tenant_id_integration_id",
        "integration_configs",
        ["tenant_id", "integration_id"],
        schema="stoa",
    )
    op.create_table(
        "integration_connections",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("integration_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("config_id", sa.Uuid(), nullable=True),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("dead_at", MOMENT, nullable=True),
        sa.Column("refreshing_until", MOMENT, nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        _of_app("integration_connections", "integration_id"),
        _of_user("integration_connections"),
        sa.ForeignKeyConstraint(
            ["config_id"], ["stoa.integration_configs.id"], name="fk_integration_connections_config_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_integration_connections"),
        schema="stoa",
    )
    op.create_index(
        "ix_integration_connections_tenant_id_integration_id_user_id",
        "integration_connections",
        ["tenant_id", "integration_id", "user_id"],
        schema="stoa",
    )
    op.create_table(
        "integration_bindings",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("app_id", sa.Text(), nullable=False),
        sa.Column("integration_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("connection_id", sa.Uuid(), nullable=True),
        sa.Column("created_by", sa.Uuid(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        _of_app("integration_bindings", "app_id"),
        _of_app("integration_bindings", "integration_id"),
        _of_user("integration_bindings"),
        sa.ForeignKeyConstraint(
            ["connection_id"],
            ["stoa.integration_connections.id"],
            name="fk_integration_bindings_connection_id",
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_integration_bindings"),
        sa.UniqueConstraint(
            "tenant_id",
            "app_id",
            "integration_id",
            "user_id",
            name="uq_integration_bindings_tenant_id_app_id_integration_id_user_id",
            postgresql_nulls_not_distinct=True,
        ),
        schema="stoa",
    )
    op.create_index(
        "ix_integration_bindings_tenant_id_integration_id",
        "integration_bindings",
        ["tenant_id", "integration_id"],
        schema="stoa",
    )
    op.create_table(
        "integration_attempts",
        sa.Column("state_hash", sa.LargeBinary(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("integration_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("config_id", sa.Uuid(), nullable=True),
        sa.Column("browser_hash", sa.LargeBinary(), nullable=False),
        sa.Column("code_verifier", sa.Text(), nullable=False),
        sa.Column("callback_url", sa.Text(), nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        _of_app("integration_attempts", "integration_id"),
        _of_user("integration_attempts"),
        sa.ForeignKeyConstraint(
            ["config_id"],
            ["stoa.integration_configs.id"],
            name="fk_integration_attempts_config_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("state_hash", name="pk_integration_attempts"),
        schema="stoa",
    )
    op.create_index(
        "ix_integration_attempts_tenant_id_integration_id",
        "integration_attempts",
        ["tenant_id", "integration_id"],
        schema="stoa",
    )
    for table, column in (
        ("integration_connections", "user_id"),
        ("integration_connections", "config_id"),
        ("integration_bindings", "user_id"),
        ("integration_bindings", "connection_id"),
        ("integration_attempts", "user_id"),
        ("integration_attempts", "expires_at"),
    ):
        op.create_index(f"ix_{table}_{column}", table, [column], schema="stoa")
    op.execute(DISCARD)
    for table, scope in WITH_SECRETS.items():
        op.execute(
            f"CREATE TRIGGER discard_secrets AFTER DELETE ON stoa.{table} REFERENCING OLD TABLE AS old_rows "
            f"FOR EACH STATEMENT EXECUTE FUNCTION stoa.discard_secrets('{scope}')"
        )


def downgrade() -> None:
    for table in TABLES:
        op.drop_table(table, schema="stoa")
    op.execute("DROP FUNCTION stoa.discard_secrets()")
