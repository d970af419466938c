"""A server with a host beside it that runs jobs."""

from collections.abc import Iterator

import pytest

from tests.harness import Person, Stoa
from tests.jobs.handing_in import JOBS
from tests.workers.hosting import App, RunningHost, deployed, hosting


@pytest.fixture(scope="module")
def host(stoa: Stoa) -> Iterator[RunningHost]:
    with hosting(stoa) as running:
        yield running


@pytest.fixture(scope="module")
def works(admin: Person, host: RunningHost) -> App:
    """An app whose job handler does as its payload says."""
    app = deployed(admin, "works", JOBS)
    app.call("echo", {})
    return app
