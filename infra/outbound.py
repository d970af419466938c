"""Outgoing HTTP that cannot be turned inward.

A name is looked up once and the connection goes to the address that was checked: what the name stands for a moment
later does not matter. Redirects are answers like others, and nothing is taken from the environment (no proxy, no
credentials of a netrc).
"""

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any
from urllib.parse import SplitResult, urlsplit

import httpcore

from domain.kernel.outbound import AddressRefused, Incoming, Outgoing, Unreached, is_loopback_name

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

CONNECTIONS_MAX = 100
IDLE_CONNECTIONS_MAX = 20
IDLE_S = 30.0
URL_CHARS_MAX = 4096
USER_AGENT = f"stoa/{version('stoa')}"
WEB_PORTS = (80, 443)  # of those below 1024: the others are for protocols that a request could be mistaken in

_TARGET = re.compile(r"[\x21-\x5b\x5d-\x7e]*")  # printable ASCII without blank and backslash
_HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?")

# What `is_global` takes for public and is not, or is more than a host: the relays of 6to4 and Teredo lead to any
# IPv4 address, 168.63.129.16 is the host of every Azure machine.
_NOT_PUBLIC: tuple[Network, ...] = tuple(
    map(ipaddress.ip_network, ("192.88.99.0/24", "168.63.129.16/32", "2002::/16", "2001::/32"))
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")


def is_public(address: Address) -> bool:
    """Whether the address is a host of the public internet, and of nothing else."""
    if isinstance(address, IPv6Address):
        carried = address.ipv4_mapped or (IPv4Address(int(address) & 0xFFFF_FFFF) if address in _NAT64 else None)
        if carried is not None:
            return is_public(carried)
        if address not in _GLOBAL_UNICAST or address.scope_id is not None:
            return False
    special = any(address.version == network.version and address in network for network in _NOT_PUBLIC)
    return address.is_global and not address.is_multicast and not special


def allowed_with(networks: Iterable[Network]) -> Callable[[Address], bool]:
    """Whether an address may be reached: a public one, or one of these networks."""
    also = tuple(networks)
    return lambda address: (
        is_public(address) or any(address.version == network.version and address in network for network in also)
    )


@dataclass(frozen=True, slots=True)
class Streamed:
    """An answer on its way."""

    status: int
    headers: Sequence[tuple[str, str]] = field(repr=False)
    chunks: AsyncIterator[bytes] = field(repr=False)


class HttpOutbound:
    """See `domain.kernel.outbound.Outbound`. `networks` may be reached beside what is public."""

    def __init__(self, networks: Iterable[Network] = (), resolve: Resolve | None = None) -> None:
        self._is_allowed = allowed_with(networks)
        self._resolve = resolve or _resolve
        self._pools: dict[bool, httpcore.AsyncConnectionPool] = {}

    async def send(self, request: Outgoing) -> Incoming:
        """The answer of the address, read as far as it is wanted."""
        url = _checked(request.url)
        with _told(url, request.timeout_s):
            async with asyncio.timeout(request.timeout_s):
                return await _sent(self._pool_for(request, url), request, url)
        raise AssertionError

    @asynccontextmanager
    async def stream(self, request: Outgoing) -> "AsyncIterator[Streamed]":
        """The answer of the address as it comes; `timeout_s` is for how long nothing may. Raises as `send` does."""
        url = _checked(request.url)
        with _told(url, request.timeout_s):
            waits = {"timeout": dict.fromkeys(("connect", "read", "write", "pool"), request.timeout_s)}
            target, headers = _target(url), _headers(request, url)
            pool = self._pool_for(request, url)
            async with pool.stream(
                request.method, target, headers=headers, content=request.body, extensions=waits
            ) as response:
                told = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers]
                yield Streamed(response.status, told, _chunks(response, url, request.timeout_s))

    def _pool_for(self, request: Outgoing, url: SplitResult) -> httpcore.AsyncConnectionPool:
        # Connections to this machine are kept apart: a request that may not go there must not find one open.
        return self._pool(request.local and is_loopback_name(url.hostname or ""))

    async def close(self) -> None:
        """Give the connections up."""
        async with AsyncExitStack() as stack:
            for pool in self._pools.values():
                stack.push_async_callback(pool.aclose)
            self._pools = {}

    def _pool(self, local: bool) -> httpcore.AsyncConnectionPool:
        if local not in self._pools:
            self._pools[local] = httpcore.AsyncConnectionPool(
                ssl_context=self._certificates,
                max_connections=CONNECTIONS_MAX,
                max_keepalive_connections=IDLE_CONNECTIONS_MAX,
                keepalive_expiry=IDLE_S,
                network_backend=_Guarded(self._resolve, self._is_loopback if local else self._is_allowed),
            )
        return self._pools[local]

    @cached_property
    def _certificates(self) -> ssl.SSLContext:
        """Those of the system (or of SSL_CERT_FILE), and the usual ones where the system has none."""
        context = ssl.create_default_context()
        if not context.get_ca_certs() and not context.cert_store_stats()["x509_ca"]:
            import certifi

            context.load_verify_locations(certifi.where())
        return context

    @staticmethod
    def _is_loopback(address: Address) -> bool:
        return address.is_loopback


class _Guarded(httpcore.AsyncNetworkBackend):
    """Connects to addresses that are allowed, whatever the name that led to them."""

    def __init__(self, resolve: Resolve, allowed: Callable[[Address], bool]) -> None:
        self._resolve = resolve
        self._allowed = allowed
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = [ipaddress.ip_address(text) for text in await self._resolve(host, port)]
        allowed = [address for address in addresses if self._allowed(address)]
        if not allowed:
            raise AddressRefused("not a public address; STOA_OUTBOUND_NETWORKS can allow its network")
        for address in allowed[:-1]:
            try:
                return await self._network.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._network.connect_tcp(str(allowed[-1]), port, timeout, local_address, socket_options)

    async def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        raise AddressRefused("not a network address")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def _resolve(host: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _checked(url: str) -> SplitResult:
    """The parts of a URL that may be asked for. Raises AddressRefused."""
    if len(url) > URL_CHARS_MAX or not _TARGET.fullmatch(url):
        raise AddressRefused("the URL is too long, or holds characters that a URL has not")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise AddressRefused("this is not a URL") from None
    if parts.scheme not in ("http", "https"):
        raise AddressRefused("the URL must begin with https:// or http://")
    if parts.username is not None or parts.password is not None:
        raise AddressRefused("the URL must not hold a user name")
    host = parts.hostname or ""
    if not (_HOST.fullmatch(host) or (":" in host and _is_ipv6(host))):
        raise AddressRefused("the URL has no usable host")
    if port is not None and port < 1024 and port not in WEB_PORTS:
        raise AddressRefused(f"port {port} is not one of the web's")
    return parts


def _is_ipv6(host: str) -> bool:
    try:
        return IPv6Address(host).scope_id is None
    except ValueError:
        return False


async def _sent(pool: httpcore.AsyncConnectionPool, request: Outgoing, url: SplitResult) -> Incoming:
    target, headers = _target(url), _headers(request, url)
    async with pool.stream(request.method, target, headers=headers, content=request.body) as response:
        body = bytearray()
        async for chunk in response.aiter_stream():
            body += chunk
            if len(body) > request.answer_bytes_max:
                break
        return Incoming(
            response.status,
            {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers},
            bytes(body[: request.answer_bytes_max]),
            whole=len(body) <= request.answer_bytes_max,
        )


def _target(url: SplitResult) -> httpcore.URL:
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    return httpcore.URL(scheme=url.scheme, host=url.hostname or "", port=url.port, target=target)


def _headers(request: Outgoing, url: SplitResult) -> list[tuple[bytes, bytes]]:
    headers = {
        "user-agent": USER_AGENT,
        "accept": "*/*",
        **{name.lower(): value for name, value in request.headers.items()},
        "host": url.netloc,
        "accept-encoding": "identity",  # so that a size is what it says it is
    }
    return [(name.encode(), value.encode()) for name, value in headers.items()]


async def _chunks(response: httpcore.Response, url: SplitResult, timeout_s: float) -> AsyncIterator[bytes]:
    with _told(url, timeout_s):
        async for chunk in response.aiter_stream():
            yield chunk


@contextmanager
def _told(url: SplitResult, timeout_s: float) -> Iterator[None]:
    """What goes wrong in the block, in our words."""
    try:
        yield
    except AddressRefused as refused:
        raise AddressRefused(f"{url.hostname}: {refused}") from None
    except (TimeoutError, httpcore.TimeoutException):
        raise Unreached(f"{url.hostname} did not answer within {timeout_s:g} s") from None
    except (httpcore.NetworkError, OSError) as problem:
        raise Unreached(f"{url.hostname} cannot be reached ({_reason(problem)})") from problem
    except (httpcore.ProtocolError, httpcore.UnsupportedProtocol) as problem:
        raise Unreached(f"{url.hostname} does not speak HTTP as it should") from problem


def _reason(problem: BaseException) -> str:
    """What went wrong in a few words; the innermost cause knows best."""
    while problem.__cause__ is not None or problem.__context__ is not None:
        problem = problem.__cause__ or problem.__context__  # type: ignore[assignment]
    if isinstance(problem, ssl.SSLCertVerificationError):
        return f"its certificate is not good: {problem.verify_message}"
    if isinstance(problem, socket.gaierror):
        return "there is no such host"
    if isinstance(problem, ConnectionRefusedError):
        return "the connection was refused"
    return type(problem).__name__
