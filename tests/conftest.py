"""Fixtures that every area's tests share. `stoa` is a server of the module's own, `fresh` one nobody has used."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import settings

from tests.harness import Databases, Person, Stoa, running
from tests.services import postgres_log, postgres_superuser_url, postgres_url, valkey_url

__all__ = ["postgres_log", "postgres_superuser_url", "postgres_url", "valkey_url"]

# The log of a failed test is text, without the values of variables: rendering those takes seconds each time.
structlog.configure(
    processors=[
        structlog.stdlib.add_log_level,
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)

# What is drawn is the same in every run: a failure is the change's, and no luck.
settings.register_profile("stoa", derandomize=True)
settings.load_profile("stoa")

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def databases(postgres_superuser_url: str, postgres_url: str) -> Databases:
    return Databases(postgres_superuser_url, postgres_url)


@pytest.fixture(scope="module")
def stoa(databases: Databases, valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stoa]:
    """A server shared by the tests of one module."""
    with running(databases.new(), valkey_url, tmp_path_factory.mktemp("stoa")) as server:
        yield server


@pytest.fixture
def fresh(databases: Databases, valkey_url: str, tmp_path: Path) -> Iterator[Stoa]:
    """A server of the test's own, where nobody has an account yet."""
    with running(databases.new(), valkey_url, tmp_path) as server:
        yield server


@pytest.fixture(scope="module")
def admin(stoa: Stoa) -> Person:
    """The module's administrator: the first account."""
    return stoa.person("admin")


@pytest.fixture(scope="session")
def crm_manifest() -> dict[str, Any]:
    """A real manifest: a CRM with ten entities, links, enums and dates."""
    manifest: dict[str, Any] = json.loads((DATA / "crm.json").read_text())
    return manifest
