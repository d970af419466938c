"""What the machine allows: the platform's own statements through plain asyncpg on the same HTTP server, and hello.

`create` makes the platform with one page more, which tells the statements it has run. `python -m bench.limit URL FILE`
runs such statements, pickled in a file as a list for each workload, when it is asked for `/WORKLOAD/N`, both numbers
from 0; at `/hello` it runs none.
"""

import pickle
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import asyncpg
from starlette.types import ASGIApp, Receive, Scope, Send

from domain.kernel.unit import LookUp, Statement
from infra.app import Application, create_app
from infra.postgres import database
from infra.postgres.additions import Additions
from infra.postgres.look_ups import LookUps
from infra.postgres.reads import Reads
from infra.server import Server, bind
from infra.settings import Settings

Run = tuple[str, tuple[Any, ...]]

CONNECTIONS = 10  # the platform's default


class Telling:
    """The application, which tells at `/told` the statements it ran by themselves since the last time."""

    def __init__(self, app: Application) -> None:
        self._app: ASGIApp = app
        self.drain = app.drain
        self._told: list[Run] = []
        found = LookUps.found

        def telling(fetch: Callable[[Any, Statement], Awaitable[Any]]) -> Callable[[Any, Statement], Awaitable[Any]]:
            async def told(connections: Any, statement: Statement) -> Any:
                self._told.append((statement.sql, tuple(statement.args)))
                return await fetch(connections, statement)

            return told

        async def told_look_up(look_ups: LookUps, look_up: LookUp, key: object) -> str | None:
            self._told.append((look_up.sql, ([key], *look_up.args)))
            return await found(look_ups, look_up, key)

        database._fetch = telling(database._fetch)
        Reads.rows = telling(Reads.rows)  # type: ignore[method-assign, assignment]
        Additions.rows = telling(Additions.rows)  # type: ignore[method-assign, assignment]
        LookUps.found = told_look_up  # type: ignore[method-assign]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/told":
            body, self._told = pickle.dumps(self._told), []
            await _answer(send, body)
        else:
            await self._app(scope, receive, send)


def create(settings: Settings, database_url: str, valkey_url: str | None) -> Telling:
    """The application factory."""
    return Telling(create_app(settings, database_url, valkey_url))


class _Connection(asyncpg.Connection):  # type: ignore[misc]
    __slots__ = ()

    def get_reset_query(self) -> str:
        return ""


class Limit:
    """Answers with what a statement's only value is, and does nothing else."""

    def __init__(self, database_url: str, runs: Sequence[Sequence[Run]]) -> None:
        self._url = database_url
        self._runs = runs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            settings = {"jit": "off", "timezone": "UTC"}
            self._pool = await asyncpg.create_pool(
                self._url, max_size=CONNECTIONS, connection_class=_Connection, server_settings=settings
            )
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await self._pool.close()
            await send({"type": "lifespan.shutdown.complete"})
        elif scope["path"] == "/hello":
            await _answer(send, b'{"data":{"hello":"world"}}')
        else:
            _, workload, n = scope["path"].split("/")
            sql, args = self._runs[int(workload)][int(n)]
            async with self._pool.acquire() as connection:
                row = await connection.fetchrow(sql, *args)
            await _answer(send, b'{"data":' + row[0].encode() + b"}")


async def _answer(send: Send, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main(database_url: str, runs: str) -> None:
    """Serve on a free port, which is printed."""
    listener = bind("127.0.0.1", 0)
    limit = Limit(database_url, pickle.loads(Path(runs).read_bytes()))
    Server(limit, lambda: print("ready", listener.getsockname()[1], flush=True)).run_on(listener)


if __name__ == "__main__":
    main(*sys.argv[1:])
