"""The context of one operation: who asks, when, and the few verbs that reach the database."""

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from sqlalchemy import Executable, Result, Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.access.permissions import NO_GRANTS, Grants
from domain.kernel.errors import DomainError, Missing, TimedOut, Unauthenticated, permission_denied
from domain.kernel.events import Event
from domain.kernel.model import DEFAULT_TENANT, Base, OfTenant
from domain.kernel.unit import LookUp, OfCaller, Statement, Unit

if TYPE_CHECKING:
    from domain.ports import Ports

M = TypeVar("M", bound=Base)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, in which tenant, with which grants. `user_id` is None for a caller without a credential."""

    tenant_id: UUID = DEFAULT_TENANT
    user_id: UUID | None = None
    email: str = ""
    grants: Grants = field(default=NO_GRANTS, repr=False)
    delegator_id: UUID | None = None  # for whom an agent acts


ANONYMOUS = Actor()


@dataclass(frozen=True, slots=True)
class Request:
    """What is known of the call that the operation came by."""

    id: str = ""
    door: str = "internal"
    client_ip: str | None = None
    hooks: int = 0  # how many hooks of records led to it, each by what the one before had done


Apart = Callable[[Callable[["Ctx"], Awaitable[Any]]], Awaitable[Any]]


class Ctx:
    """One operation. Sibling resolvers share it, so its database verbs take turns on a lock."""

    def __init__(
        self,
        *,
        actor: Actor,
        now: datetime,
        unit: Unit,
        ports: "Ports",
        request: Request | None = None,
        apart: "Apart | None" = None,
        limit: asyncio.Timeout | None = None,
        refusal: DomainError | None = None,
    ) -> None:
        self.actor = actor
        self.tenant_id = actor.tenant_id
        self.now = now
        self.ports = ports
        self.request = request or Request()
        self.events: list[Event] = []
        self.changed_apps: set[str] = set()  # apps this operation itself installed or took away
        self.refusal_work: list[Callable[[Ctx], Awaitable[None]]] = []
        self.keeps_nothing = False
        self.before_waiting: Callable[[float], Awaitable[None]] | None = None  # see `outside`; done once
        self._needed: dict[str, None] = {}  # in the order they were asked for
        self._unit = unit
        self._apart = apart
        self._limit = limit
        self._refusal = refusal
        self._turn = asyncio.Lock()

    # Who may.

    def user(self) -> UUID:
        """The id of the user who asks. Raises Unauthenticated."""
        if self.actor.user_id is None:
            raise self._refusal or Unauthenticated("missing authorization header")
        return self.actor.user_id

    def nobody(self) -> bool:
        """Whether nobody says who asks. Raises what a credential that was given is refused with."""
        if self.actor.user_id is None and self._refusal is not None:
            raise self._refusal
        return self.actor.user_id is None

    def may(self, key: str) -> bool:
        """Whether the caller holds the permission `key`."""
        return self.actor.grants.allows(key)

    def need(self, key: str) -> None:
        """Raises Unauthenticated without a user, Denied without the permission `key`."""
        self.user()
        self._needed[key] = None
        if not self.may(key):
            raise permission_denied(key)

    def need_again(self) -> None:
        """Raises what `need` would today, for an operation that goes on while rights may change."""
        for key in list(self._needed):
            self.need(key)

    def enter(self, tenant_id: UUID) -> None:
        """Go on in the tenant that a token of our own names: its bearer may be nobody, or somebody of elsewhere."""
        self.tenant_id = tenant_id

    # What happened.

    def emit(self, event: Event) -> None:
        """Tell `event` to its readers, if and when this operation commits."""
        self.events.append(event)

    def if_refused(self, work: "Callable[[Ctx], Awaitable[None]]") -> None:
        """Should this operation be refused and rolled back, do `work` in a unit of its own."""
        self.refusal_work.append(work)

    def keep_nothing(self) -> None:
        """What this operation is asked with, or answers, is a secret: no key makes its answer be kept."""
        self.keeps_nothing = True

    async def apart(self, work: "Callable[[Ctx], Awaitable[T]]") -> T:
        """What `work` comes to in a unit of its own, committed before this goes on and whatever becomes of it.

        For what must stay done (a code is used up by the attempt), and for what is asked of the database before a
        wait for somebody outside: an operation that asks nothing itself until then holds no connection meanwhile.
        """
        assert self._apart is not None
        done: T = await self._apart(work)
        return done

    async def outside(self, work: Awaitable[T], most_s: float) -> T:
        """What `work` comes to, which waits for somebody outside, for up to `most_s`: our own clock stands still.

        To be awaited while the operation holds no connection, see `apart`. What the runner itself asked before is
        brought to an end by `before_waiting`. Raises TimedOut.
        """
        before, self.before_waiting = self.before_waiting, None
        if before is not None:
            await before(most_s)
        loop = asyncio.get_running_loop()
        began, ends = loop.time(), self._limit.when() if self._limit else None
        if self._limit is not None:
            self._limit.reschedule(None)
        try:
            async with asyncio.timeout(most_s):
                return await work
        except TimeoutError as late:
            raise TimedOut(f"this took longer than {most_s:g} s") from late
        finally:
            if self._limit is not None and ends is not None:
                self._limit.reschedule(ends + loop.time() - began)

    # Rows of the platform. Every select of them starts at `visible`.

    def visible(self, model: type[M]) -> Select[M]:
        """A select of the rows of this tenant."""
        assert issubclass(model, OfTenant)
        return select(model).where(model.tenant_id == self.tenant_id)

    async def all(self, statement: Select[M]) -> Sequence[M]:
        """The rows of `statement`, all of them: the statement states its bound."""
        return (await self.execute(statement)).scalars().all()

    async def first(self, statement: Select[M]) -> M | None:
        """The first row of `statement`, or None."""
        return (await self.execute(statement)).scalars().first()

    async def one(self, model: type[M], id: UUID) -> M:
        """The tenant's row with this id. Raises Missing."""
        return self._found(await self.first(self.visible(model).where(model.id == id)), model)  # type: ignore[attr-defined]

    async def lock(self, model: type[M], id: UUID) -> M:
        """The row as `one` finds it, read afresh and locked until the operation ends. Raises Missing."""
        fresh = self.visible(model).where(model.id == id).with_for_update()  # type: ignore[attr-defined]
        return self._found(await self.first(fresh.execution_options(populate_existing=True)), model)

    @staticmethod
    def _found(row: M | None, model: type[M]) -> M:
        if row is None:
            raise Missing(f"{_noun(model)} not found")
        return row

    async def add(self, row: M) -> M:
        """Insert `row`, stamped with this tenant and this moment."""
        if isinstance(row, OfTenant):
            row.tenant_id = self.tenant_id
        if getattr(row, "created_at", ...) is None:
            row.created_at = self.now  # type: ignore[attr-defined]
        await self._run(lambda session: _insert(session, row))
        return row

    async def remove(self, row: Base) -> None:
        """Delete `row`."""
        await self._run(lambda session: _delete(session, row))

    async def flush(self) -> None:
        """Write what was changed on mapped rows, so that what follows sees it."""
        await self._run(lambda session: session.flush())

    async def execute(self, statement: Executable, values: Mapping[str, Any] | None = None) -> Result[Any]:
        """Run a statement of the mapped world."""
        return await self._run(lambda session: session.execute(statement, values))

    # Records, which are SQL of our own.

    def bound(self, args: tuple[object, ...]) -> tuple[object, ...]:
        """A statement's arguments with this caller's own among them; for an agent, those of whom it acts for."""
        if OfCaller.ID not in args:
            return args
        own = str(self.actor.delegator_id or self.user())
        return tuple(own if value is OfCaller.ID else value for value in args)

    async def fetch(self, statement: Statement) -> Sequence[Mapping[str, Any]]:
        """Run a compiled statement in this unit. Raises StatementRefused, TimedOut, Unavailable."""
        bound = Statement(statement.sql, self.bound(statement.args))
        async with self._turn:
            return await self._unit.fetch(bound)

    async def fetch_together(self, statement: Statement) -> Sequence[Mapping[str, Any]]:
        """What `fetch` comes to, where many ask the same SELECT at once with values of their own. Raises as it does."""
        bound = Statement(statement.sql, self.bound(statement.args))
        async with self._turn:
            return await self._unit.fetch_together(bound)

    async def committed(self, statement: Statement) -> Sequence[Mapping[str, Any]]:
        """What a compiled statement reads of that which is committed: what all operations share is made of that.

        Raises as `fetch` does.
        """
        async with self._turn:
            return await self._unit.committed(statement)

    async def look_up(self, look_up: LookUp, key: object) -> str | None:
        """What a statement finds for one key, in this unit. Raises as `fetch` does."""
        bound = LookUp(look_up.sql, self.bound(look_up.args))
        async with self._turn:
            return await self._unit.look_up(bound, key)

    async def conclude(self, statement: Statement) -> Sequence[Mapping[str, Any]]:
        """Run the compiled statement that is all this operation does to the database, if the operation is its own.

        Where nothing else is to be written along with it, that is one round trip: PostgreSQL makes a transaction of
        it. An operation of several parts runs it in its transaction. Raises as `fetch` does.
        """
        bound = Statement(statement.sql, self.bound(statement.args), statement.adds)
        async with self._turn:
            return await (self._unit.fetch(bound) if self.events else self._unit.conclude(bound))

    async def copy(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Add rows to a table by COPY. Raises as `fetch` does."""
        async with self._turn:
            await self._unit.copy(table, columns, rows)

    async def follow(self, statement: Statement, at_once: int) -> AsyncGenerator[Sequence[Mapping[str, Any]], None]:
        """The rows of a compiled statement, so many at a time, by a connection of its own. Raises as `fetch` does."""
        bound = Statement(statement.sql, self.bound(statement.args))
        async with aclosing(self._unit.follow(bound, at_once)) as batches:
            async for rows in batches:
                yield rows

    async def _run(self, work: Callable[[AsyncSession], Awaitable[T]]) -> T:
        async with self._turn:
            return await self._unit.run(work)


def _noun(model: type[Base]) -> str:
    """`RoleAssignment` -> `role assignment`."""
    return re.sub(r"(?<!^)(?=[A-Z])", " ", model.__name__).lower()


async def _insert(session: AsyncSession, row: Base) -> None:
    session.add(row)
    await session.flush()


async def _delete(session: AsyncSession, row: Base) -> None:
    await session.delete(row)
    await session.flush()
