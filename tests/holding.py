"""A transaction of somebody else's, held open for a while."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg


@dataclass
class Held:
    """The open transaction. It is rolled back at the end of the block unless it is `keep`t."""

    rows: list[Any] = field(default_factory=list)
    keep: bool = False


@contextmanager
def held(database_url: str, *statements: str) -> Iterator[Held]:
    """These statements, run in a transaction that is open until the end of the block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(30)

    try:
        connection: Any = run(asyncpg.connect(database_url))
        try:
            transaction = connection.transaction()
            run(transaction.start())
            held = Held(rows=[run(connection.fetch(statement)) for statement in statements])
            yield held
            run(transaction.commit() if held.keep else transaction.rollback())
        finally:
            run(connection.close(timeout=5))  # and with it what is still open
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
