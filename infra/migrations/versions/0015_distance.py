"""Distances between places.

Revision: 0015
After: 0014
"""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

# Along a great circle, by the haversine formula, on a sphere with the mean radius of the Earth (IUGG).
GEO_DISTANCE = """
CREATE FUNCTION stoa.geo_distance(a stoa.geo_point, b stoa.geo_point) RETURNS double precision
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN 2 * 6371008.8 * asin(least(1, sqrt(
    sin(radians((b).lat - (a).lat) / 2) ^ 2
    + cos(radians((a).lat)) * cos(radians((b).lat)) * sin(radians((b).lng - (a).lng) / 2) ^ 2
)))
"""


def upgrade() -> None:
    op.execute(GEO_DISTANCE)


def downgrade() -> None:
    op.execute("DROP FUNCTION stoa.geo_distance(stoa.geo_point, stoa.geo_point)")
