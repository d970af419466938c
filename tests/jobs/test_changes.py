"""Jobs as they change, over a subscription."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import orjson

from tests import build
from tests.harness import Person, Stoa
from tests.jobs.handing_in import ended, post
from tests.workers.hosting import App

CHANGED = "subscription ($app: ID!, $id: ID) { jobChanged(app: $app, id: $id) { id status result } }"


@contextmanager
def heard(person: Person, **variables: Any) -> Iterator[Iterator[dict[str, Any]]]:
    """What a subscription tells, from the moment that the server listens."""
    body = {"query": CHANGED, "variables": variables}
    headers = {"authorization": f"Bearer {person.token}", "accept": "text/event-stream"}
    with (
        httpx.Client(base_url=person.client.base_url, timeout=15) as client,
        client.stream("POST", "/graphql", json=body, headers=headers) as response,
    ):
        lines = response.iter_lines()
        assert next(lines) == ":"
        yield (orjson.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: "))


def test_a_job_is_told_as_it_is_and_until_its_end(admin: Person, works: App) -> None:
    id = post(admin, "works", {"ms": 400, "gives": "done"})
    with heard(admin, app="works", id=id) as events:
        told = []
        for event in events:
            job = event["data"]["jobChanged"]
            assert job["id"] == id
            told.append((job["status"], job["result"]))
            if job["status"] == "COMPLETED":
                break
    assert told[0] in (("PENDING", None), ("RUNNING", None))
    assert told[-1] == ("COMPLETED", "done")


def test_all_jobs_of_an_app_are_told_to_who_may_see_them(stoa: Stoa, admin: Person, works: App) -> None:
    person = build.reader(stoa, admin, "app:works:invoke")
    with heard(person, app="works") as events:
        post(admin, "works", {"whose": "not theirs"})
        post(admin, "other", {"whose": "another app's"})
        own = post(person, "works")
        told = set()
        for event in events:
            job = event["data"]["jobChanged"]
            told.add(job["id"])
            if job["status"] == "COMPLETED":
                break
    assert told == {own}


def test_a_job_of_others_is_not_there_to_be_heard_of(stoa: Stoa, admin: Person, works: App) -> None:
    id = post(admin, "works")
    ended(admin, "works", id)
    body = {"query": CHANGED, "variables": {"app": "works", "id": id}}
    answer = stoa.person().client.post("/graphql", json=body, headers={"accept": "text/event-stream"})
    assert '"code":"NOT_FOUND"' in answer.text
