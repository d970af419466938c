"""What goes wrong inside stays inside: the log has all of it, the answer where to find it there."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from tests import build
from tests.build import Collections
from tests.harness import Person, Stoa

ENTRIES = "{auditEntries(first: 1){id}}"


@contextmanager
def broken(stoa: Stoa, table: str, column: str) -> Iterator[None]:
    """A column that isn't there, as after a migration that went wrong."""
    stoa.sql(f"ALTER TABLE stoa.{table} RENAME COLUMN {column} TO lost")
    try:
        yield
    finally:
        stoa.sql(f"ALTER TABLE stoa.{table} RENAME COLUMN lost TO {column}")


@pytest.fixture(scope="module")
def parcels(admin: Person) -> Collections:
    return build.app(admin, build.entity("parcels", build.field("code")))


def told(response: httpx.Response) -> dict[str, Any]:
    error: dict[str, Any] = response.json()["errors"][0]
    return error


def assert_logged(logs: list[Any], request_id: str) -> None:
    """One line of error with the exception, and the operation's own line, both with the request's id."""
    failed = [entry for entry in logs if entry["event"] == "operation_failed"]
    assert [entry["request"] for entry in failed] == [request_id]
    assert isinstance(failed[0]["exc_info"], Exception)
    assert failed[0]["exc_info"].__traceback__ is not None
    assert failed[0]["log_level"] == "error"
    operation = [entry for entry in logs if entry["event"] == "operation"]
    assert [(entry["outcome"], entry["request"]) for entry in operation] == [("INTERNAL", request_id)]


def assert_silent(response: httpx.Response) -> None:
    text = response.text.lower()
    for trace in ("audit_log", "does not exist", "select", "traceback", "sqlalchemy", "asyncpg", "lost", "42703"):
        assert trace not in text


def test_a_fault_of_a_query_is_masked_and_logged(stoa: Stoa, admin: Person) -> None:
    with broken(stoa, "audit_log", "delegator_id"), capture_logs() as logs:
        response = admin.client.post("/graphql", json={"query": ENTRIES})
    request_id = response.headers["x-request-id"]
    assert response.status_code == 200
    assert told(response)["message"] == "internal error"
    assert told(response)["extensions"] == {"code": "INTERNAL", "requestId": request_id}
    assert_silent(response)
    assert_logged(logs, request_id)
    assert admin.data(ENTRIES)["auditEntries"] is not None


def test_a_fault_of_a_rest_route_is_masked_and_logged(stoa: Stoa, admin: Person) -> None:
    client = httpx.Client(base_url=stoa.base_url, headers=admin.client.headers)  # a 500 is in no description
    with broken(stoa, "audit_log", "delegator_id"), capture_logs() as logs, client:
        response = client.get("/api/v1/audit")
    request_id = response.headers["x-request-id"]
    assert response.status_code == 500
    assert response.json() == {"error": "internal error", "code": "internal", "requestId": request_id}
    assert_silent(response)
    assert_logged(logs, request_id)


def test_a_fault_of_a_mutation_undoes_it(stoa: Stoa, parcels: Collections) -> None:
    query = f"""mutation {{
        kept: createRecord(app: "{parcels.app_id}", entity: "parcels", values: {{code: "before-the-fault"}})
        createRole(name: "faulty") {{ name }}
    }}"""
    with broken(stoa, "roles", "description"), capture_logs() as logs:
        response = parcels.person.client.post("/graphql", json={"query": query})
    assert_logged(logs, response.headers["x-request-id"])
    assert told(response)["message"] == "internal error"
    assert told(response)["path"] == ["createRole"]
    assert response.json()["data"] is None
    assert parcels.query("parcels", where={"code": "before-the-fault"})["total"] == 0


def test_a_refusal_is_one_line_at_info_and_no_traceback(admin: Person) -> None:
    with capture_logs() as logs:
        assert admin.code('mutation { deleteRole(name: "nothing") }') == "NOT_FOUND"
    assert [(entry["event"], entry["outcome"], entry["log_level"]) for entry in logs] == [
        ("operation", "NOT_FOUND", "info")
    ]
