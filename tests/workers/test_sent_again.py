"""Calls of deployed code that come with a key: done once, and nothing is held while they are waited for."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.harness import Person, Stoa
from tests.workers.hosting import App, RunningHost, deployed

CODE = """
let calls = 0;
serve({rpc: {
  slowly: async ({ms}) => { calls += 1; await new Promise((resolve) => setTimeout(resolve, ms)); return calls },
  count: () => calls,
  fails: () => { calls += 1; throw new Error("no such luck") },
}});
"""
IN_A_TRANSACTION = "SELECT state FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'"


@pytest.fixture(scope="module")
def app(admin: Person, host: RunningHost) -> App:
    return deployed(admin, "sentagain", CODE)


def rows(stoa: Stoa, key: str) -> list[Any]:
    return stoa.sql("SELECT answer FROM stoa.idempotency_keys WHERE key = $1", key)


def test_a_call_in_flight_holds_no_transaction_and_is_done_once(app: App, stoa: Stoa) -> None:
    key = str(uuid4())
    headers = {"idempotency-key": key}
    before = app.call("count")
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(app.rpc, "slowly", {"ms": 1500}, headers=headers)
        while not rows(stoa, key):
            assert not first.done()
            time.sleep(0.01)
        assert stoa.sql(IN_A_TRANSACTION) == []
        assert rows(stoa, key) == [{"answer": b""}]
        with httpx.Client(base_url=app.person.client.base_url, headers=app.person.client.headers) as client:
            body = {"method": "slowly", "params": {"ms": 1500}}
            second = client.post(f"/api/v1/apps/{app.id}/rpc", json=body, headers=headers)
        assert not first.done()
    assert (second.status_code, second.json()["code"], second.headers["retry-after"]) == (409, "conflict", "1")
    again = app.rpc("slowly", {"ms": 1500}, headers=headers)
    assert (first.result().json(), again.json()) == (before + 1, before + 1)
    assert again.headers["idempotency-replayed"] == "true"
    assert app.call("count") == before + 1


def test_a_call_that_failed_may_be_sent_again(app: App, stoa: Stoa) -> None:
    key, before = str(uuid4()), app.call("count")
    for nth in (1, 2):
        assert app.rpc("fails", headers={"idempotency-key": key}).status_code == 500
        assert (rows(stoa, key), app.call("count")) == ([], before + nth)


def test_what_a_process_left_that_is_gone_is_done_again_after_its_time(app: App, stoa: Stoa) -> None:
    key = str(uuid4())
    headers = {"idempotency-key": key}
    first = app.rpc("slowly", {"ms": 1}, headers=headers)
    stoa.sql(
        "UPDATE stoa.idempotency_keys SET answer = '', created_at = now() + interval '1 minute' WHERE key = $1", key
    )
    assert app.rpc("slowly", {"ms": 1}, headers=headers).status_code == 409
    stoa.sql("UPDATE stoa.idempotency_keys SET created_at = now() - interval '1 second' WHERE key = $1", key)
    assert app.rpc("slowly", {"ms": 1}, headers=headers).json() == first.json() + 1


def test_what_was_written_before_the_wait_is_of_one_transaction_with_what_follows(app: App, stoa: Stoa) -> None:
    """A mutation of several fields, the last of which fails outside: none of it is done."""
    document = f"""mutation {{
        role: createRole(name: "waited") {{ name }}
        called: callApp(app: "{app.id}", method: "fails")
    }}"""
    answer = app.person.client.post("/graphql", json={"query": document}, headers={"idempotency-key": str(uuid4())})
    assert answer.json()["errors"][0]["message"] == "no such luck"
    assert stoa.sql("SELECT name FROM stoa.roles WHERE name = 'waited'") == []
