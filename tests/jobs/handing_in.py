"""Handing jobs in, and waiting for what becomes of them."""

from typing import Any

from tests.harness import Person
from tests.workers.hosting import eventually

# What a payload asks for: `ms` to take a while, `fail` to fail, `failures` to fail as often, `gives` for a result.
JOBS = """
const failed = {}, seen = [];
serve({
  rpc: {echo: (params) => params, seen: () => seen},
  onJob: async (payload, caller) => {
    seen.push({payload, caller});
    if (payload.ms) await new Promise((resolve) => setTimeout(resolve, payload.ms));
    if (payload.fail) throw new Error(payload.fail);
    if (payload.failures) {
      failed[payload.name] = (failed[payload.name] ?? 0) + 1;
      if (failed[payload.name] <= payload.failures) throw new Error("failure " + failed[payload.name]);
    }
    return "gives" in payload ? payload.gives : {got: payload, by: caller?.userId};
  },
});
"""

ENQUEUE = """
mutation ($app: ID!, $job: JobInput) {
  enqueueJob(app: $app, job: $job) { id number status priority payload maxAttempts backoffSeconds runAt userId }
}
"""
JOB = """
query ($app: ID!, $id: ID!) {
  job(app: $app, id: $id) { id number status result error attempts createdAt startedAt finishedAt runAt userId }
}
"""


def post(person: Person, app_id: str, payload: Any = None) -> str:
    """Hand a job in over REST. Its id."""
    answer = person.client.post(f"/api/v1/apps/{app_id}/jobs", json={} if payload is None else {"payload": payload})
    assert answer.status_code == 201, answer.text
    id: str = answer.json()["job_id"]
    return id


def enqueue(person: Person, app_id: str, **job: Any) -> str:
    """Hand a job in over GraphQL. Its id."""
    id: str = person.data(ENQUEUE, app=app_id, job=job)["enqueueJob"]["id"]
    return id


def look(person: Person, app_id: str, id: str) -> dict[str, Any]:
    """The job as it is."""
    found: dict[str, Any] = person.data(JOB, app=app_id, id=id)["job"]
    return found


def ended(person: Person, app_id: str, id: str, within_s: float = 10) -> dict[str, Any]:
    """The job once it has finished."""

    def finished() -> dict[str, Any] | None:
        job = look(person, app_id, id)
        return job if job["finishedAt"] is not None else None

    job: dict[str, Any] = eventually(finished, within_s)
    return job
