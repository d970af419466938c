"""What a changed manifest does to tables that are there, row by row of RootCX's "Schema diff"."""

import json
from typing import Any
from uuid import uuid4

import pytest

from tests import build
from tests.build import Collections
from tests.harness import Person, Stoa

Change = tuple[str, str | None]


def changes(app: Collections, *entities: dict[str, Any]) -> list[Change]:
    """What installing these entities would change, as the dry run tells it."""
    manifest = build.manifest(*entities, app_id=app.app_id)
    answer = app.person.client.post("/api/v1/apps/schema/verify", json=manifest)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["compliant"] is (told["changes"] == [])
    return [(change["change_type"], change["column"]) for change in told["changes"]]


def install(app: Collections, *entities: dict[str, Any]) -> None:
    """Bring the app to these entities; after it there is nothing left to change."""
    answer = app.person.client.post("/api/v1/apps", json=build.manifest(*entities, app_id=app.app_id))
    assert answer.status_code == 200, answer.text
    assert changes(app, *entities) == []


def refused(app: Collections, *entities: dict[str, Any], text: str) -> None:
    """Bringing the app to these entities fails with a text, and nothing changes."""
    before = app.person.client.get(f"/api/v1/apps/{app.app_id}").json(), rows(app)
    answer = app.person.client.post("/api/v1/apps", json=build.manifest(*entities, app_id=app.app_id))
    assert answer.status_code == 400, answer.text
    assert text in answer.json()["error"]
    assert (app.person.client.get(f"/api/v1/apps/{app.app_id}").json(), rows(app)) == before


def rows(app: Collections, entity: str = "parcels") -> list[dict[str, Any]]:
    """The entity's records, oldest first, without the system's fields."""
    answer = app.person.client.get(app.path(entity), params={"order": "asc", "sort": "created_at"})
    assert answer.status_code == 200, answer.text
    return [
        {name: value for name, value in row.items() if name not in ("id", "created_at", "updated_at")}
        for row in answer.json()
    ]


def values(app: Collections, field: str = "value") -> list[Any]:
    """One field of the records, in the order of their codes."""
    return [row[field] for row in sorted(rows(app), key=lambda row: row["code"])]


def parcels(*fields: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The entity `parcels`: a code, and these fields."""
    return build.entity("parcels", build.field("code"), *fields, **more)


def with_values(admin: Person, field: dict[str, Any], *stored: Any) -> Collections:
    """An app with a parcel for each of the values of a field."""
    app = build.app(admin, parcels(field))
    app.create_many("parcels", [{"code": f"{n:03}", field["name"]: value} for n, value in enumerate(stored)])
    return app


def test_a_dry_run_tells_what_a_first_install_makes_and_makes_nothing(admin: Person, stoa: Stoa) -> None:
    app = Collections(admin, "dry_run")
    assert ("create_table", None) in changes(app, parcels())
    assert stoa.sql("SELECT nspname FROM pg_namespace WHERE nspname = 'dry_run'") == []
    assert admin.client.get("/api/v1/apps/dry_run").status_code == 404


def test_a_dry_run_of_an_invalid_manifest_is_400(admin: Person) -> None:
    answer = admin.client.post("/api/v1/apps/schema/verify", json={"appId": "x"})
    assert answer.status_code == 400
    assert answer.json()["field"] == "name"


def test_a_new_entity_is_a_new_table(admin: Person) -> None:
    app = build.app(admin, parcels())
    app.create("parcels", code="a")
    wanted = [parcels(), build.entity("couriers", build.field("name"))]
    assert ("create_table", None) in changes(app, *wanted)
    install(app, *wanted)
    assert rows(app) == [{"code": "a"}]
    assert app.create("couriers", name="Kim")["name"] == "Kim"


def test_a_new_field_is_a_new_column(admin: Person) -> None:
    app = with_values(admin, build.field("value"), "x")
    wanted = parcels(build.field("value"), build.field("weight", "number", default_value=3))
    manifest = build.manifest(wanted, app_id=app.app_id)
    told = admin.client.post("/api/v1/apps/schema/verify", json=manifest).json()["changes"]
    expected = {"entity": "parcels", "change_type": "add_column", "column": "weight", "detail": "DOUBLE PRECISION"}
    assert told == [expected]
    install(app, wanted)
    assert rows(app) == [{"code": "000", "value": "x", "weight": None}]
    assert app.create("parcels", code="new")["weight"] == 3


def test_a_new_required_field_needs_a_default_where_there_are_rows(admin: Person) -> None:
    app = with_values(admin, build.field("value"), "x")
    required = build.field("weight", "number", required=True)
    refused(app, parcels(build.field("value"), required), text="weight")
    install(app, parcels(build.field("value"), {**required, "default_value": 7}))
    assert values(app, "weight") == [7]
    empty = build.app(admin, parcels())
    install(empty, parcels(required))
    assert admin.client.post(empty.path("parcels"), json={"code": "a"}).status_code == 400


def test_a_removed_field_takes_its_values_and_what_hangs_on_it_along(admin: Person, stoa: Stoa) -> None:
    field = build.field("value", enum_values=["x", "y"])
    app = build.app(admin, parcels(field, indexes=[{"name": "by_value", "columns": ["value", "code"]}]))
    app.create("parcels", code="a", value="x")
    told = changes(app, parcels())
    assert ("drop_column", "value") in told
    assert ("drop_check", None) in told
    assert ("drop_index", None) in told
    plan = admin.data(
        "query($m: JSONObject!) { planApp(manifest: $m) { changes { change loses } } }",
        m=build.manifest(parcels(), app_id=app.app_id),
    )
    assert [c["change"] for c in plan["planApp"]["changes"] if c["loses"]] == ["drop_column"]
    install(app, parcels())
    assert rows(app) == [{"code": "a"}]
    install(app, parcels(build.field("value", "number")))
    assert rows(app) == [{"code": "a", "value": None}]


def test_the_systems_fields_are_never_removed(admin: Person) -> None:
    app = with_values(admin, build.field("value"), "x")
    install(app, build.entity("parcels"))
    (row,) = admin.client.get(app.path("parcels")).json()
    assert sorted(row) == ["created_at", "id", "updated_at"]


def test_a_removed_entity_keeps_its_table_and_returns_with_its_rows(admin: Person, stoa: Stoa) -> None:
    app = build.app(admin, parcels(), build.entity("couriers", build.field("name")))
    kim = app.create("couriers", name="Kim")
    assert changes(app, parcels()) == [("drop_table", None)]
    install(app, parcels())
    assert admin.client.get(app.path("couriers")).status_code == 404
    assert admin.client.get(f"/api/v1/apps/{app.app_id}").json()["dataContract"][0]["entityName"] == "parcels"
    assert stoa.sql(f'SELECT name FROM "{app.app_id}".couriers') == [{"name": "Kim"}]
    couriers = build.entity("couriers", build.field("name"), build.field("phone"))
    assert changes(app, parcels(), couriers) == [("add_column", "phone")]
    install(app, parcels(), couriers)
    (back,) = admin.client.get(app.path("couriers")).json()
    assert back == {**kim, "phone": None}


CONVERSIONS: list[tuple[str, str, list[Any], list[Any]]] = [
    ("text", "number", ["1.5", "", " 42 ", "-3e2", None, "  "], [1.5, None, 42, -300, None, None]),
    (
        "text",
        "boolean",
        ["true", "1", "yes", "t", "TRUE", "false", "0", "no", "f", "maybe", "", None],
        [True] * 5 + [False] * 4 + [None] * 3,
    ),
    ("text", "date", ["2026-01-31", None], ["2026-01-31", None]),
    ("text", "timestamp", ["2026-01-31T10:00:00+02:00"], ["2026-01-31T08:00:00+00:00"]),
    ("text", "json", ['{"a": [1]}', "5", '"x"'], [{"a": [1]}, 5, "x"]),
    ("text", "[text]", ["{a,b}", "{}"], [["a", "b"], []]),
    ("text", "uuid", ["F2B1C7A0-52D3-4F0E-8A55-9D6C0C1E7B42"], ["f2b1c7a0-52d3-4f0e-8a55-9d6c0c1e7b42"]),
    ("text", "file", ["x"], ["x"]),
    ("number", "text", [1, 2.5, None], ["1", "2.5", None]),
    ("number", "boolean", [1, 0, 2], [True, False, None]),
    ("boolean", "text", [True, False], ["true", "false"]),
    ("date", "timestamp", ["2026-01-31"], ["2026-01-31T00:00:00+00:00"]),
    ("timestamp", "date", ["2026-01-31T23:00:00+00:00"], ["2026-01-31"]),
    ("date", "text", ["2026-01-31"], ["2026-01-31"]),
    ("json", "text", [{"a": 1}], ['{"a": 1}']),
    ("[number]", "[text]", [[1, 2.5]], [["1", "2.5"]]),
    ("[text]", "[number]", [["1", "2.5"]], [[1, 2.5]]),
    ("[text]", "text", [["a", "b"]], ["{a,b}"]),
]


@pytest.mark.parametrize(("old", "new", "stored", "shown"), CONVERSIONS)
def test_a_changed_type_converts_what_is_there(
    admin: Person, old: str, new: str, stored: list[Any], shown: list[Any]
) -> None:
    app = with_values(admin, build.field("value", old), *stored)
    told = changes(app, parcels(build.field("value", new)))
    assert told == ([] if (old, new) == ("text", "file") else [("alter_type", "value")])
    install(app, parcels(build.field("value", new)))
    assert values(app) == shown


@pytest.mark.parametrize(
    ("old", "new", "stored"),
    [
        ("text", "number", "abc"),
        ("text", "number", "NaN"),
        ("text", "number", "infinity"),
        ("text", "number", "1e999"),
        ("text", "date", "soon"),
        ("text", "date", "infinity"),
        ("text", "timestamp", "now"),
        ("text", "timestamp", "-infinity"),
        ("text", "timestamp", "2026-13-01T00:00:00Z"),
        ("text", "json", "{"),
        ("text", "uuid", "x"),
        ("text", "[text]", "a,b"),
        ("[text]", "[number]", ["1", "x"]),
        ("[text]", "[number]", ["NaN"]),
        ("boolean", "number", True),
        ("json", "number", {"a": 1}),
    ],
)
def test_what_cannot_be_converted_fails_and_stays(admin: Person, old: str, new: str, stored: Any) -> None:
    app = with_values(admin, build.field("value", old), stored)
    refused(app, parcels(build.field("value", new), build.field("more")), text="value")
    assert values(app) == [stored]


def test_a_changed_type_takes_the_default_and_the_options_along(admin: Person) -> None:
    app = with_values(admin, build.field("value", default_value="1", enum_values=["1", "2"]), "2")
    wanted = parcels(build.field("value", "number", default_value=2, enum_values=["1", "2"]))
    install(app, wanted)
    assert values(app) == [2]
    assert app.create("parcels", code="new")["value"] == 2
    assert admin.client.post(app.path("parcels"), json={"value": 3}).status_code == 400
    install(app, parcels(build.field("value", "boolean")))
    assert app.create("parcels", code="newer")["value"] is None


def test_required_goes_on_where_every_row_has_a_value_and_off_at_any_time(admin: Person) -> None:
    app = with_values(admin, build.field("value"), "x", None)
    required = parcels(build.field("value", required=True))
    refused(app, required, text="value")
    empty = next(row for row in admin.client.get(app.path("parcels")).json() if row["value"] is None)
    admin.client.patch(app.path("parcels", empty["id"]), json={"value": "y"})
    assert changes(app, required) == [("set_not_null", "value")]
    install(app, required)
    assert admin.client.post(app.path("parcels"), json={"code": "z"}).status_code == 400
    assert changes(app, parcels(build.field("value"))) == [("drop_not_null", "value")]
    install(app, parcels(build.field("value")))
    assert app.create("parcels", code="z")["value"] is None


def test_a_changed_default_is_for_new_rows_only(admin: Person) -> None:
    app = build.app(admin, parcels(build.field("value", default_value="one")))
    app.create("parcels", code="a")
    for default, change in (("two", "set_default"), (None, "drop_default"), ("it's \\ new", "set_default")):
        wanted = parcels(build.field("value", **({} if default is None else {"default_value": default})))
        assert changes(app, wanted) == [(change, "value")]
        install(app, wanted)
        assert app.create("parcels", code="b")["value"] == default
    assert rows(app)[0]["value"] == "one"


@pytest.mark.parametrize(
    ("type", "default", "same"),
    [
        ("number", 1.50, "1.5"),
        ("number", 1e20, 100000000000000000000.0),
        ("boolean", True, "true"),
        ("date", "2026-01-31", "2026-01-31"),
        ("timestamp", "2026-01-31T10:00:00+02:00", "2026-01-31T08:00:00Z"),
        ("json", {"b": [1, 2], "a": 1.0}, {"a": 1, "b": [1, 2]}),
        ("text", 5, "5"),
        ("uuid", "f2b1c7a0-52d3-4f0e-8a55-9d6c0c1e7b42", "F2B1C7A0-52D3-4F0E-8A55-9D6C0C1E7B42"),
    ],
)
def test_a_default_in_another_spelling_is_no_change(admin: Person, type: str, default: Any, same: Any) -> None:
    app = build.app(admin, parcels(build.field("value", type, default_value=default)))
    assert changes(app, parcels(build.field("value", type, default_value=default))) == []
    assert changes(app, parcels(build.field("value", type, default_value=same))) == []


def test_options_are_widened_narrowed_and_taken_away(admin: Person) -> None:
    app = with_values(admin, build.field("value", enum_values=["a", "b"]), "a", "b")

    def create(value: str) -> int:
        return admin.client.post(app.path("parcels"), json={"code": "z", "value": value}).status_code

    assert create("c") == 400
    wider = parcels(build.field("value", enum_values=["a", "b", "c"]))
    assert changes(app, wider) == [("replace_check", "value")]
    install(app, wider)
    assert create("c") == 201
    refused(app, parcels(build.field("value", enum_values=["a", "b"])), text="value")
    free = parcels(build.field("value"))
    assert changes(app, free) == [("drop_check", None)]
    install(app, free)
    assert create("anything") == 201
    assert changes(app, wider) == [("add_check", "value")]
    refused(app, wider, text="value")


@pytest.mark.parametrize(
    ("type", "options", "good", "bad"),
    [
        ("[text]", ["a", "b"], ["a", "a"], ["a", "c"]),
        ("[number]", ["1", "2.5"], [2.5, 1.0], [1, 3]),
        ("number", ["1", "2.5"], 1.0, 3),
        ("date", ["2026-01-31"], "2026-01-31", "2026-02-01"),
        ("timestamp", ["2026-01-31T10:00:00+02:00"], "2026-01-31T08:00:00Z", "2026-01-31T10:00:00Z"),
        ("boolean", ["true"], True, False),
        ("json", ["x"], "x", {"x": 1}),
    ],
)
def test_options_hold_for_every_type_on_new_tables_and_on_old(
    admin: Person, stoa: Stoa, type: str, options: list[str], good: Any, bad: Any
) -> None:
    field = build.field("value", type, enum_values=options)
    old, new = build.app(admin, parcels()), build.app(admin, parcels(field))
    install(old, parcels(field))
    for app in (old, new):
        assert app.create("parcels", code="good", value=good)
        assert app.create("parcels", code="none", value=None)["value"] is None
        answer = admin.client.post(app.path("parcels"), json={"code": "bad", "value": bad})
        assert (answer.status_code, answer.json()["field"]) == (400, "value")
    column = {"[text]": "text[]", "[number]": "float8[]", "number": "float8", "json": "jsonb"}.get(type, type)
    by_hand = f'INSERT INTO "{new.app_id}".parcels (value) SELECT v FROM jsonb_to_record($1) AS r (v {column})'
    with pytest.raises(Exception, match="chk_parcels_value"):
        stoa.sql(by_hand.replace("timestamp)", "timestamptz)"), json.dumps({"v": bad}))


def test_a_changed_delete_rule_replaces_the_key(admin: Person) -> None:
    couriers = build.entity("couriers", build.field("name"))
    app = build.app(admin, couriers, parcels(build.link("courier", "couriers")))
    for rule in ("cascade", "restrict", "set_null"):
        wanted = parcels(build.link("courier", "couriers", on_delete=rule))
        assert changes(app, couriers, wanted) == [("alter_fk_delete_rule", "courier")]
        install(app, couriers, wanted)
        kim = app.create("couriers", name="Kim")
        parcel = app.create("parcels", courier=kim["id"])
        gone = admin.client.delete(app.path("couriers", kim["id"])).status_code
        assert gone == (409 if rule == "restrict" else 200)
        left = admin.client.get(app.path("parcels", parcel["id"]))
        assert left.status_code == (404 if rule == "cascade" else 200)
        if rule == "set_null":
            assert left.json()["courier"] is None


def test_a_link_can_come_go_and_lead_elsewhere(admin: Person) -> None:
    couriers, zones = build.entity("couriers", build.field("name")), build.entity("zones")
    app = build.app(admin, couriers, zones, parcels(build.field("to", "uuid")))
    app.create("parcels", code="a", to=str(uuid4()))
    refused(app, couriers, zones, parcels(build.link("to", "couriers")), text="to")
    app.person.client.patch(app.path("parcels", app.query("parcels")["data"][0]["id"]), json={"to": None})
    install(app, couriers, zones, parcels(build.link("to", "couriers")))
    kim = app.create("couriers", name="Kim")
    assert app.create("parcels", code="b", to=kim["id"])["to"] == kim["id"]
    refused(app, couriers, zones, parcels(build.link("to", "zones")), text="to")
    install(app, couriers, zones, parcels(build.field("to", "entity_link")))
    assert app.create("parcels", code="c", to=str(uuid4()))


def test_a_required_link_that_is_to_be_cleared_keeps_its_record(admin: Person) -> None:
    couriers = build.entity("couriers", build.field("name"))
    app = build.app(admin, couriers, parcels(build.link("courier", "couriers", required=True, on_delete="set_null")))
    kim = app.create("couriers", name="Kim")
    app.create("parcels", courier=kim["id"])
    answer = admin.client.delete(app.path("couriers", kim["id"]))
    assert answer.status_code == 409
    assert "foreign key constraint violated" in answer.json()["error"]


def test_an_id_of_its_own_can_come_and_go(admin: Person) -> None:
    zones, own = build.entity("zones"), build.entity("zones", build.field("id", "text", is_primary_key=True))
    linked = parcels(build.link("zone", "zones"))
    app = build.app(admin, zones, linked)
    app.create("parcels", code="a")
    told = changes(app, own, linked)
    assert ("alter_type", "id") in told
    assert ("alter_type", "zone") in told
    install(app, own, linked)
    assert app.create("zones", id="north")["id"] == "north"
    assert app.create("parcels", code="b", zone="north")["zone"] == "north"
    missing = admin.client.post(app.path("zones"), json={"created_at": None, "id": None})
    assert missing.status_code == 400
    assert admin.client.get(app.path("zones", str(uuid4()))).status_code == 404
    refused(app, zones, linked, text="id")
    assert [row["id"] for row in admin.client.get(app.path("zones")).json()] == ["north"]


@pytest.mark.parametrize("type", ["number", "date", "timestamp", "boolean", "json", "[text]"])
def test_a_record_with_another_id_than_a_uuid_is_not_reachable_by_id(admin: Person, type: str) -> None:
    app = build.app(admin, build.entity("zones", build.field("id", type, is_primary_key=True)))
    for method in ("GET", "PATCH", "DELETE"):
        body = {"created_at": None} if method == "PATCH" else None
        assert admin.client.request(method, app.path("zones", str(uuid4())), json=body).status_code == 404


def test_a_key_of_another_name_is_required_and_unique(admin: Person) -> None:
    app = build.app(admin, parcels(build.field("number", is_primary_key=True)))
    app.create("parcels", number="1")
    twice = admin.client.post(app.path("parcels"), json={"number": "1"})
    assert (twice.status_code, twice.json()["field"]) == (409, "number")
    assert admin.client.post(app.path("parcels"), json={"code": "x"}).status_code == 400
    install(app, parcels(build.field("number")))
    assert app.create("parcels", number="1")


def test_indexes_are_made_replaced_and_dropped(admin: Person, stoa: Stoa) -> None:
    fields = (build.field("zone"), build.field("weight", "number"), build.field("tags", "[text]"))
    app = build.app(admin, parcels(*fields))

    def indexes() -> dict[str, str]:
        made = stoa.sql("SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = $1", app.app_id)
        return {row["indexname"]: row["indexdef"].split(" USING ")[1] for row in made if "by_" in row["indexname"]}

    steps: list[tuple[list[dict[str, Any]], list[Change], dict[str, str]]] = [
        (
            [{"name": "by_zone", "columns": ["zone", {"column": "weight", "sort": "desc", "nulls": "last"}]}],
            [("add_index", "zone")],
            {"by_zone": "btree (zone, weight DESC NULLS LAST)"},
        ),
        (
            [{"name": "by_zone", "columns": ["zone"], "unique": True, "where": "weight > 1"}],
            [("replace_index", "zone")],
            {"by_zone": "btree (zone) WHERE (weight > (1)::double precision)"},
        ),
        (
            [{"name": "by_zone", "columns": ["zone"], "where": "weight>1"}],
            [("replace_index", "zone")],
            {"by_zone": "btree (zone) WHERE (weight > (1)::double precision)"},
        ),
        (
            [
                {"name": "by_zone", "columns": ["zone"], "where": "weight  >  1"},
                {"name": "by_tags", "columns": ["tags"], "using": "gin"},
                {"name": "by_lower", "columns": [{"expr": "lower(zone)", "ops": "text_pattern_ops"}]},
                {"name": "by_fill", "columns": ["code"], "with": {"fillfactor": "70"}},
            ],
            [("add_index", "tags"), ("add_index", None), ("add_index", "code")],
            {
                "by_zone": "btree (zone) WHERE (weight > (1)::double precision)",
                "by_tags": "gin (tags)",
                "by_lower": "btree (lower(zone) text_pattern_ops)",
                "by_fill": "btree (code) WITH (fillfactor='70')",
            },
        ),
        ([], [("drop_index", None)] * 4, {}),
    ]
    for declared, told, there in steps:
        wanted = parcels(*fields, indexes=declared)
        assert changes(app, wanted) == told
        install(app, wanted)
        assert indexes() == there


def test_an_identity_brings_an_index_and_takes_it_away(admin: Person) -> None:
    app = build.app(admin, parcels(build.field("email")))
    known = parcels(build.field("email"), identityKind="person", identityKey="email")
    assert changes(app, known) == [("add_identity_index", "email")]
    install(app, known)
    assert changes(app, parcels(build.field("email"))) == [("drop_identity_index", None)]
    install(app, parcels(build.field("email")))


def test_checks_are_made_replaced_and_dropped(admin: Person) -> None:
    weight = build.field("weight", "number")
    app = build.app(admin, parcels(weight, checks=[{"name": "light", "expr": "weight < 10"}]))
    app.create("parcels", weight=5)
    heavy = admin.client.post(app.path("parcels"), json={"weight": 50})
    assert heavy.status_code == 400
    assert "light" in heavy.json()["error"]
    wider = parcels(weight, checks=[{"name": "light", "expr": "weight < 100"}])
    assert changes(app, wider) == [("replace_check", None)]
    install(app, wider)
    app.create("parcels", weight=50)
    refused(app, parcels(weight, checks=[{"name": "light", "expr": "weight < 10"}]), text="light")
    assert changes(app, parcels(weight)) == [("drop_check", None)]
    install(app, parcels(weight))
    app.create("parcels", weight=5000)


def test_a_unique_index_is_refused_over_equal_values_and_then_holds(admin: Person) -> None:
    app = with_values(admin, build.field("value"), "x", "x")
    wanted = parcels(build.field("value"), indexes=[{"name": "once", "columns": ["value"], "unique": True}])
    refused(app, wanted, text="value")
    admin.client.patch(app.path("parcels", app.query("parcels")["data"][0]["id"]), json={"value": "y"})
    install(app, wanted)
    answer = admin.client.post(app.path("parcels"), json={"value": "x"})
    assert (answer.status_code, answer.json()["field"]) == (409, "value")


@pytest.mark.parametrize(
    "declared",
    [
        {"checks": [{"name": "chk_parcels_value", "expr": "code > 'a'"}]},
        {"indexes": [{"name": "idx_parcels_created_at", "columns": ["code"]}]},
        {"indexes": [{"name": "parcels", "columns": ["code"]}]},
        {"indexes": [{"name": "parcels_pkey", "columns": ["code"]}]},
    ],
)
def test_a_name_the_engine_uses_itself_is_refused(admin: Person, declared: dict[str, Any]) -> None:
    app = with_values(admin, build.field("value"), "x")
    refused(app, parcels(build.field("value", enum_values=["x"]), **declared), text="parcels")


def test_two_entities_cannot_share_the_name_of_an_index(admin: Person) -> None:
    app = with_values(admin, build.field("value"), "x")
    index = [{"name": "by_code", "columns": ["code"]}]
    couriers = build.entity("couriers", build.field("code"), indexes=index)
    refused(app, parcels(indexes=index), couriers, text="by_code")


@pytest.mark.parametrize(
    ("declared", "text"),
    [
        ({"checks": [{"name": "odd", "expr": "code"}]}, "odd"),
        ({"checks": [{"name": "odd", "expr": "code + 1 > 0"}]}, "odd"),
        ({"checks": [{"name": "odd", "expr": "lower(code, code) = ''"}]}, "odd"),
        ({"indexes": [{"name": "odd", "columns": ["code", "value"], "using": "hash"}]}, "odd"),
        ({"indexes": [{"name": "odd", "columns": [{"column": "code", "ops": "no_such_ops"}]}]}, "odd"),
        ({"indexes": [{"name": "odd", "columns": ["code"], "with": {"no_such": "1"}}]}, "odd"),
        ({"indexes": [{"name": "odd", "columns": [{"expr": "now()"}]}]}, "odd"),
    ],
)
def test_what_postgresql_does_not_take_is_refused_in_our_words(
    admin: Person, declared: dict[str, Any], text: str
) -> None:
    app = with_values(admin, build.field("value"), "x")
    refused(app, parcels(build.field("value"), build.field("more"), **declared), text=text)


def test_names_that_postgresql_would_cut_stay_apart(admin: Person) -> None:
    long = "f" + "x" * 62
    other = long[:-1] + "y"
    entity = "e" + "n" * 62
    declared = build.entity(
        entity, build.link(long, entity), build.link(other, entity), build.field("o", enum_values=["a"])
    )
    app = build.app(admin, declared)
    one = app.create(entity, o="a")
    assert app.create(entity, **{long: one["id"], other: one["id"]})[other] == one["id"]
    assert changes(app, declared) == []
    answer = admin.client.post(app.path(entity), json={other: str(uuid4())})
    assert (answer.status_code, answer.json()["field"]) == (409, other)
