"""Changes of a declaration in Stoa's own dialect: each kind shown before it is done, and done whole or not at all."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from domain.apps import changing
from tests import build
from tests.build import Collections
from tests.harness import Person, Stoa, at_once
from tests.infra.running import outcome

PLAN = """
query($m: JSONObject!) { planApp(manifest: $m) { app compliant changes { entity change column detail loses sql } } }
"""
INSTALL = """
mutation($m: JSONObject!, $lose: Boolean! = false) {
  installApp(manifest: $m, acceptLoss: $lose) { created changes { entity change column loses } }
}
"""


def declared(app: Collections, *entities: dict[str, Any]) -> dict[str, Any]:
    return build.manifest(*entities, app_id=app.app_id, dialect="stoa")


def parcels(*fields: dict[str, Any], **more: Any) -> dict[str, Any]:
    return build.entity("parcels", build.field("code"), *fields, **more)


def planned(app: Collections, *entities: dict[str, Any]) -> list[dict[str, Any]]:
    """The steps that a manifest of these entities would take."""
    steps: list[dict[str, Any]] = app.person.data(PLAN, m=declared(app, *entities))["planApp"]["changes"]
    return steps


def installed(app: Collections, *entities: dict[str, Any], lose: bool = False) -> list[tuple[str, str | None]]:
    """Install a manifest of these entities: what was done is what was planned. Then there is nothing to do."""
    plan = [{key: step[key] for key in ("entity", "change", "column", "loses")} for step in planned(app, *entities)]
    done = app.person.data(INSTALL, m=declared(app, *entities), lose=lose)["installApp"]["changes"]
    assert done == plan
    assert planned(app, *entities) == []
    return [(step["change"], step["column"]) for step in done]


def refused(app: Collections, *entities: dict[str, Any]) -> dict[str, Any]:
    body = app.person.graphql(INSTALL, m=declared(app, *entities))
    error: dict[str, Any] = body["errors"][0]
    return error


def app_with(admin: Person, *fields: dict[str, Any], **values: Any) -> Collections:
    app = build.app(admin, parcels(*fields), dialect="stoa")
    app.create("parcels", code="a", **values)
    return app


def rows(app: Collections, entity: str = "parcels") -> list[dict[str, Any]]:
    system = ("id", "created_at", "updated_at")
    return [{k: v for k, v in row.items() if k not in system} for row in app.query(entity)["data"]]


# Each kind of change: the fields and values before, the fields after, the steps, and what the one record is then.
Changes = list[tuple[str, str | None]]
Fields = list[dict[str, Any]]
TRIGGERS: Changes = [("replace_trigger", None)] * 3  # they are told how a decimal is shown
KINDS: dict[str, tuple[Fields, dict[str, Any], Fields, Changes, dict[str, Any]]] = {
    "add": ([], {}, [build.field("size", "integer")], [("add_column", "size"), ("add_check", "size")], {"size": None}),
    "add with a default": (
        [],
        {},
        [build.field("size", "decimal", scale=2, required=True, default_value="1.5")],
        [("add_column", "size"), *TRIGGERS],
        {"size": "1.50"},
    ),
    "rename": (
        [build.field("size", "number")],
        {"size": 5},
        [build.field("weight", "number", renamedFrom="size")],
        [("rename_column", "weight")],
        {"weight": 5},
    ),
    "rename and retype": (
        [build.field("size", "number", unique=True)],
        {"size": 5},
        [build.field("weight", "decimal", scale=1, unique=True, renamedFrom="size")],
        [
            ("rename_column", "weight"),
            ("alter_type", "weight"),
            ("drop_unique", None),
            ("add_unique", "weight"),
            *TRIGGERS,
        ],
        {"weight": "5.0"},
    ),
    "retype": (
        [build.field("size", "number")],
        {"size": 5},
        [build.field("size", "integer")],
        [("alter_type", "size"), ("add_check", "size")],
        {"size": 5},
    ),
    "narrow what fits": (
        [build.field("size", "decimal", scale=4)],
        {"size": "1.5"},
        [build.field("size", "decimal", precision=5, scale=2)],
        [("alter_type", "size")],
        {"size": "1.50"},
    ),
    "index": ([], {}, [], [("add_index", "code")], {}),
    "unique": (
        [build.field("mail", "email")],
        {"mail": "a@b.org"},
        [build.field("mail", "email", unique=True)],
        [("add_unique", "mail")],
        {"mail": "a@b.org"},
    ),
    "required": (
        [build.field("size", "integer")],
        {"size": 5},
        [build.field("size", "integer", required=True)],
        [("set_not_null", "size")],
        {"size": 5},
    ),
    "default": (
        [build.field("wait", "duration")],
        {"wait": "PT1H"},
        [build.field("wait", "duration", default_value="PT60M")],
        [("set_default", "wait")],
        {"wait": "PT1H"},
    ),
    "rule": (
        [build.field("size", "integer")],
        {"size": 5},
        [build.field("size", "integer", minimum=5)],
        [("replace_check", "size")],
        {"size": 5},
    ),
    "drop what holds nothing": (
        [build.field("size", "integer")],
        {},
        [],
        [("drop_check", None), ("drop_column", "size")],
        {},
    ),
    "reference": (
        [],
        {},
        [build.field("next", "reference", references={"entity": "parcels", "field": "id"}, on_delete="cascade")],
        [("add_column", "next"), ("add_fk", "next"), ("add_index", "next")],
        {"next": None},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_change_is_planned_then_done_and_keeps_values(admin: Person, kind: str) -> None:
    before, values, after, steps, record = KINDS[kind]
    app = app_with(admin, *before, **values)
    more = {"indexes": [{"name": "by_code", "columns": ["code"]}]} if kind == "index" else {}
    assert installed(app, parcels(*after, **more)) == steps
    assert rows(app) == [{"code": "a", **record}]


# What would lose values: before, after, the value there is and what it is once that is accepted.
LOSSES: dict[str, tuple[dict[str, Any], list[dict[str, Any]], Any, dict[str, Any]]] = {
    "drop": (build.field("size", "integer"), [], 5, {}),
    "round": (
        build.field("size", "decimal", scale=4),
        [build.field("size", "decimal", scale=2)],
        "1.005",
        {"size": "1.01"},
    ),
    "shorten": (
        build.field("size", "timestamp"),
        [build.field("size", "date")],
        "2025-01-02T10:00:00Z",
        {"size": "2025-01-02"},
    ),
    "respell": (build.field("size"), [build.field("size", "number")], "007", {"size": 7}),
    "overlook": (build.field("size"), [build.field("size", "boolean")], "maybe", {"size": None}),
}


@pytest.mark.parametrize("kind", LOSSES)
def test_what_would_lose_values_is_refused_until_it_is_accepted(admin: Person, stoa: Stoa, kind: str) -> None:
    before, after, value, record = LOSSES[kind]
    app = app_with(admin, before, size=value)
    stored = rows(app)
    losing = [step for step in planned(app, parcels(*after)) if step["loses"]]
    assert [step["column"] for step in losing] == ["size"]
    error = refused(app, parcels(*after))
    assert (error["extensions"]["code"], error["extensions"]["details"]) == (
        "CONFLICT",
        {"lost": [f"{losing[0]['change']} parcels.size"]},
    )
    assert rows(app) == stored
    assert stoa.sql("SELECT revision FROM stoa.apps WHERE id = $1", app.app_id) == [{"revision": 1}]
    over_rest = admin.client.post("/api/v1/apps", json=declared(app, parcels(*after)))
    assert over_rest.status_code == 409
    installed(app, parcels(*after), lose=True)
    assert rows(app) == [{"code": "a", **record}]


@pytest.mark.parametrize(
    ("before", "after", "value", "words"),
    [
        (build.field("size"), build.field("size", "integer"), "x", "cannot be changed as declared (alter_type text"),
        (build.field("size", "number"), build.field("size", "integer"), 1.5, "cannot be changed as declared"),
        (build.field("size"), build.field("size", "email"), "nobody", "breaks the declared rule chk_parcels_size"),
        (build.field("size", "integer"), build.field("size", "integer", maximum=4), 5, "break the declared rule"),
        (build.field("size"), build.field("size", required=True), None, "is required, and there are rows"),
    ],
)
def test_values_that_cannot_become_what_is_declared_stand_in_the_way(
    admin: Person, before: dict[str, Any], after: dict[str, Any], value: Any, words: str
) -> None:
    app = app_with(admin, before, size=value)
    error = refused(app, parcels(after))
    assert (error["extensions"]["code"], error["extensions"]["field"]) == ("INVALID_INPUT", "parcels.size")
    assert words.replace("breaks", "break") in error["message"]
    assert rows(app) == [{"code": "a", "size": value}]


def test_a_plan_shows_the_sql_and_changes_nothing(admin: Person, stoa: Stoa) -> None:
    app = app_with(admin, build.field("size", "number"), size=5)
    (step,) = planned(app, parcels(build.field("weight", "number", renamedFrom="size")))
    assert step == {
        "entity": "parcels",
        "change": "rename_column",
        "column": "weight",
        "detail": "size -> weight",
        "loses": False,
        "sql": [f'ALTER TABLE "{app.app_id}"."parcels" RENAME "size" TO "weight"'],
    }
    assert rows(app) == [{"code": "a", "size": 5}]
    anonymous = stoa.client().post("/graphql", json={"query": PLAN, "variables": {"m": {}}}).json()
    assert anonymous["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


def test_who_may_not_change_an_app_is_not_told_of_its_values(admin: Person, stoa: Stoa) -> None:
    """A plan would else answer questions about records: whether they all are numbers, say."""
    app = app_with(admin, build.field("size"), size="x")
    stranger = app.as_(stoa.person())
    number, boolean = (parcels(build.field("size", type)) for type in ("number", "boolean"))
    assert "cannot be changed" in app.person.graphql(PLAN, m=declared(app, number))["errors"][0]["message"]
    assert [(step["change"], step["loses"]) for step in planned(stranger, number)] == [("alter_type", True)]
    app.person.client.patch(app.path("parcels", app.query("parcels")["data"][0]["id"]), json={"size": "true"})
    assert [step["loses"] for step in planned(app, boolean)] == [False]
    assert [step["loses"] for step in planned(stranger, boolean)] == [True]


def test_an_entity_keeps_its_records_under_another_name(admin: Person, stoa: Stoa) -> None:
    link = build.field("parcel", "reference", references={"entity": "parcels", "field": "id"})
    app = build.app(
        admin, parcels(build.field("size", "integer", unique=True)), build.entity("scans", link), dialect="stoa"
    )
    made = app.create("parcels", code="a", size=1)
    app.create("scans", parcel=made["id"])
    link = build.field("box", "reference", references={"entity": "boxes", "field": "id"}, renamedFrom="parcel")
    boxes = build.entity(
        "boxes", build.field("code"), build.field("size", "integer", unique=True), renamedFrom="parcels"
    )
    done = installed(app, boxes, build.entity("scans", link))
    assert done[:2] == [("rename_table", None), ("rename_column", "box")]
    assert "drop_table" not in {change for change, _ in done}
    assert rows(app, "boxes") == [{"code": "a", "size": 1}]
    assert rows(app, "scans") == [{"box": made["id"]}]
    assert app.person.client.get(app.path("parcels")).status_code == 404
    again = app.person.client.post(app.path("boxes"), json={"code": "b", "size": 1})
    assert (again.status_code, again.json()["field"]) == (409, "size")
    assert app.person.client.post(app.path("scans"), json={"box": app.app_id}).status_code == 400
    box = app.create("boxes", code="c")
    assert stoa.sql("SELECT entity FROM stoa.audit_log WHERE record_id = $1", box["id"]) == [{"entity": "boxes"}]


def test_a_former_name_that_is_not_there_means_nothing(admin: Person) -> None:
    app = app_with(admin)
    renamed = build.field("size", "number", renamedFrom="never")
    assert installed(app, parcels(renamed)) == [("add_column", "size")]
    app.create("parcels", code="b", size=5)
    both = [renamed, build.field("never", "number")]
    assert installed(app, parcels(*both)) == [("add_column", "never")]
    taken = [build.field("size", "number", renamedFrom="never")]
    assert [step["loses"] for step in planned(app, parcels(*taken))] == [False]
    assert {row["size"] for row in rows(app)} == {None, 5}


def test_rootcx_knows_no_former_names_and_drops_without_asking(admin: Person) -> None:
    app = build.app(admin, parcels(build.field("size", "number")))
    app.create("parcels", code="a", size=5)
    manifest = build.manifest(parcels(build.field("weight", "number", renamedFrom="size")), app_id=app.app_id)
    done = admin.data(INSTALL, m=manifest)["installApp"]["changes"]
    assert [(step["change"], step["column"], step["loses"]) for step in done] == [
        ("add_column", "weight", False),
        ("drop_column", "size", True),
    ]
    assert rows(app) == [{"code": "a", "weight": None}]


def test_a_failure_in_the_middle_leaves_nothing(admin: Person, stoa: Stoa) -> None:
    """The last of many steps cannot be done: none of them is, and the app goes on as it was."""
    app = app_with(admin, build.field("size", "number"), size=5)
    seen = catalogue(stoa, app.app_id)
    after = [
        build.entity("boxes", build.field("code", unique=True)),
        parcels(
            build.field("weight", "number", renamedFrom="size"),
            build.field("mail", "email", default_value="a@b.org"),
            build.field("next", "reference", references={"entity": "boxes", "field": "id"}),
            checks=[{"name": "odd", "expr": "code + 1 > 0"}],
        ),
    ]
    error = refused(app, *after)
    assert (error["extensions"]["code"], error["extensions"]["field"]) == ("INVALID_INPUT", "parcels")
    assert catalogue(stoa, app.app_id) == seen
    assert rows(app) == [{"code": "a", "size": 5}]
    assert app.create("parcels", code="b", size=6)["size"] == 6


def catalogue(stoa: Stoa, app_id: str) -> list[dict[str, Any]]:
    """The tables, columns and constraints of an app, by name and object id."""
    return stoa.sql(
        "SELECT c.relname::text AS name, c.oid::text, a.attname::text AS part FROM pg_class c "
        "JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = $1 "
        "LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 "
        "UNION ALL SELECT k.conname, k.oid::text, NULL FROM pg_constraint k "
        "JOIN pg_namespace n ON n.oid = k.connamespace AND n.nspname = $1 ORDER BY 1, 2, 3",
        app_id,
    )


@contextmanager
def in_use(stoa: Stoa, table: str, seconds: float | None = None) -> Iterator[None]:
    """Somebody reads a table in a transaction that stays open, until the end of the block or for some time."""
    ready, over = threading.Event(), threading.Event()

    async def hold() -> None:
        connection = await asyncpg.connect(stoa.database_url)
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(f"SELECT count(*) FROM {table}")
        ready.set()
        await asyncio.to_thread(over.wait, seconds)
        await transaction.rollback()
        await connection.close()

    thread = threading.Thread(target=lambda: asyncio.run(hold()))
    thread.start()
    ready.wait()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changing, "LOCK_TIMEOUT_MS", 150)
    monkeypatch.setattr(changing, "PAUSE_S", 0.05)


@pytest.mark.usefixtures("impatient")
def test_a_table_that_stays_in_use_is_told_and_nothing_changed(admin: Person, stoa: Stoa) -> None:
    app = app_with(admin, build.field("size", "number"), size=5)
    seen = catalogue(stoa, app.app_id)
    wider = [build.entity("boxes", build.field("code")), parcels(build.field("size", "number"), build.field("more"))]
    with in_use(stoa, f"{app.app_id}.parcels"):
        began = time.monotonic()
        error = refused(app, *wider)
        assert time.monotonic() - began > 4 * 0.15
        assert error["extensions"]["code"] == "UNAVAILABLE"
        assert error["message"] == f"the tables of app '{app.app_id}' are in use; nothing was changed, try again"
        assert catalogue(stoa, app.app_id) == seen
        assert rows(app) == [{"code": "a", "size": 5}]
        answer = admin.client.post("/api/v1/apps", json=declared(app, *wider))
        assert (answer.status_code, int(answer.headers["retry-after"])) == (503, 5)
    assert ("add_column", "more") in installed(app, *wider)


@pytest.mark.usefixtures("impatient")
def test_a_table_that_is_in_use_for_a_while_is_waited_for(admin: Person, stoa: Stoa) -> None:
    app = app_with(admin)
    with in_use(stoa, f"{app.app_id}.parcels", seconds=0.3):
        assert installed(app, parcels(build.field("more"))) == [("add_column", "more")]


def test_installs_at_once_come_one_after_the_other(admin: Person) -> None:
    """Renames and drops among them: each finds what the one before left, and the last one's declaration is there."""
    app = app_with(admin, build.field("f0", "number"), f0=5)
    versions = [[build.field(f"f{n}", "number", renamedFrom=f"f{n - 1}")] for n in range(1, 6)]
    done = at_once(
        [
            lambda fields=fields: admin.graphql(INSTALL, m=declared(app, parcels(*fields)), lose=True)
            for fields in versions
        ]
    )
    assert all("errors" not in answer for answer in done), done
    told = admin.client.get(f"/api/v1/apps/{app.app_id}").json()["dataContract"][0]["fields"]
    names = [field["name"] for field in told]
    assert list(rows(app)[0]) == names
    assert planned(app, parcels(*(build.field(name, "number") for name in names[1:]))) == []


def test_stoa_plan_prints_the_steps(admin: Person, stoa: Stoa, tmp_path: Path) -> None:
    app = app_with(admin, build.field("size", "number"), size=5)
    file = tmp_path / "manifest.json"
    environ = {"STOA_DATA_DIR": str(tmp_path / "data"), "STOA_DATABASE_URL": stoa.database_url}

    def told(*entities: dict[str, Any], options: tuple[str, ...] = ()) -> tuple[int, list[str], str]:
        file.write_text(json.dumps(declared(app, *entities)))
        code, out, err = outcome("plan", str(file), *options, **environ)
        return code, out.splitlines(), err

    assert told(parcels(build.field("size", "number"))) == (0, ["nothing to change"], "")
    renamed = parcels(build.field("weight", "number", renamedFrom="size"))
    assert told(renamed) == (0, ["rename_column  parcels.weight  size -> weight"], "")
    assert told(renamed, options=("--sql",))[1][1] == (
        f'    ALTER TABLE "{app.app_id}"."parcels" RENAME "size" TO "weight";'
    )
    assert told(parcels()) == (0, ["drop_column  parcels.size    LOSES STORED VALUES"], "")
    assert told(parcels({"name": "x", "type": "shape"}))[0] == 1
    assert rows(app) == [{"code": "a", "size": 5}]
    file.write_text("{")
    code, out, err = outcome("plan", str(file), **environ)
    assert (code, out) == (2, "")
    assert "is not JSON" in err
