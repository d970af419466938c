"""What holds for any routes, values and documents. The examples are always the same, so that a run is a verdict."""

import asyncio
import json
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import hypothesis.strategies as st
import jsonschema_rs
import orjson
from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLEnumType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    build_schema,
    execute,
    get_named_type,
    get_nullable_type,
    is_abstract_type,
    is_composite_type,
    is_leaf_type,
)
from hypothesis import HealthCheck, given, settings
from openapi_spec_validator import validate

from rest_compat.engine.adapter import RestAdapter
from rest_compat.engine.backend import Result
from rest_compat.engine.call import Call
from rest_compat.engine.describe import describe
from rest_compat.engine.render import objection
from rest_compat.engine.routing import Table
from tests.rest_compat.engine.world import SDL, Caller, Rest, World, plain, served, strict, write

ALWAYS_THE_SAME = settings(
    derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=100
)


def at_once(*documents: str, dialect: Any = plain) -> Rest:
    """Routes of documents that nobody needs on disk any more."""
    with tempfile.TemporaryDirectory() as folder:
        return served(dialect(write(Path(folder) / "plain", *documents)))


# Routing: the table finds what looking at every path would find.

LITERALS = ["a", "b", "é"]
SEGMENTS = st.sampled_from([*LITERALS, "{x}", "{y}"])
PATHS = st.builds(
    lambda segments, rest: "/" + "/".join([*segments, *(["{r*}"] if rest else [])]),
    st.lists(SEGMENTS, max_size=4),
    st.booleans(),
)
ASKED = st.lists(st.sampled_from([*LITERALS, "c", "", "a/b", "%"]), min_size=1, max_size=5)


def _looked_up(paths: Sequence[str], asked: Sequence[str]) -> tuple[str, list[str]] | None:
    """The path that fits, a literal before a parameter before the rest, segment by segment; and the values."""
    best: tuple[list[int], str, list[str]] | None = None
    for path in paths:
        kinds, values = [], []
        segments = path[1:].split("/")
        rest = segments[-1].endswith("*}")
        if len(segments) != len(asked) and not (rest and len(asked) >= len(segments)):
            continue
        for position, segment in enumerate(segments):
            if segment.endswith("*}"):
                kinds.append(2)
                values.append("/".join(asked[position:]))
            elif segment.startswith("{") and asked[position]:
                kinds.append(1)
                values.append(asked[position])
            elif segment == asked[position]:
                kinds.append(0)
            else:
                break
        else:
            if best is None or kinds < best[0]:
                best = kinds, path, values
    return None if best is None else best[1:]


@ALWAYS_THE_SAME
@given(st.lists(PATHS, max_size=12, unique_by=lambda path: path.replace("{y}", "{x}")), ASKED)
def test_the_table_finds_what_looking_at_every_path_finds(paths: list[str], asked: list[str]) -> None:
    table: Table[str] = Table()
    for path in paths:
        assert table.add("GET", path, path) is None
        assert table.add("GET", path, "again") == path
    found = table.find(("/" + "/".join(quote(segment, safe="") for segment in asked)).encode())
    expected = _looked_up(paths, asked)
    assert (None if found is None else (found[0].routes["GET"], list(found[1]))) == expected


# Reading: what is written as text comes back as it was.

TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | TEXT | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
SCALARS: Mapping[str, st.SearchStrategy[Any]] = {
    "text: String": TEXT,
    "id: ID": TEXT,
    "number: Int": st.integers(-(2**31), 2**31 - 1),
    "big: BigInt": st.integers(-(2**63), 2**63 - 1),
    "real: Float": st.floats(allow_nan=False, allow_infinity=False),
    "flag: Boolean": st.booleans(),
    "colour: Colour": st.sampled_from(["RED", "GREEN", "DARK_BLUE"]),
    "uuid: UUID": st.uuids().map(str),
    "moment: DateTime": st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat),
}
LISTS = {
    "words: [String!]": TEXT,
    "ids: [ID!]": TEXT,
    "numbers: [Int!]": SCALARS["number: Int"],
    "reals: [Float!]": SCALARS["real: Float"],
    "flags: [Boolean!]": st.booleans(),
    "colours: [Colour!]": SCALARS["colour: Colour"],
}


@st.composite
def filters(draw: st.DrawFn, depth: int = 2) -> dict[str, Any]:
    """A filter, and filters inside it; never an empty one, which brackets cannot spell."""
    parts: dict[str, st.SearchStrategy[Any]] = {
        "name": TEXT,
        "colour": SCALARS["colour: Colour"],
        "sizes": st.lists(SCALARS["number: Int"], min_size=1, max_size=3),
    }
    if depth:
        parts |= {"inside": filters(depth - 1), "any": st.lists(filters(depth - 1), min_size=1, max_size=2)}
    chosen = draw(st.lists(st.sampled_from(sorted(parts)), min_size=1, unique=True))
    return {name: draw(parts[name]) for name in chosen}


@st.composite
def wild_filters(draw: st.DrawFn, depth: int = 2) -> Any:
    """What may be a filter, or nearly one."""
    if draw(st.integers(0, 9)) == 0 or not depth:
        return draw(JSON)
    inner = wild_filters(depth - 1)
    parts: dict[str, st.SearchStrategy[Any]] = {
        "name": TEXT | st.none(),
        "colour": st.sampled_from(["RED", "GREEN", "PINK"]),
        "sizes": st.lists(st.integers(0, 2**32), max_size=3),
        "inside": inner,
        "any": st.lists(inner, max_size=2),
        "more": JSON,
    }
    chosen = draw(st.lists(st.sampled_from(["name", "colour", "sizes", "inside", "any"]), unique=True))
    more = ["more"] if draw(st.integers(0, 9)) == 0 else []
    return {name: draw(JSON if draw(st.integers(0, 9)) == 0 else parts[name]) for name in (*chosen, *more)}


def _route(declared: str, path: str = "/e", place: str = "") -> Any:
    name = declared.partition(":")[0]
    rest = at_once(f'query q(${declared} {place}) @rest(method: GET, path: "{path}") {{ echo({name}: ${name}) }}')
    return rest.adapter.routes[0].compiled.binding


def _variables(binding: Any, query: str = "", headers: Any = (), path: Sequence[str] = ()) -> dict[str, Any]:
    async def nothing() -> Any:
        return {"type": "http.request"}

    scope = {"type": "http", "query_string": query.encode(), "headers": list(headers), "method": "GET", "path": "/e"}
    call = Call(scope, nothing, path, 1000)
    bound = asyncio.run(binding.bind(call, lambda what: None))
    variables: dict[str, Any] = bound.variables
    return variables


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@settings(ALWAYS_THE_SAME, max_examples=15)
@given(st.data())
def test_any_scalar_comes_back_from_the_query_a_header_and_the_path(data: st.DataObject) -> None:
    for declared, values in SCALARS.items():
        name, value = declared.partition(":")[0], data.draw(values, declared)
        in_query, in_header, in_path = QUERY[declared], HEADER[declared], PATH[declared]
        assert _variables(in_query, urlencode({name: _text(value)})) == {name: value}
        assert _variables(in_header, headers=[(b"x-a", _text(value).encode())]) == {name: value}
        assert _variables(in_path, path=[_text(value)]) == {name: value}


QUERY = {declared: _route(declared) for declared in SCALARS}
HEADER = {declared: _route(declared, place='@param(in: HEADER, name: "X-A")') for declared in SCALARS}
PATH = {declared: _route(f"{declared}!", f"/{{{declared.partition(':')[0]}}}") for declared in SCALARS}
IN_A_WAY = {
    (declared, style): _route(declared, place=f"@param(list: {style})" if style else "")
    for declared in LISTS
    for style in ("", "COMMA", "PIPE", "SPACE", "JSON")
}


@settings(ALWAYS_THE_SAME, max_examples=15)
@given(st.data())
def test_any_list_comes_back_in_each_of_its_spellings(data: st.DataObject) -> None:
    for declared, inner in LISTS.items():
        name, values = declared.partition(":")[0], data.draw(st.lists(inner, min_size=1, max_size=3), declared)
        texts = [_text(value) for value in values]
        repeated = IN_A_WAY[declared, ""]
        assert _variables(repeated, urlencode([(name, text) for text in texts])) == {name: values}
        assert _variables(repeated, urlencode([(f"{name}[]", text) for text in texts])) == {name: values}
        indexed = list(enumerate(texts))
        random.Random(0).shuffle(indexed)
        assert _variables(repeated, urlencode([(f"{name}[{at}]", text) for at, text in indexed])) == {name: values}
        assert _variables(IN_A_WAY[declared, "JSON"], urlencode({name: json.dumps(values)})) == {name: values}
        for style, separator in (("COMMA", ","), ("PIPE", "|"), ("SPACE", " ")):
            if all(text and separator not in text for text in texts):
                assert _variables(IN_A_WAY[declared, style], urlencode({name: separator.join(texts)})) == {name: values}


FILTERED = _route("filter: Filter")
ANY = _route("any: JSON")


def _bracketed(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _bracketed(f"{name}[{key}]", part)
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from _bracketed(f"{name}[{index}]", part)
    else:
        yield name, _text(value)


@ALWAYS_THE_SAME
@given(filters())
def test_any_object_comes_back_as_json_and_in_brackets(value: dict[str, Any]) -> None:
    assert _variables(FILTERED, urlencode({"filter": json.dumps(value)})) == {"filter": value}
    pairs = list(_bracketed("filter", value))
    assert _variables(FILTERED, urlencode(pairs)) == {"filter": value}


@ALWAYS_THE_SAME
@given(JSON)
def test_any_json_comes_back(value: Any) -> None:
    assert _variables(ANY, urlencode({"any": json.dumps(value)})) == {"any": value}
    assert _variables(ANY, urlencode({"any": json.dumps(value, ensure_ascii=False)})) == {"any": value}


# Describing requests: what the description takes is taken, and nothing else.

FILTERING = at_once(
    'mutation q($filter: Filter! @param(in: BODY)) @rest(method: POST, path: "/e") { echo(filter: $filter) }',
    dialect=strict,
)


@settings(ALWAYS_THE_SAME, max_examples=200)
@given(filters() | wild_filters())
def test_a_body_is_taken_where_the_description_says_so(value: Any) -> None:
    described = FILTERING.described()
    schema = described["paths"]["/e"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    valid = jsonschema_rs.is_valid({**schema, "components": described["components"]}, value)
    answer = asyncio.run(FILTERING.post("/e", content=json.dumps(value)))
    assert answer.status_code == (200 if valid else 400), answer.text


# Describing answers: whatever a document selects, its answers are as described.

BARE = build_schema(SDL)
ROOTS = ["thing(id: 1)", "things", "page", "maybePage", "named", "everyone"]
RENDERS = ["LOWER", "UPPER", "TIME_OFFSET", "TIME_POSTGRES", "TIME_UNIX", "OMIT_NULL"]


class Selections:
    """Draws selection sets: aliases, fragments of both kinds, conditions, spellings, spread objects."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data
        self.fragments: list[str] = []

    def _may(self, one_in: int) -> bool:
        return bool(self._data.draw(st.integers(1, one_in)) == one_in)

    def of(self, type: Any, depth: int) -> str:
        """The text of a selection set of that type."""
        parts = [self._field(type, name, depth) for name in self._names(type, depth)]
        members = BARE.get_possible_types(type) if is_abstract_type(type) else [type]
        parts += [self._fragment(member, depth - 1) for member in members if depth and self._may(3)]
        return "{ " + " ".join(filter(None, parts)) + " __typename }"

    def _names(self, type: Any, depth: int) -> list[str]:
        known = [name for name, field in type.fields.items() if depth or is_leaf_type(get_named_type(field.type))]
        drawn: list[str] = self._data.draw(st.lists(st.sampled_from(sorted(known)), max_size=4, unique=True))
        return drawn

    def _field(self, parent: Any, name: str, depth: int) -> str:
        type = parent.fields[name].type
        leaf = is_leaf_type(get_named_type(type))
        inner = "" if leaf else self.of(get_named_type(type), depth - 1)
        ways = [
            f"@render(as: {way})" for way in RENDERS if objection(way, type) is None and (leaf or way == "OMIT_NULL")
        ]
        way = self._data.draw(st.sampled_from(ways)) if ways and self._may(2) else ""
        # Under one name, a field is the same wherever it is selected.
        alias = f"{name}_{parent.name}_{len(self.fragments)}_{self._data.draw(st.integers(0, 10**6))}"
        spread = "@spread" if not way and get_named_type(type).name == "Record" and self._may(3) else ""
        condition = self._data.draw(st.sampled_from(["", "", "@skip(if: $x)", "@include(if: $x)"]))
        return f"{alias}: {name} {way} {spread} {condition} {inner}"

    def _fragment(self, member: Any, depth: int) -> str:
        selected = self.of(member, depth)
        condition = self._data.draw(st.sampled_from(["", "@include(if: $x)"]))
        if self._may(2):
            return f"... on {member.name} {condition} {selected}"
        name = f"F{len(self.fragments)}"
        self.fragments.append(f"fragment {name} on {member.name} {selected}")
        return f"...{name} {condition}"


class Chance(World):
    """Answers with values by chance, of the right types."""

    def __init__(self) -> None:
        super().__init__()
        self.chance = random.Random(0)

    async def run(
        self, handle: DocumentNode, variables: Mapping[str, Any], caller: Caller, idempotency_key: str | None
    ) -> Result:
        result = execute(
            BARE,
            handle,
            variable_values=dict(variables),
            field_resolver=lambda _source, info, **_: self._value(info.return_type),
            type_resolver=lambda _value, info, type: self.chance.choice(BARE.get_possible_types(type)).name,
        )
        assert isinstance(result, ExecutionResult)
        assert result.errors is None
        return Result(result.data)

    def _value(self, type: Any) -> Any:
        if not isinstance(type, GraphQLNonNull) and self.chance.random() < 0.3:
            return None
        bare = get_nullable_type(type)
        if isinstance(bare, GraphQLList):
            return [self._value(bare.of_type) for _ in range(self.chance.randrange(3))]
        if is_composite_type(bare):
            return {}
        if isinstance(bare, GraphQLEnumType):
            return self.chance.choice(list(bare.values))
        return {
            "DateTime": "2025-03-04T08:15:30.120000Z",
            "Int": self.chance.randrange(100),
            "BigInt": 2**50,
            "Float": 0.5,
            "Boolean": True,
            "JSON": self.chance.choice([None, 1, [{}], {"a": 1}]),
            "Record": orjson.Fragment(b'{"id": "r", "more": 1}'),
        }.get(bare.name, "Some Text")


@settings(ALWAYS_THE_SAME, max_examples=80)
@given(st.data())
def test_answers_are_as_described_whatever_is_selected(data: st.DataObject) -> None:
    selections = Selections(data)
    root = data.draw(st.sampled_from(ROOTS))
    query = BARE.query_type
    assert isinstance(query, GraphQLObjectType)
    type = get_named_type(query.fields[root.partition("(")[0]].type)
    selected = selections.of(type, depth=2)
    declared = "($x: Boolean! = true)" if "$x" in "".join([selected, *selections.fragments]) else ""
    document = f'query q{declared} @rest(method: GET, path: "/e") {{ {root} {selected} }}'
    with tempfile.TemporaryDirectory() as folder:
        system = plain(write(Path(folder) / "plain", document, *selections.fragments))
        world = Chance()
        rest = Rest(RestAdapter([system], SDL, world, "http://world"), world)
    described = describe(rest.adapter.routes, [system], merged=False, base_url="http://world")
    schema = described["paths"]["/e"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    validator = jsonschema_rs.Draft202012Validator({"allOf": [schema], "components": described["components"]})
    for _ in range(4):
        for url in ("/e", "/e?x=false"):
            answer = asyncio.run(rest.get(url))
            assert answer.status_code == 200, answer.text
            assert b"__rest_typename" not in answer.content
            validator.validate(answer.json())
    if data.draw(st.integers(1, 10)) == 1:
        validate(described)
