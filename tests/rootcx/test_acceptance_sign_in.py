"""What RootCX's clients rely on of magic links, by the number of its reference's list."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests import build
from tests.harness import Person, Stoa
from tests.rootcx.test_acceptance import refused

GENERATE = "/api/v1/auth/magic-link/generate"
CONSUME = "/api/v1/auth/magic-link/consume"


def link(person: Person, email: str, **more: Any) -> dict[str, Any]:
    """A link for this address."""
    answer = person.client.post(GENERATE, json={"email": email, **more})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def token_of(made: dict[str, Any]) -> str:
    return parse_qs(urlsplit(made["magicLinkUrl"]).query)["token"][0]


def test_55_a_magic_link_works_once_adds_the_roles_and_creates_the_user(admin: Person, stoa: Stoa) -> None:
    packer = build.grant(admin, admin, "app:atelier:parcels.read")
    made = link(admin, "  New.Person@Example.com ", roles=[packer], redirectUri="https://app.example/in?a=b")
    assert sorted(made) == ["expiresAt", "magicLinkUrl"]
    assert made["magicLinkUrl"].startswith(f"{stoa.base_url}{CONSUME}?token=")
    assert made["expiresAt"].endswith("Z")
    anonymous = stoa.client()
    answer = anonymous.post(CONSUME, json={"token": token_of(made)})
    assert answer.status_code == 200
    told = answer.json()
    assert sorted(told) == ["accessToken", "expiresIn", "redirectUri", "refreshToken", "user"]
    assert (told["expiresIn"], told["redirectUri"]) == (900, "https://app.example/in?a=b")
    assert (told["user"]["email"], told["user"]["displayName"]) == ("new.person@example.com", None)
    own = stoa.client(told["accessToken"])
    assert own.get("/api/v1/permissions").json() == {"roles": [packer], "permissions": ["app:atelier:parcels.read"]}
    assert anonymous.post("/api/v1/auth/refresh", json={"refreshToken": told["refreshToken"]}).status_code == 200
    refused(anonymous.post(CONSUME, json={"token": token_of(made)}), 401)
    refused(anonymous.post("/api/v1/auth/login", json={"email": "new.person@example.com", "password": "x"}), 401)

    again = build.grant(admin, admin, "app:atelier:parcels.write")
    later = anonymous.post(CONSUME, json={"token": token_of(link(admin, "NEW.person@example.com", roles=[again]))})
    assert (later.json()["user"]["id"], later.json()["redirectUri"]) == (told["user"]["id"], None)
    assert sorted(own.get("/api/v1/permissions").json()["roles"]) == sorted([packer, again])


def test_55_a_role_one_lacks_is_not_ones_to_give(admin: Person, stoa: Stoa) -> None:
    inviter = stoa.person()
    base_role = build.grant(admin, inviter, "auth.invite")
    parent = build.grant(admin, stoa.person(), "app:atelier:parcels.read")
    inherited = {"name": f"{parent}-child", "inherits": [parent]}
    assert admin.client.post("/api/v1/roles", json=inherited).status_code == 200
    foreign = build.grant(admin, admin, "app:atelier:parcels.delete")
    refused(inviter.client.post(GENERATE, json={"email": "a@b.example", "roles": [foreign]}), 403)
    refused(inviter.client.post(GENERATE, json={"email": "a@b.example", "roles": ["admin"]}), 403)
    refused(inviter.client.post(GENERATE, json={"email": "a@b.example", "roles": [parent]}), 403)
    assigned = {"userId": inviter.id, "role": inherited["name"]}
    assert admin.client.post("/api/v1/roles/assign", json=assigned).status_code == 200
    assert link(inviter, "a@b.example", roles=[base_role, parent, inherited["name"]])
    guest = stoa.person()
    refused(guest.client.post(GENERATE, json={"email": "a@b.example"}), 403, "auth.invite")
    refused(stoa.client().post(GENERATE, json={"email": "a@b.example"}), 401)


def test_55_a_life_is_between_a_minute_and_a_day(admin: Person) -> None:
    for asked, life_s in ((1, 60), (-5, 60), (None, 900), (3600, 3600), (10**9, 86_400)):
        more = {} if asked is None else {"expiresInSeconds": asked}
        expires_at = datetime.fromisoformat(link(admin, "life@example.com", **more)["expiresAt"])
        assert life_s - 5 < (expires_at - datetime.now(UTC)).total_seconds() <= life_s


def test_what_is_no_invitation(admin: Person, stoa: Stoa) -> None:
    many = [f"role-{number}" for number in range(33)]
    for wrong in (
        {},
        {"email": "no address"},
        {"email": ""},
        {"email": 7},
        {"roles": many},
        {"roles": [" "]},
        {"roles": ["unheard-of"]},
        {"redirectUri": "ftp://app.example"},
        {"redirectUri": "https://user@app.example"},
        {"redirectUri": "javascript:alert(1)"},
        {"redirectUri": ""},
        {"expiresInSeconds": "soon"},
    ):
        body = {"email": "a@b.example", **wrong} if wrong else {}
        refused(admin.client.post(GENERATE, json=body), 400)
    assert (
        stoa.sql("SELECT 1 FROM stoa.magic_links WHERE email = 'a@b.example' AND created_by = $1::uuid", admin.id) == []
    )


def test_the_mode_tells_of_magic_links(fresh: Stoa) -> None:
    assert fresh.client().get("/api/v1/auth/mode").json()["magicLinkEnabled"] is True
    keys = fresh.person().client.get("/api/v1/permissions/available").json()
    assert "auth.invite" in [entry["key"] for entry in keys]
