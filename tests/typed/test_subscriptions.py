"""Following records through an app's typed schema."""

from typing import Any

import pytest

from tests import build
from tests.build import Collections, entity, field, link
from tests.graph.listening import Events, listening, socket
from tests.harness import Person, Stoa
from tests.typed.asking import Typed


@pytest.fixture
def crm(admin: Person) -> Collections:
    return build.app(
        admin,
        entity("companies", field("name")),
        entity("contacts", field("name"), field("age", "number"), link("company_id", "companies", on_delete="cascade")),
    )


def reference(name: str, entity: str) -> dict[str, Any]:
    return field(name, "reference", references={"entity": entity, "field": "id"})


def path(crm: Collections) -> str:
    return f"/graphql/{crm.app_id}"


def told(events: Events, field: str) -> Any:
    payload = events.next()
    assert payload is not None
    assert "errors" not in payload, payload
    return payload["data"][field]


CHANGED = """subscription($w: ContactWhere, $after: String) {
  contactChanged(where: $w, after: $after) { cursor operation id actorId record { name company { name } } }
}"""


def test_changes_show_the_record_as_it_was_asked_for(stoa: Stoa, admin: Person, crm: Collections) -> None:
    company = crm.create("companies", name="A")["id"]
    with listening(stoa, admin, CHANGED, path(crm)) as events:
        id = crm.create("contacts", name="Ann", company_id=company)["id"]
        created = told(events, "contactChanged")
        assert created["cursor"]
        assert {key: value for key, value in created.items() if key != "cursor"} == {
            "operation": "CREATED",
            "id": id,
            "actorId": admin.id,
            "record": {"name": "Ann", "company": {"name": "A"}},
        }
        admin.client.delete(crm.path("contacts", id)).raise_for_status()
        deleted = told(events, "contactChanged")
        assert (deleted["operation"], deleted["id"], deleted["record"]) == ("DELETED", id, None)
    crm.create("contacts", name="Bo")
    with listening(stoa, admin, CHANGED, path(crm), after=created["cursor"]) as events:
        assert [told(events, "contactChanged")["operation"] for _ in range(2)] == ["DELETED", "CREATED"]


def test_changes_are_those_that_were_asked_for(stoa: Stoa, admin: Person, crm: Collections) -> None:
    ours, theirs = (crm.create("companies", name=name)["id"] for name in ("ours", "theirs"))
    where = {"age": {"gte": 18}, "company": {"name": {"eq": "ours"}}}
    with listening(stoa, admin, CHANGED, path(crm), w=where) as events:
        crm.create("contacts", name="young", age=17, company_id=ours)
        crm.create("contacts", name="elsewhere", age=18, company_id=theirs)
        crm.create("contacts", name="Ann", age=18, company_id=ours)
        assert told(events, "contactChanged")["record"]["name"] == "Ann"


LIVE = """subscription($n: Int! = 2) {
  contactsLive(where: {age: {gte: 18}}, orderBy: {age: ASC}, first: $n) {
    nodes { name company { name } }
    changed { index node { name age company { name } } }
    removed
  }
}"""


def test_a_list_is_shown_and_then_what_becomes_of_it(stoa: Stoa, admin: Person, crm: Collections) -> None:
    company = crm.create("companies", name="A")["id"]
    ids = {
        name: crm.create("contacts", name=name, age=age, company_id=company)["id"]
        for name, age in (("Ann", 20), ("Bo", 30), ("Cy", 40))
    }
    with listening(stoa, admin, LIVE, path(crm)) as events:
        a = {"name": "A"}
        first = told(events, "contactsLive")
        assert first["nodes"] == [{"name": "Ann", "company": a}, {"name": "Bo", "company": a}]
        assert (first["changed"], first["removed"]) == ([], [])

        crm.person.client.patch(crm.path("contacts", ids["Cy"]), json={"age": 25}).raise_for_status()
        assert told(events, "contactsLive") == {
            "nodes": None,
            "changed": [{"index": 1, "node": {"name": "Cy", "age": 25, "company": a}}],
            "removed": [ids["Bo"]],
        }

        crm.create("contacts", name="too young", age=3)  # nobody is told
        crm.person.client.patch(crm.path("companies", company), json={"name": "B"}).raise_for_status()
        b = {"name": "B"}
        assert told(events, "contactsLive")["changed"] == [
            {"index": 0, "node": {"name": "Ann", "age": 20, "company": b}},
            {"index": 1, "node": {"name": "Cy", "age": 25, "company": b}},
        ]

        crm.person.client.delete(crm.path("companies", company)).raise_for_status()
        gone = told(events, "contactsLive")
        assert (gone["changed"], sorted(gone["removed"])) == ([], sorted([ids["Ann"], ids["Cy"]]))


def test_an_event_is_one_line_however_many_records_it_shows(stoa: Stoa, admin: Person, crm: Collections) -> None:
    company = crm.create("companies", name="A")["id"]
    contacts = [crm.create("contacts", name=f"line\n{n}", age=n, company_id=company)["name"] for n in range(3)]
    selected = "{nodes {name contacts(orderBy: {age: ASC}) {nodes {name}}}}"
    shown = {"nodes": [{"name": "A", "contacts": {"nodes": [{"name": name} for name in contacts]}}]}
    with listening(stoa, admin, f"subscription {{companiesLive {selected}}}", path(crm)) as events:
        assert told(events, "companiesLive") == shown
    with listening(stoa, admin, f"{{companies {selected}}}", path(crm)) as events:
        assert told(events, "companies") == shown


@pytest.mark.parametrize(
    ("query", "before", "changed"),
    [
        ("teamsLive {nodes {n: members} changed {node {n: members}}}", [{"n": 0}], {"node": {"n": 1}}),
        ("teamsLive(where: {members: {eq: 0}}) {nodes {name} changed {index} removed}", [{"name": "A"}], None),
        (
            "placesLive {nodes {teams(where: {members: {gt: 0}}) {totalCount}}"
            " changed {node {teams(where: {members: {gt: 0}}) {totalCount}}}}",
            [{"teams": {"totalCount": 0}}],
            {"node": {"teams": {"totalCount": 1}}},
        ),
        (
            "placesLive {nodes {teams {aggregate {sum {members}}}} changed {node {teams {aggregate {sum {members}}}}}}",
            [{"teams": {"aggregate": {"sum": {"members": 0}}}}],
            {"node": {"teams": {"aggregate": {"sum": {"members": 1}}}}},
        ),
    ],
)
def test_what_is_computed_of_other_records_is_told_anew(
    stoa: Stoa, admin: Person, query: str, before: Any, changed: Any
) -> None:
    counted = field("members", "rollup", entity="people", link="team_id", function="count")
    app = build.app(
        admin,
        entity("places", field("name")),
        entity("teams", field("name"), counted, reference("place_id", "places")),
        entity("people", reference("team_id", "teams")),
        dialect="stoa",
    )
    create = 'mutation {createTeam(values: {name: "A", place: {name: "P"}}) {id}}'
    team = Typed.of(app).data(create)["createTeam"]["id"]
    list = query.split("Live")[0] + "Live"
    with listening(stoa, admin, f"subscription {{{query}}}", path(app)) as events:
        assert told(events, list)["nodes"] == before
        Typed.of(app).data("mutation($t: ID) {createPerson(values: {teamId: $t}) {id}}", t=team)
        now = told(events, list)
        assert now["changed"] == ([] if changed is None else [changed])
        assert now.get("removed", []) == ([team] if changed is None else [])


def test_what_a_list_below_is_ordered_by_is_followed(stoa: Stoa, admin: Person) -> None:
    app = build.app(
        admin,
        entity("places", field("name")),
        entity("teams", field("name"), link("place_id", "places")),
        entity("people", field("name"), link("team_id", "teams"), link("place_id", "places")),
    )
    place, elsewhere = (app.create("places", name=name)["id"] for name in ("P", "Q"))
    teams = [app.create("teams", name=name, place_id=elsewhere)["id"] for name in ("A", "B")]
    for name, team in zip(("Ann", "Bo"), teams, strict=True):
        app.create("people", name=name, team_id=team, place_id=place)
    selected = "{people(orderBy: {team: {name: ASC}}) {nodes {name}}}"
    live = f'placesLive(where: {{name: {{eq: "P"}}}}) {{nodes {selected} changed {{node {selected}}}}}'
    with listening(stoa, admin, f"subscription {{{live}}}", path(app)) as events:
        assert told(events, "placesLive")["nodes"] == [{"people": {"nodes": [{"name": "Ann"}, {"name": "Bo"}]}}]
        admin.client.patch(app.path("teams", teams[0]), json={"name": "C"}).raise_for_status()
        assert told(events, "placesLive")["changed"] == [
            {"node": {"people": {"nodes": [{"name": "Bo"}, {"name": "Ann"}]}}}
        ]


def test_over_a_socket(stoa: Stoa, admin: Person, crm: Collections) -> None:
    with socket(stoa, path=path(crm)) as ours:
        ours.open(admin.token)
        ours.subscribe("1", "subscription {contactsLive {nodes {name} changed {index node {name}} removed}}")
        first = ours.receive()
        assert (first["id"], first["payload"]["data"]) == (
            "1",
            {"contactsLive": {"nodes": [], "changed": [], "removed": []}},
        )
        crm.create("contacts", name="Ann")
        assert ours.receive()["payload"]["data"]["contactsLive"]["changed"] == [{"index": 0, "node": {"name": "Ann"}}]
        ours.subscribe("2", "{contacts {nodes {name}}}")
        assert ours.receive()["payload"]["data"] == {"contacts": {"nodes": [{"name": "Ann"}]}}


def test_who_may_not_read_may_not_follow(stoa: Stoa, admin: Person, crm: Collections) -> None:
    key = f"app:{crm.app_id}"
    other = Typed.of(crm).as_(build.reader(stoa, admin, f"{key}:companies.read"))
    assert "contactChanged" in other.error("subscription {contactChanged {id}}")[1]


def test_a_policy_may_speak_of_what_it_hides(stoa: Stoa, admin: Person) -> None:
    own = {"name": "own", "can": ["read"], "where": {"owner_id": {"actor": "id"}}, "hide": ["owner_id"]}
    declared = entity("contacts", field("name"), field("owner_id", "user"), policies=[own])
    crm = build.app(admin, declared, dialect="stoa")
    person = build.reader(stoa, admin, f"app:{crm.app_id}:contacts.read:own")
    query = "subscription {contactChanged {operation record {name}}}"
    with listening(stoa, person, query, path(crm)) as events:
        crm.create("contacts", name="theirs", owner_id=admin.id)
        crm.create("contacts", name="hers", owner_id=person.id)
        assert told(events, "contactChanged") == {"operation": "CREATED", "record": {"name": "hers"}}


@pytest.mark.parametrize("query", ["contactChanged {record {name age}}", "contactsLive {changed {node {name age}}}"])
def test_a_stream_ends_with_the_policies_it_began_under(stoa: Stoa, admin: Person, query: str) -> None:
    def declare(app_id: str, *fields: dict[str, Any], hide: list[str]) -> None:
        policies = [{"name": "all", "can": ["read"], "hide": hide}]
        declared = entity("contacts", field("name"), field("age", "number"), *fields, policies=policies)
        manifest = build.manifest(declared, app_id=app_id, dialect="stoa")
        assert admin.client.post("/api/v1/apps", json=manifest).status_code == 200

    crm = Collections(admin, f"crm_{query[:9].lower()}")
    declare(crm.app_id, hide=[])
    person = build.reader(stoa, admin, f"app:{crm.app_id}:contacts.read:all")
    with listening(stoa, person, f"subscription {{{query}}}", path(crm)) as events:
        if "Live" in query:
            told(events, "contactsLive")
        declare(crm.app_id, field("note"), hide=[])
        crm.create("contacts", name="Ann", age=1)
        told(events, query.partition(" ")[0])  # it is told under the same policies, of whatever fields
        declare(crm.app_id, field("note"), hide=["age"])
        crm.create("contacts", name="Bob", age=2)
        assert events.refusal() == "GONE"


def test_a_stream_ends_with_the_right_to_it(stoa: Stoa, admin: Person, crm: Collections) -> None:
    person = stoa.person()
    role = build.grant(admin, person, f"app:{crm.app_id}:contacts.read")
    with listening(stoa, person, "subscription {contactChanged {id}}", path(crm)) as events:
        admin.data("mutation($u: UUID!, $r: String!) {revokeRole(user: $u, role: $r)}", u=person.id, r=role)
        crm.create("contacts", name="Ann")
        assert events.refusal() == "FORBIDDEN"
