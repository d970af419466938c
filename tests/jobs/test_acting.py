"""Work in the name of others: only of those who agreed, and may do no more than who hands it in."""

from typing import Any

import pytest

from tests import build
from tests.build import Collections
from tests.harness import Person, Stoa
from tests.jobs.handing_in import ended
from tests.workers.hosting import App

ALLOW = """
mutation ($actor: UUID!, $principal: UUID) { allowActing(actor: $actor, principal: $principal) { principalId actorId } }
"""
DISALLOW = "mutation ($actor: UUID!, $principal: UUID) { disallowActing(actor: $actor, principal: $principal) }"
AGREEMENTS = "{ actingAgreements { principalId actorId } }"


@pytest.fixture
def other(stoa: Stoa, admin: Person, things: Collections) -> Person:
    return build.reader(stoa, admin, "app:works:invoke", "app:works:things.read")


def handed_in(person: Person, user: Any) -> Any:
    return person.client.post("/api/v1/apps/works/jobs", json={"payload": {}, "user_id": user})


def owners(stoa: Stoa, table: str) -> list[str]:
    return [row["owner_id"] for row in stoa.sql(f"SELECT owner_id::text FROM stoa.{table} ORDER BY created_at")]


def test_a_job_runs_in_the_name_of_who_agreed(stoa: Stoa, admin: Person, works: App, other: Person) -> None:
    assert handed_in(admin, other.id).status_code == 403
    assert other.data(ALLOW, actor=admin.id) == {"allowActing": {"principalId": other.id, "actorId": admin.id}}
    assert other.data(ALLOW, actor=admin.id)["allowActing"]["actorId"] == admin.id  # once more changes nothing
    job = ended(admin, "works", handed_in(admin, other.id).json()["job_id"])
    assert (job["status"], job["userId"], job["result"]["by"]) == ("COMPLETED", other.id, other.id)
    agreed = {"principalId": other.id, "actorId": admin.id}
    assert (agreed in admin.data(AGREEMENTS)["actingAgreements"], other.data(AGREEMENTS)["actingAgreements"]) == (
        True,
        [agreed],
    )
    assert other.data(DISALLOW, actor=admin.id) == {"disallowActing": True}
    assert other.data(DISALLOW, actor=admin.id) == {"disallowActing": False}
    refused = handed_in(admin, other.id)
    assert (refused.status_code, refused.json()["field"]) == (403, "user_id")
    assert handed_in(admin, "x").status_code == 400
    assert handed_in(admin, admin.id).status_code == 201


def test_nobody_gains_rights_by_it(stoa: Stoa, admin: Person, works: App, other: Person) -> None:
    before = stoa.sql("SELECT count(*) AS n FROM stoa.jobs")
    admin.data(ALLOW, actor=other.id)
    refused = handed_in(other, admin.id)
    assert (refused.status_code, refused.json()["error"]) == (
        403,
        "permission denied: that account may do what you may not: *",
    )
    third = stoa.person()
    assert other.code(ALLOW, actor=other.id, principal=third.id) == "FORBIDDEN"
    assert other.code(DISALLOW, actor=other.id, principal=admin.id) == "FORBIDDEN"
    assert other.code(ALLOW, actor=other.id) == "INVALID_INPUT"
    assert other.code(ALLOW, actor="00000000-0000-4000-8000-000000000000") == "NOT_FOUND"
    assert stoa.sql("SELECT count(*) AS n FROM stoa.jobs") == before
    assert third.data(AGREEMENTS) == {"actingAgreements": []}


def test_crons_and_hooks_are_theirs(stoa: Stoa, admin: Person, things: Collections, other: Person) -> None:
    cron = {"name": "theirs", "schedule": "0 0 1 1 *", "runAs": other.id}
    hook = {"entity": "things", "operation": "INSERT", "action_type": "job", "runAs": other.id}
    makes = {"crons": (cron, 201), "hooks": (hook, 200)}
    for path, (body, _) in makes.items():
        refused = admin.client.post(f"/api/v1/apps/works/{path}", json=body)
        assert (refused.status_code, refused.json()["field"]) == (403, "runAs")
    assert (owners(stoa, "crons"), owners(stoa, "record_hooks")) == ([], [])
    admin.data(ALLOW, actor=admin.id, principal=other.id)
    for path, (body, status) in makes.items():
        assert admin.client.post(f"/api/v1/apps/works/{path}", json=body).status_code == status
    assert (owners(stoa, "crons"), owners(stoa, "record_hooks")) == ([other.id], [other.id])
    things.create("things", name="seen")
    hooked = stoa.sql("SELECT id::text, user_id::text FROM stoa.jobs WHERE origin = 'hook' ORDER BY number DESC")[0]
    assert hooked["user_id"] == other.id
    assert ended(admin, "works", hooked["id"])["status"] == "COMPLETED"
    stoa.sql("DELETE FROM stoa.record_hooks")
    stoa.sql("DELETE FROM stoa.crons")
