"""What becomes of a job, from being handed in to its end."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from domain.jobs import service
from domain.jobs.service import AT_ONCE_MAX, PAYLOAD_BYTES_MAX
from tests import build
from tests.harness import Person, Stoa
from tests.jobs.handing_in import ENQUEUE, JOB, JOBS, ended, enqueue, look, post
from tests.workers.hosting import App, RunningHost, deployed, eventually

CANCEL = "mutation ($app: ID!, $id: ID!) { cancelJob(app: $app, id: $id) { status finishedAt } }"
RETRY = "mutation ($app: ID!, $id: ID!) { retryJob(app: $app, id: $id) { status attempts error finishedAt } }"


def test_it_runs_at_once_and_in_the_name_of_who_handed_it_in(admin: Person, works: App) -> None:
    job = ended(admin, "works", post(admin, "works", {"x": 1}))
    assert (job["status"], job["attempts"], job["error"]) == ("COMPLETED", 1, None)
    assert job["result"] == {"got": {"x": 1}, "by": admin.id}
    assert job["userId"] == admin.id
    assert job["createdAt"] <= job["startedAt"] <= job["finishedAt"]


def test_one_that_fails_has_failed(admin: Person, works: App) -> None:
    job = ended(admin, "works", post(admin, "works", {"fail": "no paper"}))
    assert (job["status"], job["error"], job["result"], job["attempts"]) == ("FAILED", "no paper", None, 1)


def test_one_that_may_fail_more_often_rests_longer_each_time(admin: Person, works: App) -> None:
    payload = {"failures": 2, "name": "rests"}
    id = enqueue(admin, "works", payload=payload, maxAttempts=3, backoffSeconds=1)
    waiting = eventually(lambda: (job := look(admin, "works", id))["error"] == "failure 1" and job)
    assert (waiting["status"], waiting["finishedAt"]) == ("PENDING", None)
    job = ended(admin, "works", id)
    assert (job["status"], job["attempts"]) == ("COMPLETED", 3)
    rested = datetime.fromisoformat(job["startedAt"]) - datetime.fromisoformat(job["createdAt"])
    assert timedelta(seconds=2.4) < rested < timedelta(seconds=6)  # 1 s and 2 s, a fifth more or less


def test_one_that_fails_as_often_as_it_may_has_failed(admin: Person, works: App) -> None:
    id = enqueue(admin, "works", payload={"fail": "always"}, maxAttempts=3, backoffSeconds=0)
    job = ended(admin, "works", id)
    assert (job["status"], job["attempts"], job["error"]) == ("FAILED", 3, "always")


def test_it_runs_no_earlier_than_it_may(admin: Person, works: App) -> None:
    at = datetime.now(UTC) + timedelta(seconds=1.2)
    id = enqueue(admin, "works", runAt=at.isoformat())
    assert look(admin, "works", id)["status"] == "PENDING"
    job = ended(admin, "works", id)
    assert timedelta(0) <= datetime.fromisoformat(job["startedAt"]) - at < timedelta(seconds=1.5)


@pytest.mark.parametrize("gives", [None, 0, "text", [1, {"a": None}], {"ä": "𝄞"}, 1.5, True])
def test_any_json_is_a_result(admin: Person, works: App, gives: object) -> None:
    job = ended(admin, "works", post(admin, "works", {"gives": gives}))
    assert (job["status"], job["result"]) == ("COMPLETED", gives)


def test_a_result_that_cannot_be_kept_is_a_failure(admin: Person, works: App) -> None:
    app = deployed(admin, "nul", "serve({onJob: () => 'a\\u0000b', rpc: {}})")
    job = ended(admin, app.id, post(admin, app.id))
    assert (job["status"], job["error"]) == ("FAILED", "the result must not hold the character U+0000")


def test_without_a_job_handler_it_succeeds(admin: Person, host: RunningHost) -> None:
    deployed(admin, "idle", "serve({rpc: {echo: (p) => p}})")
    assert ended(admin, "idle", post(admin, "idle"))["result"] == {"ok": True}


def test_for_an_app_without_code_it_fails(admin: Person, host: RunningHost) -> None:
    job = ended(admin, "nowhere", post(admin, "nowhere"))
    assert job["status"] == "FAILED"
    assert "no code is deployed" in job["error"]


def test_of_an_account_that_is_gone_it_fails(stoa: Stoa, admin: Person, works: App) -> None:
    person = build.reader(stoa, admin, "app:works:invoke")
    later = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    id = enqueue(person, "works", runAt=later)
    assert admin.client.delete(f"/api/v1/users/{person.id}").status_code == 200
    job = ended(admin, "works", id)
    assert (job["status"], job["error"]) == ("FAILED", "principal disabled")


def test_a_worker_that_is_replaced_while_it_is_at_a_job_loses_none(admin: Person, host: RunningHost) -> None:
    first = (
        "let begun = 0; serve({rpc: {begun: () => begun}, onJob: () => { begun += 1; return new Promise(() => {}) }})"
    )
    app = deployed(admin, "replaced", first)
    id = post(admin, "replaced", {"x": 1})
    eventually(lambda: app.call("begun") == 1)
    deployed(admin, "replaced", JOBS)
    job = ended(admin, "replaced", id)
    assert (job["status"], job["attempts"], job["error"]) == ("COMPLETED", 2, None)
    assert job["result"] == {"got": {"x": 1}, "by": admin.id}


def test_a_job_that_its_worker_dies_of_has_failed(admin: Person, host: RunningHost) -> None:
    deployed(admin, "dies", "serve({rpc: {}, onJob: () => Deno.exit(3)})")
    job = ended(admin, "dies", post(admin, "dies", {}))
    assert (job["status"], job["error"], job["attempts"]) == ("FAILED", "the worker has ended: it crashed", 1)


def test_what_is_called_off_does_not_run(admin: Person, works: App) -> None:
    later = (datetime.now(UTC) + timedelta(seconds=3)).isoformat()  # calling off comes before, on a busy machine too
    id = enqueue(admin, "works", runAt=later, payload={"mark": "called off"})
    assert admin.data(CANCEL, app="works", id=id)["cancelJob"]["status"] == "CANCELLED"
    other = enqueue(admin, "works", runAt=later)
    ended(admin, "works", other)
    assert look(admin, "works", id)["status"] == "CANCELLED"
    assert "called off" not in str(works.call("seen"))
    assert admin.code(CANCEL, app="works", id=id) == "CONFLICT"


def test_the_result_of_what_is_called_off_meanwhile_is_refused(admin: Person, works: App) -> None:
    id = post(admin, "works", {"ms": 600})
    eventually(lambda: look(admin, "works", id)["status"] == "RUNNING")
    assert admin.data(CANCEL, app="works", id=id)["cancelJob"]["status"] == "CANCELLED"
    ended(admin, "works", post(admin, "works", {"ms": 900}))
    job = look(admin, "works", id)
    assert (job["status"], job["result"]) == ("CANCELLED", None)


def test_what_has_failed_can_be_run_again(admin: Person, works: App) -> None:
    id = post(admin, "works", {"failures": 1, "name": "again"})
    assert ended(admin, "works", id)["status"] == "FAILED"
    again = admin.data(RETRY, app="works", id=id)["retryJob"]
    assert again == {"status": "PENDING", "attempts": 0, "error": None, "finishedAt": None}
    assert ended(admin, "works", id)["status"] == "COMPLETED"
    assert admin.code(RETRY, app="works", id=id) == "CONFLICT"


def test_many_are_handed_in_together_or_none(stoa: Stoa, admin: Person, works: App) -> None:
    many = "mutation ($jobs: [JobInput!]!) { enqueueJobs(app: \"works\", jobs: $jobs) { number payload } }"  # fmt: skip
    made = admin.data(many, jobs=[{"payload": {"n": n}} for n in range(50)])["enqueueJobs"]
    assert [job["payload"]["n"] for job in made] == list(range(50))
    numbers = [job["number"] for job in made]
    assert numbers == sorted(numbers)
    count = stoa.sql("SELECT count(*) AS n FROM stoa.jobs")[0]["n"]
    assert admin.code(many, jobs=[{"payload": 1}, {"maxAttempts": 101}]) == "INVALID_INPUT"
    assert admin.code(many, jobs=[]) == "INVALID_INPUT"
    assert admin.code(many, jobs=[{}] * (AT_ONCE_MAX + 1)) in ("INVALID_INPUT", "QUERY_TOO_COMPLEX")
    assert stoa.sql("SELECT count(*) AS n FROM stoa.jobs")[0]["n"] == count


@pytest.mark.parametrize(
    ("job", "field"),
    [
        ({"runAt": "2126-01-01T00:00:00Z"}, "runAt"),
        ({"priority": 11}, "priority"),
        ({"priority": -11}, "priority"),
        ({"maxAttempts": 0}, "maxAttempts"),
        ({"backoffSeconds": -1}, "backoffSeconds"),
        ({"backoffSeconds": 3601}, "backoffSeconds"),
    ],
)
def test_what_is_out_of_bounds_is_refused(stoa: Stoa, admin: Person, job: dict[str, object], field: str) -> None:
    count = stoa.sql("SELECT count(*) AS n FROM stoa.jobs")[0]["n"]
    (error,) = admin.graphql(ENQUEUE, app="works", job=job)["errors"]
    assert (error["extensions"]["code"], error["extensions"]["field"]) == ("INVALID_INPUT", field)
    assert stoa.sql("SELECT count(*) AS n FROM stoa.jobs")[0]["n"] == count


def test_a_payload_that_no_worker_could_be_told_is_refused(stoa: Stoa, admin: Person) -> None:
    count = stoa.sql("SELECT count(*) AS n FROM stoa.jobs")[0]["n"]
    for payload, said in (("x" * PAYLOAD_BYTES_MAX, "at most"), ({"a": "\0"}, "U+0000")):
        answer = admin.client.post("/api/v1/apps/works/jobs", json={"payload": payload})
        assert answer.status_code == 400
        assert said in answer.json()["error"]
    assert stoa.sql("SELECT count(*) AS n FROM stoa.jobs")[0]["n"] == count


def test_the_same_key_hands_in_once(stoa: Stoa, admin: Person) -> None:
    headers = {"idempotency-key": uuid4().hex}
    path, body = "/api/v1/apps/works/jobs", {"payload": {"once": True}}
    first, second = (admin.client.post(path, json=body, headers=headers) for _ in range(2))
    assert (first.status_code, first.json()) == (second.status_code, second.json())
    assert stoa.sql("SELECT count(*) AS n FROM stoa.jobs WHERE payload ? 'once'")[0]["n"] == 1


# Who sees what.


def test_everybody_sees_their_own(stoa: Stoa, admin: Person, works: App) -> None:
    one, other, ruler = (
        build.reader(stoa, admin, "app:works:invoke", *more) for more in ([], [], ["app:works:job.manage_others"])
    )
    mine = post(one, "works", {"whose": "mine"})
    path = "/api/v1/apps/works/jobs"
    assert [job["id"] for job in one.client.get(path).json()] == [mine]
    assert other.client.get(path).json() == []
    assert mine in [job["id"] for job in ruler.client.get(path).json()]
    assert stoa.person().client.get(path).json() == []
    for person in (other, stoa.person()):
        assert person.client.get(f"{path}/{mine}").status_code == 404
        assert person.code(JOB, app="works", id=mine) == "NOT_FOUND"
        assert person.code(CANCEL, app="works", id=mine) == "NOT_FOUND"
    assert other.code(RETRY, app="works", id=mine) == "NOT_FOUND"
    assert ruler.client.get(f"{path}/{mine}").status_code == 200
    assert admin.client.get(f"/api/v1/apps/elsewhere/jobs/{mine}").status_code == 404


def test_handing_in_takes_the_right_to_invoke(stoa: Stoa, admin: Person) -> None:
    person = stoa.person()
    count = stoa.sql("SELECT count(*) AS n FROM stoa.jobs")[0]["n"]
    assert person.client.post("/api/v1/apps/works/jobs", json={}).status_code == 403
    assert person.code(ENQUEUE, app="works") == "FORBIDDEN"
    assert stoa.client().post("/api/v1/apps/works/jobs", json={}).status_code == 401
    assert stoa.sql("SELECT count(*) AS n FROM stoa.jobs")[0]["n"] == count


def test_pages_of_jobs_hold_each_once(admin: Person, works: App) -> None:
    ids = [post(admin, "pages", {"n": n}) for n in range(7)]
    listed = "query ($after: String) { jobs(app: \"pages\", first: 3, after: $after) { nodes { id } totalCount pageInfo { endCursor hasNextPage } } }"  # fmt: skip # noqa: E501
    found, after = [], None
    for _ in range(3):
        page = admin.data(listed, after=after)["jobs"]
        found += [node["id"] for node in page["nodes"]]
        after = page["pageInfo"]["endCursor"]
    assert found == ids[::-1]
    assert (page["totalCount"], page["pageInfo"]["hasNextPage"]) == (7, False)


def test_only_so_many_jobs_of_an_app_wait(stoa: Stoa, admin: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of an app that has as many, or would have more; what was called off does not count."""
    monkeypatch.setattr(service, "WAITING_MAX", 3)
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    ids = [enqueue(admin, "crowded", runAt=later) for _ in range(2)]
    many = "mutation ($jobs: [JobInput!]!) { enqueueJobs(app: \"crowded\", jobs: $jobs) { id } }"  # fmt: skip
    assert admin.code(many, jobs=[{"runAt": later}] * 2) == "RATE_LIMITED"
    assert stoa.sql("SELECT count(*) AS n FROM stoa.jobs WHERE app_id = 'crowded'") == [{"n": 2}]
    enqueue(admin, "crowded", runAt=later)
    answer = admin.client.post("/api/v1/apps/crowded/jobs", json={})
    assert (answer.status_code, answer.json()["error"]) == (429, "3 jobs of the app are waiting already")
    assert answer.headers["retry-after"] == "5"
    enqueue(admin, "elsewhere", runAt=later)
    admin.data(CANCEL, app="crowded", id=ids[0])
    enqueue(admin, "crowded", runAt=later)
    assert admin.code(ENQUEUE, app="crowded", job={"runAt": later}) == "RATE_LIMITED"
