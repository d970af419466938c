"""Fields may have any name that is one: none of them shadows what our own statements call their parts."""

import pytest

from tests import build
from tests.build import Collections
from tests.harness import Person, Stoa

NAMES = [
    *"acdeinopqrstvwx",
    "doc",
    "entry",
    "key",
    "new_rows",
    "old_rows",
    "ordinality",
    "row",
    "rows",
    "total",
    "value",
]


@pytest.fixture(scope="module")
def things(admin: Person) -> Collections:
    return build.app(admin, build.entity("things", *(build.field(name) for name in NAMES)))


def test_a_record_with_such_fields_is_written_read_found_and_deleted(stoa: Stoa, things: Collections) -> None:
    values = {name: f"the {name}" for name in NAMES}
    made = things.create("things", **values)
    assert {name: made[name] for name in NAMES} == values
    assert things.create_many("things", [values, {"n": "another"}])[1]["n"] == "another"
    client, path = things.person.client, things.path("things", made["id"])
    assert client.get(path).json() == made
    for name in NAMES:
        found = things.query("things", where={name: {"$eq": f"the {name}"}}, orderBy=name)
        assert (found["total"], found["data"][0][name]) == (2, f"the {name}")
    changed = client.patch(path, json=dict.fromkeys(NAMES, "changed")).json()
    assert {changed[name] for name in NAMES} == {"changed"}
    assert client.delete(path).status_code == 200
    audited = client.get("/api/v1/audit", params={"record_id": made["id"]}).json()
    assert [(entry["operation"], entry["new_record"], entry["old_record"]) for entry in audited] == [
        ("DELETE", None, changed),
        ("UPDATE", changed, made),
        ("INSERT", made, None),
    ]
