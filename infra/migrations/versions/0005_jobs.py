"""Jobs, crons and their runs, webhooks, and hooks of records.

Revision: 0005
After: 0004
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
WAITING = sa.text("status = 'pending'")
HELD = sa.text("status = 'running'")
OF_A_CRON = sa.text("cron_id IS NOT NULL AND status IN ('pending', 'running')")

# A job for each hook and record, written with the log's entry of the change, and so in its transaction: whatever
# changes a record is heard of, and shown as the log shows it.
HOOKS = """
CREATE FUNCTION stoa.fire_record_hooks() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM (SELECT DISTINCT tenant_id, app_id, entity, operation FROM entries) e
        JOIN stoa.record_hooks h USING (tenant_id, app_id, entity, operation) WHERE h.active
    ) THEN
        WITH stored AS (
            INSERT INTO stoa.jobs (
                id, tenant_id, app_id, user_id, hook_id, origin, kind, status, priority, run_at, payload,
                attempts, losses, attempts_max, backoff_s, fence, created_at
            )
            SELECT gen_random_uuid(), h.tenant_id, coalesce(h.target_app_id, h.app_id), h.owner_id, h.id, 'hook',
                   CASE h.action WHEN 'agent' THEN 'agent' ELSE 'code' END, 'pending', 0, now(),
                   jsonb_build_object(
                       '_hook', true, 'hook_id', h.id, 'entity', h.entity, 'operation', h.operation,
                       'record_id', e.record_id, 'record', e.new_record, 'old_record', e.old_record,
                       'action_type', h.action, 'action_config', h.config
                   ),
                   0, 0, 1, 10, 0, now()
            FROM entries e JOIN stoa.record_hooks h USING (tenant_id, app_id, entity, operation)
            WHERE h.active ORDER BY e.id
            RETURNING tenant_id, app_id, id, status
        )
        INSERT INTO stoa.outbox (tenant_id, kind, payload)
        SELECT tenant_id, 'job.changed', jsonb_build_object('app_id', app_id, 'job_id', id, 'status', status)
        FROM stored;
    END IF;
    RETURN NULL;
END $$
"""
HOOKED = """
CREATE TRIGGER fire_record_hooks AFTER INSERT ON stoa.audit_log REFERENCING NEW TABLE AS entries
FOR EACH STATEMENT EXECUTE FUNCTION stoa.fire_record_hooks()
"""


def upgrade() -> None:
    op.create_table(
        "jobs",
        sa.Column("number", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("app_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("run_at", MOMENT, nullable=False),
        sa.Column("payload", JSONB, nullable=False),
        sa.Column("result", JSONB, nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("losses", sa.Integer(), nullable=False),
        sa.Column("attempts_max", sa.Integer(), nullable=False),
        sa.Column("backoff_s", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("cron_id", sa.Uuid(), nullable=True),
        sa.Column("hook_id", sa.Uuid(), nullable=True),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("holder", sa.Uuid(), nullable=True),
        sa.Column("leased_until", MOMENT, nullable=True),
        sa.Column("started_at", MOMENT, nullable=True),
        sa.Column("finished_at", MOMENT, nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["stoa.tenants.id"], name="fk_jobs_tenant_id"),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.UniqueConstraint("number", name="uq_jobs_number"),
        schema="stoa",
    )
    waiting = ["tenant_id", "app_id", "priority", "run_at", "number"]
    op.create_index("ix_jobs_waiting", "jobs", waiting, schema="stoa", postgresql_where=WAITING)
    op.create_index("ix_jobs_held", "jobs", ["leased_until"], schema="stoa", postgresql_where=HELD)
    op.create_index("ix_jobs_of_a_cron", "jobs", ["cron_id"], schema="stoa", postgresql_where=OF_A_CRON)
    op.create_index("ix_jobs_tenant_id_app_id_number", "jobs", ["tenant_id", "app_id", "number"], schema="stoa")
    op.create_index("ix_jobs_finished_at", "jobs", ["finished_at"], schema="stoa")
    # A queue's rows die young: what they leave behind is cleared away before it slows the next look.
    op.execute(
        "ALTER TABLE stoa.jobs SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05)"
    )
    op.create_table(
        "crons",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("app_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("schedule", sa.Text(), nullable=False),
        sa.Column("timezone", sa.Text(), nullable=True),
        sa.Column("payload", JSONB, nullable=False),
        sa.Column("overlap", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=True),
        sa.Column("next_at", MOMENT, nullable=True),
        sa.Column("owner_id", sa.Uuid(), nullable=True),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "app_id"], ["stoa.apps.tenant_id", "stoa.apps.id"],
            name="fk_crons_tenant_id_app_id", ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["owner_id"], ["stoa.users.id"], name="fk_crons_owner_id", ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name="pk_crons"),
        sa.UniqueConstraint("tenant_id", "app_id", "name", name="uq_crons_tenant_id_app_id_name"),
        schema="stoa",
    )  # fmt: skip
    op.create_index("ix_crons_next_at", "crons", ["next_at"], schema="stoa")
    op.create_index("ix_crons_owner_id", "crons", ["owner_id"], schema="stoa")
    op.execute("CREATE SEQUENCE stoa.cron_numbers")
    op.create_table(
        "cron_runs",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("cron_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("process_id", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=True),
        sa.Column("due_at", MOMENT, nullable=True),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("finished_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["cron_id"], ["stoa.crons.id"], name="fk_cron_runs_cron_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_cron_runs"),
        schema="stoa",
    )
    op.create_index("ix_cron_runs_cron_id_id", "cron_runs", ["cron_id", "id"], schema="stoa")
    op.create_index("ix_cron_runs_finished_at", "cron_runs", ["finished_at"], schema="stoa")
    op.create_table(
        "webhooks",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("app_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("signed_only", sa.Boolean(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "app_id"], ["stoa.apps.tenant_id", "stoa.apps.id"],
            name="fk_webhooks_tenant_id_app_id", ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["owner_id"], ["stoa.users.id"], name="fk_webhooks_owner_id", ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name="pk_webhooks"),
        sa.UniqueConstraint("tenant_id", "app_id", "name", name="uq_webhooks_tenant_id_app_id_name"),
        sa.UniqueConstraint("token_hash", name="uq_webhooks_token_hash"),
        schema="stoa",
    )  # fmt: skip
    op.create_index("ix_webhooks_owner_id", "webhooks", ["owner_id"], schema="stoa")
    op.create_table(
        "record_hooks",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("app_id", sa.Text(), nullable=False),
        sa.Column("entity", sa.Text(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("target_app_id", sa.Text(), nullable=True),
        sa.Column("config", JSONB, nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("declared_by", sa.Text(), nullable=True),
        sa.Column("owner_id", sa.Uuid(), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["stoa.tenants.id"], name="fk_record_hooks_tenant_id"),
        sa.ForeignKeyConstraint(["owner_id"], ["stoa.users.id"], name="fk_record_hooks_owner_id", ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name="pk_record_hooks"),
        schema="stoa",
    )
    of_a_change = ["tenant_id", "app_id", "entity", "operation"]
    op.create_index("ix_record_hooks_tenant_id_app_id_entity_operation", "record_hooks", of_a_change, schema="stoa")
    op.create_index("ix_record_hooks_owner_id", "record_hooks", ["owner_id"], schema="stoa")
    op.execute(HOOKS)
    op.execute(HOOKED)


def downgrade() -> None:
    op.execute("DROP TRIGGER fire_record_hooks ON stoa.audit_log")
    op.execute("DROP FUNCTION stoa.fire_record_hooks()")
    for table in ("record_hooks", "webhooks", "cron_runs", "crons", "jobs"):
        op.drop_table(table, schema="stoa")
    op.execute("DROP SEQUENCE stoa.cron_numbers")
