"""The proofs of this folder, each against a server that is broken on purpose, once: what they look for, they see."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import jsonschema_rs
import jwt
import pytest

from domain.kernel.ctx import Ctx
from domain.records import sql
from domain.records.query import Not
from graph import errors
from graph.run import Runner
from infra.identity.tokens import JwtTokens
from infra.postgres import faults as postgres_faults
from rest_compat.engine import describe, output_schemas
from rest_compat.engine.adapter import RestAdapter
from rest_compat.engine.binding import Bound
from rest_compat.engine.exchange import Exchange
from rest_compat.engine.operations import Route
from tests.contract.asking import root_fields
from tests.contract.judging import faults, graphql_faults
from tests.contract.stage import Stage, furnish
from tests.contract.test_access import wrong_for_nobody, wrong_for_strangers
from tests.contract.test_bad_input import opened_by_forgeries
from tests.contract.test_isolation import asked_round, guarded
from tests.contract.test_rest_says_what_graphql_says import World, compared
from tests.contract.test_routes import documented, listed, served
from tests.contract.test_schemathesis import AS_GRAPHQL, fuzzed
from tests.described import Described
from tests.harness import Stoa
from tests.records.oracle import Field, Negated, Test
from tests.records.test_query_laws import Held, assert_found

NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def stage(stoa: Stoa) -> Stage:
    return furnish(stoa)


@pytest.fixture
def world(stage: Stage, stoa: Stoa) -> World:
    """As twins, one server and itself: good for what reads."""
    return World(stage, stoa, stoa)


@pytest.fixture
def unchecked(stoa: Stoa, stage: Stage) -> Iterator[httpx.Client]:
    """The administrator's client, whose answers are not held against the description."""
    with httpx.Client(base_url=stoa.base_url, headers=stage.admin.client.headers) as client:
        yield client


def route_of(stoa: Stoa, label: str) -> Route:
    return next(route for route in stoa.app.rest.routes if route.label == label)


def fails(*_: Any, **__: Any) -> Any:
    raise RuntimeError('asyncpg: relation "users" does not exist')


# Descriptions.


def test_a_description_that_allows_no_null_is_seen(
    stoa: Stoa, unchecked: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = unchecked.get("/api/v1/auth/me")
    Described(stoa.app).check(answer)
    monkeypatch.setattr(output_schemas, "nullable", lambda schema: schema)
    with pytest.raises(jsonschema_rs.ValidationError, match="null is not of type"):
        Described(stoa.app).check(answer)


def test_a_status_that_is_not_described_is_seen(
    stoa: Stoa, unchecked: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = unchecked.get(f"/api/v1/users/{NOBODY}")
    Described(stoa.app).check(answer)
    monkeypatch.setattr(describe, "_codes", lambda route: iter(()))
    with pytest.raises(AssertionError, match="does not describe status 404"):
        Described(stoa.app).check(answer)


def test_a_route_that_is_gone_is_seen(adapter: RestAdapter) -> None:
    gone: Any = SimpleNamespace(routes=adapter.routes[1:], systems=adapter.systems)
    assert sorted(documented("rootcx").keys() - served(gone, "rootcx").keys()) != listed("rootcx", "missing")


def test_schemathesis_sees_a_status_that_is_not_described(
    stoa: Stoa, stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only = ("--include-operation-id", "getUser", "--phases", "coverage,fuzzing", "--max-examples", "2")
    monkeypatch.setattr(describe, "_codes", lambda route: iter(()))
    monkeypatch.setattr(stoa.app, "_described", {})
    with pytest.raises(AssertionError, match="Undocumented status code"):
        fuzzed(tmp_path, f"{stoa.base_url}/openapi/rootcx.json", stage.admin.token, *only)


def test_schemathesis_sees_a_fault_of_a_resolver(
    stoa: Stoa, stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for asked in ("user", "need", "visible"):
        monkeypatch.setattr(Ctx, asked, fails)
    only = ("--include-name-regex", r"^Query\.(me|roles|users)$", "--max-examples", "2")
    with pytest.raises(AssertionError, match="every_graphql_error_is_a_refusal"):
        fuzzed(tmp_path, f"{stoa.base_url}/graphql", stage.admin.token, *AS_GRAPHQL, *only)


# REST and GraphQL.


def test_a_status_of_its_own_is_seen(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    route, reply = route_of(world.one, "rootcx.listRoles"), Exchange.reply
    assert compared(world, route, {}) == "ok"
    monkeypatch.setattr(Exchange, "reply", lambda self, status, body, headers: reply(self, 202, body, headers))
    with pytest.raises(AssertionError, match="does not describe status 202"):
        compared(world, route, {})


def test_a_parameter_that_is_lost_is_seen(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    route, put = route_of(world.one, "rootcx.listRecords"), Bound.put
    asked = {"appId": "stage", "entity": "parcels", "limit": 2}
    assert compared(world, route, asked) == "ok"
    monkeypatch.setattr(
        Bound, "put", lambda self, want, name, value: None if name == "limit" else put(self, want, name, value)
    )
    world.one.app.rest._read.clear()  # the address was read before
    with pytest.raises(AssertionError, match="elements"):
        compared(world, route, asked)


# What goes wrong inside.


def test_a_fault_and_a_leak_are_seen(stoa: Stoa, unchecked: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    route = route_of(stoa, "rootcx.listRoles")
    assert list(faults(route, unchecked.get("/api/v1/roles"))) == []
    monkeypatch.setattr(Ctx, "visible", fails)
    assert list(faults(route, unchecked.get("/api/v1/roles"))) == ["fault: 500"]
    monkeypatch.setattr(errors, "is_fault", lambda error: False)
    assert list(faults(route, unchecked.get("/api/v1/roles"))) == ["leak: 'asyncpg'"]


def test_a_character_that_postgresql_does_not_take_is_seen(
    unchecked: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"query": "query ($app: ID) { roles(app: $app) { name } }", "variables": {"app": "\x00"}}
    assert list(graphql_faults(unchecked.post("/graphql", json=body))) == []
    monkeypatch.setattr(postgres_faults, "NUL", ())
    assert list(graphql_faults(unchecked.post("/graphql", json=body))) == ["fault: an error of code INTERNAL"]


# Queries.


def test_a_negation_that_knows_too_much_is_seen(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    held, condition = Held(stage.admin, 2), sql.condition
    field = next(f for f in held.fields if any(record[f.name] is None for record in held.records))
    value = next(record[field.name] for record in held.records if record[field.name] is not None)
    where, by = Negated(Test(field, "eq", value)), Field("id", "uuid")
    assert_found(held, where, by, "asc", (None, None))

    def broken(schema: Any, tested: Any, params: Any, alias: str = sql.ROW) -> str:
        met = condition(schema, tested, params, alias)
        return f"({met}) IS NOT FALSE" if isinstance(tested, Not) else met

    monkeypatch.setattr(sql, "condition", broken)
    with pytest.raises(AssertionError, match="total"):
        assert_found(held, where, by, "asc", (None, None))


# Who may. Last, for what is open is used.


def test_tokens_that_nobody_verifies_are_seen(stoa: Stoa, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    routes = [route_of(stoa, "rootcx.listUsers")]
    assert opened_by_forgeries(stoa, stage, routes) == []
    unverified = {"verify_signature": False}
    monkeypatch.setattr(JwtTokens, "_claims", lambda self, token: jwt.decode(token, options=unverified))
    assert any("'another key': 200" in problem for problem in opened_by_forgeries(stoa, stage, routes))


def test_a_door_that_asks_nobody_who_they_are_is_seen(
    stoa: Stoa, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = list(root_fields(stoa.app.rest.schema.executable))
    monkeypatch.setattr(Runner, "refused_entry", lambda self, operation, caller: None)
    assert any(problem.startswith("query.") for problem in wrong_for_strangers(stoa, fields))


def test_services_that_ask_for_no_permission_are_seen(
    stoa: Stoa, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = guarded(stoa, stage.admin)
    seen: list[str] = []
    asked_round(vault, 0, seen)
    assert seen == []
    nobody = stoa.person()
    fields = [field for field in root_fields(stoa.app.rest.schema.executable) if field.kind == "query"]
    assert wrong_for_nobody(fields, nobody, Counter()) == []
    monkeypatch.setattr(Ctx, "may", lambda self, key: True)
    assert any(problem.startswith("query.records") for problem in wrong_for_nobody(fields, nobody, Counter()))
    asked_round(vault, 1, seen)
    assert any(one.startswith("nobody by") for one in seen)
