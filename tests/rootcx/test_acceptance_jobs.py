"""RootCX's acceptance behaviours about jobs, crons, webhooks and hooks, by their numbers."""

import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests import build
from tests.harness import Person, Stoa
from tests.workers.hosting import App, RunningHost, deployed, eventually, hosting

CODE = """
const jobs = [], events = [];
serve({
  rpc: {
    jobs: () => jobs,
    events: () => events,
    onEvt: (params, caller) => { events.push({params, caller}); return {heard: params.name} },
  },
  onJob: async (payload, caller) => {
    jobs.push({payload, caller});
    if (payload.ms) await new Promise((resolve) => setTimeout(resolve, payload.ms));
    if (payload.fail) throw new Error(payload.fail);
    return {done: payload};
  },
});
"""


@pytest.fixture(scope="module")
def host(stoa: Stoa) -> Iterator[RunningHost]:
    with hosting(stoa) as running:
        yield running


@pytest.fixture(scope="module")
def app(admin: Person, host: RunningHost) -> App:
    app = deployed(admin, "atelier", CODE)
    app.call("jobs")
    return app


def posted(person: Person, payload: Any) -> dict[str, Any]:
    answer = person.client.post("/api/v1/apps/atelier/jobs", json={"payload": payload})
    assert answer.status_code == 201
    told: dict[str, Any] = answer.json()
    return told


def finished(person: Person, id: str) -> dict[str, Any]:
    def ended() -> dict[str, Any] | None:
        answer = person.client.get(f"/api/v1/apps/atelier/jobs/{id}")
        assert answer.status_code == 200
        job: dict[str, Any] = answer.json()
        return job if job["status"] in ("completed", "failed") else None

    job: dict[str, Any] = eventually(ended, 2)
    return job


def test_41_a_job_runs_within_a_second_and_shows_what_it_came_to(admin: Person, app: App) -> None:
    told = posted(admin, {"type": "label_run"})
    assert (set(told), type(told["msg_id"])) == ({"job_id", "msg_id"}, int)
    eventually(lambda: any(job["payload"] == {"type": "label_run"} for job in app.call("jobs")), 1)
    ours = next(job for job in app.call("jobs") if job["payload"] == {"type": "label_run"})
    assert ours["caller"]["userId"] == admin.id
    job = finished(admin, told["job_id"])
    assert (job["status"], job["result"], job["attempts"]) == ("completed", {"done": {"type": "label_run"}}, 1)
    assert (job["id"], job["msg_id"], job["app_id"]) == (told["job_id"], told["msg_id"], "atelier")
    failed = finished(admin, posted(admin, {"fail": "no paper"})["job_id"])
    assert (failed["status"], failed["error"]) == ("failed", "no paper")
    assert finished(admin, str(told["msg_id"])) == job


def test_42_jobs_are_listed_by_status_newest_first(admin: Person, app: App) -> None:
    first, last = (posted(admin, {"fail": f"failure {n}"})["job_id"] for n in range(2))
    for id in (first, last):
        finished(admin, id)
    path = "/api/v1/apps/atelier/jobs"
    assert [job["id"] for job in admin.client.get(f"{path}?status=failed&limit=1").json()] == [last]
    failed = admin.client.get(f"{path}?status=failed").json()
    assert [job["id"] for job in failed][:2] == [last, first]
    assert {job["status"] for job in failed} == {"failed"}
    assert {job["status"] for job in admin.client.get(f"{path}?archived=true").json()} <= {"completed", "failed"}
    assert admin.client.get(f"{path}?status=lost").status_code == 400
    assert admin.client.get(f"{path}/{uuid4()}").status_code == 404
    assert admin.client.get(f"{path}/999999").status_code == 404
    assert admin.client.get(f"{path}/abc").status_code == 400


# Crons.

CRONS = "/api/v1/apps/atelier/crons"


@pytest.fixture(scope="module")
def installed(admin: Person, app: App) -> App:
    """The app with its manifest, which crons, webhooks and hooks need."""
    parcels = build.entity("parcels", build.field("code"))
    build.app(admin, parcels, app_id="atelier")
    return app


def new_cron(person: Person, name: str, schedule: str = "0 3 * * *", **more: Any) -> dict[str, Any]:
    answer = person.client.post(CRONS, json={"name": name, "schedule": schedule, **more})
    assert answer.status_code == 201, answer.text
    cron: dict[str, Any] = answer.json()
    return cron


def jobs_of(app: App, cron: dict[str, Any]) -> list[dict[str, Any]]:
    """The jobs the code was given that this cron handed in when it was due."""
    return [job for job in app.call("jobs") if job["payload"].get("cron_id") == cron["id"]]


def test_43_a_cron_hands_in_jobs_in_the_name_of_its_creator(admin: Person, installed: App) -> None:
    quick = new_cron(admin, "quick", "1 seconds", payload={"method": "count"})
    busy = new_cron(admin, "busy", "1 seconds", payload={"ms": 60_000, "busy": True})
    assert (quick["enabled"], quick["createdBy"], type(quick["pgJobId"])) == (True, admin.id, int)
    assert (quick["timezone"], quick["overlapPolicy"], quick["payload"]) == (None, "skip", {"method": "count"})
    first = eventually(lambda: jobs_of(installed, quick), 3)[0]
    assert first["payload"] == {"method": "count", "cron_id": quick["id"]}
    assert first["caller"]["userId"] == admin.id
    eventually(lambda: len(jobs_of(installed, quick)) >= 2 and len(jobs_of(installed, busy)) == 1, 5)
    runs = eventually(lambda: len(found := admin.client.get(f"{CRONS}/{busy['id']}/runs").json()) >= 2 and found, 5)
    assert [run["status"] for run in runs] == ["skipped"] * (len(runs) - 1) + ["succeeded"]
    assert set(runs[0]) == {"runid", "jobPid", "status", "returnMessage", "startTime", "endTime"}
    assert len(jobs_of(installed, busy)) == 1
    off = admin.client.patch(f"{CRONS}/{quick['id']}", json={"enabled": False})
    assert (off.status_code, off.json()["enabled"], off.json()["pgJobId"]) == (200, False, None)
    assert admin.client.get(f"{CRONS}/{quick['id']}/runs").json() == []
    time.sleep(0.2)  # one that was under way
    count = len(jobs_of(installed, quick))
    time.sleep(1.3)
    assert len(jobs_of(installed, quick)) == count
    triggered = admin.client.post(f"{CRONS}/{quick['id']}/trigger")
    assert (triggered.status_code, type(triggered.json()["msgId"])) == (200, int)
    assert finished(admin, str(triggered.json()["msgId"]))["payload"] == {"method": "count"}
    on = admin.client.patch(f"{CRONS}/{quick['id']}", json={"enabled": True}).json()
    assert on["pgJobId"] not in (None, quick["pgJobId"])
    for cron in (quick, busy):
        gone = admin.client.delete(f"{CRONS}/{cron['id']}")
        assert (gone.status_code, gone.json()) == (200, {"message": "cron deleted"})
        assert admin.client.delete(f"{CRONS}/{cron['id']}").status_code == 404


@pytest.mark.parametrize(
    "wrong",
    [
        {"schedule": "@daily"},
        {"schedule": "0 8 * * MON"},
        {"schedule": "0 8 * *"},
        {"schedule": "60 seconds"},
        {"schedule": "0 seconds"},
        {"schedule": "61 * * * *"},
        {"schedule": "0 0 31 2 *"},
        {"schedule": "$ * * * *"},
        {"name": "two words"},
        {"name": ""},
        {"name": "n" * 65},
        {"overlapPolicy": "drop"},
        {"timezone": "Mars/Olympus"},
        {"name": "taken"},
    ],
)
def test_44_crons_that_cannot_be_are_refused(stoa: Stoa, admin: Person, installed: App, wrong: dict[str, Any]) -> None:
    if wrong == {"name": "taken"}:
        new_cron(admin, "taken")
    before = admin.client.get(CRONS).json()
    answer = admin.client.post(CRONS, json={"name": "fine", "schedule": "0 8 * * *", **wrong})
    assert answer.status_code == 400, answer.text
    assert admin.client.get(CRONS).json() == before


def test_45_crons_of_others_take_a_right_of_their_own(stoa: Stoa, admin: Person, installed: App) -> None:
    keys = [f"app:atelier:cron.{verb}" for verb in ("read", "write", "trigger")]
    one, other = build.reader(stoa, admin, *keys), build.reader(stoa, admin, *keys)
    ruler = build.reader(stoa, admin, *keys, "app:atelier:cron.manage_others")
    cron = new_cron(one, "ones-own")
    path = f"{CRONS}/{cron['id']}"
    assert other.client.patch(path, json={"enabled": False}).status_code == 403
    assert other.client.post(f"{path}/trigger").status_code == 403
    assert other.client.delete(path).status_code == 403
    assert other.client.get(f"{path}/runs").status_code == 403
    assert [row["name"] for row in one.client.get(CRONS).json()] == ["ones-own"]
    assert [row["name"] for row in one.client.get("/api/v1/crons").json()] == ["ones-own"]
    assert (other.client.get(CRONS).json(), other.client.get("/api/v1/crons").json()) == ([], [])
    assert cron in ruler.client.get(CRONS).json()
    assert ruler.client.patch(path, json={"overlapPolicy": "queue"}).json()["overlapPolicy"] == "queue"
    assert ruler.client.post(f"{path}/trigger").status_code == 200
    guest = stoa.person()
    assert guest.client.get(CRONS).status_code == 403
    assert guest.client.post(CRONS, json={"name": "x", "schedule": "* * * * *"}).status_code == 403
    for app_id in ("rootcx_system", "pg_catalog"):
        blocked = admin.client.get(f"/api/v1/apps/{app_id}/crons")
        assert (blocked.status_code, "blocked" in blocked.json()["error"]) == (403, True)
    assert one.client.delete(path).status_code == 200


def test_46_crons_are_those_of_the_manifest_unless_it_lists_none(admin: Person, host: RunningHost) -> None:
    def crons(**declared: Any) -> list[dict[str, Any]]:
        manifest = build.manifest(app_id="mill", **declared)
        assert admin.client.post("/api/v1/apps", json=manifest).status_code == 200
        found: list[dict[str, Any]] = admin.client.get("/api/v1/apps/mill/crons").json()
        return found

    a = {"name": "a", "schedule": "0 3 * * *", "method": "count", "payload": {"x": 1}, "overlapPolicy": "queue"}
    b = {"name": "b", "schedule": "*/5 * * * *", "timezone": "Europe/Paris"}
    both = crons(crons=[a, b])
    assert [(c["name"], c["schedule"], c["payload"], c["overlapPolicy"], c["timezone"]) for c in both] == [
        ("a", "0 3 * * *", {"x": 1, "method": "count"}, "queue", None),
        ("b", "*/5 * * * *", {}, "skip", "Europe/Paris"),
    ]
    assert crons(crons=[a, b]) == both
    off = admin.client.patch(f"/api/v1/apps/mill/crons/{both[1]['id']}", json={"enabled": False})
    assert off.status_code == 200
    (only,) = crons(crons=[b])
    assert (only["id"], only["enabled"]) == (both[1]["id"], True)
    assert crons(crons=[]) == [only]
    assert crons() == [only]
    wrong = build.manifest(app_id="mill", crons=[b, {"name": "c", "schedule": "0 0 31 2 *"}])
    answer = admin.client.post("/api/v1/apps", json=wrong)
    assert (answer.status_code, answer.json()["field"]) == (400, "crons.1.schedule")
    assert admin.client.get("/api/v1/apps/mill/crons").json() == [only]
