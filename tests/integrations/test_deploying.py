"""The catalog, deploying what is in it, and taking it away."""

import json
from pathlib import Path
from typing import Any

import pytest

from domain.integrations.definition import parse_definition
from domain.kernel.errors import Invalid
from tests import build
from tests.harness import Person, Stoa
from tests.integrations import catalog
from tests.integrations.people import configured, connected, deployed, run, user_of
from tests.integrations.service import Service


def test_the_catalog_lists_what_is_in_its_folder_and_what_stoa_brings(
    admin: Person, folder: Path, service: Service
) -> None:
    (folder / "broken").mkdir()
    (folder / "broken" / "manifest.json").write_text("{")
    (folder / "wrong").mkdir()
    (folder / "wrong" / "manifest.json").write_text(json.dumps({"appId": "Wrong", "name": "x"}))
    (folder / "stray.txt").write_text("x")
    listed = admin.client.get("/api/v1/integrations/catalog").json()
    assert [row["id"] for row in listed] == ["http", "keyed", "parcelnet", "slack"]
    found = listed[2]
    assert set(found) == {
        "id", "name", "version", "description", "actions", "configSchema", "userAuth", "webhooks", "instructions",
    }  # fmt: skip
    assert found["configSchema"] == catalog.SECRETS
    assert found["userAuth"]["tokenUrl"] == f"{service.url}/token"
    assert found["webhooks"] == [{"name": "parcel-moved", "method": "POST"}]
    assert [action["id"] for action in found["actions"]] == ["find", "send", "label", "open", "slackish"]
    assert "request" not in found["actions"][0]
    assert found["actions"][0]["inputSchema"]["required"] == ["id"]


def test_deploying_makes_an_app_with_permissions_and_keeps_its_token(stoa: Stoa, admin: Person) -> None:
    token = deployed(admin, "parcelnet")
    assert len(token) == 43
    assert deployed(admin, "parcelnet") == token
    (row,) = [app for app in admin.client.get("/api/v1/apps").json() if app["id"] == "parcelnet"]
    assert row["type"] == "integration"
    keys = {row["key"] for row in admin.client.get("/api/v1/permissions/available").json()}
    assert {"integration:parcelnet:find", "integration:parcelnet:manage"} <= keys
    found = {row["id"]: row for row in admin.client.get("/api/v1/integrations").json()}
    assert found["parcelnet"]["configured"] is False
    stored = stoa.sql("SELECT webhook_hash FROM stoa.integrations WHERE id = 'parcelnet'")
    assert token.encode() not in stored[0]["webhook_hash"]


def test_only_those_who_install_apps_deploy(stoa: Stoa, admin: Person) -> None:
    plain = stoa.person()
    assert plain.client.post("/api/v1/integrations/catalog/http/deploy").status_code == 403
    assert plain.client.delete("/api/v1/integrations/catalog/http").status_code == 403
    assert plain.client.get("/api/v1/integrations/catalog").status_code == 200
    installer = build.reader(stoa, admin, "admin:apps.install")
    assert installer.client.post("/api/v1/integrations/catalog/http/deploy").status_code == 200
    assert admin.client.post("/api/v1/integrations/catalog/nothing/deploy").status_code == 404
    assert admin.client.post("/api/v1/integrations/catalog/..%2F..%2Fetc/deploy").status_code == 404
    assert stoa.client().get("/api/v1/integrations").status_code == 401


def test_an_app_of_the_same_id_is_left_alone(stoa: Stoa, admin: Person, folder: Path) -> None:
    app = build.app(admin, build.entity("things", build.field("name")), app_id="taken")
    app.create("things", name="kept")
    catalog.put(folder, {"appId": "taken", "name": "Taken", "actions": []})
    refused = admin.client.post("/api/v1/integrations/catalog/taken/deploy")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert [row["name"] for row in app.query("things")["data"]] == ["kept"]
    assert admin.client.delete("/api/v1/integrations/catalog/taken").status_code == 200
    assert len(app.query("things")["data"]) == 1


def test_what_is_deployed_stays_as_it_was_until_it_is_deployed_again(
    stoa: Stoa, admin: Person, folder: Path, service: Service
) -> None:
    definition = {"appId": "moving", "name": "Moving", "actions": [catalog.action("go", {"url": f"{service.url}/a"})]}
    catalog.put(folder, definition)
    deployed(admin, "moving")
    definition["actions"] = [catalog.action("go", {"url": f"{service.url}/b"}), catalog.action("stop")]
    catalog.put(folder, {**definition, "version": "2"})
    assert run(admin, "moving", "go").json()["data"]["path"] == "/a"
    deployed(admin, "moving")
    assert run(admin, "moving", "go").json()["data"]["path"] == "/b"
    (row,) = [row for row in admin.client.get("/api/v1/integrations").json() if row["id"] == "moving"]
    assert (row["version"], row["configured"]) == ("2", True)


def test_taking_it_away_leaves_nothing(stoa: Stoa, admin: Person, service: Service) -> None:
    configured(admin, "parcelnet")
    person = user_of(stoa, admin, "parcelnet", "find")
    connected(stoa, service, person, "parcelnet")
    app = build.app(admin, build.entity("things")).app_id
    assert person.client.post(f"/api/v1/apps/{app}/integrations", json={"integrationId": "parcelnet", "scope": "user"})
    path = "/api/v1/integrations/parcelnet/configs"
    assert admin.client.post(path, json={"label": "a", "credentials": {"clientId": "x"}}).status_code == 200
    for _ in range(2):
        gone = admin.client.delete("/api/v1/integrations/catalog/parcelnet")
        assert (gone.status_code, gone.json()) == (200, {"message": "integration 'parcelnet' removed"})
    for table in ("integrations", "integration_connections", "integration_configs", "integration_bindings"):
        column = "id" if table == "integrations" else "integration_id"
        assert stoa.sql(f"SELECT 1 FROM stoa.{table} WHERE {column} = 'parcelnet'") == [], table
    left = stoa.sql("SELECT scope, key FROM stoa.secrets WHERE scope LIKE 'integration%' OR key LIKE 'PARCELNET%'")
    assert [row for row in left if "http" not in row["scope"] and "moving" not in row["scope"]] == []
    assert [row for row in admin.client.get("/api/v1/permissions/available").json() if "parcelnet" in row["key"]] == []
    assert "parcelnet" not in {row["id"] for row in admin.client.get("/api/v1/integrations").json()}
    assert run(person, "parcelnet", "find", {"id": "p"}).status_code == 404
    deployed(admin, "parcelnet")
    assert run(person, "parcelnet", "find", {"id": "p"}).status_code == 409


def test_uninstalling_the_app_takes_its_connections_along(stoa: Stoa, admin: Person, service: Service) -> None:
    configured(admin, "parcelnet")
    person = user_of(stoa, admin, "parcelnet")
    connected(stoa, service, person, "parcelnet")
    assert admin.client.delete("/api/v1/apps/parcelnet").status_code == 200
    assert stoa.sql("SELECT 1 FROM stoa.integration_connections WHERE integration_id = 'parcelnet'") == []
    assert stoa.sql("SELECT 1 FROM stoa.secrets WHERE scope LIKE 'integration_connection:%'") == []


def test_secrets_that_another_integration_needs_stay(stoa: Stoa, admin: Person, folder: Path) -> None:
    schema = {"properties": {"key": {"platformSecret": "SHARED_KEY"}}}
    for id in ("first", "second"):
        catalog.put(folder, {"appId": id, "name": id, "configSchema": schema, "actions": []})
        deployed(admin, id)
    admin.client.put("/api/v1/integrations/first/config", json={"key": "k"})
    states = {row["id"]: row["configured"] for row in admin.client.get("/api/v1/integrations").json()}
    assert (states["first"], states["second"]) == (True, True)
    admin.client.delete("/api/v1/integrations/catalog/first")
    assert "SHARED_KEY" in admin.client.get("/api/v1/platform/secrets").json()
    admin.client.delete("/api/v1/integrations/catalog/second")
    assert "SHARED_KEY" not in admin.client.get("/api/v1/platform/secrets").json()


def test_an_integration_that_did_not_come_from_the_catalog_takes_no_secrets_along(stoa: Stoa, admin: Person) -> None:
    admin.client.post("/api/v1/platform/secrets", json={"key": "NOT_THEIRS", "value": "x"})
    schema = {"properties": {"a": {"platformSecret": "NOT_THEIRS"}}}
    declared = build.manifest(app_id="handmade", type="integration", configSchema=schema)
    assert admin.client.post("/api/v1/apps", json=declared).status_code == 200
    installer = build.reader(stoa, admin, "admin:apps.install")
    assert installer.client.delete("/api/v1/integrations/catalog/handmade").status_code == 200
    assert "handmade" not in {row["id"] for row in admin.client.get("/api/v1/integrations").json()}
    assert "NOT_THEIRS" in admin.client.get("/api/v1/platform/secrets").json()


def test_deleting_somebody_takes_their_connections_along(stoa: Stoa, admin: Person, service: Service) -> None:
    configured(admin, "parcelnet")
    person = user_of(stoa, admin, "parcelnet")
    connected(stoa, service, person, "parcelnet")
    assert admin.client.delete(f"/api/v1/users/{person.id}").status_code == 200
    assert stoa.sql("SELECT 1 FROM stoa.integration_connections WHERE user_id = $1::uuid", person.id) == []
    assert stoa.sql("SELECT 1 FROM stoa.secrets WHERE scope LIKE 'integration_connection:%'") == []


@pytest.mark.parametrize(
    ("schema", "set_keys", "expected"),
    [
        (None, [], True),
        ({"properties": {"a": {"type": "string"}}, "required": ["a"]}, [], True),
        ({"properties": {"a": {"platformSecret": "QA"}}}, [], False),
        ({"properties": {"a": {"platformSecret": "QA"}, "b": {"platformSecret": "QB"}}}, ["QB"], True),
        ({"properties": {"a": {"platformSecret": "QA"}, "b": {"platformSecret": "QB"}},
          "required": ["a"]}, ["QB"], False),
        ({"properties": {"a": {"platformSecret": "QA"}, "b": {}}, "required": ["a", "b"]}, ["QA"], True),
        ({"properties": {"a": {"platformSecret": "QA"}, "b": {"platformSecret": "QB"}},
          "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}, ["QB"], True),
        ({"properties": {"a": {"platformSecret": "QA"}, "b": {"platformSecret": "QB"}},
          "anyOf": [{"required": ["a", "b"]}]}, ["QB"], False),
    ],
)  # fmt: skip
def test_configured_is_told_by_the_secrets_that_are_required(
    stoa: Stoa, admin: Person, folder: Path, schema: Any, set_keys: list[str], expected: bool
) -> None:
    for key in ("QA", "QB"):
        admin.client.delete(f"/api/v1/platform/secrets/{key}")
    for key in set_keys:
        admin.client.post("/api/v1/platform/secrets", json={"key": key, "value": "x"})
    more = {} if schema is None else {"configSchema": schema}
    catalog.put(folder, {"appId": "asking", "name": "Asking", "actions": [], **more})
    deployed(admin, "asking")
    (row,) = [row for row in admin.client.get("/api/v1/integrations").json() if row["id"] == "asking"]
    assert row["configured"] is expected


def made(request: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"appId": "x", "name": "X", "actions": [catalog.action("a", request)], **more}


@pytest.mark.parametrize(
    ("definition", "field"),
    [
        ([], None),
        ({"name": "x"}, "appId"),
        (made(type="app"), "type"),
        (made({"url": "ftp://example.com"}), "actions.0.request.url"),
        (made({"url": "https://{{input.host}}/x"}), "actions.0.request.url"),
        (made({"url": "https://example.com{{input.more}}"}), "actions.0.request.url"),
        (made({"url": "{{credentials.url}}/x"}), "actions.0.request.url"),
        (made({"url": "https://example.com/{{secrets.x}}"}), "actions.0.request.url"),
        (made({"url": "https://example.com/{{input.x"}), "actions.0.request.url"),
        (made({"url": "https://a.example", "method": "TRACE"}), "actions.0.request.method"),
        (made({"url": "https://a.example", "headers": {"host": "b"}}), "actions.0.request.headers"),
        (made({"url": "https://a.example", "headers": {"a b": "c"}}), "actions.0.request.headers"),
        (made({"url": "https://a.example", "as": "xml"}), "actions.0.request.as"),
        (made({"url": "https://a.example", "as": "form", "body": [1]}), "actions.0.request.body"),
        (made({"url": "https://a.example", "body": {"x": "{{oops}}"}}), "actions.0.request.body"),
        (made(actions=[catalog.action("a"), catalog.action("a")]), "actions"),
        (made(configSchema={"properties": {"a": {"platformSecret": "no-dash"}}}), "configSchema"),
        (made(userAuth={"type": "oauth2", "tokenUrl": "https://a.example/t"}), "userAuth.authorizationUrl"),
        (made(userAuth={"type": "oauth2", "tokenUrl": "https://a.example/{{input.x}}", "authorizationUrl":
                        "https://a.example"}), "userAuth.tokenUrl"),
    ],
)  # fmt: skip
def test_a_definition_that_cannot_be_used_is_refused_by_the_part_that_is_wrong(definition: Any, field: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_definition(definition)
    assert refused.value.field == field
