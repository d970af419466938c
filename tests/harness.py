"""Stoa running in a thread of the test process, on a database of its own, spoken to over real sockets."""

import asyncio
import itertools
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import asyncpg
import httpx
import uvicorn

from infra.app import Application, create_app
from infra.postgres import migrate
from infra.settings import Settings
from tests.described import Described

PASSWORD = "Str0ngPass1"
TEMPLATE = "stoa_template"

_numbers = itertools.count(1)

T = TypeVar("T")


def at_once(works: Sequence[Callable[[], T]]) -> list[T]:
    """What each of these comes to, all begun at the same moment, in threads."""
    ready = threading.Barrier(len(works))

    def run(work: Callable[[], T]) -> T:
        ready.wait(10)
        return work()

    with ThreadPoolExecutor(len(works)) as threads:
        return list(threads.map(run, works))


def settled(work: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine comes to, in a loop and thread of its own."""
    done: Future[Any] = Future()

    def run() -> None:
        try:
            done.set_result(asyncio.run(work))
        except BaseException as problem:
            done.set_exception(problem)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return done.result()


async def execute(url: str, sql: str) -> None:
    """Run statements on a connection of their own."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


class Databases:
    """Makes databases: each a copy of one that was migrated once."""

    def __init__(self, superuser_url: str, url: str) -> None:
        self._superuser_url = superuser_url
        self._url = url
        settled(self._prepare())

    def _named(self, name: str) -> str:
        return self._url.replace("/stoa?", f"/{name}?", 1)

    async def _prepare(self) -> None:
        await self._as_superuser(f"CREATE DATABASE {TEMPLATE} OWNER stoa TEMPLATE stoa")
        await migrate.upgrade(self._named(TEMPLATE))

    async def _as_superuser(self, sql: str) -> None:
        await execute(self._superuser_url, sql)

    def new(self) -> str:
        """The URL of a fresh database."""
        return self.copy_of(self._named(TEMPLATE))

    def logged(self) -> str:
        """The URL of a fresh database whose statements PostgreSQL writes into its log."""
        url = self.new()
        name = urlsplit(url).path.removeprefix("/")
        settled(self._as_superuser(f"ALTER DATABASE {name} SET log_statement = 'all'"))
        return url

    def copy_of(self, url: str) -> str:
        """The URL of a database with the same in it as this one, to which nobody may be connected."""
        name, template = f"stoa_{next(_numbers)}", urlsplit(url).path.removeprefix("/")
        settled(self._as_superuser(f"CREATE DATABASE {name} OWNER stoa TEMPLATE {template}"))
        return self._named(name)


@dataclass(frozen=True)
class Person:
    """An account that is signed in."""

    id: str
    name: str
    token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    client: httpx.Client = field(repr=False)

    def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        """The response map of a GraphQL request."""
        answer = self.client.post("/graphql", json={"query": query, "variables": variables})
        body: dict[str, Any] = answer.json()
        return body

    def data(self, query: str, **variables: Any) -> dict[str, Any]:
        """The data of a GraphQL request that must succeed."""
        body = self.graphql(query, **variables)
        assert "errors" not in body, body
        data: dict[str, Any] = body["data"]
        return data

    def code(self, query: str, **variables: Any) -> str:
        """The code of a GraphQL request that must be refused."""
        body = self.graphql(query, **variables)
        assert body.get("errors"), body
        code: str = body["errors"][0]["extensions"]["code"]
        return code


class Stoa:
    """A running server."""

    def __init__(self, app: Application, base_url: str, database_url: str, valkey_url: str | None) -> None:
        self.app = app
        self.base_url = base_url
        self.database_url = database_url
        self.valkey_url = valkey_url
        self.described = Described(app)
        self._clients: list[httpx.Client] = []

    @property
    def address(self) -> str:
        """`host:port`"""
        return self.base_url.removeprefix("http://")

    def sql(self, text: str, *values: Any) -> list[dict[str, Any]]:
        """The rows of a statement run by hand, as somebody with psql would."""

        async def run() -> list[dict[str, Any]]:
            connection = await asyncpg.connect(self.database_url)
            try:
                return [dict(row) for row in await connection.fetch(text, *values)]
            finally:
                await connection.close()

        rows: list[dict[str, Any]] = settled(run())
        return rows

    def client(self, token: str | None = None) -> httpx.Client:
        """An HTTP client, anonymous or with a token. Every REST answer it gets is checked against its description."""

        def check(response: httpx.Response) -> None:
            response.read()
            self.described.check(response)

        headers = {"authorization": f"Bearer {token}"} if token else {}
        client = httpx.Client(base_url=self.base_url, headers=headers, timeout=30, event_hooks={"response": [check]})
        self._clients.append(client)
        return client

    def person(self, name: str | None = None) -> Person:
        """Register somebody, and sign them in."""
        name = name or f"user-{next(_numbers)}"
        anonymous = self.client()
        made = anonymous.post("/api/v1/auth/register", json={"username": name, "password": PASSWORD})
        assert made.status_code == 201, made.text
        return self.signed_in(name)

    def signed_in(self, name: str) -> Person:
        """Sign in somebody who has an account."""
        answer = self.client().post("/api/v1/auth/login", json={"username": name, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        told = answer.json()
        return Person(
            told["user"]["id"], name, told["accessToken"], told["refreshToken"], self.client(told["accessToken"])
        )

    def close(self) -> None:
        for client in self._clients:
            client.close()


@contextmanager
def running(database_url: str, valkey_url: str | None, folder: Path, **settings: Any) -> Iterator[Stoa]:
    """A server on this database, until the end of the block."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    settings.setdefault("worker_wait", 0)
    chosen = Settings(data_dir=folder, port=port, public_url=f"http://127.0.0.1:{port}", **settings).with_keys()
    app = create_app(chosen, database_url, valkey_url)
    server = uvicorn.Server(
        uvicorn.Config(app, log_config=None, access_log=False, ws="websockets-sansio", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            thread.join(0.01)
        stoa = Stoa(app, f"http://127.0.0.1:{port}", database_url, valkey_url)
        try:
            yield stoa
        finally:
            stoa.close()
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
