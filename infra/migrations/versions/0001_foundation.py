"""The foundation: tenants, accounts, access, apps, the audit log, the outbox, kept answers.

Revision: 0001
After: nothing
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.types import UserDefinedType

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


class _Xid8(UserDefinedType):
    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "xid8"


XID8 = _Xid8()
MOMENT = sa.DateTime(timezone=True)

# What the tables of records call after each statement: an audit row and an outbox row for each record. Who acts is
# told by the writing statement itself, in settings that end with its transaction; a change by hand has none.
# (`n.*` is the row even where a field is named n.)
RECORD_TRIGGER = """
CREATE FUNCTION stoa.record_{verb}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    WITH entry AS (
        INSERT INTO stoa.audit_log (
            tenant_id, app_id, entity, record_id, operation, old_record, new_record,
            actor_id, delegator_id, door, changed_at
        )
        SELECT TG_ARGV[0]::uuid, TG_ARGV[1], TG_ARGV[2], {id}, '{operation}', {old}, {new},
               nullif(current_setting('stoa.actor', true), '')::uuid,
               nullif(current_setting('stoa.delegator', true), '')::uuid,
               nullif(current_setting('stoa.door', true), ''), now()
        FROM {rows}
        RETURNING id
    )
    INSERT INTO stoa.outbox (tenant_id, kind, audit_id)
    SELECT TG_ARGV[0]::uuid, 'record.changed', id FROM entry;
    RETURN NULL;
END $$
"""
RECORD_TRIGGERS = (
    {
        "verb": "inserted", "operation": "INSERT", "id": "n.id::text",
        "old": "NULL", "new": "to_jsonb(n.*)", "rows": "new_rows n",
    },
    {
        "verb": "updated", "operation": "UPDATE", "id": "n.id::text",
        "old": "to_jsonb(o.*)", "new": "to_jsonb(n.*)", "rows": "new_rows n JOIN old_rows o ON o.id = n.id",
    },
    {
        "verb": "deleted", "operation": "DELETE", "id": "o.id::text",
        "old": "to_jsonb(o.*)", "new": "NULL", "rows": "old_rows o",
    },
)  # fmt: skip

APPEND_ONLY = """
CREATE FUNCTION stoa.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the rows of % are only ever added', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON stoa.audit_log
FOR EACH STATEMENT EXECUTE FUNCTION stoa.refuse_change()
"""

DEFAULT_TENANT = "00000000-0000-0000-0000-000000000000"
SEEDS = f"""
INSERT INTO stoa.tenants (id, slug, name, created_at) VALUES ('{DEFAULT_TENANT}', 'default', 'Default', now());
INSERT INTO stoa.users (id, tenant_id, username, email, kind, created_at)
VALUES ('00000000-0000-0000-0000-000000000001', '{DEFAULT_TENANT}', 'system', 'system@localhost', 'system', now());
INSERT INTO stoa.login_names (tenant_id, name, user_id)
SELECT tenant_id, unnest(ARRAY[username, email]), id FROM stoa.users;
INSERT INTO stoa.roles (tenant_id, name, description, inherits, permissions, created_at)
VALUES ('{DEFAULT_TENANT}', 'admin', 'May do everything', '{{}}', '{{*}}', now()),
       ('{DEFAULT_TENANT}', 'base', 'May do nothing by itself', '{{}}', '{{}}', now());
INSERT INTO stoa.permission_keys (tenant_id, key, description)
VALUES ('{DEFAULT_TENANT}', 'platform:apps.create', 'Install apps');
INSERT INTO stoa.outbox_horizon (id) VALUES (1)
"""


# In the order in which they can be dropped.
TABLES = (
    "sessions", "role_assignments", "login_names", "users", "roles", "permission_keys", "audit_log", "apps", "tenants",
    "outbox_horizon", "outbox", "idempotency_keys",
)  # fmt: skip


def _split(statements: str) -> list[str]:
    """The statements one by one, as the driver wants them; a function's body stays whole."""
    parts, depth = [""], 0
    for piece in statements.split(";"):
        depth += piece.count("$$")
        parts[-1] += piece + ";"
        if depth % 2 == 0:
            parts.append("")
    return [part.strip().rstrip(";") for part in parts if part.strip(" ;\n")]


def upgrade() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_hash", sa.LargeBinary(), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", "key", name="pk_idempotency_keys"),
        schema="stoa",
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"], schema="stoa")
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("tx", XID8, server_default=sa.text("pg_current_xact_id()"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("payload", JSONB, nullable=True),
        sa.Column("audit_id", sa.BigInteger(), nullable=True),
        sa.Column("created_at", MOMENT, server_default=sa.text("now()"), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
        schema="stoa",
    )
    op.create_index("ix_outbox_created_at", "outbox", ["created_at"], schema="stoa")
    op.create_index("ix_outbox_tx_id", "outbox", ["tx", "id"], schema="stoa")
    op.create_table(
        "outbox_horizon",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("tx", XID8, server_default=sa.text("'0'"), nullable=False),
        sa.Column("outbox_id", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_outbox_horizon"),
        schema="stoa",
    )
    op.create_table(
        "tenants",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tenants"),
        sa.UniqueConstraint("slug", name="uq_tenants_slug"),
        schema="stoa",
    )
    op.create_table(
        "apps",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("manifest", JSONB, nullable=False),
        sa.Column("schema_name", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["stoa.tenants.id"], name="fk_apps_tenant_id"),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_apps"),
        sa.UniqueConstraint("schema_name", name="uq_apps_schema_name"),
        schema="stoa",
    )
    op.create_table(
        "audit_log",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("app_id", sa.Text(), nullable=False),
        sa.Column("entity", sa.Text(), nullable=False),
        sa.Column("record_id", sa.Text(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("old_record", JSONB, nullable=True),
        sa.Column("new_record", JSONB, nullable=True),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
        sa.Column("delegator_id", sa.Uuid(), nullable=True),
        sa.Column("door", sa.Text(), nullable=True),
        sa.Column("changed_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["stoa.tenants.id"], name="fk_audit_log_tenant_id"),
        sa.PrimaryKeyConstraint("id", name="pk_audit_log"),
        schema="stoa",
    )
    op.create_index(
        "ix_audit_log_tenant_id_app_id_entity_id", "audit_log", ["tenant_id", "app_id", "entity", "id"], schema="stoa"
    )
    op.create_index("ix_audit_log_tenant_id_record_id", "audit_log", ["tenant_id", "record_id"], schema="stoa")
    op.create_table(
        "permission_keys",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("app_id", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["stoa.tenants.id"], name="fk_permission_keys_tenant_id"),
        sa.PrimaryKeyConstraint("tenant_id", "key", name="pk_permission_keys"),
        schema="stoa",
    )
    op.create_index("ix_permission_keys_tenant_id_app_id", "permission_keys", ["tenant_id", "app_id"], schema="stoa")
    op.create_table(
        "roles",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("inherits", ARRAY(sa.Text()), nullable=False),
        sa.Column("permissions", ARRAY(sa.Text()), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["stoa.tenants.id"], name="fk_roles_tenant_id"),
        sa.PrimaryKeyConstraint("tenant_id", "name", name="pk_roles"),
        schema="stoa",
    )
    op.create_table(
        "users",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("display_name", sa.Text(), nullable=True),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("disabled_at", MOMENT, nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["stoa.tenants.id"], name="fk_users_tenant_id"),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        schema="stoa",
    )
    op.create_index("ix_users_tenant_id_kind", "users", ["tenant_id", "kind"], schema="stoa")
    op.create_table(
        "login_names",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["stoa.users.id"], name="fk_login_names_user_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("tenant_id", "name", name="pk_login_names"),
        schema="stoa",
    )
    op.create_index("ix_login_names_user_id", "login_names", ["user_id"], schema="stoa")
    op.create_table(
        "role_assignments",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("assigned_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["stoa.users.id"], name="fk_role_assignments_user_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", "role", name="pk_role_assignments"),
        schema="stoa",
    )
    op.create_index("ix_role_assignments_tenant_id_role", "role_assignments", ["tenant_id", "role"], schema="stoa")
    op.create_table(
        "sessions",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("rotated_at", MOMENT, nullable=True),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["stoa.users.id"], name="fk_sessions_user_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_sessions"),
        schema="stoa",
    )
    op.create_index("ix_sessions_expires_at", "sessions", ["expires_at"], schema="stoa")
    op.create_index("ix_sessions_user_id", "sessions", ["user_id"], schema="stoa")
    for trigger in RECORD_TRIGGERS:
        op.execute(RECORD_TRIGGER.format(**trigger))
    for statements in (APPEND_ONLY, SEEDS):
        for statement in _split(statements):
            op.execute(statement)


def downgrade() -> None:
    for table in TABLES:
        op.drop_table(table, schema="stoa")
    for function in ("record_inserted", "record_updated", "record_deleted", "refuse_change"):
        op.execute(f"DROP FUNCTION stoa.{function}()")
