"""Real engines for tests: one embedded PostgreSQL and one Valkey for each test process, gone with it.

`from tests.services import postgres_url, valkey_url` in a conftest; whoever imports them, they are the same two.
"""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

import pytest

from infra.embedded.postgres import EmbeddedPostgres
from infra.embedded.valkey import EmbeddedValkey


@pytest.fixture(scope="session")
def postgres_url() -> str:
    """The platform's own role in an empty database."""
    return _postgres().url


@pytest.fixture(scope="session")
def postgres_superuser_url() -> str:
    """The same database, for a test that makes roles or databases of its own."""
    return _postgres().superuser_url


@pytest.fixture(scope="session")
def postgres_log() -> Path:
    """What PostgreSQL writes of itself: the statements, too, of databases where `log_statement` says so."""
    return _postgres().folder / "server.log"


@pytest.fixture(scope="session")
def valkey_url() -> str:
    return _valkey().url


@cache
def _postgres() -> EmbeddedPostgres:
    postgres = EmbeddedPostgres(_folder(), durable=False)
    atexit.register(postgres.stop, 1)
    postgres.start()
    return postgres


@cache
def _valkey() -> EmbeddedValkey:
    valkey = EmbeddedValkey(_folder())
    atexit.register(valkey.stop, 1)
    valkey.start()
    return valkey


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="stoa-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
