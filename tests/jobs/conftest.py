"""One server for all of these tests, with a host beside it that runs jobs."""

from collections.abc import Iterator

import pytest

from tests import build
from tests.build import Collections
from tests.harness import Databases, Person, Stoa, running
from tests.jobs.handing_in import JOBS
from tests.workers.hosting import App, RunningHost, deployed, hosting


@pytest.fixture(scope="package")
def stoa(databases: Databases, valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stoa]:
    with running(databases.new(), valkey_url, tmp_path_factory.mktemp("stoa")) as server:
        yield server


@pytest.fixture(scope="package")
def admin(stoa: Stoa) -> Person:
    return stoa.person("admin")


@pytest.fixture(scope="package")
def host(stoa: Stoa) -> Iterator[RunningHost]:
    with hosting(stoa) as running:
        yield running


@pytest.fixture(scope="package")
def works(admin: Person, host: RunningHost) -> App:
    """An app whose job handler does as its payload says."""
    app = deployed(admin, "works", JOBS)
    app.call("echo", {})
    return app


@pytest.fixture(scope="package")
def things(admin: Person, works: App) -> Collections:
    """The same app with records of its own."""
    secret = build.entity("secrets", build.field("text"))
    return build.app(admin, build.entity("things", build.field("name", required=True)), secret, app_id="works")
