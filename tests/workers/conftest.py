"""A server with a worker host beside it."""

from collections.abc import Iterator

import pytest

from tests.harness import Stoa
from tests.workers.hosting import RunningHost, hosting


@pytest.fixture(scope="module")
def host(stoa: Stoa) -> Iterator[RunningHost]:
    """The host of the module's server."""
    with hosting(stoa) as running:
        yield running
