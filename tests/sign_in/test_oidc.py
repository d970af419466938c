"""Signing in by an OpenID provider that does as it should: there and back, and whose account it is."""

import itertools
import re
from typing import Any

import httpx
import pytest

from tests import build
from tests.harness import PASSWORD, Person, Stoa, at_once
from tests.sign_in.browser import BASE, Browser, query_of, saved
from tests.sign_in.provider import CLIENT_ID, Provider, providing

TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
EXCHANGE = "/api/v1/auth/nonce-exchange"

_numbers = itertools.count(1)


def person(**claims: Any) -> dict[str, Any]:
    """Claims of somebody nobody has heard of."""
    number = next(_numbers)
    return {"sub": f"sub-{number}", "email": f"person-{number}@example.com", **claims}


def roles(stoa: Stoa, user_id: str) -> list[str]:
    rows = stoa.sql("SELECT role FROM stoa.role_assignments WHERE user_id = $1::uuid ORDER BY role", user_id)
    return [row["role"] for row in rows]


def accounts(stoa: Stoa) -> int:
    return stoa.sql("SELECT count(*) AS n FROM stoa.users")[0]["n"]


# There.


def test_the_browser_is_sent_with_all_that_guards_its_way_back(
    browser: Browser, provider: Provider, stoa: Stoa
) -> None:
    answer = browser.client.get(f"{BASE}/acme/authorize")
    assert (answer.status_code, answer.content) == (307, b"")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    asked = query_of(answer.headers["location"])
    assert {name: asked[name] for name in asked if name not in ("state", "nonce", "code_challenge")} == {
        "flow": "web",
        "response_type": "code",
        "client_id": CLIENT_ID,
        "redirect_uri": f"{stoa.base_url}{BASE}/callback",
        "scope": "openid email profile",
        "code_challenge_method": "S256",
    }
    assert all(TOKEN.fullmatch(asked[name]) for name in ("state", "nonce", "code_challenge"))
    cookie = answer.headers["set-cookie"]
    assert re.fullmatch(
        r"stoa_sign_in=[A-Za-z0-9_-]{43}; HttpOnly; Max-Age=600; Path=/api/v1/auth/oidc; SameSite=Lax", cookie
    )
    stored = stoa.sql("SELECT t::text AS row FROM stoa.sign_in_attempts t")
    assert not [row for row in stored if asked["state"] in row["row"] or cookie[13:56] in row["row"]]


def test_nothing_is_the_same_twice(browser: Browser, provider: Provider) -> None:
    one, two = query_of(browser.begin()), query_of(browser.begin())
    assert not [name for name in ("state", "nonce", "code_challenge") if one[name] == two[name]]


def test_an_unknown_or_disabled_provider_is_404(browser: Browser, provider: Provider, admin: Person) -> None:
    saved(admin, provider, "asleep", enabled=False)
    for id in ("asleep", "nobody"):
        answer = browser.client.get(f"{BASE}/{id}/authorize")
        assert (answer.status_code, answer.json()["error"]) == (404, f"provider '{id}' not found")
    providers = browser.client.get(f"{BASE}/providers").json()
    assert providers == [{"id": "acme", "displayName": "Acme"}]
    assert browser.client.get("/api/v1/auth/mode").json()["providers"] == providers


def test_to_look_is_not_to_begin(browser: Browser, provider: Provider, stoa: Stoa) -> None:
    before = stoa.sql("SELECT count(*) AS n FROM stoa.sign_in_attempts")
    for path in (f"{BASE}/acme/authorize", f"{BASE}/callback?state=x"):
        answer = browser.client.head(path)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, OPTIONS")
    assert stoa.sql("SELECT count(*) AS n FROM stoa.sign_in_attempts") == before


GOOD_REDIRECTS = [
    "{public}/after?x=1",
    "http://localhost:3000/callback",
    "http://localhost/",
    "https://localhost:8443/a",
    "http://127.0.0.1:5173/",
    "http://127.8.9.1:1/",
    "http://[::1]:3000/x",
]
BAD_REDIRECTS = [
    "https://evil.example/",
    "http://localhost.evil.example/",
    "http://127.0.0.1.evil.example/",
    "{public}.evil.example/",
    "{public}@evil.example/",
    "http://localhost@evil.example/",
    "http://evil.example#@localhost/",
    "http://evil.example\\@localhost/",
    "http://localhost:80\\@evil.example/",
    "//localhost/",
    "/after",
    "localhost:3000",
    "javascript:alert(1)",
    "http:localhost/",
    "http:///localhost",
    "http://127.1/",
    "http://2130706433/",
    "http://0.0.0.0/",
    "http://[::ffff:127.0.0.1]/",
    "http://localhost:0/",
    "http://localhost:99999/",
    "http://localhost/ x",
    "http://localhost/\r\nset-cookie: a=b",
    "ftp://localhost/",
    "http://localhost/" + "a" * 2048,
    "",
]


@pytest.mark.parametrize("uri", GOOD_REDIRECTS)
def test_where_a_browser_may_go_on(browser: Browser, provider: Provider, stoa: Stoa, uri: str) -> None:
    uri = uri.format(public=stoa.base_url)
    answer = browser.come_back(provider.granted(browser.begin(redirect_uri=uri, token_delivery="nonce"), **person()))
    assert answer.status_code == 307
    assert answer.headers["location"].startswith(uri)


@pytest.mark.parametrize("uri", BAD_REDIRECTS)
def test_where_no_browser_is_sent(browser: Browser, provider: Provider, stoa: Stoa, uri: str) -> None:
    before = stoa.sql("SELECT count(*) AS n FROM stoa.sign_in_attempts")
    answer = browser.client.get(f"{BASE}/acme/authorize", params={"redirect_uri": uri.format(public=stoa.base_url)})
    assert answer.status_code == 400
    assert (answer.json()["code"], answer.json()["field"]) == ("invalid_input", "redirect_uri")
    assert stoa.sql("SELECT count(*) AS n FROM stoa.sign_in_attempts") == before


def test_a_browser_that_knows_this_machine_by_another_name_begins_under_the_public_one(
    browser: Browser, provider: Provider, stoa: Stoa
) -> None:
    """Or the cookie would stay with a name that the provider does not send it back to."""
    port = stoa.base_url.rpartition(":")[2]
    query = {"redirect_uri": "http://localhost:3000/?a=b", "token_delivery": "nonce"}
    answer = browser.client.get(f"http://localhost:{port}{BASE}/acme/authorize", params=query)
    assert answer.status_code == 307
    again = answer.headers["location"]
    assert again.startswith(f"{stoa.base_url}{BASE}/acme/authorize?")
    assert query_of(again) == query
    onward = browser.client.get(again)
    assert onward.headers["location"].startswith(provider.url)


@pytest.mark.parametrize("host", ["stoa.internal:8080", "[::1", "a]b{c", "", "%00"])
def test_whatever_a_proxy_calls_us_is_let_be(browser: Browser, provider: Provider, host: str) -> None:
    answer = browser.client.get(f"{BASE}/acme/authorize", headers={"host": host})
    assert answer.headers["location"].startswith(provider.url)


# And back.


def test_without_a_redirect_the_session_is_the_answer(browser: Browser, provider: Provider) -> None:
    claims = person(preferred_username="ann", name="Ann Example")
    answer = browser.come_back(provider.granted(browser.begin(), **claims))
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert "etag" not in answer.headers
    told = answer.json()
    assert (sorted(told), told["expiresIn"]) == (["accessToken", "expiresIn", "refreshToken"], 900)
    me = browser.me(told["accessToken"])
    assert (me["username"], me["email"], me["displayName"]) == (claims["email"], claims["email"], "ann")
    renewed = browser.client.post("/api/v1/auth/refresh", json={"refreshToken": told["refreshToken"]})
    assert renewed.status_code == 200


def test_a_nonce_is_taken_along_and_exchanged_once(browser: Browser, provider: Provider, stoa: Stoa) -> None:
    claims = person()
    back = provider.granted(browser.begin(redirect_uri="http://localhost:1/?a=b#c", token_delivery="nonce"), **claims)
    location = browser.come_back(back).headers["location"]
    found = re.fullmatch(r"http://localhost:1/\?a=b&auth_nonce=([A-Za-z0-9_-]{43})#c", location)
    assert found is not None
    nonce = found[1]
    assert not [row for row in stoa.sql("SELECT n::text AS row FROM stoa.session_nonces n") if nonce in row["row"]]
    clients = [stoa.client() for _ in range(20)]
    answers = at_once([lambda client=client: client.post(EXCHANGE, json={"nonce": nonce}) for client in clients])
    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 19
    told = next(answer.json() for answer in answers if answer.status_code == 200)
    assert (sorted(told), told["expiresIn"]) == (["accessToken", "expiresIn", "refreshToken"], 900)
    assert browser.me(told["accessToken"])["email"] == claims["email"]
    assert browser.client.post("/api/v1/auth/refresh", json={"refreshToken": told["refreshToken"]}).status_code == 200


def test_a_nonce_lives_for_half_a_minute(browser: Browser, provider: Provider, stoa: Stoa) -> None:
    begun = browser.begin(redirect_uri="http://localhost:1/", token_delivery="nonce")
    nonce = query_of(browser.come_back(provider.granted(begun, **person())).headers["location"])["auth_nonce"]
    life = stoa.sql("SELECT extract(epoch FROM max(expires_at) - now())::int AS s FROM stoa.session_nonces")[0]["s"]
    assert 25 <= life <= 30
    stoa.sql("UPDATE stoa.session_nonces SET expires_at = now()")
    for text in (nonce, "A" * 43, "short", ""):
        answer = browser.client.post(EXCHANGE, json={"nonce": text})
        assert (answer.status_code, answer.json()["error"][:13]) == (401, "invalid nonce")


def test_the_older_way_takes_the_tokens_along(browser: Browser, provider: Provider) -> None:
    claims = person()
    begun = browser.begin(redirect_uri="http://localhost:1/?a=b", token_delivery="whatever")
    answer = browser.come_back(provider.granted(begun, **claims))
    assert (answer.status_code, answer.headers["referrer-policy"]) == (307, "no-referrer")
    location = httpx.URL(answer.headers["location"])
    query, fragment = dict(location.params), dict(httpx.QueryParams(location.fragment))
    assert query == {"a": "b", **fragment}
    assert (sorted(fragment), fragment["expires_in"]) == (["access_token", "expires_in", "refresh_token"], "900")
    assert browser.me(fragment["access_token"])["email"] == claims["email"]


def test_graphql_signs_in_as_well(stoa: Stoa, provider: Provider) -> None:
    client = stoa.client()

    def ask(query: str) -> dict[str, Any]:
        answer = client.post("/graphql", json={"query": query}).json()
        assert "errors" not in answer, answer
        data: dict[str, Any] = answer["data"]
        return data

    begun = ask('mutation { beginSignIn(provider: "acme") { location browserKey } }')["beginSignIn"]
    claims = person()
    back = provider.granted(begun["location"], **claims)
    finished = ask(
        f'mutation {{ finishSignIn(state: "{back["state"]}", code: "{back["code"]}", fromBrowser: true, '
        f'browserKey: "{begun["browserKey"]}") {{ __typename ... on SessionPayload {{ user {{ email }} }} }} }}'
    )["finishSignIn"]
    assert finished == {"__typename": "SessionPayload", "user": {"email": claims["email"]}}


# Whose account it is.


def test_the_first_one_rules(fresh: Stoa) -> None:
    ruler = fresh.person()  # somebody must be there to make the provider known
    with providing() as provider:
        saved(ruler, provider, defaultRole="base")
        fresh.sql("DELETE FROM stoa.role_assignments")
        browser = Browser(fresh)
        first, second = (browser.me(browser.signed_in(provider, **person())["accessToken"]) for _ in range(2))
    assert [roles(fresh, account["id"]) for account in (first, second)] == [["admin"], ["base"]]


def test_a_claim_may_name_the_role(browser: Browser, provider: Provider, admin: Person, stoa: Stoa) -> None:
    build.grant(admin, admin, "x:y")
    assert admin.client.post("/api/v1/roles", json={"name": "packer"}).status_code == 200
    saved(admin, provider, roleClaim="job", defaultRole="base")
    for job, given in (("packer", "packer"), ("unheard-of", "base"), (["packer"], "base"), (None, "base")):
        told = browser.signed_in(provider, **person(job=job))
        assert roles(stoa, browser.me(told["accessToken"])["id"]) == [given]
    saved(admin, provider, defaultRole="unheard-of")
    assert roles(stoa, browser.me(browser.signed_in(provider, **person())["accessToken"])["id"]) == []


def test_the_same_person_has_the_same_account_and_it_follows_what_the_provider_says(
    browser: Browser, provider: Provider, stoa: Stoa
) -> None:
    claims = person(name="Before")
    first = browser.me(browser.signed_in(provider, **claims)["accessToken"])
    changed = {**claims, "email": f"new-{claims['email']}", "name": "After"}
    again = browser.me(browser.signed_in(provider, **changed)["accessToken"])
    assert again["id"] == first["id"]
    assert (again["email"], again["username"], again["displayName"]) == (changed["email"], changed["email"], "After")
    names = stoa.sql("SELECT name FROM stoa.login_names WHERE user_id = $1::uuid", first["id"])
    assert [row["name"] for row in names] == [changed["email"]]


def test_an_address_somebody_else_answers_to_is_not_taken_over(
    browser: Browser, provider: Provider, stoa: Stoa
) -> None:
    owner, claims = stoa.person("owner@example.com"), person()
    mine = browser.me(browser.signed_in(provider, **claims)["accessToken"])
    for changed in ("owner@example.com", "unverified@example.com"):
        verified = changed != "unverified@example.com"
        told = browser.signed_in(provider, **{**claims, "email": changed, "email_verified": verified})
        assert browser.me(told["accessToken"]) == mine
    assert stoa.signed_in("owner@example.com").id == owner.id


def test_an_account_of_the_same_address_is_linked(browser: Browser, provider: Provider, stoa: Stoa) -> None:
    before = {"email": "Linked@Example.com", "password": PASSWORD, "displayName": "Mine"}
    made = browser.client.post("/api/v1/auth/register", json=before).json()["user"]
    count = accounts(stoa)
    told = browser.signed_in(provider, sub="linked", email="linked@example.com", email_verified=True)
    assert browser.me(told["accessToken"])["id"] == made["id"]
    assert accounts(stoa) == count
    assert roles(stoa, made["id"]) == []
    assert stoa.signed_in("linked@example.com").id == made["id"]  # the password stays good


@pytest.mark.parametrize("unverified", [False, "false"])
def test_an_address_the_provider_has_not_verified_opens_no_account(
    browser: Browser, provider: Provider, stoa: Stoa, unverified: Any
) -> None:
    victim = stoa.person(f"victim-of-{type(unverified).__name__}@example.com")
    claims = person(email=victim.name, email_verified=unverified)
    answer = browser.come_back(provider.granted(browser.begin(), **claims))
    assert (answer.status_code, "not verified" in answer.json()["error"]) == (403, True)
    assert stoa.sql("SELECT 1 FROM stoa.external_identities WHERE user_id = $1::uuid", victim.id) == []


def test_an_account_has_one_provider(browser: Browser, provider: Provider, admin: Person, stoa: Stoa) -> None:
    claims = person()
    browser.signed_in(provider, **claims)
    with providing() as other:
        saved(admin, other, "other")
        answer = browser.come_back(other.granted(browser.begin("other"), **{**claims, "sub": "somebody else"}))
        assert admin.client.delete(f"{BASE}/providers/other").status_code == 200
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_who_is_not_to_get_an_account_gets_none(
    browser: Browser, provider: Provider, admin: Person, stoa: Stoa
) -> None:
    saved(admin, provider, autoRegister=False)
    before = accounts(stoa)
    answer = browser.come_back(provider.granted(browser.begin(), **person()))
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert accounts(stoa) == before
    known = stoa.person("known@example.com")
    told = browser.signed_in(provider, sub="known", email=known.name)
    assert browser.me(told["accessToken"])["id"] == known.id


def test_many_at_once_make_one_account(stoa: Stoa, provider: Provider) -> None:
    claims, before = person(), accounts(stoa)
    browsers = [Browser(stoa) for _ in range(6)]
    backs = [provider.granted(browser.begin(), **claims) for browser in browsers]
    answers = at_once(
        [
            lambda browser=browser, back=back: browser.come_back(back)
            for browser, back in zip(browsers, backs, strict=True)
        ]
    )
    assert [answer.status_code for answer in answers] == [200] * 6
    assert accounts(stoa) == before + 1


def test_a_disabled_account_stays_out(browser: Browser, provider: Provider, stoa: Stoa) -> None:
    claims = person()
    id = browser.me(browser.signed_in(provider, **claims)["accessToken"])["id"]
    stoa.sql("UPDATE stoa.users SET disabled_at = now() WHERE id = $1::uuid", id)
    sessions = stoa.sql("SELECT count(*) AS n FROM stoa.sessions")
    answer = browser.come_back(provider.granted(browser.begin(), **claims))
    assert (answer.status_code, answer.json()["error"]) == (401, "principal disabled")
    assert stoa.sql("SELECT count(*) AS n FROM stoa.sessions") == sessions


@pytest.mark.parametrize("email", [None, "", "no address", 17, "a@b\x00c", "a" * 300 + "@example.com"])
def test_without_an_address_there_is_no_sign_in(browser: Browser, provider: Provider, email: Any) -> None:
    answer = browser.come_back(provider.granted(browser.begin(), **person(email=email)))
    assert (answer.status_code, "e-mail" in answer.json()["error"]) == (401, True)


def test_an_address_may_be_told_beside_the_id_token_by_the_same_person_only(
    browser: Browser, provider: Provider
) -> None:
    claims = person()
    told_beside = {"sub": claims["sub"], "email": claims["email"], "name": "Beside"}
    provider.userinfo = told_beside
    me = browser.me(browser.signed_in(provider, **{**claims, "email": None})["accessToken"])
    assert (me["email"], me["displayName"]) == (claims["email"], "Beside")
    provider.userinfo = {**told_beside, "sub": "somebody else"}
    answer = browser.come_back(provider.granted(browser.begin(), **{**claims, "email": None}))
    assert answer.status_code == 401


# ID tokens that a client brings.


def test_an_id_token_is_exchanged_for_an_access_token_alone(browser: Browser, provider: Provider, stoa: Stoa) -> None:
    claims = person()
    sessions = stoa.sql("SELECT count(*) AS n FROM stoa.sessions")
    body = {"providerId": "acme", "idToken": provider.signed(**claims)}
    answer = browser.client.post(f"{BASE}/token-exchange", json=body)
    assert (answer.status_code, sorted(answer.json())) == (200, ["accessToken", "expiresIn"])
    assert browser.me(answer.json()["accessToken"])["email"] == claims["email"]
    assert stoa.sql("SELECT count(*) AS n FROM stoa.sessions") == sessions


def test_what_is_not_exchanged(browser: Browser, provider: Provider, admin: Person, stoa: Stoa) -> None:
    def exchanged(token: str, id: str = "acme") -> int:
        body = {"providerId": id, "idToken": token}
        return browser.client.post(f"{BASE}/token-exchange", json=body).status_code

    claims = person()
    assert exchanged(provider.signed(**claims), "nobody") == 404
    assert [exchanged(token) for token in ("", "x", "a.b.c", admin.token)] == [401] * 4
    assert exchanged(provider.signed(**{**claims, "email": None})) == 401
    assert exchanged(provider.signed(**claims, typ="Bearer")) == 401
    assert exchanged(provider.signed(**{**claims, "aud": "another client"})) == 401
    saved(admin, provider, autoRegister=False)
    assert exchanged(provider.signed(**claims)) == 403
    disabled = stoa.person("disabled@example.com")
    stoa.sql("UPDATE stoa.users SET disabled_at = now() WHERE id = $1::uuid", disabled.id)
    assert exchanged(provider.signed(**{**claims, "email": "disabled@example.com"})) == 401
