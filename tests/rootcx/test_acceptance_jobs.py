"""RootCX's acceptance behaviours about jobs, crons, webhooks and hooks, by their numbers."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

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
