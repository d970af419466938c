"""Installing apps: again, at the same time, while others read, and failing."""

import threading
import time
from copy import deepcopy
from typing import Any

import pytest

from domain.apps.manifest import parse_manifest
from tests import build
from tests.build import Collections
from tests.harness import Person, Stoa, at_once


def install(person: Person, manifest: dict[str, Any]) -> int:
    """Install a manifest. Returns the status."""
    return person.client.post("/api/v1/apps", json=manifest).status_code


def catalogue(stoa: Stoa, app_id: str) -> list[dict[str, Any]]:
    """Everything the database has of an app's schema; any DDL on it shows as another row version."""
    return stoa.sql(
        "SELECT 'table' AS kind, c.relname::text AS name, c.xmin::text FROM pg_class c "
        "JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = $1 "
        "UNION ALL SELECT 'column', c.relname || '.' || a.attname, a.xmin::text FROM pg_attribute a "
        "JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = $1 "
        "UNION ALL SELECT 'constraint', k.conname, k.xmin::text FROM pg_constraint k "
        "JOIN pg_namespace n ON n.oid = k.connamespace AND n.nspname = $1 ORDER BY 1, 2",
        app_id,
    )


def test_the_same_manifest_again_runs_no_ddl_and_keeps_the_revision(
    admin: Person, stoa: Stoa, crm_manifest: dict[str, Any]
) -> None:
    manifest = {**crm_manifest, "appId": "crm_again"}
    assert install(admin, manifest) == 200
    before = catalogue(stoa, "crm_again")
    assert len(before) > 100
    row = stoa.sql("SELECT * FROM stoa.apps WHERE id = 'crm_again'")
    done = admin.data(
        "mutation($m: JSONObject!) { installApp(manifest: $m) { created changes { change } } }", m=manifest
    )
    assert done["installApp"] == {"created": False, "changes": []}
    assert catalogue(stoa, "crm_again") == before
    assert stoa.sql("SELECT * FROM stoa.apps WHERE id = 'crm_again'") == row


def test_a_changed_manifest_raises_the_revision(admin: Person, stoa: Stoa) -> None:
    manifest = build.manifest(build.entity("parcels"))
    assert install(admin, manifest) == 200
    assert install(admin, {**manifest, "version": "2.0.0"}) == 200
    (row,) = stoa.sql("SELECT version, revision FROM stoa.apps WHERE id = $1", manifest["appId"])
    assert row == {"version": "2.0.0", "revision": 2}


def test_the_crm_is_installed_whole(admin: Person, stoa: Stoa, crm_manifest: dict[str, Any]) -> None:
    assert install(admin, crm_manifest) == 200
    app = Collections(admin, "crm")
    names = [entity["entityName"] for entity in crm_manifest["dataContract"]]
    told = admin.client.get("/api/v1/apps/crm").json()
    assert [entity["entityName"] for entity in told["dataContract"]] == names
    for entity in parse_manifest(crm_manifest).types:
        columns = stoa.sql(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = 'crm' AND table_name = $1 "
            "ORDER BY ordinal_position",
            entity.name,
        )
        assert [row["column_name"] for row in columns] == list(entity.columns)
        assert app.query(entity.name) == {"data": [], "total": 0}
    keys = {row["key"] for row in admin.client.get("/api/v1/apps/crm/permissions/available").json()}
    assert {f"{name}.{verb}" for name in names for verb in ("create", "read", "update", "delete")} <= keys
    assert {"contacts.write", "cron.read", "cron.write", "cron.trigger", "invoke"} <= keys
    company = app.create("companies", name="Atelier", industry="Retail")
    contact = app.create("contacts", first_name="Kim", last_name="Lee", company_id=company["id"], status="Lead")
    deal = app.create("deals", title="Big", stage="Lead", value=10.5, contact_id=contact["id"])
    app.create("deal_contacts", deal_id=deal["id"], contact_id=contact["id"])
    app.create("notes", title="First", company_id=company["id"])
    wrong = admin.client.post(app.path("contacts"), json={"first_name": "a", "last_name": "b", "status": "Foe"})
    assert (wrong.status_code, wrong.json()["field"]) == (400, "status")
    assert admin.client.delete(app.path("companies", company["id"])).status_code == 200
    assert admin.client.get(app.path("contacts", contact["id"])).json()["company_id"] is None
    assert app.query("notes")["total"] == 0
    assert admin.client.delete(app.path("deals", deal["id"])).status_code == 200
    assert app.query("deal_contacts")["total"] == 0


def test_a_failed_install_leaves_nothing_behind(admin: Person, stoa: Stoa) -> None:
    good = build.entity("parcels", build.field("code"))
    bad = build.entity("broken", build.field("code"), checks=[{"name": "odd", "expr": "code + 1 > 0"}])
    manifest = build.manifest(good, bad, permissions={"permissions": [{"key": "print"}]})
    answer = admin.client.post("/api/v1/apps", json=manifest)
    assert answer.status_code == 400
    assert "odd" in answer.json()["error"]
    app_id = manifest["appId"]
    assert catalogue(stoa, app_id) == []
    for table, column in (("apps", "id"), ("permission_keys", "app_id")):
        assert stoa.sql(f"SELECT * FROM stoa.{table} WHERE {column} = $1", app_id) == []
    assert stoa.sql("SELECT * FROM stoa.roles WHERE name = $1", f"app:{app_id}:admin") == []
    assert admin.client.get(f"/api/v1/apps/{app_id}").status_code == 404
    assert install(admin, build.manifest(good, app_id=app_id)) == 200


@pytest.mark.parametrize("app_id", ["core", "stoa", "rootcx_system", "information_schema", "pg_catalog", "pg_mine"])
def test_a_reserved_id_is_400(admin: Person, app_id: str) -> None:
    answer = admin.client.post("/api/v1/apps", json=build.manifest(build.entity("parcels"), app_id=app_id))
    assert (answer.status_code, answer.json()["field"]) == (400, "appId")


def test_an_app_may_be_called_public_and_stays_out_of_that_schema(admin: Person, stoa: Stoa) -> None:
    app = build.app(admin, build.entity("parcels", build.field("code")), app_id="public")
    app.create("parcels", code="a")
    assert stoa.sql("SELECT to_regclass('public.parcels') AS there") == [{"there": None}]


def test_a_schema_that_is_there_already_is_nobodys_app(admin: Person, stoa: Stoa) -> None:
    stoa.sql("CREATE SCHEMA warehouse")
    stoa.sql("CREATE TABLE warehouse.parcels (code text)")
    answer = admin.client.post("/api/v1/apps", json=build.manifest(build.entity("parcels"), app_id="warehouse"))
    assert (answer.status_code, answer.json()["field"]) == (400, "appId")
    assert len(catalogue(stoa, "warehouse")) > 0
    assert admin.client.delete("/api/v1/apps/warehouse").status_code == 200
    assert stoa.sql("SELECT to_regclass('warehouse.parcels')::text AS there") == [{"there": "warehouse.parcels"}]


def test_whoever_may_create_apps_may_change_their_own_only(admin: Person, stoa: Stoa) -> None:
    theirs = build.manifest(build.entity("parcels", build.field("code")))
    assert install(admin, theirs) == 200
    guest, maker = stoa.person(), build.reader(stoa, admin, "platform:apps.create")
    answer = guest.client.post("/api/v1/apps", json={"not": "even a manifest"})
    assert answer.status_code == 403
    assert "permission denied: admin:apps.install" in answer.json()["error"]
    mine = build.manifest(build.entity("parcels"))
    assert install(maker, mine) == 200
    assert install(maker, {**mine, "version": "2"}) == 200
    assert Collections(maker, mine["appId"]).create_many is not None
    assert install(maker, {**theirs, "dataContract": []}) == 403
    assert maker.client.get(f"/api/v1/apps/{theirs['appId']}/collections/parcels").status_code == 403
    assert admin.client.get(f"/api/v1/apps/{theirs['appId']}/collections/parcels").status_code == 200
    assert maker.client.delete(f"/api/v1/apps/{mine['appId']}").status_code == 403


def test_while_nobody_rules_whoever_installs_first_does(fresh: Stoa) -> None:
    first, second = fresh.person("first"), fresh.person("second")
    fresh.sql("DELETE FROM stoa.role_assignments")
    manifest = build.manifest(build.entity("parcels"))
    time.sleep(1.1)  # by hand: nobody was told, so what is known of the callers has to run out
    assert install(second, {**manifest, "appId": "Not An Id"}) == 400
    assert fresh.sql("SELECT * FROM stoa.role_assignments") == []
    assert install(second, manifest) == 200
    assert set(second.client.get("/api/v1/permissions").json()["roles"]) == {"admin", f"app:{manifest['appId']}:admin"}
    assert install(first, build.manifest()) == 403


def test_installs_of_one_app_at_once_wait_for_each_other(admin: Person, stoa: Stoa) -> None:
    manifest = build.manifest(build.entity("parcels", build.field("code")))
    wider = [
        {**manifest, "dataContract": [build.entity("parcels", build.field("code"), build.field(f"extra_{n}"))]}
        for n in range(8)
    ]
    statuses = at_once([lambda m=m: install(admin, m) for m in wider])
    assert statuses == [200] * 8
    (row,) = stoa.sql("SELECT manifest, revision FROM stoa.apps WHERE id = $1", manifest["appId"])
    assert row["revision"] == 8
    columns = stoa.sql("SELECT column_name FROM information_schema.columns WHERE table_schema = $1", manifest["appId"])
    (declared,) = admin.client.get(f"/api/v1/apps/{manifest['appId']}").json()["dataContract"]
    wanted = {field["name"] for field in declared["fields"]} | {"id", "created_at", "updated_at"}
    assert {row["column_name"] for row in columns} == wanted


def test_the_same_first_install_at_once_makes_one_app(admin: Person, stoa: Stoa) -> None:
    manifest = build.manifest(build.entity("parcels", build.field("code")))
    done = at_once(
        [
            lambda: admin.data(
                "mutation($m: JSONObject!) { installApp(manifest: $m) { created } }", m=deepcopy(manifest)
            )["installApp"]["created"]
            for _ in range(6)
        ]
    )
    assert sorted(done) == [False] * 5 + [True]


def test_readers_and_writers_go_on_while_an_app_changes(admin: Person, stoa: Stoa) -> None:
    app = build.app(admin, build.entity("parcels", build.field("code"), build.field("value", "number")))
    app.create_many("parcels", [{"code": str(n), "value": n} for n in range(50)])
    done = threading.Event()
    reads: list[int] = []
    writes: list[tuple[int, str]] = []

    def use(number: int) -> None:
        person = stoa.signed_in("admin")
        while not done.is_set():
            reads.append(person.client.get(app.path("parcels"), params={"code": "1"}).status_code)
            asked = person.client.post(app.path("parcels", "query"), json={"where": {"code": {"$gt": "2"}}})
            reads.append(asked.status_code)
            made = person.client.post(app.path("parcels"), json={"code": f"w{number}"})
            writes.append((made.status_code, made.text))

    threads = [threading.Thread(target=use, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    try:
        for n in range(6):
            fields = [build.field("code"), build.field("value", "number" if n % 2 else "text"), build.field(f"new_{n}")]
            assert install(admin, build.manifest(build.entity("parcels", *fields), app_id=app.app_id)) == 200
            # What was answered holds at once: the new field is there, and the one before is not.
            assert app.create("parcels", code="new", **{f"new_{n}": "x"})[f"new_{n}"] == "x"
            assert admin.client.post(app.path("parcels"), json={f"new_{n - 1}": "x"}).status_code == 400
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert len(reads) > 20
    assert set(reads) == {200}
    # A write whose declaration changed between looking it up and using it says so, and did nothing.
    assert {status for status, _ in writes} <= {201, 503}
    assert all("has just changed" in text for status, text in writes if status == 503)
    assert sum(status == 201 for status, _ in writes) > len(writes) / 2


def test_an_app_that_went_and_came_back_is_read_anew(admin: Person) -> None:
    old = build.app(admin, build.entity("parcels", build.field("code")))
    old.create("parcels", code="a")
    for field in ("name", "code", "title"):
        assert admin.client.delete(f"/api/v1/apps/{old.app_id}").status_code == 200
        assert admin.client.get(old.path("parcels")).status_code == 404
        app = build.app(admin, build.entity("parcels", build.field(field)), app_id=old.app_id)
        assert list(app.create("parcels", **{field: "x"})) == ["id", field, "created_at", "updated_at"]


def test_an_uninstall_takes_the_tables_and_keeps_the_audit_and_the_roles(admin: Person, stoa: Stoa) -> None:
    app = build.app(admin, build.entity("parcels", build.field("code")))
    app.create("parcels", code="a")
    build.grant(admin, admin, f"app:{app.app_id}:parcels.read")
    assert admin.client.delete(f"/api/v1/apps/{app.app_id}").status_code == 200
    assert catalogue(stoa, app.app_id) == []
    assert stoa.sql("SELECT nspname FROM pg_namespace WHERE nspname = $1", app.app_id) == []
    assert len(stoa.sql("SELECT id FROM stoa.audit_log WHERE app_id = $1", app.app_id)) == 1
    assert len(stoa.sql("SELECT name FROM stoa.roles WHERE name = $1", f"app:{app.app_id}:admin")) == 1


@pytest.mark.parametrize("app_id", ["pg_catalog", "stoa", "core", "information_schema"])
def test_what_belongs_to_the_system_cannot_be_uninstalled(admin: Person, stoa: Stoa, app_id: str) -> None:
    assert admin.client.delete(f"/api/v1/apps/{app_id}").status_code == 403
    assert stoa.sql("SELECT count(*) AS n FROM stoa.users")[0]["n"] > 0


def test_apps_are_listed_by_name_and_kind(admin: Person, stoa: Stoa) -> None:
    for kind, name in (("agent", "Zeta listed"), ("integration", "Alpha listed"), ("app", "Midway listed")):
        manifest = build.manifest(type=kind, name=name)
        manifest["name"] = name
        assert install(admin, manifest) == 200

    def names(**params: str) -> list[str]:
        rows = stoa.person().client.get("/api/v1/apps", params=params).json()
        return [row["name"] for row in rows if row["name"].endswith("listed")]

    assert names() == ["Alpha listed", "Midway listed", "Zeta listed"]
    assert names(type="agent") == ["Zeta listed"]
    assert names(type="wombat") == names()


def test_an_app_without_entities_makes_no_schema(admin: Person, stoa: Stoa) -> None:
    manifest = build.manifest()
    assert install(admin, manifest) == 200
    assert stoa.sql("SELECT nspname FROM pg_namespace WHERE nspname = $1", manifest["appId"]) == []
    assert admin.client.get(f"/api/v1/apps/{manifest['appId']}").json()["dataContract"] == []
    assert admin.client.delete(f"/api/v1/apps/{manifest['appId']}").status_code == 200
