"""A server whose agents think with a scripted model, and a worker host beside it: fixtures for whoever wants them."""

from collections.abc import Iterator

import pytest

from tests.agents.provider import Provider, provider
from tests.harness import Databases, Stoa, running
from tests.workers.hosting import RunningHost, hosting

__all__ = ["host", "model", "stoa"]


@pytest.fixture(scope="module")
def model() -> Iterator[Provider]:
    with provider() as scripted:
        yield scripted


@pytest.fixture(scope="module")
def stoa(
    databases: Databases, valkey_url: str, tmp_path_factory: pytest.TempPathFactory, model: Provider
) -> Iterator[Stoa]:
    told = {"llm_provider": "openai", "llm_base_url": model.url, "llm_key": "sk-test", "llm_model": "scripted"}
    with running(databases.new(), valkey_url, tmp_path_factory.mktemp("stoa"), **told) as server:
        yield server


@pytest.fixture(scope="module")
def host(stoa: Stoa) -> Iterator[RunningHost]:
    with hosting(stoa) as beside:
        yield beside
