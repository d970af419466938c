"""Enums: fields that declare their values have them as types of the schema, where GraphQL can spell them."""

from typing import Any

import pytest
from graphql import build_schema, validate_schema

from tests import build
from tests.build import entity, field
from tests.harness import Person, Stoa
from tests.typed.asking import Typed


@pytest.fixture(scope="module")
def typed(admin: Person) -> Typed:
    deals = entity(
        "deals",
        field("name", required=True),
        field("status", "enum", enum_values=["Open", "Won"], required=True, description="How it stands."),
        field("currency", enum_values=["EUR", "_x1"], unique=True),
        field("stage", enum_values=["Lead", "Closed Won"]),
        field("channels", "multi_enum", enum_values=["mail", "phone"]),
        field("flag", "enum", enum_values=["true", "other"]),
    )
    app = Typed.of(build.app(admin, deals, entity("deal_statuses", field("name")), dialect="stoa"))
    create = "mutation($values: [DealCreate!]!) {createDeals(values: $values) {id}}"
    app.data(
        create,
        values=[
            {"name": "a", "status": "Open", "currency": "EUR", "channels": ["phone", "mail"], "stage": "Closed Won"},
            {"name": "b", "status": "Won", "currency": "_x1", "channels": ["mail"]},
        ],
    )
    return app


def names(found: dict[str, Any]) -> list[str]:
    (listed,) = found.values()
    return sorted(node["name"] for node in listed["nodes"])


def test_they_are_types_of_the_schema(typed: Typed) -> None:
    sdl = typed.person.client.get(f"/graphql/{typed.app_id}/schema.graphql").text
    assert validate_schema(build_schema(sdl)) == []
    assert '"""How it stands."""\nenum DealStatusChoice {\n  Open\n  Won\n}' in sdl  # a DealStatus is something else
    assert "enum DealCurrency {\n  EUR\n  _x1\n}" in sdl
    for line in (
        "status: DealStatusChoice!",
        "currency: DealCurrency\n",
        "channels: [DealChannels!]\n",
        "stage: String\n",
        "flag: String\n",
        "status: DealStatusChoiceFilter\n",
        "dealByCurrency(currency: DealCurrency!): Deal",
        "in: [DealCurrency!]",
    ):
        assert line in sdl, line


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("{status: {eq: Open}}", ["a"]),
        ("{status: {in: [Open, Won]}}", ["a", "b"]),
        ("{status: {in: Won}}", ["b"]),
        ("{currency: {ne: EUR}}", ["b"]),
        ("{channels: {contains: [phone]}}", ["a"]),
        ('{stage: {eq: "Closed Won"}}', ["a"]),
    ],
)
def test_records_are_found_by_them(typed: Typed, where: str, found: list[str]) -> None:
    assert names(typed.data(f"{{deals(where: {where}) {{nodes {{name}}}}}}")) == found


def test_variables_may_be_of_them(typed: Typed) -> None:
    query = """query($status: DealStatusChoice!, $others: [DealCurrency!]) {
      deals(where: {status: {eq: $status}, currency: {in: $others}}) {nodes {name}}
    }"""
    assert names(typed.data(query, status="Won", others=["EUR", "_x1"])) == ["b"]
    assert names(typed.data(query, status="Open", others=["_x1"])) == []
    code, message = typed.error(query, status="Lost")
    assert (code, "Value 'Lost' does not exist in 'DealStatusChoice' enum" in message) == ("INVALID_INPUT", True)


def test_a_record_is_written_with_them(typed: Typed) -> None:
    create = """mutation($s: DealStatusChoice!) {
      createDeal(values: {name: "c", status: $s, channels: phone}) {id status channels}
    }"""
    made = typed.data(create, s="Open")["createDeal"]
    assert (made["status"], made["channels"]) == ("Open", ["phone"])
    update = f'mutation {{updateDeal(id: "{made["id"]}", values: {{status: Won}}) {{status}}}}'
    assert typed.data(update) == {"updateDeal": {"status": "Won"}}
    assert typed.data(f'mutation {{deleteDeal(id: "{made["id"]}") {{name}}}}') == {"deleteDeal": {"name": "c"}}
    _, message = typed.error('mutation {createDeal(values: {name: "d", status: "Open"}) {id}}')
    assert "Did you mean the enum value 'Open'?" in message


def test_one_is_looked_up_by_it(typed: Typed) -> None:
    assert typed.data("{dealByCurrency(currency: EUR) {name}}") == {"dealByCurrency": {"name": "a"}}


def test_groups_and_extremes_are_of_them(typed: Typed) -> None:
    query = """{deals {
      aggregate {min {status} max {status}}
      groups(by: {status: true}, having: {max: {status: {ne: Won}}}) {key {status} aggregate {count}}
    }}"""
    told = typed.data(query)["deals"]
    assert told["aggregate"] == {"min": {"status": "Open"}, "max": {"status": "Won"}}
    assert told["groups"] == [{"key": {"status": "Open"}, "aggregate": {"count": 1}}]


def test_who_may_not_see_a_field_does_not_see_its_values(admin: Person, stoa: Stoa) -> None:
    policy = {"name": "open", "can": ["read"], "hide": ["state"]}
    notes = entity("notes", field("name"), field("state", enum_values=["Undercover"]), policies=[policy])
    app = build.app(admin, notes)
    reader = stoa.person()
    build.grant(admin, reader, f"app:{app.app_id}:notes.read:open")
    sdl = reader.client.get(f"/graphql/{app.app_id}/schema.graphql").text
    assert ("NoteState" in sdl, "Undercover" in sdl) == (False, False)
    assert "NoteState" in admin.client.get(f"/graphql/{app.app_id}/schema.graphql").text
