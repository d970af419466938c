"""Migrations: bring a database to the shape of the models, and say where the two differ."""

import asyncio
import importlib
import pkgutil
import time
from argparse import Namespace
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Connection, MetaData, Table, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from infra.failure import Failure
from infra.logs import get_logger
from infra.postgres.migrated import DIAL_S, VERSIONS

SCHEMA = "stoa"
SCRIPTS = VERSIONS.parent

# A migration that waits for a lock makes every later query on that table wait behind it.
LOCK_TIMEOUT_S = 5
TRIES = 3
# Another replica may be migrating; it is done in moments or stuck.
TURN_S = 120

_TURN_KEY = 0x73746F61  # "stoa": the advisory lock of whoever migrates
_LOCK_NOT_AVAILABLE = "55P03"

log = get_logger(__name__)


async def upgrade(url: str, *, versions: Path = VERSIONS) -> None:
    """Apply what is missing, one process at a time. Raises Failure.

    A database ahead of this code is left as it is: old code runs on a newer schema, so a release can be taken back.
    """
    async with _connection(url) as connection, _turn(connection):
        await connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
        await connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT_S}s'"))
        await connection.commit()
        for attempt in range(1, TRIES + 1):
            try:
                return await connection.run_sync(_upgrade, versions)
            except DBAPIError as problem:
                await connection.rollback()
                if getattr(problem.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
                    raise
                log.warning("migration_waits", attempt=attempt, statement=" ".join((problem.statement or "").split()))
        raise Failure(
            f"a migration got no lock {TRIES} times, {LOCK_TIMEOUT_S} s each: end the long transactions and try again"
        )


async def differences(url: str, *, metadata: MetaData | None = None) -> list[str]:
    """What would have to change for the database to be as the models say, a line each; empty when it is."""
    target = models() if metadata is None else metadata

    def compare(connection: Connection) -> list[str]:
        options: dict[str, Any] = {
            "include_schemas": True,
            "include_name": of_ours,
            "version_table_schema": SCHEMA,
            "compare_server_default": True,
        }
        found = compare_metadata(MigrationContext.configure(connection, opts=options), target)
        return [line for difference in found for line in _described(difference)]

    async with _connection(url) as connection:
        return await connection.run_sync(compare)


async def revise(url: str, message: str, *, versions: Path = VERSIONS) -> Path:
    """Write the next version: what takes this (migrated) database to the models. To be read by eye."""

    def generate(connection: Connection) -> Path:
        config = _config(versions, connection, models())
        script = command.revision(config, message, autogenerate=True, rev_id=_next_number(config))
        assert not isinstance(script, list)
        return Path(script.path) if script else VERSIONS

    async with _connection(url) as connection:
        return await connection.run_sync(generate)


def models() -> MetaData:
    """The tables of all areas. Mapped classes register when they are imported, so every model module is."""
    domain = importlib.import_module("domain")
    for module in pkgutil.walk_packages(domain.__path__, "domain."):
        if module.name.rpartition(".")[2] == "model":
            importlib.import_module(module.name)
    found: MetaData = importlib.import_module("domain.kernel.model").Base.metadata
    return found


def of_ours(name: str | None, kind: str, _parents: object) -> bool:
    """Whether alembic looks at it: the platform's own schema. Tenants' schemas belong to their declarations."""
    return name == SCHEMA if kind == "schema" else True


@asynccontextmanager
async def _connection(url: str) -> AsyncIterator[AsyncConnection]:
    """One connection, made by asyncpg itself, so that the URL means what it means everywhere else.

    Its search path is fixed: by default it starts with a schema of the role's name, and ours are the same word, so
    alembic would take the platform's schema for the nameless one.
    """

    async def dial() -> asyncpg.Connection:
        try:
            return await asyncpg.connect(url, timeout=DIAL_S, server_settings={"search_path": "public"})
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as problem:
            raise Failure(f"cannot reach the database: {problem or type(problem).__name__}") from None

    engine = create_async_engine("postgresql+asyncpg://", async_creator=dial, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            yield connection
    finally:
        await engine.dispose()


@asynccontextmanager
async def _turn(connection: AsyncConnection) -> AsyncIterator[None]:
    """Hold the advisory lock of migrations. Tried, not waited for: a wait would be bound by lock_timeout."""
    deadline = time.monotonic() + TURN_S
    while not await connection.scalar(text(f"SELECT pg_try_advisory_lock({_TURN_KEY})")):
        await connection.rollback()
        if time.monotonic() > deadline:
            raise Failure(f"another process has been migrating this database for {TURN_S} s")
        await asyncio.sleep(0.1)
    try:
        yield
    finally:
        await connection.rollback()
        await connection.execute(text(f"SELECT pg_advisory_unlock({_TURN_KEY})"))
        await connection.commit()


def _upgrade(connection: Connection, versions: Path) -> None:
    config = _config(versions, connection, None)
    scripts = ScriptDirectory.from_config(config)
    options = {"version_table_schema": SCHEMA}
    current = set(MigrationContext.configure(connection, opts=options).get_current_heads())
    connection.rollback()
    heads = set(scripts.get_heads())
    if current == heads:
        return
    if newer := current - {script.revision for script in scripts.walk_revisions()}:
        log.warning("database_ahead_of_code", revision=sorted(newer))
        return
    started = time.monotonic()
    command.upgrade(config, "heads")
    duration_ms = round((time.monotonic() - started) * 1000)
    log.info("migrated", before=sorted(current), after=sorted(heads), duration_ms=duration_ms)


def _config(versions: Path, connection: Connection, metadata: MetaData | None) -> Config:
    config = Config(cmd_opts=Namespace(quiet=True))
    config.set_main_option("script_location", _escaped(SCRIPTS))
    config.set_main_option("version_locations", _escaped(versions))
    config.set_main_option("path_separator", "newline")
    config.attributes["connection"] = connection
    config.attributes["metadata"] = metadata
    return config


def _escaped(path: Path) -> str:
    return str(path).replace("%", "%%")


def _next_number(config: Config) -> str:
    """Versions are numbered, so that a listing of the folder is their order."""
    scripts = ScriptDirectory.from_config(config)
    numbers = [int(script.revision) for script in scripts.walk_revisions() if script.revision.isdigit()]
    return f"{max(numbers, default=0) + 1:04}"


def _described(difference: Any) -> list[str]:
    """A line for each change alembic found; those of one column come as a list."""
    match difference:
        case list():
            return [line for part in difference for line in _described(part)]
        case verb, schema, table, Column() as column:
            return [f"{verb}: {schema}.{table}.{column.name}"]
        case verb, schema, table, column, _, old, new:
            return [f"{verb}: {schema}.{table}.{column}: {old} -> {new}"]
        case verb, Table() as table:
            return [f"{verb}: {table.fullname}"]
        case verb, part:  # an index or a constraint
            return [f"{verb}: {part.table.fullname}: {part.name or part}"]
    return [str(difference)]
