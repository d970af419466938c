"""Engines and servers of a test's own, each in a folder of its own."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from tests.infra.running import Stoa, eventually, processes_of
from tests.services import postgres_superuser_url, postgres_url, valkey_url

__all__ = ["postgres_superuser_url", "postgres_url", "valkey_url"]


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data folder others may pass through, short enough for sockets. Nothing may be left at work in it."""
    with tempfile.TemporaryDirectory(prefix="stoa-test-", ignore_cleanup_errors=True) as parent:
        os.chmod(parent, 0o711)
        folder = Path(parent) / "data"
        folder.mkdir(mode=0o711)
        yield folder
        assert eventually(lambda: not processes_of(folder)), processes_of(folder)


@pytest.fixture
def stoa(data_dir: Path) -> Iterator[Stoa]:
    """A server that isn't started yet; whatever becomes of the test, it is ended, and its children follow."""
    server = Stoa(data_dir)
    yield server
    server.end()


@pytest.fixture
async def database(postgres_url: str, postgres_superuser_url: str):
    """The URL of a new, empty database."""
    name = f"test_{os.urandom(6).hex()}"
    connection = await asyncpg.connect(postgres_superuser_url)
    await connection.execute(f"CREATE DATABASE {name} OWNER stoa")
    yield postgres_url.replace("/stoa?", f"/{name}?")
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.close()
