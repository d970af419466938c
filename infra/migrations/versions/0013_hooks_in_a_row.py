"""Hooks that fire each other: how many led to a job is known, and there is an end to it.

Revision: 0013
After: 0012
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

IN_A_ROW_MAX = 8

FIRE = """
CREATE OR REPLACE FUNCTION stoa.fire_record_hooks() RETURNS trigger LANGUAGE plpgsql AS $$
{before}
BEGIN
    IF EXISTS (
        SELECT FROM (SELECT DISTINCT tenant_id, app_id, entity, operation FROM entries) e
        JOIN stoa.record_hooks h USING (tenant_id, app_id, entity, operation) WHERE h.active
    ) THEN
        WITH stored AS (
            INSERT INTO stoa.jobs (
                id, tenant_id, app_id, user_id, hook_id, origin, kind, priority, run_at, payload,
                attempts, losses, attempts_max, backoff_s, fence, created_at, {columns}
            )
            SELECT gen_random_uuid(), h.tenant_id, coalesce(h.target_app_id, h.app_id), h.owner_id, h.id, 'hook',
                   CASE h.action WHEN 'agent' THEN 'agent' ELSE 'code' END, 0, now(),
                   jsonb_build_object(
                       '_hook', true, 'hook_id', h.id, 'entity', h.entity, 'operation', h.operation,
                       'record_id', e.record_id, 'record', e.new_record, 'old_record', e.old_record,
                       'action_type', h.action, 'action_config', h.config
                   ),
                   0, 0, 1, 10, 0, now(), {values}
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
# Who writes says how many hooks led to it. A job that would be one too many is there, and has failed.
COUNTED = {
    "before": "DECLARE led int := coalesce(nullif(current_setting('stoa.hooks', true), '')::int, 0) + 1;",
    "columns": "hooks, status, error, finished_at",
    "values": f"""
                   led, CASE WHEN led > {IN_A_ROW_MAX} THEN 'failed' ELSE 'pending' END,
                   CASE WHEN led > {IN_A_ROW_MAX} THEN 'hooks led to each other {IN_A_ROW_MAX} times in a row' END,
                   CASE WHEN led > {IN_A_ROW_MAX} THEN now() END""",
}
UNCOUNTED = {"before": "", "columns": "status", "values": "'pending'"}


def upgrade() -> None:
    for table in ("jobs", "agent_runs"):
        op.add_column(table, sa.Column("hooks", sa.Integer(), server_default="0", nullable=False), schema="stoa")
    op.execute(FIRE.format(**COUNTED))


def downgrade() -> None:
    op.execute(FIRE.format(**UNCOUNTED))
    for table in ("jobs", "agent_runs"):
        op.drop_column(table, "hooks", schema="stoa")
