"""Hooks of records: what a change hands in, with the change or not at all; and who may have one."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests import build
from tests.build import Collections
from tests.harness import Person, Stoa
from tests.jobs.handing_in import ended
from tests.workers.hosting import RunningHost, deployed, eventually

CREATE = """
mutation ($app: ID!, $entity: String!, $operation: HookOperation!, $action: HookAction!, $config: JSONObject) {
  createRecordHook(app: $app, entity: $entity, operation: $operation, action: $action, config: $config) { id }
}
"""
ACTIVE = """
mutation ($app: ID!, $id: UUID!, $active: Boolean!) {
  setRecordHookActive(app: $app, id: $id, active: $active) { active }
}
"""
HOOKS = "query ($app: ID!) { recordHooks(app: $app) { id entity operation action config declaredBy ownerId } }"


@pytest.fixture(autouse=True)
def _clear(stoa: Stoa) -> Iterator[None]:
    yield
    stoa.sql("DELETE FROM stoa.record_hooks")


def create(person: Person, app: str = "works", entity: str = "things", **more: Any) -> str:
    asked = {"operation": "INSERT", "action": "JOB", **more}
    id: str = person.data(CREATE, app=app, entity=entity, **asked)["createRecordHook"]["id"]
    return id


def jobs(stoa: Stoa, hook: str) -> list[dict[str, Any]]:
    return stoa.sql(
        "SELECT id::text, status, error, app_id FROM stoa.jobs WHERE hook_id = $1::uuid ORDER BY number", hook
    )


def test_a_change_that_is_rolled_back_hands_in_nothing(stoa: Stoa, things: Collections, admin: Person) -> None:
    hook = create(admin)
    rows = [{"name": f"thing {n}"} for n in range(5)]
    assert admin.client.post(things.path("things", "bulk"), json=[*rows, {"name": None}]).status_code == 400
    assert jobs(stoa, hook) == []
    things.create_many("things", rows)
    assert len(jobs(stoa, hook)) == 5


def test_a_change_by_hand_is_heard_of_as_well(stoa: Stoa, things: Collections, admin: Person) -> None:
    hook = create(admin)
    stoa.sql("INSERT INTO works.things (name) SELECT 'by hand ' || n FROM generate_series(1, 3) n")
    assert len(jobs(stoa, hook)) == 3
    assert ended(admin, "works", jobs(stoa, hook)[0]["id"])["status"] == "COMPLETED"


def test_only_what_it_asks_for_is_told(stoa: Stoa, things: Collections, admin: Person) -> None:
    hook = create(admin, operation="DELETE")
    made = things.create("things", name="one")
    things.create("secrets", text="another entity's")
    admin.client.patch(things.path("things", made["id"]), json={"name": "two"})
    assert jobs(stoa, hook) == []
    admin.client.delete(things.path("things", made["id"]))
    (job,) = jobs(stoa, hook)
    told = ended(admin, "works", job["id"])["result"]["got"]
    assert (told["record"], told["old_record"]["name"], told["record_id"]) == (None, "two", made["id"])


def test_one_that_rests_tells_nothing(stoa: Stoa, things: Collections, admin: Person) -> None:
    hook = create(admin)
    assert admin.data(ACTIVE, app="works", id=hook, active=False) == {"setRecordHookActive": {"active": False}}
    things.create("things", name="unheard")
    assert jobs(stoa, hook) == []
    admin.data(ACTIVE, app="works", id=hook, active=True)
    things.create("things", name="heard")
    assert len(jobs(stoa, hook)) == 1


def test_who_may_not_read_the_records_has_no_hook_of_them(stoa: Stoa, things: Collections, admin: Person) -> None:
    person = build.reader(stoa, admin, "app:works:hook.write", "app:works:things.read")
    create(person)
    assert person.code(CREATE, app="works", entity="secrets", operation="INSERT", action="JOB") == "FORBIDDEN"
    assert person.code(CREATE, app="works", entity="things", operation="INSERT", action="AGENT") == "FORBIDDEN"
    assert person.code(CREATE, app="works", entity="nothing", operation="INSERT", action="JOB") == "NOT_FOUND"
    assert stoa.sql("SELECT count(*) AS n FROM stoa.record_hooks")[0]["n"] == 1


def test_what_its_owner_may_not_read_any_more_is_neither_done_nor_shown(
    stoa: Stoa, things: Collections, admin: Person
) -> None:
    owner = stoa.person()
    role = build.grant(admin, owner, "app:works:hook.write", "app:works:things.read", "app:works:invoke")
    hook = create(owner)
    revoked = admin.client.post("/api/v1/roles/revoke", json={"userId": owner.id, "role": role})
    assert revoked.status_code == 200
    things.create("things", name="hidden")
    (job,) = jobs(stoa, hook)
    found = ended(admin, "works", job["id"])
    assert (found["status"], found["error"]) == ("FAILED", "permission denied: app:works:things.read")
    assert owner.client.get("/api/v1/apps/works/jobs").json() == []
    assert owner.client.get(f"/api/v1/apps/works/jobs/{job['id']}").status_code == 404


def test_jobs_of_hooks_are_seen_by_who_may_see_those_of_others(stoa: Stoa, things: Collections, admin: Person) -> None:
    ruler = build.reader(stoa, admin, "app:works:*")
    hook = create(admin)
    things.create("things", name="seen")
    (job,) = jobs(stoa, hook)
    assert ruler.client.get(f"/api/v1/apps/works/jobs/{job['id']}").status_code == 200


def test_without_its_hook_a_job_fails(stoa: Stoa, things: Collections, admin: Person) -> None:
    hook = create(admin)
    stoa.sql("DO $$ BEGIN INSERT INTO works.things (name) VALUES ('late'); DELETE FROM stoa.record_hooks; END $$")
    (job,) = jobs(stoa, hook)
    found = ended(admin, "works", job["id"])
    assert (found["status"], found["error"]) == ("FAILED", "the hook is gone")


def test_a_manifest_asks_for_hooks_of_another_app(stoa: Stoa, things: Collections, admin: Person) -> None:
    def declared(**more: Any) -> list[tuple[str, str]]:
        answer = admin.client.post("/api/v1/apps", json=build.manifest(app_id="watcher", **more))
        assert answer.status_code == 200, answer.text
        found = admin.data(HOOKS, app="works")["recordHooks"]
        assert all(hook["declaredBy"] == "watcher" and hook["config"] == {"app_id": "watcher"} for hook in found)
        assert all((hook["action"], hook["ownerId"]) == ("AGENT", admin.id) for hook in found)
        return [(hook["id"], hook["operation"]) for hook in found]

    trigger = {"appId": "works", "entity": "things", "on": ["insert", "update"]}
    both = declared(trigger=trigger)
    assert sorted(on for _, on in both) == ["INSERT", "UPDATE"]
    assert declared(trigger=trigger) == both
    things.create("things", name="for the watcher")
    (job,) = stoa.sql("SELECT kind, app_id, origin FROM stoa.jobs WHERE app_id = 'watcher'")
    assert job == {"kind": "agent", "app_id": "watcher", "origin": "hook"}
    assert [on for _, on in declared(trigger={**trigger, "on": ["update"]})] == ["UPDATE"]
    assert declared() == []
    declared(trigger=trigger)
    assert admin.client.delete("/api/v1/apps/watcher").status_code == 200
    assert admin.data(HOOKS, app="works")["recordHooks"] == []


def test_who_may_not_read_the_records_installs_no_app_that_watches_them(
    stoa: Stoa, things: Collections, admin: Person
) -> None:
    person = build.reader(stoa, admin, "platform:apps.create")
    spy = build.manifest(app_id="spy", trigger={"appId": "works", "entity": "secrets", "on": ["insert"]})
    answer = person.client.post("/api/v1/apps", json=spy)
    assert (answer.status_code, answer.json()["error"]) == (403, "permission denied: app:works:secrets.read")
    assert stoa.sql("SELECT count(*) AS n FROM stoa.apps WHERE id = 'spy'")[0]["n"] == 0
    notes = build.entity("notes", build.field("text"))
    own = build.manifest(notes, app_id="diary", trigger={"appId": "diary", "entity": "notes", "on": ["insert"]})
    assert person.client.post("/api/v1/apps", json=own).status_code == 200


def test_an_app_that_is_gone_has_no_hooks(stoa: Stoa, admin: Person) -> None:
    build.app(admin, build.entity("things", build.field("name")), app_id="gone")
    create(admin, app="gone")
    assert admin.client.delete("/api/v1/apps/gone").status_code == 200
    eventually(lambda: stoa.sql("SELECT count(*) AS n FROM stoa.record_hooks")[0]["n"] == 0, 1)


LOOP = """
serve({rpc: {}, onJob: async ({record}, caller, ctx) => {
  await ctx.collection("drops").insert({size: record.size + 1});
  return record.size;
}});
"""


def test_hooks_that_fire_each_other_come_to_an_end_and_it_is_told(stoa: Stoa, admin: Person, host: RunningHost) -> None:
    drops = build.app(admin, build.entity("drops", build.field("size", "number")), app_id="rain")
    deployed(admin, "rain", LOOP)
    hook = create(admin, "rain", "drops")
    drops.create("drops", size=0)
    assert eventually(lambda: [job["status"] for job in jobs(stoa, hook)].count("failed"), 20)
    told = jobs(stoa, hook)
    assert [job["status"] for job in told] == ["completed"] * 8 + ["failed"]
    assert told[-1]["error"] == "hooks led to each other 8 times in a row"
    assert sorted(row["size"] for row in drops.query("drops")["data"]) == list(range(9))
    drops.create("drops", size=100)  # by itself again
    assert eventually(lambda: len(jobs(stoa, hook)) == 18, 20)
