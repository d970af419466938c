"""What the records engine costs as it grows: a record by its id among many types and rows, and a schema's memory."""

import asyncio
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg

from bench.crm import id_of
from bench.load import Request, load
from bench.serving import Server, serving
from bench.sides import database_url, graphql

ROUNDS = 7
SECONDS = 1.0
CONNECTIONS = 16
FIELDS = 10
REQUESTS = 200

TYPES = (10, 1_000)
TYPES_OF_AN_APP = 100  # the others are other apps'
ROWS = (1_000, 1_000_000)
TENANTS = (10, 1_000)  # each with an app of its own, asked one after another
TENANT_ROWS = 10
KNOWN_S = 10.0
FLAT = 1.2
SCHEMAS = 20
SCHEMA_TYPES = 10
SCHEMA_MIB_MAX = 10

Row = tuple[str, str, str]


def rows() -> Iterator[Row]:
    """The rows of the table: figure, measured, to reach."""
    with tempfile.TemporaryDirectory() as name, serving(Path(name)) as server:
        folder = Path(name)
        for kind, sizes in (("object types", TYPES), ("rows", ROWS)):
            asked = []
            for size in sizes:
                types, count = (size, ROWS[0]) if kind == "object types" else (TYPES[0], size)
                app = f"{kind.split()[-1]}_{size}"
                _install(server, app, types)
                asyncio.run(_fill(folder, app, count))
                asked.append(_requests(server, app, count))
            ratio = _slowdown(server, *asked)
            yield f"get by id, {sizes[1]:,} {kind} over {sizes[0]:,}", f"{ratio:.2f}x", f"<= {FLAT}x"
        ratio = _slowdown(server, *_in_turn(server, folder))
        yield f"get by id, {TENANTS[1]:,} apps in turn over {TENANTS[0]:,}", f"{ratio:.2f}x", f"<= {FLAT}x"
        yield "memory of a cached schema", f"{_schema_mib(server):.1f} MiB", f"< {SCHEMA_MIB_MAX} MiB"


def _install(server: Server, app: str, types: int) -> None:
    """Install an app of so many types, and more apps for those beyond its bound."""
    fields: list[dict[str, Any]] = [{"name": f"field_{n}", "type": "text"} for n in range(FIELDS)]
    own = min(types, TYPES_OF_AN_APP)
    names = ["things", *(f"things_{n}" for n in range(1, own))]
    contract = [{"entityName": name, "fields": fields} for name in names]
    answer = server.client.post("/api/v1/apps", json={"appId": app, "name": app, "dataContract": contract})
    assert answer.status_code == 200, answer.text
    if types > own:
        _install(server, f"{app}_more", types - own)


async def _fill(folder: Path, app: str, count: int) -> None:
    connection = await asyncpg.connect(database_url(folder))
    names, values = (
        ", ".join(of(n) for n in range(FIELDS)) for of in (lambda n: f"field_{n}", lambda n: f"'{n} ' || n")
    )
    try:
        await connection.execute(
            f"""ALTER TABLE {app}.things DISABLE TRIGGER USER;
            INSERT INTO {app}.things (id, {names})
            SELECT md5('things' || n)::uuid, {values} FROM generate_series(0, {count - 1}) n;
            ALTER TABLE {app}.things ENABLE TRIGGER USER"""
        )
        await connection.execute(f"VACUUM ANALYZE {app}.things")
    finally:
        await connection.close()


def _requests(server: Server, app: str, count: int) -> list[Request]:
    return [_request(server, app, n * 7919 % count) for n in range(REQUESTS)]


def _request(server: Server, app: str, row: int) -> Request:
    fields = " ".join(f"field{n}" for n in range(FIELDS))
    query = f"query($id: ID!) {{ thing(id: $id) {{ id {fields} }} }}"
    return graphql(f"/graphql/{app}", query, id=id_of("things", row)).of(server.token)


def _in_turn(server: Server, folder: Path) -> tuple[list[Request], list[Request]]:
    """Requests for one app after another, of few apps and of many, all of which are known to the server."""
    apps = [f"tenant_{n}" for n in range(TENANTS[1])]
    for app in apps:
        _install(server, app, 1)
        asyncio.run(_fill(folder, app, TENANT_ROWS))
    few, many = ([_request(server, apps[n % of], n % TENANT_ROWS) for n in range(TENANTS[1])] for of in TENANTS)
    load(server.address, many, 1, KNOWN_S)
    return few, many


def _slowdown(server: Server, small: list[Request], large: list[Request]) -> float:
    """How many times longer the median answer takes in the large one."""
    ratios = []
    for requests in (small, large):
        load(server.address, requests, 1, SECONDS)
        load(server.address, requests, CONNECTIONS, SECONDS)
    for _ in range(ROUNDS):
        first, second = (load(server.address, requests, CONNECTIONS, SECONDS).p50_ms for requests in (small, large))
        ratios.append(second / first)
    return statistics.median(ratios)


def _schema_mib(server: Server) -> float:
    """What the server grows by when it is asked for the schemas of some more apps, by their number."""
    for n in range(SCHEMAS + 1):
        _install(server, f"schema_{n}", SCHEMA_TYPES)
    _ask(server, "schema_0")
    before = server.memory_mib
    for n in range(1, SCHEMAS + 1):
        _ask(server, f"schema_{n}")
    return (server.memory_mib - before) / SCHEMAS


def _ask(server: Server, app: str) -> None:
    answer = server.client.post(f"/graphql/{app}", json={"query": "{ __schema { types { name } } }"})
    assert "errors" not in answer.json(), answer.text
