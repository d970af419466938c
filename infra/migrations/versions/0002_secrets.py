"""The vault: secrets by scope, and the master keys they need.

Revision: 0002
After: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "master_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("proof", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_master_keys"),
        schema="stoa",
    )
    op.create_table(
        "secrets",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("wrapped_key", sa.LargeBinary(), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["key_id"], ["stoa.master_keys.id"], name="fk_secrets_key_id"),
        sa.ForeignKeyConstraint(["tenant_id"], ["stoa.tenants.id"], name="fk_secrets_tenant_id"),
        sa.PrimaryKeyConstraint("tenant_id", "scope", "key", name="pk_secrets"),
        schema="stoa",
    )
    op.create_index("ix_secrets_key_id", "secrets", ["key_id"], schema="stoa")


def downgrade() -> None:
    op.drop_table("secrets", schema="stoa")
    op.drop_table("master_keys", schema="stoa")
