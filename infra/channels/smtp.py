"""Connections to mail servers that cannot be turned inward: a name is looked up once, and what was found is checked."""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable

from infra.outbound import Network, allowed_with

CONNECT_S_MAX = 10.0


def connecting(networks: Iterable[Network]) -> Callable[[str, int], Awaitable[socket.socket]]:
    """Connects to public addresses, and to these networks."""
    is_allowed = allowed_with(networks)

    async def connect(host: str, port: int) -> socket.socket:
        """Raises OSError, TimeoutError."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [entry for entry in found if is_allowed(ipaddress.ip_address(str(entry[4][0])))]
        if not addresses:
            raise OSError("not a public address; STOA_OUTBOUND_NETWORKS can allow its network")
        problem: OSError | None = None
        for family, kind, protocol, _, address in addresses:
            opened = socket.socket(family, kind, protocol)
            opened.setblocking(False)
            try:
                async with asyncio.timeout(CONNECT_S_MAX):
                    await loop.sock_connect(opened, address)
                return opened
            except (OSError, TimeoutError) as failed:
                opened.close()
                problem = failed if isinstance(failed, OSError) else OSError("it did not answer")
        assert problem is not None
        raise problem

    return connect
