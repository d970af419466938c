"""The vault over its doors: who may, what is kept, and that no value is to be seen anywhere."""

from typing import Any

import httpx
import pytest

from tests import build
from tests.harness import Person, Stoa, at_once

PLATFORM = "/api/v1/platform/secrets"
CANARY = "canary-7d1e0b5a"


def app_path(number: str) -> str:
    return f"/api/v1/apps/vault_{number}/secrets"


def everything_stored(stoa: Stoa) -> list[str]:
    """Every row of the platform's tables, as text."""
    tables = [row["name"] for row in stoa.sql("SELECT tablename AS name FROM pg_tables WHERE schemaname = 'stoa'")]
    return [row["row"] for table in tables for row in stoa.sql(f"SELECT t::text AS row FROM stoa.{table} t")]


def shows(text: str) -> bool:
    return CANARY in text or CANARY.encode().hex() in text


def test_a_value_is_nowhere_to_be_read(admin: Person, stoa: Stoa, capfd: pytest.CaptureFixture[str]) -> None:
    path, key = app_path("canary"), {"idempotency-key": "one"}
    answers = [
        admin.client.post(path, json={"key": "KEY", "value": CANARY}, headers=key),
        admin.client.post(path, json={"key": "KEY", "value": CANARY}, headers=key),
        admin.client.post(path, json={"key": "a=b", "value": CANARY}),
        admin.client.post(path, json={"key": "KEY", "value": [CANARY]}),
        admin.client.post(path, json={"key": "KEY", "value": CANARY + "\x00"}),
        admin.client.get(path),
        admin.client.get("/api/v1/audit"),
        admin.client.delete(f"{path}/KEY"),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 400, 400, 400, 200, 200, 200]
    set_secret = 'mutation($v: SecretText!) { setSecret(app: "vault_canary", key: "OTHER", value: $v) { __typename } }'
    told = [admin.graphql(set_secret, v=value) for value in (CANARY, [CANARY], {"text": CANARY})]
    assert ["errors" in answer for answer in told] == [False, True, True]
    guest = stoa.person()
    assert guest.code(set_secret, v=CANARY) == "FORBIDDEN"
    texts = [answer.text for answer in answers] + [str(answer) for answer in told] + [*capfd.readouterr()]
    assert [text for text in texts + everything_stored(stoa) if shows(text)] == []


def test_a_value_is_what_was_set_last_however_many_set_it_at_once(admin: Person, stoa: Stoa) -> None:
    clients = [stoa.client(admin.token) for _ in range(12)]
    bodies = [{"key": "RACE", "value": f"value {number}"} for number in range(12)]
    works = [
        lambda c=client, b=body: c.post(PLATFORM, json=b).status_code
        for client, body in zip(clients, bodies, strict=True)
    ]
    assert at_once(works) == [200] * 12
    (row,) = stoa.sql("SELECT version FROM stoa.secrets WHERE key = 'RACE'")
    assert row["version"] == 12
    assert admin.client.get(f"{PLATFORM}/env").json()["RACE"] in [body["value"] for body in bodies]


@pytest.mark.parametrize("value", ["", " ", "line\nbreak", "ünïcødé 🔑", "x" * 65_536])
def test_any_text_is_a_value(admin: Person, value: str) -> None:
    assert admin.client.post(PLATFORM, json={"key": "ANY", "value": value}).status_code == 200
    assert admin.client.get(f"{PLATFORM}/env").json()["ANY"] == value


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"key": "KEY", "value": "x" * 65_537}, "value"),
        ({"key": "KEY", "value": "ü" * 32_769}, "value"),
        ({"key": "KEY", "value": "a\x00b"}, "value"),
        ({"key": "KEY", "value": None}, "value"),
        ({"key": "KEY", "value": 1}, "value"),
        ({"key": "x" * 129, "value": "x"}, "key"),
        ({"key": "a b\n", "value": "x"}, "key"),
        ({"key": "", "value": "x"}, "key"),
        ({"key": "ü", "value": "x"}, "key"),
    ],
)
def test_what_is_not_taken(admin: Person, stoa: Stoa, body: dict[str, Any], field: str) -> None:
    before = stoa.sql("SELECT scope, key, version FROM stoa.secrets ORDER BY 1, 2")
    answer = admin.client.post(PLATFORM, json=body)
    assert (answer.status_code, answer.json().get("field")) == (400, field)
    assert stoa.sql("SELECT scope, key, version FROM stoa.secrets ORDER BY 1, 2") == before


def test_an_app_has_names_of_its_own_kind(admin: Person) -> None:
    path = app_path("names")
    for key in ("with-dash", "with.dot", "Ümläut", "a/b"):
        assert admin.client.post(path, json={"key": key, "value": "x"}).status_code == 200
    assert admin.client.get(path).json() == ["a/b", "with-dash", "with.dot", "Ümläut"]
    assert admin.client.delete(f"{path}/a%2Fb").json() == {"message": "secret 'a/b' deleted"}
    for app_id in ("Crm", "1x", "a-b", "../x"):
        answer = admin.client.post(
            f"/api/v1/apps/{app_id.replace('/', '%2F')}/secrets", json={"key": "K", "value": "x"}
        )
        assert answer.status_code == 400
        assert admin.client.get(f"/api/v1/apps/{app_id.replace('/', '%2F')}/secrets").json() == []


def test_pages_of_names(admin: Person) -> None:
    path = app_path("pages")
    for number in range(5):
        assert admin.client.post(path, json={"key": f"KEY_{number}", "value": "x"}).status_code == 200
    ask = """query($after: String) { secrets(app: "vault_pages", first: 2, after: $after) {
        nodes { key version } totalCount pageInfo { endCursor hasNextPage } } }"""
    keys, after = [], None
    for _ in range(3):
        page = admin.data(ask, after=after)["secrets"]
        keys += [node["key"] for node in page["nodes"]]
        after = page["pageInfo"]["endCursor"]
        assert page["totalCount"] == 5
    assert (keys, page["pageInfo"]["hasNextPage"]) == ([f"KEY_{number}" for number in range(5)], False)
    other = ask.replace("vault_pages", "vault_canary")
    assert admin.code(other, after=after) == "INVALID_INPUT"  # a cursor is good for its own list


def test_who_acts_for_others_changes_no_secrets_but_may_see_the_environment(admin: Person, stoa: Stoa) -> None:
    agent = build.reader(stoa, admin, "admin:secrets.manage")
    stoa.sql("UPDATE stoa.users SET kind = 'agent' WHERE id = $1::uuid", agent.id)
    before = stoa.sql("SELECT scope, key, version FROM stoa.secrets ORDER BY 1, 2")
    assert agent.client.post(PLATFORM, json={"key": "AGENT", "value": "x"}).status_code == 403
    assert agent.client.delete(f"{PLATFORM}/ANY").status_code == 403
    assert agent.client.post(app_path("agent"), json={"key": "AGENT", "value": "x"}).status_code == 403
    assert agent.client.get(f"{PLATFORM}/env").status_code == 200
    assert stoa.sql("SELECT scope, key, version FROM stoa.secrets ORDER BY 1, 2") == before


def test_the_audit_log_tells_who_did_what_and_who_looked(admin: Person, stoa: Stoa) -> None:
    keeper = build.reader(stoa, admin, "admin:secrets.manage")
    for method, path, body in (
        ("POST", PLATFORM, {"key": "AUDITED", "value": "one"}),
        ("POST", PLATFORM, {"key": "AUDITED", "value": "two"}),
        ("GET", f"{PLATFORM}/env", None),
        ("DELETE", f"{PLATFORM}/AUDITED", None),
    ):
        assert keeper.client.request(method, path, json=body).status_code == 200
    asked = {"app_id": "_platform", "entity": "secrets", "limit": "4"}
    entries = admin.client.get("/api/v1/audit", params=asked).json()
    told = [(entry["operation"], entry["record_id"], entry["actor_uid"]) for entry in entries]
    secret = "platform/AUDITED"
    assert told == [
        ("DELETE", secret, keeper.id),
        ("READ", "platform", keeper.id),
        ("UPDATE", secret, keeper.id),
        ("INSERT", secret, keeper.id),
    ]
    assert "AUDITED" in entries[1]["new_record"]["keys"]
    assert entries[2]["old_record"] == {"scope": "platform", "key": "AUDITED", "version": 1}
    assert entries[2]["new_record"] == {"scope": "platform", "key": "AUDITED", "version": 2}


def test_a_change_is_told_to_those_who_run_with_the_old_environment(admin: Person, stoa: Stoa) -> None:
    last = stoa.sql("SELECT coalesce(max(id), 0) AS id FROM stoa.outbox")[0]["id"]
    assert admin.client.post(PLATFORM, json={"key": "TOLD", "value": "x"}).status_code == 200
    assert admin.client.post(app_path("told"), json={"key": "TOLD", "value": "x"}).status_code == 200
    assert admin.client.delete(f"{PLATFORM}/TOLD").status_code == 200
    events = stoa.sql(
        "SELECT payload::text AS payload FROM stoa.outbox WHERE kind = 'secrets.changed' AND id > $1 ORDER BY id", last
    )
    assert [event["payload"] for event in events] == [
        '{"scope": "platform"}',
        '{"scope": "app:vault_told"}',
        '{"scope": "platform"}',
    ]


def test_a_scope_has_a_bound(admin: Person, stoa: Stoa) -> None:
    path = app_path("full")
    assert admin.client.post(path, json={"key": "KEY", "value": "x"}).status_code == 200
    stoa.sql(
        "INSERT INTO stoa.secrets SELECT tenant_id, scope, 'COPY_' || n, version, key_id, wrapped_key, ciphertext,"
        " created_at, updated_at FROM stoa.secrets, generate_series(1, 999) n WHERE scope = 'app:vault_full'"
    )
    answer = admin.client.post(path, json={"key": "ONE_MORE", "value": "x"})
    assert (answer.status_code, "1000" in answer.json()["error"]) == (400, True)
    assert admin.client.post(path, json={"key": "KEY", "value": "y"}).status_code == 200
    assert len(admin.client.get(path).json()) == 1000


# What somebody with the database alone can do.

MOVES = {
    "another key's value": "UPDATE stoa.secrets t SET wrapped_key = s.wrapped_key, ciphertext = s.ciphertext"
    " FROM stoa.secrets s"
    " WHERE t.scope = 'platform' AND t.key = 'TARGET' AND s.scope = 'platform' AND s.key = 'SOURCE'",
    "another scope's value": "UPDATE stoa.secrets t SET wrapped_key = s.wrapped_key, ciphertext = s.ciphertext,"
    " version = s.version FROM stoa.secrets s"
    " WHERE t.scope = 'platform' AND t.key = 'TARGET' AND s.scope = 'app:vault_moved' AND s.key = 'TARGET'",
    "another version": "UPDATE stoa.secrets SET version = version + 1 WHERE scope = 'platform' AND key = 'TARGET'",
    "a byte": "UPDATE stoa.secrets SET ciphertext = set_byte(ciphertext, 14, get_byte(ciphertext, 14) # 1)"
    " WHERE scope = 'platform' AND key = 'TARGET'",
    "nothing in its place": "UPDATE stoa.secrets SET ciphertext = '' WHERE scope = 'platform' AND key = 'TARGET'",
}


@pytest.mark.parametrize("move", MOVES)
def test_what_was_moved_cannot_be_read(admin: Person, stoa: Stoa, move: str) -> None:
    for path, key in ((PLATFORM, "TARGET"), (PLATFORM, "SOURCE"), (app_path("moved"), "TARGET")):
        assert admin.client.post(path, json={"key": key, "value": CANARY}).status_code == 200
    assert admin.client.get(f"{PLATFORM}/env").json()["TARGET"] == CANARY
    stoa.sql(MOVES[move])
    # A fault, which no route describes: what is stored is not what we stored.
    answer = httpx.get(f"{stoa.base_url}{PLATFORM}/env", headers={"authorization": f"Bearer {admin.token}"})
    assert (answer.status_code, answer.json()["error"]) == (500, "internal error")
    assert admin.client.delete(f"{PLATFORM}/TARGET").status_code == 200
    assert admin.client.get(f"{PLATFORM}/env").status_code == 200


def test_another_tenants_row_cannot_be_read_as_ones_own(admin: Person, stoa: Stoa) -> None:
    assert admin.client.post(PLATFORM, json={"key": "TENANT", "value": CANARY}).status_code == 200
    other = "00000000-0000-0000-0000-0000000000aa"
    stoa.sql(f"INSERT INTO stoa.tenants (id, slug, name, created_at) VALUES ('{other}', 'other', 'Other', now())")
    move = "UPDATE stoa.secrets SET tenant_id = $1::uuid WHERE key = 'TENANT' RETURNING 1 AS moved"
    assert stoa.sql(move, other) == [{"moved": 1}]
    assert "TENANT" not in admin.client.get(PLATFORM).json()  # nor is it seen from here
    assert "TENANT" not in admin.client.get(f"{PLATFORM}/env").json()
    stoa.sql("DELETE FROM stoa.secrets WHERE key = 'TENANT'")
