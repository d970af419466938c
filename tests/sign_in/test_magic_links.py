"""Magic links: one use, by whoever has it, and never more than who made it may do."""

import re
from typing import Any

import pytest

from infra.chores import tidy
from tests import build
from tests.harness import Person, Stoa, at_once, settled
from tests.rootcx.test_acceptance_sign_in import CONSUME, GENERATE, link, token_of
from tests.sign_in.browser import query_of

FOLLOW = "/api/v1/auth/magic-link/follow"


def consumed(stoa: Stoa, token: str) -> int:
    """The status of an attempt to use a link."""
    return stoa.client().post(CONSUME, json={"token": token}).status_code


def accounts(stoa: Stoa) -> int:
    return stoa.sql("SELECT count(*) AS n FROM stoa.users")[0]["n"]


def inviter(stoa: Stoa, admin: Person) -> Person:
    """Somebody who may invite, and nothing else."""
    return build.reader(stoa, admin, "auth.invite")


def test_of_twenty_at_once_one_gets_in(admin: Person, stoa: Stoa) -> None:
    token, before = token_of(link(admin, "many@example.com")), accounts(stoa)
    clients = [stoa.client() for _ in range(20)]
    works = [lambda client=client: client.post(CONSUME, json={"token": token}).status_code for client in clients]
    assert sorted(at_once(works)) == [200] + [401] * 19
    assert accounts(stoa) == before + 1
    sessions = "SELECT 1 FROM stoa.sessions s JOIN stoa.users u ON u.id = s.user_id WHERE u.email = 'many@example.com'"
    assert len(stoa.sql(sessions)) == 1


def test_many_links_for_one_address_make_one_account(admin: Person, stoa: Stoa) -> None:
    tokens = [token_of(link(admin, "several@example.com")) for _ in range(6)]
    before = accounts(stoa)
    assert at_once([lambda token=token: consumed(stoa, token) for token in tokens]) == [200] * 6
    assert accounts(stoa) == before + 1


def test_unknown_used_and_expired_are_told_alike(admin: Person, stoa: Stoa) -> None:
    used, expired = (token_of(link(admin, "told@example.com")) for _ in range(2))
    assert consumed(stoa, used) == 200
    stoa.sql("UPDATE stoa.magic_links SET expires_at = now() WHERE used_at IS NULL")
    told = set()
    for token in ("A" * 43, used, expired):
        answer = stoa.client().post(CONSUME, json={"token": token})
        told.add((answer.status_code, answer.json()["error"]))
    assert len(told) == 1
    assert told.pop()[0] == 401
    for malformed in ("", "short", "A" * 44, "A" * 42 + "=", "ü" * 43, "A" * 42 + "\n"):
        answer = stoa.client().post(CONSUME, json={"token": malformed})
        assert (answer.status_code, answer.json()["error"]) == (401, "malformed token")


def test_only_a_hash_of_it_is_kept(admin: Person, stoa: Stoa, capfd: pytest.CaptureFixture[str]) -> None:
    key = {"idempotency-key": "the-same-twice"}
    answers = [admin.client.post(GENERATE, json={"email": "kept@example.com"}, headers=key) for _ in range(2)]
    tokens = [token_of(answer.json()) for answer in answers]
    assert tokens[0] != tokens[1]  # what answers a secret is not kept to be answered again
    assert consumed(stoa, tokens[0]) == 200
    everything = [*capfd.readouterr(), admin.client.get("/api/v1/audit").text]
    for row in stoa.sql("SELECT tablename AS name FROM pg_tables WHERE schemaname = 'stoa'"):
        everything += [found["row"] for found in stoa.sql(f"SELECT t::text AS row FROM stoa.{row['name']} t")]
    for token in tokens:
        assert [text for text in everything if token in text or token.encode().hex() in text] == []


# To look at a link is not to use it.


def test_a_get_uses_nothing_up(admin: Person, stoa: Stoa) -> None:
    url = link(admin, "looked@example.com")["magicLinkUrl"]
    before = accounts(stoa)
    anonymous = stoa.client()
    for _ in range(3):
        page = anonymous.get(url, headers={"accept": "text/html"})
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert anonymous.head(url).status_code == 200
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["x-request-id"].startswith("req_")
    assert accounts(stoa) == before
    assert consumed(stoa, query_of(url)["token"]) == 200


def form_of(page: str) -> tuple[str, dict[str, str]]:
    """Where the page's form goes, and what it sends."""
    action = re.search(r'<form method="post" action="([^"]+)">', page)
    assert action is not None
    return action[1], dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page))


def test_the_button_signs_in_and_the_browser_goes_on(admin: Person, stoa: Stoa) -> None:
    made = link(admin, "button@example.com", redirectUri="https://app.example/in?a=b#c", tokenDelivery="nonce")
    anonymous = stoa.client()
    action, fields = form_of(anonymous.get(made["magicLinkUrl"]).text)
    answer = anonymous.post(action, data=fields)
    assert answer.status_code == 303
    found = re.fullmatch(r"https://app\.example/in\?a=b&auth_nonce=([A-Za-z0-9_-]{43})#c", answer.headers["location"])
    assert found is not None
    told = anonymous.post("/api/v1/auth/nonce-exchange", json={"nonce": found[1]}).json()
    me = stoa.client(told["accessToken"]).get("/api/v1/auth/me").json()
    assert me["email"] == "button@example.com"
    assert anonymous.post(action, data=fields).status_code == 401


def test_without_a_redirect_the_button_shows_the_session(admin: Person, stoa: Stoa) -> None:
    action, fields = form_of(stoa.client().get(link(admin, "shown@example.com")["magicLinkUrl"]).text)
    answer = stoa.client().post(action, data=fields)
    assert (answer.status_code, sorted(answer.json())) == (200, ["accessToken", "expiresIn", "refreshToken"])


def test_the_older_delivery_takes_the_tokens_along(admin: Person, stoa: Stoa) -> None:
    made = link(admin, "older@example.com", redirectUri="https://app.example/")
    answer = stoa.client().post(FOLLOW, data={"token": token_of(made)})
    assert answer.status_code == 303
    assert sorted(query_of(answer.headers["location"])) == ["access_token", "expires_in", "refresh_token"]


@pytest.mark.parametrize("token", ["", "short", '"><script>alert(1)</script>', "A" * 42 + '"'])
def test_a_broken_link_says_so(stoa: Stoa, token: str) -> None:
    page = stoa.client().get(CONSUME, params={"token": token})
    assert page.status_code == 400
    assert "not whole" in page.text
    assert "script" not in page.text


# Never more than who made it may do.


def test_an_inviter_makes_no_link_for_an_account_that_may_do_more(admin: Person, stoa: Stoa) -> None:
    """They get the link, and could follow it themselves."""
    me = inviter(stoa, admin)
    mighty = stoa.person("mighty@example.com")
    build.grant(admin, mighty, "app:atelier:*")
    before = stoa.sql("SELECT count(*) AS n FROM stoa.magic_links")
    for email in ("mighty@example.com", "MIGHTY@example.com"):
        answer = me.client.post(GENERATE, json={"email": email})
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert stoa.sql("SELECT count(*) AS n FROM stoa.magic_links") == before
    assert consumed(stoa, token_of(link(admin, "mighty@example.com"))) == 200
    stoa.person("lowly@example.com")
    assert consumed(stoa, token_of(link(me, "lowly@example.com"))) == 200


def test_what_changes_meanwhile_counts(admin: Person, stoa: Stoa) -> None:
    me = inviter(stoa, admin)
    token = token_of(link(me, "promoted@example.com"))
    promoted = stoa.person("promoted@example.com")
    build.grant(admin, promoted, "app:atelier:parcels.read")
    assert consumed(stoa, token) == 401  # the account may do more by now than who invited it
    build.grant(admin, me, "app:atelier:parcels.read")
    assert consumed(stoa, token) == 200  # and no longer: the attempt did not use the link up


@pytest.mark.parametrize("change", ["disabled", "deleted", "no right"])
def test_a_link_is_worth_what_its_maker_is(admin: Person, stoa: Stoa, change: str) -> None:
    me = stoa.person()
    role = build.grant(admin, me, "auth.invite")
    token, before = token_of(link(me, f"{change.replace(' ', '-')}@example.com")), accounts(stoa)
    match change:
        case "disabled":
            stoa.sql("UPDATE stoa.users SET disabled_at = now() WHERE id = $1::uuid", me.id)
        case "deleted":
            assert admin.client.delete(f"/api/v1/users/{me.id}").status_code == 200
            before -= 1
        case _:
            body = {"userId": me.id, "role": role}
            assert admin.client.post("/api/v1/roles/revoke", json=body).status_code == 200
    assert consumed(stoa, token) == 401
    assert accounts(stoa) == before


def test_roles_that_went_meanwhile_are_not_given(admin: Person, stoa: Stoa) -> None:
    me = inviter(stoa, admin)
    given = build.grant(admin, me, "app:atelier:parcels.read")
    kept, gone, lost = (token_of(link(me, f"role-{n}@example.com", roles=[given])) for n in range(3))
    assert consumed(stoa, kept) == 200
    assert admin.client.post("/api/v1/roles/revoke", json={"userId": me.id, "role": given}).status_code == 200
    assert consumed(stoa, lost) == 401  # not theirs to give any more
    assert admin.client.post("/api/v1/roles/assign", json={"userId": me.id, "role": given}).status_code == 200
    assert admin.client.delete(f"/api/v1/roles/{given}").status_code == 200
    assert consumed(stoa, gone) == 401
    of_admin = token_of(link(admin, "role-3@example.com", roles=[(other := build.grant(admin, me, "x:y"))]))
    assert admin.client.delete(f"/api/v1/roles/{other}").status_code == 200
    assert consumed(stoa, of_admin) == 200
    held = "SELECT user_id FROM stoa.role_assignments WHERE role = ANY ($1::text[])"
    assert stoa.sql(held, [given, other]) == []


def test_disabled_accounts_and_those_of_programs_are_not_signed_in_to(admin: Person, stoa: Stoa) -> None:
    disabled = stoa.person("off@example.com")
    stoa.sql("UPDATE stoa.users SET disabled_at = now() WHERE id = $1::uuid", disabled.id)
    answer = stoa.client().post(CONSUME, json={"token": token_of(link(admin, "off@example.com"))})
    assert (answer.status_code, answer.json()["error"]) == (401, "principal disabled")
    program = stoa.person("agent@example.com")
    stoa.sql("UPDATE stoa.users SET kind = 'agent' WHERE id = $1::uuid", program.id)
    for email in ("agent@example.com", "system@localhost"):
        assert admin.client.post(GENERATE, json={"email": email}).status_code == 403


def test_an_account_with_a_password_keeps_it(admin: Person, stoa: Stoa) -> None:
    person = stoa.person("both@example.com")
    assert consumed(stoa, token_of(link(admin, "both@example.com"))) == 200
    assert stoa.signed_in(person.name).id == person.id


def test_graphql_has_them_too_and_one_use_in_a_document(admin: Person, stoa: Stoa) -> None:
    ask = 'mutation { createMagicLink(input: {email: "gql@example.com", roles: []}) { url expiresAt } }'
    token = query_of(admin.data(ask)["createMagicLink"]["url"])["token"]
    asked: dict[str, Any] = {"query": f'mutation {{ consumeMagicLink(token: "{token}") {{ user {{ email }} }} }}'}
    told = stoa.client().post("/graphql", json=asked).json()
    assert told == {"data": {"consumeMagicLink": {"user": {"email": "gql@example.com"}}}}
    use = f'consumeMagicLink(token: "{token}") {{ expiresIn }}'
    twice = f"mutation {{ a: {use} b: {use} }}"
    refused = stoa.client().post("/graphql", json={"query": twice}).json()
    assert refused["errors"][0]["extensions"]["code"] == "QUERY_TOO_COMPLEX"
    too_short = 'mutation { createMagicLink(input: {email: "gql@example.com", expiresInSeconds: 1}) { url } }'
    assert admin.code(too_short) == "INVALID_INPUT"


def test_what_has_expired_is_forgotten(admin: Person, stoa: Stoa) -> None:
    link(admin, "old@example.com")
    stoa.sql("UPDATE stoa.magic_links SET expires_at = now() - interval '1 s' WHERE email = 'old@example.com'")
    young = token_of(link(admin, "young@example.com"))
    settled(tidy({"database_url": stoa.database_url}))
    assert stoa.sql("SELECT 1 FROM stoa.magic_links WHERE email = 'old@example.com'") == []
    assert consumed(stoa, young) == 200
