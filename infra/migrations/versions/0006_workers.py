"""What is deployed, the workers that are wanted, and the hosts that run them.

Revision: 0006
After: 0005
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "app_deployments",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("app_id", sa.Text(), nullable=False),
        sa.Column("part", sa.Text(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("blob_id", sa.Uuid(), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("entry_point", sa.Text(), nullable=True),
        sa.Column("agent", JSONB(), nullable=True),
        sa.Column("deployed_by", sa.Uuid(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["stoa.tenants.id"], name="fk_app_deployments_tenant_id"),
        sa.ForeignKeyConstraint(["blob_id"], ["stoa.blobs.id"], name="fk_app_deployments_blob_id"),
        sa.PrimaryKeyConstraint("tenant_id", "app_id", "part", name="pk_app_deployments"),
        sa.UniqueConstraint("id", name="uq_app_deployments_id"),
        schema="stoa",
    )
    op.create_index("ix_app_deployments_blob_id", "app_deployments", ["blob_id"], schema="stoa")
    op.execute(
        "CREATE TRIGGER release_blobs AFTER DELETE ON stoa.app_deployments "
        "REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION stoa.release_blobs()"
    )
    op.create_table(
        "app_workers",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("app_id", sa.Text(), nullable=False),
        sa.Column("wanted", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("host_id", sa.Uuid(), nullable=True),
        sa.Column("leased_until", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["stoa.tenants.id"], name="fk_app_workers_tenant_id"),
        sa.PrimaryKeyConstraint("tenant_id", "app_id", name="pk_app_workers"),
        schema="stoa",
    )
    op.create_index("ix_app_workers_host_id", "app_workers", ["host_id"], schema="stoa")
    op.create_table(
        "worker_hosts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("heartbeat_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_worker_hosts"),
        schema="stoa",
    )


def downgrade() -> None:
    for table in ("worker_hosts", "app_workers", "app_deployments"):
        op.drop_table(table, schema="stoa")
