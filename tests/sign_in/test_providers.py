"""The providers an administrator makes known: what is taken, what is kept, and where nothing is ever asked."""

import base64
import socket
from typing import Any
from urllib.parse import quote

import pytest

from tests import build
from tests.harness import Person, Stoa
from tests.sign_in.browser import BASE, Browser, saved
from tests.sign_in.provider import CLIENT_ID, SECRET, Provider, providing

PROVIDERS = f"{BASE}/providers"


def save(admin: Person, provider: Provider, **changes: Any) -> Any:
    """The answer to a provider with some parts changed; None takes a part away."""
    draft = {"id": "tried", "displayName": "Tried", "issuerUrl": provider.url, "clientId": CLIENT_ID}
    draft = {name: value for name, value in {**draft, **changes}.items() if value is not None}
    return admin.client.post(PROVIDERS, json=draft)


def stored(stoa: Stoa) -> list[dict[str, Any]]:
    return stoa.sql("SELECT * FROM stoa.identity_providers ORDER BY id")


def test_defaults_and_what_is_over_them(admin: Person, provider: Provider) -> None:
    ask = "{ oidcProviders { id displayName scopes autoRegister defaultRole roleClaim enabled issuerUrl clientId } }"
    assert save(admin, provider).json() == {"message": "provider 'tried' saved"}
    told = {row["id"]: row for row in admin.data(ask)["oidcProviders"]}["tried"]
    assert told == {
        "id": "tried",
        "displayName": "Tried",
        "scopes": ["openid", "email", "profile"],
        "autoRegister": True,
        "defaultRole": "base",
        "roleClaim": None,
        "enabled": True,
        "issuerUrl": provider.url,
        "clientId": CLIENT_ID,
    }
    changes = {"scopes": ["email", "groups", "email"], "autoRegister": False, "roleClaim": "job", "enabled": False}
    assert save(admin, provider, **changes).status_code == 200
    told = {row["id"]: row for row in admin.data(ask)["oidcProviders"]}["tried"]
    assert (told["scopes"], told["autoRegister"], told["roleClaim"], told["enabled"]) == (
        ["openid", "email", "groups"],
        False,
        "job",
        False,
    )
    assert admin.client.delete(f"{PROVIDERS}/tried").json() == {"message": "provider 'tried' deleted"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", ""),
        ("id", " "),
        ("id", "a\nb"),
        ("id", "x" * 256),
        ("id", None),
        ("displayName", ""),
        ("displayName", None),
        ("clientId", ""),
        ("clientId", 7),
        ("clientSecret", 7),
        ("issuerUrl", ""),
        ("issuerUrl", "acme.example"),
        ("issuerUrl", "http://acme.example"),
        ("issuerUrl", "http://localhost.evil.example"),
        ("issuerUrl", "ftp://acme.example"),
        ("issuerUrl", "https://user@acme.example"),
        ("issuerUrl", "https://acme.example/?a=b"),
        ("issuerUrl", "https://acme.example/#a"),
        ("issuerUrl", "https://"),
        ("scopes", ["two words"]),
        ("scopes", ['quo"te']),
        ("scopes", [f"scope{number}" for number in range(40)]),
        ("scopes", "openid"),
        ("defaultRole", ""),
        ("roleClaim", ""),
        ("autoRegister", "yes"),
    ],
)
def test_what_is_not_taken(admin: Person, provider: Provider, stoa: Stoa, field: str, value: Any) -> None:
    before, asked = stored(stoa), len(provider.asked)
    answer = save(admin, provider, **{field: value})
    assert (answer.status_code, answer.json()["field"].partition(".")[0]) == (400, field)
    assert stored(stoa) == before
    assert len(provider.asked) == asked


def test_only_an_administrator(admin: Person, provider: Provider, stoa: Stoa) -> None:
    guest = build.reader(stoa, admin, "admin:secrets.manage", "auth.invite", "app:*")
    before = stored(stoa)
    assert save(guest, provider).status_code == 403
    assert guest.client.delete(f"{PROVIDERS}/acme").status_code == 403
    assert guest.code("{ oidcProviders { id } }") == "FORBIDDEN"
    assert stoa.client().post(PROVIDERS, json={}).status_code == 401
    assert stoa.client().delete(f"{PROVIDERS}/acme").status_code == 401
    assert stored(stoa) == before


DOCUMENTS: dict[str, dict[str, Any]] = {
    "another issuer": {"issuer": "https://attacker.example"},
    "no issuer": {"issuer": None},
    "no authorization endpoint": {"authorization_endpoint": None},
    "an endpoint that is no URL": {"token_endpoint": "javascript:alert(1)"},
    "an endpoint that is a list": {"token_endpoint": ["https://acme.example"]},
    "an endpoint without https elsewhere": {"token_endpoint": "http://acme.example/token"},
    "an endpoint with a user": {"jwks_uri": "https://user@acme.example/"},
    "a broken endpoint": {"jwks_uri": "https://[::1/"},
    "no code flow": {"response_types_supported": ["id_token"]},
    "no S256": {"code_challenge_methods_supported": ["plain"]},
    "methods that are no list": {"code_challenge_methods_supported": "S256"},
}


@pytest.mark.parametrize("wrong", DOCUMENTS)
def test_a_document_that_cannot_be_used(admin: Person, provider: Provider, stoa: Stoa, wrong: str) -> None:
    before = stored(stoa)
    provider.discovery = DOCUMENTS[wrong]
    answer = save(admin, provider)
    assert (answer.status_code, answer.json()["field"]) == (400, "issuerUrl")
    assert stored(stoa) == before


@pytest.mark.parametrize(
    "answer", [(404, b""), (500, b"{}"), (302, b"{}"), (200, b"no json"), (200, b"[]"), (200, b"")]
)
def test_a_document_that_is_none(admin: Person, provider: Provider, stoa: Stoa, answer: tuple[int, bytes]) -> None:
    before = stored(stoa)
    provider.answers = {"/.well-known/openid-configuration": answer}
    assert save(admin, provider).status_code == 400
    assert stored(stoa) == before


def test_a_slash_at_the_end_of_the_issuer_is_no_other_issuer(
    admin: Person, provider: Provider, browser: Browser
) -> None:
    """What a provider calls itself counts; people write its address with a slash or without."""
    assert save(admin, provider, issuerUrl=provider.url + "/", clientSecret=SECRET).status_code == 200
    assert browser.come_back(provider.granted(browser.begin("tried"))).status_code == 200


INWARD = [
    "https://10.0.0.1",
    "https://169.254.169.254/latest",
    "https://192.168.1.1:8443",
    "https://[::1]:{port}",
    "https://[fd00::1]",
    "https://[::ffff:127.0.0.1]:{port}",
    "https://2130706433:{port}",
    "https://127.0.0.2:{port}",
    "https://localhost.:{port}",
    "https://8.8.8.8:22",
]


@pytest.mark.parametrize("url", INWARD)
def test_no_issuer_leads_inward(admin: Person, provider: Provider, stoa: Stoa, url: str) -> None:
    """`localhost` and `127.0.0.1` do, where the issuer says so itself: RootCX allows it. Nothing else."""
    before = stored(stoa)
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
        answer = save(admin, provider, issuerUrl=url.format(port=listener.getsockname()[1]))
        assert (answer.status_code, answer.json()["field"]) == (400, "issuerUrl")
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert stored(stoa) == before


def test_what_a_document_points_to_is_guarded_as_well(
    admin: Person, provider: Provider, browser: Browser, stoa: Stoa
) -> None:
    provider.discovery = {"token_endpoint": "https://169.254.169.254/token"}
    assert save(admin, provider).status_code == 200
    answer = browser.come_back(provider.granted(browser.begin("tried")))
    assert (answer.status_code, "not a public address" in answer.json()["error"]) == (401, True)
    with providing("localhost") as named:
        named.discovery = {"jwks_uri": "https://10.0.0.1/keys"}
        assert save(admin, named, clientSecret=SECRET).status_code == 200
        answer = browser.come_back(named.granted(browser.begin("tried")))
        assert (answer.status_code, "not a public address" in answer.json()["error"]) == (401, True)
        assert len(named.tokens) == 1


# The client secret.


@pytest.mark.parametrize(
    ("methods", "basic"),
    [(None, True), (["client_secret_basic", "client_secret_post"], True), (["client_secret_post"], False)],
)
def test_the_secret_goes_as_the_provider_wants_it(
    admin: Person, provider: Provider, browser: Browser, methods: list[str] | None, basic: bool
) -> None:
    provider.discovery = {} if methods is None else {"token_endpoint_auth_methods_supported": methods}
    saved(admin, provider)
    assert browser.come_back(provider.granted(browser.begin())).status_code == 200
    asked = provider.tokens[-1]
    pair = f"{CLIENT_ID}:s3cret%3A+with%2Fodd%2Bcharacters"
    if basic:
        assert base64.b64decode(asked["authorization"].removeprefix("Basic ")).decode() == pair
        assert not {"client_id", "client_secret"} & asked.keys()
    else:
        assert (asked["authorization"], asked["client_id"], asked["client_secret"]) == ("", CLIENT_ID, SECRET)


def test_without_a_secret_we_are_a_public_client(admin: Person, provider: Provider, browser: Browser) -> None:
    assert save(admin, provider, id="public").status_code == 200
    assert browser.come_back(provider.granted(browser.begin("public"))).status_code == 200
    asked = provider.tokens[-1]
    assert (asked["authorization"], asked["client_id"], "client_secret" in asked) == ("", CLIENT_ID, False)
    assert admin.client.delete(f"{PROVIDERS}/public", params={"force": "true"}).status_code == 200


def test_the_secret_is_kept_when_it_is_left_out_and_goes_with_the_provider(
    admin: Person, provider: Provider, browser: Browser, stoa: Stoa
) -> None:
    def kept() -> list[int]:
        return [row["version"] for row in stoa.sql("SELECT version FROM stoa.secrets WHERE scope = 'oidc:tried'")]

    admin.client.delete(f"{PROVIDERS}/tried", params={"force": "true"})
    assert save(admin, provider, clientSecret=SECRET).status_code == 200
    assert kept() == [1]
    assert save(admin, provider, displayName="Renamed").status_code == 200
    assert kept() == [1]
    assert browser.come_back(provider.granted(browser.begin("tried"))).status_code == 200
    assert provider.tokens[-1]["authorization"].startswith("Basic ")
    assert admin.client.delete(f"{PROVIDERS}/tried", params={"force": "true"}).status_code == 200
    assert kept() == []


def test_the_secret_is_nowhere_to_be_read(
    admin: Person, provider: Provider, stoa: Stoa, capfd: pytest.CaptureFixture[str]
) -> None:
    canary = "canary-5f2c9e"
    refused = save(admin, provider, clientSecret=canary, scopes=["two words"])
    taken = save(admin, provider, clientSecret=canary)
    wrong = save(admin, provider, clientSecret=[canary])
    assert [answer.status_code for answer in (refused, taken, wrong)] == [400, 200, 400]
    told = admin.client.post("/graphql", json={"query": "{ oidcProviders { id clientId } }"}).text
    entries = admin.client.get("/api/v1/audit").text
    everything = [answer.text for answer in (refused, taken, wrong)] + [told, entries, *capfd.readouterr()]
    tables = [row["name"] for row in stoa.sql("SELECT tablename AS name FROM pg_tables WHERE schemaname = 'stoa'")]
    for table in tables:
        everything += [row["row"] for row in stoa.sql(f"SELECT t::text AS row FROM stoa.{table} t")]
    assert [text for text in everything if canary in text or canary.encode().hex() in text] == []


# Deleting.


def test_a_provider_with_accounts_is_deleted_by_force_only(
    admin: Person, provider: Provider, browser: Browser, stoa: Stoa
) -> None:
    assert save(admin, provider).status_code == 200
    told = browser.signed_in(provider, "tried", sub="kept", email="kept@example.com")
    kept = browser.me(told["accessToken"])
    answer = admin.client.delete(f"{PROVIDERS}/tried")
    assert (answer.status_code, "linked" in answer.json()["error"]) == (400, True)
    assert [row["id"] for row in stored(stoa)].count("tried") == 1
    assert admin.client.delete(f"{PROVIDERS}/tried", params={"force": "true"}).status_code == 200
    assert stoa.sql("SELECT 1 FROM stoa.external_identities WHERE provider_id = 'tried'") == []
    assert browser.me(told["accessToken"]) == kept
    answer = admin.client.delete(f"{PROVIDERS}/tried")
    assert (answer.status_code, answer.json()["error"]) == (404, "provider 'tried' not found")


def test_an_id_may_be_any_text(admin: Person, provider: Provider, browser: Browser) -> None:
    id = "a b/c%2F?ü"
    assert save(admin, provider, id=id).status_code == 200
    assert browser.begin(quote(id, safe="")).startswith(provider.url)
    assert id in [row["id"] for row in browser.client.get(PROVIDERS).json()]
    assert admin.client.delete(f"{PROVIDERS}/{quote(id, safe='')}").status_code == 200


def test_the_audit_log_tells_who_changed_what(admin: Person, provider: Provider) -> None:
    admin.client.delete(f"{PROVIDERS}/tried", params={"force": "true"})
    for step in (lambda: save(admin, provider), lambda: save(admin, provider, displayName="Renamed")):
        assert step().status_code == 200
    assert admin.client.delete(f"{PROVIDERS}/tried").status_code == 200
    asked = {"app_id": "_platform", "entity": "identity_providers", "limit": "3"}
    entries = admin.client.get("/api/v1/audit", params=asked).json()
    assert [(entry["operation"], entry["record_id"], entry["actor_uid"]) for entry in entries] == [
        (operation, "tried", admin.id) for operation in ("DELETE", "UPDATE", "INSERT")
    ]
    assert entries[1]["new_record"]["display_name"] == "Renamed"
