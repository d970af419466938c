"""The way out of a sandbox: an HTTP proxy that its network ends in, and that only leads to where it may.

It listens inside of the sandbox and connects from out here. A name is looked up here, once, and the connection goes to
an address that was checked. What is spoken through a tunnel is between the app and the other end.
"""

import asyncio
import re
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import urlsplit

from infra.outbound import WEB_PORTS, Address

CONNECTIONS_MAX = 64  # of one worker
HEAD_BYTES_MAX = 16 * 1024
HEAD_S, CONNECT_S, IDLE_S = 10.0, 10.0, 300.0
BLOCK_BYTES = 2**16

_REQUEST = re.compile(r"([A-Z]{1,20}) (\S{1,8000}) HTTP/1\.[01]")
_OF_PROXY = (b"proxy-", b"connection:", b"keep-alive:")

Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class NotThere(Exception):
    """Somewhere the app may not go, or that cannot be reached; the text is for its author."""


@dataclass(frozen=True)
class Policy:
    """Where deployed code may connect to. `own` is our address as people know it, `home` where we listen ourselves."""

    allowed: Callable[[Address], bool]
    own: tuple[str, int] | None = None
    home: tuple[str, int] | None = None


@dataclass(eq=False)
class WayOut:
    """The proxy of one sandbox, from `open` to `close`."""

    policy: Policy
    _server: asyncio.Server | None = None
    _open: set[asyncio.Task[None]] = field(default_factory=set)

    async def open(self, listening: socket.socket) -> None:
        """Take connections that come in over this socket."""
        self._server = await asyncio.start_server(self._taken, sock=listening, limit=HEAD_BYTES_MAX)

    async def close(self) -> None:
        """Take none any more, and end those that are."""
        if self._server is not None:
            self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _taken(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._open) >= CONNECTIONS_MAX:
            writer.close()
            return
        self._open.add(task)
        try:
            await self._serve((reader, writer))
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError, ValueError, asyncio.CancelledError):
            pass  # either end may go at any time, the app may say what it likes, and closing cancels us
        finally:
            self._open.discard(task)
            writer.close()

    async def _serve(self, app: Pair) -> None:
        async with asyncio.timeout(HEAD_S):
            head = await app[0].readuntil(b"\r\n\r\n")
        line, _, rest = head.partition(b"\r\n")
        asked = _REQUEST.fullmatch(line.decode("latin-1"))
        if asked is None:
            return await _refuse(app, 400, "this is no request to a proxy")
        method, target = asked.groups()
        try:
            host, port, path = _where(method, target)
            other = await self._connected(host, port)
        except NotThere as problem:
            return await _refuse(app, 403, str(problem))
        try:
            if method == "CONNECT":
                app[1].write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                other[1].write(f"{method} {path} HTTP/1.1\r\n".encode() + _without_proxy(rest))
            await _joined(app, other)
        finally:
            other[1].close()

    async def _connected(self, host: str, port: int) -> Pair:
        """A connection to one of the host's addresses that may be reached. Raises NotThere."""
        if (host, port) == self.policy.own and self.policy.home is not None:
            addresses: Sequence[str] = [self.policy.home[0]]
            port = self.policy.home[1]
        else:
            addresses = await self._allowed(host, port)
        for address in addresses:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(CONNECT_S):
                    return await asyncio.open_connection(address, port, limit=BLOCK_BYTES)
        raise NotThere(f"{host} cannot be reached")

    async def _allowed(self, host: str, port: int) -> Sequence[str]:
        if port < 1024 and port not in WEB_PORTS:
            raise NotThere(f"port {port} is not one of the web's")
        try:
            async with asyncio.timeout(CONNECT_S):
                found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, TimeoutError, UnicodeError):
            raise NotThere(f"there is no host {host}") from None
        addresses = dict.fromkeys(str(entry[4][0]) for entry in found)
        allowed = [address for address in addresses if self.policy.allowed(ip_address(address))]
        if not allowed:
            raise NotThere(f"{host} is not on the public internet")
        return allowed


def _where(method: str, target: str) -> tuple[str, int, str]:
    """Host, port and path that a request to a proxy names. Raises NotThere."""
    try:
        parts = urlsplit(f"//{target}" if method == "CONNECT" else target)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise NotThere("this is no address") from None
    if not host or parts.username is not None or (method != "CONNECT" and parts.scheme != "http"):
        raise NotThere("this is no address")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return host, port or (443 if method == "CONNECT" else 80), path


def _without_proxy(headers: bytes) -> bytes:
    """The headers for the other end: one request a connection, and nothing that was for us."""
    lines = [line for line in headers.split(b"\r\n") if line and not line.lower().startswith(_OF_PROXY)]
    return b"\r\n".join([*lines, b"Connection: close", b"", b""])


async def _refuse(app: Pair, status: int, reason: str) -> None:
    body = reason.encode()
    head = f"HTTP/1.1 {status} Refused\r\ncontent-type: text/plain\r\ncontent-length: {len(body)}\r\n"
    app[1].write(f"{head}connection: close\r\n\r\n".encode() + body)
    await app[1].drain()


async def _joined(one: Pair, other: Pair) -> None:
    """Pass on what each says to the other, until both have finished or one has gone."""
    async with asyncio.TaskGroup() as ways:
        ways.create_task(_passed(one[0], other[1]))
        ways.create_task(_passed(other[0], one[1]))


async def _passed(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while True:
            async with asyncio.timeout(IDLE_S):
                block = await source.read(BLOCK_BYTES)
            if not block:
                break
            target.write(block)
            async with asyncio.timeout(IDLE_S):
                await target.drain()
        if target.can_write_eof():
            target.write_eof()
    except (OSError, TimeoutError):
        target.close()
