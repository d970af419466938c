"""RootCX's acceptance behaviours about channels (62), by their numbers."""

from collections.abc import Iterator
from ipaddress import ip_network

import pytest

from tests.channels.people import PUBLIC
from tests.channels.providers import BOT_TOKEN, Api, serving
from tests.harness import Databases, Person, Stoa, running


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with serving() as there:
        yield there


@pytest.fixture(scope="module")
def stoa(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stoa]:
    folder = tmp_path_factory.mktemp("stoa")
    with running(databases.new(), None, folder, outbound_networks=(ip_network("127.0.0.0/8"),)) as server:
        yield server


@pytest.fixture
def channel(admin: Person, api: Api) -> str:
    """An inactive Telegram channel."""
    body = {"provider": "telegram", "name": "Bot", "config": {"api_url": api.url, "bot_token": BOT_TOKEN, "a": 1}}
    made = admin.client.post("/api/v1/channels", json=body)
    assert made.status_code == 200
    id: str = made.json()["id"]
    return id


def test_62_a_channel_of_provider_fax_is_refused(admin: Person) -> None:
    answer = admin.client.post("/api/v1/channels", json={"provider": "fax", "name": "Fax", "config": {}})
    assert (answer.status_code, "fax" in answer.json()["error"]) == (400, True)


def test_62_the_list_never_contains_the_bot_token(admin: Person, channel: str) -> None:
    listed = admin.client.get("/api/v1/channels")
    assert "bot_token" not in listed.text
    assert BOT_TOKEN not in listed.text
    assert next(row for row in listed.json() if row["id"] == channel)["config"]["a"] == 1


def test_62_an_inactive_channel_gives_no_link(admin: Person, channel: str) -> None:
    assert admin.client.post(f"/api/v1/channels/{channel}/link").status_code == 404
    unknown = "00000000-0000-4000-8000-000000000000"
    assert admin.client.post(f"/api/v1/channels/{unknown}/link").status_code == 404


def test_62_without_a_public_url_nothing_is_activated(admin: Person, channel: str) -> None:
    path = f"/api/v1/channels/{channel}/activate"
    assert admin.client.post(path).status_code == 400
    assert admin.client.post(path, json={}).status_code == 400
    active = admin.client.post(path, json={"public_url": PUBLIC})
    url = f"{PUBLIC}/api/v1/channels/telegram/{channel}/webhook"
    assert (active.status_code, active.json()) == (200, {"status": "active", "webhook_url": url})
    link = admin.client.post(f"/api/v1/channels/{channel}/link").json()
    assert set(link) == {"token", "provider", "linkUrl"}
    assert link["linkUrl"].startswith("https://t.me/")
    assert admin.client.delete(f"/api/v1/channels/{channel}").json() == {"status": "ok"}
