"""Queries over an app's typed schema."""

from dataclasses import dataclass

import pytest
from graphql import GraphQLSchema, build_schema, validate_schema

from tests import build
from tests.build import Collections, entity, field, link
from tests.harness import Person, Stoa
from tests.typed.asking import Typed


@dataclass
class Crm:
    """Three companies: A with Ann and Bo, B with Cy, C with nobody. Deals: Ann's 10 and 20, Bo's 5."""

    app: Collections
    typed: Typed
    ids: dict[str, str]


@pytest.fixture(scope="module")
def crm(admin: Person) -> Crm:
    app = build.app(
        admin,
        entity("companies", field("name", required=True, description="As on the door"), field("founded", "date")),
        entity(
            "contacts",
            field("first_name"),
            field("age", "number"),
            field("tags", "[text]"),
            field("active", "boolean"),
            link("company_id", "companies"),
        ),
        entity("deals", field("title"), field("amount", "number"), link("contact_id", "contacts")),
    )
    ids = {}
    for name, founded in (("A", "2001-01-01"), ("B", "1999-12-31"), ("C", None)):
        ids[name] = app.create("companies", name=name, founded=founded)["id"]
    for name, age, company in (("Ann", 30, "A"), ("Bo", 20, "A"), ("Cy", None, "B")):
        row = app.create("contacts", first_name=name, age=age, company_id=ids[company], tags=["x", name], active=True)
        ids[name] = row["id"]
    for amount, contact in ((10, "Ann"), (20, "Ann"), (5, "Bo")):
        ids[f"{amount}"] = app.create("deals", title=f"d{amount}", amount=amount, contact_id=ids[contact])["id"]
    return Crm(app, Typed.of(app), ids)


def test_one_record_by_id_with_what_it_links_to(crm: Crm) -> None:
    query = "query($id: ID!) {c: contact(id: $id) {firstName age tags active company {name founded} __typename}}"
    assert crm.typed.data(query, id=crm.ids["Ann"]) == {
        "c": {
            "firstName": "Ann",
            "age": 30,
            "tags": ["x", "Ann"],
            "active": True,
            "company": {"name": "A", "founded": "2001-01-01"},
            "__typename": "Contact",
        }
    }
    assert crm.typed.data(query, id=crm.ids["A"]) == {"c": None}
    assert crm.typed.error(query, id="x") == ("INVALID_INPUT", "id must be a UUID")


def test_lists_filter_order_and_nest(crm: Crm) -> None:
    query = """{
      companies(where: {contacts: {some: {deals: {some: {amount: {gte: 5}}}}}}, orderBy: {name: ASC}) {
        totalCount
        nodes {
          name
          contacts(orderBy: [{age: DESC}]) { nodes { firstName deals(orderBy: {amount: ASC}) { nodes { amount } } } }
        }
      }
    }"""
    assert crm.typed.data(query) == {
        "companies": {
            "totalCount": 1,
            "nodes": [
                {
                    "name": "A",
                    "contacts": {
                        "nodes": [
                            {"firstName": "Ann", "deals": {"nodes": [{"amount": 10}, {"amount": 20}]}},
                            {"firstName": "Bo", "deals": {"nodes": [{"amount": 5}]}},
                        ]
                    },
                }
            ],
        }
    }


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ("{}", ["Ann", "Bo", "Cy"]),
        ("{age: {gt: 20}}", ["Ann"]),
        ("{age: {isNull: true}}", ["Cy"]),
        ("{age: {ne: 30}}", ["Bo"]),
        ("{firstName: {in: []}}", []),
        ("{firstName: {nin: []}}", ["Ann", "Bo", "Cy"]),
        ('{firstName: {in: ["Bo", "Cy"]}}', ["Bo", "Cy"]),
        ('{firstName: {ilike: "%N%"}}', ["Ann"]),
        ('{OR: [{firstName: {eq: "Bo"}}, {age: {gte: 30}}]}', ["Ann", "Bo"]),
        ("{NOT: {age: {gte: 30}}}", ["Bo"]),
        ('{company: {name: {eq: "B"}}}', ["Cy"]),
        ("{deals: {none: {}}}", ["Cy"]),
        ("{deals: {every: {amount: {gt: 5}}}}", ["Ann", "Cy"]),
    ],
)
def test_conditions(crm: Crm, where: str, names: list[str]) -> None:
    query = f"{{contacts(where: {where}, orderBy: {{firstName: ASC}}) {{nodes {{firstName}} totalCount}}}}"
    found = crm.typed.data(query)["contacts"]
    assert [node["firstName"] for node in found["nodes"]] == names
    assert found["totalCount"] == len(names)


def test_conditions_in_variables_are_the_same_conditions(crm: Crm) -> None:
    query = "query($w: ContactWhere, $o: [ContactOrderBy!]) {contacts(where: $w, orderBy: $o) {nodes {firstName}}}"

    def names(where: object, order: object = None) -> list[str]:
        found = crm.typed.data(query, w=where, o=order or [{"firstName": "ASC"}])
        return [node["firstName"] for node in found["contacts"]["nodes"]]

    assert names(None) == ["Ann", "Bo", "Cy"]
    assert names({"age": {"gt": 20}}) == ["Ann"]
    assert names({"age": {"gt": 10}}) == ["Ann", "Bo"]  # the plan of the one before, with another operand
    assert names({"age": {"lt": 30}}) == ["Bo"]
    assert names({"company": {"name": {"in": ["A", "B"]}}}, [{"company": {"name": "DESC"}}, {"age": "ASC"}]) == [
        "Cy",
        "Bo",
        "Ann",
    ]


def test_a_pattern_may_come_in_a_variable(crm: Crm) -> None:
    query = "query($p: String, $w: [ContactWhere!]) {contacts(where: {firstName: {like: $p}, OR: $w}) {totalCount}}"
    assert crm.typed.data(query, p="%n", w=[{"firstName": {"ilike": "AN%"}}]) == {"contacts": {"totalCount": 1}}
    assert crm.typed.data(query, p="B_") == {"contacts": {"totalCount": 1}}
    told = ("INVALID_INPUT", "where.firstName.like must not end with a \\ that stands for nothing")
    assert crm.typed.error(query, p="\\") == told
    assert crm.typed.error('{contacts(where: {firstName: {like: "\\\\"}}) {totalCount}}') == told


def test_a_list_may_hold_variables(crm: Crm) -> None:
    query = """query($n: String!, $i: BigInt!) {
    contacts(where: {firstName: {in: [$n, "Bo"]}}, orderBy: {firstName: ASC}) {
      edges {node {firstName}} groups(by: {age: true}, having: {count: {in: [$i]}}) {key {age}}
    }}"""

    def found(name: str, times: int) -> tuple[list[str], int]:
        listed = crm.typed.data(query, n=name, i=times)["contacts"]
        return [edge["node"]["firstName"] for edge in listed["edges"]], len(listed["groups"])

    assert found("Ann", 1) == (["Ann", "Bo"], 2)
    assert found("Cy", 2) == (["Bo", "Cy"], 0)


def test_nulls_are_where_they_are_wanted(crm: Crm) -> None:
    def names(order: str) -> list[str]:
        found = crm.typed.data(f"{{contacts(orderBy: {{age: {order}}}) {{nodes {{firstName}}}}}}")
        return [node["firstName"] for node in found["contacts"]["nodes"]]

    assert names("ASC") == ["Bo", "Ann", "Cy"]
    assert names("ASC_NULLS_FIRST") == ["Cy", "Bo", "Ann"]
    assert names("DESC") == ["Cy", "Ann", "Bo"]
    assert names("DESC_NULLS_LAST") == ["Ann", "Bo", "Cy"]


PAGE = """query($first: Int!, $after: String) {
  contacts(first: $first, after: $after, orderBy: {age: ASC}) {
    edges { cursor node { firstName } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } totalCount
  }
}"""


def test_pages_by_cursor_hold_every_record_once(crm: Crm) -> None:
    names, after, pages = [], None, 0
    while True:
        page = crm.typed.data(PAGE, first=2, after=after)["contacts"]
        assert page["totalCount"] == 3
        assert page["pageInfo"]["hasPreviousPage"] is (after is not None)
        assert page["pageInfo"]["startCursor"] == page["edges"][0]["cursor"]
        assert page["pageInfo"]["endCursor"] == page["edges"][-1]["cursor"]
        names += [edge["node"]["firstName"] for edge in page["edges"]]
        after, pages = page["pageInfo"]["endCursor"], pages + 1
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert (names, pages) == (["Bo", "Ann", "Cy"], 2)


def test_a_cursor_is_good_for_its_own_list_only(crm: Crm) -> None:
    cursor = crm.typed.data(PAGE, first=1)["contacts"]["edges"][0]["cursor"]
    other = "query($after: String) {contacts(after: $after, orderBy: {age: DESC}) {nodes {id}}}"
    assert crm.typed.error(other, after=cursor) == ("INVALID_INPUT", "not a cursor of this list")
    forged = cursor[:-3] + ("AAA" if not cursor.endswith("AAA") else "BBB")
    assert crm.typed.error(PAGE, first=1, after=forged) == ("INVALID_INPUT", "not a cursor of this list")


def test_fragments_directives_and_aliases(crm: Crm) -> None:
    query = """query($with: Boolean!, $id: ID!) {
      a: contact(id: $id) { ...Name age @include(if: $with) }
      b: contact(id: $id) { ...Name ... on Contact { age @skip(if: $with) } }
    }
    fragment Name on Contact { n: firstName }"""
    assert crm.typed.data(query, id=crm.ids["Bo"], **{"with": True}) == {"a": {"n": "Bo", "age": 20}, "b": {"n": "Bo"}}
    assert crm.typed.data(query, id=crm.ids["Bo"], **{"with": False}) == {"a": {"n": "Bo"}, "b": {"n": "Bo", "age": 20}}


def test_what_cannot_be_asked_is_said_so(crm: Crm) -> None:
    assert crm.typed.error("{contacts {nodes {shoeSize}}}") == (
        "INVALID_INPUT",
        "Cannot query field 'shoeSize' on type 'Contact'.",
    )
    assert crm.typed.error("{contacts(first: 0) {nodes {id}}}")[0] == "INVALID_INPUT"
    assert crm.typed.error('{contacts(where: {age: {gt: "x"}}) {nodes {id}}}')[0] == "INVALID_INPUT"
    code, message = crm.typed.error("query($n: Int!) {contacts(first: $n) {nodes {a: id b: id c: id}}}", n=10**6)
    assert (code, message.startswith("the document is too complex: cost 4")) == ("QUERY_TOO_COMPLEX", True)


def test_orders_and_relations_are_bounded(admin: Person, crm: Crm) -> None:
    ordered = "query($o: [ContactOrderBy!]) {contacts(orderBy: $o) {edges {cursor}}}"
    assert len(crm.typed.data(ordered, o=[{"age": "ASC"}] * 16)["contacts"]["edges"]) == 3
    assert crm.typed.error(ordered, o=[{"age": "ASC"}] * 17) == (
        "INVALID_INPUT",
        "orderBy must name at most 16 fields",
    )
    grouped = "query($o: [ContactGroupOrder!]) {contacts {groups(by: {age: true}, orderBy: $o) {key {age}}}}"
    assert crm.typed.error(grouped, o=[{"count": "ASC"}] * 17)[1] == "orderBy must name at most 16 fields"
    related = "query($w: [ContactWhere!]) {contacts(where: {OR: $w}) {totalCount}}"
    assert crm.typed.error(related, w=[{"company": {}}] * 501)[1] == "where has more than 500 conditions"

    folders = Typed.of(build.app(admin, entity("folders", field("name"), link("within_id", "folders"))))
    through = "{folders(orderBy: %s) {totalCount}}"
    order = "{name: ASC}"
    for _ in range(6):
        order = f"{{within: {order}}}"
    assert folders.data(through % order) == {"folders": {"totalCount": 0}}
    assert folders.error(through % f"{{within: {order}}}") == (
        "INVALID_INPUT",
        "orderBy.0.within.within.within.within.within.within leads through more than 6 links",
    )


def test_who_may_see_nothing_sees_no_types(stoa: Stoa, admin: Person, crm: Crm) -> None:
    guest = stoa.person()
    assert crm.typed.as_(guest).error("{contacts {nodes {id}}}") == (
        "INVALID_INPUT",
        "Cannot query field 'contacts' on type 'Query'.",
    )
    reader = build.reader(stoa, admin, f"app:{crm.app.app_id}:contacts.read")
    typed = crm.typed.as_(reader)
    assert len(typed.data("{contacts {nodes {firstName}}}")["contacts"]["nodes"]) == 3
    assert typed.error("{contacts {nodes {company {name}}}}")[1].startswith("Cannot query field 'company'")
    assert "Company" not in typed.person.client.get(f"/graphql/{crm.app.app_id}/schema.graphql").text


def test_the_schema_can_be_downloaded_and_asked(crm: Crm) -> None:
    sdl = crm.typed.person.client.get(f"/graphql/{crm.app.app_id}/schema.graphql")
    assert (sdl.status_code, sdl.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert '"""As on the door"""\n  name: String!' in sdl.text
    assert "deals(" in sdl.text
    asked = crm.typed.data('{__type(name: "Company") {fields {name description}}}')
    assert {"name": "name", "description": "As on the door"} in asked["__type"]["fields"]


def test_what_is_asked_about_the_schema_goes_with_other_fields(crm: Crm) -> None:
    query = """query($t: String = "Deal", $with: Boolean = true) {
      ...About @include(if: $with) companies(where: {name: {eq: "A"}}) { nodes { name } } __typename
      ... on Query { a: __type(name: $t) { name } }
    }
    fragment About on Query { __schema { queryType { name } } b: __type(name: "Nothing") { name } }"""
    companies = {"nodes": [{"name": "A"}]}
    assert crm.typed.data(query) == {
        "__schema": {"queryType": {"name": "Query"}},
        "b": None,
        "companies": companies,
        "__typename": "Query",
        "a": {"name": "Deal"},
    }
    told = crm.typed.data(query, t="Contact", **{"with": False})
    assert told == {"companies": companies, "__typename": "Query", "a": {"name": "Contact"}}


def test_the_schema_is_one_that_clients_can_be_made_from(stoa: Stoa, admin: Person, crm: Crm) -> None:
    reader = build.reader(stoa, admin, f"app:{crm.app.app_id}:companies.read")
    for person in (admin, reader):
        sdl = person.client.get(f"/graphql/{crm.app.app_id}/schema.graphql").text
        assert validate_schema(build_schema(sdl)) == []


def test_where_no_field_may_be_set_there_is_nothing_to_set_it_with(stoa: Stoa, admin: Person) -> None:
    looking = {"name": "looking", "can": ["create", "read", "update", "delete"], "readOnly": ["code", "weight"]}
    filing = {"name": "filing", "can": ["read", "update"], "readOnly": ["code"]}
    fields = (build.field("code", unique=True), build.field("weight", "number"))
    app = build.app(admin, build.entity("parcels", *fields, policies=[looking, filing]), dialect="stoa")

    def schema_for(*keys: str) -> GraphQLSchema:
        person = build.reader(stoa, admin, *(f"app:{app.app_id}:parcels.{key}" for key in keys))
        schema = build_schema(person.client.get(f"/graphql/{app.app_id}/schema.graphql").text)
        assert validate_schema(schema) == []
        return schema

    verbs = ("create", "read", "update", "delete")
    closed = schema_for(*(f"{verb}:looking" for verb in verbs))
    assert closed.mutation_type is not None
    assert sorted(closed.mutation_type.fields) == ["deleteParcel", "deleteParcelByCode", "deleteParcels"]
    assert not {"ParcelCreate", "ParcelUpdate", "ParcelKey"} & set(closed.type_map)
    assert schema_for("read:looking", "update:looking").mutation_type is None
    filed = schema_for("read:filing", "update:filing")
    assert list(filed.type_map["ParcelUpdate"].fields) == ["weight"]  # type: ignore[attr-defined]
    assert len(schema_for(*verbs).mutation_type.fields) == 9  # type: ignore[union-attr]


def test_doors_that_are_closed(stoa: Stoa, crm: Crm) -> None:
    anonymous = stoa.client()
    answer = anonymous.post(f"/graphql/{crm.app.app_id}", json={"query": "{contacts {nodes {id}}}"})
    assert answer.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    assert anonymous.get(f"/graphql/{crm.app.app_id}/schema.graphql").status_code == 401
    there_is_none = Typed(crm.typed.person, "nothing-here").post("{__typename}")
    assert there_is_none.status_code == 404
    assert there_is_none.json()["errors"][0]["message"] == "app 'nothing-here' not found"


def test_a_changed_declaration_is_seen_at_once(admin: Person) -> None:
    app = build.app(admin, entity("things", field("name")))
    typed = Typed.of(app)
    app.create("things", name="one")
    assert typed.data("{things {nodes {name}}}") == {"things": {"nodes": [{"name": "one"}]}}
    changed = build.manifest(entity("things", field("name"), field("size", "number")), app_id=app.app_id)
    admin.client.post("/api/v1/apps", json=changed).raise_for_status()
    assert typed.data("{things {nodes {name size}}}") == {"things": {"nodes": [{"name": "one", "size": None}]}}
