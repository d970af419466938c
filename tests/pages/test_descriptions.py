"""Where the descriptions are, and what of them a list of routes shows."""

from graphql import OperationDefinitionNode, build_schema, parse, validate

from infra.app import STATIC
from infra.systems import SYSTEMS
from tests import build
from tests.harness import Person, Stoa

WELCOME = (STATIC / "site" / "welcome.graphql").read_text()


def test_the_catalog_lists_every_description_and_page(stoa: Stoa) -> None:
    answer = stoa.client().get("/.well-known/api-catalog")
    assert answer.headers["content-type"].startswith("application/linkset+json")
    [links] = answer.json()["linkset"]
    described = {link["href"]: link["title"] for link in links["service-desc"]}
    assert described == {"/openapi.json": "All systems"} | {
        f"/openapi/{system.name}.json": system.title for system in SYSTEMS
    }
    for link in [*links["service-desc"], *links["service-doc"], *links["status"]]:
        found = stoa.client().get(link["href"], headers={"accept": link["type"]})
        assert (found.status_code, found.headers["content-type"].partition(";")[0]) == (200, link["type"])


def test_a_summary_is_the_first_sentence_and_a_description_says_more(stoa: Stoa) -> None:
    paths = stoa.client().get("/openapi/rootcx.json").json()["paths"]
    listing = paths["/api/v1/apps/{appId}/collections/{entity}"]["get"]
    assert listing["summary"] == "The records of an entity, newest first, as a bare array."
    assert listing["description"].startswith(listing["summary"])
    login = paths["/api/v1/auth/login"]["post"]
    assert login["summary"] == "Open a session with a user name or an e-mail address, and the password."
    assert "description" not in login


def test_the_welcome_document_fits_the_schema_and_runs(admin: Person) -> None:
    document = parse(WELCOME)
    schema = build_schema((STATIC.parents[1] / "schema.graphql").read_text(), assume_valid=True)
    assert validate(schema, document) == []
    names = [node.name.value for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    assert names == ["Welcome", "Records", "Changes"]

    app = build.app(admin, build.entity("contacts", build.field("name")), app_id="crm", version="1.0.0")
    made = app.create("contacts", name="Ada")
    answers = {
        name: admin.client.post("/graphql", json={"query": WELCOME, "operationName": name}).json()["data"]
        for name in ("Welcome", "Records")
    }
    assert answers["Welcome"] == {
        "me": {"username": "admin", "displayName": None},
        "apps": [{"id": "crm", "name": "Crm", "version": "1.0.0", "entities": ["contacts"]}],
    }
    assert answers["Records"]["records"]["nodes"] == [made]
