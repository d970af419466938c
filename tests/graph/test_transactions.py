"""One operation, one transaction: all of it or nothing, whoever asks for what at the same time."""

from typing import Any

import pytest

from domain.kernel.errors import Code
from graph import run
from tests import build
from tests.build import Collections
from tests.harness import Person, Stoa, at_once
from tests.holding import held


@pytest.fixture(scope="module")
def parcels(admin: Person) -> Collections:
    return build.app(
        admin, build.entity("parcels", build.field("code", required=True), build.field("weight", "number"))
    )


def creating(parcels: Collections, *codes: str) -> str:
    """The fields of a mutation that creates these parcels."""
    return " ".join(
        f'{alias}: createRecord(app: "{parcels.app_id}", entity: "parcels", values: {{code: "{code}"}})'
        for alias, code in zip("abcdefgh", codes, strict=False)
    )


def everything(stoa: Stoa, parcels: Collections) -> dict[str, int]:
    """How much of everything an operation writes there is."""
    tables = [f'"{parcels.app_id}"."parcels"', "stoa.audit_log", "stoa.outbox", "stoa.idempotency_keys", "stoa.roles"]
    return {table: stoa.sql(f"SELECT count(*) AS n FROM {table}")[0]["n"] for table in tables}


@pytest.mark.parametrize(
    ("last", "refused"),
    [
        ('deleteRole(name: "nothing")', "NOT_FOUND"),
        ('z: createRole(name: "admin") { name }', "INVALID_INPUT"),
        ('z: uninstallApp(id: "core")', "FORBIDDEN"),
        ('z: createRecord(app: "{app}", entity: "parcels", values: {weight: 1})', "INVALID_INPUT"),
        ('z: createRecord(app: "{app}", entity: "nothing", values: {weight: 1})', "NOT_FOUND"),
    ],
)
def test_a_mutation_whose_last_field_fails_leaves_nothing(
    stoa: Stoa, parcels: Collections, last: str, refused: str
) -> None:
    before = everything(stoa, parcels)
    query = f'mutation {{ {creating(parcels, "one", "two")} r: createRole(name: "left") {{ name }} {last} }}'
    query = query.replace("{app}", parcels.app_id)
    answer = parcels.person.client.post("/graphql", json={"query": query}, headers={"idempotency-key": "left"})
    errors = answer.json()["errors"]
    assert [error["extensions"]["code"] for error in errors] == [refused]
    assert answer.json()["data"] is None
    assert everything(stoa, parcels) == before


def test_later_fields_of_a_mutation_see_what_earlier_ones_did(parcels: Collections) -> None:
    data = parcels.person.data(f"""mutation {{
        made: createRole(name: "seen", permissions: ["app:{parcels.app_id}:parcels.read"]) {{ name }}
        given: assignRole(user: "{parcels.person.id}", role: "seen")
        taken: revokeRole(user: "{parcels.person.id}", role: "seen")
        gone: deleteRole(name: "seen")
    }}""")
    assert data == {"made": {"name": "seen"}, "given": True, "taken": True, "gone": True}


def test_a_mutation_that_succeeds_is_audited_and_told_field_by_field(stoa: Stoa, parcels: Collections) -> None:
    before = everything(stoa, parcels)
    parcels.person.data(f"mutation {{ {creating(parcels, 'x', 'y', 'z')} }}")
    after = everything(stoa, parcels)
    grown = {table: after[table] - before[table] for table in before}
    assert grown == {
        f'"{parcels.app_id}"."parcels"': 3,
        "stoa.audit_log": 3,
        "stoa.outbox": 3,
        "stoa.idempotency_keys": 0,
        "stoa.roles": 0,
    }


SIBLINGS = """
query many($app: ID!) {
  me { username } apps { id manifest } app(id: $app) { name } users { totalCount nodes { id } }
  roles { name permissions } appRoles: roles(app: $app) { name } roleAssignments { role } permissions { permissions }
  availablePermissions { key } status { postgres { state } } signInMode { setupRequired } health(full: true) { status }
  one: records(app: $app, entity: "parcels") { totalCount rows }
  two: records(app: $app, entity: "parcels", first: 3) { edges { cursor node } pageInfo { hasNextPage } }
  auditEntries(first: 5) { id recordId }
}
"""


def test_siblings_that_read_at_the_same_time_do_not_disturb_each_other(parcels: Collections) -> None:
    """Fifteen resolvers of one operation, eight operations at once: a session is used by one of them at a time."""
    parcels.create_many("parcels", [{"code": f"s{number}"} for number in range(5)])
    expected = parcels.person.data(SIBLINGS, app=parcels.app_id)
    answers = at_once([lambda: parcels.person.graphql(SIBLINGS, app=parcels.app_id) for _ in range(8)])
    for answer in answers:
        assert "errors" not in answer
        assert stable(answer["data"]) == stable(expected)


def stable(data: dict[str, Any]) -> dict[str, Any]:
    """Without the cursors, which are sealed anew each time."""
    return {**data, "two": [edge["node"] for edge in data["two"]["edges"]]}


def test_one_that_fails_among_siblings_does_not_disturb_the_others_session(parcels: Collections) -> None:
    query = """query ($app: ID!) {
        a: records(app: $app, entity: "nothing") { rows } b: records(app: $app, entity: "parcels") { totalCount }
        c: user(id: "00000000-0000-0000-0000-000000000000") { id } d: me { id }
    }"""
    for answer in at_once([lambda: parcels.person.graphql(query, app=parcels.app_id) for _ in range(8)]):
        assert {error["extensions"]["code"] for error in answer["errors"]} <= {"NOT_FOUND"}
        assert answer["data"] is None
    assert parcels.person.data("{me{username}}") == {"me": {"username": "admin"}}


def test_an_operation_that_takes_too_long_is_cut_off_and_leaves_no_connection_behind(
    stoa: Stoa, parcels: Collections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "TIMEOUT_S", 0.3)
    before = everything(stoa, parcels)
    query = f"mutation {{ {creating(parcels, 'late')} }}"
    read = f'{{records(app: "{parcels.app_id}", entity: "parcels") {{ rows }}}}'
    with held(stoa.database_url, f'LOCK TABLE "{parcels.app_id}"."parcels" IN ACCESS EXCLUSIVE MODE'):
        for _ in range(3):  # more than there are connections, in all
            writes = at_once([lambda: parcels.person.graphql(query) for _ in range(5)])
            reads = at_once([lambda: parcels.person.graphql(read) for _ in range(5)])
            for answer in [*writes, *reads]:
                assert [error["extensions"]["code"] for error in answer["errors"]] == [Code.QUERY_TIMEOUT]
        rest = parcels.person.client.post(parcels.path("parcels"), json={"code": "late"})
        assert (rest.status_code, rest.json()["code"]) == (400, "query_timeout")
    assert everything(stoa, parcels) == before
    parcels.create("parcels", code="in time")
    assert parcels.query("parcels", where={"code": "in time"})["total"] == 1
    busy = "datname = current_database() AND state <> 'idle' AND pid <> pg_backend_pid()"
    assert stoa.sql(f"SELECT query FROM pg_stat_activity WHERE {busy}") == []
