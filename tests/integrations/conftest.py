"""A server with a catalog, and a service to integrate with."""

from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest

from tests.harness import Databases, Person, Stoa, running
from tests.integrations import catalog
from tests.integrations.people import configured
from tests.integrations.service import Service, serving

LOOPBACK = (ip_network("127.0.0.0/8"),)


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with serving() as there:
        yield there


@pytest.fixture(autouse=True)
def untouched(request: pytest.FixtureRequest) -> None:
    """What one test makes of the service is gone before the next."""
    if "service" in request.fixturenames:
        service: Service = request.getfixturevalue("service")
        service.asked.clear()
        service.tokens.clear()
        service.answers.clear()
        service.lasts_s, service.pause_s, service.rotates = 3600, 0.0, True


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, service: Service) -> Path:
    """The catalog."""
    made = tmp_path_factory.mktemp("catalog")
    catalog.put(made, catalog.parcelnet(service.url))
    catalog.put(made, catalog.keyed(service.url))
    return made


@pytest.fixture(scope="module")
def stoa(
    databases: Databases, valkey_url: str, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stoa]:
    """A server that may call this machine."""
    settings = {"catalog_dir": folder, "outbound_networks": LOOPBACK}
    with running(databases.new(), valkey_url, tmp_path_factory.mktemp("stoa"), **settings) as server:
        yield server


@pytest.fixture(scope="module")
def parcelnet(admin: Person) -> str:
    """An integration that is deployed and configured."""
    return configured(admin, "parcelnet")
