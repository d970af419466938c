"""A server of the test's own that answers as it is told to, and counts who came."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class Listener:
    """What is said to everybody who connects, byte for byte, and what they said."""

    port: int = 0
    answer: bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    pause_s: float = 0.0  # before the answer
    heard: list[bytes] = field(default_factory=list)
    connections: int = 0

    async def attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            self.heard.append(await reader.readuntil(b"\r\n\r\n"))
            await asyncio.sleep(self.pause_s)
            writer.write(self.answer)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def listening(host: str = "127.0.0.1", certificate: ssl.SSLContext | None = None) -> AsyncIterator[Listener]:
    """A listener on a free port, until the end of the block."""
    listener = Listener()
    server = await asyncio.start_server(listener.attend, host, 0, ssl=certificate)
    listener.port = server.sockets[0].getsockname()[1]
    try:
        yield listener
    finally:
        server.close()
