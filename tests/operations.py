"""The domain without its doors: operations in a transaction that is rolled back, for tests that try very many."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID

from domain.access.permissions import EVERYTHING, Grants
from domain.apps.catalog import Catalog
from domain.kernel.ctx import Actor, Ctx, Request
from infra.postgres.database import Database
from tests.harness import Person, Stoa

T = TypeVar("T")


class Operations:
    """Runs domain code on a server's database, in a loop and on connections of its own."""

    def __init__(self, stoa: Stoa, user: Person) -> None:
        self._ports = replace(stoa.app.platform.ports, catalog=Catalog())
        self._user_id = UUID(user.id)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._database: Database = self.settled(Database.open(stoa.database_url, 2))

    def settled(self, work: Awaitable[T]) -> T:
        """What an awaitable comes to."""

        async def run() -> T:
            return await work

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    def undone(self, work: Callable[[Ctx], Awaitable[T]]) -> T:
        """What `work` comes to for somebody who may do everything; then all it did is undone."""

        async def run() -> T:
            async with self._database.unit(writes=True) as unit:
                actor = Actor(user_id=self._user_id, grants=Grants([EVERYTHING]))
                ctx = Ctx(actor=actor, now=datetime.now(UTC), unit=unit, ports=self._ports, request=Request(door="api"))
                return await work(ctx)

        return self.settled(run())

    def close(self) -> None:
        self.settled(self._database.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@contextmanager
def operations(stoa: Stoa, user: Person) -> Iterator[Operations]:
    """Operations on a server's database, until the end of the block."""
    opened = Operations(stoa, user)
    try:
        yield opened
    finally:
        opened.close()
