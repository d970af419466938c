"""RootCX's acceptance behaviours about jobs, crons, webhooks and hooks, by their numbers."""

import base64
import hashlib
import hmac
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
PARCELS = build.entity("parcels", build.field("code", required=True))


@pytest.fixture(scope="module")
def installed(admin: Person, app: App) -> App:
    """The app with its manifest, which crons, webhooks and hooks need."""
    build.app(admin, PARCELS, app_id="atelier")
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


@pytest.mark.parametrize("schedule", ["", "@daily", "0 0 31 4 *"])
@pytest.mark.parametrize("enabled", [True, False])
def test_44_no_cron_becomes_one_that_cannot_be(admin: Person, installed: App, schedule: str, enabled: bool) -> None:
    path = f"{CRONS}/{new_cron(admin, f'becomes-{enabled}-{len(schedule)}')['id']}"
    before = admin.client.patch(path, json={"enabled": enabled}).json()
    assert admin.client.patch(path, json={"schedule": schedule}).status_code == 400
    assert [row for row in admin.client.get(CRONS).json() if row["id"] == before["id"]] == [before]


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


# Webhooks.


def webhooks(admin: Person, app_id: str, *entities: dict[str, Any], **declared: Any) -> list[dict[str, Any]]:
    """The webhooks of an app after it was installed."""
    answer = admin.client.post("/api/v1/apps", json=build.manifest(*entities, app_id=app_id, **declared))
    assert answer.status_code == 200, answer.text
    found = admin.client.get(f"/api/v1/apps/{app_id}/webhooks")
    assert found.status_code == 200
    rows: list[dict[str, Any]] = found.json()
    return rows


def test_46_webhooks_are_those_of_the_manifest_unless_it_lists_none(stoa: Stoa, admin: Person) -> None:
    both = webhooks(admin, "press", webhooks=["b", {"name": "a", "method": "onA"}])
    assert [(row["name"], row["method"]) for row in both] == [("a", "onA"), ("b", "POST")]
    for row in both:
        assert set(row) == {"id", "name", "method", "prefix", "token", "url", "createdAt"}
        assert row["url"] == f"{stoa.base_url}/api/v1/hooks/{row['token']}"
        assert (len(row["token"]), row["token"].startswith(row["prefix"]), len(row["prefix"])) == (43, True, 12)
        assert row["createdAt"].endswith("Z")
    assert webhooks(admin, "press", webhooks=["b", {"name": "a", "method": "onA"}]) == both
    (only,) = webhooks(admin, "press", webhooks=[{"name": "b", "method": "onB"}])
    assert only == {**both[1], "method": "onB"}
    assert webhooks(admin, "press", webhooks=[]) == [only]
    assert webhooks(admin, "press") == [only]
    assert stoa.client().post(f"/api/v1/hooks/{both[0]['token']}").status_code == 404


def signed(secret: str, body: bytes, age_s: float = 0) -> dict[str, str]:
    at = str(int(time.time() - age_s))
    made = hmac.new(secret.encode(), at.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {"x-webhook-timestamp": at, "x-webhook-signature": f"sha256={made}"}


def test_47_what_is_posted_to_a_webhook_is_given_to_the_code(stoa: Stoa, admin: Person, installed: App) -> None:
    (hook,) = webhooks(admin, "atelier", PARCELS, webhooks=[{"name": "carrier-events", "method": "onEvt"}])
    path, anybody = f"/api/v1/hooks/{hook['token']}", stoa.client()
    body = b'{"state":  "lost"}'
    answer = anybody.post(path, content=body, headers={"content-type": "application/json", "x-carrier": "acme"})
    assert (answer.status_code, answer.json()) == (200, {"heard": "carrier-events"})
    event = installed.call("events")[-1]
    assert set(event["params"]) == {"name", "headers", "body", "rawBody"}
    assert (event["params"]["name"], event["params"]["body"]) == ("carrier-events", {"state": "lost"})
    assert base64.b64decode(event["params"]["rawBody"]) == body
    headers = event["params"]["headers"]
    assert (headers["content-type"], headers["x-carrier"]) == ("application/json", "acme")
    assert event["caller"]["userId"] == admin.id

    query = '{ webhooks(app: "atelier") { nodes { signingSecret } } }'
    secret = admin.data(query)["webhooks"]["nodes"][0]["signingSecret"]
    count = len(installed.call("events"))
    for headers in (
        signed("not the secret", body),
        signed(secret, b'{"state":"lost"}'),
        signed(secret, body, age_s=600),
        signed(secret, body, age_s=-600),
        {**signed(secret, body), "x-webhook-timestamp": "soon"},
    ):
        assert anybody.post(path, content=body, headers=headers).status_code == 403
    assert len(installed.call("events")) == count
    assert anybody.post(path, content=body, headers=signed(secret, body)).status_code == 200
    wrong = anybody.post("/api/v1/hooks/no-such-token", content=body)
    assert (wrong.status_code, "invalid webhook token" in wrong.json()["error"]) == (404, True)


# Hooks.


def test_58_a_change_of_a_record_is_a_job(admin: Person, installed: App) -> None:
    made = admin.client.post(
        "/api/v1/apps/atelier/hooks", json={"entity": "parcels", "operation": "UPDATE", "action_type": "job"}
    )
    assert (made.status_code, made.json()["active"], made.json()["action_config"]) == (200, True, {})
    id = made.json()["id"]
    assert [row["id"] for row in admin.client.get("/api/v1/apps/atelier/hooks").json()] == [id]

    def heard() -> list[dict[str, Any]]:
        return [job for job in installed.call("jobs") if job["payload"].get("hook_id") == id]

    parcels = build.Collections(admin, "atelier")
    before = parcels.create("parcels", code="P-1")
    after = admin.client.patch(parcels.path("parcels", before["id"]), json={"code": "P-2"}).json()
    job = eventually(heard)[0]
    told = {name: job["payload"][name] for name in ("_hook", "entity", "operation", "record_id", "action_type")}
    assert told == {
        "_hook": True, "entity": "parcels", "operation": "UPDATE", "record_id": before["id"], "action_type": "job",
    }  # fmt: skip
    assert (job["payload"]["record"]["code"], job["payload"]["old_record"]["code"]) == ("P-2", "P-1")
    assert job["payload"]["record"]["id"] == after["id"]
    assert job["caller"]["userId"] == admin.id
    hooks = [{"entity": "parcels", "operation": on, "action_type": "job"} for on in ("INSERT", "DELETE")]
    others = [admin.client.post("/api/v1/apps/atelier/hooks", json=hook).json()["id"] for hook in hooks]
    refused = admin.client.post(parcels.path("parcels", "bulk"), json=[{"code": "a"}, {"code": None}])
    assert refused.status_code == 400
    rows = parcels.create_many("parcels", [{"code": f"bulk {n}"} for n in range(3)])
    assert admin.client.delete(parcels.path("parcels", rows[0]["id"])).status_code == 200

    def told_of(hook: str) -> list[Any]:
        return [job["payload"]["record_id"] for job in installed.call("jobs") if job["payload"].get("hook_id") == hook]

    eventually(lambda: told_of(others[1]) == [rows[0]["id"]])
    assert sorted(told_of(others[0])) == sorted(row["id"] for row in rows)
    for hook in (id, *others):
        gone = admin.client.delete(f"/api/v1/apps/atelier/hooks/{hook}")
        assert (gone.status_code, gone.json()) == (200, {"ok": True})
    assert len(heard()) == 1
