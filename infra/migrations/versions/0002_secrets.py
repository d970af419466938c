"""Tables of secrets (still empty: see the area's own commit).

Revision: 0002
After: 0001
"""

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass


def downgrade() -> None:
    pass
