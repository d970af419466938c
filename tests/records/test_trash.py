"""The trash: what goes there, coming back, being gone for good, and types that have none."""

from typing import Any

import pytest

from tests import build
from tests.build import Collections
from tests.harness import Person, Stoa, at_once

TRASH = """
query($app: ID!, $entity: String!, $first: Int = 50, $after: String) {
  trashedRecords(app: $app, entity: $entity, first: $first, after: $after) {
    totalCount pageInfo { hasNextPage endCursor } nodes { id record deletedBy deletedAt purgedAt }
  }
}"""
RESTORE = "mutation($app: ID!, $entity: String!, $id: ID!) { restoreRecord(app: $app, entity: $entity, id: $id) }"
PURGE = """
mutation($app: ID!, $entity: String!, $id: ID!) { purgeRecord(app: $app, entity: $entity, id: $id) { id record } }"""
EMPTY = "mutation($app: ID!, $entity: String!) { emptyTrash(app: $app, entity: $entity) }"
VERSIONS = """
query($app: ID!, $entity: String!, $id: ID!) {
  recordVersions(app: $app, entity: $entity, id: $id) { nodes { number operation record } }
}"""
BOXES = build.entity("boxes", build.field("code", is_primary_key=True), build.field("facts", "json"), trash=True)
ITEMS = build.entity("items", build.field("name"), build.link("box", "boxes", on_delete="cascade"), trash=True)
NOTES = build.entity("notes", build.field("text"))


@pytest.fixture
def boxes(admin: Person) -> Collections:
    return build.app(admin, BOXES, ITEMS, NOTES)


def delete(boxes: Collections, entity: str, id: str) -> None:
    assert boxes.person.client.delete(boxes.path(entity, id)).status_code == 200


def trashed(boxes: Collections, entity: str = "boxes", **asked: Any) -> dict[str, Any]:
    found: dict[str, Any] = boxes.person.data(TRASH, app=boxes.app_id, entity=entity, **asked)
    return found["trashedRecords"]


def on(boxes: Collections, record: dict[str, Any], entity: str = "boxes") -> dict[str, Any]:
    return {"app": boxes.app_id, "entity": entity, "id": record["id"]}


def test_what_is_deleted_is_in_the_trash_and_nowhere_else(boxes: Collections) -> None:
    kept, gone = (boxes.create("boxes", code=code) for code in ("kept", "gone"))
    delete(boxes, "boxes", gone["id"])
    found = trashed(boxes)
    assert found["totalCount"] == 1
    assert found["nodes"][0]["record"] == gone
    assert (found["nodes"][0]["id"], found["nodes"][0]["deletedBy"]) == (gone["id"], boxes.person.id)
    assert boxes.query("boxes") == {"data": [kept], "total": 1}
    assert boxes.person.client.get(boxes.path("boxes", gone["id"])).status_code == 404
    assert boxes.create("boxes", code="gone")["id"] != gone["id"]  # its unique value is free again


def test_a_record_comes_back_as_it_was(boxes: Collections) -> None:
    made = boxes.create("boxes", code="a", facts={"n": 12345678901234567890})
    delete(boxes, "boxes", made["id"])
    restored = boxes.person.data(RESTORE, **on(boxes, made))["restoreRecord"]
    assert {**restored, "updated_at": None} == {**made, "updated_at": None}
    assert trashed(boxes) == {"totalCount": 0, "pageInfo": {"hasNextPage": False, "endCursor": None}, "nodes": []}
    versions = boxes.person.data(VERSIONS, **on(boxes, made))["recordVersions"]["nodes"]
    assert [(v["number"], v["operation"]) for v in versions] == [(3, "CREATED"), (2, "DELETED"), (1, "CREATED")]
    assert boxes.person.code(RESTORE, **on(boxes, made)) == "NOT_FOUND"


def test_a_record_whose_unique_value_was_taken_stays_in_the_trash(boxes: Collections) -> None:
    made = boxes.create("boxes", code="a")
    delete(boxes, "boxes", made["id"])
    boxes.create("boxes", code="a")
    refused = boxes.person.graphql(RESTORE, **on(boxes, made))["errors"][0]["extensions"]
    assert refused == {"code": "CONFLICT", "field": "code"}
    assert [node["id"] for node in trashed(boxes)["nodes"]] == [made["id"]]
    assert boxes.query("boxes")["total"] == 1


def test_what_went_by_a_cascade_is_in_the_trash_and_comes_back_after_what_it_links_to(boxes: Collections) -> None:
    box = boxes.create("boxes", code="a")
    item = boxes.create("items", name="screw", box=box["id"])
    delete(boxes, "boxes", box["id"])
    assert [node["record"] for node in trashed(boxes, "items")["nodes"]] == [item]
    assert boxes.person.code(RESTORE, **on(boxes, item, "items")) == "CONFLICT"
    boxes.person.data(RESTORE, **on(boxes, box))
    assert boxes.person.data(RESTORE, **on(boxes, item, "items"))["restoreRecord"]["box"] == box["id"]


def test_purged_is_gone_for_good(boxes: Collections, stoa: Stoa) -> None:
    made = boxes.create("boxes", code="a")
    assert boxes.person.code(PURGE, **on(boxes, made)) == "NOT_FOUND"  # it lives
    assert boxes.query("boxes")["total"] == 1
    delete(boxes, "boxes", made["id"])
    assert boxes.person.data(PURGE, **on(boxes, made))["purgeRecord"] == {"id": made["id"], "record": made}
    assert trashed(boxes)["nodes"] == []
    for asked in (PURGE, RESTORE, VERSIONS):
        assert boxes.person.code(asked, **on(boxes, made)) == "NOT_FOUND"
    logged = stoa.sql("SELECT operation FROM stoa.audit_log WHERE record_id = $1 ORDER BY id", made["id"])
    assert [row["operation"] for row in logged] == ["INSERT", "DELETE", "PURGE"]


def test_emptying_purges_everything_in_one_trash(boxes: Collections) -> None:
    for code in ("a", "b", "c"):
        delete(boxes, "boxes", boxes.create("boxes", code=code)["id"])
    delete(boxes, "items", boxes.create("items", name="other")["id"])
    assert boxes.person.data(EMPTY, app=boxes.app_id, entity="boxes") == {"emptyTrash": 3}
    assert (trashed(boxes)["totalCount"], trashed(boxes, "items")["totalCount"]) == (0, 1)
    assert boxes.person.data(EMPTY, app=boxes.app_id, entity="boxes") == {"emptyTrash": 0}


def test_the_trash_comes_page_by_page_the_last_deleted_first(boxes: Collections) -> None:
    for code in ("a", "b", "c"):
        delete(boxes, "boxes", boxes.create("boxes", code=code)["id"])
    page = trashed(boxes, first=2)
    assert [node["record"]["code"] for node in page["nodes"]] == ["c", "b"]
    assert page["pageInfo"]["hasNextPage"] is True
    last = trashed(boxes, first=2, after=page["pageInfo"]["endCursor"])
    assert [node["record"]["code"] for node in last["nodes"]] == ["a"]
    assert last["totalCount"] == 3


def test_what_is_too_old_is_gone(boxes: Collections, stoa: Stoa) -> None:
    made = boxes.create("boxes", code="a")
    delete(boxes, "boxes", made["id"])
    _age(stoa, made["id"], days=31)
    assert trashed(boxes)["nodes"] == []
    assert boxes.person.code(RESTORE, **on(boxes, made)) == "NOT_FOUND"


def _age(stoa: Stoa, id: str, days: int) -> None:
    """Let a deletion have been so long ago: the log is only ever added to, so its guard looks away for once."""
    stoa.sql("ALTER TABLE stoa.audit_log DISABLE TRIGGER append_only")
    older = "UPDATE stoa.audit_log SET changed_at = changed_at - make_interval(days => $2) WHERE record_id = $1"
    stoa.sql(older, id, days)
    stoa.sql("UPDATE stoa.apps SET created_at = created_at - make_interval(days => 90)")
    stoa.sql("ALTER TABLE stoa.audit_log ENABLE TRIGGER append_only")


def test_an_app_that_is_installed_again_finds_nothing_of_the_one_before(boxes: Collections) -> None:
    made = boxes.create("boxes", code="a")
    delete(boxes, "boxes", made["id"])
    assert boxes.person.client.delete(f"/api/v1/apps/{boxes.app_id}").status_code == 200
    again = build.app(boxes.person, BOXES, app_id=boxes.app_id)
    assert trashed(again)["nodes"] == []


def test_a_type_without_a_trash_has_none(boxes: Collections) -> None:
    made = boxes.create("notes", text="a")
    delete(boxes, "notes", made["id"])
    for asked in (RESTORE, PURGE):
        assert boxes.person.code(asked, **on(boxes, made, "notes")) == "INVALID_INPUT"
    assert boxes.person.code(TRASH, app=boxes.app_id, entity="notes") == "INVALID_INPUT"
    assert boxes.person.code(VERSIONS, **on(boxes, made, "notes")) == "NOT_FOUND"


def test_each_verb_asks_for_its_own_permission(boxes: Collections, stoa: Stoa, admin: Person) -> None:
    made = boxes.create("boxes", code="a")
    delete(boxes, "boxes", made["id"])
    asked, whole = on(boxes, made), {"app": boxes.app_id, "entity": "boxes"}
    needs = {"read": (TRASH, whole), "create": (RESTORE, asked), "delete": (EMPTY, whole)}
    for verb in needs:
        person = build.reader(stoa, admin, f"app:{boxes.app_id}:boxes.{verb}")
        for other, (operation, variables) in needs.items():
            if other != verb:
                assert person.code(operation, **variables) == "FORBIDDEN"
    assert len(trashed(boxes)["nodes"]) == 1


def test_of_restoring_and_purging_at_once_exactly_one_happens(boxes: Collections) -> None:
    made = boxes.create("boxes", code="a")
    delete(boxes, "boxes", made["id"])
    asked = on(boxes, made)
    answers = at_once([lambda op=op: boxes.person.graphql(op, **asked) for op in (RESTORE, PURGE)])
    assert sorted("errors" in answer for answer in answers) == [False, True]
    alive = "errors" not in answers[0]
    assert boxes.query("boxes")["total"] == int(alive)
    assert trashed(boxes)["nodes"] == []
