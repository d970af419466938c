"""What goes with records: the deleted ones in the log of changes, comments, associations, shares, views, imports.

Revision: 0010
After: 0009
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)

DELETED = sa.text("operation = 'DELETE'")
DELETED_INDEXES = {
    "ix_audit_log_deleted": ["tenant_id", "app_id", "entity", "id"],
    "ix_audit_log_deleted_at": ["changed_at"],
}
IMPORT_COUNTS = ("read", "created", "updated", "skipped", "failed")
RECORD = ["tenant_id", "app_id", "entity", "record_id"]

# The roles somebody holds, with those they inherit from; as deep as `domain.access` follows them.
HELD_ROLES = """
CREATE FUNCTION stoa.held_roles(of_tenant uuid, of_user uuid) RETURNS SETOF text LANGUAGE sql STABLE AS $$
    WITH RECURSIVE held (name, depth) AS (
        SELECT a.role, 0 FROM stoa.role_assignments a WHERE a.tenant_id = of_tenant AND a.user_id = of_user
        UNION
        SELECT unnest(r.inherits), h.depth + 1
        FROM held h JOIN stoa.roles r ON r.tenant_id = of_tenant AND r.name = h.name
        WHERE h.depth < 64
    )
    SELECT DISTINCT name FROM held
$$
"""


def of_record(*columns: sa.Column) -> list[sa.Column]:
    """The columns of a row that belongs to a record."""
    names = ("app_id", "entity", "record_id")
    return [
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in names),
        sa.Column("record_created_at", MOMENT, nullable=False),
        *columns,
        sa.Column("created_at", MOMENT, nullable=False),
    ]


def upgrade() -> None:
    for name, columns in DELETED_INDEXES.items():
        op.create_index(name, "audit_log", columns, schema="stoa", postgresql_where=DELETED)
    op.execute(HELD_ROLES)
    op.create_table(
        "record_comments",
        *of_record(
            sa.Column("author_id", sa.Uuid(), nullable=False),
            sa.Column("body", sa.Text(), nullable=False),
            sa.Column("edited_at", MOMENT, nullable=True),
        ),
        sa.PrimaryKeyConstraint("id", name="pk_record_comments"),
        schema="stoa",
    )
    op.create_index("ix_record_comments_record", "record_comments", [*RECORD, "created_at", "id"], schema="stoa")
    op.create_table(
        "record_associations",
        *of_record(
            sa.Column("type", sa.Text(), nullable=False),
            sa.Column("to_app_id", sa.Text(), nullable=False),
            sa.Column("to_entity", sa.Text(), nullable=False),
            sa.Column("to_id", sa.Text(), nullable=False),
            sa.Column("to_created_at", MOMENT, nullable=False),
            sa.Column("meta", JSONB(), nullable=False),
            sa.Column("updated_at", MOMENT, nullable=False),
        ),
        sa.PrimaryKeyConstraint("id", name="pk_record_associations"),
        schema="stoa",
    )
    to = ["to_app_id", "to_entity", "to_id"]
    op.create_index(
        "uq_record_associations_edge", "record_associations", [*RECORD, "type", *to], unique=True, schema="stoa"
    )
    op.create_index("ix_record_associations_to", "record_associations", ["tenant_id", *to], schema="stoa")
    op.create_table(
        "record_shares",
        *of_record(
            sa.Column("recipient_type", sa.Text(), nullable=False),
            sa.Column("recipient_id", sa.Text(), nullable=False),
            sa.Column("level", sa.Text(), nullable=False),
            sa.Column("source", sa.Text(), nullable=False),
            sa.Column("source_id", sa.Text(), nullable=True),
            sa.Column("granted_by", sa.Uuid(), nullable=False),
            sa.Column("reason", sa.Text(), nullable=True),
            sa.Column("updated_at", MOMENT, nullable=False),
        ),
        sa.PrimaryKeyConstraint("id", name="pk_record_shares"),
        schema="stoa",
    )
    recipient = ["recipient_type", "recipient_id"]
    op.create_index("uq_record_shares_recipient", "record_shares", [*RECORD, *recipient], unique=True, schema="stoa")
    op.create_index("ix_record_shares_recipient", "record_shares", ["tenant_id", *recipient], schema="stoa")
    op.create_table(
        "saved_views",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("app_id", sa.Text(), nullable=False),
        sa.Column("entity", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=True),
        sa.Column("created_by", sa.Uuid(), nullable=False),
        sa.Column("where", JSONB(), nullable=True),
        sa.Column("dialect", sa.Text(), nullable=False),
        sa.Column("order_by", sa.Text(), nullable=True),
        sa.Column("descending", sa.Boolean(), nullable=False),
        sa.Column("columns", ARRAY(sa.Text()), nullable=False),
        sa.Column("layout", JSONB(), nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_saved_views"),
        schema="stoa",
    )
    op.create_index(
        "uq_saved_views_name",
        "saved_views",
        ["tenant_id", "app_id", "entity", "owner_id", "name"],
        unique=True,
        schema="stoa",
        postgresql_nulls_not_distinct=True,
    )
    op.create_table(
        "imports",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("app_id", sa.Text(), nullable=False),
        sa.Column("entity", sa.Text(), nullable=False),
        sa.Column("filename", sa.Text(), nullable=True),
        sa.Column("dry_run", sa.Boolean(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in IMPORT_COUNTS),
        sa.Column("errors", JSONB(), nullable=False),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("created_by", sa.Uuid(), nullable=False),
        sa.Column("heard_at", MOMENT, nullable=False),
        sa.Column("finished_at", MOMENT, nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_imports"),
        schema="stoa",
    )
    listing = ["tenant_id", "app_id", "entity", "created_at"]
    op.create_index("ix_imports_tenant_id_app_id_entity_created_at", "imports", listing, schema="stoa")
    op.create_index("ix_imports_created_at", "imports", ["created_at"], schema="stoa")


def downgrade() -> None:
    for table in ("imports", "saved_views", "record_shares", "record_associations", "record_comments"):
        op.drop_table(table, schema="stoa")
    op.execute("DROP FUNCTION stoa.held_roles(uuid, uuid)")
    for name in DELETED_INDEXES:
        op.drop_index(name, "audit_log", schema="stoa")
