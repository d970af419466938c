"""RootCX's acceptance behaviours about integrations (61), by their numbers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import build
from tests.harness import Databases, Person, Stoa, running
from tests.integrations import catalog
from tests.workers.hosting import RunningHost, hosting

CODE = """
serve({rpc: {
  __integration: (params) => ({ok: params.action !== "refuse", params}),
}});
"""


@pytest.fixture(scope="module")
def stoa(databases: Databases, valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stoa]:
    folder = tmp_path_factory.mktemp("catalog")
    definition = {
        "appId": "parcelnet",
        "name": "ParcelNet",
        "actions": [catalog.action("track"), catalog.action("refuse")],
        "configSchema": {"properties": {"key": {"type": "string", "platformSecret": "PARCELNET_KEY"}}},
    }
    catalog.put(folder, definition, {"index.js": CODE})
    where = tmp_path_factory.mktemp("stoa")
    with running(databases.new(), valkey_url, where, catalog_dir=folder) as server:
        yield server


@pytest.fixture(scope="module")
def host(stoa: Stoa) -> Iterator[RunningHost]:
    with hosting(stoa) as beside:
        yield beside


@pytest.fixture(scope="module")
def deployed(admin: Person, host: RunningHost) -> dict[str, Any]:
    answer = admin.client.post("/api/v1/integrations/catalog/parcelnet/deploy")
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def test_61_a_deployed_integration_is_listed_until_it_is_removed(
    stoa: Stoa, admin: Person, deployed: dict[str, Any], tmp_path: Path
) -> None:
    assert deployed["message"] == "integration 'parcelnet' deployed and started"
    again = admin.client.post("/api/v1/integrations/catalog/parcelnet/deploy").json()
    assert again["webhookToken"] == deployed["webhookToken"]
    (row,) = [row for row in admin.client.get("/api/v1/integrations").json() if row["id"] == "parcelnet"]
    assert set(row) == {
        "id", "name", "version", "description", "actions", "configSchema", "userAuth", "webhooks", "instructions",
        "configured",
    }  # fmt: skip
    assert (row["configured"], row["userAuth"], row["webhooks"], row["instructions"]) == (False, None, [], None)
    saved = admin.client.put("/api/v1/integrations/parcelnet/config", json={"key": "k-1", "other": "x"})
    assert (saved.status_code, saved.json()) == (200, {"message": "config saved"})
    (row,) = [row for row in admin.client.get("/api/v1/integrations").json() if row["id"] == "parcelnet"]
    assert row["configured"] is True


def test_61_an_action_takes_its_permission(stoa: Stoa, admin: Person, deployed: dict[str, Any]) -> None:
    path = "/api/v1/integrations/parcelnet/actions/track"
    guest = stoa.person()
    refused = guest.client.post(path, json={"id": 7})
    assert (refused.status_code, "error" in refused.json()) == (403, True)
    other = build.reader(stoa, admin, "integration:parcelnet:refuse", "app:parcelnet:*")
    assert other.client.post(path, json={"id": 7}).status_code == 403
    allowed = build.reader(stoa, admin, "integration:parcelnet:track")
    answer = allowed.client.post(path, json={"id": 7})
    assert answer.status_code == 200
    told = answer.json()["params"]
    assert set(told) == {"action", "input", "config", "userCredentials", "userId", "connectionId"}
    assert (told["action"], told["input"], told["userId"]) == ("track", {"id": 7}, allowed.id)
    assert (told["userCredentials"], told["connectionId"]) == (None, None)
    assert allowed.client.post(path).json()["params"]["input"] == {}


def test_61_an_answer_passes_through_even_when_it_is_not_ok(
    stoa: Stoa, admin: Person, deployed: dict[str, Any]
) -> None:
    allowed = build.reader(stoa, admin, "integration:parcelnet:refuse")
    answer = allowed.client.post("/api/v1/integrations/parcelnet/actions/refuse", json=[1, None])
    assert (answer.status_code, answer.json()["ok"]) == (200, False)
    assert answer.json()["params"]["input"] == [1, None]


def test_61_the_callback_takes_a_state_that_was_given_out(stoa: Stoa) -> None:
    for query in ({}, {"state": "unknown"}, {"state": "x" * 43, "code": "c"}):
        answer = stoa.client().get("/api/v1/integrations/auth/callback", params=query)
        assert (answer.status_code, "error" in answer.json()) == (400, True)
