"""A server with channels to providers of the test's own, a host that carries messages, and an agent to talk with."""

from collections.abc import Iterator
from ipaddress import ip_network

import pytest

from tests.agents.asking import agent
from tests.channels.people import Bot, new_bot
from tests.channels.providers import Api, serving
from tests.harness import Databases, Person, Stoa, running
from tests.workers.hosting import RunningHost, hosting

LOOPBACK = (ip_network("127.0.0.0/8"),)
# Tells what it was asked, by whom, and what was said before.
CODE = """
serve({ onAgent: async (invocation) => {
  if (invocation.message === "fail") throw new Error("no tour today");
  if (invocation.message === "long") return "word ".repeat(1500);
  await new Promise((resolve) => setTimeout(resolve, invocation.message === "slow" ? 700 : 0));
  return `${invocation.message} (${invocation.history.length} before, for ${invocation.invoker_user_id})`;
}});
"""


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with serving() as there:
        yield there


@pytest.fixture(scope="module")
def stoa(databases: Databases, valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stoa]:
    folder = tmp_path_factory.mktemp("stoa")
    with running(databases.new(), valkey_url, folder, outbound_networks=LOOPBACK) as server:
        yield server


@pytest.fixture(scope="module")
def host(stoa: Stoa) -> Iterator[RunningHost]:
    with hosting(stoa) as beside:
        yield beside


@pytest.fixture(scope="module")
def assistant(admin: Person, host: RunningHost) -> str:
    """The agent that everybody talks with at first."""
    return agent(admin, "assistant", code=CODE, memory={"enabled": True}).app_id


@pytest.fixture
def bot(stoa: Stoa, admin: Person, api: Api) -> Bot:
    """A Telegram channel that is active, of the test's own."""
    api.calls.clear()
    api.answers.clear()
    return new_bot(stoa, admin, api, "telegram")
