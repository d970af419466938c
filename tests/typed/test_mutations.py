"""Mutations over an app's typed schema."""

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from tests import build
from tests.build import Collections, entity, field, link
from tests.harness import Person, Stoa
from tests.typed.asking import Typed


@dataclass
class Shop:
    app: Collections
    typed: Typed

    def rows(self, entity: str) -> list[dict[str, Any]]:
        return self.app.query(entity, orderBy="name", order="asc")["data"]

    def log(self, stoa: Stoa) -> list[tuple[str, str]]:
        """The entities and operations of the audit log, the oldest first."""
        entries = stoa.sql(
            "SELECT entity, operation FROM stoa.audit_log WHERE app_id = $1 ORDER BY id", self.app.app_id
        )
        return [(entry["entity"], entry["operation"]) for entry in entries]


@pytest.fixture
def shop(admin: Person) -> Shop:
    app = build.app(
        admin,
        entity("companies", field("name", required=True), field("rank", "number", default_value=7)),
        entity(
            "contacts",
            field("name", required=True),
            field("mail"),
            field("first_seen", "date"),
            link("company_id", "companies", required=True),
            indexes=[
                {"name": "contacts_mail", "columns": ["mail"], "unique": True},
                {"name": "contacts_seen", "columns": ["name", "first_seen"], "unique": True},
            ],
        ),
        entity("tags", field("name"), link("contact_id", "contacts", on_delete="cascade")),
    )
    return Shop(app, Typed.of(app))


def test_a_record_is_created_and_told_in_one(stoa: Stoa, shop: Shop) -> None:
    create = "mutation($v: CompanyCreate!) {createCompany(values: $v) {id name rank createdAt}}"
    made = shop.typed.data(create, v={"name": "A"})["createCompany"]
    (row,) = shop.rows("companies")
    assert (made["id"], made["name"], made["rank"]) == (row["id"], "A", 7)
    assert shop.typed.data(create, v={"name": "B", "rank": None})["createCompany"]["rank"] is None
    assert shop.log(stoa) == [("companies", "INSERT")] * 2
    (actor,) = {
        entry["actor_id"]
        for entry in stoa.sql(
            "SELECT actor_id FROM stoa.audit_log WHERE entity = 'companies' AND app_id = $1", shop.app.app_id
        )
    }
    assert str(actor) == shop.typed.person.id


def test_records_around_it_are_created_along(shop: Shop) -> None:
    create = """mutation {
      createCompany(values: {name: "A", contacts: [
        {name: "Ann", tags: [{name: "x"}, {name: "y"}]},
        {name: "Bo", mail: "bo@a.test"}
      ]}) { name contacts(orderBy: {name: ASC}) { nodes { name mail tags(orderBy: {name: ASC}) { nodes { name } } } } }
    }"""
    assert shop.typed.data(create)["createCompany"] == {
        "name": "A",
        "contacts": {
            "nodes": [
                {"name": "Ann", "mail": None, "tags": {"nodes": [{"name": "x"}, {"name": "y"}]}},
                {"name": "Bo", "mail": "bo@a.test", "tags": {"nodes": []}},
            ]
        },
    }
    upward = (
        """mutation($v: [TagCreate!]!) { createTags(values: $v) { name contact { name company { name rank } } } }"""
    )
    values = [{"name": "z", "contact": {"name": "Cy", "company": {"name": "C"}}}, {"name": "w"}]
    assert shop.typed.data(upward, v=values)["createTags"] == [
        {"name": "z", "contact": {"name": "Cy", "company": {"name": "C", "rank": 7}}},
        {"name": "w", "contact": None},
    ]


@pytest.mark.parametrize(
    ("mutation", "code", "message"),
    [
        ("createCompany(values: {rank: 1})", "INVALID_INPUT", "to include required field 'name'"),
        ('createCompany(values: {name: "A", rank: "x"})', "INVALID_INPUT", "Float cannot represent non numeric value"),
        ('createContact(values: {name: "A"})', "INVALID_INPUT", "values: field 'companyId' is required"),
        (
            'createContact(values: {name: "A", firstSeen: "2001-02-30", company: {name: "B"}})',
            "INVALID_INPUT",
            "must be a date, YYYY-MM-DD",
        ),
        (
            'createContact(values: {name: "A", companyId: "%(id)s", company: {name: "B"}})',
            "INVALID_INPUT",
            "values.companyId and a record written along with this one exclude each other",
        ),
        (
            'createCompany(values: {name: "A", contacts: [{name: "B", company: {name: "C"}}]})',
            "INVALID_INPUT",
            "values.contacts.0.companyId and a record written along with this one exclude each other",
        ),
        (
            'createContact(values: {name: "A", companyId: "0b6c3a5e-0000-4000-8000-000000000000"})',
            "CONFLICT",
            "foreign key constraint violated: 'companyId' links to a record that is not there",
        ),
        ("createTag(values: {})", "INVALID_INPUT", "the record must have at least one field"),
        ('updateCompany(id: "x", values: {rank: 1})', "INVALID_INPUT", "id must be a UUID"),
        ('updateCompany(id: "0b6c3a5e-0000-4000-8000-000000000000", values: {rank: 1})', "NOT_FOUND", "not found"),
        ('deleteCompany(id: "0b6c3a5e-0000-4000-8000-000000000000")', "NOT_FOUND", "not found"),
        ('updateCompany(id: "%(id)s", values: {name: null})', "INVALID_INPUT", "values: field 'name' is required"),
        ('updateCompany(id: "%(id)s", values: {})', "INVALID_INPUT", "there must be something to change"),
        (
            'upsertContact(values: {name: "A", companyId: "%(id)s"}, by: [mail])',
            "INVALID_INPUT",
            "values must have 'mail'",
        ),
        (
            'upsertContact(values: {name: "A", mail: "m"}, by: [])',
            "INVALID_INPUT",
            "by must be the fields of a unique key: [mail] or [name, firstSeen]",
        ),
    ],
)
def test_what_is_refused_changes_nothing(stoa: Stoa, shop: Shop, mutation: str, code: str, message: str) -> None:
    id = shop.app.create("companies", name="here")["id"]
    before = shop.log(stoa)
    told = shop.typed.error(f"mutation {{{mutation % {'id': id}} {{id}}}}")
    assert told[0] == code
    assert message in told[1]
    assert shop.log(stoa) == before


def test_all_fields_of_a_mutation_are_one_transaction(stoa: Stoa, shop: Shop) -> None:
    both = 'mutation {a: createCompany(values: {name: "A"}) {id} b: createCompany(values: {name: "B"}) {name}}'
    assert shop.typed.data(both)["b"] == {"name": "B"}
    before = shop.log(stoa)
    half = 'mutation($id: ID!) {a: createCompany(values: {name: "C"}) {id} b: deleteTag(id: $id) {id}}'
    assert shop.typed.error(half, id="0b6c3a5e-0000-4000-8000-000000000000")[0] == "NOT_FOUND"
    assert shop.log(stoa) == before
    assert [row["name"] for row in shop.rows("companies")] == ["A", "B"]


def test_a_record_is_changed_if_it_is_as_its_writer_knows_it(shop: Shop) -> None:
    made = shop.typed.data('mutation {createCompany(values: {name: "A"}) {id updatedAt}}')["createCompany"]
    change = """mutation($id: ID!, $since: DateTime, $rank: Float) {
      updateCompany(id: $id, ifUpdatedAt: $since, values: {rank: $rank}) {rank name updatedAt}
    }"""
    changed = shop.typed.data(change, id=made["id"], since=made["updatedAt"], rank=1)["updateCompany"]
    assert (changed["rank"], changed["name"]) == (1, "A")
    stale = shop.typed.error(change, id=made["id"], since=made["updatedAt"], rank=2)
    assert stale == ("CONFLICT", "the record has been changed since then")
    assert shop.typed.data(change, id=made["id"], rank=None)["updateCompany"]["rank"] is None
    gone = "mutation($id: ID!, $since: DateTime) {deleteCompany(id: $id, ifUpdatedAt: $since) {name}}"
    assert shop.typed.error(gone, id=made["id"], since=made["updatedAt"])[0] == "CONFLICT"
    assert shop.typed.data(gone, id=made["id"])["deleteCompany"] == {"name": "A"}
    assert shop.rows("companies") == []


def test_what_is_told_of_a_changed_record_is_how_things_are_now(shop: Shop) -> None:
    made = shop.typed.data(
        'mutation {createCompany(values: {name: "A", contacts: [{name: "Ann"}]}) {contacts {nodes {id}}}}'
    )
    id = made["createCompany"]["contacts"]["nodes"][0]["id"]
    change = (
        'mutation($id: ID!) {updateContact(id: $id, values: {name: "Bea"}) {name company {contacts {nodes {name}}}}}'
    )
    assert shop.typed.data(change, id=id)["updateContact"] == {
        "name": "Bea",
        "company": {"contacts": {"nodes": [{"name": "Bea"}]}},
    }


def test_many_are_changed_up_to_a_bound(stoa: Stoa, shop: Shop) -> None:
    shop.app.create_many("companies", [{"name": name, "rank": rank} for rank, name in enumerate("ABCDE")])
    change = """mutation($w: CompanyWhere!, $n: Int!) {
      updateCompanies(where: $w, limit: $n, values: {rank: 100}) {name rank}
    }"""
    before = shop.log(stoa)
    assert shop.typed.error(change, w={"rank": {"gte": 1}}, n=3) == (
        "QUERY_TOO_COMPLEX",
        "more than 3 records match: nothing was changed",
    )
    assert shop.log(stoa) == before
    changed = shop.typed.data(change, w={"rank": {"gte": 1}}, n=4)["updateCompanies"]
    assert sorted((row["name"], row["rank"]) for row in changed) == [(name, 100) for name in "BCDE"]
    gone = shop.typed.data('mutation {deleteCompanies(where: {name: {in: ["B", "C"]}}) {name}}')["deleteCompanies"]
    assert sorted(row["name"] for row in gone) == ["B", "C"]
    assert [row["name"] for row in shop.rows("companies")] == ["A", "D", "E"]


def test_an_upsert_finds_by_a_unique_field(stoa: Stoa, shop: Shop) -> None:
    company = shop.app.create("companies", name="A")["id"]
    upsert = """mutation($v: ContactCreate!) {upsertContact(values: $v, by: [mail]) {id name mail}}"""
    first = shop.typed.data(upsert, v={"name": "Ann", "mail": "a@a.test", "companyId": company})["upsertContact"]
    again = shop.typed.data(upsert, v={"name": "Bea", "mail": "a@a.test", "companyId": company})["upsertContact"]
    assert again == {**first, "name": "Bea"}
    assert shop.log(stoa)[1:] == [("contacts", "INSERT"), ("contacts", "UPDATE")]
    clash = shop.typed.error(
        'mutation($c: ID!) {createContact(values: {name: "C", mail: "a@a.test", companyId: $c}) {id}}', c=company
    )
    assert clash == ("CONFLICT", "a record with this mail exists already")


@pytest.mark.parametrize("by", ["[name, firstSeen]", "[firstSeen, name]"])
def test_the_fields_of_a_key_have_no_order(shop: Shop, by: str) -> None:
    create = 'mutation {createContact(values: {name: "A", firstSeen: "2001-01-01", company: {name: "B"}}) {id}}'
    id = shop.typed.data(create)["createContact"]["id"]
    values = f'{{name: "A", firstSeen: "2001-01-01", mail: "m", companyId: "{shop.rows("companies")[0]["id"]}"}}'
    upsert = f"mutation {{upsertContact(values: {values}, by: {by}) {{id mail}}}}"
    assert shop.typed.data(upsert) == {"upsertContact": {"id": id, "mail": "m"}}


def test_rights_decide_what_can_be_written(stoa: Stoa, admin: Person, shop: Shop) -> None:
    key = f"app:{shop.app.app_id}:companies"
    reader = shop.typed.as_(build.reader(stoa, admin, f"{key}.read"))
    assert reader.error('mutation {createCompany(values: {name: "A"}) {id}}') == (
        "INVALID_INPUT",
        "The mutation operation is not supported by the schema.",
    )
    maker = shop.typed.as_(build.reader(stoa, admin, f"{key}.read", f"{key}.create"))
    assert maker.data('mutation {createCompany(values: {name: "A"}) {name}}') == {"createCompany": {"name": "A"}}
    assert "deleteCompany" in maker.error('mutation {deleteCompany(id: "x") {id}}')[1]
    assert "contacts" in maker.error('mutation {createCompany(values: {name: "A", contacts: []}) {id}}')[1]


def test_the_same_key_does_it_once(shop: Shop) -> None:
    client, path = shop.typed.person.client, f"/graphql/{shop.app.app_id}"
    body = {"query": 'mutation {createCompany(values: {name: "once"}) {id}}'}
    answers = [client.post(path, json=body, headers={"idempotency-key": "k1"}) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert answers[1].headers["idempotency-replayed"] == "true"
    assert [row["name"] for row in shop.rows("companies")] == ["once"]


def test_too_many_records_at_once(shop: Shop) -> None:
    create = "mutation($v: [TagCreate!]!) {createTags(values: $v) {id}}"
    values = [{"name": "x", "contact": {"name": "n", "company": {"name": "c"}}}] * 334
    assert shop.typed.error(create, v=values) == (
        "QUERY_TOO_COMPLEX",
        "1002 records are more than can be stored at once (1000)",
    )
    assert shop.rows("tags") == []


def test_a_field_whose_variable_is_left_out_is_not_written(shop: Shop) -> None:
    create = 'mutation($r: Float) {createCompany(values: {name: "A", rank: $r}) {id rank}}'
    made = shop.typed.data(create)["createCompany"]
    assert made["rank"] == 7  # its default
    assert shop.typed.data(create, r=None)["createCompany"]["rank"] is None
    update = (
        "mutation($id: ID!, $n: String, $r: Float) {updateCompany(id: $id, values: {name: $n, rank: $r}) {name rank}}"
    )
    assert shop.typed.data(update, id=made["id"], n="B")["updateCompany"] == {"name": "B", "rank": 7}
    assert shop.typed.data(update, id=made["id"], r=None)["updateCompany"] == {"name": "B", "rank": None}
    several = 'mutation($r: Float) {updateCompanies(where: {}, values: {name: "C", rank: $r}) {name rank}}'
    assert shop.typed.data(several)["updateCompanies"] == [{"name": "C", "rank": None}] * 2


def test_a_lone_value_stands_for_a_list_of_one(admin: Person) -> None:
    app = build.app(admin, entity("teams", field("name"), field("tags", "[text]"), field("data", "json")))
    typed = Typed.of(app)
    create = "mutation($v: [TeamCreate!]!) {createTeams(values: $v) {name tags}}"
    assert typed.data(create, v={"name": "A", "tags": "x"}) == {"createTeams": [{"name": "A", "tags": ["x"]}]}
    written = 'mutation {createTeams(values: {name: "B", tags: "y", data: 1}) {tags data}}'
    assert typed.data(written) == {"createTeams": [{"tags": ["y"], "data": 1}]}
    assert typed.data("mutation {createTeams(values: []) {name}}") == {"createTeams": []}
    update = 'mutation {updateTeams(where: {tags: {eq: "x"}}, values: {tags: "z"}) {name tags}}'
    assert typed.data(update) == {"updateTeams": [{"name": "A", "tags": ["z"]}]}
    query = "query($t: [String!], $w: [TeamWhere!]) {teams(where: {tags: {contains: $t}, OR: $w}) {nodes {name}}}"
    assert typed.data(query, t="y", w={"tags": {"contains": "y"}}) == {"teams": {"nodes": [{"name": "B"}]}}
    assert typed.data(query, t=["y"], w={"tags": {"eq": ["y"]}}) == {"teams": {"nodes": [{"name": "B"}]}}


def test_records_are_changed_and_deleted_by_their_keys(stoa: Stoa, shop: Shop) -> None:
    company = shop.app.create("companies", name="A")["id"]
    seen = {"name": "Ann", "first_seen": "2001-01-01"}
    shop.app.create("contacts", mail="a@a.test", company_id=company, **seen)
    update = (
        "mutation($m: String!, $v: ContactUpdate!) {updateContactByMail(mail: $m, values: $v) {name company {name}}}"
    )
    assert shop.typed.data(update, m="a@a.test", v={"firstSeen": "2002-02-02"}) == {
        "updateContactByMail": {"name": "Ann", "company": {"name": "A"}}
    }
    missing = ("NOT_FOUND", "no record has this key")
    assert shop.typed.error(update, m="b@b.test", v={"name": "B"}) == missing
    delete = """mutation($d: Date!) {
      deleteContactByNameAndFirstSeen(name: "Ann", firstSeen: $d) { mail company { contacts { totalCount } } }
    }"""
    before = shop.log(stoa)
    assert shop.typed.error(delete, d="2001-01-01") == missing
    assert shop.log(stoa) == before
    assert shop.typed.data(delete, d="2002-02-02") == {
        "deleteContactByNameAndFirstSeen": {"mail": "a@a.test", "company": {"contacts": {"totalCount": 1}}}
    }
    assert shop.log(stoa)[-1] == ("contacts", "DELETE")
    assert shop.typed.error(delete, d="2002-02-02") == missing


def test_policies_hold_for_what_is_found_by_a_key(stoa: Stoa, admin: Person) -> None:
    own = {"name": "own", "can": ["update", "delete"], "where": {"kind": "ours"}}
    seen = {"name": "seen", "can": ["read"], "where": {"kind": {"ne": "secret"}}}
    declared = entity("notes", field("name", unique=True), field("kind"), policies=[own, seen])
    app = build.app(admin, declared, dialect="stoa")
    app.create_many("notes", [{"name": kind, "kind": kind} for kind in ("ours", "theirs", "secret")])
    key = f"app:{app.app_id}:notes"
    typed = Typed.of(app).as_(build.reader(stoa, admin, f"{key}.read:seen", f"{key}.update:own", f"{key}.delete:own"))
    update = 'mutation($n: String!) {updateNoteByName(name: $n, values: {name: "new"}) {name}}'
    delete = "mutation($n: String!) {deleteNoteByName(name: $n) {name}}"
    for mutation in (update, delete):
        assert typed.error(mutation, n="theirs")[0] == "FORBIDDEN"
        assert (
            typed.error(mutation, n="secret")
            == typed.error(mutation, n="none")
            == (
                "NOT_FOUND",
                "no record has this key",
            )
        )
    assert typed.data(update, n="ours") == {"updateNoteByName": {"name": "new"}}
    assert typed.data(delete, n="new") == {"deleteNoteByName": {"name": "new"}}
    reader = Typed.of(app).as_(build.reader(stoa, admin, f"{key}.read"))
    assert reader.error(delete, n="theirs")[0] == "INVALID_INPUT"  # there is no such mutation for them


def test_refusals_of_the_database_call_fields_what_the_schema_calls_them(admin: Person) -> None:
    team = build.entity("teams", build.field("short_name", unique=True))
    app = Typed.of(build.app(admin, team, build.entity("members", build.link("team_id", "teams")), dialect="stoa"))
    create = 'mutation {createTeam(values: {shortName: "a"}) {id}}'
    id = app.data(create)["createTeam"]["id"]
    nowhere = f'mutation {{createMember(values: {{teamId: "{uuid4()}"}}) {{id}}}}'
    for query, about, message in (
        (create, "shortName", "a record with this shortName exists already"),
        (nowhere, "teamId", "foreign key constraint violated: 'teamId' links to a record that is not there"),
    ):
        (error,) = app.post(query).json()["errors"]
        assert (error["extensions"]["field"], error["message"]) == (about, message)
    assert app.data(f'mutation {{deleteTeam(id: "{id}") {{shortName}}}}') == {"deleteTeam": {"shortName": "a"}}
