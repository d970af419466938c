"""Random declarations, and values that fit them, for property tests."""

from datetime import datetime, timedelta, timezone
from typing import Any

from hypothesis import strategies as st

from tests import build

TYPES = ("text", "number", "boolean", "date", "timestamp", "json", "file", "uuid", "[text]", "[number]")
OPTIONS = {"text": ["a", "b", "it's", "ü \\ %"], "number": ["1", "2.5", "-3"]}

# PostgreSQL stores every character but U+0000, and surrogates are none.
texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=("Cs",)), max_size=8)
numbers = st.one_of(st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False), st.integers(-3, 3))
offsets = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=offsets)
json_values = st.recursive(
    st.one_of(st.booleans(), numbers, texts),
    lambda inner: st.lists(st.one_of(st.none(), inner), max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "text": texts,
    "file": texts,
    "number": numbers,
    "boolean": st.booleans(),
    "date": st.dates().map(lambda day: day.isoformat()),
    "timestamp": moments.map(lambda moment: moment.isoformat()),
    "json": json_values,
    "uuid": st.uuids().map(str),
    "entity_link": st.uuids().map(str),
    "[text]": st.lists(texts, max_size=3),
    "[number]": st.lists(numbers, max_size=3),
}


def values_of(declared: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that a field takes, null left out."""
    type, options = declared["type"], declared.get("enum_values")
    if options is None:
        return VALUES[type]
    chosen = st.sampled_from(options) if "text" in type else st.sampled_from(options).map(float)
    return st.lists(chosen, max_size=3) if type.startswith("[") else chosen


@st.composite
def fields(draw: st.DrawFn, name: str, types: tuple[str, ...] = TYPES) -> dict[str, Any]:
    """A field of that name."""
    made = build.field(name, draw(st.sampled_from(types)))
    kind = made["type"].strip("[]")
    if kind in OPTIONS and draw(st.integers(0, 3)) == 0:
        made["enum_values"] = draw(st.lists(st.sampled_from(OPTIONS[kind]), min_size=1, unique=True))
    if draw(st.integers(0, 3)) == 0:
        made["required"] = True
    if draw(st.integers(0, 2)) == 0:
        made["default_value"] = draw(values_of(made))
    return made


@st.composite
def entities(draw: st.DrawFn, name: str, others: list[str]) -> dict[str, Any]:
    """An entity of that name, which may link to the others, with indexes, checks and an identity."""
    names = draw(st.lists(st.sampled_from("abcdef"), unique=True, max_size=5))
    made = [draw(fields(field)) for field in names]
    for target in draw(st.lists(st.sampled_from([*others, "core:users"]), unique=True, max_size=2)):
        rule = draw(st.sampled_from([None, "cascade", "restrict", "set_null"]))
        more = {} if rule is None else {"on_delete": rule}
        made.append(build.link(f"to_{target.replace(':', '_')}", target, **more))
    if name == "e2":
        made.append(build.field("id", "text", is_primary_key=True))
    declared = build.entity(name, *made)
    if names and draw(st.booleans()):
        columns = draw(st.lists(st.sampled_from(names), unique=True, min_size=1, max_size=2))
        sort = draw(st.sampled_from(["asc", "desc"]))
        declared["indexes"] = [{"name": f"by_{name}", "columns": [{"column": c, "sort": sort} for c in columns]}]
    if names and draw(st.booleans()):
        declared["checks"] = [{"name": "always", "expr": f"{names[0]} is null or {names[0]} is not null"}]
    if names and draw(st.booleans()):
        declared |= {"identityKind": "thing", "identityKey": draw(st.sampled_from(names))}
    return declared


@st.composite
def contracts(draw: st.DrawFn, max_size: int = 3) -> list[dict[str, Any]]:
    """A data contract of a few entities."""
    names = draw(st.lists(st.sampled_from(["e0", "e1", "e2"]), unique=True, min_size=1, max_size=max_size))
    return [draw(entities(name, names)) for name in names]
