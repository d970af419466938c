"""Laws of the plan: from any declaration to any other, it ends where it should and keeps what fits."""

from collections.abc import Awaitable, Iterator
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from domain.apps import service as apps
from domain.apps.manifest import parse_manifest
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Invalid
from domain.kernel.unit import Statement
from domain.records import service as records
from domain.records.service import Query
from domain.records.types import field_type
from tests import build
from tests.declarations import contracts, entities, values_of
from tests.harness import Person, Stoa
from tests.operations import Operations, operations

Contract = list[dict[str, Any]]
PHASES = (Phase.explicit, Phase.generate, Phase.shrink)
quickly = settings(max_examples=20, deadline=None, phases=PHASES, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def operating(stoa: Stoa, admin: Person) -> Iterator[Operations]:
    with operations(stoa, admin) as opened:
        yield opened


def manifest(contract: Contract) -> dict[str, Any]:
    return build.manifest(*contract, app_id="law")


async def install(ctx: Ctx, contract: Contract) -> None:
    await apps.install(ctx, manifest(contract))
    assert (await apps.plan_app(ctx, manifest(contract))).steps == []


async def refused(work: Awaitable[None]) -> Invalid | None:
    """The refusal that the work ends in, if it does."""
    try:
        await work
    except Invalid as refusal:
        return refusal
    return None


async def columns(ctx: Ctx, entity: str) -> dict[str, tuple[str, bool]]:
    sql = (
        "SELECT attname, format_type(atttypid, atttypmod) AS type, attnotnull FROM pg_attribute "
        "WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped"
    )
    rows = await ctx.fetch(Statement(sql, (f'law."{entity}"',)))
    return {row["attname"]: (row["type"], row["attnotnull"]) for row in rows}


@quickly
@given(before=contracts(), after=contracts())
def test_a_declaration_installed_over_another_is_what_is_there(
    operating: Operations, before: Contract, after: Contract
) -> None:
    async def work(ctx: Ctx) -> None:
        await install(ctx, before)
        await install(ctx, after)
        for type in parse_manifest(manifest(after)).types:
            wanted = {field.name: (field.type.column, field.required) for field in type.columns.values()}
            assert await columns(ctx, type.name) == wanted

    operating.undone(work)


@quickly
@given(data=st.data(), before=entities("e0", []), after=entities("e0", []))
def test_values_that_fit_survive_a_change_of_declaration(
    operating: Operations, data: st.DataObject, before: dict[str, Any], after: dict[str, Any]
) -> None:
    old = {field["name"]: field for field in before["fields"] if field["type"] != "entity_link"}
    new = {field["name"]: field for field in after["fields"] if field["type"] != "entity_link"}
    rows = data.draw(
        st.lists(st.fixed_dictionaries({name: values_of(field) for name, field in old.items()}), max_size=4)
    )
    rows = [row for row in rows if row]

    async def read(ctx: Ctx) -> dict[str, dict[str, Any]]:
        found = await records.find(ctx, "law", "e0", Query(first=100), {"rows"})
        return {row["id"]: row for row in orjson.loads(str(found.rows))}

    async def work(ctx: Ctx) -> str:
        await install(ctx, [before])
        if rows:
            await records.create_many(ctx, "law", "e0", rows)
        stored = await read(ctx)
        refusal = await refused(install(ctx, [after]))
        if refusal is not None:
            assert rows, refusal.message
            assert refusal.field is not None
            name = refusal.field.partition(".")[2]
            assert old.get(name) != new.get(name), refusal.message
            return "refused"
        shown = await read(ctx)
        assert shown.keys() == stored.keys()
        for id, row in shown.items():
            for name, field in new.items():
                if name not in old and field.get("required"):
                    type = field_type(field["type"])
                    assert type.operand(row[name]) == type.operand(field["default_value"])
                elif name not in old:
                    assert row[name] is None
                elif old[name]["type"] == field["type"]:
                    assert row[name] == stored[id][name]
        return "installed"

    event(operating.undone(work))
