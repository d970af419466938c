"""Who may have work done in whose name.

Revision: 0016
After: 0015
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "acting_agreements",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("principal_id", sa.Uuid(), nullable=False),
        sa.Column("actor_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["principal_id"], ["stoa.users.id"], name="fk_acting_agreements_principal_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["actor_id"], ["stoa.users.id"], name="fk_acting_agreements_actor_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "principal_id", "actor_id", name="pk_acting_agreements"),
        schema="stoa",
    )
    for column in ("principal_id", "actor_id"):
        op.create_index(f"ix_acting_agreements_{column}", "acting_agreements", [column], schema="stoa")


def downgrade() -> None:
    op.drop_table("acting_agreements", schema="stoa")
