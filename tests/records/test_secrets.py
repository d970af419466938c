"""Secret fields: sealed in their row, masked wherever it is shown, revealed by a right of its own."""

import base64
from typing import Any

import pytest

from infra.keys import MASTER, LiveRing
from infra.postgres.database import Database
from infra.secrets import vault
from tests import build
from tests.build import Collections
from tests.harness import Person, Stoa, settled

MASK = "********"
REVEAL = """
mutation($app: ID!, $id: ID!, $field: String! = "token") {
  revealSecret(app: $app, entity: "accounts", id: $id, field: $field)
}
"""


@pytest.fixture(scope="module")
def accounts(admin: Person) -> Collections:
    fields = [build.field("name"), build.field("token", "secret"), build.field("pin", "secret", required=True)]
    return build.app(admin, build.entity("accounts", *fields, trash=True), dialect="stoa")


def revealed(app: Collections, id: str, field: str = "token") -> str | None:
    told: str | None = app.person.data(REVEAL, app=app.app_id, id=id, field=field)["revealSecret"]
    return told


def everything(stoa: Stoa) -> str:
    """All that is stored, in every way a text may be written in it."""
    tables = stoa.sql(
        "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables "
        "WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    )
    return "".join(row["t"] for table in tables for row in stoa.sql(f"SELECT t::text AS t FROM {table['name']} t"))


def test_a_secret_is_sealed_masked_and_revealed(accounts: Collections, stoa: Stoa) -> None:
    made = accounts.create("accounts", name="a", token="tok-5ecret-ü", pin="pin-5ecret")
    assert (made["token"], made["pin"]) == (MASK, MASK)
    (read,) = accounts.query("accounts", where={"id": made["id"]})["data"]
    assert read == made
    assert revealed(accounts, made["id"]) == "tok-5ecret-ü"
    assert revealed(accounts, made["id"], "pin") == "pin-5ecret"
    stored = everything(stoa)
    for text in ("tok-5ecret", "pin-5ecret"):
        assert text not in stored
        assert text.encode().hex() not in stored
        assert base64.b64encode(text.encode()).decode().rstrip("=")[:-2] not in stored
    (column,) = stoa.sql(
        f"SELECT (token).key_id IS NOT NULL AS sealed FROM {accounts.app_id}.accounts WHERE name = 'a'"
    )
    assert column == {"sealed": True}


def test_a_secret_is_replaced_kept_and_cleared(accounts: Collections) -> None:
    made = accounts.create("accounts", name="b", token="one", pin="1")
    path = accounts.path("accounts", made["id"])

    def change(**values: Any) -> tuple[int, Any]:
        answer = accounts.person.client.patch(path, json=values)
        return answer.status_code, answer.json().get("token", answer.json())

    assert change(token="two") == (200, MASK)
    assert revealed(accounts, made["id"]) == "two"
    assert change(name="B", token=MASK, pin=MASK) == (200, MASK)  # as it was shown
    assert revealed(accounts, made["id"]) == "two"
    assert change(token=None) == (200, None)
    assert revealed(accounts, made["id"]) is None
    assert accounts.person.client.patch(path, json={"pin": None}).status_code == 400
    assert revealed(accounts, made["id"], "pin") == "1"
    missing = accounts.person.client.post(accounts.path("accounts"), json={"name": "c", "pin": MASK})
    assert (missing.status_code, missing.json()["field"]) == (400, "pin")
    many = accounts.create_many("accounts", [{"name": "m", "pin": "x"}, {"name": "m", "pin": "y", "token": "z"}])
    assert [row["token"] for row in many] == [None, MASK]
    assert [revealed(accounts, row["id"], "pin") for row in many] == ["x", "y"]


def test_ids_that_are_never_what_was_asked_for_have_no_record(admin: Person) -> None:
    fields = [build.field("id", "number"), build.field("token", "secret")]
    numbered = build.app(admin, build.entity("meters", *fields), dialect="stoa")
    query = REVEAL.replace("accounts", "meters")
    id = "0190a2b4-0000-7000-8000-000000000000"
    assert admin.code(query, app=numbered.app_id, id=id) == "NOT_FOUND"


def test_only_its_presence_can_be_asked_for(accounts: Collections) -> None:
    made = accounts.create("accounts", name="d", token="t", pin="1")
    for condition, total in (({"$isNull": False}, 1), ({"$isNull": True}, 0)):
        assert accounts.query("accounts", where={"id": made["id"], "token": condition})["total"] == total
    for condition in ({"$eq": "t"}, {"$like": "%"}, {"$gt": ""}, {"$in": ["t"]}):
        answer = accounts.person.client.post(accounts.path("accounts", "query"), json={"where": {"token": condition}})
        assert (answer.status_code, answer.json()["error"]) == (
            400,
            f"operator {next(iter(condition))} does not fit secret fields",
        )
    query = 'query($app: ID!) { records(app: $app, entity: "accounts", orderBy: "token") { totalCount nodes } }'
    assert accounts.person.code(query, app=accounts.app_id) == "INVALID_INPUT"


def test_to_reveal_needs_its_own_permission_and_is_noted(accounts: Collections, admin: Person, stoa: Stoa) -> None:
    made = accounts.create("accounts", name="e", token="t", pin="1")
    key = f"app:{accounts.app_id}:accounts"
    reader, revealer = (
        build.reader(stoa, admin, *keys) for keys in ([f"{key}.read"], [f"{key}.read", f"{key}.reveal"])
    )
    blind = build.reader(stoa, admin, f"{key}.reveal")
    available = {row["key"] for row in admin.client.get(f"/api/v1/apps/{accounts.app_id}/permissions/available").json()}
    assert "accounts.reveal" in available
    assert reader.code(REVEAL, app=accounts.app_id, id=made["id"]) == "FORBIDDEN"
    assert blind.code(REVEAL, app=accounts.app_id, id=made["id"]) == "FORBIDDEN"
    assert revealed(accounts.as_(revealer), made["id"]) == "t"
    notes = stoa.sql(
        "SELECT actor_id::text, new_record::text AS after FROM stoa.audit_log "
        "WHERE record_id = $1 AND operation = 'REVEAL'",
        made["id"],
    )
    assert notes == [{"actor_id": revealer.id, "after": '{"field": "token"}'}]
    assert admin.code(REVEAL, app=accounts.app_id, id=made["id"], field="name") == "INVALID_INPUT"
    assert admin.code(REVEAL, app=accounts.app_id, id=revealer.id) == "NOT_FOUND"


def test_an_answer_that_reveals_is_not_kept_for_its_key(accounts: Collections, stoa: Stoa) -> None:
    made = accounts.create("accounts", name="f", token="kept-5ecret", pin="1")
    body = {"query": REVEAL, "variables": {"app": accounts.app_id, "id": made["id"]}}
    answer = accounts.person.client.post("/graphql", json=body, headers={"idempotency-key": "reveal-1"})
    assert answer.json() == {"data": {"revealSecret": "kept-5ecret"}}
    assert "kept-5ecret" not in everything(stoa)


def test_the_log_versions_and_the_trash_know_the_mask(accounts: Collections, stoa: Stoa) -> None:
    made = accounts.create("accounts", name="g", token="t", pin="1")
    accounts.person.client.patch(accounts.path("accounts", made["id"]), json={"token": "u", "name": "G"})
    accounts.person.client.delete(accounts.path("accounts", made["id"]))
    rows = stoa.sql(
        "SELECT old_record ->> 'token' AS old, new_record ->> 'token' AS new FROM stoa.audit_log "
        "WHERE record_id = $1 ORDER BY id",
        made["id"],
    )
    assert rows == [{"old": None, "new": MASK}, {"old": MASK, "new": MASK}, {"old": MASK, "new": None}]


def test_a_sealed_value_is_of_no_use_in_another_record(accounts: Collections, stoa: Stoa) -> None:
    mine, theirs = (accounts.create("accounts", name=name, token=name, pin="1") for name in ("h", "i"))
    stoa.sql(
        f"UPDATE {accounts.app_id}.accounts SET token = (SELECT token FROM {accounts.app_id}.accounts WHERE id = $1) "
        "WHERE id = $2",
        theirs["id"],
        mine["id"],
    )
    assert accounts.person.code(REVEAL, app=accounts.app_id, id=mine["id"]) == "INTERNAL"
    assert revealed(accounts, theirs["id"]) == "i"
    accounts.person.client.delete(accounts.path("accounts", mine["id"]))


def test_a_renamed_field_keeps_its_secrets_and_no_other_type_gets_them(admin: Person) -> None:
    app = build.app(admin, build.entity("accounts", build.field("token", "secret")), dialect="stoa")
    made = app.create("accounts", token="t")
    renamed = build.entity("accounts", build.field("key", "secret", renamedFrom="token"))
    build.app(admin, renamed, app_id=app.app_id, dialect="stoa")
    assert revealed(app, made["id"], "key") == "t"
    for type in ("text", "json"):
        manifest = build.manifest(build.entity("accounts", build.field("key", type)), app_id=app.app_id, dialect="stoa")
        answer = admin.client.post("/api/v1/apps", json=manifest)
        assert (answer.status_code, answer.json()["error"]) == (
            400,
            "field 'key' of 'accounts' cannot change its type: secrets are sealed one by one",
        )
    formula = build.field("open", "formula", expression="key", returns="text")
    manifest = build.manifest(build.entity("accounts", build.field("key", "secret"), formula), dialect="stoa")
    assert "must not use 'key'" in admin.client.post("/api/v1/apps", json=manifest).json()["error"]


def test_turning_the_master_key_takes_records_along(accounts: Collections, stoa: Stoa) -> None:
    made = [accounts.create("accounts", name=f"r{n}", token=f"t{n}", pin="1") for n in range(3)]
    ring = LiveRing((), stoa.app.platform.settings.data_dir, MASTER)

    async def rotated() -> tuple[str, int]:
        database = await Database.open(stoa.database_url, 1)
        try:
            return await vault.rotate(database, ring)
        finally:
            await database.close()

    key_id, count = settled(rotated())
    assert count >= 6
    keys = stoa.sql(f"SELECT DISTINCT (token).key_id AS id FROM {accounts.app_id}.accounts WHERE token IS NOT NULL")
    assert keys == [{"id": key_id}]
    assert stoa.sql("SELECT id FROM stoa.master_keys") == [{"id": key_id}]
    assert [revealed(accounts, row["id"]) for row in made] == ["t0", "t1", "t2"]
