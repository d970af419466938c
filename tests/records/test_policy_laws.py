"""Policies against a plain Python reading of them: whatever rows there are, and whichever policies somebody holds."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import build
from tests.build import Collections, entity, field
from tests.harness import Person, Stoa
from tests.typed.asking import Typed

# By name: the rows, as a condition and as Python says it, and the fields that are hidden and masked.
RULES: Mapping[str, tuple[Any, Any, set[str], set[str]]] = {
    "few": ({"n": {"lt": 3}}, lambda row: row["n"] is not None and row["n"] < 3, {"m"}, set()),
    "odd": (
        {"OR": [{"k": {"in": ["a", "c"]}}, {"n": {"isNull": True}}]},
        lambda row: row["k"] in ("a", "c") or row["n"] is None,
        set(),
        {"word"},
    ),
    "rest": (
        {"NOT": {"k": {"eq": "a"}}},
        lambda row: row["k"] is not None and row["k"] != "a",
        {"m"},
        {"word"},
    ),
}
HELD = [held for count in (1, 2, 3) for held in combinations(RULES, count)]

numbers = st.none() | st.integers(0, 5)
rows_of = st.lists(
    st.fixed_dictionaries(
        {
            "n": numbers,
            "m": numbers,
            "k": st.none() | st.sampled_from("abc"),
            "word": st.none() | st.text("xyz", min_size=0, max_size=20),
        }
    ),
    min_size=1,
    max_size=8,
)


@pytest.fixture(scope="module")
def app(admin: Person) -> Collections:
    policies = [
        {"name": name, "can": ["read"], "where": where, "hide": sorted(hidden), "mask": sorted(masked)}
        for name, (where, _, hidden, masked) in RULES.items()
    ]
    fields = [field("n", "number"), field("m", "number"), field("k"), field("word"), field("place", "number")]
    return build.app(admin, entity("things", *fields, policies=policies))


@pytest.fixture(scope="module")
def people(stoa: Stoa, admin: Person, app: Collections) -> Mapping[tuple[str, ...], Person]:
    keys = {held: [f"app:{app.app_id}:things.read:{name}" for name in held] for held in HELD}
    return {held: build.reader(stoa, admin, *keys[held]) for held in HELD}


def shown(row: Mapping[str, Any], held: Sequence[str]) -> dict[str, Any] | None:
    """What of a row somebody sees who holds these policies."""
    mine = [RULES[name] for name in held if RULES[name][1](row)]
    if not mine:
        return None
    seen = {"place": row["place"], "n": row["n"], "k": row["k"], "m": None, "word": None}
    if any("m" not in hidden for _, _, hidden, _ in mine):
        seen["m"] = row["m"]
    if any("word" not in masked for _, _, _, masked in mine):
        seen["word"] = row["word"]
    elif row["word"] is not None:
        length = len(row["word"])
        seen["word"] = "***" + row["word"][length - min(4, length // 4) :]
    if all("m" in RULES[name][2] for name in held):
        del seen["m"]
    return seen


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=rows_of, held=st.sampled_from(HELD), bound=st.integers(0, 5))
def test_what_is_seen_is_what_the_policies_say(
    app: Collections,
    people: Mapping[tuple[str, ...], Person],
    rows: list[dict[str, Any]],
    held: tuple[str, ...],
    bound: int,
) -> None:
    typed = Typed.of(app)
    typed.data("mutation {deleteThings(where: {}, limit: 1000) {id}}")
    for place, row in enumerate(rows):
        row["place"] = place
    app.create_many("things", rows)
    expected = [seen for row in rows if (seen := shown(row, held)) is not None]
    with_m = "m" if any("m" not in RULES[name][2] for name in held) else ""
    theirs = Typed.of(app).as_(people[held])
    found = theirs.data(
        f"""{{ things(orderBy: {{place: ASC}}, first: 100) {{
            totalCount nodes {{ place n k word {with_m} }} aggregate {{ count countDistinct {{ word }} }}
        }} }}"""
    )["things"]
    assert found["nodes"] == expected
    assert found["totalCount"] == found["aggregate"]["count"] == len(expected)
    words = {row["word"] for row in expected} - {None}
    assert found["aggregate"]["countDistinct"]["word"] == len(words)
    told = app.as_(people[held]).query("things", orderBy="place", order="asc")["data"]
    assert [{name: row[name] for name in expected[0]} for row in told] == expected if expected else told == []
    by = "m" if with_m else "n"
    page = "orderBy: {place: ASC}, first: 100) { nodes { place } }"
    asked = f"query($bound: Float!) {{ things(where: {{{by}: {{gte: $bound}}}}, {page} }}"
    filtered = theirs.data(asked, bound=bound)["things"]["nodes"]
    assert [row["place"] for row in filtered] == [
        row["place"] for row in expected if row[by] is not None and row[by] >= bound
    ]
