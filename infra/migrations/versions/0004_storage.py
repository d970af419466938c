"""Storage: blobs, buckets, the objects in them, the files of apps.

Revision: 0004
After: 0003
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)

# Whatever deletes a row (a cascade, somebody with psql), the bytes behind it are found by the sweep.
RELEASE = """
CREATE FUNCTION stoa.release_blobs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE stoa.blobs SET expires_at = now() WHERE id IN (SELECT blob_id FROM old_rows);
    RETURN NULL;
END $$
"""
RELEASED_BY = ("storage_objects", "app_files")

# A tenant has the bucket `default` and the keys for all buckets from its first moment.
FURNISH = """
CREATE FUNCTION stoa.furnish_storage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO stoa.storage_buckets (tenant_id, name, key, public, created_at)
    VALUES (NEW.id, 'default', 'default', false, NEW.created_at);
    INSERT INTO stoa.permission_keys (tenant_id, key, description)
    SELECT NEW.id, 'storage:' || action, action || ' in every bucket'
    FROM unnest(ARRAY['read', 'write', 'delete', 'admin']) AS action
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$
"""


def upgrade() -> None:
    op.create_table(
        "blobs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["stoa.tenants.id"], name="fk_blobs_tenant_id"),
        sa.PrimaryKeyConstraint("id", name="pk_blobs"),
        schema="stoa",
    )
    op.create_index(
        "ix_blobs_expires_at",
        "blobs",
        ["expires_at"],
        schema="stoa",
        postgresql_where=sa.text("expires_at IS NOT NULL"),
    )
    op.create_table(
        "storage_buckets",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("public", sa.Boolean(), nullable=False),
        sa.Column("max_file_size", sa.BigInteger(), nullable=True),
        sa.Column("allowed_types", ARRAY(sa.Text()), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["stoa.tenants.id"], name="fk_storage_buckets_tenant_id"),
        sa.PrimaryKeyConstraint("tenant_id", "name", name="pk_storage_buckets"),
        schema="stoa",
    )
    op.create_index("uq_storage_buckets_key", "storage_buckets", ["tenant_id", "key"], unique=True, schema="stoa")
    op.create_table(
        "storage_objects",
        sa.Column("bucket", sa.Text(), nullable=False),
        sa.Column("parent_id", sa.Uuid(), nullable=True),
        sa.Column(
            "place",
            sa.Uuid(),
            sa.Computed("coalesce(parent_id, '00000000-0000-0000-0000-000000000000'::uuid)", persisted=True),
            nullable=False,
        ),
        sa.Column("is_file", sa.Boolean(), nullable=False),
        sa.Column("blob_id", sa.Uuid(), nullable=True),
        sa.Column("metadata", JSONB, nullable=False),
        sa.Column("uploaded_by", sa.Uuid(), nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "bucket"],
            ["stoa.storage_buckets.tenant_id", "stoa.storage_buckets.name"],
            name="fk_storage_objects_bucket",
        ),
        sa.ForeignKeyConstraint(
            ["parent_id"], ["stoa.storage_objects.id"], name="fk_storage_objects_parent_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["blob_id"], ["stoa.blobs.id"], name="fk_storage_objects_blob_id"),
        sa.PrimaryKeyConstraint("id", name="pk_storage_objects"),
        schema="stoa",
    )
    op.create_index("ix_storage_objects_parent_id", "storage_objects", ["parent_id"], schema="stoa")
    op.create_index("ix_storage_objects_blob_id", "storage_objects", ["blob_id"], schema="stoa")
    op.create_index(
        "uq_storage_objects_name",
        "storage_objects",
        ["tenant_id", "bucket", "place", "name"],
        unique=True,
        schema="stoa",
    )
    op.create_index(
        "ix_storage_objects_listing",
        "storage_objects",
        ["tenant_id", "bucket", "place", "is_file", "name"],
        schema="stoa",
    )
    op.create_table(
        "app_files",
        sa.Column("app_id", sa.Text(), nullable=False),
        sa.Column("blob_id", sa.Uuid(), nullable=False),
        sa.Column("uploaded_by", sa.Uuid(), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["blob_id"], ["stoa.blobs.id"], name="fk_app_files_blob_id"),
        sa.PrimaryKeyConstraint("id", name="pk_app_files"),
        schema="stoa",
    )
    op.create_index("ix_app_files_tenant_id_app_id", "app_files", ["tenant_id", "app_id"], schema="stoa")
    op.create_index("ix_app_files_blob_id", "app_files", ["blob_id"], schema="stoa")
    op.execute(RELEASE)
    for table in RELEASED_BY:
        op.execute(
            f"CREATE TRIGGER release_blobs AFTER DELETE ON stoa.{table} "
            "REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION stoa.release_blobs()"
        )
    op.execute(FURNISH)
    op.execute(
        "CREATE TRIGGER furnish_storage AFTER INSERT ON stoa.tenants "
        "FOR EACH ROW EXECUTE FUNCTION stoa.furnish_storage()"
    )
    op.execute(
        "INSERT INTO stoa.storage_buckets (tenant_id, name, key, public, created_at) "
        "SELECT id, 'default', 'default', false, now() FROM stoa.tenants"
    )
    op.execute(
        "INSERT INTO stoa.permission_keys (tenant_id, key, description) "
        "SELECT id, 'storage:' || action, action || ' in every bucket' "
        "FROM stoa.tenants, unnest(ARRAY['read', 'write', 'delete', 'admin']) AS action ON CONFLICT DO NOTHING"
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER furnish_storage ON stoa.tenants")
    op.execute("DELETE FROM stoa.permission_keys WHERE key LIKE 'storage:%'")
    for table in ("app_files", "storage_objects", "storage_buckets", "blobs"):
        op.drop_table(table, schema="stoa")
    for function in ("release_blobs", "furnish_storage"):
        op.execute(f"DROP FUNCTION stoa.{function}()")
