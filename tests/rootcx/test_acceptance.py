"""What RootCX's clients rely on: the behaviours its reference lists as worth an acceptance test, by their numbers.

`admin` is the first account of the server, a guest one without roles. (C) in the reference follows the documents.
"""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest

from tests import build
from tests.build import Collections
from tests.harness import PASSWORD, Person, Stoa, at_once

TIMES = ("created_at", "updated_at")
NOBODY = "00000000-0000-4000-8000-000000000000"
SYSTEM = "00000000-0000-0000-0000-000000000001"


def parcels(admin: Person, *fields: dict[str, Any], **more: Any) -> Collections:
    """An app of its own with an entity `parcels`."""
    fields = fields or (build.field("code"), build.field("value", "number"), build.field("zone"))
    return build.app(admin, build.entity("parcels", *fields), **more)


def again(app: Collections, *fields: dict[str, Any], status: int = 200) -> dict[str, Any]:
    """Install `parcels` with other fields. Returns the answer."""
    manifest = build.manifest(build.entity("parcels", *fields), app_id=app.app_id)
    answer = app.person.client.post("/api/v1/apps", json=manifest)
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    return body


def listed(app: Collections, **params: Any) -> list[dict[str, Any]]:
    """The collection's list."""
    answer = app.person.client.get(app.path("parcels"), params=params)
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json()
    return rows


def entries(admin: Person, app: Collections, **params: Any) -> list[dict[str, Any]]:
    """The audit entries of an app."""
    answer = admin.client.get("/api/v1/audit", params={"app_id": app.app_id, **params})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    return found


def refused(answer: Any, status: int, *texts: str) -> dict[str, Any]:
    """The body of a refusal: JSON with a text under `error` that holds each of these."""
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    assert isinstance(body["error"], str)
    for text in texts:
        assert text in body["error"]
    return body


def test_01_of_two_users_registering_at_the_same_moment_one_is_admin(fresh: Stoa) -> None:
    names = ["one", "two"]
    body = {"password": PASSWORD}
    clients = [fresh.client() for _ in names]
    answers = at_once(
        [
            lambda client=client, name=name: client.post("/api/v1/auth/register", json={"username": name, **body})
            for client, name in zip(clients, names, strict=True)
        ]
    )
    assert [answer.status_code for answer in answers] == [201, 201]
    assert [list(answer.json()) for answer in answers] == [["user"], ["user"]]
    roles = [fresh.signed_in(name).client.get("/api/v1/permissions").json()["roles"] for name in names]
    assert sorted(roles) == [[], ["admin"]]


def test_02_an_installed_app_is_listed_and_its_collection_is_empty(admin: Person) -> None:
    declared = build.manifest(build.entity("parcels", build.field("code")), version="1.2.0", name="Atelier")
    answer = admin.client.post("/api/v1/apps", json=declared)
    assert answer.status_code == 200
    assert answer.json()["message"] == f"app '{declared['appId']}' installed"
    apps = {app["id"]: app for app in admin.client.get("/api/v1/apps").json()}
    assert apps[declared["appId"]] == {
        "id": declared["appId"],
        "name": "Atelier",
        "version": "1.2.0",
        "status": "installed",
        "type": "app",
        "entities": ["parcels"],
        "hasFrontend": False,
    }
    assert listed(Collections(admin, declared["appId"])) == []


def test_03_the_same_manifest_again_changes_nothing(admin: Person, stoa: Stoa) -> None:
    app = parcels(admin)
    made = app.create("parcels", code="P-1")
    before = stoa.sql("SELECT * FROM stoa.apps WHERE id = $1", app.app_id)
    again(app, build.field("code"), build.field("value", "number"), build.field("zone"))
    assert listed(app) == [made]
    assert [row["id"] for row in admin.client.get("/api/v1/apps").json()].count(app.app_id) == 1
    assert stoa.sql("SELECT * FROM stoa.apps WHERE id = $1", app.app_id) == before


def test_04_a_new_optional_field_is_null_in_old_rows(admin: Person) -> None:
    app = parcels(admin, build.field("code"))
    old = app.create("parcels", code="P-1")
    again(app, build.field("code"), build.field("notes"))
    new = app.create("parcels", code="P-2", notes="fragile")
    assert new["notes"] == "fragile"
    assert {row["id"]: row["notes"] for row in listed(app)} == {old["id"]: None, new["id"]: "fragile"}


def test_05_a_removed_field_vanishes_and_returns_empty(admin: Person) -> None:
    app = parcels(admin, build.field("code"), build.field("notes"))
    app.create("parcels", code="P-1", notes="fragile")
    again(app, build.field("code"))
    assert [sorted(row) for row in listed(app)] == [["code", "created_at", "id", "updated_at"]]
    again(app, build.field("code"), build.field("notes"))
    assert [row["notes"] for row in listed(app)] == [None]


def test_06_text_becomes_a_number_where_it_spells_one(admin: Person) -> None:
    app = parcels(admin, build.field("code"), build.field("weight"))
    app.create("parcels", code="a", weight="1.5")
    app.create("parcels", code="b", weight="")
    again(app, build.field("code"), build.field("weight", "number"))
    assert {row["code"]: row["weight"] for row in listed(app)} == {"a": 1.5, "b": None}


def test_06_text_that_spells_no_number_stays_and_the_install_fails(admin: Person) -> None:
    app = parcels(admin, build.field("code"), build.field("weight"))
    app.create("parcels", code="a", weight="abc")
    body = again(app, build.field("code"), build.field("weight", "number"), build.field("more"), status=400)
    assert "weight" in body["error"]
    (row,) = listed(app)
    assert row["weight"] == "abc"
    assert "more" not in row
    app.create("parcels", code="b", weight="still text")


def test_07_a_created_record_has_a_v4_id_equal_times_and_all_columns(admin: Person) -> None:
    app = parcels(admin)
    answer = admin.client.post(app.path("parcels"), json={"code": "P-1", "id": str(uuid4())})
    assert answer.status_code == 201
    made = answer.json()
    assert list(made) == ["id", "code", "value", "zone", *TIMES]
    assert UUID(made["id"]).version == 4
    assert made["id"] == made["id"].lower()
    assert made["created_at"] == made["updated_at"]
    moment = datetime.fromisoformat(made["created_at"])
    assert moment.tzinfo is not None
    assert abs((datetime.now(UTC) - moment).total_seconds()) < 60
    assert (made["code"], made["value"], made["zone"]) == ("P-1", None, None)
    mine = admin.client.post(app.path("parcels"), json={"code": "P-2", "id": made["id"], "created_at": "1999-01-01"})
    assert mine.status_code == 201
    assert mine.json()["id"] != made["id"]
    assert mine.json()["created_at"][:4] != "1999"


def test_08_a_value_of_each_type_comes_back_as_it_was(admin: Person) -> None:
    fields = {
        "a_text": ("text", "2026-01-01", "2026-01-01"),
        "b_text": ("text", str(uuid4()), None),
        "number": ("number", 2.5, 2.5),
        "whole": ("number", 42, 42),
        "boolean": ("boolean", False, False),
        "day": ("date", "2026-01-31", "2026-01-31"),
        "moment": ("timestamp", "2026-01-31T10:00:00+02:00", "2026-01-31T08:00:00+00:00"),
        "meta": ("json", {"floor": 3, "list": [1, None, {"deep": True}]}, None),
        "scan": ("file", "f-1", "f-1"),
        "ref": ("uuid", "F2B1C7A0-52D3-4F0E-8A55-9D6C0C1E7B42", "f2b1c7a0-52d3-4f0e-8a55-9d6c0c1e7b42"),
        "courier": ("entity_link", str(uuid4()), None),
        "tags": ("[text]", ["glass", "", "ü"], ["glass", "", "ü"]),
        "sizes": ("[number]", [1, 2.5, -3e20], [1, 2.5, -3e20]),
        "other": ("varchar", "kept as text", "kept as text"),
    }
    app = parcels(admin, *(build.field(name, type) for name, (type, _, _) in fields.items()))
    made = app.create("parcels", **{name: value for name, (_, value, _) in fields.items()})
    for name, (_, value, stored) in fields.items():
        assert made[name] == (value if stored is None else stored), name
    assert isinstance(made["whole"], int)
    assert admin.client.get(app.path("parcels", made["id"])).json() == made
    cleared = admin.client.patch(app.path("parcels", made["id"]), json=dict.fromkeys(fields))
    assert cleared.status_code == 200
    assert {cleared.json()[name] for name in fields} == {None}


def test_09_a_patch_changes_what_it_names(admin: Person) -> None:
    app = parcels(admin, build.field("code"), build.field("notes"))
    made = app.create("parcels", code="P-1")
    path = app.path("parcels", made["id"])
    answer = admin.client.patch(path, json={"notes": "x"})
    assert answer.status_code == 200
    changed = answer.json()
    assert {**changed, "updated_at": None} == {**made, "notes": "x", "updated_at": None}
    assert changed["updated_at"] > made["updated_at"]
    touched = admin.client.patch(path, json={"id": str(uuid4()), "created_at": None})
    assert touched.status_code == 200
    assert touched.json()["updated_at"] > changed["updated_at"]
    refused(admin.client.patch(path, json={}), 400)
    refused(admin.client.patch(path, json=["notes"]), 400)
    refused(admin.client.patch(app.path("parcels", str(uuid4())), json={"notes": "x"}), 404)
    assert {**admin.client.get(path).json(), "updated_at": None} == {**changed, "updated_at": None}


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_10_an_id_that_is_none_is_400(admin: Person, method: str) -> None:
    app = parcels(admin)
    body = {"code": "x"} if method == "PATCH" else None
    answer = admin.client.request(method, app.path("parcels", "not-a-uuid"), json=body)
    assert refused(answer, 400, "invalid UUID")["code"] == "invalid_input"


def test_11_an_unknown_entity_is_404_and_named(admin: Person) -> None:
    app = parcels(admin)
    for answer in (
        admin.client.get(app.path("wombats")),
        admin.client.post(app.path("wombats"), json={"a": 1}),
        admin.client.post(app.path("wombats", "query"), json={}),
        admin.client.post(app.path("wombats", "bulk"), json=[{"a": 1}]),
        admin.client.get(app.path("wombats", str(uuid4()))),
        admin.client.patch(app.path("wombats", str(uuid4())), json={"a": 1}),
        admin.client.delete(app.path("wombats", str(uuid4()))),
    ):
        refused(answer, 404, "wombats")
    refused(admin.client.get(app.path("core:users")), 404, "core:users")
    refused(admin.client.get("/api/v1/apps/no_such_app/collections/parcels"), 404, "no_such_app")


@pytest.mark.parametrize("schema", ["rootcx_system", "information_schema", "pg_catalog", "pg_toast", "pg_anything"])
def test_11_a_schema_of_the_system_is_blocked_before_anything_else(admin: Person, stoa: Stoa, schema: str) -> None:
    guest = stoa.person()
    path = f"/api/v1/apps/{schema}/collections/users"
    for person in (admin, guest):
        for answer in (
            person.client.get(path),
            person.client.post(path, json={}),
            person.client.post(f"{path}/query", json={"where": {"$nonsense": 1}}),
            person.client.post(f"{path}/bulk", json=[]),
            person.client.get(f"{path}/not-a-uuid"),
            person.client.patch(f"{path}/not-a-uuid", json={}),
            person.client.delete(f"{path}/not-a-uuid"),
        ):
            refused(answer, 403, "blocked")


def test_11_the_id_is_looked_at_before_the_permission_and_that_before_the_entity(admin: Person, stoa: Stoa) -> None:
    app = parcels(admin).as_(stoa.person())
    client = app.person.client
    refused(client.get(app.path("parcels", "not-a-uuid")), 400, "invalid UUID")
    refused(client.get(app.path("wombats", "not-a-uuid")), 400, "invalid UUID")
    refused(client.get(app.path("wombats", str(uuid4()))), 403, f"permission denied: app:{app.app_id}:wombats.read")
    refused(client.patch(app.path("parcels", str(uuid4())), json={"no_such": 1}), 403)
    refused(admin.client.patch(app.path("wombats", str(uuid4())), json={"no_such": 1}), 404)
    refused(admin.client.patch(app.path("parcels", str(uuid4())), json={"no_such": 1}), 400, "no_such")


def test_12_a_query_compares_and_counts(admin: Person) -> None:
    app = parcels(admin)
    app.create_many("parcels", [{"value": value} for value in (90, 10, 50)])
    found = app.query("parcels", where={"value": {"$gte": 50}}, orderBy="value", order="asc")
    assert ([row["value"] for row in found["data"]], found["total"]) == ([50, 90], 2)
    assert app.query("parcels")["total"] == 3


def test_13_the_total_counts_before_paging_but_is_0_on_an_empty_page(admin: Person) -> None:
    app = parcels(admin)
    app.create_many("parcels", [{"value": value} for value in range(3)])
    page = app.query("parcels", limit=2)
    assert (len(page["data"]), page["total"]) == (2, 3)
    assert app.query("parcels", limit=2, offset=10) == {"data": [], "total": 0}
    assert app.query("parcels", where={"value": 99}) == {"data": [], "total": 0}


def test_14_pages_of_rows_made_at_one_moment_show_each_row_once(admin: Person) -> None:
    app = parcels(admin)
    made = app.create_many("parcels", [{"code": str(n)} for n in range(30)])
    assert len({row["created_at"] for row in made}) == 1
    pages = [app.query("parcels", limit=7, offset=offset)["data"] for offset in range(0, 35, 7)]
    assert [len(page) for page in pages] == [7, 7, 7, 7, 2]
    shown = [row["id"] for page in pages for row in page]
    assert shown == sorted(row["id"] for row in made)


def test_15_lists_of_conditions_and_of_values(admin: Person) -> None:
    app = parcels(admin, build.field("name"))
    app.create_many("parcels", [{"name": name} for name in "ABC"])

    def names(where: dict[str, Any]) -> list[str]:
        found = app.query("parcels", where=where, orderBy="name", order="asc")
        return [row["name"] for row in found["data"]]

    assert names({"$or": [{"name": "A"}, {"name": "C"}]}) == ["A", "C"]
    assert names({"name": {"$in": []}}) == []
    assert names({"name": {"$nin": []}}) == ["A", "B", "C"]
    assert names({"$or": []}) == ["A", "B", "C"]
    assert names({"$and": []}) == ["A", "B", "C"]
    assert names({"$and": [{"name": {"$gt": "A"}}, {"$not": {"name": "C"}}]}) == ["B"]
    assert names({}) == ["A", "B", "C"]


def test_16_null_is_neither_equal_nor_unequal(admin: Person) -> None:
    app = parcels(admin, build.field("name"), build.field("col"))
    app.create_many("parcels", [{"name": "none", "col": None}, {"name": "x", "col": "x"}, {"name": "y", "col": "y"}])

    def names(where: dict[str, Any]) -> set[str]:
        return {row["name"] for row in app.query("parcels", where=where)["data"]}

    assert names({"col": {"$ne": "x"}}) == {"y"}
    assert names({"col": None}) == {"none"}
    assert names({"col": {"$eq": None}}) == {"none"}
    assert names({"col": {"$isNull": True}}) == {"none"}
    assert names({"col": {"$isNull": "yes"}}) == {"none"}
    assert names({"col": {"$isNull": False}}) == {"x", "y"}
    assert names({"col": {"$ne": None}}) == {"x", "y"}
    assert names({"$not": {"col": "x"}}) == {"y"}


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ({"name": {"$regex": "a"}}, "$regex"),
        ([], "where"),
        ({"name": {"$in": "a"}}, "$in"),
        ({"name": {"$nin": None}}, "$nin"),
        ({"tags": {"$contains": "a"}}, "$contains"),
        ({"$or": {"name": "A"}}, "$or"),
        ({"$and": "x"}, "$and"),
        ({"$not": []}, "$not"),
        ({"$nor": []}, "$nor"),
        ({"name": {"$eq": "A", "plain": 1}}, "plain"),
        ({"wombats": 1}, "wombats"),
        ({"value": "abc"}, "value"),
        ({"value": {"$gt": None}}, "value"),
    ],
)
def test_17_a_query_that_makes_no_sense_is_400_and_names_the_part(admin: Person, where: Any, text: str) -> None:
    app = parcels(admin, build.field("name"), build.field("tags", "[text]"), build.field("value", "number"))
    refused(admin.client.post(app.path("parcels", "query"), json={"where": where}), 400, text)


MORNING = "2026-06-10T08:00:00+00:00"


@pytest.mark.parametrize(
    "where",
    [
        {"fragile": "True"},
        {"fragile": " YES "},
        {"fragile": {"$in": ["t", "on"]}},
        {"fragile": {"$ne": "off"}},
        {"sent": {"$gte": "2026-06-10"}},
        {"sent": {"$lt": "2026-06-11"}},
        {"sent": "2026-06-10T08:00:00"},
        {"sent": "2026-06-10 10:00:00+02"},
        {"due": "2026-06-12T23:30:00.000Z"},
        {"due": {"$gt": "2026-06-11 00:00"}},
        {"sizes": {"$contains": ["2.5"]}},
        {"tags": {"$contains": [7]}},
    ],
)
def test_17_an_operand_is_cast_from_its_text_as_postgresql_does(admin: Person, where: Any) -> None:
    types = {"fragile": "boolean", "sent": "timestamp", "due": "date", "sizes": "[number]", "tags": "[text]"}
    app = parcels(admin, *(build.field(name, type) for name, type in types.items()))
    row = {"fragile": True, "sent": MORNING, "due": "2026-06-12", "sizes": [1, 2.5], "tags": ["7"]}
    app.create("parcels", **row)
    assert app.query("parcels", where=where)["total"] == 1
    assert app.query("parcels", where={"$not": where})["total"] == 0


def test_17_a_text_is_the_json_it_spells_where_json_is_asked_for(admin: Person) -> None:
    app = parcels(admin, build.field("meta", "json"))
    for meta in ({"floor": 3, "lift": True}, [1, "a"], 5, "loose", "5", True):
        app.create("parcels", meta=meta)
    for text, meta in (
        ('{"lift": true, "floor": 3.0}', {"floor": 3, "lift": True}),
        ('[1, "a"]', [1, "a"]),
        ("5", 5),
        ('"5"', "5"),
        ("loose", "loose"),
        ("true", True),
    ):
        (row,) = listed(app, meta=text)
        assert (row["meta"], type(row["meta"])) == (meta, type(meta))
        assert app.query("parcels", where={"meta": text})["data"] == [row]
    assert app.query("parcels", where={"meta": {"$in": ["5", "[]", "true"]}})["total"] == 2
    assert listed(app, meta="NaN") == []


def test_17_a_list_casts_its_parameters_too(admin: Person) -> None:
    app = parcels(admin, build.field("fragile", "boolean"), build.field("sent", "timestamp"))
    made = app.create("parcels", fragile=True, sent="2026-06-10T00:00:00Z")
    assert listed(app, fragile="True", sent="2026-06-10") == [made]
    for wrong in ({"fragile": "maybe"}, {"sent": "2026-06-31"}, {"sent": "today"}, {"sent": "2026-W24-3"}):
        (name,) = wrong
        refused(admin.client.get(app.path("parcels"), params=wrong), 400, name)
    refused(admin.client.post(app.path("parcels"), json={"sent": "2026-06-10"}), 400, "sent")


def test_18_a_list_filters_by_equality_sorts_and_bounds(admin: Person) -> None:
    app = parcels(admin)
    rows = [{"zone": zone, "code": code} for zone in ("north", "south") for code in "cab"]
    app.create_many("parcels", [*rows, *({"zone": "far", "code": f"{n:04}"} for n in range(150))])
    found = listed(app, zone="north", sort="code", order="asc", limit="2")
    assert [row["code"] for row in found] == ["a", "b"]
    assert [row["code"] for row in listed(app, zone="north", sort="code", order="ASC")] == ["a", "b", "c"]
    assert [row["code"] for row in listed(app, zone="north", sort="code", order="up")] == ["c", "b", "a"]
    assert [row["code"] for row in listed(app, zone="south", sort="code", order="asc", offset="1")] == ["b", "c"]
    assert len(listed(app)) == 156
    assert len(listed(app, limit="lots")) == 100
    assert len(listed(app, limit="0")) == 1
    assert len(listed(app, limit="-5")) == 1
    assert len(listed(app, limit="5000")) == 156
    assert len(listed(app, offset="-1")) == 156
    assert len(listed(app, offset="x", limit="1")) == 1
    assert listed(app, zone="null") == []
    assert len(listed(app, zone="north", code="a")) == 1
    refused(app.person.client.get(app.path("parcels"), params={"value": "heavy"}), 400, "value")
    refused(app.person.client.get(app.path("parcels"), params={"wombats": "1"}), 400, "wombats")


def test_18_a_list_is_newest_first_and_an_unknown_sort_is_that_too(admin: Person) -> None:
    app = parcels(admin)
    made = [app.create("parcels", code=code)["id"] for code in "abc"]
    assert [row["id"] for row in listed(app)] == made[::-1]
    assert [row["id"] for row in listed(app, sort="wombats")] == made[::-1]
    assert [row["id"] for row in listed(app, order="asc")] == made


def test_18_nulls_come_last_ascending_and_first_descending(admin: Person) -> None:
    app = parcels(admin)
    app.create_many("parcels", [{"value": 1, "code": "a"}, {"code": "b"}, {"value": 0, "code": "c"}])
    assert [row["code"] for row in listed(app, sort="value", order="asc")] == ["c", "a", "b"]
    assert [row["code"] for row in listed(app, sort="value", order="desc")] == ["b", "a", "c"]


def test_19_a_bulk_is_all_or_nothing_in_order_and_audited_by_record(admin: Person) -> None:
    app = parcels(admin)
    client, path = admin.client, app.path("parcels", "bulk")
    answer = client.post(path, json=[{"code": str(n)} for n in range(5)])
    assert answer.status_code == 201
    assert [row["code"] for row in answer.json()] == list("01234")
    written = entries(admin, app)
    assert [entry["operation"] for entry in written] == ["INSERT"] * 5
    assert {entry["record_id"] for entry in written} == {row["id"] for row in answer.json()}
    refused(client.post(path, json=[]), 400)
    refused(client.post(path, json={"code": "x"}), 400)
    refused(client.post(path, json=[{"code": "x"}] * 1001), 400, "1000", "1001")
    refused(client.post(path, json=[{"code": "x"}, {}]), 400)
    refused(client.post(path, json=[{"id": str(uuid4())}, {"created_at": None}]), 400)
    refused(client.post(path, json=[{"code": "x"}] * 4 + [{"value": "heavy"}]), 400, "value")
    refused(client.post(path, json=[{"code": "x"}] * 4 + ["x"]), 400)
    assert len(listed(app)) == 5
    assert len(entries(admin, app)) == 5


@pytest.mark.parametrize(
    ("wrong", "text", "field"),
    [
        ({"value": "heavy"}, "at index 2: field 'value' must be a number", "2.value"),
        ({"wombats": 1}, "at index 2: unknown field 'wombats' of 'parcels'", "2.wombats"),
        ({"code": None}, "at index 2: field 'code' is required", "2.code"),
        ({}, "at index 2: the record must have at least one field", "2"),
    ],
)
def test_19_a_refused_bulk_tells_which_record_it_was(admin: Person, wrong: Any, text: str, field: str) -> None:
    app = parcels(admin, build.field("code", required=True), build.field("value", "number"))
    rows = [{"code": "a"}, {"code": "b"}, {"code": "c", **wrong} if wrong else {}, {"code": "d"}]
    body = refused(admin.client.post(app.path("parcels", "bulk"), json=rows), 400)
    assert (body["error"], body["field"]) == (text, field)
    body = refused(admin.client.post(app.path("parcels", "bulk"), json=[{"code": "a"}, {"value": 1}]), 400)
    assert (body["error"], body["field"]) == ("at index 1: field 'code' is required", "1.code")
    assert listed(app) == []


def test_20_a_bulk_writes_null_where_a_single_create_takes_the_default(admin: Person) -> None:
    app = parcels(admin, build.field("code"), build.field("state", default_value="new"))
    rows = app.create_many("parcels", [{"code": "a", "state": "sent"}, {"code": "b"}])
    assert [row["state"] for row in rows] == ["sent", None]
    assert app.create("parcels", code="c")["state"] == "new"
    assert [row["state"] for row in app.create_many("parcels", [{"code": "d"}])] == ["new"]
    assert app.create("parcels", code="e", state=None)["state"] is None


def test_20_a_required_field_missing_in_one_fails_the_whole_bulk(admin: Person) -> None:
    app = parcels(admin, build.field("code"), build.field("state", required=True, default_value="new"))
    answer = admin.client.post(app.path("parcels", "bulk"), json=[{"code": "a", "state": "sent"}, {"code": "b"}])
    refused(answer, 400, "state")
    assert listed(app) == []


def test_21_links_restrict_clear_or_cascade(admin: Person) -> None:
    app = build.app(
        admin,
        build.entity("couriers", build.field("name")),
        build.entity("must", build.link("courier", "couriers", required=True)),
        build.entity("may", build.link("courier", "couriers")),
        build.entity("goes", build.link("courier", "couriers", on_delete="cascade")),
    )
    client = admin.client
    missing = client.post(app.path("may"), json={"courier": str(uuid4())})
    assert refused(missing, 409, "foreign key constraint violated", "courier")["code"] == "conflict"
    held, free = app.create("couriers", name="held"), app.create("couriers", name="free")
    app.create("must", courier=held["id"])
    cleared, gone = app.create("may", courier=free["id"]), app.create("goes", courier=free["id"])
    refused(client.delete(app.path("couriers", held["id"])), 409, "foreign key constraint violated")
    assert client.get(app.path("couriers", held["id"])).status_code == 200
    moved = client.patch(app.path("may", cleared["id"]), json={"courier": str(uuid4())})
    refused(moved, 409, "foreign key constraint violated")
    answer = client.delete(app.path("couriers", free["id"]))
    assert (answer.status_code, answer.json()["message"]) == (200, f"record '{free['id']}' deleted")
    assert client.get(app.path("may", cleared["id"])).json()["courier"] is None
    refused(client.get(app.path("goes", gone["id"])), 404)


def test_22_a_permission_allows_its_own_verb(admin: Person, stoa: Stoa) -> None:
    app = parcels(admin)
    made = app.create("parcels", code="P-1")
    guest = build.reader(stoa, admin, f"app:{app.app_id}:parcels.read")
    theirs = app.as_(guest)
    assert listed(theirs) == [made]
    assert theirs.query("parcels")["data"] == [made]
    key = f"permission denied: app:{app.app_id}:parcels"
    refused(guest.client.post(app.path("parcels"), json={"code": "x"}), 403, f"{key}.create")
    refused(guest.client.post(app.path("parcels", "bulk"), json=[{"code": "x"}]), 403, f"{key}.create")
    refused(guest.client.patch(app.path("parcels", made["id"]), json={"code": "x"}), 403, f"{key}.update")
    refused(guest.client.delete(app.path("parcels", made["id"])), 403, f"{key}.delete")
    assert listed(app) == [made]


def test_23_without_a_permission_every_verb_is_403(admin: Person, stoa: Stoa) -> None:
    app = parcels(admin)
    made = app.create("parcels", code="P-1")
    guest = stoa.person().client
    for answer, verb in (
        (guest.get(app.path("parcels")), "read"),
        (guest.post(app.path("parcels", "query"), json={}), "read"),
        (guest.get(app.path("parcels", made["id"])), "read"),
        (guest.post(app.path("parcels"), json={"code": "x"}), "create"),
        (guest.patch(app.path("parcels", made["id"]), json={"code": "x"}), "update"),
        (guest.delete(app.path("parcels", made["id"])), "delete"),
    ):
        refused(answer, 403, f"permission denied: app:{app.app_id}:parcels.{verb}")


def test_24_the_audit_log_tells_what_happened_newest_first(admin: Person, stoa: Stoa) -> None:
    app, other = parcels(admin), parcels(admin)
    other.create("parcels", code="elsewhere")
    made = app.create("parcels", code="P-1")
    changed = admin.client.patch(app.path("parcels", made["id"]), json={"value": 2}).json()
    admin.client.delete(app.path("parcels", made["id"]))
    deletion, update, insertion = entries(admin, app, entity="parcels")
    assert [e["operation"] for e in (deletion, update, insertion)] == ["DELETE", "UPDATE", "INSERT"]
    assert (insertion["old_record"], insertion["new_record"]) == (None, made)
    assert (update["old_record"], update["new_record"]) == (made, changed)
    assert (deletion["old_record"], deletion["new_record"]) == (changed, None)
    assert deletion["id"] > update["id"] > insertion["id"]
    for entry in (deletion, update, insertion):
        assert (entry["table_schema"], entry["table_name"]) == (app.app_id, "parcels")
        assert (entry["record_id"], entry["actor_uid"]) == (made["id"], admin.id)
        assert (entry["trigger_ref"], entry["delegator_uid"]) == ("api", None)
    assert entries(admin, app, limit="1") == [deletion]
    assert entries(admin, app, entity="wombats") == []
    assert entries(admin, app, before=str(update["id"])) == [insertion]
    assert entries(admin, app, order="asc") == [insertion, update, deletion]
    assert entries(admin, app, operation="UPDATE") == [update]
    assert entries(admin, app, wombats="1", limit="lots") == [deletion, update, insertion]
    refused(stoa.person().client.get("/api/v1/audit"), 403, "permission denied: admin:audit.read")


def test_25_a_login_gives_two_hs256_tokens_and_the_refresh_token_is_no_bearer(stoa: Stoa, admin: Person) -> None:
    answer = stoa.client().post("/api/v1/auth/login", json={"username": "admin", "password": PASSWORD})
    assert answer.status_code == 200
    told = answer.json()
    assert sorted(told) == ["accessToken", "expiresIn", "refreshToken", "user"]
    assert told["expiresIn"] == 900
    for token, life in ((told["accessToken"], 900), (told["refreshToken"], 30 * 24 * 3600)):
        header = jwt.get_unverified_header(token)
        assert (header["alg"], header["typ"]) == ("HS256", "JWT")
        claims = jwt.decode(token, options={"verify_signature": False})
        assert claims["sub"] == admin.id
        assert claims["exp"] - claims["iat"] == life
    refused(stoa.client(told["refreshToken"]).get("/api/v1/auth/me"), 401, "invalid token type")
    assert stoa.client(told["accessToken"]).get("/api/v1/auth/me").json() == told["user"]


def test_26_a_refresh_token_serves_until_logout(stoa: Stoa, admin: Person) -> None:
    person, client = stoa.person(), stoa.client()
    body = {"refreshToken": person.refresh_token}
    for _ in range(2):
        answer = client.post("/api/v1/auth/refresh", json=body)
        assert answer.status_code == 200
        assert sorted(answer.json()) == ["accessToken", "expiresIn"]
        assert stoa.client(answer.json()["accessToken"]).get("/api/v1/auth/me").status_code == 200
    refused(client.post("/api/v1/auth/refresh", json={"refreshToken": person.token}), 401, "invalid token type")
    for _ in range(2):
        answer = client.post("/api/v1/auth/logout", json=body)
        assert (answer.status_code, answer.json()["message"]) == (200, "logged out")
    refused(client.post("/api/v1/auth/refresh", json=body), 401)
    refused(client.post("/api/v1/auth/logout", json={"refreshToken": "garbage"}), 401)
    assert person.client.get("/api/v1/auth/me").status_code == 200


def test_27_a_client_of_two_generations_may_leave_one_name_null(stoa: Stoa) -> None:
    client, mail = stoa.client(), "noor@atelier.test"
    body = {"username": None, "email": mail, "password": PASSWORD}
    made = client.post("/api/v1/auth/register", json={**body, "display_name": None, "displayName": "Noor"})
    assert (made.status_code, made.json()["user"]["display_name"]) == (201, "Noor")
    assert client.post("/api/v1/auth/login", json=body).status_code == 200
    assert client.post("/api/v1/auth/login", json={**body, "username": mail, "email": None}).status_code == 200


def test_27_a_wrong_password_and_an_unknown_user_get_the_same_answer(stoa: Stoa, admin: Person) -> None:
    client = stoa.client()
    wrong = client.post("/api/v1/auth/login", json={"username": "admin", "password": "Wr0ngPassword"})
    unknown = client.post("/api/v1/auth/login", json={"email": "nobody@atelier.test", "password": PASSWORD})
    bodies = [refused(answer, 401, "invalid credentials") for answer in (wrong, unknown)]
    for body in bodies:
        body.pop("requestId")
    assert bodies[0] == bodies[1]


def test_27_a_taken_name_is_400(stoa: Stoa, admin: Person) -> None:
    client, name = stoa.client(), "kai@atelier.test"
    body = {"email": name, "password": PASSWORD}
    first = client.post("/api/v1/auth/register", json={**body, "displayName": "Kai"})
    assert first.status_code == 201
    user = first.json()["user"]
    assert (user["username"], user["email"], user["display_name"], user["displayName"]) == (name, name, "Kai", "Kai")
    assert user["created_at"] == user["createdAt"]
    assert user["createdAt"].endswith("+00:00")
    refused(client.post("/api/v1/auth/register", json=body), 400, "already taken")
    refused(client.post("/api/v1/auth/register", json={"username": name, "password": PASSWORD}), 400, "already taken")


@pytest.mark.parametrize("password", ["short1A", "nouppercase1", "NOLOWERCASE1", "NoDigitsHere", "Ten1chars"])
def test_28_a_weak_password_is_400(stoa: Stoa, admin: Person, password: str) -> None:
    before = len(admin.client.get("/api/v1/users").json())
    answer = stoa.client().post("/api/v1/auth/register", json={"username": "weak", "password": password})
    refused(answer, 400, "password")
    assert len(admin.client.get("/api/v1/users").json()) == before


def test_28_a_password_of_the_documented_kind_is_201(stoa: Stoa, admin: Person) -> None:
    body = {"username": "strong", "password": "Str0ngPass1", "display_name": "Strong"}
    answer = stoa.client().post("/api/v1/auth/register", json=body)
    assert answer.status_code == 201
    assert list(answer.json()) == ["user"]
    user = answer.json()["user"]
    assert (user["username"], user["email"], user["displayName"]) == ("strong", "strong", "Strong")


MANAGEMENT = [
    ("GET", "/api/v1/status"),
    ("GET", "/api/v1/auth/me"),
    ("GET", "/api/v1/users"),
    ("DELETE", f"/api/v1/users/{NOBODY}"),
    ("DELETE", "/api/v1/users/not-a-uuid"),
    ("GET", "/api/v1/roles"),
    ("POST", "/api/v1/roles"),
    ("PATCH", "/api/v1/roles/x"),
    ("DELETE", "/api/v1/roles/x"),
    ("GET", "/api/v1/roles/assignments"),
    ("POST", "/api/v1/roles/assign"),
    ("POST", "/api/v1/roles/revoke"),
    ("GET", "/api/v1/permissions"),
    ("GET", "/api/v1/permissions/available"),
    ("GET", f"/api/v1/permissions/{NOBODY}"),
    ("GET", "/api/v1/apps"),
    ("POST", "/api/v1/apps"),
    ("DELETE", "/api/v1/apps/x"),
    ("GET", "/api/v1/apps/x/roles"),
    ("POST", "/api/v1/apps/x/roles/assign"),
    ("GET", "/api/v1/apps/x/permissions"),
    ("GET", "/api/v1/apps/x/collections/y"),
    ("POST", "/api/v1/apps/x/collections/y"),
    ("GET", "/api/v1/apps/pg_catalog/collections/y/not-a-uuid"),
    ("POST", "/api/v1/federated/person/query"),
    ("GET", "/api/v1/audit"),
]


@pytest.mark.parametrize(("method", "path"), MANAGEMENT)
def test_29_without_a_good_token_the_answer_is_401(stoa: Stoa, admin: Person, method: str, path: str) -> None:
    refused(stoa.client().request(method, path), 401, "authorization header")
    refused(stoa.client("garbage").request(method, path), 401, "invalid token")
    for header in ("Token x", "bearer x", "Basic eA==", "Bearer"):
        answer = stoa.client().request(method, path, headers={"authorization": header})
        refused(answer, 401, "authorization header")


def test_30_the_last_admin_can_neither_be_revoked_nor_deleted(fresh: Stoa) -> None:
    first, second = fresh.person("first"), fresh.person("second")
    mine = {"userId": first.id, "role": "admin"}
    refused(first.client.post("/api/v1/roles/revoke", json=mine), 400, "last admin")
    refused(first.client.delete(f"/api/v1/users/{first.id}"), 400, "last admin")
    given = first.client.post("/api/v1/roles/assign", json={"userId": second.id, "role": "admin"})
    assert (given.status_code, given.json()["message"]) == (200, "role 'admin' assigned")
    taken = first.client.post("/api/v1/roles/revoke", json=mine)
    assert (taken.status_code, taken.json()["message"]) == (200, "role 'admin' revoked")
    refused(first.client.delete(f"/api/v1/users/{second.id}"), 403)
    assert second.client.post("/api/v1/roles/assign", json=mine).status_code == 200
    deleted = second.client.delete(f"/api/v1/users/{first.id}")
    assert (deleted.status_code, deleted.json()["message"]) == (200, "user deleted")
    refused(second.client.delete(f"/api/v1/users/{first.id}"), 404)
    refused(second.client.delete("/api/v1/users/nobody"), 400)
    refused(second.client.delete(f"/api/v1/users/{SYSTEM}"), 404)
    refused(first.client.get("/api/v1/auth/me"), 401, "principal disabled")


def test_30_the_account_of_the_system_takes_no_role_and_so_is_no_other_admin(fresh: Stoa) -> None:
    first = fresh.person("first")
    for person in (SYSTEM, NOBODY):
        body = {"userId": person, "role": "admin"}
        refused(first.client.post("/api/v1/roles/assign", json=body), 404, "user not found")
    mine = {"userId": first.id, "role": "admin"}
    refused(first.client.post("/api/v1/roles/revoke", json=mine), 400, "last admin")
    assert [held["userId"] for held in first.client.get("/api/v1/roles/assignments").json()] == [first.id]


def test_31_roles_inherit_without_cycles(stoa: Stoa, admin: Person) -> None:
    client, user = admin.client, stoa.person()

    def create(name: str, **more: Any) -> Any:
        return client.post("/api/v1/roles", json={"name": name, **more})

    made = create("b", permissions=["app:atelier:parcels.read"])
    assert (made.status_code, made.json()["message"]) == (200, "role 'b' created")
    assert create("a", inherits=["b", "ghost"], description="A").status_code == 200
    refused(client.patch("/api/v1/roles/b", json={"inherits": ["a"]}), 400, "cycle")
    refused(client.patch("/api/v1/roles/b", json={"inherits": ["b"]}), 400, "cycle")
    assert client.post("/api/v1/roles/assign", json={"userId": user.id, "role": "a"}).status_code == 200
    effective = {"roles": ["a", "b"], "permissions": ["app:atelier:parcels.read"]}
    assert user.client.get("/api/v1/permissions").json() == effective
    assert client.get(f"/api/v1/permissions/{user.id}").json() == effective
    refused(create("admin"), 400)
    refused(create("a"), 400, "exists")
    refused(create(" "), 400)
    refused(create("c", permissions=["Not A Key"]), 400)
    refused(client.post("/api/v1/roles/assign", json={"userId": user.id, "role": "undefined"}), 400, "undefined")
    roles = {role["name"]: role for role in client.get("/api/v1/roles").json()}
    assert list(roles) == sorted(roles)
    assert roles["a"] == {"name": "a", "description": "A", "inherits": ["b", "ghost"], "permissions": []}
    assert roles["b"]["inherits"] == []
    assert "c" not in roles
    refused(client.patch("/api/v1/roles/a", json={}), 400)
    refused(client.patch("/api/v1/roles/ghost", json={"description": "x"}), 404)
    refused(client.patch("/api/v1/roles/admin", json={"permissions": []}), 400)
    assert client.patch("/api/v1/roles/admin", json={"description": "Rules"}).status_code == 200
    refused(client.delete("/api/v1/roles/admin"), 400)
    refused(client.delete("/api/v1/roles/ghost"), 404)
    held = client.get("/api/v1/roles/assignments").json()
    assert held[0]["userId"] == user.id
    assert held[0]["assignedAt"].endswith("Z")
    deleted = client.delete("/api/v1/roles/b")
    assert (deleted.status_code, deleted.json()["message"]) == (200, "role 'b' deleted")
    assert user.client.get("/api/v1/permissions").json() == {"roles": ["a"], "permissions": []}
    refused(client.post("/api/v1/roles/revoke", json={"userId": user.id, "role": "b"}), 404)
    assert client.post("/api/v1/roles/revoke", json={"userId": user.id, "role": "a"}).status_code == 200
    assert user.client.get("/api/v1/permissions").json() == {"roles": [], "permissions": []}


def test_31_permissions_of_others_are_for_admins(stoa: Stoa, admin: Person) -> None:
    one, two = stoa.person(), stoa.person()
    nothing = {"roles": [], "permissions": []}
    assert one.client.get(f"/api/v1/permissions/{one.id}").json() == nothing
    refused(one.client.get(f"/api/v1/permissions/{two.id}"), 403)
    assert admin.client.get(f"/api/v1/permissions/{NOBODY}").json() == nothing
    mine = admin.client.get("/api/v1/permissions").json()
    assert "admin" in mine["roles"]
    assert "*" in mine["permissions"]
    assert one.client.get("/api/v1/permissions/available").json() == []
    keys = [entry["key"] for entry in admin.client.get("/api/v1/permissions/available").json()]
    assert keys == sorted(keys)
    assert "platform:apps.create" in keys


def test_32_a_wildcard_covers_what_is_below_it_and_nothing_beside(stoa: Stoa, admin: Person) -> None:
    deals = [build.entity("deals", build.field("title"))]
    crm = build.app(admin, *deals, app_id="crm")
    beside = build.app(admin, *deals, app_id="crmx")
    below = build.reader(stoa, admin, "app:crm:*")
    assert crm.as_(below).create("deals", title="x")
    refused(below.client.get(beside.path("deals")), 403, "permission denied: app:crmx:deals.read")
    literal = build.reader(stoa, admin, "app:crm:deals.*", "*:read", "app:*:deals.read")
    refused(literal.client.get(crm.path("deals")), 403)


def test_33_an_app_has_an_admin_of_its_own(stoa: Stoa, admin: Person) -> None:
    deals = build.entity("deals", build.field("title"))
    app, other = build.app(admin, deals), build.app(admin, deals)
    user = stoa.person()
    body = {"userId": user.id, "role": "admin"}
    given = admin.client.post(f"/api/v1/apps/{app.app_id}/roles/assign", json=body)
    assert (given.status_code, given.json()["message"]) == (200, "role 'admin' assigned")
    told = user.client.get(f"/api/v1/apps/{app.app_id}/permissions").json()
    assert told["roles"] == ["admin"]
    assert {"deals.create", "deals.read", "deals.update", "deals.delete"} <= set(told["permissions"])
    assert told["permissions"] == sorted(told["permissions"])
    assert not any(key.startswith("app:") or "*" in key for key in told["permissions"])
    assert app.as_(user).create("deals", title="mine")["title"] == "mine"
    refused(user.client.post(other.path("deals"), json={"title": "theirs"}), 403)
    assert user.client.get(f"/api/v1/apps/{other.app_id}/permissions").json() == {"roles": [], "permissions": []}


def test_52_a_federated_query_finds_the_records_of_one_kind_in_all_apps(stoa: Stoa, admin: Person) -> None:
    def person(app_id: str, entity: str) -> Collections:
        fields = (build.field("email"), build.field("name"))
        identity = {"identityKind": "person", "identityKey": "email"}
        return build.app(admin, build.entity(entity, *fields, **identity), app_id=app_id)

    atelier, billing = person("atelier", "couriers"), person("billing", "customers")
    kim = atelier.create("couriers", email="kim@atelier.test", name="Kim")
    other = atelier.create("couriers", email="lee@atelier.test", name="Lee")
    paid = billing.create("customers", email="kim@atelier.test", name="Kim K.")

    def federated(who: Person = admin, kind: str = "person", **asked: Any) -> Any:
        return who.client.post(f"/api/v1/federated/{kind}/query", json=asked)

    found = federated(orderBy="name", order="asc").json()
    assert found == {
        "data": [
            {**kim, "_source": {"app": "atelier", "entity": "couriers"}},
            {**paid, "_source": {"app": "billing", "entity": "customers"}},
            {**other, "_source": {"app": "atelier", "entity": "couriers"}},
        ],
        "total": 3,
    }
    assert federated(where={"email": "kim@atelier.test"}, limit=1).json()["total"] == 2
    assert federated(kind="wombat").json() == {"data": [], "total": 0}
    refused(federated(orderBy="a;b"), 400, "orderBy")
    assert federated(stoa.person()).json() == {"data": [], "total": 0}
    reader = build.reader(stoa, admin, "app:billing:customers.read")
    assert [row["id"] for row in federated(reader).json()["data"]] == [paid["id"]]

    linked = {row["id"]: row.get("_linked") for row in atelier.query("couriers", linked=True)["data"]}
    assert linked == {
        kim["id"]: {"billing": {"entity": "customers", "recordId": paid["id"], "data": paid}},
        other["id"]: None,
    }
    rows = admin.client.get(atelier.path("couriers"), params={"linked": "billing,wombats"}).json()
    assert ["_linked" in row for row in rows] == [False, True]
    rows = admin.client.get(atelier.path("couriers"), params={"linked": "wombats"}).json()
    assert not any("_linked" in row for row in rows)
    half = build.reader(stoa, admin, "app:atelier:couriers.read")
    assert not any("_linked" in row for row in atelier.as_(half).query("couriers", linked=True)["data"])


def test_57_an_uninstalled_app_is_gone_and_can_return(admin: Person) -> None:
    app = parcels(admin, build.field("code"))
    app.create("parcels", code="old")
    for _ in range(2):
        answer = admin.client.delete(f"/api/v1/apps/{app.app_id}")
        assert (answer.status_code, answer.json()["message"]) == (200, f"app '{app.app_id}' uninstalled")
    refused(admin.client.get(app.path("parcels")), 404, app.app_id)
    assert app.app_id not in [row["id"] for row in admin.client.get("/api/v1/apps").json()]
    again(app, build.field("name"))
    assert listed(app) == []
    assert app.create("parcels", name="new")["name"] == "new"
    assert [entry["operation"] for entry in entries(admin, app)] == ["INSERT", "INSERT"]


def test_60_setup_is_required_until_somebody_registers(fresh: Stoa) -> None:
    client = fresh.client()
    mode = {
        "authRequired": True,
        "setupRequired": True,
        "passwordLoginEnabled": True,
        "magicLinkEnabled": True,
        "providers": [],
    }
    assert client.get("/api/v1/auth/mode").json() == mode
    fresh.person()
    assert client.get("/api/v1/auth/mode").json() == {**mode, "setupRequired": False}


# Beyond the list: what its sections on errors, bodies and the system routes say.


def test_health_is_public_and_tells_more_when_asked(stoa: Stoa) -> None:
    client = stoa.client()
    assert client.get("/health").json() == {"status": "ok"}
    for query in ("full", "full=", "full=no"):
        told = client.get(f"/health?{query}").json()
        assert sorted(told) == ["cpu", "database", "disk", "memory", "status"]
        assert told["database"] == {"reachable": True}
        assert sorted(told["memory"]) == ["current_bytes", "limit_bytes"]


def test_status_names_the_parts_with_capitalised_states(admin: Person) -> None:
    told = admin.client.get("/api/v1/status").json()
    assert told["runtime"]["state"] == "Online"
    assert isinstance(told["runtime"]["version"], str)
    assert told["postgres"]["state"] == "Online"
    assert told["forge"] == {"state": "Offline", "port": None}


def test_an_unknown_route_is_404_and_a_wrong_method_405(admin: Person) -> None:
    refused(admin.client.get("/api/v1/wombats"), 404)
    refused(admin.client.get("/api/v1/apps/"), 404)
    answer = admin.client.put("/api/v1/apps")
    refused(answer, 405)
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"


@pytest.mark.parametrize("body", [b"{", b"", b'{"a": NaN}', b'{"a": 1, "a": 2}', b"\xff\xfe"])
def test_a_body_that_is_no_json_is_400(admin: Person, body: bytes) -> None:
    app = parcels(admin)
    headers = {"content-type": "application/json"}
    refused(admin.client.post(app.path("parcels"), content=body, headers=headers), 400)


def test_what_is_of_another_type_is_refused_with_what_it_must_be(admin: Person) -> None:
    app = parcels(admin)
    cron = {"name": "count", "schedule": "1 2 * * *", "overlapPolicy": "drop"}
    for path, body, text in (
        ("/api/v1/auth/register", {"username": "kim", "password": ["Secret"]}, "password must be a string"),
        ("/api/v1/auth/login", {"username": "kim", "password": None}, "password must not be null"),
        ("/api/v1/auth/login", {"username": "a\0b"}, "username must not hold the character U+0000"),
        (f"/api/v1/apps/{app.app_id}/crons", cron, "overlapPolicy must be one of skip, queue"),
        (app.path("parcels", "bulk"), [{"code": "x"}, None], "1 must not be null"),
        (app.path("parcels", "query"), {"where": []}, "where must be an object"),
    ):
        assert refused(admin.client.post(path, json=body), 400)["error"] == text
    jobs = admin.client.get(f"/api/v1/apps/{app.app_id}/jobs", params={"status": "done"})
    refused(jobs, 400, "status must be one of ", "running", "failed")


@pytest.mark.parametrize("body", [[], ["x"], "x", 5, None, {}, {"id": str(uuid4())}, {"created_at": None}])
def test_a_record_is_an_object_with_a_field_to_write(admin: Person, body: Any) -> None:
    app = parcels(admin)
    refused(admin.client.post(app.path("parcels"), json=body), 400)
    assert listed(app) == []


def test_a_query_clamps_its_bounds_silently(admin: Person) -> None:
    app = parcels(admin)
    app.create_many("parcels", [{"value": n} for n in range(150)])
    sizes = {0: 1, -3: 1, 120: 120, 5000: 150}
    for limit, size in sizes.items():
        assert len(app.query("parcels", limit=limit)["data"]) == size
    assert len(app.query("parcels")["data"]) == 100
    assert len(app.query("parcels", offset=-4)["data"]) == 100
    ascending = app.query("parcels", orderBy="value", order="ASC", limit=1)["data"]
    assert [row["value"] for row in ascending] == [0]
    descending = app.query("parcels", orderBy="value", limit=1)["data"]
    assert [row["value"] for row in descending] == [149]
    assert app.query("parcels", orderBy="wombats", limit=150)["total"] == 150


def test_an_integral_number_has_no_decimal_point(admin: Person) -> None:
    app = parcels(admin)
    made = admin.client.post(app.path("parcels"), content=b'{"value": 42.0}').text
    assert '"value":42,' in made


def test_writes_take_numbers_and_booleans_that_are_spelled_as_text(admin: Person) -> None:
    app = parcels(admin, build.field("value", "number"), build.field("fragile", "boolean"), build.field("code"))
    made = app.create("parcels", value="2.5", fragile="true", code={"a": [1, True]})
    assert (made["value"], made["fragile"], made["code"]) == (2.5, True, '{"a":[1,true]}')
    assert app.create("parcels", value=True, fragile=0)["value"] == 1
    for wrong in ({"value": "heavy"}, {"value": [1]}, {"fragile": "maybe"}, {"fragile": 2}, {"fragile": [True]}):
        (name,) = wrong
        assert refused(admin.client.post(app.path("parcels"), json=wrong), 400, name)["field"] == name
    assert len(listed(app)) == 2


def test_a_number_that_is_large_is_shown_everywhere_and_can_be_written_back(admin: Person) -> None:
    app = parcels(admin, build.field("value", "number"), build.field("meta", "json"))
    made = app.create("parcels", value=-3e20, meta={"a": 1e300, "b": 10**40})
    assert made["meta"] == {"a": 10**300, "b": 10**40}
    assert [entry["new_record"] for entry in entries(admin, app)] == [made]
    back = admin.client.patch(app.path("parcels", made["id"]), json=made)
    assert back.status_code == 200
    assert {**back.json(), "updated_at": None} == {**made, "updated_at": None}


def test_a_declaration_shows_large_numbers_as_well(admin: Person) -> None:
    app = parcels(admin, build.field("value", "number", default_value=1e30), build.field("meta", "json"))
    (field, _) = admin.client.get(f"/api/v1/apps/{app.app_id}").json()["dataContract"][0]["fields"]
    assert float(field["default_value"]) == 1e30
    shown = admin.data("query($id: ID!) { app(id: $id) { dataContract manifest } }", id=app.app_id)["app"]
    assert shown["dataContract"][0]["fields"][0] == shown["manifest"]["dataContract"][0]["fields"][0] == field
    assert app.create("parcels", meta=[])["value"] == 1e30


def test_a_call_without_a_credential_is_asked_for_one_before_its_input_is_looked_at(stoa: Stoa, admin: Person) -> None:
    path = "/api/v1/apps/nothing/rpc"
    stranger = stoa.client().post(path, json={})
    assert (stranger.status_code, stranger.headers["www-authenticate"]) == (401, "Bearer")
    known = admin.client.post(path, json={})
    assert (known.status_code, known.json()["field"]) == (400, "method")
    (operation,) = stoa.client().get("/openapi/rootcx.json").json()["paths"]["/api/v1/apps/{appId}/rpc"].values()
    assert operation["security"] == [{"bearer": []}, {}]
