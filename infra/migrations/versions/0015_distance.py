"""Distances between places.

Revision: 0015
After: 0014
"""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

# Along a great circle, by the haversine formula, on a sphere with the mean radius of the Earth (IUGG). Made of strict
# functions alone, so that it is planned as the expression it is, and not called row by row.
HALF = """
    sin(radians((place).lat - lat) / 2) ^ 2
    + cos(radians(lat)) * cos(radians((place).lat)) * sin(radians((place).lng - lng) / 2) ^ 2
"""
GEO_DISTANCE = """
CREATE FUNCTION stoa.geo_distance(place stoa.geo_point, lat double precision, lng double precision)
RETURNS double precision LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN 2 * 6371008.8::double precision * atan2(sqrt({h}), sqrt(abs(1 - ({h}))))
"""


def upgrade() -> None:
    op.execute(GEO_DISTANCE.format(h=HALF))


def downgrade() -> None:
    op.execute("DROP FUNCTION stoa.geo_distance(stoa.geo_point, double precision, double precision)")
