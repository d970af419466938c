"""Crons as they fire: once each, whoever does it, and in the name of their owner."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from domain.crons import service as crons
from domain.kernel.ctx import ANONYMOUS, Request
from domain.kernel.errors import Unavailable
from tests import build
from tests.build import Collections
from tests.harness import Person, Stoa
from tests.jobs.handing_in import ended
from tests.workers.hosting import RunningHost, eventually

CREATE = """
mutation ($app: ID!, $name: String!, $schedule: String!, $payload: JSON, $overlap: CronOverlap) {
  createCron(app: $app, name: $name, schedule: $schedule, payload: $payload, overlap: $overlap) { id number nextAt }
}
"""
CRON = """
query ($app: ID!, $id: UUID!) {
  cron(app: $app, id: $id) {
    enabled number nextAt ownerId
    runs(first: 2) { nodes { status message jobId dueAt startedAt } totalCount }
  }
}
"""
FAR = "0 0 1 1 *"
PAST = "UPDATE stoa.crons SET next_at = now() - interval '1 hour' WHERE id = $1::uuid"


@pytest.fixture(autouse=True)
def _clear(stoa: Stoa) -> Iterator[None]:
    yield
    stoa.sql("DELETE FROM stoa.crons")


def create(person: Person, name: str, schedule: str = FAR, **more: Any) -> str:
    id: str = person.data(CREATE, app="works", name=name, schedule=schedule, **more)["createCron"]["id"]
    return id


def look(person: Person, id: str) -> dict[str, Any]:
    cron: dict[str, Any] = person.data(CRON, app="works", id=id)["cron"]
    return cron


def fired(person: Person, id: str) -> dict[str, Any]:
    """The cron once it has fired: its parts are read one after the other, so it is looked at again."""
    eventually(lambda: look(person, id)["runs"]["totalCount"] > 0, 5)
    return look(person, id)


def test_each_is_fired_once_however_many_would(
    stoa: Stoa, admin: Person, things: Collections, host: RunningHost
) -> None:
    ids = [create(admin, f"many-{n}") for n in range(25)]
    stoa.sql("UPDATE stoa.crons SET next_at = now() - interval '1 minute'")

    async def fire() -> int:
        done = 0
        for _ in range(6):
            try:
                done += await host.platform.perform(ANONYMOUS, Request(), lambda ctx: crons.fire_due(ctx, 1))
            except Unavailable:
                continue
        return done

    async def fire_at_once() -> None:
        await asyncio.gather(*(fire() for _ in range(8)))

    host.do(fire_at_once())
    for table in ("cron_runs", "jobs"):
        counted = (
            f"SELECT cron_id::text AS id, count(*) AS n FROM stoa.{table} WHERE cron_id = ANY ($1::uuid[]) GROUP BY 1"
        )
        eventually(lambda counted=counted: len(stoa.sql(counted, ids)) == 25)
        assert {row["id"]: row["n"] for row in stoa.sql(counted, ids)} == dict.fromkeys(ids, 1)


def test_what_was_missed_for_long_is_made_up_for_once(stoa: Stoa, admin: Person, things: Collections) -> None:
    id = create(admin, "missed", "*/5 * * * *")
    stoa.sql(PAST, id)
    cron = fired(admin, id)
    (run,) = cron["runs"]["nodes"]
    assert (run["status"], run["message"]) == ("SUCCEEDED", "1 job")
    assert cron["nextAt"] > run["startedAt"] > run["dueAt"]
    assert ended(admin, "works", run["jobId"])["result"]["got"] == {"cron_id": id}


def test_one_that_queues_hands_in_however_many_wait(stoa: Stoa, admin: Person, things: Collections) -> None:
    id = create(admin, "queues", payload={"ms": 1500}, overlap="QUEUE")
    for count in (1, 2):
        stoa.sql(PAST, id)
        eventually(lambda count=count: look(admin, id)["runs"]["totalCount"] == count, 5)
    assert [run["status"] for run in look(admin, id)["runs"]["nodes"]] == ["SUCCEEDED"] * 2


def test_a_payload_that_is_no_object_is_within_one_when_it_is_due(
    stoa: Stoa, admin: Person, things: Collections
) -> None:
    id = create(admin, "listed", payload=[1, 2])
    stoa.sql(PAST, id)
    run = fired(admin, id)["runs"]["nodes"][0]
    assert ended(admin, "works", run["jobId"])["result"]["got"] == {"payload": [1, 2], "cron_id": id}


def test_one_whose_owner_is_gone_is_free_to_all_and_hands_in_nobodys(
    stoa: Stoa, admin: Person, things: Collections
) -> None:
    keys = [f"app:works:cron.{verb}" for verb in ("read", "write")]
    owner, other = build.reader(stoa, admin, *keys), build.reader(stoa, admin, *keys)
    id = create(owner, "orphan")
    assert other.code(CRON, app="works", id=id) == "FORBIDDEN"
    assert admin.client.delete(f"/api/v1/users/{owner.id}").status_code == 200
    assert look(other, id)["ownerId"] is None
    stoa.sql(PAST, id)
    job = ended(admin, "works", fired(admin, id)["runs"]["nodes"][0]["jobId"])
    assert (job["status"], job["error"]) == ("FAILED", "the job is nobody's: there is no user to run it as")


def test_one_whose_time_zone_is_no_more_keeps_none_of_the_others(
    stoa: Stoa, admin: Person, things: Collections
) -> None:
    lost, fine = create(admin, "lost"), create(admin, "fine")
    stoa.sql("UPDATE stoa.crons SET timezone = 'Gone/Away' WHERE id = $1::uuid", lost)
    stoa.sql("UPDATE stoa.crons SET next_at = now() - interval '1 hour'")
    assert fired(admin, fine)["enabled"] is True
    assert (look(admin, lost)["enabled"], look(admin, lost)["number"]) == (False, None)


def test_names_are_taken_once_and_apps_must_be_there(stoa: Stoa, admin: Person, things: Collections) -> None:
    create(admin, "taken")
    assert admin.code(CREATE, app="works", name="taken", schedule=FAR) == "CONFLICT"
    assert admin.code(CREATE, app="nowhere", name="new", schedule=FAR) == "NOT_FOUND"
    assert stoa.sql("SELECT count(*) AS n FROM stoa.crons")[0]["n"] == 1


def test_uninstalling_takes_crons_and_jobs_along(stoa: Stoa, admin: Person, host: RunningHost) -> None:
    build.app(
        admin, build.entity("things", build.field("name")), app_id="short", crons=[{"name": "c", "schedule": FAR}]
    )
    assert admin.client.post("/api/v1/apps/short/jobs", json={"payload": 1}).status_code == 201
    (cron,) = admin.client.get("/api/v1/apps/short/crons").json()
    assert admin.client.post(f"/api/v1/apps/short/crons/{cron['id']}/trigger").status_code == 200
    assert admin.client.delete("/api/v1/apps/short").status_code == 200
    assert admin.client.get("/api/v1/apps/short/jobs").json() == []
    assert admin.client.get("/api/v1/apps/short/crons").json() == []
    for table in ("jobs", "crons"):
        assert stoa.sql(f"SELECT count(*) AS n FROM stoa.{table} WHERE app_id = 'short'")[0]["n"] == 0
