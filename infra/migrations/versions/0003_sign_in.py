"""Signing in by OpenID providers and by magic links, for which `auth.invite` is now offered to roles.

Revision: 0003
After: 0002
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
PROVIDER = ["stoa.identity_providers.tenant_id", "stoa.identity_providers.id"]

INVITE = """
INSERT INTO stoa.permission_keys (tenant_id, key, description)
SELECT id, 'auth.invite', 'Invite people with magic links' FROM stoa.tenants ON CONFLICT DO NOTHING
"""

# In the order in which they can be dropped.
TABLES = ("magic_links", "session_nonces", "sign_in_attempts", "external_identities", "identity_providers")


def upgrade() -> None:
    op.create_table(
        "identity_providers",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("issuer_url", sa.Text(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("scopes", ARRAY(sa.Text()), nullable=False),
        sa.Column("auto_register", sa.Boolean(), nullable=False),
        sa.Column("default_role", sa.Text(), nullable=False),
        sa.Column("role_claim", sa.Text(), nullable=True),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["stoa.tenants.id"], name="fk_identity_providers_tenant_id"),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_identity_providers"),
        schema="stoa",
    )
    op.create_table(
        "external_identities",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("provider_id", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "provider_id"], PROVIDER, name="fk_external_identities_tenant_id_provider_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["stoa.users.id"], name="fk_external_identities_user_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "provider_id", "subject", name="pk_external_identities"),
        sa.UniqueConstraint("user_id", name="uq_external_identities_user_id"),
        schema="stoa",
    )  # fmt: skip
    op.create_table(
        "sign_in_attempts",
        sa.Column("state_hash", sa.LargeBinary(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("provider_id", sa.Text(), nullable=False),
        sa.Column("browser_hash", sa.LargeBinary(), nullable=False),
        sa.Column("nonce", sa.Text(), nullable=False),
        sa.Column("code_verifier", sa.Text(), nullable=False),
        sa.Column("redirect_uri", sa.Text(), nullable=True),
        sa.Column("delivery", sa.Text(), nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "provider_id"], PROVIDER, name="fk_sign_in_attempts_tenant_id_provider_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("state_hash", name="pk_sign_in_attempts"),
        schema="stoa",
    )  # fmt: skip
    op.create_index("ix_sign_in_attempts_expires_at", "sign_in_attempts", ["expires_at"], schema="stoa")
    op.create_index(
        "ix_sign_in_attempts_tenant_id_provider_id", "sign_in_attempts", ["tenant_id", "provider_id"], schema="stoa"
    )
    op.create_table(
        "session_nonces",
        sa.Column("nonce_hash", sa.LargeBinary(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["session_id"], ["stoa.sessions.id"], name="fk_session_nonces_session_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("nonce_hash", name="pk_session_nonces"),
        schema="stoa",
    )
    op.create_index("ix_session_nonces_expires_at", "session_nonces", ["expires_at"], schema="stoa")
    op.create_index("ix_session_nonces_session_id", "session_nonces", ["session_id"], schema="stoa")
    op.create_table(
        "magic_links",
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("roles", ARRAY(sa.Text()), nullable=False),
        sa.Column("redirect_uri", sa.Text(), nullable=True),
        sa.Column("delivery", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("used_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(
            ["created_by"], ["stoa.users.id"], name="fk_magic_links_created_by", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["stoa.tenants.id"], name="fk_magic_links_tenant_id"),
        sa.PrimaryKeyConstraint("token_hash", name="pk_magic_links"),
        schema="stoa",
    )
    for column in ("created_by", "expires_at", "tenant_id"):
        op.create_index(f"ix_magic_links_{column}", "magic_links", [column], schema="stoa")
    op.execute(INVITE)


def downgrade() -> None:
    op.execute("DELETE FROM stoa.permission_keys WHERE key = 'auth.invite' AND app_id IS NULL")
    for table in TABLES:
        op.drop_table(table, schema="stoa")
