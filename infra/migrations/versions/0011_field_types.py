"""Field types: columns for amounts, places and sealed values; the log of changes has values in their JSON form.

Revision: 0011
After: 0010
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

TYPES = {
    "money_value": "amount numeric, currency text",
    "geo_point": "lat double precision, lng double precision",
    "sealed_value": "key_id text, wrapped_key bytea, ciphertext bytea",
}

# As it was, and where a table's trigger says how the JSON form of some of its columns is made, with that: SQL of a JSON
# object over the row `r`. What the log shows is then what is shown everywhere else.
ENTRY = """
WITH entry AS (
    INSERT INTO stoa.audit_log (
        tenant_id, app_id, entity, record_id, operation, old_record, new_record,
        actor_id, delegator_id, door, changed_at
    )
    SELECT {tenant}::uuid, {app}, {entity}, {id}, '{operation}', {old}, {new},
           nullif(current_setting('stoa.actor', true), '')::uuid,
           nullif(current_setting('stoa.delegator', true), '')::uuid,
           nullif(current_setting('stoa.door', true), ''), now()
    FROM {rows}
    RETURNING id
)
INSERT INTO stoa.outbox (tenant_id, kind, audit_id)
SELECT {tenant}::uuid, 'record.changed', id FROM entry
"""
FUNCTION = """
CREATE OR REPLACE FUNCTION stoa.record_{verb}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_NARGS > 3 THEN
        EXECUTE format($entry$ {shown} $entry$, TG_ARGV[3]) USING TG_ARGV[0], TG_ARGV[1], TG_ARGV[2];
    ELSE
        {plain};
    END IF;
    RETURN NULL;
END $$
"""
TOLD = {"tenant": "TG_ARGV[0]", "app": "TG_ARGV[1]", "entity": "TG_ARGV[2]"}
GIVEN = {"tenant": "$1", "app": "$2", "entity": "$3"}
VERBS = (
    {"verb": "inserted", "operation": "INSERT", "id": "n.id::text", "rows": "new_rows n"},
    {
        "verb": "updated",
        "operation": "UPDATE",
        "id": "n.id::text",
        "rows": "new_rows n JOIN old_rows o ON o.id = n.id",
    },
    {"verb": "deleted", "operation": "DELETE", "id": "o.id::text", "rows": "old_rows o"},
)


def entry(verb: dict[str, str], record: str, names: dict[str, str]) -> str:
    """The statement that writes the log; `record` is SQL of a row's JSON, its alias left open."""
    old = record.format("o") if "old_rows" in verb["rows"] else "NULL"
    new = record.format("n") if "new_rows" in verb["rows"] else "NULL"
    return ENTRY.format(**verb, **names, old=old, new=new)


def upgrade() -> None:
    for name, parts in TYPES.items():
        op.execute(f"CREATE TYPE stoa.{name} AS ({parts})")
    for verb in VERBS:
        plain = entry(verb, "to_jsonb({}.*)", TOLD)
        shown = entry(verb, "(SELECT to_jsonb(r.*) || %1$s FROM (SELECT {}.*) r)", GIVEN)
        op.execute(FUNCTION.format(verb=verb["verb"], plain=plain, shown=shown))


def downgrade() -> None:
    for verb in VERBS:
        plain = entry(verb, "to_jsonb({}.*)", TOLD)
        op.execute(
            f"CREATE OR REPLACE FUNCTION stoa.record_{verb['verb']}() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN {plain}; RETURN NULL; END $$"
        )
    for name in TYPES:
        op.execute(f"DROP TYPE stoa.{name}")
