"""Somebody who signs in: the administrator's part, the browser's, and what the provider makes of it."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from tests.harness import Person, Stoa
from tests.sign_in.provider import CLIENT_ID, SECRET, Provider

BASE = "/api/v1/auth/oidc"


def saved(admin: Person, provider: Provider, id: str = "acme", **more: Any) -> str:
    """Make the provider known here."""
    draft = {"id": id, "displayName": id.title(), "issuerUrl": provider.url, "clientId": CLIENT_ID}
    draft |= {} if provider.secret is None else {"clientSecret": SECRET}
    answer = admin.client.post(f"{BASE}/providers", json={**draft, **more})
    assert (answer.status_code, answer.json()) == (200, {"message": f"provider '{id}' saved"}), answer.text
    return id


class Browser:
    """One browser, which follows no redirect by itself."""

    def __init__(self, stoa: Stoa) -> None:
        self.client = stoa.client()
        self.callback = f"{stoa.base_url}{BASE}/callback"

    def begin(self, provider_id: str = "acme", **query: str) -> str:
        """Where the provider wants the browser."""
        answer = self.client.get(f"{BASE}/{provider_id}/authorize", params=query)
        assert answer.status_code == 307, answer.text
        return answer.headers["location"]

    def come_back(self, back: dict[str, str], **headers: str) -> httpx.Response:
        """Bring back what the provider gave."""
        return self.client.get(self.callback, params=back, headers={"sec-fetch-mode": "navigate", **headers})

    def signed_in(self, provider: Provider, id: str = "acme", **claims: Any) -> dict[str, Any]:
        """Sign in as whom the claims tell of; it must succeed."""
        answer = self.come_back(provider.granted(self.begin(id), **claims))
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    def me(self, access_token: str) -> dict[str, Any]:
        """The account of a token."""
        answer = self.client.get("/api/v1/auth/me", headers={"authorization": f"Bearer {access_token}"})
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told


def query_of(url: str) -> dict[str, str]:
    """The query's values."""
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query, keep_blank_values=True).items()}
