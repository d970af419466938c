"""What the typed schemas remember: as much as memory allows, be it of few apps or of very many."""

import asyncio
import gc
import tracemalloc
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from graphql import get_introspection_query

from domain.access.permissions import EVERYTHING, Grants
from domain.kernel.ctx import Actor
from domain.records.declared import AppSchema, Field, ObjectType
from domain.records.types import field_type
from graph.typed import run
from graph.typed.run import Known, TypedOperation, TypedSchemas
from infra.seal import HmacSeal

ADMIN = Actor(grants=Grants([EVERYTHING]))
BY_ID = "query($id: ID!) { thing(id: $id) { id f0 f1 f2 } }"
GIVEN = {"id": "01a20160-e59d-7000-9fbd-768b4e4d884a"}


def app(name: str, entities: int = 1) -> AppSchema:
    fields = tuple(Field(f"f{n}", field_type("text")) for n in range(10))
    names = ["things", *(f"things_{n}" for n in range(1, entities))]
    return AppSchema(ADMIN.tenant_id, name, "App", name, 1, {name: ObjectType(name, fields) for name in names})


@pytest.fixture
def schemas() -> TypedSchemas:
    return TypedSchemas(HmacSeal([]))


def asked(schemas: TypedSchemas, of: AppSchema, source: str = BY_ID) -> TypedOperation:
    """The operation, with its plan, or with all the types there are."""
    operation = schemas.operation(of, ADMIN, source, None, GIVEN)
    if "__schema" in source:
        ctx: Any = SimpleNamespace(tenant_id=ADMIN.tenant_id)
        asyncio.run(schemas.run(operation, {}, ctx))
    else:
        schemas._plan(operation, GIVEN)
    return operation


def known(schemas: TypedSchemas) -> Iterator[Known]:
    return (known for known, _ in schemas._schemas._kept.values())


def test_a_thousand_small_apps_are_prepared_once(schemas: TypedSchemas) -> None:
    apps = [app(f"app_{n}") for n in range(1000)]
    first = [asked(schemas, one) for one in apps]
    assert all(asked(schemas, one) is before for one, before in zip(apps, first, strict=True))


def test_what_all_take_is_bounded(schemas: TypedSchemas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "SCHEMAS_BYTES_MAX", 2_000_000)
    schemas = TypedSchemas(HmacSeal([]))
    for n in range(100):
        asked(schemas, app(f"app_{n}"))
    told = list(known(schemas))
    assert 5 < len(told) < 100
    assert 1_500_000 < sum(one.bytes for one in told) == schemas._schemas.weight <= 2_000_000
    assert told[-1].schema.app.app_id == "app_99"


def test_one_app_with_ever_new_documents_leaves_the_others_be(
    schemas: TypedSchemas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "OPERATIONS_BYTES_MAX", 500_000)
    quiet = asked(schemas, app("quiet"))
    for n in range(1, 201):
        asked(schemas, app("noisy"), f"{{ things(first: {n}) {{ nodes {{ f1 }} }} }}")
    noisy = list(known(schemas))[-1]
    assert noisy.operations.weight <= 500_000
    assert asked(schemas, app("quiet")) is quiet


def test_what_was_planned_later_counts(schemas: TypedSchemas) -> None:
    source = "query($where: ThingWhere) { things(where: $where) { nodes { id } } }"
    operation = schemas.operation(app("one"), ADMIN, source, None, {})
    before = schemas._schemas.weight
    for n in range(10):
        schemas._plan(operation, {"where": {f"f{n}": {"eq": "x"}}})
    assert schemas._schemas.weight >= before + 10 * run.PLAN_BYTES


@pytest.mark.parametrize("source", [BY_ID, get_introspection_query()])
def test_what_it_is_said_to_take_is_about_what_it_takes(schemas: TypedSchemas, source: str) -> None:
    apps = [app(f"app_{n}", 10) for n in range(6)]
    asked(schemas, apps[0], source)
    tracemalloc.start()
    try:
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for one in apps[1:]:
            asked(schemas, one, source)
        gc.collect()
        took = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    said = sum(one.bytes for one in known(schemas)) * 5 / 6
    assert 0.4 < said / took < 2.5, (said, took)
