"""Lists of random records are what plain Python makes of them: order, nearness, distinctness, pages and counts.

Planted and seen red: an enum in the order of its letters, a distinct record that is not the first of its like, a total
that counts those that are alike, a radius that leaves out its edge.
"""

import math
import random
from functools import cmp_to_key
from typing import Any

import pytest
from graphql import parse
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from domain.kernel.errors import TooComplex
from graph.limits import Limits, check_limits
from tests import build
from tests.build import entity, field
from tests.harness import Person
from tests.typed.asking import Typed

Record = dict[str, Any]

KINDS = ["small", "large", "Medium", "a"]  # in no order but their own
VECTORS: list[Any] = [[1.0, 0.0], [0.0, 2.0], [-1.0, 0.5], [3.0, 4.0], [0.0, 0.0], None]
PLACES: list[Any] = [
    {"lat": 52.52, "lng": 13.405}, {"lat": 48.857, "lng": 2.352}, {"lat": -33.87, "lng": 151.21},
    {"lat": 89.5, "lng": 10.0}, {"lat": 0.0, "lng": 179.9}, {"lat": 0.0, "lng": -179.9}, None,
]  # fmt: skip
DIRECTIONS = {
    "ASC": (False, False),
    "DESC": (True, True),
    "ASC_NULLS_FIRST": (False, True),
    "DESC_NULLS_LAST": (True, False),
}
RECORDS = 60
laws = settings(
    max_examples=40, deadline=None, phases=(Phase.explicit, Phase.generate), suppress_health_check=list(HealthCheck)
)


class Held:
    """An app with one entity, and its records."""

    def __init__(self, admin: Person) -> None:
        dice = random.Random(5)
        app = build.app(
            admin,
            entity(
                "things",
                field("n", "integer", unique=True),
                field("kind", "enum", enum_values=KINDS),
                field("size", "integer"),
                field("place", "geo_point"),
                field("embedding", "vector", dimensions=2),
            ),
            dialect="stoa",
        )
        rows = [
            {
                "n": n,
                "kind": dice.choice([*KINDS, None]),
                "size": dice.choice([0, 1, 2, None]),
                "place": dice.choice(PLACES),
                "embedding": dice.choice(VECTORS),
            }
            for n in range(RECORDS)
        ]
        self.records: list[Record] = app.create_many("things", rows)
        self.typed = Typed.of(app)


@pytest.fixture(scope="module")
def held(admin: Person) -> Held:
    return Held(admin)


# What Python makes of them.


def metres(one: Any, other: Any) -> float:
    """By vectors to the points of a sphere, and not by the haversine formula."""
    x, y = (
        (math.cos(lat) * math.cos(lng), math.cos(lat) * math.sin(lng), math.sin(lat))
        for lat, lng in ((math.radians(p["lat"]), math.radians(p["lng"])) for p in (one, other))
    )
    cross = math.hypot(x[1] * y[2] - x[2] * y[1], x[2] * y[0] - x[0] * y[2], x[0] * y[1] - x[1] * y[0])
    return 6371008.8 * math.atan2(cross, sum(a * b for a, b in zip(x, y, strict=True)))


def distance(near: Any, record: Record) -> float | None:
    """How far a record is from what is named; None where that is no number."""
    name, asked = next(iter(near.items()))
    value = record[name]
    if name == "place":
        return None if value is None else metres(value, asked["to"])
    metric, to = next((key, to) for key, to in asked.items() if key != "within")
    if value is None:
        return None
    inner = sum(a * b for a, b in zip(value, to, strict=True))
    match metric:
        case "euclidean":
            return math.dist(value, to)
        case "innerProduct":
            return -inner
    lengths = math.hypot(*value) * math.hypot(*to)
    return 1 - inner / lengths if lengths else None


def met(near: Any, record: Record) -> bool:
    name, asked = next(iter(near.items()))
    if record[name] is None:
        return False
    far = distance(near, record)
    return asked.get("within") is None or (far is not None and far <= asked["within"])


def compared(order: list[tuple[str, str]], near: Any, one: Record, other: Record) -> int:
    if near is not None and not order:
        a, b = distance(near, one), distance(near, other)
        if a is None or b is None or not math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-6):
            found = _placed(a, b, "ASC")
            if found:
                return found
    for name, direction in order or [("created_at", "DESC")]:
        a, b = one[name], other[name]
        if name == "kind":
            a, b = (None if v is None else KINDS.index(v) for v in (a, b))
        found = _placed(a, b, direction)
        if found:
            return found
    return (one["id"] > other["id"]) - (one["id"] < other["id"])


def _placed(a: Any, b: Any, direction: str) -> int:
    descending, nulls_first = DIRECTIONS[direction]
    if a is None or b is None:
        return ((a is None) - (b is None)) * (-1 if nulls_first else 1)
    found = (a > b) - (a < b)
    return -found if descending else found


def expected(records: list[Record], order: Any, near: Any, distinct: list[str], small: bool) -> list[Record]:
    found = [r for r in records if (near is None or met(near, r)) and (not small or r["size"] in (0, 1))]
    found.sort(key=cmp_to_key(lambda one, other: compared(order, near, one, other)))
    if not distinct:
        return found
    firsts: dict[Any, Record] = {}
    for record in found:
        firsts.setdefault(tuple(record[name] for name in distinct), record)
    return list(firsts.values())


# What is asked.

QUERY = """
query($o: [ThingOrderBy!], $near: ThingNear, $d: [ThingField!], $w: ThingWhere, $first: Int!, $after: String) {
  things(orderBy: $o, near: $near, distinctOn: $d, where: $w, first: $first, after: $after) {
    edges { distance node { n } } totalCount pageInfo { hasNextPage endCursor }
    aggregate { count sum { n } }
  }
}"""

orders = st.lists(st.tuples(st.sampled_from(["kind", "size", "n"]), st.sampled_from(sorted(DIRECTIONS))), max_size=2)
withins = st.sampled_from([None, 0.5, 3.0])
vectors = st.builds(
    lambda metric, to, within: {"embedding": {metric: to, **({} if within is None else {"within": within})}},
    st.sampled_from(["cosine", "euclidean", "innerProduct"]),
    st.sampled_from(VECTORS[:4]),
    withins,
)
places = st.builds(
    lambda to, within: {"place": {"to": to, **({} if within is None else {"within": within})}},
    st.sampled_from(PLACES[:6]),
    st.sampled_from([None, 100_000.0, 900_000.0, 17_000_000.0]),
)
distincts = st.lists(st.sampled_from(["kind", "size"]), max_size=2, unique=True)


def test_pages_of_any_list_are_what_python_makes_of_the_records(held: Held) -> None:
    @laws
    @given(orders, st.none() | vectors | places, distincts, st.booleans(), st.integers(3, 25))
    def check(order: Any, near: Any, distinct: list[str], small: bool, first: int) -> None:
        wanted = expected(held.records, order, near, distinct, small)
        asked: dict[str, Any] = {"o": [{name: way} for name, way in order], "near": near, "d": distinct, "first": first}
        asked["w"] = {"size": {"in": [0, 1]}} if small else None
        walked, after = [], None
        while True:
            page = held.typed.data(QUERY, **asked, after=after)["things"]
            walked += page["edges"]
            assert page["totalCount"] == page["aggregate"]["count"] == len(wanted)
            assert page["aggregate"]["sum"]["n"] == (sum(record["n"] for record in wanted) if wanted else None)
            after = page["pageInfo"]["endCursor"]
            if not page["pageInfo"]["hasNextPage"]:
                break
        assert [edge["node"]["n"] for edge in walked] == [record["n"] for record in wanted]
        for edge, record in zip(walked, wanted, strict=True):
            far = None if near is None else distance(near, record)
            assert edge["distance"] == (None if far is None else pytest.approx(far, rel=1e-6, abs=1e-2))

    check()


def test_what_is_within_reach_is_a_condition_like_others(held: Held) -> None:
    query = "query($w: ThingWhere) {things(where: $w, first: 100, orderBy: {n: ASC}) {nodes {n}}}"
    for to in PLACES[:6]:
        for reach in (0, 1_000_000, 18_000_000):
            within = {"place": {"within": {**to, "metres": reach}}}
            near = [r["place"] is not None and metres(r["place"], to) <= reach + 1e-3 for r in held.records]
            there = [r["n"] for r, n in zip(held.records, near, strict=True) if n]
            found = held.typed.data(query, w=within)["things"]["nodes"]
            assert [node["n"] for node in found] == there
            beyond = held.typed.data(query, w={"NOT": within})["things"]["nodes"]
            elsewhere = [r["n"] for r, n in zip(held.records, near, strict=True) if not n and r["place"] is not None]
            assert [node["n"] for node in beyond] == elsewhere
            app = held.typed
            native = 'query($a: ID!, $w: JSONObject) {records(app: $a, entity: "things", where: $w) {totalCount}}'
            assert app.person.data(native, a=app.app_id, w=within)["records"]["totalCount"] == len(there)


def test_a_record_is_looked_up_by_what_is_unique(held: Held) -> None:
    query = "query($n: BigInt!) {thingByN(n: $n) {id} a: things(where: {n: {eq: $n}}) {nodes {id}}}"
    for record in held.records[:5]:
        found = held.typed.data(query, n=record["n"])
        assert found == {"thingByN": {"id": record["id"]}, "a": {"nodes": [{"id": record["id"]}]}}
    assert held.typed.data("{thingByN(n: -1) {id}}") == {"thingByN": None}
    assert held.typed.error("{thingByN(n: null) {id}}")[0] == "INVALID_INPUT"


def test_keys_of_several_fields_and_names_that_are_taken(admin: Person) -> None:
    unique = [{"name": "both", "columns": ["first_name", "last_name"], "unique": True}]
    app = build.app(
        admin,
        entity("people", field("first_name"), field("last_name"), field("email", "email", unique=True), indexes=unique),
        entity("person_by_email", field("x")),
        dialect="stoa",
    )
    made = app.create("people", first_name="a", last_name="b", email="a@b.example")
    typed = Typed.of(app)
    found = typed.data('{personByFirstNameAndLastName(lastName: "b", firstName: "a") {id email}}')
    assert found == {"personByFirstNameAndLastName": {"id": made["id"], "email": "a@b.example"}}
    assert typed.data("{personByEmail {totalCount}}") == {"personByEmail": {"totalCount": 0}}  # the list of that name


def test_groups_and_extremes_of_an_enum_follow_its_declaration(held: Held) -> None:
    there = {record["kind"] for record in held.records} - {None}
    query = """{things(where: {kind: {isNull: false}}) {
      aggregate { min { kind } max { kind } }
      groups(by: {kind: true}) { key { kind } }
      desc: groups(by: {kind: true}, orderBy: {key: {kind: DESC}}) { key { kind } }
    }}"""
    found = held.typed.data(query)["things"]
    ordered = [kind for kind in KINDS if kind in there]
    assert found["aggregate"] == {"min": {"kind": ordered[0]}, "max": {"kind": ordered[-1]}}
    assert [group["key"]["kind"] for group in found["groups"]] == ordered
    assert [group["key"]["kind"] for group in found["desc"]] == ordered[::-1]
    native = 'query($a: ID!) {records(app: $a, entity: "things", orderBy: "kind", direction: ASC, first: 100) {nodes}}'
    nodes = held.typed.person.data(native, a=held.typed.app_id)["records"]["nodes"]
    assert [kind for kind in dict.fromkeys(node["kind"] for node in nodes) if kind] == ordered


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("near: {}", "near must name one field"),
        ("near: {embedding: {}}", "near.embedding must name one metric"),
        ("near: {embedding: {cosine: [1, 2], euclidean: [1, 2]}}", "near.embedding must name one metric"),
        ("near: {embedding: {cosine: [1, 2, 3]}}", "near.embedding.cosine must be a list of 2 numbers"),
        ("near: {place: {to: {lat: 91, lng: 0}}}", "near.place.to must have a lat from -90 to 90"),
        (
            "where: {place: {within: {lat: 1, lng: 0, metres: -1}}}",
            "where.place.within must have metres from 0 to 100000000",
        ),
    ],
)
def test_what_nothing_can_be_near_to_is_refused(held: Held, argument: str, message: str) -> None:
    assert held.typed.error(f"{{things({argument}) {{nodes {{n}}}}}}") == ("INVALID_INPUT", message)


def test_parts_of_a_place_from_different_variables_are_refused(held: Held) -> None:
    query = "query($lat: Float!) {things(near: {place: {to: {lat: $lat, lng: 1}}}) {nodes {n}}}"
    message = "near.place.to must be written out, or be a variable as a whole"
    assert held.typed.error(query, lat=1.0) == ("INVALID_INPUT", message)


def test_an_argument_that_looks_at_every_record_has_a_price(held: Held) -> None:
    shown = "nodes { " + " ".join(f"a{n}: id" for n in range(20)) + " }"
    query = f"{{things(first: 1000) {{nodes {{id}}}} more: things(first: 900, distinctOn: [kind]) {{{shown}}}}}"
    document = parse(query)
    with pytest.raises(TooComplex, match="cost 21002, at most 21001"):
        check_limits(document, {}, {"things": 50}, Limits(cost=21_001))
