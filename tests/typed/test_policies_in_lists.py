"""What policies hide is not searched, ranked, measured, told apart or looked up either."""

from dataclasses import dataclass
from typing import Any

import pytest

from tests import build
from tests.build import Collections, entity, field
from tests.harness import Person, Stoa
from tests.typed.asking import Typed

OWN = {"name": "own", "can": ["read"], "where": {"owner_id": {"actor": "id"}}}
OPEN = {"name": "open", "can": ["read"], "hide": ["notes", "place", "vat"]}


@dataclass
class Firms:
    stoa: Stoa
    admin: Person
    app: Collections

    def reader(self, *policies: str) -> Typed:
        keys = [f"app:{self.app.app_id}:firms.read:{policy}" for policy in policies]
        return Typed.of(self.app).as_(build.reader(self.stoa, self.admin, *keys))

    def firm(self, owner: Typed | None, **values: Any) -> None:
        self.app.create("firms", owner_id=owner.person.id if owner else self.admin.id, **values)


@pytest.fixture
def firms(stoa: Stoa, admin: Person) -> Firms:
    app = build.app(
        admin,
        entity(
            "firms",
            field("name"),
            field("notes"),
            field("vat", unique=True),
            field("place", "geo_point"),
            field("owner_id", "user"),
            search={"fields": {"name": "A", "notes": "C"}},
            policies=[OWN, OPEN],
        ),
        dialect="stoa",
    )
    return Firms(stoa, admin, app)


SEARCH = "query($q: String) {firms(search: $q) {totalCount edges {searchRank node {name}} aggregate {count}}}"


def found(typed: Typed, text: str) -> list[str]:
    answer = typed.data(SEARCH, q=text)["firms"]
    assert answer["totalCount"] == answer["aggregate"]["count"] == len(answer["edges"])
    return sorted(edge["node"]["name"] for edge in answer["edges"])


def rank(typed: Typed, text: str) -> float:
    ((edge),) = typed.data(SEARCH, q=text)["firms"]["edges"]
    value: float = edge["searchRank"]
    return value


def test_rows_that_are_hidden_are_not_in_what_is_found(firms: Firms) -> None:
    mine, other = firms.reader("own"), firms.reader("own")
    firms.firm(mine, name="Acme", notes="anvils", vat="1", place={"lat": 1, "lng": 1})
    firms.firm(other, name="Acme", notes="anvils", vat="2", place={"lat": 2, "lng": 2})
    firms.firm(None, name="Brine", notes="anvils", vat="3", place={"lat": 3, "lng": 3})
    assert (found(mine, "anvils"), found(mine, "anxils"), found(other, "brine")) == (["Acme"], ["Acme"], [])
    query = """{
      firms(distinctOn: [name]) { totalCount nodes { vat } }
      near: firms(near: {place: {to: {lat: 3, lng: 3}}}) { totalCount nodes { vat } }
      a: firmByVat(vat: "1") { name } b: firmByVat(vat: "2") { name }
    }"""
    assert mine.data(query) == {
        "firms": {"totalCount": 1, "nodes": [{"vat": "1"}]},
        "near": {"totalCount": 1, "nodes": [{"vat": "1"}]},
        "a": {"name": "Acme"},
        "b": None,
    }
    assert found(Typed.of(firms.app), "anvils") == ["Acme", "Acme", "Brine"]


def test_fields_that_are_hidden_are_neither_searched_nor_ranked_nor_looked_up(firms: Firms) -> None:
    reader = firms.reader("open")
    firms.firm(None, name="Acme", notes="anvils by acme", vat="1", place={"lat": 1, "lng": 1})
    assert (found(reader, "anvils"), found(reader, "anxils"), found(reader, "acme")) == ([], [], ["Acme"])
    assert rank(reader, "acme") != rank(Typed.of(firms.app), "acme")
    bare = build.app(firms.admin, entity("firms", field("name"), search={"fields": {"name": "A"}}), dialect="stoa")
    bare.create("firms", name="Acme")
    assert rank(reader, "acme") == rank(Typed.of(bare), "acme")
    for asked, argument in (
        ('firmByVat(vat: "1") {name}', "Cannot query field 'firmByVat'"),
        ("firms(near: {place: {to: {lat: 1, lng: 1}}}) {totalCount}", "Unknown argument 'near'"),
        ("firms(distinctOn: [vat]) {totalCount}", "Value 'vat' does not exist in 'FirmField' enum"),
        (
            "firms(where: {place: {within: {lat: 1, lng: 1, metres: 1}}}) {totalCount}",
            "Expected value of type 'FirmWhere' not to include unknown field",
        ),
    ):
        code, message = reader.error(f"{{{asked}}}")
        assert (code, message.startswith(argument)) == ("INVALID_INPUT", True), message


def test_fields_that_are_hidden_in_some_rows_are_searched_in_the_others(firms: Firms) -> None:
    mine = firms.reader("own", "open")
    firms.firm(mine, name="Acme", notes="anvils", vat="1", place={"lat": 1, "lng": 1})
    firms.firm(None, name="Brine", notes="anvils", vat="2", place={"lat": 2, "lng": 2})
    assert (found(mine, "anvils"), found(mine, "anxils"), found(mine, "brine")) == (["Acme"], ["Acme"], ["Brine"])
    query = """{
      near: firms(near: {place: {to: {lat: 2, lng: 2}}}) { edges { distance node { name } } }
      within: firms(where: {place: {within: {lat: 2, lng: 2, metres: 10}}}) { totalCount }
      a: firmByVat(vat: "1") { name } b: firmByVat(vat: "2") { name }
    }"""
    answer = mine.data(query)
    assert [edge["node"]["name"] for edge in answer["near"]["edges"]] == ["Acme"]
    assert answer["within"] == {"totalCount": 0}
    assert (answer["a"], answer["b"]) == ({"name": "Acme"}, None)


def test_fields_that_are_masked_are_not_looked_up(stoa: Stoa, admin: Person) -> None:
    fields = (field("name", unique=True), field("phone", unique=True))
    masking = {"name": "open", "can": ["read"], "mask": ["phone"]}
    app = build.app(admin, entity("calls", *fields, policies=[masking]), dialect="stoa")
    app.create_many("calls", [{"name": "a", "phone": "03011199"}, {"name": "b", "phone": "03022299"}])
    reader = Typed.of(app).as_(build.reader(stoa, admin, f"app:{app.app_id}:calls.read:open"))
    found = reader.data('{callByName(name: "a") {phone} calls(where: {phone: {eq: "***99"}}) {totalCount}}')
    assert found == {"callByName": {"phone": "***99"}, "calls": {"totalCount": 2}}
    assert "Cannot query field 'callByPhone'" in reader.error('{callByPhone(phone: "***99") {name}}')[1]
    assert Typed.of(app).data('{callByPhone(phone: "03011199") {name}}') == {"callByPhone": {"name": "a"}}


def test_many_to_many_links_lead_to_what_is_seen(stoa: Stoa, admin: Person) -> None:
    links = field("firm_ids", "many_to_many", references={"entity": "firms", "field": "id"})
    owned = entity("firms", field("name"), field("owner_id", "user"), policies=[OWN])
    app = build.app(admin, owned, entity("groups", field("name"), links), dialect="stoa")
    verbs = ("firms.read:own", "groups.read", "groups.create", "groups.update")
    reader = build.reader(stoa, admin, *(f"app:{app.app_id}:{verb}" for verb in verbs))
    mine, other = (app.create("firms", name="f", owner_id=whose.id)["id"] for whose in (reader, admin))
    group = app.create("groups", name="hers", firm_ids=[mine, other])
    typed = Typed.of(app).as_(reader)
    create = "mutation($v: GroupCreate!) {createGroup(values: $v) {firmIds firms {totalCount}}}"
    update = "mutation($id: ID!, $v: GroupUpdate!) {updateGroup(id: $id, values: $v) {firmIds}}"
    nowhere = ("CONFLICT", "foreign key constraint violated: 'firmIds' links to a record that is not there")
    for firm in (other, group["id"]):
        assert typed.error(create, v={"name": "new", "firmIds": [mine, firm]}) == nowhere
        assert typed.error(update, id=group["id"], v={"name": "new", "firmIds": [firm]}) == nowhere
    assert app.query("groups")["data"] == [group]
    made = typed.data(create, v={"name": "his", "firmIds": [mine]})["createGroup"]
    assert made == {"firmIds": [mine], "firms": {"totalCount": 1}}
    query = "{groups(orderBy: {name: ASC}) {nodes {name firms {totalCount nodes {id}}}}}"
    assert [node["firms"] for node in typed.data(query)["groups"]["nodes"]] == [
        {"totalCount": 1, "nodes": [{"id": mine}]},
        {"totalCount": 1, "nodes": [{"id": mine}]},
    ]
    some = '{groups(where: {firms: {some: {id: {eq: "%s"}}}}) {totalCount}}'
    assert [typed.data(some % firm)["groups"]["totalCount"] for firm in (mine, other)] == [2, 0]
