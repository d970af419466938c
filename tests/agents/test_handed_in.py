"""Agents that are told by crons, webhooks and hooks of records, as jobs in the name of their owners."""

from typing import Any

import pytest

from tests import build
from tests.agents.asking import PARCELS, agent
from tests.agents.provider import Provider, Say
from tests.harness import Person, Stoa
from tests.workers.hosting import eventually

pytestmark = pytest.mark.usefixtures("host")

CREATE_WEBHOOK = """
mutation ($app: ID!) { createWebhook(app: $app, name: "carrier", method: "agent") { url } }
"""


def ended(admin: Person, app_id: str) -> dict[str, Any]:
    """The app's newest job, once it has finished."""

    def newest() -> dict[str, Any] | None:
        jobs = admin.client.get(f"/api/v1/apps/{app_id}/jobs?limit=1").json()
        return jobs[0] if jobs and jobs[0]["status"] in ("completed", "failed") else None

    job: dict[str, Any] = eventually(newest, 15)
    return job


def trigger_of(stoa: Stoa, job: dict[str, Any]) -> str:
    session = job["result"]["session_id"]
    (run,) = stoa.sql("SELECT trigger FROM stoa.agent_runs WHERE session_id = $1::uuid", session)
    found: str = run["trigger"]
    return found


def test_a_cron_tells_the_agent(stoa: Stoa, admin: Person, model: Provider) -> None:
    agent(admin, "nightly")
    made = admin.client.post(
        "/api/v1/apps/nightly/crons",
        json={"name": "count", "schedule": "0 3 * * *", "payload": {"message": "count the parcels"}},
    )
    model.script(Say("there are none"))
    assert admin.client.post(f"/api/v1/apps/nightly/crons/{made.json()['id']}/trigger").status_code == 200
    job = ended(admin, "nightly")
    assert (job["status"], job["result"]["response"]) == ("completed", "there are none")
    assert trigger_of(stoa, job) == "cron"
    assert "count the parcels" in str(model.asked[-1])
    model.script(Say("as scheduled"))
    stoa.sql("UPDATE stoa.crons SET payload = '{}', next_at = now() - interval '1 minute' WHERE app_id = 'nightly'")
    eventually(lambda: ended(admin, "nightly")["result"] != job["result"])
    assert ended(admin, "nightly")["result"]["response"] == "as scheduled"
    assert "Scheduled invocation" in str(model.asked[-1])


def test_a_cron_whose_owner_may_not_invoke_any_more_tells_nobody(stoa: Stoa, admin: Person, model: Provider) -> None:
    agent(admin, "guarded")
    owner = stoa.person()
    role = build.grant(admin, owner, "app:guarded:cron.write", "app:guarded:invoke")
    cron = {"name": "count", "schedule": "0 3 * * *"}
    assert owner.client.post("/api/v1/apps/guarded/crons", json=cron).status_code == 201
    admin.client.post("/api/v1/roles/revoke", json={"userId": owner.id, "role": role})
    stoa.sql("UPDATE stoa.crons SET next_at = now() - interval '1 minute' WHERE app_id = 'guarded'")
    job = ended(admin, "guarded")
    assert job["status"] == "failed"
    assert "app:guarded:invoke" in job["error"]
    assert stoa.sql("SELECT count(*) AS n FROM stoa.agent_runs WHERE app_id = 'guarded'")[0]["n"] == 0


def test_a_webhook_tells_the_agent_and_answers_at_once(stoa: Stoa, admin: Person, model: Provider) -> None:
    agent(admin, "carrier")
    url = admin.data(CREATE_WEBHOOK, app="carrier")["createWebhook"]["url"]
    model.script(Say("noted"))
    answer = stoa.client().post(url, content=b'{"state": "lost"}')
    assert (answer.status_code, answer.json()) == (200, {"status": "accepted"})
    job = ended(admin, "carrier")
    assert (job["status"], job["result"]["response"]) == ("completed", "noted")
    assert trigger_of(stoa, job) == "webhook"
    assert "carrier" in str(model.asked[-1])
    assert "lost" in str(model.asked[-1])


def test_a_change_of_another_apps_records_tells_the_agent(stoa: Stoa, admin: Person, model: Provider) -> None:
    watched = build.app(admin, PARCELS, app_id="watched")
    agent(admin, "watcher")
    trigger = {"appId": "watched", "entity": "parcels", "on": ["insert"]}
    declared = build.manifest(PARCELS, app_id="watcher", trigger=trigger)
    assert admin.client.post("/api/v1/apps", json=declared).status_code == 200
    model.script(Say("seen"))
    watched.create("parcels", code="P-77")
    job = ended(admin, "watcher")
    assert (job["status"], job["result"]["response"]) == ("completed", "seen")
    assert trigger_of(stoa, job) == "hook"
    assert "P-77" in str(model.asked[-1])
