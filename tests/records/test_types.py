"""Every field type: what goes in comes out in its one spelling; what doesn't fit is refused, in these words."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from domain.kernel.reading import Node
from domain.records.declared import AppSchema, Field, ObjectType
from domain.records.query import Op
from domain.records.sql import logged_row
from domain.records.types import NATIVE_ALIASES, NATIVE_TYPES, OBJECTIFY_TYPES, OBJECTOS_TYPES, native_type
from tests import build
from tests.build import Collections
from tests.declarations import moments, numbers, texts
from tests.harness import Person

Pairs = st.SearchStrategy[tuple[Any, Any]]  # what is written, what is read
quickly = settings(
    max_examples=5, deadline=None, phases=(Phase.explicit, Phase.generate), suppress_health_check=list(HealthCheck)
)


def same(values: st.SearchStrategy[Any]) -> Pairs:
    return values.map(lambda value: (value, value))


def written(values: st.SearchStrategy[Any], read: Callable[[Any], Any]) -> Pairs:
    return values.map(lambda value: (value, read(value)))


def of_scale(scale: int, most: int) -> Pairs:
    """Decimals as text, with and without their last zeros, and as numbers."""
    decimals = st.decimals(-most, most, places=scale)
    shown = decimals.map(lambda number: f"{abs(number) if number == 0 else number:.{scale}f}")
    return st.one_of(
        same(shown),
        shown.map(lambda text: (text.rstrip("0").rstrip(".") if scale else text, text)),
        st.integers(-1000, 1000).map(lambda number: (number, f"{number}.{'0' * scale}".rstrip("."))),
    )


def duration(parts: tuple[int, int, int]) -> tuple[str, str]:
    """Written in days, minutes and seconds, read in days, hours, minutes and seconds."""
    days, minutes, seconds = parts
    clock = (minutes * 60 + seconds) // 3600, (minutes * 60 + seconds) // 60 % 60, seconds % 60
    told = "".join(f"{n}{unit}" for n, unit in zip(clock, "HMS", strict=True) if n)
    day = f"{days}D" if days else ""
    return f"P{days}DT{minutes}M{seconds}S", f"P{day}{f'T{told}' if told else ''}" if day or told else "PT0S"


def utc(text: str) -> str:
    """The moment as PostgreSQL prints it."""
    at = datetime.fromisoformat(text).astimezone(UTC)
    seconds = f"{at:%S}" + (f".{at.microsecond:06}".rstrip("0") if at.microsecond else "")
    return f"{at.year:04}-{at:%m-%dT%H:%M}:{seconds}+00:00"


words = st.text(st.characters(min_codepoint=97, max_codepoint=122), min_size=1, max_size=8)
whole = st.integers(-(2**53) + 1, 2**53 - 1)
degrees = st.floats(-90, 90).map(lambda number: number + 0.0)
jsons = st.recursive(
    st.one_of(st.booleans(), st.integers(-(2**53), 2**53), st.floats(-1e9, 1e9).map(lambda n: n + 0.0), texts),
    lambda inner: st.lists(st.one_of(st.none(), inner), max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
singles = st.integers(-2000, 2000).map(lambda number: number / 2)  # what single precision prints as it is
COUNT = """
query($app: ID!, $where: JSONObject!) { records(app: $app, entity: "things", where: $where) { totalCount } }
"""
OPTIONS = ["open", "won", "it's", "ü \\ %"]

# A field of each type: how it is declared, and what may be written into it with what is read then.
FIELDS: dict[str, tuple[dict[str, Any], Pairs]] = {
    "text": ({}, same(texts)),
    "long_text": ({"max_length": 8}, same(texts)),
    "rich_text": ({}, words.map(lambda word: (f"<p>{word} & <b>x<script>1</script>", f"<p>{word} &amp; <b>x</b></p>"))),
    "email": ({}, st.tuples(words, words).map(lambda w: (f" {w[0]}@{w[1].upper()}.Org ", f"{w[0]}@{w[1]}.org"))),
    "url": ({}, same(words.map(lambda word: f"https://example.org/{word}?q=%20#x"))),
    "phone": ({}, st.integers(10**8, 10**12).map(lambda n: (f"+49 ({str(n)[:3]}) {str(n)[3:]}", f"+49{n}"))),
    "color": ({}, st.integers(0, 2**24 - 1).map(lambda n: (f"#{n:06X}", f"#{n:06x}"))),
    "enum": ({"enum_values": OPTIONS}, same(st.sampled_from(OPTIONS))),
    "file": ({}, same(words)),
    "image": ({}, same(words)),
    "number": ({}, same(numbers.map(lambda number: number + 0))),
    "integer": ({}, st.one_of(same(whole), st.integers(-99, 99).map(lambda n: (float(n), n)))),
    "decimal": ({"precision": 12, "scale": 2}, of_scale(2, 10**9)),
    "percent": ({}, of_scale(4, 999)),
    "money": (
        {},
        st.one_of(
            of_scale(2, 10**9).map(lambda p: (_money(p[0], "EUR"), _money(p[1], "EUR"))),
            of_scale(0, 10**9).map(lambda p: (_money(p[0], "JPY"), _money(p[1], "JPY"))),
        ),
    ),
    "boolean": ({}, same(st.booleans())),
    "date": ({}, same(st.dates().map(lambda day: day.isoformat()))),
    "time": (
        {},
        st.one_of(
            same(st.times().map(lambda at: at.replace(microsecond=0).isoformat())),
            st.times().map(lambda at: (f"{at:%H:%M}", f"{at:%H:%M}:00")),
        ),
    ),
    "timestamp": ({}, written(moments.map(lambda at: at.isoformat()), utc)),
    "duration": ({}, st.tuples(st.integers(0, 999), st.integers(0, 999), st.integers(0, 59)).map(duration)),
    "json": ({}, same(jsons)),
    "uuid": ({}, st.uuids().map(lambda id: (str(id).upper(), str(id)))),
    "geo_point": ({}, same(st.fixed_dictionaries({"lat": degrees, "lng": degrees}))),
    "vector": ({"dimensions": 3}, same(st.lists(singles, min_size=3, max_size=3))),
    "[text]": ({}, same(st.lists(texts, max_size=3))),
    "[number]": ({}, same(st.lists(numbers.map(lambda number: number + 0), max_size=3))),
    "[integer]": ({}, same(st.lists(whole, max_size=3))),
    "[boolean]": ({}, same(st.lists(st.booleans(), max_size=3))),
    "[date]": ({}, same(st.lists(st.dates().map(lambda day: day.isoformat()), max_size=3))),
    "[timestamp]": (
        {},
        written(st.lists(moments.map(lambda at: at.isoformat()), max_size=3), lambda values: [*map(utc, values)]),
    ),
    "[uuid]": ({}, same(st.lists(st.uuids().map(str), max_size=3))),
    "tags": ({}, written(st.lists(words, max_size=4), lambda values: list(dict.fromkeys(values)))),
    "multi_enum": (
        {"enum_values": OPTIONS},
        written(st.lists(st.sampled_from(OPTIONS), max_size=4), lambda values: list(dict.fromkeys(values))),
    ),
}
# Nobody reads the one, nobody writes the other.
ELSEWHERE: dict[str, dict[str, Any]] = {"secret": {}, "autonumber": {"format": "it's {000}\\%", "start": 99}}


def _money(amount: Any, currency: str) -> dict[str, Any]:
    return {"amount": amount, "currency": currency}


def column(name: str) -> str:
    return "f_" + name.replace("[", "list_").replace("]", "")


@pytest.fixture(scope="module")
def things(admin: Person) -> Collections:
    fields = [build.field(column(name), name, **more) for name, (more, _) in FIELDS.items()]
    return build.app(admin, build.entity("things", *fields), dialect="stoa")


def test_every_type_is_tried() -> None:
    assert {*FIELDS, *ELSEWHERE} == {*NATIVE_TYPES}


@pytest.mark.parametrize("name", FIELDS)
def test_what_is_written_is_read_in_its_one_spelling(things: Collections, name: str) -> None:
    """And as its JSON Schema says."""
    field = column(name)
    type = native_type(name, Node({"type": name, **FIELDS[name][0]}, ""))
    assert type is not None

    @quickly
    @given(st.lists(FIELDS[name][1], min_size=1, max_size=8))
    def check(pairs: list[tuple[Any, Any]]) -> None:
        made = things.create_many("things", [{field: value} for value, _ in pairs])
        assert [record[field] for record in made] == [read for _, read in pairs]
        for record in made:
            jsonschema.validate(record[field], type.describe())
        again = things.create_many("things", [{field: record[field]} for record in made])
        assert [record[field] for record in again] == [read for _, read in pairs]

    check()


@pytest.mark.parametrize("name", FIELDS)
def test_a_value_that_is_read_finds_its_record(things: Collections, name: str) -> None:
    """By each operator of the type that holds for equal values; the others are refused."""
    field = column(name)
    type = native_type(name, Node({"type": name, **FIELDS[name][0]}, ""))
    assert type is not None

    @quickly
    @given(FIELDS[name][1])
    def check(pair: tuple[Any, Any]) -> None:
        made = things.create("things", **{field: pair[0]})
        shown = made[field]
        holds = {"eq": shown, "in": [shown], "gte": shown, "lte": shown, "contains": shown, "isNull": False}
        for op in Op:
            operand = holds.get(op.value, [shown] if op is Op.NOT_IN else shown)
            asked = {"app": things.app_id, "where": {"id": {"eq": made["id"]}, field: {op.value: operand}}}
            if op.value not in type.operators:
                refused = things.person.graphql(COUNT, **asked)["errors"][0]
                assert refused["message"] == f"operator {op.value} does not fit {name} fields"
                assert refused["extensions"]["field"] == f"where.{field}.{op.value}"
            elif op.value in holds:
                assert things.person.data(COUNT, **asked)["records"] == {"totalCount": 1}, (op, shown)
            elif op.value in ("ne", "gt", "lt", "nin"):
                assert things.person.data(COUNT, **asked)["records"] == {"totalCount": 0}, (op, shown)

    check()


WRONG: list[tuple[str, dict[str, Any], Any, str]] = [
    ("text", {"max_length": 3}, "four", "must have at most 3 characters"),
    ("text", {"min_length": 3}, "ab", "must have at least 3 characters"),
    ("email", {}, "nobody", "must be an e-mail address"),
    ("email", {}, "a@b", "must be an e-mail address"),
    ("email", {}, "a b@example.org", "must be an e-mail address"),
    ("email", {}, 5, "must be an e-mail address"),
    ("url", {}, "ftp://example.org", "must be an absolute http or https URL"),
    ("url", {}, "/relative", "must be an absolute http or https URL"),
    ("url", {}, "https://a b", "must be an absolute http or https URL"),
    ("url", {}, "https://[", "must be an absolute http or https URL"),
    ("phone", {}, "030 901820", "must be a telephone number with its country code, like +49 30 901820"),
    ("color", {}, "red", "must be a colour, #rrggbb"),
    ("enum", {"enum_values": ["a", "b"]}, "c", "must be one of a, b"),
    ("enum", {"enum_values": ["a", "b"]}, 1, "must be one of the declared texts"),
    ("multi_enum", {"enum_values": ["a", "b"]}, ["c"], "must be one of a, b"),
    ("multi_enum", {"enum_values": ["a", "b"]}, "a", "must be a list of text values"),
    ("number", {"minimum": 1}, 0.5, "must be at least 1"),
    ("number", {}, "x", "must be a number"),
    ("integer", {}, 5.5, "must be a whole number"),
    ("integer", {}, "5", "must be a whole number"),
    ("integer", {}, True, "must be a whole number"),
    ("integer", {}, 2**53, "must be a whole number from -9007199254740991 to 9007199254740991"),
    ("integer", {"maximum": 5}, 6, "must be at most 5"),
    ("decimal", {"precision": 5, "scale": 2}, "1.005", "must have at most 2 digits after the point"),
    ("decimal", {"precision": 5, "scale": 2}, 1000, "must have at most 3 digits before the point"),
    ("decimal", {"precision": 5, "scale": 2}, "1e400", "must have at most 3 digits before the point"),
    ("decimal", {}, "NaN", "must be a decimal number"),
    ("decimal", {}, "1e99999", "must be a decimal number"),
    ("decimal", {}, True, "must be a decimal number"),
    ("decimal", {"minimum": "0.5"}, "0.25", "must be at least 0.5"),
    ("percent", {}, 1000.5, "must be at most 1000"),
    ("money", {}, 5, "must be an object of amount and currency"),
    ("money", {}, {"amount": 5}, "must be an object of amount and currency"),
    ("money", {}, {"amount": 5, "currency": "XXX"}, "must have a currency code of ISO 4217"),
    ("money", {}, {"amount": "1.5", "currency": "JPY"}, "must have at most 0 digits after the point"),
    ("money", {}, {"amount": "1.234", "currency": "EUR"}, "must have at most 2 digits after the point"),
    ("money", {"currency": "EUR"}, {"amount": 5, "currency": "USD"}, "must be an amount in EUR"),
    ("boolean", {}, "maybe", "must be true or false"),
    ("date", {}, "2025-02-30", "must be a date, YYYY-MM-DD"),
    ("time", {}, "24:00", "must be a time of day, HH:MM or HH:MM:SS"),
    (
        "timestamp",
        {},
        "2025-01-01T00:00:00",
        "must be a moment in ISO 8601 with an offset or Z, like 2025-03-04T08:15:30Z",
    ),
    ("duration", {}, "P", "must be a duration in ISO 8601, like P1DT2H30M"),
    ("duration", {}, "PT", "must be a duration in ISO 8601, like P1DT2H30M"),
    ("duration", {}, "1 day", "must be a duration in ISO 8601, like P1DT2H30M"),
    ("duration", {}, "P99999999Y", "must be at most 100000 years, 100000000 days and 1000000000 hours long"),
    ("uuid", {}, "1", "must be a UUID"),
    ("geo_point", {}, {"lat": 91, "lng": 0}, "must have a lat from -90 to 90"),
    ("geo_point", {}, {"lat": 0, "lng": "0"}, "must have a lng from -180 to 180"),
    ("geo_point", {}, {"lat": 0}, "must be an object of lat and lng"),
    ("geo_point", {}, [0, 0], "must be an object of lat and lng"),
    ("vector", {"dimensions": 2}, [1, 2, 3], "must be a list of 2 numbers"),
    ("vector", {"dimensions": 2}, [1, "2"], "must be a list of numbers"),
    ("vector", {"dimensions": 1}, [1e39], "must be a list of numbers within the range of single precision"),
    ("[integer]", {}, [1, None], "must be a list without nulls"),
    ("[integer]", {}, [1.5], "must be a whole number"),
    ("[date]", {}, ["x"], "must be a date, YYYY-MM-DD"),
    ("tags", {}, [""], "must be a list of texts of 1 to 255 characters"),
    ("tags", {"max_items": 1}, ["a", "b"], "must have at most 1 elements"),
    ("secret", {}, 5, "must be a text without the character U+0000"),
]


@pytest.fixture(scope="module")
def wrongs(admin: Person) -> Collections:
    fields = [build.field(f"f{i}", name, **more) for i, (name, more, _, _) in enumerate(WRONG)]
    return build.app(admin, build.entity("wrongs", *fields), dialect="stoa")


def test_a_value_that_does_not_fit_is_refused_in_these_words(wrongs: Collections) -> None:
    told = []
    for i, (_, _, value, _) in enumerate(WRONG):
        answer = wrongs.person.client.post(wrongs.path("wrongs"), json={f"f{i}": value})
        told.append((answer.status_code, answer.json()["field"], answer.json()["error"]))
    assert told == [(400, f"f{i}", f"field 'f{i}' {words}") for i, (*_, words) in enumerate(WRONG)]
    assert wrongs.query("wrongs") == {"data": [], "total": 0}


DECLARED_WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"type": "shape"}, "type", "dataContract.0.fields.0.type 'shape' is not a field type; there are "),
    ({"type": "decimal", "scale": 9, "precision": 8}, "scale", "must not be greater than precision"),
    ({"type": "decimal", "precision": 1001}, "precision", "must be at most 1000"),
    ({"type": "decimal", "minimum": 2, "maximum": 1}, "minimum", "must not be greater than maximum"),
    ({"type": "integer", "minimum": 0.5}, "minimum", "must be a whole number"),
    ({"type": "money", "currency": "XXX"}, "currency", "must be a currency code of ISO 4217"),
    ({"type": "vector"}, "dimensions", "is required"),
    ({"type": "vector", "dimensions": 16_001}, "dimensions", "must be at most 16000"),
    ({"type": "text", "min_length": 5, "max_length": 4}, "min_length", "must not be greater than max_length"),
    ({"type": "enum"}, "enum_values", "is required"),
    ({"type": "enum", "enum_values": ["a", "a"]}, "enum_values", "must be 1 to 1000 different values"),
    (
        {"type": "enum", "enum_values": ["a"], "default_value": "b"},
        "default_value",
        "must be one of the declared values",
    ),
    ({"type": "email", "default_value": "nobody"}, "default_value", "must be an e-mail address"),
    ({"type": "secret", "default_value": "x"}, "default_value", "is not for secret fields"),
    ({"type": "json", "unique": True}, "unique", "is not for json fields"),
    ({"type": "reference"}, "references", "is required"),
]


@pytest.mark.parametrize(("declared", "key", "words"), DECLARED_WRONG)
def test_a_declaration_that_does_not_hold_is_refused_with_its_path(
    admin: Person, declared: dict[str, Any], key: str, words: str
) -> None:
    manifest = build.manifest(build.entity("things", {"name": "thing", **declared}), dialect="stoa")
    answer = admin.client.post("/api/v1/apps", json=manifest)
    path = f"dataContract.0.fields.0.{key}"
    assert (answer.status_code, answer.json()["field"]) == (400, path)
    assert answer.json()["error"].startswith(words if words.startswith(path) else f"{path} {words}")
    assert admin.client.get(f"/api/v1/apps/{manifest['appId']}").status_code == 404


def test_rootcx_takes_the_same_words_for_text(admin: Person) -> None:
    """What isn't one of its eleven types is text, and parameters mean nothing."""
    app = build.app(admin, build.entity("things", build.field("a", "email"), build.field("b", "vector", dimensions=2)))
    assert app.create("things", a="nobody", b=[1])["a"] == "nobody"
    assert app.create("things", b=[1])["b"] == "[1]"
    answer = admin.client.post("/api/v1/apps", json=build.manifest(dialect="cobol"))
    assert (answer.status_code, answer.json()["error"]) == (400, "dialect must be one of rootcx, stoa")


def test_every_word_of_a_dialect_stands_for_a_type() -> None:
    virtual = {"reference", "user", "formula", "rollup"}
    known = {*NATIVE_TYPES, *virtual}
    assert {*NATIVE_ALIASES.values()} <= known
    for words in (OBJECTIFY_TYPES, OBJECTOS_TYPES):
        assert {type for type, _ in words.values()} <= known
    assert len(OBJECTIFY_TYPES) == 22


def test_defaults_of_every_type_are_what_a_record_without_a_value_has(admin: Person, things: Collections) -> None:
    samples = {
        "money": _money("5.00", "EUR"),
        "geo_point": {"lat": 1.5, "lng": 2.0},
        "vector": [1.0, 2.0, 3.0],
        "duration": "P1DT2H",
        "decimal": "1.50",
        "percent": "12.5000",
        "tags": ["a", "b"],
        "[text]": ["x"],
        "[integer]": [],
        "time": "08:15:00",
        "json": {"a": [1]},
        "email": "a@example.org",
        "enum": "it's",
    }
    fields = [
        build.field(column(name), name, default_value=value, **FIELDS[name][0]) for name, value in samples.items()
    ]
    app = build.app(admin, build.entity("things", build.field("other"), *fields), dialect="stoa")
    made = app.create("things", other="x")
    assert {name: made[column(name)] for name in samples} == samples
    manifest = build.manifest(build.entity("things", build.field("other"), *fields), dialect="stoa", app_id=app.app_id)
    again = admin.data("query($m: JSONObject!) { planApp(manifest: $m) { compliant } }", m=manifest)
    assert again["planApp"] == {"compliant": True}


def test_amounts_of_two_currencies_are_neither_less_nor_more(things: Collections) -> None:
    field = column("money")
    five = things.create("things", **{field: _money("5", "EUR")})
    ten = things.create("things", **{field: _money("10", "USD")})
    ids = [five["id"], ten["id"]]
    for op, amount, found in (("$gte", "1", [five]), ("$lt", "6", [five]), ("$lt", "20", [five]), ("$gt", "5", [])):
        where = {"id": {"$in": ids}, field: {op: _money(amount, "EUR")}}
        assert things.query("things", where=where)["data"] == found


def test_a_decimal_is_not_rounded_to_be_compared(things: Collections) -> None:
    field = column("decimal")
    made = things.create("things", **{field: "1.01"})
    for op, value, total in (
        ("$eq", "1.005", 0),
        ("$gt", "1.005", 1),
        ("$eq", "1.010", 1),
        ("$lt", 1.0101, 1),
    ):
        where = {"id": made["id"], field: {op: value}}
        assert things.query("things", where=where)["total"] == total


def test_the_column_is_guarded_against_whoever_writes_by_hand(things: Collections, stoa: Any) -> None:
    wrong = {
        "email": "'nobody'", "phone": "'1'", "long_text": "'123456789'", "percent": "1001", "color": "'#FFFFFF'",
        "geo_point": "'(91,0)'", "money": "'(,EUR)'", "enum": "'lost'", "tags": "array_fill('a'::text, ARRAY[101])",
        "integer": "9007199254740992",
    }  # fmt: skip
    for name, value in wrong.items():
        with pytest.raises(Exception, match=f"chk_things_{column(name)}"):
            stoa.sql(f'INSERT INTO "{things.app_id}".things ({column(name)}) VALUES ({value})')


def test_the_log_of_changes_shows_what_is_read(things: Collections, stoa: Any) -> None:
    """Decimals with their digits, amounts and vectors as they are everywhere else."""
    values = {
        column("decimal"): "1.50",
        column("money"): _money("5.00", "EUR"),
        column("vector"): [1.0, 0.5, 2.0],
        column("duration"): "P1DT2H",
        column("geo_point"): {"lat": 1.5, "lng": 2.5},
    }
    made = things.create("things", **values)
    assert {name: made[name] for name in values} == values
    things.person.client.patch(things.path("things", made["id"]), json={column("decimal"): 2})
    things.person.client.delete(things.path("things", made["id"]))
    rows = stoa.sql(
        "SELECT operation, old_record::text AS old, new_record::text AS new FROM stoa.audit_log "
        "WHERE record_id = $1 ORDER BY id",
        made["id"],
    )
    logged = [(row["operation"], *(row[key] and json.loads(row[key]) for key in ("old", "new"))) for row in rows]
    changed = {**made, column("decimal"): "2.00", "updated_at": logged[1][2]["updated_at"]}
    assert logged == [("INSERT", None, made), ("UPDATE", made, changed), ("DELETE", changed, None)]


def test_what_the_log_shows_of_a_record_is_read_back_into_the_row_it_was(admin: Person, stoa: Any) -> None:
    """But for secrets, of which the log knows no more than that there is one."""
    declared = {name: more for name, (more, _) in FIELDS.items()} | ELSEWHERE
    fields = [build.field(column(name), name, **more) for name, more in declared.items()]
    app = build.app(admin, build.entity("things", *fields), dialect="stoa")
    types = {column(name): native_type(name, Node({"type": name, **more}, "")) for name, more in declared.items()}
    entity = ObjectType("things", tuple(Field(name, type) for name, type in types.items() if type is not None))
    row = logged_row(AppSchema(None, app.app_id, "", app.app_id, 0), entity)
    table = f'"{app.app_id}".things'
    same = {name: f"t.{name} IS NOT DISTINCT FROM s.{name}" for name in entity.stored}
    same[column("secret")] = f"(t.{column('secret')} IS NULL) = (s.{column('secret')} IS NULL)"
    asked = ", ".join(f"bool_and({same[name]}) AS {name}" for name in same)
    logged = f"SELECT a.new_record AS logged, s.* FROM {table} s JOIN stoa.audit_log a ON a.record_id = s.id::text"

    @quickly
    @given(st.fixed_dictionaries({column(name): pairs for name, (_, pairs) in FIELDS.items()}))
    def check(values: dict[str, tuple[Any, Any]]) -> None:
        whole = {name: value for name, (value, _) in values.items()}
        app.create_many(
            "things", [{**whole, column("secret"): "psst"}, {**dict.fromkeys(whole), column("secret"): None}]
        )
        assert stoa.sql(f"SELECT {asked} FROM ({logged}) s, {row}") == [dict.fromkeys(same, True)]

    check()
    (numbers,) = stoa.sql(f"SELECT array_agg(t.{column('autonumber')} ORDER BY s.id) AS n FROM ({logged}) s, {row}")
    assert sorted(numbers["n"]) == [*range(99, 99 + len(numbers["n"]))]
