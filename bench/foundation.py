"""What the foundation costs: starting, idling, and what a route adds to the call it makes."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.load import Request, warmed
from bench.serving import ROOT, Server, serving
from bench.table import table

SECONDS = 4.0
ROUNDS = 5
DOCUMENTS = 631

Row = tuple[str, str, str]


def run() -> str:
    """The table of the group."""
    rows = [*_starting(), *_requests(), *_documents()]
    return table(("figure", "measured", "to reach"), rows)


def _starting() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        with serving(Path(folder)):
            pass
        times = []
        for _ in range(ROUNDS):
            with serving(Path(folder)) as server:
                times.append(server.ready_s)
                time.sleep(1)
                memory = server.memory_mib
    yield "`stoa serve` to the first answer, data there", f"{statistics.median(times):.2f} s", "< 3 s"
    yield "memory of the idle server process", f"{memory:.0f} MiB", "< 200 MB"
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "infra.cli", "check"], cwd=ROOT, check=True, capture_output=True)
    yield "`stoa check`", f"{time.perf_counter() - started:.1f} s", "< 15 s"


def _requests() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), "bench.bare:create") as server:
        path = _one_record(server)
        rest = Request.of("GET", f"/api/v1{path}", server.token)
        bare = Request.of("GET", f"/bare{path}", server.token)
        app, entity, id = path.split("/")[2], path.split("/")[4], path.split("/")[5]
        text = "query($app: ID!, $entity: String!, $id: ID!) { record(app: $app, entity: $entity, id: $id) }"
        variables = {"app": app, "entity": entity, "id": id}
        graphql = Request.of("POST", "/graphql", server.token, {"query": text, "variables": variables})
        # Taken in turns, so that what else the machine does falls on all of them alike.
        found: dict[str, list[float]] = {"rest": [], "bare": [], "graphql": []}
        for _ in range(ROUNDS):
            for name, request in (("rest", rest), ("bare", bare), ("graphql", graphql)):
                found[name].append(warmed(server.address, [request], 1, SECONDS / 2).p50_ms)
        p50 = {name: statistics.median(times) for name, times in found.items()}
    yield "one record, GraphQL (p50, 1 connection)", f"{p50['graphql']:.2f} ms", ""
    ratio = p50["rest"] / p50["graphql"]
    yield "one record, REST", f"{p50['rest']:.2f} ms, {ratio:.2f}x GraphQL", "<= 1.3x"
    yield "REST over a bare Starlette route", f"{p50['rest'] - p50['bare']:+.3f} ms", "<= 0.15 ms"


def _one_record(server: Server) -> str:
    manifest = json.loads((ROOT / "tests" / "data" / "crm.json").read_text())
    assert server.client.post("/api/v1/apps", json=manifest).status_code == 200
    path = "/apps/crm/collections/companies"
    made = server.client.post(f"/api/v1{path}", json={"name": "Analytical Engines", "employees": 12})
    return f"{path}/{made.json()['id']}"


def _documents() -> Iterator[Row]:
    script = f"from bench.documents import boot; print(boot({DOCUMENTS}))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True)
    yield f"{DOCUMENTS} synthetic documents, to routes", f"{float(done.stdout):.2f} s", "< 2 s"
