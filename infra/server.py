"""The HTTP server: uvicorn on a socket that is already bound, in this process or in a child of the supervisor."""

import asyncio
import ctypes
import errno
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import uvicorn

import infra.logs
from infra.failure import Failure, Misuse
from infra.settings import Settings

DEFAULT_APP = "infra.app:create_app"

# Requests under way get this long when we stop; streams that never end are cut then.
DRAIN_S = 2
# A connection taken just before we stopped listening gets this long to say what it wants, instead of a reset.
LATE_REQUEST_S = 0.2
# Longer than the idle time of the usual balancers' checks, shorter than a forgotten connection is worth.
KEEP_ALIVE_S = 25
SOCKET_MESSAGE_BYTES_MAX = 2**20
# So that requests wait their turn in the kernel while we start, and no client is refused.
BACKLOG = 2048
# Between two looks of the garbage collector at what is new. A request leaves about a hundred objects in cycles.
GC_ALLOCATIONS = 5_000

M_MMAP_THRESHOLD = -3  # of malloc.h
LARGE_BYTES = 2**20

log = infra.logs.get_logger(__name__)


class Server(uvicorn.Server):
    """uvicorn's server, which leaves signals to the supervisor, says when it is ready, and warns the application.

    An application with a coroutine function `drain` is told at the start of a stop, while its connections are open:
    the time to turn readiness red and to end streams.
    """

    def __init__(self, app: Any, on_ready: Callable[[], None]) -> None:
        config = uvicorn.Config(
            app,
            loop="uvloop",
            http="httptools",
            ws="websockets-sansio",
            ws_max_size=SOCKET_MESSAGE_BYTES_MAX,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # nobody's X-Forwarded-For is believed
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=DRAIN_S,
            workers=1,
        )
        super().__init__(config)
        self._app = app
        self._on_ready = on_ready

    def run_on(self, listener: socket.socket) -> None:
        """Serve until `should_exit`. Raises Failure when the application does not start."""
        try:
            self.run([listener])
        except SystemExit:  # uvicorn's answer to a failed start, which it has logged
            raise Failure("the application did not start, see the log above") from None

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            _return_large_blocks()
            _spare_the_collector()
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        logging.getLogger("uvicorn.error").addFilter(_is_no_cancellation)
        if drain := getattr(self._app, "drain", None):
            try:
                await asyncio.wait_for(drain(), 0.5)
            except TimeoutError:
                log.warning("drain_too_slow")
        for listening in self.servers:
            listening.close()
        if self.server_state.connections:
            await asyncio.sleep(LATE_REQUEST_S)
        await super().shutdown(sockets)


def _spare_the_collector() -> None:
    """Let garbage collection pass over what is there now: schemas and documents stay for as long as we serve.

    Requests leave few cycles behind, so it may come less often, too.
    """
    gc.freeze()
    gc.set_threshold(GC_ALLOCATIONS, *gc.get_threshold()[1:])


def _return_large_blocks() -> None:
    """Let large blocks of memory go back to the system when they are freed.

    glibc keeps blocks of a size that it has once seen freed, for the next of them: the 19 MiB that a password's hash
    takes would be ours for good.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # which other C libraries lack
        mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    """A request that is cut off at the end of a drain is not an error of the application's; uvicorn counts them."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


def bind(host: str, port: int) -> socket.socket:
    """A listening socket: bound alone, two of us could hold the same port. Raises Misuse, naming what to change."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as problem:
        raise Misuse(f"{host} is not an address of this machine ({problem.strerror}); set STOA_HOST") from None
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as problem:
        listener.close()
        raise Misuse(_refusal(host, port, problem)) from None
    return listener


def _refusal(host: str, port: int, problem: OSError) -> str:
    if problem.errno == errno.EADDRINUSE:
        return f"port {port} is in use; set STOA_PORT (or --port) to another one"
    if problem.errno == errno.EACCES:
        return f"port {port} needs rights this user lacks; set STOA_PORT (or --port) to one above 1023"
    return f"cannot listen on {host} port {port} ({problem.strerror}); set STOA_HOST or STOA_PORT"


def load(app: str) -> Callable[..., Any]:
    """The application factory at an import path, `package.module:function`."""
    module, _, name = app.partition(":")
    factory: Callable[..., Any] = getattr(import_module(module), name)
    return factory


def main(listener: str, ready_end: str, app: str) -> None:
    """A server process of several: it serves on an inherited socket and tells its parent once when it is ready."""
    settings = Settings.from_env(os.environ).with_keys()
    infra.logs.configure(settings.log_level, settings.log_format)

    def tell_ready() -> None:
        if int(ready_end) >= 0:
            os.write(int(ready_end), b"\n")
            os.close(int(ready_end))

    server = Server(load(app)(settings, settings.database_url, settings.valkey_url), tell_ready)

    def end(_signum: int, _frame: object) -> None:
        server.should_exit = True

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    server.run_on(socket.socket(fileno=int(listener)))
    gc.freeze()  # as in the command line: what is over soon needs no looking for cycles


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Failure as problem:
        sys.exit(f"stoa: {problem}")
