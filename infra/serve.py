"""`stoa serve`: the engines, the server and the worker as one program, which starts in order and stops in order."""

import asyncio
import importlib
import os
import queue
import select
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from infra import server
from infra.embedded.child import Child, Stopped
from infra.embedded.postgres import EmbeddedPostgres
from infra.embedded.valkey import EmbeddedValkey
from infra.failure import Failure
from infra.keeper import Keeper
from infra.lock import FolderLock, make_folder
from infra.logs import get_logger
from infra.settings import Settings

# From the first signal to the last process gone it takes less than 5 s; this much of it is the server's.
SERVER_STOP_S = 2.9
SERVER_START_S = 60.0

log = get_logger(__name__)


@dataclass(frozen=True)
class Options:
    """What the command line adds to the settings. `app` is the import path of the application factory."""

    worker: bool = True
    app: str = server.DEFAULT_APP


class PythonChild(Child):
    """A part of the platform in a process of its own: the worker, or one of several servers."""

    def launch(self, departure_s: float = 0) -> None:
        super().launch()

    def ask_to_stop(self) -> None:
        self.send(self.stop_signal)

    def last_words(self) -> str:
        return f"exit code {self.wait(0)}"


class ServerChild(PythonChild):
    """One server process of several, all on the same socket."""

    def __init__(self, number: int, listener: socket.socket, app: str, environ: Mapping[str, str]) -> None:
        super().__init__(f"server {number}", [], Path.cwd(), environ=environ)
        self._listener = listener.fileno()
        self._app = app
        self._ready_end: int | None = None

    def launch(self, departure_s: float = 0) -> None:
        if self._ready_end is not None:  # brought back: nobody waits for it
            return self._launch_with(-1)
        self._ready_end, child_end = os.pipe()
        try:
            self._launch_with(child_end)
        finally:
            os.close(child_end)

    def _launch_with(self, ready_end: int) -> None:
        self.command = [sys.executable, "-m", "infra.server", str(self._listener), str(ready_end), self._app]
        self.inherit = [descriptor for descriptor in (self._listener, ready_end) if descriptor >= 0]
        super().launch()

    def await_ready(self) -> None:
        """Raises Failure when it ends instead of starting."""
        assert self._ready_end is not None
        readable, _, _ = select.select([self._ready_end], [], [], SERVER_START_S)
        if not readable or not os.read(self._ready_end, 1):
            raise Failure("a server process did not start, see the log above")


class Interruption:
    """SIGINT, SIGTERM and SIGHUP: the first ends things in order, the second in a hurry, the third at once.

    The handler itself only takes note, since it runs between any two instructions of the main thread, which may hold
    any lock (the log's, say). A thread does the rest.
    """

    def __init__(self, keeper: Keeper) -> None:
        self.server: server.Server | None = None
        self.ended = threading.Event()
        self._keeper = keeper
        self._noted: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._count = 0

    @contextmanager
    def handled(self) -> Iterator[None]:
        handled = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # ignored: started with nohup
            handled.append(signal.SIGHUP)
        threading.Thread(target=self._follow, name="interruption", daemon=True).start()
        before = {signum: signal.signal(signum, self._note) for signum in handled}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def _note(self, signum: int, _frame: object) -> None:
        self._count += 1
        if self._count > 2:
            os._exit(1)  # the children follow: their lives are bound to ours
        self._noted.put(signum)
        if self._count == 1 and self.server is None:
            raise Stopped

    def _follow(self) -> None:
        log.info("stopping", signal=signal.Signals(self._noted.get()).name)
        if self.server is not None:
            self.server.should_exit = True
        self._keeper.begin_stop()
        threading.Thread(target=self._insist, daemon=True).start()
        self._noted.get()
        self._keeper.hurry.set()
        if self.server is not None:
            self.server.force_exit = True

    def _insist(self) -> None:
        """A server that does not end (a blocked loop, a request that resists) must not keep the rest."""
        if not self.ended.wait(SERVER_STOP_S):
            log.warning("server_cut_off", reason="did not end in time")
            self._keeper.stop()
            os._exit(0)


def serve(settings: Settings, options: Options) -> None:
    """Run until a signal says stop. Raises Failure for what people can put right."""
    listener = server.bind(settings.host, settings.port)
    settings = settings.listening_on(listener.getsockname()[1])
    lock = _take_folder(settings)
    keeper = Keeper()
    interruption = Interruption(keeper)
    with interruption.handled():
        keeper.start()
        try:
            environ = _start_engines(settings, lock, keeper, options)
            _serve(settings.with_keys(), options, listener, environ, keeper, interruption)
        except Stopped:
            pass
        finally:
            interruption.ended.set()
            keeper.stop()
            listener.close()
            if lock:
                lock.release()
    log.info("stopped")


def _take_folder(settings: Settings) -> FolderLock | None:
    """The lock guards the embedded engines; servers on engines of elsewhere may share a folder (keys, files)."""
    if settings.database_url and settings.valkey_url:
        make_folder(settings.data_dir)
        return None
    return FolderLock.take(settings.data_dir, settings.port)


def _start_engines(settings: Settings, lock: FolderLock | None, keeper: Keeper, options: Options) -> dict[str, str]:
    """Start what is embedded and migrate. The environment of children, where STOA_DATABASE_URL and STOA_VALKEY_URL
    are those in use."""
    postgres = None if settings.database_url else EmbeddedPostgres(settings.data_dir, stopping=keeper.stopping)
    valkey = None if settings.valkey_url else EmbeddedValkey(settings.data_dir, stopping=keeper.stopping)
    new = postgres is not None and not postgres.folder.exists()
    started = keeper.start_engines([engine for engine in (valkey, postgres) if engine])
    # The imports, most of a start's work, go on while the engines start.
    if new:
        importlib.import_module("infra.postgres.migrate")
    if settings.workers == 1:
        server.load(options.app)
    started.result()
    if lock:
        lock.announce(postgres.url if postgres else None, valkey.url if valkey else None)
    environ = {**os.environ, **settings.environment()}
    if postgres:
        environ["STOA_DATABASE_URL"] = postgres.url
    if valkey:
        environ["STOA_VALKEY_URL"] = valkey.url
    asyncio.run(_migrate(environ["STOA_DATABASE_URL"]))
    return environ


async def _migrate(database_url: str) -> None:
    from infra.postgres.migrated import is_migrated

    if not await is_migrated(database_url):
        from infra.postgres import migrate

        await migrate.upgrade(database_url)


def _serve(
    settings: Settings,
    options: Options,
    listener: socket.socket,
    environ: Mapping[str, str],
    keeper: Keeper,
    interruption: Interruption,
) -> None:
    worker = PythonChild("worker", [sys.executable, "-m", "infra.cli", "worker"], Path.cwd(), environ=environ)

    def ready() -> None:
        if options.worker:
            keeper.start_front(worker)
        _say_ready(settings)

    if settings.workers == 1:
        app = server.load(options.app)(settings, environ["STOA_DATABASE_URL"], environ["STOA_VALKEY_URL"])
        interruption.server = server.Server(app, ready)
        interruption.server.run_on(listener)
        return
    children = [ServerChild(number + 1, listener, options.app, environ) for number in range(settings.workers)]
    for child in children:
        keeper.start_front(child).result()
    for child in children:
        child.await_ready()
    ready()
    threading.Event().wait()  # until a signal raises Stopped


def _say_ready(settings: Settings) -> None:
    url = settings.public_url
    with suppress(OSError):  # nobody has to read it
        sys.stdout.write(
            f"Stoa is ready: {url} (REST), {url}/graphql (GraphQL), {url}/docs (documentation);"
            f" data in {settings.data_dir}\n"
        )
        sys.stdout.flush()
