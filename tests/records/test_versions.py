"""The versions of a record: what they say, what makes one, going back, and who may see them."""

from typing import Any

import pytest

from tests import build
from tests.build import Collections
from tests.harness import Person, Stoa

VERSIONS = """
query($app: ID!, $entity: String!, $id: ID!, $first: Int = 50, $after: String) {
  recordVersions(app: $app, entity: $entity, id: $id, first: $first, after: $after) {
    totalCount pageInfo { hasNextPage endCursor }
    nodes { number operation changedBy door record changes { field before after } }
  }
}"""
RESTORE = """
mutation($app: ID!, $entity: String!, $id: ID!, $number: Int!) {
  restoreRecordVersion(app: $app, entity: $entity, id: $id, number: $number)
}"""
DIFFERENCES = """
query($app: ID!, $id: ID!, $older: Int!, $newer: Int!) {
  recordDifferences(app: $app, entity: "parcels", id: $id, older: $older, newer: $newer) { field before after }
}"""
TRASH = 'query($app: ID!) { trashedRecords(app: $app, entity: "boxes") { nodes { id record } } }'
TAKE_BACK = 'mutation($app: ID!, $id: ID!) { restoreRecord(app: $app, entity: "boxes", id: $id) }'
PARCELS = build.entity(
    "parcels",
    build.field("code", required=True),
    build.field("weight", "number"),
    build.field("facts", "json"),
    trash=True,
)


@pytest.fixture(scope="module")
def parcels(admin: Person) -> Collections:
    return build.app(admin, PARCELS)


def versions(parcels: Collections, id: str, **asked: Any) -> dict[str, Any]:
    found: dict[str, Any] = parcels.person.data(VERSIONS, app=parcels.app_id, entity="parcels", id=id, **asked)
    return found["recordVersions"]


def change(parcels: Collections, id: str, **values: Any) -> dict[str, Any]:
    answer = parcels.person.client.patch(parcels.path("parcels", id), json=values)
    assert answer.status_code == 200, answer.text
    record: dict[str, Any] = answer.json()
    return record


def test_every_change_is_a_version_with_what_it_changed_by_whom(parcels: Collections) -> None:
    made = parcels.create("parcels", code="P-1", weight=1.5)
    changed = change(parcels, made["id"], weight=None, facts={"big": 12345678901234567890, "none": None})
    found = versions(parcels, made["id"])
    assert found["totalCount"] == 2
    newest, oldest = found["nodes"]
    assert (newest["number"], oldest["number"]) == (2, 1)
    assert (newest["operation"], oldest["operation"]) == ("UPDATED", "CREATED")
    assert newest["record"] == changed
    assert oldest["record"] == made
    assert list(newest["record"]) == ["id", "code", "weight", "facts", "created_at", "updated_at"]
    assert newest["changes"] == [
        {"field": "weight", "before": 1.5, "after": None},
        {"field": "facts", "before": None, "after": {"big": 12345678901234567890, "none": None}},
    ]
    assert [c["field"] for c in oldest["changes"]] == ["id", "code", "weight", "created_at"]
    assert (newest["changedBy"], newest["door"]) == (parcels.person.id, "api")


def test_a_change_that_changes_nothing_makes_no_version(parcels: Collections) -> None:
    made = parcels.create("parcels", code="P-1", weight=1)
    change(parcels, made["id"], weight=1)
    assert versions(parcels, made["id"])["totalCount"] == 1


def test_versions_come_page_by_page(parcels: Collections) -> None:
    made = parcels.create("parcels", code="P-0")
    for number in range(1, 5):
        change(parcels, made["id"], code=f"P-{number}")
    seen, after = [], None
    while True:
        page = versions(parcels, made["id"], first=2, after=after)
        seen += [node["record"]["code"] for node in page["nodes"]]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert seen == ["P-4", "P-3", "P-2", "P-1", "P-0"]
    other = parcels.create("parcels", code="other")
    code = parcels.person.code(VERSIONS, app=parcels.app_id, entity="parcels", id=other["id"], after=after)
    assert code == "INVALID_INPUT"


def test_two_versions_are_compared_in_either_direction(parcels: Collections) -> None:
    made = parcels.create("parcels", code="a", weight=1)
    change(parcels, made["id"], weight=2)
    change(parcels, made["id"], code="b")
    asked = {"app": parcels.app_id, "id": made["id"]}
    forth = parcels.person.data(DIFFERENCES, older=1, newer=3, **asked)["recordDifferences"]
    assert forth == [{"field": "code", "before": "a", "after": "b"}, {"field": "weight", "before": 1, "after": 2}]
    back = parcels.person.data(DIFFERENCES, older=3, newer=2, **asked)["recordDifferences"]
    assert back == [{"field": "code", "before": "b", "after": "a"}]
    assert parcels.person.code(DIFFERENCES, older=1, newer=4, **asked) == "NOT_FOUND"


def test_going_back_makes_a_new_version_with_the_old_values(parcels: Collections) -> None:
    made = parcels.create("parcels", code="a", weight=1e300, facts=[1, {"x": None}])
    change(parcels, made["id"], code="b", weight=2, facts=None)
    asked = {"app": parcels.app_id, "entity": "parcels", "id": made["id"]}
    restored = parcels.person.data(RESTORE, number=1, **asked)["restoreRecordVersion"]
    same = ("id", "code", "weight", "facts", "created_at")
    assert {key: restored[key] for key in same} == {key: made[key] for key in same}
    assert versions(parcels, made["id"])["totalCount"] == 3
    assert parcels.person.code(RESTORE, number=9, **asked) == "NOT_FOUND"
    assert versions(parcels, made["id"])["totalCount"] == 3


def test_versions_follow_the_declaration_of_today(admin: Person) -> None:
    parcels = build.app(admin, build.entity("parcels", build.field("code"), build.field("old"), build.field("n")))
    made = parcels.create("parcels", code="a", old="gone", n="7")
    changed = build.manifest(
        build.entity("parcels", build.field("code"), build.field("new"), build.field("n", "json")),
        app_id=parcels.app_id,
    )
    assert admin.client.post("/api/v1/apps", json=changed).status_code == 200
    change(parcels, made["id"], code="b", new="kept", n=1)
    found = versions(parcels, made["id"])["nodes"]
    assert list(found[-1]["record"]) == ["id", "code", "new", "n", "created_at", "updated_at"]
    assert (found[-1]["record"]["n"], found[-1]["record"]["new"]) == ("7", None)
    restored = admin.data(RESTORE, app=parcels.app_id, entity="parcels", id=made["id"], number=1)
    record = restored["restoreRecordVersion"]
    assert (record["code"], record["new"], record["n"]) == ("a", "kept", "7")


def test_what_was_under_another_name_is_read_under_that_of_today(admin: Person, stoa: Stoa) -> None:
    secret = {"name": "open", "can": ["read", "delete"], "where": {"secret": {"ne": True}}}
    fields = (build.field("code", required=True), build.field("kept"))
    parcels = build.app(admin, build.entity("parcels", *fields, build.field("closed", "boolean"), trash=True),
                        dialect="stoa")  # fmt: skip
    made = parcels.create("parcels", code="a", kept="k")
    change(parcels, made["id"], code="b")
    for values in ({"code": "gone", "closed": False}, {"code": "hidden", "closed": True}):
        gone = parcels.create("parcels", **values)
        admin.client.delete(parcels.path("parcels", gone["id"]))
        if not values["closed"]:
            back = gone["id"]
    fields = (
        build.field("name", required=True, renamedFrom="code"),
        build.field("kept"),
        build.field("code", "number"),
    )
    boxes = build.entity("boxes", *fields, build.field("secret", "boolean", renamedFrom="closed"), trash=True,
                         renamedFrom="parcels", policies=[secret])  # fmt: skip
    changed = build.manifest(boxes, app_id=parcels.app_id, dialect="stoa")
    assert admin.client.post("/api/v1/apps", json=changed).status_code == 200
    asked = {"app": parcels.app_id, "entity": "boxes", "id": made["id"]}
    newest, first = admin.data(VERSIONS, **asked)["recordVersions"]["nodes"]
    assert [(one["record"]["name"], one["record"]["code"]) for one in (newest, first)] == [("b", None), ("a", None)]
    assert newest["changes"] == [{"field": "name", "before": "a", "after": "b"}]
    restored = admin.data(RESTORE, number=1, **asked)["restoreRecordVersion"]
    assert (restored["name"], restored["kept"], restored["code"]) == ("a", "k", None)
    keys = (f"app:{parcels.app_id}:boxes.{verb}:open" for verb in ("read", "delete"))
    found = build.reader(stoa, admin, *keys).data(TRASH, app=parcels.app_id)["trashedRecords"]["nodes"]
    assert [(one["id"], one["record"]["name"]) for one in found] == [(back, "gone")]
    assert admin.data(TAKE_BACK, app=parcels.app_id, id=back)["restoreRecord"]["name"] == "gone"


def test_a_version_that_does_not_fit_any_more_is_refused_and_changes_nothing(admin: Person) -> None:
    parcels = build.app(admin, build.entity("parcels", build.field("code")))
    made = parcels.create("parcels", code="x")
    change(parcels, made["id"], code=None)
    now = change(parcels, made["id"], code="y")
    required = build.manifest(build.entity("parcels", build.field("code", required=True)), app_id=parcels.app_id)
    assert admin.client.post("/api/v1/apps", json=required).status_code == 200
    asked = {"app": parcels.app_id, "entity": "parcels", "id": made["id"], "number": 2}
    answer = admin.graphql(RESTORE, **asked)
    assert answer["errors"][0]["extensions"] == {"code": "INVALID_INPUT", "field": "code"}
    assert admin.client.get(parcels.path("parcels", made["id"])).json() == now


def test_a_change_by_hand_is_a_version_too(stoa: Stoa, parcels: Collections) -> None:
    made = parcels.create("parcels", code="a")
    stoa.sql(f"UPDATE {parcels.app_id}.parcels SET code = 'by hand' WHERE id = $1::text::uuid", made["id"])
    newest = versions(parcels, made["id"])["nodes"][0]
    assert (newest["record"]["code"], newest["changedBy"], newest["door"]) == ("by hand", None, None)


def test_versions_are_for_who_may_read_and_going_back_for_who_may_change(
    stoa: Stoa, admin: Person, parcels: Collections
) -> None:
    made = parcels.create("parcels", code="a")
    change(parcels, made["id"], code="b")
    reads = build.reader(stoa, admin, f"app:{parcels.app_id}:parcels.read")
    writes = build.reader(stoa, admin, f"app:{parcels.app_id}:parcels.update")
    asked = {"app": parcels.app_id, "entity": "parcels", "id": made["id"]}
    assert len(reads.data(VERSIONS, **asked)["recordVersions"]["nodes"]) == 2
    assert reads.code(RESTORE, number=1, **asked) == "FORBIDDEN"
    assert writes.code(VERSIONS, **asked) == "FORBIDDEN"
    assert parcels.person.client.get(parcels.path("parcels", made["id"])).json()["code"] == "b"
    assert writes.data(RESTORE, number=1, **asked)["restoreRecordVersion"]["code"] == "a"
    missing = {**asked, "id": "00000000-0000-4000-8000-000000000000"}
    assert reads.code(VERSIONS, **missing) == "NOT_FOUND"


def test_values_of_every_kind_go_back_to_the_digit(admin: Person) -> None:
    app = build.app(
        admin,
        build.entity(
            "parcels",
            build.field("price", "decimal", precision=20, scale=4),
            build.field("paid", "money"),
            build.field("place", "geo_point"),
            build.field("about", "vector", dimensions=3),
            build.field("lasts", "duration"),
        ),
        dialect="stoa",
    )
    was = {
        "price": "1234567890123456.7891",
        "paid": {"amount": "12.50", "currency": "EUR"},
        "place": {"lat": 1.5, "lng": 2.25},
        "about": [0.5, 1, 2],
        "lasts": "P1DT2H30M",
    }
    made = app.create("parcels", **was)
    cleared = app.person.client.patch(app.path("parcels", made["id"]), json=dict.fromkeys(was))
    assert cleared.status_code == 200
    asked = {"app": app.app_id, "entity": "parcels", "id": made["id"]}
    restored = admin.data(RESTORE, number=1, **asked)["restoreRecordVersion"]
    assert {name: restored[name] for name in was} == {name: made[name] for name in was}
