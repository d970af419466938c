"""Field types in the typed schema: each with its scalar and filter, written, read, compared, sorted and paged by."""

from typing import Any

import pytest

from tests import build
from tests.graph.listening import listening
from tests.harness import Person, Stoa
from tests.typed.asking import Typed

VALUES: dict[str, tuple[dict[str, Any], str, list[Any]]] = {
    "integer": ({}, "BigInt", [-1, 5, 2**53 - 1]),
    "decimal": ({"scale": 2}, "Decimal", ["-1.50", "0.10", "12345678901.25"]),
    "percent": ({}, "Decimal", ["-5.0000", "0.2500", "100.0000"]),
    "money": (
        {},
        "Money",
        [{"amount": amount, "currency": "EUR"} for amount in ("1.00", "2.50", "10.00")],
    ),
    "time": ({}, "Time", ["00:00:00", "08:15:30.5", "23:59:59"]),
    "duration": ({}, "Duration", ["PT-1H", "PT90M", "P1DT2H"]),
    "email": ({}, "String", ["a@example.org", "b@example.org", "c@example.org"]),
    "enum": ({"enum_values": ["a", "b", "c"]}, "ThingFEnum", ["a", "b", "c"]),
    "autonumber": ({"format": "N{00}"}, "String", ["N01", "N02", "N03"]),
    "geo_point": ({}, "GeoPoint", [{"lat": 1.5, "lng": lng} for lng in (1.0, 2.0, 3.5)]),
    "vector": ({"dimensions": 2}, "[Float!]", [[1.0, 2.5], [2.0, 0.5], [3.0, 0.0]]),
    "tags": ({}, "[String!]", [["a"], ["b", "a"], ["c"]]),
    "[integer]": ({}, "[BigInt!]", [[1], [2, 1], [3]]),
}
SORTED = [name for name in VALUES if name not in ("geo_point", "vector", "tags", "[integer]")]


def field(name: str) -> str:
    return "f" + "".join(part.title() for part in name.strip("[]").split("_")) + ("s" if "[" in name else "")


def shown(name: str, value: Any) -> Any:
    return "PT1H30M" if value == "PT90M" else value


@pytest.fixture(scope="module")
def typed(admin: Person) -> Typed:
    def raw(name: str) -> str:
        return "f_" + name.strip("[]") + ("s" if "[" in name else "")

    fields = [build.field(raw(name), name, **more) for name, (more, _, _) in VALUES.items()]
    app = Typed.of(build.app(admin, build.entity("things", build.field("n", "integer"), *fields), dialect="stoa"))
    create = "mutation($v: [ThingCreate!]!) { createThings(values: $v) { id } }"
    written = {name: values for name, (_, _, values) in VALUES.items() if name != "autonumber"}
    app.data(create, v=[{"n": i, **{field(name): values[i] for name, values in written.items()}} for i in range(3)])
    return app


def scalar_of(name: str) -> str:
    return VALUES[name][1].strip("[]!")


@pytest.mark.parametrize("name", VALUES)
def test_a_value_is_read_as_it_is_stored_and_named_by_its_scalar(typed: Typed, name: str) -> None:
    query = f"query {{ things(orderBy: [{{n: ASC}}]) {{ nodes {{ v: {field(name)} }} }} }}"
    nodes = typed.data(query)["things"]["nodes"]
    assert [node["v"] for node in nodes] == [shown(name, value) for value in VALUES[name][2]]
    kind = "{ kind name ofType { kind name ofType { name } } }"
    told = typed.data(f'{{ __type(name: "Thing") {{ fields {{ name type {kind} }} }} }}')["__type"]["fields"]
    type = next(one["type"] for one in told if one["name"] == field(name))
    names = {
        type["name"],
        *([type["ofType"]["name"], (type["ofType"]["ofType"] or {}).get("name")] if type["ofType"] else []),
    }
    assert scalar_of(name) in names


@pytest.mark.parametrize("name", [name for name in VALUES if name != "vector"])
def test_a_variable_of_the_scalar_finds_the_record(typed: Typed, name: str) -> None:
    type, values = VALUES[name][1:]
    query = f"query($v: {type}) {{ things(where: {{{field(name)}: {{eq: $v}}}}) {{ nodes {{ n }} }} }}"
    assert typed.data(query, v=values[1])["things"]["nodes"] == [{"n": 1}]


@pytest.mark.parametrize("name", SORTED)
def test_pages_follow_the_order_of_the_type(typed: Typed, name: str) -> None:
    query = f"""query($after: String) {{
      things(orderBy: [{{{field(name)}: DESC}}], first: 2, after: $after) {{ nodes {{ n }} pageInfo {{ endCursor }} }}
    }}"""
    first = typed.data(query)["things"]
    second = typed.data(query, after=first["pageInfo"]["endCursor"])["things"]
    assert [node["n"] for page in (first, second) for node in page["nodes"]] == [2, 1, 0]


def test_what_is_no_value_of_the_type_is_refused(typed: Typed) -> None:
    for name, value, words in (
        ("decimal", "x", "must be a decimal number"),
        ("money", 5, "must be an object of amount and currency"),
        ("duration", "1h", "must be a duration in ISO 8601, like P1DT2H30M"),
    ):
        query = f"query($v: {scalar_of(name)}) {{ things(where: {{{field(name)}: {{eq: $v}}}}) {{ totalCount }} }}"
        assert typed.error(query, v=value) == ("INVALID_INPUT", f"where.{field(name)}.eq {words}")


def test_what_nobody_writes_is_no_input(typed: Typed) -> None:
    told = typed.data('{ __type(name: "ThingCreate") { inputFields { name } } }')["__type"]["inputFields"]
    names = {one["name"] for one in told}
    assert "fAutonumber" not in names
    assert {field(name) for name in VALUES if name != "autonumber"} <= names


def test_changes_are_told_apart_whatever_types_the_record_has(stoa: Stoa, admin: Person, typed: Typed) -> None:
    changed = "subscription { thingChanged(where: {n: {gte: 100}}) { operation record { n } } }"
    with listening(stoa, admin, changed, f"/graphql/{typed.app_id}") as events:
        create = "mutation($v: ThingCreate!) { createThing(values: $v) { id } }"
        for n in (99, 100):
            whole = {field(name): values[0] for name, (_, _, values) in VALUES.items() if name != "autonumber"}
            typed.data(create, v={"n": n, **whole})
        told = events.next()
        assert told == {"data": {"thingChanged": {"operation": "CREATED", "record": {"n": 100}}}}


def test_keys_are_in_the_order_they_are_asked_in(admin: Person) -> None:
    app = Typed.of(build.app(admin, build.entity("notes", build.field("name"), build.field("data", "json"))))
    id = app.data('mutation {createNote(values: {data: {b: 1}, name: "A"}) {id}}')["createNote"]["id"]
    selected = "{name id data createdAt}"
    query = f'{{note(id: "{id}") {selected} notes {{nodes {selected} edges {{node {selected}}}}}}}'
    found = app.data(query)
    notes = found["notes"]
    for shown in (found["note"], *notes["nodes"], notes["edges"][0]["node"]):
        assert list(shown) == ["name", "id", "data", "createdAt"]
