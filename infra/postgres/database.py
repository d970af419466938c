"""The database: its connections, and the units of work on them.

Mapped classes go through SQLAlchemy; compiled statements of reading operations go straight through asyncpg, where
one statement is one round trip. A writing operation has one connection and one transaction for both.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from domain.kernel.unit import LookUp, Statement
from infra.postgres.additions import Additions
from infra.postgres.connections import Connections
from infra.postgres.faults import is_lost, translated
from infra.postgres.lanes import Lanes
from infra.postgres.look_ups import LookUps
from infra.postgres.reads import Reads
from infra.postgres.together import Together

T = TypeVar("T")

STATEMENT_TIMEOUT_MS = 8_000
IDLE_IN_TRANSACTION_TIMEOUT_MS = 30_000
ACQUIRE_TIMEOUT_S = 2.0
FOLLOWED_CHARS = 4 * 2**20  # of rows that are followed, at once
CONNECT_TIMEOUT_S = 5.0
COMMAND_TIMEOUT_S = 70.0  # the last fence, for a server that is gone without a word
PREPARED_MAX = 256


class Database:
    """Opens units of work. Close it when done.

    Its own connections go around as they are: no statement that runs on them leaves settings or locks behind.
    """

    def __init__(self, engine: AsyncEngine, lanes: Lanes, anew: Connections, calling_off: Connections) -> None:
        self._engine = engine
        self._anew = anew
        self._reading = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._lanes = lanes
        self._pool = lanes.usual
        self._shared = Shared(LookUps(lanes.once, ACQUIRE_TIMEOUT_S), Reads(lanes), Together(self.fetch))
        self._calling_off = calling_off
        self._additions = Additions(self._pool, ACQUIRE_TIMEOUT_S, calling_off)

    @classmethod
    async def open(cls, url: str, connections: int) -> "Database":
        """Connect to PostgreSQL, with at most `connections` to read records, as many for other compiled statements,
        and as many for sessions.

        And one for what is planned anew, and one to call off what runs on others.
        """
        usual, once, anew = (
            partial(_connected, url, plan_cache_mode=mode)
            for mode in ("auto", "force_generic_plan", "force_custom_plan")
        )
        lanes = Lanes(Connections(once, connections), Connections(usual, connections), ACQUIRE_TIMEOUT_S)
        return cls(_engine(url, connections), lanes, Connections(anew, 1), Connections(usual, 1))

    async def close(self) -> None:
        """Give all connections back."""
        await self._engine.dispose()
        await self._lanes.close()
        await self._anew.close()
        await self._calling_off.close()

    def unit(self, *, writes: bool, single: bool = False) -> "DatabaseUnit":
        """A unit of work for an `async with` block, rolled back at its end unless it is committed.

        Of one that writes, `single` says that the statement which concludes it may be a transaction by itself.
        """
        if writes:
            return DatabaseUnit(self._engine, self._pool, additions=self._additions if single else None)
        return DatabaseUnit(self._reading, self._pool, self._shared)

    async def fetch(self, statement: Statement) -> Sequence[Mapping[str, Any]]:
        """Run one statement by itself. Raises StatementRefused, TimedOut, Unavailable."""
        return await _fetch(self._pool, statement)

    async def fetch_anew(self, statement: Statement) -> Sequence[Mapping[str, Any]]:
        """Run one statement by itself, planned for its tables as they are now. Raises as `fetch` does.

        A plan that is kept is that of the day it was made: a log that was empty then is looked through from end to end.
        """
        return await _fetch(self._anew, statement)


def _connect_options() -> dict[str, Any]:
    return {
        "timeout": CONNECT_TIMEOUT_S,
        "command_timeout": COMMAND_TIMEOUT_S,
        "statement_cache_size": PREPARED_MAX,
        "max_cached_statement_lifetime": 0,  # what is asked all the time is not prepared anew every few minutes
        "server_settings": {
            "application_name": "stoa",
            "timezone": "UTC",
            "intervalstyle": "iso_8601",  # a duration is printed as it is stored and shown
            "statement_timeout": str(STATEMENT_TIMEOUT_MS),
            "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_TIMEOUT_MS),
            "search_path": "stoa, public",
            "jit": "off",
            # A third of what two words have in threes of letters is common to both: of five, one letter may be wrong.
            "pg_trgm.strict_word_similarity_threshold": "0.33",
        },
    }


async def _connected(url: str, **settings: str) -> "asyncpg.Connection[Any]":
    options = _connect_options()
    return await asyncpg.connect(url, **{**options, "server_settings": {**options["server_settings"], **settings}})


def _engine(url: str, connections: int) -> AsyncEngine:
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=partial(_connected, url),
        pool_size=connections,
        max_overflow=0,
        pool_timeout=ACQUIRE_TIMEOUT_S,
        pool_use_lifo=False,
    )

    @event.listens_for(engine.sync_engine, "checkout")
    def _refuse_closed(connection: Any, *_: object) -> None:
        if connection.driver_connection.is_closed():  # the others of its time are, or will be
            raise InvalidatePoolError

    @event.listens_for(engine.sync_engine, "handle_error")
    def _drop_lost_connections(context: ExceptionContext) -> None:
        if is_lost(context.original_exception.__cause__ or context.original_exception):
            context.is_disconnect = True

    return engine


async def _fetch(pool: Connections, statement: Statement) -> Sequence[Mapping[str, Any]]:
    try:
        async with pool.lent(ACQUIRE_TIMEOUT_S) as connection:
            return await connection.fetch(statement.sql, *statement.args)
    except Exception as error:
        raise translated(error) from error


@dataclass(frozen=True, slots=True)
class Shared:
    """What reading units do together with others."""

    look_ups: LookUps
    reads: Reads
    together: Together


class DatabaseUnit:
    """See `domain.kernel.unit.Unit`. One that shares what it reads only reads.

    A writing unit has one session, opened by the first use of it. A reading one has a session for each use, so that
    it holds no connection between two of them: a stream may live for hours. The statement of a single one needs none.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        pool: Connections,
        shared: Shared | None = None,
        additions: Additions | None = None,
    ) -> None:
        self._engine = engine
        self._pool = pool
        self._shared = shared
        self._additions = additions  # of one that may come to a single statement
        self._concluded = False
        self._session: AsyncSession | None = None
        self.uses = 0

    async def __aenter__(self) -> "DatabaseUnit":
        return self

    async def __aexit__(self, *_problem: object) -> None:
        await self.close()

    async def run(self, work: Callable[[AsyncSession], Awaitable[T]]) -> T:
        """What `work` makes of the session."""
        if self._concluded:
            raise RuntimeError("the unit has come to its end: what it did is committed")
        self.uses += 1
        try:
            if self._shared is not None:
                async with AsyncSession(self._engine, expire_on_commit=False) as session:
                    return await work(session)
            if self._session is None:
                self._session = AsyncSession(self._engine, expire_on_commit=False)
            return await work(self._session)
        except Exception as error:
            raise translated(error) from error

    async def fetch(self, statement: Statement) -> Sequence[Mapping[str, Any]]:
        """The rows of `statement`: in the transaction of a writing unit, by itself in a reading one."""
        if self._shared is not None:
            return await self._shared.reads.rows(statement)
        return await self.run(lambda session: _in_session(session, statement))

    async def fetch_together(self, statement: Statement) -> Sequence[Mapping[str, Any]]:
        """The rows of `statement`: read with what others ask in the same words, where this unit only reads."""
        return await (self.fetch(statement) if self._shared is None else self._shared.together.rows(statement))

    async def committed(self, statement: Statement) -> Sequence[Mapping[str, Any]]:
        """The rows of `statement`, by itself."""
        return await _fetch(self._pool, statement)

    async def look_up(self, look_up: LookUp, key: object) -> str | None:
        """What is found for the key: with what others look up, where this unit only reads."""
        if self._shared is not None:
            return await self._shared.look_ups.found(look_up, key)
        found: str | None = (await self.fetch(Statement(look_up.sql, ([key], *look_up.args))))[0]["found"]
        return found

    async def conclude(self, statement: Statement) -> Sequence[Mapping[str, Any]]:
        """The rows of `statement`: by itself in a unit that may come to one, unless something came before it."""
        if self._additions is None or self._session is not None or self._concluded:
            return await self.fetch(statement)
        if statement.adds is not None:
            rows = await self._additions.rows(statement)
        else:
            rows = await _fetch(self._pool, statement)
        self._concluded = bool(rows)
        return rows

    async def copy(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Add rows to a table by COPY, in the transaction of a writing unit."""

        async def add(session: AsyncSession) -> None:
            raw = await (await session.connection()).get_raw_connection()
            assert raw.driver_connection is not None
            try:
                await raw.driver_connection.copy_records_to_table(table, columns=columns, records=rows)
            except Exception as error:
                if is_lost(error):  # which SQLAlchemy sees by itself only of what goes through it
                    await session.invalidate()
                raise

        await self.run(add)

    async def follow(self, statement: Statement, at_once: int) -> AsyncGenerator[Sequence[Mapping[str, Any]], None]:
        """The rows of `statement` by a cursor of a connection of their own, so many at a time: fewer of long ones."""
        take = 1
        try:
            async with self._pool.lent(ACQUIRE_TIMEOUT_S) as connection, connection.transaction(readonly=True):
                cursor = await connection.cursor(statement.sql, *statement.args)
                while rows := await cursor.fetch(take):
                    yield rows
                    long = sum(len(value) for row in rows for value in row.values() if isinstance(value, str))
                    take = min(at_once, 4 * take, 1 + FOLLOWED_CHARS * len(rows) // (long + 1))
        except Exception as error:
            raise translated(error) from error

    async def commit(self) -> None:
        """Make it so. Raises StatementRefused, Unavailable."""
        if self._session is not None:
            await self.run(lambda session: session.commit())

    async def close(self) -> None:
        """Give the connection back, undoing what is not committed."""
        session, self._session = self._session, None
        if session is not None:
            try:
                await session.close()
            except Exception as error:
                if not is_lost(error):
                    raise


async def _in_session(session: AsyncSession, statement: Statement) -> Sequence[Mapping[str, Any]]:
    await session.flush()
    connection = await session.connection()
    result = await connection.exec_driver_sql(statement.sql, tuple(statement.args))
    return [dict(row) for row in result.mappings()] if result.returns_rows else []
