"""Many-to-many fields: lists of ids that are kept in a table of links, and go with the records at either end."""

from typing import Any

import pytest

from tests import build
from tests.apps.test_changes import installed, refused
from tests.build import Collections
from tests.harness import Person, Stoa, at_once


def many(name: str, entity: str, **more: Any) -> dict[str, Any]:
    return build.field(name, "many_to_many", references={"entity": entity, "field": "id"}, **more)


def people() -> dict[str, Any]:
    return build.entity("people", build.field("name"))


def teams(*fields: dict[str, Any], **more: Any) -> dict[str, Any]:
    return build.entity("teams", build.field("name"), *(fields or (many("members", "people"),)), **more)


@pytest.fixture
def club(admin: Person) -> Collections:
    return build.app(admin, teams(), people(), dialect="stoa")


def ids(club: Collections, *names: str) -> list[str]:
    return [row["id"] for row in club.create_many("people", [{"name": name} for name in names])]


def test_links_are_written_read_and_replaced_in_their_order(club: Collections) -> None:
    a, b, c = ids(club, "a", "b", "c")
    made = club.create("teams", name="one", members=[b, a, b])
    assert made["members"] == [b, a]
    assert club.create("teams", name="none")["members"] == []
    path = club.path("teams", made["id"])
    assert club.person.client.get(path).json() == made
    changed = club.person.client.patch(path, json={"members": [c, a]}).json()
    assert (changed["members"], changed["name"]) == ([c, a], "one")
    assert changed["updated_at"] > made["updated_at"]
    assert club.person.client.patch(path, json={"name": "uno"}).json()["members"] == [c, a]
    assert club.person.client.patch(path, json={"members": None}).json()["members"] == []
    bulk = club.create_many("teams", [{"name": "x", "members": [a]}, {"name": "y"}, {"members": [c, b]}])
    assert [row["members"] for row in bulk] == [[a], [], [c, b]]


def test_records_are_found_by_what_they_are_linked_with(club: Collections) -> None:
    a, b = ids(club, "a", "b")
    club.create_many("teams", [{"name": "ab", "members": [a, b]}, {"name": "b", "members": [b]}])
    for where, names in (({"$contains": [a]}, ["ab"]), ({"$contains": [b]}, ["ab", "b"]), ({"$eq": [b]}, ["b"])):
        assert sorted(row["name"] for row in club.query("teams", where={"members": where})["data"]) == names


def test_links_go_with_the_records_at_either_end(club: Collections, stoa: Stoa) -> None:
    a, b = ids(club, "a", "b")
    one, two = (club.create("teams", name=name, members=[a, b]) for name in ("one", "two"))
    assert club.person.client.delete(club.path("people", a)).status_code == 200
    assert club.person.client.get(club.path("teams", one["id"])).json()["members"] == [b]
    gone = club.person.client.delete(club.path("teams", two["id"])).json()
    links = stoa.sql(f'SELECT source_id::text, target_id::text FROM {club.app_id}."teams.members"')
    assert links == [{"source_id": one["id"], "target_id": b}], gone


def test_a_link_to_nothing_is_refused_and_nothing_is_stored(club: Collections, stoa: Stoa) -> None:
    (a,) = ids(club, "a")
    made = club.create("teams", name="one", members=[a])
    answer = club.person.client.post(club.path("teams"), json={"name": "bad", "members": [a, made["id"]]})
    assert (answer.status_code, answer.json()["field"]) == (409, "members")
    changed = club.person.client.patch(club.path("teams", made["id"]), json={"name": "bad", "members": [made["id"]]})
    assert (changed.status_code, changed.json()["field"]) == (409, "members")
    for value in ("x", ["x"], [None], a):
        assert club.person.client.post(club.path("teams"), json={"members": value}).status_code == 400
    assert club.query("teams")["data"] == [made]


def test_links_written_at_once_are_those_of_the_last_one(club: Collections) -> None:
    a, b, c = ids(club, "a", "b", "c")
    made = club.create("teams", name="one")
    wanted = [[a], [b, a], [c], [a, b, c]]
    path = club.path("teams", made["id"])
    answers = at_once(
        [lambda m=m: club.person.client.patch(path, json={"members": m}).json()["members"] for m in wanted]
    )
    assert answers == wanted
    assert club.person.client.get(path).json()["members"] in wanted


def test_the_table_of_links_is_the_plans(club: Collections, stoa: Stoa) -> None:
    a, b = ids(club, "a", "b")
    club.create("teams", name="one", members=[b, a])

    def tables() -> list[str]:
        rows = stoa.sql("SELECT tablename::text AS t FROM pg_tables WHERE schemaname = $1 ORDER BY 1", club.app_id)
        return [row["t"] for row in rows]

    assert installed(club, teams(many("players", "people", renamedFrom="members")), people()) == [
        ("rename_links", "players")
    ]
    assert club.query("teams")["data"][0]["players"] == [b, a]
    groups = {**teams(many("players", "people")), "entityName": "groups", "renamedFrom": "teams"}
    assert ("rename_links", "players") in installed(club, groups, people())
    assert club.query("groups")["data"][0]["players"] == [b, a]
    assert tables() == ["groups", "groups.players", "people"]
    plain = {**teams(build.field("other")), "entityName": "groups"}
    assert refused(club, plain, people())["extensions"]["details"] == {"lost": ["drop_links groups.players"]}
    assert ("drop_links", "players") in installed(club, plain, people(), lose=True)
    assert tables() == ["groups", "people"]
    both = {**teams(many("players", "people"), many("rivals", "groups")), "entityName": "groups"}
    done = installed(club, both, people())
    assert {change for change in done if change[0] == "add_links"} == {
        ("add_links", "players"),
        ("add_links", "rivals"),
    }


@pytest.mark.parametrize(
    ("more", "key", "words"),
    [
        ({"references": None}, "references", "is required"),
        ({"required": True}, "required", "is not for many_to_many fields"),
        ({"unique": True}, "unique", "is not for many_to_many fields"),
        ({"default_value": []}, "default_value", "is not for many_to_many fields"),
        ({"references": {"entity": "core:users", "field": "id"}}, "references", "must name an entity of this manifest"),
    ],
)
def test_what_cannot_be_linked_is_refused(admin: Person, more: dict[str, Any], key: str, words: str) -> None:
    declared = {**many("members", "people"), **more}
    manifest = build.manifest(teams(declared), people(), dialect="stoa")
    answer = admin.client.post("/api/v1/apps", json=manifest)
    path = f"dataContract.0.fields.1.{key}"
    assert (answer.status_code, answer.json()["error"]) == (400, f"{path} {words}")
