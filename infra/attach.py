"""The engines of a data folder for commands beside the server: those it runs, or one started for the moment."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from infra.embedded.postgres import EmbeddedPostgres
from infra.failure import Misuse
from infra.lock import FolderLock, Holder, holder
from infra.settings import Settings

# A server that is starting announces its engines once they answer.
ANNOUNCEMENT_S = 15.0


def engines(settings: Settings) -> tuple[str, str]:
    """URLs of PostgreSQL and Valkey: the given ones, else those of the server on this folder. Raises Misuse."""
    if settings.database_url and settings.valkey_url:
        return settings.database_url, settings.valkey_url
    announced = _announced(settings)
    database_url = settings.database_url or (announced.database_url if announced else None)
    valkey_url = settings.valkey_url or (announced.valkey_url if announced else None)
    missing = [
        name for name, url in (("STOA_DATABASE_URL", database_url), ("STOA_VALKEY_URL", valkey_url)) if url is None
    ]
    if database_url is None or valkey_url is None:
        raise Misuse(
            f"no server with embedded engines runs on {settings.data_dir}:"
            f" start `stoa serve` there, or set {' and '.join(missing)}"
        )
    return database_url, valkey_url


@contextmanager
def database(settings: Settings) -> Iterator[str]:
    """The URL of PostgreSQL: the given one, that of the server on this folder, or of one started for the moment."""
    if settings.database_url:
        yield settings.database_url
    elif (announced := _announced(settings)) and announced.database_url:
        yield announced.database_url
    else:
        lock = FolderLock.take(settings.data_dir)
        postgres = EmbeddedPostgres(settings.data_dir)
        try:
            yield postgres.start()
        finally:
            postgres.stop()
            lock.release()


@contextmanager
def scratch() -> Iterator[str]:
    """The URL of an empty PostgreSQL of its own, gone afterwards: what code says is judged without anyone's data."""
    with TemporaryDirectory(prefix="stoa-scratch-", ignore_cleanup_errors=True) as folder:
        postgres = EmbeddedPostgres(Path(folder), durable=False)
        try:
            yield postgres.start()
        finally:
            postgres.stop()


def _announced(settings: Settings) -> Holder | None:
    deadline = time.monotonic() + ANNOUNCEMENT_S
    while (found := holder(settings.data_dir)) and not (found.database_url or found.valkey_url):
        if time.monotonic() > deadline:
            break
        time.sleep(0.1)
    return found
