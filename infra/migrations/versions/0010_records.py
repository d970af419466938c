"""What goes with records: finding the deleted ones in the log of changes.

Revision: 0010
After: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

DELETED = sa.text("operation = 'DELETE'")
DELETED_INDEXES = {
    "ix_audit_log_deleted": ["tenant_id", "app_id", "entity", "id"],
    "ix_audit_log_deleted_at": ["changed_at"],
}


def upgrade() -> None:
    for name, columns in DELETED_INDEXES.items():
        op.create_index(name, "audit_log", columns, schema="stoa", postgresql_where=DELETED)


def downgrade() -> None:
    for name in DELETED_INDEXES:
        op.drop_index(name, "audit_log", schema="stoa")
