"""Reading manifests: what is taken in which spelling, what is left out, and the path of what is wrong."""

from copy import deepcopy
from typing import Any

import pytest

from domain.apps.manifest import parse_manifest
from domain.kernel.errors import Invalid
from domain.records.declared import Check, Identity, Index, IndexPart, Link, OnDelete
from tests.build import entity, field, link, manifest

GOOD = manifest(
    entity("couriers", field("name"), field("email"), identityKind="person", identityKey="email"),
    entity(
        "parcels",
        field("code", required=True),
        field("weight", "number"),
        link("courier", "couriers"),
        indexes=[{"name": "by_code", "columns": ["code"]}],
        checks=[{"name": "heavy", "expr": "weight < 100"}],
    ),
    app_id="atelier",
    permissions={"permissions": [{"key": "parcels.print"}]},
    actions=[{"id": "label", "name": "Label"}],
    crons=[{"name": "nightly", "schedule": "0 3 * * *"}],
    webhooks=["carrier", {"name": "other", "method": "PUT"}],
    trigger={"appId": "billing", "entity": "invoices", "on": ["insert", "UPDATE"]},
)


def changed(path: str, value: Any) -> dict[str, Any]:
    """The good manifest with another value at a path; `...` takes it away."""
    made = deepcopy(GOOD)
    *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    inside: Any = made
    for step in steps:
        inside = inside[step]
    if value is ...:
        del inside[last]
    else:
        inside[last] = value
    return made


CODE = "dataContract.1.fields.0"
COURIER = "dataContract.1.fields.2"
INDEX = "dataContract.1.indexes.0"
CRON = "crons.0"

WRONG: list[tuple[str, Any, str]] = [
    ("appId", ..., "appId"),
    ("appId", "Atelier", "appId"),
    ("appId", "1st", "appId"),
    ("appId", "a-b", "appId"),
    ("appId", "a" * 64, "appId"),
    ("appId", 5, "appId"),
    ("name", ..., "name"),
    ("name", " ", "name"),
    ("name", "a\x00b", "name"),
    ("version", 2, "version"),
    ("type", "plugin", "type"),
    ("dataContract", {}, "dataContract"),
    ("dataContract.0", "couriers", "dataContract.0"),
    ("dataContract.0.entityName", ..., "dataContract.0.entityName"),
    ("dataContract.0.entityName", "Couriers", "dataContract.0.entityName"),
    ("dataContract.0.entityName", "parcels", "dataContract.1.entityName"),
    ("dataContract.0.fields", ..., "dataContract.0.fields"),
    ("dataContract.0.identityKind", "Per son", "dataContract.0.identityKind"),
    ("dataContract.0.identityKind", ..., "dataContract.0.identityKind"),
    ("dataContract.0.identityKey", ..., "dataContract.0.identityKey"),
    ("dataContract.0.identityKey", "phone", "dataContract.0.identityKey"),
    (f"{CODE}.name", ..., f"{CODE}.name"),
    (f"{CODE}.name", "Code", f"{CODE}.name"),
    (f"{CODE}.name", "ctid", f"{CODE}.name"),
    (f"{CODE}.name", "weight", "dataContract.1.fields.1.name"),
    (f"{CODE}.type", ..., f"{CODE}.type"),
    (f"{CODE}.type", 5, f"{CODE}.type"),
    (f"{CODE}.required", "yes", f"{CODE}.required"),
    (f"{CODE}.enum_values", [], f"{CODE}.enum_values"),
    (f"{CODE}.enum_values", ["a", "a"], f"{CODE}.enum_values"),
    (f"{CODE}.enum_values", ["a", 5], f"{CODE}.enum_values"),
    (f"{CODE}.enum_values", "a", f"{CODE}.enum_values"),
    (f"{CODE}.default_value", "a\x00", f"{CODE}.default_value"),
    ("dataContract.1.fields.1.default_value", "heavy", "dataContract.1.fields.1.default_value"),
    ("dataContract.1.fields.1.enum_values", ["1", "heavy"], "dataContract.1.fields.1.enum_values"),
    ("dataContract.1.fields.1.enum_values", ["1", "1.0"], "dataContract.1.fields.1.enum_values"),
    (f"{COURIER}.references", "couriers", f"{COURIER}.references"),
    (f"{COURIER}.references", {"entity": "couriers"}, f"{COURIER}.references.field"),
    (f"{COURIER}.references", {"field": "id"}, f"{COURIER}.references.entity"),
    (f"{COURIER}.references.entity", "drivers", f"{COURIER}.references.entity"),
    (f"{COURIER}.references.entity", "core:apps", f"{COURIER}.references.entity"),
    (f"{COURIER}.references.entity", "billing:invoices", f"{COURIER}.references.entity"),
    (f"{COURIER}.on_delete", "explode", f"{COURIER}.on_delete"),
    (f"{INDEX}.columns", [], f"{INDEX}.columns"),
    (f"{INDEX}.columns", ["colour"], f"{INDEX}.columns.0"),
    (f"{INDEX}.columns", [{"column": "code", "expr": "lower(code)"}], f"{INDEX}.columns.0"),
    (f"{INDEX}.columns", [{"sort": "asc"}], f"{INDEX}.columns.0"),
    (f"{INDEX}.columns", [{"column": "code", "sort": "up"}], f"{INDEX}.columns.0.sort"),
    (f"{INDEX}.columns", [{"column": "code", "nulls": "none"}], f"{INDEX}.columns.0.nulls"),
    (f"{INDEX}.columns", [{"column": "code", "ops": "a b"}], f"{INDEX}.columns.0.ops"),
    (f"{INDEX}.columns", [{"expr": "pg_sleep(1)"}], f"{INDEX}.columns.0.expr"),
    (f"{INDEX}.columns", [{"expr": ""}], f"{INDEX}.columns.0.expr"),
    (f"{INDEX}.using", "bitmap", f"{INDEX}.using"),
    (f"{INDEX}.where", "true) tablespace (x", f"{INDEX}.where"),
    (f"{INDEX}.with", {"fillfactor": "70); drop"}, f"{INDEX}.with"),
    (f"{INDEX}.with", {"fill factor": "70"}, f"{INDEX}.with"),
    (f"{INDEX}.name", "By Code", f"{INDEX}.name"),
    ("dataContract.1.indexes", [{"name": "x", "columns": ["code"]}] * 2, "dataContract.1.indexes.1.name"),
    ("dataContract.1.checks", [{"name": "x", "expr": "weight > 1"}] * 2, "dataContract.1.checks.1.name"),
    ("dataContract.1.checks.0.expr", "(select 1) = 1", "dataContract.1.checks.0.expr"),
    ("dataContract.1.checks.0.expr", ..., "dataContract.1.checks.0.expr"),
    ("permissions", [], "permissions"),
    ("permissions.permissions.0.key", "Print It", "permissions.permissions.0.key"),
    ("permissions.permissions.0.key", ..., "permissions.permissions.0.key"),
    ("actions.0.id", "Label!", "actions.0.id"),
    ("actions.0.name", ..., "actions.0.name"),
    ("actions.0.inputSchema", {"const": "a\x00"}, "actions.0.inputSchema"),
    ("configSchema", {"title": "a\x00"}, "configSchema"),
    ("configSchema", "none", "configSchema"),
    (f"{CRON}.name", "two words", f"{CRON}.name"),
    (f"{CRON}.schedule", "@daily", f"{CRON}.schedule"),
    (f"{CRON}.schedule", "0 8 * * MON", f"{CRON}.schedule"),
    (f"{CRON}.schedule", "0 8 * *", f"{CRON}.schedule"),
    (f"{CRON}.schedule", "60 seconds", f"{CRON}.schedule"),
    (f"{CRON}.overlapPolicy", "drop", f"{CRON}.overlapPolicy"),
    (f"{CRON}.method", 5, f"{CRON}.method"),
    ("crons.0", {"name": "n", "schedule": "1 seconds", "method": "x", "payload": [1]}, f"{CRON}.payload"),
    ("webhooks.1.name", ..., "webhooks.1.name"),
    ("webhooks.0", 5, "webhooks.0"),
    ("trigger.on", ["upsert"], "trigger.on"),
    ("trigger.on", [], "trigger.on"),
    ("trigger.appId", "Not An App", "trigger.appId"),
]


def test_the_good_manifest_is_good() -> None:
    assert parse_manifest(GOOD).app_id == "atelier"


@pytest.mark.parametrize(("path", "value", "told"), WRONG)
def test_what_is_wrong_is_told_with_its_path(path: str, value: Any, told: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_manifest(changed(path, value))
    assert refused.value.field == told
    assert refused.value.message.startswith(told)


@pytest.mark.parametrize("source", [None, [], "x", 5])
def test_a_manifest_is_an_object(source: Any) -> None:
    with pytest.raises(Invalid):
        parse_manifest(source)


def test_fields_are_taken_in_both_spellings_and_kept_in_one() -> None:
    snake = entity(
        "parcels",
        field("state", default_value="new", enum_values=["new", "sent"]),
        field("number", is_primary_key=True),
        link("parent", "parcels", on_delete="cascade"),
    )
    camel = entity(
        "parcels",
        field("state", defaultValue="new", enumValues=["new", "sent"]),
        field("number", isPrimaryKey=True),
        link("parent", "parcels", onDelete="cascade"),
    )
    one, two = (parse_manifest(manifest(declared, app_id="atelier")) for declared in (snake, camel))
    assert one.types == two.types
    assert one.document == two.document
    state, number, parent = one.types[0].fields
    assert (state.default, state.options) == ("new", ("new", "sent"))
    assert (number.unique, number.required) == (True, True)
    assert parent.link == Link("parcels", OnDelete.CASCADE)


def test_what_is_left_out_has_its_default() -> None:
    document = parse_manifest({"appId": "bare", "name": "Bare"}).document
    assert document == {
        "appId": "bare",
        "name": "Bare",
        "version": "0.0.1",
        "description": "",
        "type": "app",
        "dataContract": [],
        "permissions": {"permissions": []},
        "actions": [],
        "webhooks": [],
        "crons": [],
    }


def test_the_kept_form_has_no_unknown_keys_and_reads_as_itself() -> None:
    source = deepcopy(GOOD)
    source["extra"] = 1
    parcels = source["dataContract"][1]
    parcels["fields"][2]["references"]["extra"] = 1
    for inside in (parcels, parcels["fields"][0], parcels["indexes"][0], parcels["checks"][0], source["actions"][0]):
        inside["extra"] = 1
    parcels["indexes"][0]["columns"] = [{"column": "code", "sort": "desc", "extra": 1}]
    kept = parse_manifest(source)
    assert "extra" not in repr(kept.document)
    again = parse_manifest(kept.document)
    assert (again.document, again.types) == (kept.document, kept.types)


def test_the_parts_of_a_manifest_are_read() -> None:
    couriers, parcels = parse_manifest(GOOD).types
    assert couriers.identity == Identity("person", "email")
    assert parcels.indexes == (Index("by_code", (IndexPart(column="code"),)),)
    assert parcels.checks == (Check("heavy", '"weight" < 100'),)
    assert [f.name for f in parcels.fields] == ["code", "weight", "courier"]
    read = parse_manifest(GOOD)
    assert read.custom_keys == {"parcels.print": ""}
    assert read.actions == ("label",)
    assert read.document["webhooks"] == [{"name": "carrier", "method": "POST"}, {"name": "other", "method": "PUT"}]
    assert read.document["trigger"]["on"] == ["INSERT", "UPDATE"]
    assert read.document["crons"][0]["overlapPolicy"] == "skip"


def test_the_rule_of_a_link_follows_from_required() -> None:
    declared = entity(
        "parcels",
        link("may", "parcels"),
        link("must", "parcels", required=True),
        link("both", "parcels", required=True, on_delete="set_null"),
        link("user", "core:users"),
        field("loose", "entity_link"),
    )
    fields = parse_manifest(manifest(declared)).types[0].fields
    assert [f.link.on_delete if f.link else None for f in fields] == [
        "set_null",
        "restrict",
        "set_null",
        "set_null",
        None,
    ]


def test_the_systems_own_times_cannot_be_declared() -> None:
    declared = entity("parcels", field("created_at", "text"), field("code"), field("updated_at"))
    assert [f.name for f in parse_manifest(manifest(declared)).types[0].fields] == ["code"]


def test_defaults_that_cannot_be_are_left_out() -> None:
    declared = entity(
        "parcels",
        field("tags", "[text]", default_value=["a"]),
        field("meta", "json", default_value={"a": [1]}),
        field("key", is_primary_key=True, default_value="x"),
        field("none", default_value=None),
        field("no", "boolean", default_value=False),
        field("zero", "number", default_value="0"),
    )
    assert [f.default for f in parse_manifest(manifest(declared)).types[0].fields] == [
        None,
        {"a": [1]},
        None,
        None,
        False,
        0,
    ]


def test_there_are_bounds() -> None:
    for too_much in (
        manifest(*(entity(f"e{n}") for n in range(501))),
        manifest(entity("e", *(field(f"f{n}") for n in range(501)))),
        manifest(entity("e", field("f", enum_values=[str(n) for n in range(1001)]))),
    ):
        with pytest.raises(Invalid):
            parse_manifest(too_much)
