"""Buckets: making, changing and taking them away, and who may."""

from typing import Any

import pytest

from tests import build
from tests.harness import Person, Stoa, at_once
from tests.storage.files import Bucket

CREATE = """
mutation ($name: String!, $maxFileSize: BigInt, $allowedTypes: [String!]) {
  createBucket(name: $name, maxFileSize: $maxFileSize, allowedTypes: $allowedTypes) {
    name public maxFileSize allowedTypes
  }
}
"""
UPDATE = """
mutation ($name: String!, $public: Boolean, $maxFileSize: BigInt, $allowedTypes: [String!]) {
  updateBucket(name: $name, public: $public, maxFileSize: $maxFileSize, allowedTypes: $allowedTypes) {
    public maxFileSize allowedTypes
  }
}
"""
DELETE = "mutation ($name: String!) { deleteBucket(name: $name) { name } }"
BUCKETS = "{ storageBuckets { name public maxFileSize allowedTypes } }"


def names(person: Person) -> list[str]:
    return [bucket["name"] for bucket in person.data(BUCKETS)["storageBuckets"]]


def test_default_is_there_from_the_first_moment_of_any_tenant(stoa: Stoa, admin: Person) -> None:
    assert "default" in names(admin)
    stoa.sql("INSERT INTO stoa.tenants (id, slug, name, created_at) VALUES (gen_random_uuid(), 'two', 'Two', now())")
    found = stoa.sql(
        "SELECT b.name, array_agg(k.key ORDER BY k.key) AS keys FROM stoa.tenants t "
        "JOIN stoa.storage_buckets b ON b.tenant_id = t.id "
        "JOIN stoa.permission_keys k ON k.tenant_id = t.id WHERE t.slug = 'two' GROUP BY 1"
    )
    keys = ["storage:admin", "storage:delete", "storage:read", "storage:write"]
    assert found == [{"name": "default", "keys": keys}]


def test_a_bucket_has_its_rules_until_they_are_changed(admin: Person) -> None:
    rules = {"maxFileSize": 10, "allowedTypes": ["Image/*", "image/*", "text/plain"]}
    made = admin.data(CREATE, name="rules", **rules)["createBucket"]
    assert made == {"name": "rules", "public": False, "maxFileSize": 10, "allowedTypes": ["image/*", "text/plain"]}
    changed = admin.data(UPDATE, name="rules", public=True)["updateBucket"]
    assert changed == {"public": True, "maxFileSize": 10, "allowedTypes": ["image/*", "text/plain"]}
    changed = admin.data(UPDATE, name="rules", maxFileSize=None, allowedTypes=None)["updateBucket"]
    assert changed == {"public": True, "maxFileSize": None, "allowedTypes": None}
    assert admin.code(UPDATE, name="nowhere", public=True) == "NOT_FOUND"
    assert admin.code(UPDATE, name="rules", maxFileSize=0) == "INVALID_INPUT"


@pytest.mark.parametrize("name", ["", "a b", "a/b", "..", "a" * 64, "é", "a\x00", "storage:x"])
def test_names_of_buckets(admin: Person, name: str) -> None:
    before = names(admin)
    assert admin.code(CREATE, name=name) == "INVALID_INPUT"
    assert names(admin) == before


@pytest.mark.parametrize(
    "rules",
    [
        {"maxFileSize": 0},
        {"maxFileSize": -1},
        {"maxFileSize": 2**63},
        {"allowedTypes": ["image"]},
        {"allowedTypes": ["*/*"]},
        {"allowedTypes": ["image/png; x=1"]},
        {"allowedTypes": ["image/png\r\nX: 1"]},
        {"allowedTypes": ["a/b"] * 101},
    ],
)
def test_rules_that_are_none(admin: Person, rules: dict[str, Any]) -> None:
    assert admin.code(CREATE, name="unruly", **rules) == "INVALID_INPUT"
    assert "unruly" not in names(admin)


def test_a_name_is_taken_once_whoever_asks_and_however_it_is_written(admin: Person) -> None:
    bodies = at_once([lambda: admin.graphql(CREATE, name="race") for _ in range(6)])
    codes = [body["errors"][0]["extensions"]["code"] for body in bodies if "errors" in body]
    assert codes == ["CONFLICT"] * 5
    for other in ("Race", "RACE"):
        assert admin.code(CREATE, name=other) == "CONFLICT"  # one permission key cannot stand for two buckets


def test_permission_keys_come_and_go_with_the_bucket(admin: Person) -> None:
    def offered() -> set[str]:
        keys = admin.client.get("/api/v1/permissions/available").json()
        return {key["key"] for key in keys if key["key"].startswith("storage:user_avatars:")}

    admin.data(CREATE, name="User-Avatars")
    assert offered() == {f"storage:user_avatars:{action}" for action in ("read", "write", "delete", "admin")}
    admin.data(DELETE, name="User-Avatars")
    assert offered() == set()


def test_a_bucket_is_taken_away_only_when_it_is_empty(stoa: Stoa, admin: Person) -> None:
    bucket = Bucket(admin)
    id = bucket.folder("inside")
    assert admin.code(DELETE, name=bucket.name) == "CONFLICT"
    assert admin.code(DELETE, name="default") == "INVALID_INPUT"
    assert admin.code(DELETE, name="nowhere") == "NOT_FOUND"
    assert bucket.object(id)["name"] == "inside"
    admin.client.delete(f"{bucket.path}/{id}")
    assert admin.data(DELETE, name=bucket.name) == {"deleteBucket": {"name": bucket.name}}
    assert bucket.name not in names(admin)


def test_a_bucket_that_goes_while_something_comes_is_either_or(admin: Person) -> None:
    for _ in range(5):
        bucket = Bucket(admin)
        slot = bucket.slot("a.txt", 3)
        sent, deleted = at_once(
            [
                lambda slot=slot: admin.client.put(slot["url"], content=b"abc").status_code,
                lambda bucket=bucket: admin.graphql(DELETE, name=bucket.name).get("errors") is None,
            ]
        )
        assert (sent, deleted) in [(201, False), (404, True)]


@pytest.mark.parametrize(
    ("keys", "reads", "administers"),
    [
        ((), False, False),
        (("storage:labels:read", "storage:labels:admin"), False, False),
        (("storage:read",), True, False),
        (("storage:*:read",), True, False),
        (("storage:admin",), False, True),
        (("storage:*",), True, True),
        (("storage:write", "storage:delete"), False, False),
    ],
)
def test_who_may_list_and_make_buckets(
    stoa: Stoa, admin: Person, keys: tuple[str, ...], reads: bool, administers: bool
) -> None:
    person = build.reader(stoa, admin, *keys)
    assert ("errors" not in person.graphql(BUCKETS)) is reads
    name = f"by-{person.name}"
    answer = person.graphql(CREATE, name=name)
    assert ("errors" not in answer) is administers
    assert (name in names(admin)) is administers
    if not administers:
        assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"


def test_rights_over_one_bucket_are_none_over_another(stoa: Stoa, admin: Person) -> None:
    ours, theirs = Bucket(admin), Bucket(admin)
    key = ours.name.replace("-", "_")
    person = build.reader(stoa, admin, f"storage:{key}:read", f"storage:{key}:write")
    mine = theirs.put("a.txt")
    ours.as_(person).put("b.txt")
    assert ours.as_(person).names() == ["b.txt"]
    for refused in (
        person.client.get(theirs.path),
        person.client.get(f"{theirs.path}/{mine}"),
        person.client.post(theirs.path, json={"name": "f"}),
        theirs.as_(person).upload("c.txt"),
        person.client.delete(f"{theirs.path}/{mine}"),
        person.client.delete(f"{ours.path}/{mine}"),
    ):
        assert refused.status_code == 403, refused.text
    assert person.client.get(f"{ours.path}/{mine}").status_code == 404
    assert theirs.names() == ["a.txt"]
