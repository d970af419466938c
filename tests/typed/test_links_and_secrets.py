"""Many-to-many fields and secrets in the typed schema: written with the record, followed, filtered by, never shown."""

from dataclasses import dataclass
from typing import Any

import pytest

from tests import build
from tests.build import entity, field
from tests.harness import Person, Stoa
from tests.typed.asking import Typed


def many(name: str, target: str) -> dict[str, Any]:
    return field(name, "many_to_many", references={"entity": target, "field": "id"})


@dataclass
class Club:
    typed: Typed
    people: dict[str, str]

    def teams(self, where: str) -> list[str]:
        found = self.typed.data(f"{{teams(where: {where}, orderBy: {{name: ASC}}) {{nodes {{name}} totalCount}}}}")
        assert found["teams"]["totalCount"] == len(found["teams"]["nodes"])
        return [node["name"] for node in found["teams"]["nodes"]]


@pytest.fixture
def club(admin: Person) -> Club:
    app = build.app(
        admin,
        entity("people", field("name"), many("friend_ids", "people")),
        entity("teams", field("name", unique=True), field("key", "secret"), many("members", "people")),
        dialect="stoa",
    )
    return Club(Typed.of(app), {name: app.create("people", name=name)["id"] for name in "abc"})


CREATE = "mutation($v: TeamCreate!) {createTeam(values: $v) {id name key members memberRecords {nodes {name}}}}"
UPDATE = "mutation($id: ID!, $v: TeamUpdate!) {updateTeam(id: $id, values: $v) {name key members updatedAt}}"


def test_links_are_written_with_the_record_and_followed_both_ways(club: Club) -> None:
    a, b, c = club.people.values()
    made = club.typed.data(CREATE, v={"name": "one", "members": [b, a]})["createTeam"]
    assert made["members"] == [b, a]
    assert sorted(node["name"] for node in made["memberRecords"]["nodes"]) == ["a", "b"]
    changed = club.typed.data(UPDATE, id=made["id"], v={"members": [c]})["updateTeam"]
    assert (changed["name"], changed["members"]) == ("one", [c])
    assert club.typed.data(UPDATE, id=made["id"], v={"name": "uno"})["updateTeam"]["members"] == [c]
    several = "mutation($v: [TeamCreate!]!) {createTeams(values: $v) {members}}"
    rows = [{"name": "x", "members": [a, b]}, {"name": "y"}, {"name": "z", "members": []}]
    assert [row["members"] for row in club.typed.data(several, v=rows)["createTeams"]] == [[a, b], [], []]
    query = """{people(orderBy: {name: ASC}) {nodes {
      name teams(orderBy: {name: ASC}, first: 1) {
        nodes { name memberRecords(orderBy: {name: DESC}) { nodes { name } } } totalCount aggregate { count }
      }
    }}}"""
    nodes = club.typed.data(query)["people"]["nodes"]
    assert [(n["name"], n["teams"]["totalCount"], n["teams"]["aggregate"]["count"]) for n in nodes] == [
        ("a", 1, 1),
        ("b", 1, 1),
        ("c", 1, 1),
    ]
    assert nodes[0]["teams"]["nodes"] == [{"name": "x", "memberRecords": {"nodes": [{"name": "b"}, {"name": "a"}]}}]


def test_records_are_found_by_those_they_are_linked_with(club: Club) -> None:
    a, b, _ = club.people.values()
    create = "mutation($v: [TeamCreate!]!) {createTeams(values: $v) {id}}"
    club.typed.data(create, v=[{"name": "ab", "members": [a, b]}, {"name": "b", "members": [b]}, {"name": "none"}])
    assert club.teams('{memberRecords: {some: {name: {eq: "a"}}}}') == ["ab"]
    assert club.teams('{memberRecords: {none: {name: {eq: "a"}}}}') == ["b", "none"]
    assert club.teams('{memberRecords: {every: {name: {eq: "b"}}}}') == ["b", "none"]
    assert club.teams(f'{{members: {{contains: ["{b}"]}}}}') == ["ab", "b"]
    people = '{people(where: {teams: {some: {name: {eq: "b"}}}}) {nodes {name}}}'
    assert club.typed.data(people)["people"]["nodes"] == [{"name": "b"}]


def test_links_within_an_entity_lead_either_way(club: Club) -> None:
    a, b, c = club.people.values()
    update = "mutation($id: ID!, $v: PersonUpdate!) {updatePerson(id: $id, values: $v) {friends {nodes {name}}}}"
    assert club.typed.data(update, id=a, v={"friendIds": [b]})["updatePerson"] == {
        "friends": {"nodes": [{"name": "b"}]}
    }
    assert club.typed.data(update, id=c, v={"friendIds": [b, a]})["updatePerson"]["friends"]["nodes"] != []
    query = """query($id: ID!) {person(id: $id) {
      friendIds friends { nodes { name } } people(orderBy: {name: ASC}) { nodes { name } }
    }}"""
    assert club.typed.data(query, id=b)["person"] == {
        "friendIds": [],
        "friends": {"nodes": []},
        "people": {"nodes": [{"name": "a"}, {"name": "c"}]},
    }


def test_a_secret_is_written_and_never_shown(club: Club, stoa: Stoa) -> None:
    made = club.typed.data(CREATE, v={"name": "one", "key": "s3cret"})["createTeam"]
    assert made["key"] == "********"
    reveal = 'mutation($app: ID!, $id: ID!) {revealSecret(app: $app, entity: "teams", id: $id, field: "key")}'
    person = club.typed.person
    assert person.data(reveal, app=club.typed.app_id, id=made["id"]) == {"revealSecret": "s3cret"}
    changed = club.typed.data(UPDATE, id=made["id"], v={"key": "other", "members": [club.people["a"]]})["updateTeam"]
    assert (changed["name"], changed["key"], changed["members"]) == ("one", "********", [club.people["a"]])
    assert person.data(reveal, app=club.typed.app_id, id=made["id"]) == {"revealSecret": "other"}
    entries = "FROM stoa.audit_log WHERE entity = 'teams' AND app_id = $1 ORDER BY id"
    log = stoa.sql(f"SELECT operation, new_record::text AS r {entries}", club.typed.app_id)
    assert [entry["operation"] for entry in log] == ["INSERT", "REVEAL", "UPDATE", "REVEAL"]
    assert not any("s3cret" in (entry["r"] or "") or "other" in (entry["r"] or "") for entry in log)
    assert club.typed.data(UPDATE, id=made["id"], v={"key": None})["updateTeam"]["key"] is None
    there = "{teams(where: {key: {isNull: true}}) {totalCount}}"
    assert club.typed.data(there)["teams"]["totalCount"] == 1


@pytest.mark.parametrize(
    ("mutation", "code", "message"),
    [
        (
            'updateTeam(id: "%(team)s", values: {name: "x", key: "********"})',
            "INVALID_INPUT",
            "values.key must not be the mask that stands for it",
        ),
        (
            'createTeam(values: {key: "********"})',
            "INVALID_INPUT",
            "values.key must not be the mask that stands for it",
        ),
        (
            'updateTeams(where: {}, values: {key: "x"})',
            "INVALID_INPUT",
            "values.key cannot be written to several records at once",
        ),
        (
            "updateTeams(where: {}, values: {members: []})",
            "INVALID_INPUT",
            "values.members cannot be written to several records at once",
        ),
        (
            'upsertTeam(values: {name: "x", members: []}, by: [name])',
            "INVALID_INPUT",
            "values.members cannot be written with an upsert",
        ),
        (
            'updateTeam(id: "%(team)s", values: {name: "x", members: ["%(team)s"]})',
            "CONFLICT",
            "foreign key constraint violated: 'members' links to a record that is not there",
        ),
        (
            'updateTeam(id: "%(person)s", values: {key: "x", members: []})',
            "NOT_FOUND",
            "record '%(person)s' not found",
        ),
        (
            'updateTeam(id: "%(team)s", ifUpdatedAt: "2001-01-01T00:00:00Z", values: {key: "x", members: []})',
            "CONFLICT",
            "the record has been changed since then",
        ),
    ],
)
def test_what_is_refused_changes_nothing(club: Club, mutation: str, code: str, message: str) -> None:
    made = club.typed.data(CREATE, v={"name": "one", "key": "k", "members": [club.people["a"]]})["createTeam"]
    ids = {"team": made["id"], "person": club.people["a"]}
    before = club.typed.data("{teams {nodes {id name members updatedAt}}}")
    assert club.typed.error(f"mutation {{{mutation % ids} {{id}}}}") == (code, message % ids)
    assert club.typed.data("{teams {nodes {id name members updatedAt}}}") == before


def test_a_record_is_changed_by_its_key_with_its_links_and_secret(club: Club) -> None:
    a, b, _ = club.people.values()
    made = club.typed.data(CREATE, v={"name": "T", "key": "k", "members": [a]})["createTeam"]
    update = """mutation($n: String!, $v: TeamUpdate!, $at: DateTime) {
      updateTeamByName(name: $n, values: $v, ifUpdatedAt: $at) {id name key memberRecords {nodes {name}} updatedAt}
    }"""
    changed = club.typed.data(update, n="T", v={"name": "U", "key": "l", "members": [b]})["updateTeamByName"]
    assert (changed["id"], changed["name"], changed["memberRecords"]) == (made["id"], "U", {"nodes": [{"name": "b"}]})
    assert club.typed.error(update, n="T", v={"members": []}) == ("NOT_FOUND", "no record has this key")
    stale = club.typed.error(update, n="U", v={"members": []}, at="2001-01-01T00:00:00Z")
    assert stale == ("CONFLICT", "the record has been changed since then")
    again = club.typed.data(update, n="U", v={"members": []}, at=changed["updatedAt"])["updateTeamByName"]
    assert again["memberRecords"] == {"nodes": []}
