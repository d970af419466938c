"""Full-text search: what is declared is indexed, what is searched is found, ranked and paged, in one statement."""

import random
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.apps.manifest import parse_manifest
from domain.records.declared import AppSchema
from domain.records.service import sought_of
from domain.records.sql import Params, condition
from tests import build
from tests.apps.test_changes import installed
from tests.build import entity, field, link
from tests.graph.listening import listening
from tests.harness import Databases, Person, Stoa, running, settled
from tests.typed.asking import Typed
from tests.typed.test_subscriptions import told

PEOPLE = [  # name, notes, tags
    ("Ann Miller", "Runs the bakery in Bern", ["baker", "swiss"]),
    ("Bob Baker", "Likes running with Ann", []),
    ("Cy Williams", "Owns a boat; number 2024", ["sailor"]),
    ("Ärger Müller", "Writes letters", ["writer"]),
    ("Dora", None, None),
]
SEARCHED = {"fields": {"name": "A", "tags": "B", "notes": "C"}}


def people(search: Any = SEARCHED) -> dict[str, Any]:
    more = {} if search is None else {"search": search}
    fields = (field("name"), field("notes", "long_text"), field("tags", "tags"), field("age", "integer"))
    return entity("people", *fields, link("team_id", "teams"), **more)


TEAMS = entity("teams", field("title"))


@pytest.fixture(scope="module")
def typed(admin: Person) -> Typed:
    app = build.app(admin, people(), TEAMS, dialect="stoa")
    team = app.create("teams", title="one")["id"]
    for n, (name, notes, tags) in enumerate(PEOPLE):
        app.create("people", name=name, notes=notes, tags=tags, age=n, team_id=team)
    return Typed.of(app)


def found(typed: Typed, text: str, more: str = "") -> list[str]:
    query = f"query($q: String) {{people(search: $q{more}) {{nodes {{name}} totalCount}}}}"
    answer = typed.data(query, q=text)["people"]
    assert answer["totalCount"] == len(answer["nodes"])
    return [node["name"].split()[0] for node in answer["nodes"]]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("ann", ["Ann", "Bob"]),  # a name counts more than a note
        ("ANN mill", ["Ann"]),
        ("baker", ["Bob", "Ann"]),
        ("bak", ["Bob", "Ann"]),  # the last word may be unfinished
        ("bak ", []),  # unless it isn't the last thing
        ("willams", ["Cy"]),  # a letter is missing
        ("wilxiams", ["Cy"]),  # or another one
        ("muler", ["Ärger"]),  # or an accent
        ("baker rnning", ["Bob"]),
        ("boat 2024", ["Cy"]),
        ("boat 2023", []),  # numbers are what they are
        ("ann -bob", ["Ann"]),
        ('"likes running"', ["Bob"]),
        ('"running likes"', []),
        ("sailor or writer", ["Ärger", "Cy"]),  # equals: the newest first
        ("ärger", ["Ärger"]),
        ("ÄRGER müll", ["Ärger"]),
        ("nothing", []),
        ("; DROP TABLE people --", []),
        ("' | ' & !", None),
        ("(:*", None),
    ],
)
def test_words_are_found_best_matches_first(typed: Typed, text: str, names: list[str] | None) -> None:
    if names is None:
        query = "query($q: String) {people(search: $q) {totalCount}}"
        assert typed.error(query, q=text) == ("INVALID_INPUT", "search must have a word to look for")
    else:
        assert found(typed, text) == names


def test_a_search_goes_with_conditions_order_relations_and_aggregates(typed: Typed) -> None:
    assert found(typed, "ann", ", where: {age: {gt: 0}}") == ["Bob"]
    assert found(typed, "ann", ", orderBy: {age: DESC}") == ["Bob", "Ann"]
    assert found(typed, "ann", ", first: 5, offset: 0") == ["Ann", "Bob"]
    query = """{
      people(search: "baker", first: 1) {
        nodes { name } totalCount aggregate { count max { age } } groups(by: {name: true}) { key { name } }
      }
      teams { nodes { people(search: "boat") { nodes { name } totalCount } } }
    }"""
    assert typed.data(query) == {
        "people": {
            "nodes": [{"name": "Bob Baker"}],
            "totalCount": 2,
            "aggregate": {"count": 2, "max": {"age": 1}},
            "groups": [{"key": {"name": "Ann Miller"}}, {"key": {"name": "Bob Baker"}}],
        },
        "teams": {"nodes": [{"people": {"nodes": [{"name": "Cy Williams"}], "totalCount": 1}}]},
    }
    assert len(typed.data("{people(search: null) {nodes {id}}}")["people"]["nodes"]) == len(PEOPLE)


def test_one_plan_serves_texts_of_one_shape_and_none_of_another(typed: Typed) -> None:
    assert [found(typed, text) for text in ("bakery", "sailor", "boat letters", "ann", "2024", "willams")] == [
        ["Ann", "Bob"],
        ["Cy"],
        [],
        ["Ann", "Bob"],
        ["Cy"],
        ["Cy"],
    ]


def test_what_is_asked_is_bounded(typed: Typed) -> None:
    query = "query($q: String) {people(search: $q) {totalCount}}"
    for text, words in (
        ("", "must have a word to look for"),
        ("a" * 201, "must have at most 200 characters"),
        ("a " * 11, "must have at most 10 words"),
    ):
        assert typed.error(query, q=text) == ("INVALID_INPUT", f"search {words}")
    assert typed.error('{teams(search: "x") {totalCount}}')[1].startswith("Unknown argument 'search'")


def test_pages_by_rank_hold_every_match_once_and_are_bound_to_their_search(admin: Person) -> None:
    app = build.app(admin, entity("notes", field("body"), search={"fields": {"body": "D"}}), dialect="stoa")
    app.create_many("notes", [{"body": f"alpha {'beta ' * (n % 7)}{'alpha ' * (n % 3)}n{n}"} for n in range(40)])
    app.create_many("notes", [{"body": f"alpfa {n}"} for n in range(5)])
    typed = Typed.of(app)
    query = """query($q: String, $after: String) {
      notes(search: $q, first: 6, after: $after) {
        edges { searchRank node { body } } pageInfo { hasNextPage endCursor } totalCount
      }
    }"""
    ranks: list[float] = []
    bodies: list[str] = []
    after = None
    while True:
        page = typed.data(query, q="alpha", after=after)["notes"]
        assert page["totalCount"] == 45
        ranks += [edge["searchRank"] for edge in page["edges"]]
        bodies += [edge["node"]["body"] for edge in page["edges"]]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert ranks == sorted(ranks, reverse=True)
    assert len(set(bodies)) == len(bodies) == 45
    assert all((rank > 1) == body.startswith("alpha") for rank, body in zip(ranks, bodies, strict=True))
    assert typed.error(query, q="beta", after=after) == ("INVALID_INPUT", "not a cursor of this list")
    unsearched = typed.data("{notes(first: 1) {edges {searchRank}}}")
    assert unsearched["notes"]["edges"] == [{"searchRank": None}]


def test_a_language_finds_words_by_their_stems(admin: Person) -> None:
    search = {"fields": {"name": "A"}, "language": "english", "typos": False}
    app = build.app(admin, entity("people", field("name"), search=search), dialect="stoa")
    app.create_many("people", [{"name": "the runner was running"}, {"name": "she runs"}])
    typed = Typed.of(app)
    assert sorted(found(typed, "run")) == sorted(found(typed, "running")) == ["she", "the"]
    assert found(typed, "the") == []  # a word that says nothing
    assert found(typed, "runing") == []


def test_records_of_any_app_are_searched_by_name(typed: Typed) -> None:
    query = """query($app: ID!, $q: String, $by: String, $after: String) {
      records(app: $app, entity: "people", search: $q, orderBy: $by, direction: ASC, first: 1, after: $after) {
        nodes totalCount pageInfo { endCursor hasNextPage }
      }
    }"""
    ask = {"app": typed.app_id, "q": "baker"}
    first = typed.person.data(query, **ask)["records"]
    second = typed.person.data(query, **ask, after=first["pageInfo"]["endCursor"])["records"]
    assert [page["nodes"][0]["name"] for page in (first, second)] == ["Bob Baker", "Ann Miller"]
    assert (first["totalCount"], second["pageInfo"]["hasNextPage"]) == (2, False)
    assert typed.person.data(query, **ask, by="age")["records"]["nodes"][0]["name"] == "Ann Miller"
    told = typed.person.graphql(query.replace('"people"', '"teams"'), **ask)["errors"][0]
    assert told["message"] == "the records of 'teams' are not searched: its declaration has no search"


def test_what_is_declared_is_planned_and_indexed(admin: Person, stoa: Stoa) -> None:
    app = build.app(admin, people(None), TEAMS, dialect="stoa")

    def indexes() -> list[str]:
        rows = stoa.sql("SELECT indexname::text AS i FROM pg_indexes WHERE schemaname = $1 ORDER BY 1", app.app_id)
        return [row["i"] for row in rows if "search" in row["i"]]

    both = ["idx_search_people", "idx_search_people_typos"]
    assert installed(app, people(), TEAMS) == [("add_search_index", None)] * 2
    assert indexes() == both
    assert installed(app, people(), TEAMS) == []
    fewer = {"fields": {"name": "A"}, "typos": False}
    assert sorted(installed(app, people(fewer), TEAMS)) == [("drop_search_index", None), ("replace_search_index", None)]
    assert indexes() == both[:1]
    assert installed(app, people(None), TEAMS) == [("drop_search_index", None)]
    assert indexes() == []


def test_the_indexes_are_what_a_search_uses(admin: Person, stoa: Stoa) -> None:
    app = build.app(admin, people(), TEAMS, dialect="stoa")
    app.create_many("people", [{"name": f"name{n} word", "notes": f"note{n}"} for n in range(1000)])
    stoa.sql(f"ANALYZE {app.app_id}.people")
    types = {type.name: type for type in parse_manifest(build.manifest(people(), TEAMS, dialect="stoa")).types}
    schema = AppSchema(None, app.app_id, "", app.app_id, 1, types)
    for text, indexes in (("name77", 1), ("willams", 2)):
        params = Params()
        met = condition(schema, sought_of(types["people"], text), params, "t")
        plan = stoa.sql(f"EXPLAIN SELECT FROM {app.app_id}.people t WHERE {met}", *params.values)
        told = [line["QUERY PLAN"] for line in plan]
        assert sum("Bitmap Index Scan on idx_search" in line for line in told) == indexes, told


@pytest.mark.parametrize(
    ("search", "key", "words"),
    [
        ({}, "fields", "must have 1 to 32 fields"),
        ({"fields": {}}, "fields", "must have 1 to 32 fields"),
        ({"fields": ["name"]}, "fields", "must be an object"),
        ({"fields": {"nam": "A"}}, "fields.nam", "is not one of the fields"),
        ({"fields": {"name": "E"}}, "fields.name", "must be one of A, B, C, D"),
        ({"fields": {"name": 1}}, "fields.name", "must be one of A, B, C, D"),
        (
            {"fields": {"age": "A"}},
            "fields.age",
            "is a integer field: only texts with a column of their own are searched",
        ),
        ({"fields": {"name": "A"}, "langage": "english"}, "langage", "is not known; there are fields, language, typos"),
        ({"fields": {"name": "A"}, "typos": "no"}, "typos", "must be true or false"),
    ],
)
def test_a_declaration_that_cannot_be_is_refused_by_name(admin: Person, search: Any, key: str, words: str) -> None:
    manifest = build.manifest(people(search), TEAMS, dialect="stoa")
    answer = admin.client.post("/api/v1/apps", json=manifest)
    path = f"dataContract.0.search.{key}"
    assert (answer.status_code, answer.json()["error"]) == (400, f"{path} {words}")
    assert admin.client.get(f"/api/v1/apps/{manifest['appId']}").status_code == 404


def test_a_language_that_postgresql_does_not_speak_is_refused(admin: Person) -> None:
    manifest = build.manifest(people({"fields": {"name": "A"}, "language": "klingon"}), TEAMS, dialect="stoa")
    answer = admin.client.post("/api/v1/apps", json=manifest)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("dataContract.0.search.language must be one of simple, arabic, ")


WORDS = ["alpha", "alp", "beta", "bet", "gamma", "a", "b1", "42"]
ASKED = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3)
WITHOUT = st.lists(st.sampled_from(WORDS), max_size=1)


def test_words_are_found_as_plain_python_finds_them(admin: Person) -> None:
    dice = random.Random(1)
    app = build.app(
        admin,
        entity("exact", field("a"), field("b", "tags"), search={"fields": {"a": "A", "b": "D"}, "typos": False}),
        entity("alike", field("a"), field("b", "tags"), search={"fields": {"a": "A", "b": "D"}}),
        dialect="stoa",
    )
    rows = [{"a": " ".join(dice.choices(WORDS, k=dice.randint(0, 3))), "b": dice.sample(WORDS, 2)} for _ in range(80)]
    there = {name: app.create_many(name, rows) for name in ("exact", "alike")}
    typed = Typed.of(app)
    query = """query($q: String) {
      exact(search: $q, first: 100) { edges { searchRank node { id } } }
      alike(search: $q, first: 100) { edges { searchRank node { id } } }
    }"""

    @settings(max_examples=60, deadline=None)
    @given(ASKED, WITHOUT, st.booleans())
    def check(words: list[str], without: list[str], unfinished: bool) -> None:
        asked = " ".join([*words[:-1], *(f"-{word}" for word in without), words[-1]]) + ("" if unfinished else " ")

        def met(record: dict[str, Any]) -> bool:
            own = [*record["a"].split(), *record["b"]]
            last = any(word.startswith(words[-1]) if unfinished else word == words[-1] for word in own)
            return last and all(word in own for word in words[:-1]) and not any(word in own for word in without)

        found = typed.data(query, q=asked)
        for name, records in there.items():
            edges = found[name]["edges"]
            ranks = [edge["searchRank"] for edge in edges]
            assert ranks == sorted(ranks, reverse=True)
            ids = {edge["node"]["id"] for edge in edges if edge["searchRank"] >= 1}
            assert ids == {record["id"] for record in records if met(record)}
        assert all(edge["searchRank"] >= 1 for edge in found["exact"]["edges"])

    check()


LIVE = """subscription {
  peopleLive(search: "baker", first: 2) { nodes { name } changed { index node { name } } removed }
}"""


def test_a_list_of_what_is_found_stays_as_it_is(stoa: Stoa, admin: Person) -> None:
    app = build.app(admin, people(), TEAMS, dialect="stoa")
    app.create("people", name="Ann", notes="a baker")
    with listening(stoa, admin, LIVE, f"/graphql/{app.app_id}") as events:
        assert told(events, "peopleLive")["nodes"] == [{"name": "Ann"}]
        app.create("people", name="Cy")
        app.create("people", name="Bob Baker")
        changed = told(events, "peopleLive")["changed"]
        assert changed == [{"index": 0, "node": {"name": "Bob Baker"}}, {"index": 1, "node": {"name": "Ann"}}]


def test_where_the_database_has_no_trigrams_typos_are_refused_by_name(
    databases: Databases, postgres_superuser_url: str, valkey_url: str, tmp_path: Path
) -> None:
    url = databases.new()
    name = urlsplit(url).path.removeprefix("/")

    async def without_trigrams() -> None:
        connection = await asyncpg.connect(postgres_superuser_url.replace("/stoa?", f"/{name}?", 1))
        await connection.execute("DROP EXTENSION pg_trgm CASCADE")
        await connection.close()

    settled(without_trigrams())
    with running(url, valkey_url, tmp_path) as server:
        admin = server.person("admin")
        manifest = build.manifest(people(), TEAMS, dialect="stoa")
        answer = admin.client.post("/api/v1/apps", json=manifest)
        assert (answer.status_code, answer.json()["field"]) == (400, "people.search.typos")
        assert answer.json()["error"].endswith('install it, or declare "typos": false')
        assert admin.client.get(f"/api/v1/apps/{manifest['appId']}").status_code == 404
        app = build.app(admin, people({**SEARCHED, "typos": False}), TEAMS, dialect="stoa")
        app.create("people", name="Ann Miller")
        assert found(Typed.of(app), "ann mill") == ["Ann"]
