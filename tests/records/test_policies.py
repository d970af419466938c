"""Row and field policies: what somebody who holds a verb only as far as a policy goes may see and do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from tests import build
from tests.build import Collections, entity, field, link
from tests.graph.listening import CHANGED, listening
from tests.harness import Person, Stoa, at_once
from tests.typed.asking import Typed

OWN = {
    "name": "own",
    "description": "deals of their own",
    "can": ["create", "read", "update", "delete"],
    "where": {"owner_id": {"actor": "id"}},
    "readOnly": ["stage"],
}
TEAM = {
    "name": "team",
    "can": ["read", "update"],
    "where": {"project_id.EXISTS": [{"entity": "members", "by": "project_id", "where": {"user_id": {"actor": "id"}}}]},
    "check": {"amount": {"lte": 1000}},
    "hide": ["margin"],
    "mask": ["phone"],
}
SHARED = {"name": "shared", "can": ["read"], "where": {"SHARED": "read"}, "hide": ["margin", "phone"]}
SMALL = {"name": "small", "can": ["create"], "where": {"amount": {"lt": 100}}, "hide": ["margin"]}


@dataclass
class Sales:
    stoa: Stoa
    app: Collections
    admin: Person
    deals: dict[str, str]  # ids by name

    def person(self, *verbs: str) -> Person:
        """Somebody with these verbs on deals (`read:own`), and what they may do with the rest."""
        keys = [f"app:{self.app.app_id}:deals.{verb}" for verb in verbs]
        return build.reader(self.stoa, self.admin, *keys, f"app:{self.app.app_id}:projects.read")

    def deal(self, name: str, **values: Any) -> dict[str, Any]:
        made = self.app.create("deals", name=name, **values)
        self.deals[name] = made["id"]
        return made

    def join(self, person: Person, project: str) -> dict[str, Any]:
        return self.app.create("members", project_id=project, user_id=person.id)

    def seen(self, person: Person) -> list[str]:
        """The names of the deals somebody sees, told by each way of asking, which must agree."""
        rows = self.app.as_(person).query("deals", orderBy="name", order="asc")
        names = [row["name"] for row in rows["data"]]
        assert rows["total"] == len(names)
        listed = person.client.get(self.app.path("deals")).json()
        assert sorted(row["name"] for row in listed) == names
        typed = Typed.of(self.app).as_(person)
        asked = (
            "{deals(orderBy: {name: ASC}, first: 100) {totalCount nodes {name} edges {node {name}} aggregate {count}}}"
        )
        found = typed.data(asked)["deals"]
        assert [row["name"] for row in found["nodes"]] == [edge["node"]["name"] for edge in found["edges"]] == names
        assert found["totalCount"] == found["aggregate"]["count"] == len(names)
        by_id = "query($id: ID!) {deal(id: $id) {name}}"
        for name, id in self.deals.items():
            there = typed.data(by_id, id=id)["deal"]
            assert there == ({"name": name} if name in names else None)
            assert person.client.get(self.app.path("deals", id)).status_code == (200 if name in names else 404)
        through = typed.data("{projects {nodes {deals(first: 100) {totalCount nodes {name}}}}}")["projects"]["nodes"]
        assert {deal["name"] for node in through for deal in node["deals"]["nodes"]} <= set(names)
        assert all(node["deals"]["totalCount"] == len(node["deals"]["nodes"]) for node in through)
        return names


@pytest.fixture
def sales(stoa: Stoa, admin: Person) -> Sales:
    app = build.app(
        admin,
        entity("projects", field("name")),
        entity("members", link("project_id", "projects"), link("user_id", "core:users")),
        entity(
            "deals",
            field("name", is_primary_key=True),
            field("amount", "number"),
            field("margin", "number"),
            field("phone"),
            field("stage"),
            link("owner_id", "core:users"),
            link("project_id", "projects"),
            policies=[OWN, TEAM, SHARED, SMALL],
        ),
    )
    return Sales(stoa, app, admin, {})


def project(sales: Sales) -> str:
    return str(sales.app.create("projects", name="P")["id"])


def test_a_policy_is_a_permission_of_its_own(sales: Sales) -> None:
    keys = sales.admin.client.get("/api/v1/permissions/available").json()
    mine = {row["key"]: row["description"] for row in keys if row["key"].startswith(f"app:{sales.app.app_id}:deals.")}
    assert mine[f"app:{sales.app.app_id}:deals.read:own"] == "deals of their own"
    assert {key.rpartition(".")[2] for key in mine} == {
        *("create", "read", "update", "delete"),
        *("create:own", "read:own", "update:own", "delete:own"),
        *("read:team", "update:team", "read:shared", "create:small"),
    }


def test_each_sees_the_rows_of_the_policies_they_hold(sales: Sales) -> None:
    here, elsewhere = project(sales), project(sales)
    owner, member, both, everything, nothing = (
        sales.person("read:own"),
        sales.person("read:team"),
        sales.person("read:own", "read:team"),
        sales.person("read", "read:own"),
        sales.person("update:own"),
    )
    for person in (member, both):
        sales.join(person, here)
    sales.deal("a", owner_id=owner.id, project_id=elsewhere)
    sales.deal("b", owner_id=both.id)
    sales.deal("c", owner_id=owner.id, project_id=here)
    sales.deal("d")
    assert sales.seen(owner) == ["a", "c"]
    assert sales.seen(member) == ["c"]
    assert sales.seen(both) == ["b", "c"]
    assert sales.seen(everything) == ["a", "b", "c", "d"]
    assert nothing.client.get(sales.app.path("deals")).status_code == 403


def test_who_joins_sees_and_who_leaves_does_not(sales: Sales) -> None:
    here, member = project(sales), sales.person("read:team")
    sales.deal("a", project_id=here)
    assert sales.seen(member) == []
    joined = sales.join(member, here)
    assert sales.seen(member) == ["a"]
    sales.admin.client.delete(sales.app.path("members", joined["id"]))
    assert sales.seen(member) == []


def test_a_shared_record_is_seen_by_whom_it_is_shared_with(sales: Sales) -> None:
    friend = sales.person("read:shared")
    deal = sales.deal("a", amount=1, margin=2, phone="123")
    share = """mutation($app: ID!, $id: ID!, $who: ID!) {
        shareRecord(app: $app, entity: "deals", id: $id, recipient: {type: USER, id: $who}) {id}}"""
    assert sales.seen(friend) == []
    sales.admin.data(share, app=sales.app.app_id, id=deal["id"], who=friend.id)
    assert sales.seen(friend) == ["a"]
    shown = friend.client.get(sales.app.path("deals", deal["id"])).json()
    assert shown == {key: value for key, value in deal.items() if key not in ("margin", "phone")}


Ask = Callable[[str], Any]


def test_a_hidden_field_is_no_field(sales: Sales) -> None:
    here, member = project(sales), sales.person("read:team")
    sales.join(member, here)
    deal = sales.deal("a", project_id=here, margin=7, phone="+49 170 1234567")
    shown = member.client.get(sales.app.path("deals", deal["id"])).json()
    assert "margin" not in shown
    assert shown["phone"] == "***567"
    theirs = sales.app.as_(member)
    for asked in ({"where": {"margin": {"$gt": 1}}}, {"where": {"$or": [{"margin": 7}]}}):
        answer = member.client.post(theirs.path("deals", "query"), json=asked)
        assert (answer.status_code, "margin" in answer.text) == (400, True)
    assert theirs.query("deals", orderBy="margin")["total"] == 1  # an unknown field, which RootCX passes over
    typed = Typed.of(sales.app).as_(member)
    for asked in (
        "{deals {nodes {margin}}}",
        "{deals(where: {margin: {gt: 1}}) {nodes {name}}}",
        "{deals(orderBy: {margin: ASC}) {nodes {name}}}",
        "{deals {aggregate {sum {margin}}}}",
        "{projects(where: {deals: {some: {margin: {gt: 1}}}}) {nodes {name}}}",
    ):
        code, message = typed.error(asked)
        assert (code, "margin" in message) == ("INVALID_INPUT", True)
    assert "margin" not in member.client.get(f"/graphql/{sales.app.app_id}/schema.graphql").text


def test_a_field_is_shown_in_the_rows_that_a_policy_shows_it_in(sales: Sales) -> None:
    here, both = project(sales), sales.person("read:own", "read:team")
    sales.join(both, here)
    sales.deal("a", project_id=here, margin=7, amount=1, phone="+49 170 1234567")
    sales.deal("b", owner_id=both.id, margin=8, amount=1, phone="+49 170 7654321")
    sales.deal("c", project_id=here, owner_id=both.id, margin=9, amount=1, phone="12")
    theirs = sales.app.as_(both)
    rows = theirs.query("deals", orderBy="name", order="asc")["data"]
    assert [(row["margin"], row["phone"]) for row in rows] == [(None, "***567"), (8, "+49 170 7654321"), (9, "12")]
    # What is not shown is not there for conditions, orders, sums and groups either.
    assert [row["name"] for row in theirs.query("deals", where={"margin": {"$lt": 100}})["data"]] == ["c", "b"]
    assert theirs.query("deals", where={"phone": "+49 170 1234567"})["total"] == 0
    typed = Typed.of(sales.app).as_(both)
    asked = """{deals(orderBy: [{margin: DESC_NULLS_LAST}]) {
        nodes {name margin} aggregate {sum {margin} max {margin} countDistinct {margin}}
        groups(by: {phone: true}) {key {phone} aggregate {sum {margin}}}}}"""
    found = typed.data(asked)["deals"]
    assert [(row["name"], row["margin"]) for row in found["nodes"]] == [("c", 9), ("b", 8), ("a", None)]
    assert found["aggregate"] == {"sum": {"margin": 17}, "max": {"margin": 9}, "countDistinct": {"margin": 2}}
    assert [(group["key"]["phone"], group["aggregate"]["sum"]["margin"]) for group in found["groups"]] == [
        ("***567", None),
        ("+49 170 7654321", 8),
        ("12", 9),
    ]


def test_pages_of_what_is_seen_go_on_behind_their_cursors(sales: Sales) -> None:
    here, both = project(sales), sales.person("read:own", "read:team")
    sales.join(both, here)
    for number in range(7):
        sales.deal(f"d{number}", margin=number, **({"project_id": here} if number % 2 else {"owner_id": both.id}))
    sales.deal("other", margin=100)
    typed, after, names = Typed.of(sales.app).as_(both), None, []
    asked = """query($after: String) {deals(first: 2, after: $after, orderBy: [{margin: DESC}]) {
        nodes {name} pageInfo {endCursor hasNextPage}}}"""
    for _ in range(4):
        page = typed.data(asked, after=after)["deals"]
        names += [row["name"] for row in page["nodes"]]
        after = page["pageInfo"]["endCursor"]
    assert not page["pageInfo"]["hasNextPage"]
    assert sorted(names[:3]) == ["d1", "d3", "d5"]  # their margin is null, which sorts first
    assert names[3:] == ["d6", "d4", "d2", "d0"]


def refused(answer: Any, status: int, says: str) -> None:
    assert (answer.status_code, says in answer.text) == (status, True), answer.text


def test_only_rows_of_the_policy_are_changed(sales: Sales) -> None:
    owner = sales.person("read", "update:own", "delete:own")
    mine, other = sales.deal("a", owner_id=owner.id), sales.deal("b")
    path, client = sales.app.path, owner.client
    assert client.patch(path("deals", mine["id"]), json={"amount": 5}).json()["amount"] == 5
    refused(client.patch(path("deals", other["id"]), json={"amount": 5}), 403, "your policies of 'deals'")
    refused(client.delete(path("deals", other["id"])), 403, "your policies of 'deals'")
    refused(client.patch(path("deals", mine["id"]), json={"stage": "won"}), 403, "'stage' is read-only for you")
    refused(client.patch(path("deals", mine["id"]), json={"owner_id": None}), 403, "written so")
    typed = Typed.of(sales.app).as_(owner)
    change = "mutation($id: ID!, $v: DealUpdate!) {updateDeal(id: $id, values: $v) {name amount project {name}}}"
    assert typed.error(change, id=other["id"], v={"amount": 1})[0] == "FORBIDDEN"
    assert typed.error(change, id=mine["id"], v={"stage": "won"})[0] == "INVALID_INPUT"  # no such input
    assert typed.error(change, id=mine["id"], v={"ownerId": sales.admin.id})[0] == "FORBIDDEN"
    many = "mutation {updateDeals(where: {}, values: {amount: 9}) {name}}"
    assert typed.data(many)["updateDeals"] == [{"name": "a"}]
    assert typed.data("mutation {deleteDeals(where: {}) {name}}")["deleteDeals"] == [{"name": "a"}]
    rows = sales.app.query("deals")["data"]
    assert [(row["name"], row["amount"], row["stage"]) for row in rows] == [("b", None, None)]


def test_what_is_not_seen_is_not_there_to_be_changed(sales: Sales) -> None:
    owner = sales.person("read:own", "update", "delete")
    other = sales.deal("a")
    for answer in (
        owner.client.patch(sales.app.path("deals", other["id"]), json={"amount": 5}),
        owner.client.delete(sales.app.path("deals", other["id"])),
    ):
        refused(answer, 404, "not found")
    typed = Typed.of(sales.app).as_(owner)
    assert typed.data("mutation {deleteDeals(where: {}) {name}}")["deleteDeals"] == []
    assert [row["name"] for row in sales.app.query("deals")["data"]] == ["a"]


def test_new_rows_are_checked(sales: Sales) -> None:
    owner, small = sales.person("create:own", "read"), sales.person("create:small")
    path = sales.app.path("deals")
    refused(owner.client.post(path, json={"name": "x"}), 403, "written so")
    rows = [{"name": "x", "owner_id": owner.id}, {"name": "y", "owner_id": None}]
    refused(owner.client.post(f"{path}/bulk", json=rows), 403, "written so")
    refused(owner.client.post(path, json={"name": "x", "owner_id": owner.id, "stage": "won"}), 403, "'stage'")
    assert owner.client.post(path, json={"name": "x", "owner_id": owner.id}).status_code == 201
    typed = Typed.of(sales.app).as_(owner)
    create = "mutation($v: DealCreate!) {createDeal(values: $v) {name projectId project {name}}}"
    assert typed.error(create, v={"name": "y"})[0] == "FORBIDDEN"
    along = {"name": "y", "ownerId": owner.id}
    assert typed.data(create, v=along)["createDeal"] == {"name": "y", "projectId": None, "project": None}
    refused(small.client.post(path, json={"name": "z", "amount": 100}), 403, "written so")
    refused(small.client.post(path, json={"name": "z", "amount": 1, "margin": 1}), 400, "margin")
    made = small.client.post(path, json={"name": "z", "amount": 1})
    assert made.status_code == 201
    assert "margin" not in made.json()
    assert sorted(row["name"] for row in sales.app.query("deals")["data"]) == ["x", "y", "z"]


def test_a_check_is_about_the_row_as_it_was_left(sales: Sales) -> None:
    here, member = project(sales), sales.person("read:team", "update:team")
    sales.join(member, here)
    deal = sales.deal("a", project_id=here, amount=5)
    path = sales.app.path("deals", deal["id"])
    refused(member.client.patch(path, json={"amount": 1001}), 403, "written so")
    assert member.client.patch(path, json={"amount": 1000, "project_id": None}).status_code == 200
    assert member.client.get(path).status_code == 404


def test_an_upsert_does_not_reach_what_is_not_to_be_changed(sales: Sales) -> None:
    owner = sales.person("create", "read:own", "update:own")
    sales.deal("a", amount=1)
    typed = Typed.of(sales.app).as_(owner)
    upsert = "mutation($v: DealCreate!) {upsertDeal(values: $v, by: name) {name amount}}"
    assert typed.error(upsert, v={"name": "a", "amount": 2})[0] == "CONFLICT"
    made = typed.data(upsert, v={"name": "b", "amount": 2, "ownerId": owner.id})["upsertDeal"]
    assert made == {"name": "b", "amount": 2}
    assert typed.data(upsert, v={"name": "b", "amount": 3})["upsertDeal"] == {"name": "b", "amount": 3}
    assert {row["name"]: row["amount"] for row in sales.app.query("deals")["data"]} == {"a": 1, "b": 3}


def test_a_link_leads_to_what_is_seen(stoa: Stoa, admin: Person) -> None:
    policies = [{"name": "own", "can": ["read"], "where": {"owner_id": {"actor": "id"}}}]
    app = build.app(
        admin,
        entity("boxes", field("name"), link("owner_id", "core:users"), policies=policies),
        entity("things", field("name"), link("box_id", "boxes")),
    )
    keys = (f"app:{app.app_id}:{key}" for key in ("boxes.read:own", "things.read", "things.create", "things.update"))
    owner = build.reader(stoa, admin, *keys)
    mine, other = (app.create("boxes", name="b", owner_id=whose)["id"] for whose in (owner.id, None))
    thing = app.as_(owner).create("things", name="a", box_id=mine)
    nowhere = "foreign key constraint violated: 'box_id' links to a record that is not there"
    for box in (other, thing["id"]):
        refused(owner.client.post(app.path("things"), json={"name": "b", "box_id": box}), 409, nowhere)
        refused(owner.client.patch(app.path("things", thing["id"]), json={"box_id": box}), 409, nowhere)
    app.create("things", name="hidden", box_id=other)
    rows = Typed.of(app).as_(owner).data("{things(orderBy: {name: ASC}) {nodes {name boxId box {id}}}}")
    assert rows["things"]["nodes"] == [
        {"name": "a", "boxId": mine, "box": {"id": mine}},
        {"name": "hidden", "boxId": other, "box": None},
    ]


def changes(sales: Sales, person: Person, work: Callable[[], Any], count: int) -> Sequence[dict[str, Any]]:
    with listening(sales.stoa, person, CHANGED, app=sales.app.app_id, entity="deals") as events:
        work()
        return [events.change() for _ in range(count)]


def test_a_subscriber_hears_of_what_it_may_see_as_it_may_see_it(sales: Sales) -> None:
    here, member = project(sales), sales.person("read:team")
    sales.join(member, here)
    first = sales.deal("a", project_id=here, margin=7, phone="+49 170 1234567")

    def work() -> None:
        other = sales.deal("b", margin=1)
        for id, values in (
            (first["id"], {"margin": 8}),
            (other["id"], {"project_id": here}),
            (first["id"], {"project_id": None}),
            (first["id"], {"margin": 9}),
            (other["id"], {"name": "B"}),
        ):
            sales.admin.client.patch(sales.app.path("deals", id), json=values)

    told = changes(sales, member, work, 4)
    names = [tuple(None if side is None else side["name"] for side in (one["previous"], one["record"])) for one in told]
    assert names == [("a", "a"), (None, "b"), ("a", None), ("b", "B")]
    assert all("margin" not in (one["record"] or one["previous"]) for one in told)
    assert told[0]["record"]["phone"] == "***567"


def test_two_with_the_same_rights_are_told_of_their_own_each(sales: Sales) -> None:
    people = [sales.person("read:own") for _ in range(2)]
    typed = [Typed.of(sales.app).as_(person) for person in people]
    changed, live = (
        "subscription {dealChanged {record {name}}}",
        "subscription {dealsLive {nodes {name} changed {node {name}}}}",
    )
    at = f"/graphql/{sales.app.app_id}"
    with (
        listening(sales.stoa, people[0], changed, at) as first,
        listening(sales.stoa, people[1], changed, at) as second,
        listening(sales.stoa, people[0], live, at) as first_live,
        listening(sales.stoa, people[1], live, at) as second_live,
    ):
        for stream in (first_live, second_live):
            assert stream.next() == {"data": {"dealsLive": {"nodes": [], "changed": []}}}
        for index in (0, 1):
            sales.deal(f"d{index}", owner_id=people[index].id)
        for index, stream in enumerate((first, second)):
            assert stream.next() == {"data": {"dealChanged": {"record": {"name": f"d{index}"}}}}
        for index, stream in enumerate((first_live, second_live)):
            told = {"nodes": None, "changed": [{"node": {"name": f"d{index}"}}]}
            assert stream.next() == {"data": {"dealsLive": told}}
    for index, one in enumerate(typed):
        assert one.data("{deals {nodes {name}}}")["deals"]["nodes"] == [{"name": f"d{index}"}]


def test_a_live_list_follows_who_may_see_what(sales: Sales) -> None:
    here, member = project(sales), sales.person("read:team")
    sales.deal("a", project_id=here)
    live = "subscription {dealsLive {nodes {name} changed {node {name}} removed}}"
    with listening(sales.stoa, member, live, f"/graphql/{sales.app.app_id}") as events:
        assert events.next() == {"data": {"dealsLive": {"nodes": [], "changed": [], "removed": []}}}
        joined = sales.join(member, here)
        told = {"nodes": None, "changed": [{"node": {"name": "a"}}], "removed": []}
        assert events.next() == {"data": {"dealsLive": told}}
        sales.admin.client.delete(sales.app.path("members", joined["id"]))
        gone = {"nodes": None, "changed": [], "removed": [sales.deals["a"]]}
        assert events.next() == {"data": {"dealsLive": gone}}


@pytest.mark.parametrize(
    ("policy", "path"),
    [
        ({"can": ["read"]}, "name"),
        ({"name": "P", "can": ["read"]}, "name"),
        ({"name": "p"}, "can"),
        ({"name": "p", "can": []}, "can"),
        ({"name": "p", "can": ["see"]}, "can"),
        ({"name": "p", "can": ["read"], "hides": ["a"]}, "hides"),
        ({"name": "p", "can": ["read"], "hide": ["nope"]}, "hide"),
        ({"name": "p", "can": ["read"], "hide": ["id"]}, "hide"),
        ({"name": "p", "can": ["read"], "mask": ["n"]}, "mask"),
        ({"name": "p", "can": ["read"], "hide": ["a"], "mask": ["a"]}, "mask"),
        ({"name": "p", "can": ["read"], "where": {"nope": 1}}, "where.nope"),
        ({"name": "p", "can": ["read"], "where": {"n": {"gt": "x"}}}, "where.n.gt"),
        ({"name": "p", "can": ["read"], "where": {"n": {"actor": "id"}}}, "where.n.eq"),
        ({"name": "p", "can": ["read"], "where": {"a": {"actor": "name"}}}, "where.a.actor"),
        ({"name": "p", "can": ["read"], "where": {"a.b": 1}}, "where.a.b"),
        ({"name": "p", "can": ["read"], "where": {".".join(["up"] * 40 + ["a"]): "x"}}, "where.up."),
        ({"name": "p", "can": ["read"], "where": {"SHARED": "all"}}, "where.SHARED"),
        ({"name": "p", "can": ["read"], "where": {"EXISTS": [{"entity": "x", "by": "a"}]}}, "where.EXISTS.0.entity"),
        ({"name": "p", "can": ["read"], "where": {"EXISTS": [{"entity": "e", "by": "a"}]}}, "where.EXISTS.0.by"),
        ({"name": "p", "can": ["read"], "where": {"EXISTS": {}}}, "where.EXISTS"),
        ({"name": "p", "can": ["read"], "check": {"nope": 1}}, "check.nope"),
    ],
)
def test_a_policy_that_says_nothing_clear_is_refused(admin: Person, policy: dict[str, Any], path: str) -> None:
    declared = build.manifest(entity("e", field("a"), field("n", "number"), link("up", "e"), policies=[policy]))
    answer = admin.client.post("/api/v1/apps", json=declared)
    assert answer.status_code == 400, answer.text
    assert f"dataContract.0.policies.0.{path}" in answer.text


def test_policies_change_with_the_manifest(sales: Sales) -> None:
    owner = sales.person("read:own")
    sales.deal("a", owner_id=owner.id)
    sales.deal("b")
    assert sales.seen(owner) == ["a"]
    contract = sales.admin.client.get(f"/api/v1/apps/{sales.app.app_id}").json()["dataContract"]
    (deals,) = [one for one in contract if one["entityName"] == "deals"]
    assert deals["policies"] == [OWN, TEAM, SHARED, SMALL]
    deals["policies"][0]["where"] = {"OR": [{"owner_id": {"actor": "id"}}, {"owner_id": {"isNull": True}}]}
    build.app(sales.admin, *contract, app_id=sales.app.app_id)
    assert sales.seen(owner) == ["a", "b"]


# What was, and what leaves the system.


def test_the_trash_shows_and_gives_back_what_was_seen(stoa: Stoa, admin: Person) -> None:
    policies = [{"name": "own", "can": list(VERBS), "where": {"owner_id": {"actor": "id"}}}]
    fields = (field("name"), link("owner_id", "core:users"))
    app = build.app(admin, entity("notes", *fields, trash=True, policies=policies))
    owner = build.reader(stoa, admin, *(f"app:{app.app_id}:notes.{verb}:own" for verb in VERBS))
    mine, other = app.create("notes", name="a", owner_id=owner.id), app.create("notes", name="b")
    for note in (mine, other):
        admin.client.delete(app.path("notes", note["id"]))
    trashed = """query($app: ID!) {trashedRecords(app: $app, entity: "notes") {totalCount nodes {record}}}"""
    found = owner.data(trashed, app=app.app_id)["trashedRecords"]
    assert (found["totalCount"], [row["record"]["name"] for row in found["nodes"]]) == (1, ["a"])
    act = """mutation($app: ID!, $id: ID!) {%s(app: $app, entity: "notes", id: $id)%s}"""
    for verb, shown in (("restoreRecord", ""), ("purgeRecord", " {id}")):
        assert owner.code(act % (verb, shown), app=app.app_id, id=other["id"]) == "NOT_FOUND"
    assert owner.data(act % ("restoreRecord", ""), app=app.app_id, id=mine["id"])["restoreRecord"]["name"] == "a"
    versions = """query($app: ID!, $id: ID!) {recordVersions(app: $app, entity: "notes", id: $id) {totalCount}}"""
    assert owner.data(versions, app=app.app_id, id=mine["id"])["recordVersions"]["totalCount"] == 3
    assert owner.code(versions, app=app.app_id, id=other["id"]) == "NOT_FOUND"


VERBS = ("create", "read", "update", "delete")


def test_versions_show_the_fields_that_are_shown(sales: Sales) -> None:
    here, both = project(sales), sales.person("read:own", "read:team")
    sales.join(both, here)
    deal = sales.deal("a", project_id=here, margin=1, phone="12345678", amount=1)
    sales.admin.client.patch(sales.app.path("deals", deal["id"]), json={"margin": 2, "amount": 3})
    asked = """query($app: ID!, $id: ID!) {
        recordVersions(app: $app, entity: "deals", id: $id) {nodes {record changes {field}}}}"""
    newest, _ = both.data(asked, app=sales.app.app_id, id=deal["id"])["recordVersions"]["nodes"]
    assert newest["changes"] == [{"field": "amount"}]
    assert {"margin", "phone"} & set(newest["record"]) == set()


def test_exports_and_imports_go_as_far_as_policies(sales: Sales) -> None:
    here, member = project(sales), sales.person("read:team", "create:own", "update:team")
    sales.join(member, here)
    sales.deal("a", project_id=here, margin=7, phone="12345678", amount=1)
    sales.deal("b", amount=2)
    export = """query($app: ID!) {exportRecords(app: $app, entity: "deals", format: CSV)}"""
    text = member.client.get(member.data(export, app=sales.app.app_id)["exportRecords"]).text
    header, *rows = text.splitlines()
    assert "margin" not in header
    assert len(rows) == 1
    assert "***78" in rows[0]
    take = """mutation($app: ID!, $rows: [JSONObject!]!, $write: ImportWrite!) {
        importRecords(app: $app, entity: "deals", rows: $rows, write: $write, key: "name", skipBad: true) {
            import {created updated failed errors {row message}}}}"""
    given = [
        {"name": "a", "amount": 5},
        {"name": "b", "amount": 6},
        {"name": "c", "owner_id": member.id},
        {"name": "d"},
    ]
    done = member.data(take, app=sales.app.app_id, rows=given, write="UPSERT")["importRecords"]["import"]
    assert (done["created"], done["updated"], done["failed"]) == (1, 1, 2)
    assert [error["row"] for error in done["errors"]] == [2, 4]
    assert all("your policies" in error["message"] for error in done["errors"])
    assert {row["name"]: row["amount"] for row in sales.app.query("deals")["data"]} == {"a": 5, "b": 2, "c": None}


def test_an_import_of_changes_takes_what_is_hidden_for_not_there(sales: Sales) -> None:
    here, member = project(sales), sales.person("read:team", "update:team")
    sales.join(member, here)
    seen, hidden = sales.deal("a", project_id=here, amount=1), sales.deal("b", amount=2)
    take = """mutation($app: ID!, $rows: [JSONObject!]!, $key: String!) {
        importRecords(app: $app, entity: "deals", rows: $rows, write: UPDATE, key: $key, skipBad: true) {
            import {updated skipped failed}}}"""
    for key, values in (("name", ("a", "b", "none")), ("id", (seen["id"], hidden["id"], str(uuid4())))):
        given = [{key: value, "amount": 7} for value in values]
        done = member.data(take, app=sales.app.app_id, rows=given, key=key)["importRecords"]["import"]
        assert done == {"updated": 1, "skipped": 2, "failed": 0}
    assert {row["name"]: row["amount"] for row in sales.app.query("deals")["data"]} == {"a": 7, "b": 2}


def test_search_knows_only_what_is_shown(stoa: Stoa, admin: Person) -> None:
    policies = [
        {"name": "all", "can": ["read"], "hide": ["secret"]},
        {"name": "own", "can": ["read"], "where": {"owner_id": {"actor": "id"}}},
    ]
    fields = [field("name"), field("secret"), field("owner_id", "user")]
    search = {"fields": {"name": "A", "secret": "B"}}
    app = build.app(admin, entity("notes", *fields, search=search, policies=policies), dialect="stoa")
    clerk, owner = (
        build.reader(stoa, admin, *(f"app:{app.app_id}:notes.read:{name}" for name in names))
        for names in (["all"], ["all", "own"])
    )
    app.create("notes", name="falcon", secret="heron")
    app.create("notes", name="magpie", secret="heron", owner_id=owner.id)
    asked = "query($text: String!) {notes(search: $text) {totalCount nodes {name}}}"

    def found(person: Person, text: str) -> list[str]:
        page = Typed.of(app).as_(person).data(asked, text=text)["notes"]
        assert page["totalCount"] == len(page["nodes"])
        return sorted(row["name"] for row in page["nodes"])

    assert found(admin, "heron") == ["falcon", "magpie"]
    assert found(clerk, "heron") == []
    assert found(clerk, "falcon -heron") == ["falcon"]
    assert found(owner, "heron") == ["magpie"]
    assert found(owner, "magpie falcon or") == []


# Looking at it from above.


EXPLAIN = """query($app: ID!, $user: UUID!, $verb: RecordVerb!, $id: ID) {
    explainAccess(app: $app, entity: "deals", user: $user, verb: $verb, id: $id) {
        allowed reason permission held roles record
        policies {name permission held holds hidden masked readOnly}}}"""


def test_who_rules_an_app_is_told_why(sales: Sales) -> None:
    owner, stranger = sales.person("read:own", "update:own", "delete"), sales.person("create:own")
    mine, other = sales.deal("a", owner_id=owner.id), sales.deal("b")

    def told(person: Person, verb: str, id: str | None = None) -> Any:
        variables = {"app": sales.app.app_id, "user": person.id, "verb": verb, "id": id}
        return sales.admin.data(EXPLAIN, **variables)["explainAccess"]

    yes = told(owner, "UPDATE", mine["id"])
    assert (yes["allowed"], yes["reason"], yes["held"]) == (True, "they may as far as own goes", False)
    assert yes["permission"] == f"app:{sales.app.app_id}:deals.update"
    assert len(yes["roles"]) == 1
    assert [(one["name"], one["held"], one["holds"]) for one in yes["policies"]] == [
        ("own", True, True),
        ("team", False, False),
    ]
    assert yes["policies"][0]["readOnly"] == ["stage"]
    assert yes["record"] == owner.client.get(sales.app.path("deals", mine["id"])).json()
    no = told(owner, "UPDATE", other["id"])
    assert (no["allowed"], no["record"]) == (False, None)
    assert no["reason"] == "the record is not there, or none of their policies lets them see it"
    assert told(owner, "DELETE")["reason"] == "a role of theirs gives the permission, which goes all the way"
    none = told(stranger, "READ")
    assert (none["allowed"], none["roles"]) == (False, [])
    assert owner.code(EXPLAIN, app=sales.app.app_id, user=owner.id, verb="READ") == "FORBIDDEN"
    assert sales.admin.code(EXPLAIN, app=sales.app.app_id, user=mine["id"], verb="READ") == "NOT_FOUND"


def test_who_rules_an_app_sees_it_with_the_eyes_of_others(sales: Sales) -> None:
    owner, at = sales.person("read:own", "create"), f"/graphql/{sales.app.app_id}"
    sales.deal("a", owner_id=owner.id)
    sales.deal("b")

    def asked(query: str, by: Person, who: str) -> Any:
        return by.client.post(at, json={"query": query}, headers={"stoa-simulate": who}).json()

    listed = "{deals {nodes {name}}}"
    assert asked(listed, sales.admin, owner.id) == {"data": {"deals": {"nodes": [{"name": "a"}]}}}
    for answer, code in (
        (asked(listed, owner, sales.admin.id), "FORBIDDEN"),
        (asked(listed, sales.admin, sales.deals["a"]), "NOT_FOUND"),
        (asked(listed, sales.admin, "me"), "INVALID_INPUT"),
        (asked('mutation {createDeal(values: {name: "c"}) {name}}', sales.admin, owner.id), "FORBIDDEN"),
    ):
        assert answer["errors"][0]["extensions"]["code"] == code, answer
    assert len(sales.app.query("deals")["data"]) == 2


def test_what_is_asked_for_at_once_is_told_to_each_as_far_as_they_may_see(sales: Sales) -> None:
    """Look-ups of one statement go together: the policy's value is a part of what makes them one."""
    ann, bo = sales.person("read:own"), sales.person("read:own")
    owned = {person.id: sales.deal(f"of {person.id}", owner_id=person.id)["id"] for person in (ann, bo)}
    query = "query($id: ID!) {deal(id: $id) {name ownerId}}"

    def ask(person: Person, id: str) -> Callable[[], Any]:
        typed = Typed.of(sales.app).as_(person)
        return lambda: (typed.data(query, id=id)["deal"], person.client.get(sales.app.path("deals", id)).status_code)

    asked = [(person, owner) for person in (ann, bo) for owner in owned] * 6
    found = at_once([ask(person, owned[owner]) for person, owner in asked])
    told = {True: 200, False: 404}
    for (person, owner), (deal, status) in zip(asked, found, strict=True):
        mine = person.id == owner
        assert deal == ({"name": f"of {owner}", "ownerId": owner} if mine else None)
        assert status == told[mine]
