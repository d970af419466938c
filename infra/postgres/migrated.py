"""Whether a database has all migrations, found out without what makes them: that takes memory for as long as we run."""

from pathlib import Path

import asyncpg

VERSIONS = Path(__file__).parent.parent / "migrations" / "versions"
DIAL_S = 10


def latest() -> str:
    """The number of the last migration there is."""
    return max(script.stem.partition("_")[0] for script in VERSIONS.glob("[0-9]*.py"))


async def is_migrated(url: str) -> bool:
    """Whether this database has the last migration; not if nobody can tell."""
    try:
        connection = await asyncpg.connect(url, timeout=DIAL_S)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    try:
        found = await connection.fetch("SELECT version_num FROM stoa.alembic_version")
    except asyncpg.PostgresError:
        return False
    finally:
        await connection.close()
    return [row["version_num"] for row in found] == [latest()]
