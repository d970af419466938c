"""Migrations: applied once, by one process at a time, and compared with the models."""

import asyncio
from pathlib import Path

import asyncpg
import pytest
import sqlalchemy as sa
from alembic.config import Config
from alembic.script import ScriptDirectory

from infra.failure import Failure
from infra.postgres import migrate
from infra.postgres.migrated import is_migrated, latest

FIRST = """
revision = "0001"
down_revision = None
def upgrade():
    op.execute("SELECT pg_sleep(0.2)")
    op.create_table("thing", sa.Column("id", sa.Integer, primary_key=True), schema="stoa")
"""
SECOND = """
revision = "0002"
down_revision = "0001"
def upgrade():
    op.add_column("thing", sa.Column("name", sa.Text), schema="stoa")
"""
CONCURRENT = """
revision = "0003"
down_revision = "0002"
def upgrade():
    with op.get_context().autocommit_block():
        op.create_index("thing_name", "thing", ["name"], schema="stoa", postgresql_concurrently=True)
"""


@pytest.fixture
def versions(tmp_path: Path) -> Path:
    write(tmp_path, FIRST, SECOND)
    return tmp_path


def write(folder: Path, *scripts: str) -> None:
    for script in scripts:
        number = script.split('"')[1]
        (folder / f"{number}_test.py").write_text(f"import sqlalchemy as sa\nfrom alembic import op\n{script}")


def things(*columns: sa.Column) -> sa.MetaData:
    metadata = sa.MetaData()
    sa.Table("thing", metadata, sa.Column("id", sa.Integer, primary_key=True), *columns, schema="stoa")
    return metadata


async def revision(url: str) -> list[str]:
    connection = await asyncpg.connect(url)
    try:
        return [row["version_num"] for row in await connection.fetch("SELECT version_num FROM stoa.alembic_version")]
    finally:
        await connection.close()


async def test_the_platforms_own_migrations_run_twice(database):
    await migrate.upgrade(database)
    await migrate.upgrade(database)


async def test_whether_it_is_migrated_is_known_without_the_migrations(database):
    assert not await is_migrated(database)
    await migrate.upgrade(database)
    assert await is_migrated(database)
    connection = await asyncpg.connect(database)
    try:
        for version in ("0001", "9999"):
            await connection.execute("UPDATE stoa.alembic_version SET version_num = $1", version)
            assert not await is_migrated(database)
    finally:
        await connection.close()


async def test_there_is_nobody_to_ask_whether_it_is_migrated(database):
    assert not await is_migrated(f"{database}&port=1")
    assert not await is_migrated("postgresql://nobody@127.0.0.1:1/nothing")


def test_the_last_migration_is_the_one_that_alembic_takes_for_it():
    config = Config()
    config.set_main_option("script_location", str(migrate.SCRIPTS))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", str(migrate.VERSIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [latest()]


async def test_what_is_missing_is_applied_once(database, versions):
    await migrate.upgrade(database, versions=versions)
    assert await revision(database) == ["0002"]
    await migrate.upgrade(database, versions=versions)
    write(versions, CONCURRENT)
    await migrate.upgrade(database, versions=versions)
    assert await revision(database) == ["0003"]


async def test_replicas_that_start_together_take_turns(database, versions):
    await asyncio.gather(*(migrate.upgrade(database, versions=versions) for _ in range(5)))
    assert await revision(database) == ["0002"]


async def test_older_code_leaves_a_newer_database_alone(database, versions):
    write(versions, CONCURRENT)
    await migrate.upgrade(database, versions=versions)
    (versions / "0003_test.py").unlink()
    await migrate.upgrade(database, versions=versions)
    assert await revision(database) == ["0003"]


async def test_a_lock_it_cannot_get_is_tried_again_and_then_said(database, versions, monkeypatch):
    monkeypatch.setattr(migrate, "LOCK_TIMEOUT_S", 0.1)
    (versions / "0002_test.py").unlink()
    await migrate.upgrade(database, versions=versions)
    write(versions, SECOND)
    other = await asyncpg.connect(database)
    async with other.transaction():
        await other.execute("LOCK stoa.thing")
        with pytest.raises(Failure, match="got no lock 3 times"):
            await migrate.upgrade(database, versions=versions)
    assert await revision(database) == ["0001"]
    await migrate.upgrade(database, versions=versions)
    assert await revision(database) == ["0002"]
    await other.close()


async def test_differences_between_models_and_database(database, versions):
    await migrate.upgrade(database, versions=versions)
    other = await asyncpg.connect(database)
    await other.execute("CREATE TABLE public.not_ours (id int); CREATE SCHEMA app_1; CREATE TABLE app_1.deals (id int)")
    await other.close()
    name = sa.Column("name", sa.Text)
    assert await migrate.differences(database, metadata=things(name)) == []
    assert await migrate.differences(database, metadata=things()) == ["remove_column: stoa.thing.name"]
    more = things(sa.Column("name", sa.Integer, nullable=False), sa.Column("size", sa.Integer))
    sa.Table("other", more, sa.Column("id", sa.Integer), schema="stoa")
    assert sorted(await migrate.differences(database, metadata=more)) == [
        "add_column: stoa.thing.size",
        "add_table: stoa.other",
        "modify_nullable: stoa.thing.name: True -> False",
        "modify_type: stoa.thing.name: TEXT -> INTEGER",
    ]


async def test_the_next_version_is_written_and_applies(database, versions, monkeypatch):
    await migrate.upgrade(database, versions=versions)
    target = things(sa.Column("name", sa.Text), sa.Column("size", sa.Integer))
    monkeypatch.setattr(migrate, "models", lambda: target)
    path = await migrate.revise(database, "Things have a size", versions=versions)
    assert path.name == "0003_things_have_a_size.py"
    await migrate.upgrade(database, versions=versions)
    assert await migrate.differences(database) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("/stoa?", "/nowhere?"), 'cannot reach the database: database "nowhere" does not exist'),
        (("stoa@", "nobody@"), 'cannot reach the database: role "nobody" does not exist'),
        (("?host=/", "?host=/nowhere/"), "cannot reach the database: .*No such file"),
    ],
)
async def test_a_database_that_cannot_be_reached_is_said_in_one_line(postgres_url, change, said):
    with pytest.raises(Failure, match=said):
        await migrate.upgrade(postgres_url.replace(*change))
