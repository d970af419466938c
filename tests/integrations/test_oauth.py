"""Connecting accounts by OAuth: there and back, and credentials that expire."""

import re
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.harness import Person, Stoa, at_once
from tests.integrations import catalog
from tests.integrations.people import CALLBACK, begun, configured, connected, connection, run, user_of
from tests.integrations.service import CLIENT_ID, SECRET, Service


@pytest.fixture(scope="module")
def person(stoa: Stoa, admin: Person, parcelnet: str) -> Person:
    return user_of(stoa, admin, parcelnet, "find")


def test_the_browser_is_sent_there_with_pkce_and_a_state_of_its_own(
    stoa: Stoa, service: Service, person: Person
) -> None:
    url, again = begun(person, "parcelnet"), begun(person, "parcelnet")
    asked = dict(parse_qsl(urlsplit(url).query))
    assert url.startswith(f"{service.url}/authorize?")
    assert asked == {
        "audience": "parcels",
        "response_type": "code",
        "client_id": CLIENT_ID,
        "redirect_uri": f"{stoa.base_url.replace('127.0.0.1', 'localhost')}{CALLBACK}",
        "state": asked["state"],
        "code_challenge": asked["code_challenge"],
        "code_challenge_method": "S256",
        "scope": "parcels:read parcels:write",
    }
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", asked["state"])
    assert dict(parse_qsl(urlsplit(again).query))["state"] != asked["state"]


def test_who_comes_back_is_connected_and_the_code_is_redeemed_with_the_secret(
    stoa: Stoa, service: Service, admin: Person, parcelnet: str
) -> None:
    person = user_of(stoa, admin, parcelnet, "find")
    status = person.client.get("/api/v1/integrations/parcelnet/auth").json()
    assert status == {"connected": False, "connectionCount": 0, "deadCount": 0}
    connected(stoa, service, person, "parcelnet")
    status = person.client.get("/api/v1/integrations/parcelnet/auth").json()
    assert status == {"connected": True, "connectionCount": 1, "deadCount": 0}
    assert service.tokens[-1]["grant_type"] == "authorization_code"
    assert service.tokens[-1]["authorization"].startswith("Basic ")
    assert SECRET not in str({k: v for k, v in service.tokens[-1].items() if k != "authorization"})
    assert admin.client.get("/api/v1/integrations/parcelnet/connected-users").json()[-1] == person.id


def test_a_server_that_wants_the_secret_in_the_form_gets_it_there(
    stoa: Stoa, service: Service, admin: Person, folder: Path
) -> None:
    definition = catalog.parcelnet(service.url, appId="posted")
    definition["userAuth"]["clientAuth"] = "post"
    catalog.put(folder, definition)
    configured(admin, "posted")
    connected(stoa, service, user_of(stoa, admin, "posted"), "posted")
    assert (service.tokens[-1]["client_secret"], service.tokens[-1]["authorization"]) == (SECRET, "")


def test_a_state_is_good_once_and_for_nobody_who_guesses(stoa: Stoa, service: Service, person: Person) -> None:
    back = service.agreed(begun(person, "parcelnet"))
    browser = stoa.client()
    assert browser.get(CALLBACK, params=back).status_code == 200
    again = browser.get(CALLBACK, params=back)
    assert (again.status_code, again.json()["code"]) == (400, "invalid_input")
    assert "invalid state" in again.json()["error"]
    for state in ("", "x", back["state"][:-1] + "A", "%00"):
        assert browser.get(CALLBACK, params={**back, "state": state}).status_code == 400
    assert browser.get(CALLBACK, params={"code": "c"}).status_code == 400


def test_a_state_is_good_for_ten_minutes(stoa: Stoa, service: Service, person: Person) -> None:
    back = service.agreed(begun(person, "parcelnet"))
    stoa.sql("UPDATE stoa.integration_attempts SET expires_at = now() + interval '9 min 50 s' - interval '10 min'")
    before = len(service.tokens)
    assert stoa.client().get(CALLBACK, params=back).status_code == 400
    assert len(service.tokens) == before


def test_of_many_who_come_back_with_one_state_one_is_connected(stoa: Stoa, service: Service, person: Person) -> None:
    back = service.agreed(begun(person, "parcelnet"))
    before = len(service.tokens)
    clients = [stoa.client() for _ in range(5)]
    statuses = at_once([lambda c=c: c.get(CALLBACK, params=back).status_code for c in clients])
    assert sorted(statuses) == [200, 400, 400, 400, 400]
    assert len(service.tokens) == before + 1


def test_another_browser_than_began_is_asked_first(stoa: Stoa, service: Service, admin: Person, parcelnet: str) -> None:
    person = user_of(stoa, admin, parcelnet, "find")
    back = service.agreed(begun(person, "parcelnet"))
    victim = stoa.client()
    page = victim.get(CALLBACK, params=back, headers={"sec-fetch-mode": "navigate"})
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert (page.headers["cache-control"], page.headers["referrer-policy"]) == ("no-store", "no-referrer")
    assert person.name in page.text
    assert person.client.get("/api/v1/integrations/parcelnet/auth").json()["connected"] is False
    found = re.search(r'name="token" value="([^"]+)"', page.text)
    assert found is not None
    done = victim.post("/api/v1/integrations/auth/confirm", data={"token": found[1]})
    assert done.status_code == 200
    assert "<h1>Connected</h1>" in done.text
    assert person.client.get("/api/v1/integrations/parcelnet/auth").json()["connected"] is True
    assert victim.post("/api/v1/integrations/auth/confirm", data={"token": found[1]}).status_code == 400
    assert victim.post("/api/v1/integrations/auth/confirm", data={"token": found[1][:-2] + "xx"}).status_code == 400


def test_the_browser_that_began_is_not_asked(stoa: Stoa, service: Service, admin: Person, parcelnet: str) -> None:
    person = user_of(stoa, admin, parcelnet, "find")
    started = person.client.post("/api/v1/integrations/parcelnet/auth/start")
    cookie = started.headers["set-cookie"]
    assert cookie.startswith("stoa_integration=")
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    back = service.agreed(started.json()["url"])
    headers = {"sec-fetch-mode": "navigate", "cookie": cookie.split(";")[0]}
    page = stoa.client().get(CALLBACK, params=back, headers=headers)
    assert "<h1>Connected</h1>" in page.text


@pytest.mark.parametrize(
    ("back", "told"),
    [
        ({"error": "access_denied"}, "refused: access_denied"),
        ({"error": "<script>alert(1)</script>"}, "&lt;script&gt;"),
        ({}, "there is no code"),
        ({"code": "another"}, "invalid_grant"),
    ],
)
def test_who_does_not_agree_is_not_connected(
    stoa: Stoa, service: Service, admin: Person, parcelnet: str, back: dict[str, str], told: str
) -> None:
    person = user_of(stoa, admin, parcelnet)
    state = service.agreed(begun(person, "parcelnet"))["state"]
    page = stoa.client().get(CALLBACK, params={**back, "state": state})
    assert page.status_code == 200
    assert "<h1>Not connected</h1>" in page.text
    assert told in page.text
    assert "<script>" not in page.text
    assert person.client.get("/api/v1/integrations/parcelnet/auth").json()["connected"] is False


def test_credentials_are_unreadable_at_rest_and_never_shown(stoa: Stoa, service: Service, person: Person) -> None:
    connected(stoa, service, person, "parcelnet")
    token = next(iter(service.good))
    shown = person.client.get("/api/v1/integrations/parcelnet/connections").text
    assert set(connection(person, "parcelnet")) == {"id", "integrationId", "userId", "label", "createdAt"}
    for given in service.good | service.refreshable:
        assert given not in shown
    rows = stoa.sql("SELECT ciphertext FROM stoa.secrets WHERE scope LIKE 'integration_connection:%'")
    assert rows
    assert all(token.encode() not in row["ciphertext"] for row in rows)


def test_expired_credentials_are_fetched_anew_before_they_are_used(
    stoa: Stoa, service: Service, admin: Person, parcelnet: str
) -> None:
    person = user_of(stoa, admin, parcelnet, "find")
    service.lasts_s = 30  # less than the minute before which they count as old
    connected(stoa, service, person, "parcelnet")
    service.lasts_s = 3600
    for _ in range(2):
        answer = run(person, "parcelnet", "find", {"id": "p1"})
        assert answer.json()["ok"] is True
    grants = [asked["grant_type"] for asked in service.tokens]
    assert grants == ["authorization_code", "refresh_token"]


def test_many_who_need_new_credentials_have_them_fetched_once(
    stoa: Stoa, service: Service, admin: Person, parcelnet: str
) -> None:
    person = user_of(stoa, admin, parcelnet, "find")
    service.lasts_s = 30
    connected(stoa, service, person, "parcelnet")
    service.lasts_s, service.pause_s = 3600, 0.3
    answers = at_once([lambda: run(person, "parcelnet", "find", {"id": "p1"}).json()["ok"]] * 6)
    assert answers == [True] * 6
    assert [asked["grant_type"] for asked in service.tokens] == ["authorization_code", "refresh_token"]


def test_a_token_that_is_refused_is_fetched_anew_and_tried_once_more(
    stoa: Stoa, service: Service, admin: Person, parcelnet: str
) -> None:
    person = user_of(stoa, admin, parcelnet, "find")
    connected(stoa, service, person, "parcelnet")
    service.good.clear()
    assert run(person, "parcelnet", "find", {"id": "p1"}).json()["ok"] is True
    assert [asked["grant_type"] for asked in service.tokens] == ["authorization_code", "refresh_token"]
    assert len(service.asked) == 2


def test_a_connection_that_cannot_be_renewed_is_dead_until_it_is_made_again(
    stoa: Stoa, service: Service, admin: Person, parcelnet: str
) -> None:
    person = user_of(stoa, admin, parcelnet, "find")
    connected(stoa, service, person, "parcelnet")
    service.good.clear()
    service.refreshable.clear()
    answer = run(person, "parcelnet", "find", {"id": "p1"})
    assert answer.status_code == 200
    assert answer.json()["ok"] is False
    assert answer.json()["error"]["code"] == "INSUFFICIENT_PERMISSIONS"
    status = person.client.get("/api/v1/integrations/parcelnet/auth").json()
    assert status == {"connected": False, "connectionCount": 1, "deadCount": 1}
    refused = run(person, "parcelnet", "find", {"id": "p1"})
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    connected(stoa, service, person, "parcelnet")
    status = person.client.get("/api/v1/integrations/parcelnet/auth").json()
    assert status == {"connected": True, "connectionCount": 1, "deadCount": 0}
    assert run(person, "parcelnet", "find", {"id": "p1"}).json()["ok"] is True


def test_a_server_that_fails_kills_no_connection(stoa: Stoa, service: Service, admin: Person, parcelnet: str) -> None:
    person = user_of(stoa, admin, parcelnet, "find")
    service.lasts_s = 30
    connected(stoa, service, person, "parcelnet")
    service.answers["/token"] = (503, b"later")
    failed = run(person, "parcelnet", "find", {"id": "p1"})
    assert (failed.status_code, failed.json()["code"]) == (500, "upstream_failed")
    assert person.client.get("/api/v1/integrations/parcelnet/auth").json()["deadCount"] == 0
    del service.answers["/token"]
    assert run(person, "parcelnet", "find", {"id": "p1"}).json()["ok"] is True


def test_somebody_disabled_meanwhile_is_not_connected(
    stoa: Stoa, service: Service, admin: Person, parcelnet: str
) -> None:
    person = user_of(stoa, admin, parcelnet)
    back = service.agreed(begun(person, "parcelnet"))
    stoa.sql("UPDATE stoa.users SET disabled_at = now() WHERE id = $1::uuid", person.id)
    assert stoa.client().get(CALLBACK, params=back).status_code == 400
    assert stoa.sql("SELECT id FROM stoa.integration_connections WHERE user_id = $1::uuid", person.id) == []


def test_a_named_configuration_is_who_we_are_where_it_is_asked_for(
    stoa: Stoa, service: Service, admin: Person, parcelnet: str
) -> None:
    path = f"/api/v1/integrations/{parcelnet}/configs"
    made = admin.client.post(path, json={"label": "north", "credentials": {"clientId": "north-client"}}).json()
    assert set(made) == {"id", "label"}
    assert [(row["id"], row["label"], row["configured"]) for row in admin.client.get(path).json()] == [
        (made["id"], "north", True)
    ]
    person = user_of(stoa, admin, parcelnet, "find")
    url = begun(person, parcelnet, config_id=made["id"])
    assert dict(parse_qsl(urlsplit(url).query))["client_id"] == "north-client"
    unknown = person.client.post(f"/api/v1/integrations/{parcelnet}/auth/start", params={"config_id": person.id})
    assert unknown.status_code == 404
    connected(stoa, service, person, parcelnet, config_id=made["id"])
    assert service.tokens[-1]["client_id"] == "north-client"
    in_use = admin.client.delete(f"{path}/{made['id']}")
    assert (in_use.status_code, in_use.json()["code"]) == (400, "invalid_input")
    assert person.client.delete(f"/api/v1/integrations/{parcelnet}/auth").json() == {"message": "disconnected"}
    assert admin.client.delete(f"{path}/{made['id']}").json() == {"message": "config deleted"}
    assert stoa.sql("SELECT key FROM stoa.secrets WHERE scope = $1", f"integration_config:{made['id']}") == []
    assert person.client.post(path, json={"label": "x", "credentials": {}}).status_code == 403
