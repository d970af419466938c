"""Many documents: how long they take to become routes."""

import tempfile
import time
from pathlib import Path
from typing import Any

from infra.checking import sdl_and_backend
from rest_compat.engine.adapter import RestAdapter
from rest_compat.engine.system import System

DOCUMENT = """
"Records of collection {number}."
query list{number}($entity: String!, $limit: Int = 20, $where: JSONObject)
@rest(method: GET, path: "/bench/{number}/collections/{{entity}}") {{
  records(app: "app{number}", entity: $entity, first: $limit, where: $where) {{ data: rows total: totalCount }}
}}
"""


def boot(count: int) -> float:
    """Seconds from documents on disk to a table of routes."""
    schema, backend = sdl_and_backend()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            (Path(folder) / f"area{number % 40}.graphql").open("a").write(DOCUMENT.format(number=number))
        system: Any = System(
            name="bench",
            title="Bench",
            version="1",
            description="",
            folder=Path(folder),
            prefixes=("/bench",),
            error=lambda refusal, meta: {"error": refusal.message},
            error_schema={},
        )
        started = time.perf_counter()
        adapter = RestAdapter([system], schema, backend, "http://bench")
        elapsed = time.perf_counter() - started
    assert len(adapter.routes) == count
    return elapsed
