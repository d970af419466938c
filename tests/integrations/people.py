"""What people do with integrations, over REST."""

from typing import Any

import httpx

from tests import build
from tests.harness import Person, Stoa
from tests.integrations.service import CLIENT_ID, SECRET, Service

CALLBACK = "/api/v1/integrations/auth/callback"


def deployed(admin: Person, id: str) -> str:
    """Deploy an integration of the catalog. Returns its webhook's token."""
    answer = admin.client.post(f"/api/v1/integrations/catalog/{id}/deploy")
    assert answer.status_code == 200, answer.text
    assert answer.json()["message"] == f"integration '{id}' deployed and started"
    token: str = answer.json()["webhookToken"]
    return token


def configured(admin: Person, id: str, client_id: str = CLIENT_ID) -> str:
    """Deploy an integration, and tell it who it is to its service."""
    deployed(admin, id)
    values = {"clientId": client_id, "clientSecret": SECRET}
    answer = admin.client.put(f"/api/v1/integrations/{id}/config", json=values)
    assert (answer.status_code, answer.json()) == (200, {"message": "config saved"})
    return id


def user_of(stoa: Stoa, admin: Person, id: str, *actions: str) -> Person:
    """Somebody who may do these actions."""
    return build.reader(stoa, admin, *(f"integration:{id}:{action}" for action in actions))


def begun(person: Person, id: str, **query: str) -> str:
    """Begin to connect. Returns where the browser is to go."""
    answer = person.client.post(f"/api/v1/integrations/{id}/auth/start", params=query)
    assert answer.status_code == 200, answer.text
    assert answer.json()["type"] == "redirect"
    url: str = answer.json()["url"]
    return url


def connected(stoa: Stoa, service: Service, person: Person, id: str, **query: str) -> None:
    """Connect somebody, as their browser would."""
    back = service.agreed(begun(person, id, **query))
    answer = stoa.client().get(CALLBACK, params=back)
    assert answer.status_code == 200, answer.text
    assert "<h1>Connected</h1>" in answer.text


def connection(person: Person, id: str) -> dict[str, Any]:
    """The newest connection of somebody."""
    answer = person.client.get(f"/api/v1/integrations/{id}/connections")
    assert answer.status_code == 200, answer.text
    newest: dict[str, Any] = answer.json()[0]
    return newest


def run(person: Person, id: str, action: str, input: Any = None, **more: Any) -> httpx.Response:
    """The answer to an action."""
    body = {} if input is None else {"json": input}
    return person.client.post(f"/api/v1/integrations/{id}/actions/{action}", **body, **more)
