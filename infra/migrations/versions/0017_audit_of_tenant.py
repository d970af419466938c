"""The audit log's tenant is known by its id alone.

Each entry locked its tenant's row, so that it could not go meanwhile: whoever wrote at the same moment as others shared
that lock with them, which PostgreSQL notes in a list of its own for each such moment. Tenants don't go.

Revision: 0017
After: 0016
"""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_constraint("fk_audit_log_tenant_id", "audit_log", schema="stoa", type_="foreignkey")


def downgrade() -> None:
    op.create_foreign_key(
        "fk_audit_log_tenant_id",
        "audit_log",
        "tenants",
        ["tenant_id"],
        ["id"],
        source_schema="stoa",
        referent_schema="stoa",
    )
