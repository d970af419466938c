"""Random queries over random records find what plain Python finds: conditions, order and pages, in both spellings.

Planted and seen red: NOT that takes unknown for false, `nin` written as NOT of `in` over a null, an order whose last
field is left out, a page that begins one too late, an `$or` of nothing that is false.
"""

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests import build
from tests.build import Collections
from tests.harness import Person
from tests.records.oracle import Condition, Field, Joined, Negated, Record, Test, holds, ordered

DECLARATIONS = range(6)
RECORDS_MAX = 30
ORDERED = ("eq", "ne", "gt", "gte", "lt", "lte", "in", "nin", "isNull")
EQUAL = ("eq", "ne", "in", "nin", "isNull")
LISTED = ("eq", "ne", "contains", "isNull")
OPERATORS = {
    "text": (*ORDERED, "like", "ilike"), "file": (*ORDERED, "like", "ilike"), "number": ORDERED, "date": ORDERED,
    "timestamp": ORDERED, "uuid": ORDERED, "boolean": EQUAL, "json": EQUAL, "[text]": LISTED, "[number]": LISTED,
}  # fmt: skip
TEXTS = ["", "a", "A", "ab", "aB%", "a_b", "ä", "z\\", "10", "9", "x y", "'; --"]
NUMBERS = [0, 1, -1, 2.5, 10, 1e10, -0.25, 9007199254740991]
# Few values of each type, so that records share them.
VALUES: dict[str, list[Any]] = {
    "text": TEXTS,
    "file": TEXTS,
    "number": NUMBERS,
    "boolean": [True, False],
    "date": ["2024-02-29", "2025-01-01", "1999-12-31", "0001-01-01", "9999-12-31"],
    "timestamp": [
        "2025-01-01T00:00:00+00:00", "2025-01-01T00:00:00.5+00:00", "2025-01-01T05:00:00+05:00", "1999-12-31T23:59:59Z",
        "0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59.999999+00:00",
    ],
    "uuid": [f"00000000-0000-4000-8000-{n:012}" for n in range(4)],
    "json": [1, 1.0, True, "x", [], [1, None], {"a": 1}, {"a": {"b": [True]}}, {"b": 2, "a": 1}],
    "[text]": [[], ["a"], ["a", "b"], ["b", "a"], ["a", "a"], ["ä", ""]],
    "[number]": [[], [1], [1, 2.5], [2.5], [-1, 1, 1]],
}  # fmt: skip
PATTERNS = ["%", "a%", "%b", "_", "a_", "a\\_b", "%\\%%", "", "A%", "ä%", "%'%", "z\\\\", "_%_"]
same = settings(
    max_examples=40, deadline=None, phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


class Held:
    """An entity with fields of some types, and the records it holds, as they were shown when they were made."""

    def __init__(self, admin: Person, seed: int) -> None:
        dice = random.Random(seed)
        types = dice.sample(sorted(VALUES), 5)
        self.fields = [Field(f"f_{n}", type) for n, type in enumerate(types)]
        required = {field for field in self.fields if dice.random() < 0.2}
        declared = [build.field(field.name, field.type, required=field in required) for field in self.fields]
        self.app: Collections = build.app(admin, build.entity("things", *declared))
        rows = [
            {
                field.name: dice.choice(VALUES[field.type])
                for field in self.fields
                if field in required or dice.random() < 0.8
            }
            for _ in range(RECORDS_MAX if seed else 1)
        ]
        self.records: list[Record] = self.app.create_many(
            "things", [row or {self.fields[0].name: None} for row in rows]
        )
        self.sortable = [field for field in self.fields if field.type != "json"]
        self.in_native_order = [field for field in self.sortable if not field.type.startswith("[")]

    def conditions(self) -> st.SearchStrategy[Condition]:
        tests = st.sampled_from(self.fields).flatmap(any_test)
        return st.recursive(tests, _joined, max_leaves=6)

    def found(self, condition: Condition, by: Field, *, descending: bool) -> list[Record]:
        met = [record for record in self.records if holds(condition, record) is True]
        return ordered(met, by, descending=descending)


def _joined(inner: st.SearchStrategy[Condition]) -> st.SearchStrategy[Condition]:
    parts = st.lists(inner, max_size=3).map(tuple)
    return st.builds(Joined, st.sampled_from(["all", "any"]), parts) | st.builds(Negated, inner)


def any_test(field: Field) -> st.SearchStrategy[Condition]:
    """Any test of a field."""
    return st.sampled_from(OPERATORS[field.type]).flatmap(
        lambda op: st.builds(Test, st.just(field), st.just(op), operands(field.type, op))
    )


def operands(type: str, op: str) -> st.SearchStrategy[Any]:
    values = st.sampled_from(VALUES[type])
    match op:
        case "isNull":
            return st.booleans()
        case "in" | "nin":
            return st.lists(values, max_size=3)
        case "like" | "ilike":
            return st.sampled_from(PATTERNS)
        case "contains":
            return st.lists(st.sampled_from(VALUES[type.strip("[]")][:4]), min_size=1, max_size=2)
        case "eq" | "ne":
            return values | st.none()
    return values


def rootcx(condition: Condition) -> dict[str, Any]:
    match condition:
        case Test(field, "eq", operand) if not isinstance(operand, dict):
            return {field.name: operand}
        case Test(field, op, operand):
            return {field.name: {f"${op}": operand}}
        case Joined(word, parts):
            return {{"all": "$and", "any": "$or"}[word]: [rootcx(part) for part in parts]}
        case Negated(part):
            return {"$not": rootcx(part)}
    raise AssertionError(condition)


def native(condition: Condition) -> dict[str, Any]:
    match condition:
        case Test(field, op, operand):
            return {field.name: {op: operand}}
        case Joined(word, parts):
            return {{"all": "AND", "any": "OR"}[word]: [native(part) for part in parts]}
        case Negated(part):
            return {"NOT": native(part)}
    raise AssertionError(condition)


def as_rootcx_has_it(condition: Condition) -> Condition:
    """Where one of nothing is to hold, everything does."""
    match condition:
        case Joined(_, parts) if not parts:
            return Joined("all", ())
        case Joined(word, parts):
            return Joined(word, tuple(as_rootcx_has_it(part) for part in parts))
        case Negated(part):
            return Negated(as_rootcx_has_it(part))
    return condition


@pytest.fixture(scope="module", params=DECLARATIONS)
def held(admin: Person, request: pytest.FixtureRequest) -> Held:
    return Held(admin, request.param)


def assert_found(
    held: Held, where: Condition, by: Field | None, order: str | None, page: tuple[int | None, int | None]
) -> None:
    """A query finds what Python finds."""
    limit, offset = page
    asked: dict[str, Any] = {"where": rootcx(where), "order": order, "limit": limit, "offset": offset}
    asked["orderBy"] = by.name if by else "nothing of that name"
    found = held.found(as_rootcx_has_it(where), by or Field("created_at", "timestamp"), descending=order != "asc")
    begin = max(0, offset or 0)
    shown = found[begin : begin + max(1, min(1000, 100 if limit is None else limit))]
    answer = held.app.query("things", **{key: value for key, value in asked.items() if value is not None})
    assert answer == {"data": shown, "total": len(found) if shown else 0}


def test_a_query_of_rootcx_finds_what_python_finds(held: Held) -> None:
    pages = st.tuples(st.sampled_from([None, 1, 2, 5, 1000, 0, -1, 5000]), st.sampled_from([None, 0, 1, 3, 100, -1]))

    @same
    @given(held.conditions(), st.sampled_from([*held.sortable, None]), st.sampled_from([None, "asc", "desc"]), pages)
    def check(where: Condition, by: Field | None, order: str | None, page: tuple[int | None, int | None]) -> None:
        assert_found(held, where, by, order, page)

    check()


RECORDS = """
query ($app: ID!, $where: JSONObject, $by: String, $to: Direction!, $first: Int, $after: String) {
  records(app: $app, entity: "things", where: $where, orderBy: $by, direction: $to, first: $first, after: $after) {
    totalCount edges { cursor node } pageInfo { hasNextPage }
  }
}
"""


def test_pages_of_stoas_own_spelling_cover_what_python_finds_once(held: Held) -> None:
    @settings(same, max_examples=12)
    @given(held.conditions(), st.sampled_from(held.in_native_order), st.booleans(), st.integers(1, 12))
    def check(where: Condition, by: Field, descending: bool, first: int) -> None:
        found = held.found(where, by, descending=descending)
        asked = {"app": held.app.app_id, "where": native(where), "by": by.name, "first": first}
        walked: list[Record] = []
        after = None
        while True:
            to = "DESC" if descending else "ASC"
            page = held.app.person.data(RECORDS, **asked, to=to, after=after)["records"]
            walked += [edge["node"] for edge in page["edges"]]
            assert page["totalCount"] == len(found)
            assert page["pageInfo"]["hasNextPage"] == (len(walked) < len(found))
            if not page["pageInfo"]["hasNextPage"]:
                break
            after = page["edges"][-1]["cursor"]
        assert walked == found

    check()


LISTED_PLAINLY = """
query ($app: ID!, $where: JSONObject, $as: Dialect!, $by: String, $to: Direction!, $first: Int, $offset: Int) {
  records(
    app: $app, entity: "things", where: $where, dialect: $as, orderBy: $by, direction: $to, first: $first,
    offset: $offset
  ) { totalCount rows }
}
"""


def test_fields_beside_their_values_are_found_however_often_they_are_asked(held: Held) -> None:
    """Such lists share their statement: what one asks must not be in the answer to another."""
    plain = [field for field in held.in_native_order if field.type not in ("json", "file")]

    @settings(same, max_examples=60)
    @given(
        st.lists(st.sampled_from(plain), max_size=3, unique=True),
        st.randoms(use_true_random=False),
        st.sampled_from(held.in_native_order),
        st.booleans(),
        st.sampled_from(["STOA", "ROOTCX"]),
        st.integers(0, 3),
    )
    def check(fields: list[Field], dice: random.Random, by: Field, descending: bool, words: str, offset: int) -> None:
        where = {field: dice.choice(VALUES[field.type]) for field in fields}
        met = Joined("all", tuple(Test(field, "eq", value) for field, value in where.items()))
        found = held.found(met, by, descending=descending)
        asked = {"app": held.app.app_id, "where": {field.name: value for field, value in where.items()}, "as": words}
        page = {"by": by.name, "to": "DESC" if descending else "ASC", "first": 4, "offset": offset}
        told = held.app.person.data(LISTED_PLAINLY, **asked, **page)["records"]
        shown = found[offset : offset + 4]
        assert told["rows"] == shown
        assert told["totalCount"] == (len(found) if words == "STOA" or shown else 0)

    check()


def test_every_value_is_found_by_its_text(held: Held) -> None:
    """The parameters of a list are equalities, cast to the type of the field."""
    for field in held.in_native_order:
        for value in VALUES[field.type]:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            found = held.found(Test(field, "eq", value), Field("created_at", "timestamp"), descending=True)
            answer = held.app.person.client.get(held.app.path("things"), params={field.name: text})
            assert sorted(record["id"] for record in answer.json()) == sorted(record["id"] for record in found)


@pytest.mark.parametrize("type", OPERATORS)
def test_operators_that_fit_no_such_field_are_refused(admin: Person, type: str) -> None:
    app = build.app(admin, build.entity("things", build.field("f", type)))
    for op in {op for known in OPERATORS.values() for op in known} - set(OPERATORS[type]):
        answer = app.person.client.post(app.path("things", "query"), json={"where": {"f": {f"${op}": ["a"]}}})
        assert answer.status_code == 400
        assert answer.json()["error"] == f"operator ${op} does not fit {type} fields"


@pytest.mark.parametrize("pattern", ["\\", "a\\", "%\\"])
def test_a_pattern_that_ends_in_its_escape_is_refused(admin: Person, pattern: str) -> None:
    app = build.app(admin, build.entity("things", build.field("f")))
    app.create("things", f="a")
    answer = app.person.client.post(app.path("things", "query"), json={"where": {"f": {"$like": pattern}}})
    assert (answer.status_code, answer.json()["field"]) == (400, "where.f.$like")
