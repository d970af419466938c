"""Associations: edges between records of any type, seen from both ends."""

from typing import Any

from tests import build
from tests.build import Collections
from tests.collaboration.placing import BACK, PURGE, delete, on
from tests.harness import Person, Stoa

PUT = """
mutation($app: ID!, $entity: String!, $id: ID!, $type: String!, $toEntity: String!, $toId: ID!, $toApp: ID,
         $meta: JSONObject) {
  associateRecords(app: $app, entity: $entity, id: $id, type: $type, toEntity: $toEntity, toId: $toId, toApp: $toApp,
                   meta: $meta) { type direction other { appId entity recordId } meta createdAt updatedAt }
}"""
REMOVE = """
mutation($app: ID!, $entity: String!, $id: ID!, $type: String!, $toEntity: String!, $toId: ID!, $toApp: ID) {
  dissociateRecords(app: $app, entity: $entity, id: $id, type: $type, toEntity: $toEntity, toId: $toId,
                    toApp: $toApp) { type }
}"""
EDGES = """
query($app: ID!, $entity: String!, $id: ID!, $direction: AssociationDirection, $type: String, $first: Int = 50,
      $after: String) {
  recordAssociations(app: $app, entity: $entity, id: $id, direction: $direction, type: $type, first: $first,
                     after: $after) {
    totalCount pageInfo { hasNextPage endCursor } nodes { type direction other { appId entity recordId } meta }
  }
}"""


def to(record: dict[str, Any], entity: str = "tickets", app: str | None = None) -> dict[str, Any]:
    return {"toEntity": entity, "toId": record["id"], "toApp": app}


def edges(app: Collections, record: dict[str, Any], entity: str = "tickets", **asked: Any) -> list[tuple[str, ...]]:
    found = app.person.data(EDGES, **on(app, record, entity), **asked)["recordAssociations"]
    assert found["totalCount"] == len(found["nodes"])
    return [(node["type"], node["direction"], node["other"]["recordId"]) for node in found["nodes"]]


def test_an_edge_is_outgoing_at_one_end_and_incoming_at_the_other(desk: Collections) -> None:
    a, b = (desk.create("tickets", subject=name) for name in "ab")
    made = desk.person.data(PUT, **on(desk, a), type="blocks", **to(b), meta={"why": "paper"})["associateRecords"]
    assert made["other"] == {"appId": desk.app_id, "entity": "tickets", "recordId": b["id"]}
    assert made["meta"] == {"why": "paper"}
    assert edges(desk, a) == [("blocks", "OUTGOING", b["id"])]
    assert edges(desk, b) == [("blocks", "INCOMING", a["id"])]
    assert edges(desk, b, direction="OUTGOING") == []
    assert edges(desk, b, direction="INCOMING", type="blocks") == [("blocks", "INCOMING", a["id"])]
    assert edges(desk, b, type="other") == []


def test_the_same_edge_again_gets_the_new_meta_and_stays_one(desk: Collections) -> None:
    a, b = (desk.create("tickets", subject=name) for name in "ab")
    first = desk.person.data(PUT, **on(desk, a), type="blocks", **to(b), meta={"n": 1})["associateRecords"]
    again = desk.person.data(PUT, **on(desk, a), type="blocks", **to(b))["associateRecords"]
    assert (again["meta"], again["createdAt"]) == ({}, first["createdAt"])
    desk.person.data(PUT, **on(desk, b), type="blocks", **to(a))  # the other way is another edge
    assert sorted(edges(desk, a)) == [("blocks", "INCOMING", b["id"]), ("blocks", "OUTGOING", b["id"])]


def test_edges_lead_into_other_apps_and_stop_at_what_one_may_not_read(
    desk: Collections, admin: Person, stoa: Stoa, reader: Person
) -> None:
    other = build.app(admin, build.entity("cars", build.field("name")))
    ticket, car = desk.create("tickets", subject="a"), other.create("cars", name="b")
    admin.data(PUT, **on(desk, ticket), type="about", **to(car, "cars", other.app_id))
    assert edges(desk, ticket) == [("about", "OUTGOING", car["id"])]
    assert edges(other, car, "cars") == [("about", "INCOMING", ticket["id"])]
    assert edges(desk.as_(reader), ticket) == []  # who may not read cars learns of none
    linker = build.reader(stoa, admin, f"app:{desk.app_id}:tickets.*", f"app:{desk.app_id}:tickets.update")
    assert linker.code(PUT, **on(desk, ticket), type="sees", **to(car, "cars", other.app_id)) == "FORBIDDEN"
    assert admin.client.delete(f"/api/v1/apps/{other.app_id}").status_code == 200
    assert edges(desk, ticket) == []
    assert stoa.sql("SELECT FROM stoa.record_associations WHERE record_id = $1", ticket["id"]) == []


def test_an_edge_hides_with_its_end_in_the_trash_and_goes_with_it_for_good(desk: Collections, stoa: Stoa) -> None:
    a, b = (desk.create("tickets", subject=name) for name in "ab")
    desk.person.data(PUT, **on(desk, a), type="blocks", **to(b))
    delete(desk, b)
    assert edges(desk, a) == []
    desk.person.data(BACK, **on(desk, b))
    assert edges(desk, a) == [("blocks", "OUTGOING", b["id"])]
    delete(desk, b)
    desk.person.data(PURGE, **on(desk, b))
    assert stoa.sql("SELECT FROM stoa.record_associations WHERE to_id = $1", b["id"]) == []


def test_edges_come_page_by_page(desk: Collections) -> None:
    a = desk.create("tickets", subject="a")
    others = [desk.create("tickets", subject=str(n)) for n in range(3)]
    for other in others:
        desk.person.data(PUT, **on(desk, a), type="blocks", **to(other))
    seen, after = [], None
    for _ in range(2):
        page = desk.person.data(EDGES, **on(desk, a), first=2, after=after)["recordAssociations"]
        seen += [node["other"]["recordId"] for node in page["nodes"]]
        after = page["pageInfo"]["endCursor"]
        assert page["totalCount"] == 3
    assert seen == [other["id"] for other in reversed(others)]


def test_an_edge_is_taken_away_once(desk: Collections) -> None:
    a, b = (desk.create("tickets", subject=name) for name in "ab")
    desk.person.data(PUT, **on(desk, a), type="blocks", **to(b))
    assert desk.person.code(REMOVE, **on(desk, b), type="blocks", **to(a)) == "NOT_FOUND"
    desk.person.data(REMOVE, **on(desk, a), type="blocks", **to(b))
    assert edges(desk, a) == []
    assert desk.person.code(REMOVE, **on(desk, a), type="blocks", **to(b)) == "NOT_FOUND"


def test_what_makes_no_edge(desk: Collections, reader: Person) -> None:
    a, b = (desk.create("tickets", subject=name) for name in "ab")
    ticket = on(desk, a)
    nowhere = {"id": "00000000-0000-4000-8000-000000000000"}
    assert desk.person.code(PUT, **ticket, type="blocks", **to(a)) == "INVALID_INPUT"
    assert desk.person.code(PUT, **ticket, type="Blocks!", **to(b)) == "INVALID_INPUT"
    assert desk.person.code(PUT, **ticket, type="blocks", **to(nowhere)) == "NOT_FOUND"
    assert desk.person.code(PUT, **ticket, type="blocks", **to(b, "parcels")) == "NOT_FOUND"
    assert desk.person.code(PUT, **ticket, type="blocks", **to(b, "cars")) == "NOT_FOUND"
    assert reader.code(PUT, **ticket, type="blocks", **to(b)) == "FORBIDDEN"
    enough = {"x": "y" * (10 * 1024 - 8)}
    assert desk.person.code(PUT, **ticket, type="blocks", **to(b), meta={"x": enough["x"] + "y"}) == "PAYLOAD_TOO_LARGE"
    assert edges(desk, a) == []
    desk.person.data(PUT, **ticket, type="blocks", **to(b), meta=enough)
    assert len(edges(desk, a)) == 1
