"""Row policies: what a statement refuses a new row with.

Revision: 0014
After: 0013
"""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

# Told in the place of a row's document. Volatile, so that no planner calls it before there is such a row.
FUNCTION = """
CREATE FUNCTION stoa.refused_record(rule text) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RAISE EXCEPTION 'a row is outside of what its writer may write' USING ERRCODE = 'SR001', CONSTRAINT = rule;
END $$
"""


def upgrade() -> None:
    op.execute(FUNCTION)


def downgrade() -> None:
    op.execute("DROP FUNCTION stoa.refused_record(text)")
