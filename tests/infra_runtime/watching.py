"""Two connections, and what was sent over them about a table `public.things`."""

from dataclasses import dataclass, field
from typing import Any

import asyncpg

from infra.postgres.connections import Connections
from tests.harness import execute


@dataclass
class Watching:
    """Connections to a database, and the statements about the things that were sent, as `noted` has them."""

    url: str
    connections: Connections = field(init=False)
    sent: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.connections = Connections(self.connect, 2)

    async def connect(self) -> "asyncpg.Connection":
        connection = await asyncpg.connect(self.url)
        connection.add_query_logger(self._note)
        return connection

    def _note(self, logged: Any) -> None:
        if "public.things" in logged.query:  # the driver asks about types by itself, once a connection
            self.sent.append(self.noted(logged))

    def noted(self, logged: Any) -> Any:
        """What is kept of a statement that was sent."""
        return logged.query

    async def execute(self, sql: str) -> None:
        """Run statements that nobody watches."""
        await execute(self.url, sql)
