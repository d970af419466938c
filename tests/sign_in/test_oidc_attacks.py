"""Providers, browsers and tokens that do as they should not: nobody is signed in, and nothing is left of it."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from tests.harness import Databases, Person, Stoa, at_once, running
from tests.sign_in.browser import BASE, Browser, saved
from tests.sign_in.provider import CLIENT_ID, SECRET, Provider, providing


def left_behind(stoa: Stoa) -> dict[str, int]:
    """How many rows there are of all that a sign-in makes."""
    tables = ("users", "sessions", "external_identities", "session_nonces", "role_assignments")
    return {name: stoa.sql(f"SELECT count(*) AS n FROM stoa.{name}")[0]["n"] for name in tables}


def refused(browser: Browser, stoa: Stoa, back: dict[str, str], *says: str, **headers: str) -> str:
    """The text of a sign-in that is 401 and leaves nothing behind."""
    before = left_behind(stoa)
    answer = browser.come_back(back, **headers)
    assert answer.status_code == 401, answer.text
    assert left_behind(stoa) == before
    text: str = answer.json()["error"]
    assert [part for part in says if part not in text] == [], text
    return text


# The state.


def test_a_state_is_good_once(browser: Browser, provider: Provider, stoa: Stoa) -> None:
    begun = browser.begin()
    assert browser.come_back(provider.granted(begun)).status_code == 200
    refused(browser, stoa, provider.granted(begun), "invalid state")


def test_a_state_is_used_up_by_a_failure(browser: Browser, provider: Provider, stoa: Stoa) -> None:
    begun = browser.begin()
    back = provider.granted(begun)
    refused(browser, stoa, {**back, "code": "guessed"}, "sign-in failed", "invalid_grant")
    refused(browser, stoa, back, "invalid state")


def test_of_many_that_come_back_with_one_state_one_gets_in(browser: Browser, provider: Provider, stoa: Stoa) -> None:
    begun = browser.begin()
    backs = [provider.granted(begun) for _ in range(12)]
    clients = [stoa.client() for _ in backs]
    before = left_behind(stoa)["sessions"]
    answers = at_once(
        [
            lambda client=client, back=back: client.get(browser.callback, params=back)
            for client, back in zip(clients, backs, strict=True)
        ]
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 11
    assert left_behind(stoa)["sessions"] == before + 1


def test_a_state_lives_for_ten_minutes(browser: Browser, provider: Provider, stoa: Stoa) -> None:
    back = provider.granted(browser.begin())
    life = "SELECT extract(epoch FROM max(expires_at) - now())::int AS s FROM stoa.sign_in_attempts"
    assert 590 <= stoa.sql(life)[0]["s"] <= 600
    stoa.sql("UPDATE stoa.sign_in_attempts SET expires_at = now()")
    refused(browser, stoa, back, "invalid state")


@pytest.mark.parametrize("state", ["A" * 43, "short", "", "a" * 5000, "../" * 14 + "x", "ü" * 43])
def test_a_foreign_state_is_nobodys(browser: Browser, provider: Provider, stoa: Stoa, state: str) -> None:
    refused(browser, stoa, {**provider.granted(browser.begin()), "state": state}, "invalid state")


def test_a_state_of_another_provider_does_not_lead_to_it(
    browser: Browser, provider: Provider, admin: Person, stoa: Stoa
) -> None:
    """The code of one provider with the state of another: the code goes to the provider that was asked, or nowhere."""
    with providing() as attacker:
        saved(admin, attacker, "attacker")
        honest, malicious = browser.begin(), browser.begin("attacker")
        crossed = {**attacker.granted(malicious, email="admin"), "state": provider.granted(honest)["state"]}
        refused(browser, stoa, crossed, "invalid_grant")
        assert attacker.tokens == []
        stolen = {**provider.granted(browser.begin()), "state": attacker.granted(malicious)["state"]}
        refused(browser, stoa, stolen, "invalid_grant")
        assert [asked.get("code") for asked in attacker.tokens] == [stolen["code"]]
        assert provider.tokens[-1]["code"] == crossed["code"]
        admin.client.delete(f"{BASE}/providers/attacker")


def test_a_provider_that_was_taken_away_meanwhile_signs_nobody_in(
    browser: Browser, provider: Provider, admin: Person, stoa: Stoa
) -> None:
    saved(admin, provider, "fading")
    first, second = (provider.granted(browser.begin("fading")) for _ in range(2))
    saved(admin, provider, "fading", enabled=False)
    refused(browser, stoa, first, "invalid state")
    saved(admin, provider, "fading")
    assert admin.client.delete(f"{BASE}/providers/fading", params={"force": "true"}).status_code == 200
    refused(browser, stoa, second, "invalid state")


# Whose browser it is.


def test_a_browser_is_not_signed_in_as_who_sent_it(browser: Browser, provider: Provider, stoa: Stoa) -> None:
    attackers = Browser(stoa)
    refused(browser, stoa, provider.granted(attackers.begin()), "another browser")  # it has no cookie
    browser.begin()
    refused(browser, stoa, provider.granted(attackers.begin()), "another browser")  # it has one of its own
    forged = {"cookie": "stoa_sign_in=" + "A" * 43}
    refused(Browser(stoa), stoa, provider.granted(attackers.begin()), "another browser", **forged)


def test_two_windows_of_one_browser_do_not_disturb_each_other(browser: Browser, provider: Provider) -> None:
    backs = [provider.granted(browser.begin()) for _ in range(3)]
    assert [browser.come_back(back).status_code for back in backs] == [200] * 3


def test_who_is_no_browser_needs_no_cookie(browser: Browser, provider: Provider, stoa: Stoa) -> None:
    back = provider.granted(browser.begin())
    assert stoa.client().get(browser.callback, params=back).status_code == 200


# Who answers.


def test_another_issuer_in_the_answer_is_a_mix_up(browser: Browser, provider: Provider, stoa: Stoa) -> None:
    back = provider.granted(browser.begin())
    refused(browser, stoa, {**back, "iss": "https://attacker.example"}, "another provider answered")
    assert provider.tokens == []
    assert browser.come_back({**provider.granted(browser.begin()), "iss": provider.url}).status_code == 200


def test_an_issuer_that_is_announced_must_be_there(
    browser: Browser, provider: Provider, admin: Person, stoa: Stoa
) -> None:
    provider.discovery = {"authorization_response_iss_parameter_supported": True}
    saved(admin, provider)
    refused(browser, stoa, provider.granted(browser.begin()), "did not say who it is")
    assert provider.tokens == []


def test_what_the_provider_refuses_is_told(browser: Browser, provider: Provider, stoa: Stoa) -> None:
    state = provider.granted(browser.begin())["state"]
    refused(browser, stoa, {"state": state, "error": "access_denied"}, "the provider refused: access_denied")
    refused(browser, stoa, {"state": provider.granted(browser.begin())["state"]}, "there is no code")


# ID tokens.

NOW = int(time.time())

WRONG_CLAIMS: dict[str, tuple[dict[str, Any], str]] = {
    "another nonce": ({"nonce": "A" * 43}, "another sign-in"),
    "no nonce": ({"nonce": None}, "another sign-in"),
    "a nonce that is no text": ({"nonce": 1}, "another sign-in"),
    "another audience": ({"aud": "another client"}, "another client"),
    "an audience that begins alike": ({"aud": CLIENT_ID + "x"}, "another client"),
    "no audience": ({"aud": None}, "another client"),
    "an empty audience": ({"aud": []}, "another client"),
    "several audiences and nobody named": ({"aud": [CLIENT_ID, "other"]}, "another client"),
    "issued to another client": ({"azp": "other"}, "another client"),
    "several audiences, issued to another": ({"aud": [CLIENT_ID, "other"], "azp": "other"}, "another client"),
    "another issuer": ({"iss": "https://attacker.example"}, "another issuer"),
    "an issuer with a slash more": ({"iss": "SLASH"}, "another issuer"),
    "no issuer": ({"iss": None}, "another issuer"),
    "expired": ({"exp": NOW - 3600}, "expired"),
    "no end": ({"exp": None}, "how long"),
    "an end that is no number": ({"exp": "tomorrow"}, "no moment"),
    "an end that is true": ({"exp": True}, "no moment"),
    "an end that is NaN": ({"exp": float("nan")}, "no moment"),
    "an end in milliseconds": ({"exp": NOW * 1000}, "no moment"),
    "no beginning": ({"iat": None}, "how long"),
    "issued tomorrow": ({"iat": NOW + 86_400}, "not good yet"),
    "good from tomorrow": ({"nbf": NOW + 86_400, "exp": NOW + 90_000}, "not good yet"),
    "about nobody": ({"sub": None}, "nobody"),
    "about a number": ({"sub": 7}, "nobody"),
    "about an empty text": ({"sub": ""}, "nobody"),
    "about a very long text": ({"sub": "s" * 256}, "nobody"),
    "an access token": ({"typ": "Bearer"}, "another kind"),
}


@pytest.mark.parametrize("wrong", WRONG_CLAIMS)
def test_claims_that_are_not_for_us(browser: Browser, provider: Provider, stoa: Stoa, wrong: str) -> None:
    claims, says = WRONG_CLAIMS[wrong]
    provider.claims = {name: provider.url + "/" if value == "SLASH" else value for name, value in claims.items()}
    refused(browser, stoa, provider.granted(browser.begin()), says)


GOOD_CLAIMS: dict[str, Callable[[float], dict[str, Any]]] = {
    "one audience in a list": lambda _: {"aud": [CLIENT_ID]},
    "several audiences, issued to us": lambda _: {"aud": ["other", CLIENT_ID], "azp": CLIENT_ID},
    "a clock that is half a minute late": lambda now: {"iat": now - 330, "exp": now - 30},
    "an ID token, as Keycloak says": lambda _: {"typ": "ID"},
}


@pytest.mark.parametrize("good", GOOD_CLAIMS)
def test_claims_that_are_unusual_and_good(browser: Browser, provider: Provider, good: str) -> None:
    provider.claims = GOOD_CLAIMS[good](time.time())
    assert browser.come_back(provider.granted(browser.begin())).status_code == 200


def unsigned(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> str:
    parts = [json.dumps(part).encode() for part in (header, claims)] + [signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def claims_for(provider: Provider, begun: str) -> dict[str, Any]:
    """Claims that would be good."""
    nonce = httpx.URL(begun).params["nonce"]
    needed = {"iss": provider.url, "aud": CLIENT_ID, "sub": "sub-1", "iat": NOW, "exp": NOW + 300}
    return {**needed, "email": "ann@example.com", "nonce": nonce}


def _with_none(provider: Provider, claims: dict[str, Any], alg: str = "none") -> str:
    return unsigned({"alg": alg}, claims, b"" if alg == "none" else b"x")


def _with_the_public_key_as_secret(provider: Provider, claims: dict[str, Any]) -> str:
    key_id, key = next(iter(provider.keys.items()))
    head = unsigned({"alg": "HS256", "kid": key_id}, claims).rpartition(".")[0]
    mac = hmac.digest(key.as_pem(private=False), head.encode(), "sha256")
    return f"{head}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def _with_our_secret(provider: Provider, claims: dict[str, Any]) -> str:
    head = unsigned({"alg": "HS256"}, claims).rpartition(".")[0]
    mac = hmac.digest(SECRET.encode(), head.encode(), hashlib.sha256)
    return f"{head}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def _by_a_stranger(provider: Provider, claims: dict[str, Any], **header: Any) -> str:
    """Signed with a key of nobody's, under the name of the provider's."""
    stranger = RSAKey.generate_key(2048)
    return jwt.encode({"alg": "RS256", "kid": next(iter(provider.keys)), **header}, claims, stranger)


def _by_a_key_in_the_header(provider: Provider, claims: dict[str, Any]) -> str:
    stranger = RSAKey.generate_key(2048)
    header = {"alg": "RS256", "jwk": stranger.as_dict(private=False)}
    return jwt.encode(header, claims, stranger)


def _by_another_algorithm(provider: Provider, claims: dict[str, Any]) -> str:
    key_id, key = next(iter(provider.keys.items()))
    return jwt.encode({"alg": "RS512", "kid": key_id}, claims, key, algorithms=["RS512"])


def _of_another_type(provider: Provider, claims: dict[str, Any]) -> str:
    key_id, key = next(iter(provider.keys.items()))
    return jwt.encode({"alg": "RS256", "kid": key_id, "typ": "at+jwt"}, claims, key)


def _changed_afterwards(provider: Provider, claims: dict[str, Any]) -> str:
    head, _, tail = provider.signed(**claims).split(".")
    body = json.dumps({**claims, "email": "admin@example.com"}).encode()
    return f"{head}.{base64.urlsafe_b64encode(body).rstrip(b'=').decode()}.{tail}"


FORGERIES: dict[str, Callable[[Provider, dict[str, Any]], str]] = {
    "none": _with_none,
    "None": lambda provider, claims: _with_none(provider, claims, "None"),
    "no algorithm": lambda provider, claims: unsigned({}, claims, b"x"),
    "an algorithm that is a list": lambda provider, claims: unsigned({"alg": ["RS256"]}, claims, b"x"),
    "the public key as a secret": _with_the_public_key_as_secret,
    "our client secret": _with_our_secret,
    "a stranger's key": _by_a_stranger,
    "a stranger's key by a name that is nobody's": lambda p, c: _by_a_stranger(p, c, kid="../../dev/null"),
    "a stranger's key that is to be fetched": lambda p, c: _by_a_stranger(p, c, jku="http://127.0.0.1:9/keys"),
    "a key in the header": _by_a_key_in_the_header,
    "an algorithm the provider does not use": _by_another_algorithm,
    "another type": _of_another_type,
    "changed after it was signed": _changed_afterwards,
    "a header we must understand": lambda p, c: _by_a_stranger(p, c, crit=["kid"]),
    "nothing": lambda provider, claims: "",
    "no token": lambda provider, claims: "a.b",
    "five parts": lambda provider, claims: "a.b.c.d.e",
    "a very long one": lambda provider, claims: "a" * 20_000 + ".b.c",
    "no JSON": lambda provider, claims: "YQ.YQ.YQ",
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_forged_tokens(browser: Browser, provider: Provider, stoa: Stoa, forgery: str) -> None:
    begun = browser.begin()
    provider.id_token = FORGERIES[forgery](provider, claims_for(provider, begun)) or " "
    asked = len(provider.asked)
    refused(browser, stoa, provider.granted(begun), "sign-in failed")
    assert set(provider.asked[asked:]) <= {"POST /token", "GET /keys"}
    exchanged = {"providerId": "acme", "idToken": provider.id_token}
    assert browser.client.post(f"{BASE}/token-exchange", json=exchanged).status_code == 401


def test_no_id_token_is_no_sign_in(browser: Browser, provider: Provider, stoa: Stoa) -> None:
    for told in (b"{}", b'{"id_token": 7}', b"[]", b"not json", b"\xff", b"", b'{"id_token": null}'):
        provider.answers = {"/token": (200, told)}
        refused(browser, stoa, provider.granted(browser.begin()), "sign-in failed")
    provider.answers = {"/token": (302, b"")}
    refused(browser, stoa, provider.granted(browser.begin()), "sign-in failed")
    provider.answers = {"/token": (200, b'{"id_token": "' + b"a" * 2**20 + b'"}')}
    refused(browser, stoa, provider.granted(browser.begin()), "more than")


def test_what_the_provider_says_of_an_error_is_not_passed_on_as_it_is(
    browser: Browser, provider: Provider, stoa: Stoa
) -> None:
    provider.answers = {"/token": (400, b'{"error": "<script>alert(1)</script>", "error_description": "canary"}')}
    text = refused(browser, stoa, provider.granted(browser.begin()), "status 400")
    assert "script" not in text
    assert "canary" not in text


# Keys.


@pytest.mark.parametrize(("kind", "algorithm"), [("EC", "ES256"), ("OKP", "EdDSA"), ("RSA", "RS256")])
def test_keys_of_every_kind(browser: Browser, provider: Provider, kind: str, algorithm: str) -> None:
    provider.rotate(kind)
    provider.algorithm = algorithm
    assert browser.come_back(provider.granted(browser.begin())).status_code == 200


def test_new_keys_are_looked_for_once_in_a_while(browser: Browser, provider: Provider, stoa: Stoa) -> None:
    assert browser.come_back(provider.granted(browser.begin())).status_code == 200
    assert browser.come_back(provider.granted(browser.begin())).status_code == 200
    assert provider.asked.count("GET /keys") == 1
    provider.rotate()
    assert browser.come_back(provider.granted(browser.begin())).status_code == 200
    assert provider.asked.count("GET /keys") == 2
    provider.rotate()  # so soon that it is not worth another look: unknown keys must not make us a nuisance
    for _ in range(3):
        refused(browser, stoa, provider.granted(browser.begin()), "a key the provider does not have")
    assert provider.asked.count("GET /keys") == 2


def test_a_token_that_names_no_key_must_leave_no_doubt(browser: Browser, provider: Provider, stoa: Stoa) -> None:
    provider.header = {"kid": None}
    assert browser.come_back(provider.granted(browser.begin())).status_code == 200
    stoa.app.platform.ports.open_id._providers.clear()
    old = dict(provider.keys)
    provider.rotate()
    provider.keys |= old
    refused(browser, stoa, provider.granted(browser.begin()), "which key")


def test_keys_that_are_not_for_signing_sign_nothing(browser: Browser, provider: Provider, stoa: Stoa) -> None:
    key_id, key = next(iter(provider.keys.items()))
    public = key.as_dict(private=False)
    secret = base64.urlsafe_b64encode(b"k" * 32).decode()
    for wrong in (
        {**public, "use": "enc"},
        {**public, "alg": "RS384"},
        {"kty": "oct", "kid": key_id, "k": secret},
        {"kty": "RSA", "kid": key_id, "n": "AQAB"},
        {"kty": "none", "kid": key_id},
        "not a key",
    ):
        stoa.app.platform.ports.open_id._providers.clear()
        provider.answers = {"/keys": (200, json.dumps({"keys": [wrong]}).encode())}
        refused(browser, stoa, provider.granted(browser.begin()), "a key the provider does not have")
    for broken in (b"{}", b'{"keys": 7}', b"[]", b"no json"):
        stoa.app.platform.ports.open_id._providers.clear()
        provider.answers = {"/keys": (200, broken)}
        refused(browser, stoa, provider.granted(browser.begin()), "sign-in failed")


# Providers that are away, or slow.


def test_a_provider_that_is_away_is_said_to_be(browser: Browser, admin: Person, stoa: Stoa) -> None:
    with providing() as gone:
        saved(admin, gone, "gone")
        back = gone.granted(browser.begin("gone"))
    assert browser.begin("gone").startswith(gone.url)  # what it said of itself is remembered
    refused(browser, stoa, back, "sign-in failed", "connection was refused")
    stoa.app.platform.ports.open_id._providers.clear()
    before = left_behind(stoa)
    answer = browser.client.get(f"{BASE}/gone/authorize")
    assert answer.status_code == 500
    assert answer.json()["error"] == "provider 'gone': 127.0.0.1 cannot be reached (the connection was refused)"
    assert left_behind(stoa) == before
    assert admin.client.delete(f"{BASE}/providers/gone").status_code == 200


@pytest.fixture
def narrow(databases: Databases, valkey_url: str, tmp_path: Path) -> Iterator[Stoa]:
    """A server with two connections to its database."""
    with running(databases.new(), valkey_url, tmp_path, database_connections=2) as server:
        yield server


def test_a_slow_provider_keeps_nobody_else_waiting(narrow: Stoa) -> None:
    admin = narrow.person()
    with providing() as slow:
        saved(admin, slow)
        browsers = [Browser(narrow) for _ in range(8)]
        backs = [slow.granted(browser.begin()) for browser in browsers]
        answer = slow.answer

        def slowly(method: str, path: str, body: bytes, headers: Any) -> tuple[int, bytes]:
            time.sleep(0.8)
            return answer(method, path, body, headers)

        slow.answer = slowly  # type: ignore[method-assign]

        def ask() -> float:
            time.sleep(0.3)
            began = time.monotonic()
            assert [admin.client.get("/api/v1/users").status_code for _ in range(5)] == [200] * 5
            return time.monotonic() - began

        works: list[Callable[[], Any]] = [
            lambda browser=browser, back=back: browser.come_back(back).status_code
            for browser, back in zip(browsers, backs, strict=True)
        ]
        *statuses, took_s = at_once([*works, ask])
    assert statuses == [200] * 8
    assert took_s < 0.7
