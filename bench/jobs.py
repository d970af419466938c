"""What jobs cost: from being handed in to being begun, how many can be handed in, and how many are done."""

import io
import statistics
import tarfile
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench.load import Request, load
from bench.serving import Server, serving
from bench.table import table

SECONDS = 8.0
ONE_BY_ONE = 200
TOGETHER = 100  # jobs of one request
DONE = 5_000
CODE = "serve({rpc: {}, onJob: (payload) => payload.n})"
ENQUEUE = "mutation ($jobs: [JobInput!]!) { enqueueJobs(app: \"bench\", jobs: $jobs) { id } }"  # fmt: skip
COUNT = "query ($status: JobStatus) { jobs(app: \"bench\", first: 1, status: $status) { totalCount } }"  # fmt: skip
NEWEST = """
query ($first: Int!) { jobs(app: "bench", first: $first) { nodes { status createdAt startedAt finishedAt } } }
"""

Row = tuple[str, str, str]


def run() -> str:
    """The table of the group."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as server:
        deploy(server, CODE)
        _drained(server, _hand_in(server, 1))
        rows = [*_beginning(server), *_handing_in(server), *_doing(server)]
    return table(("figure", "measured", "to reach"), rows)


def deploy(server: Server, code: str) -> None:
    """Deploy this code for the app `bench`."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        entry = tarfile.TarInfo("index.ts")
        entry.size = len(code)
        tar.addfile(entry, io.BytesIO(code.encode()))
    archive = {"archive": ("app.tar.gz", packed.getvalue())}
    while (answer := server.client.post("/api/v1/apps/bench/deploy", files=archive)).status_code == 503:
        time.sleep(0.2)  # the worker starts beside the server
    assert answer.status_code == 200, answer.text


def _graphql(server: Server, query: str, **variables: Any) -> Any:
    body = server.client.post("/graphql", json={"query": query, "variables": variables}).json()
    assert "errors" not in body, body
    return body["data"]


def _count(server: Server, status: str | None = None) -> int:
    count: int = _graphql(server, COUNT, status=status)["jobs"]["totalCount"]
    return count


def _hand_in(server: Server, count: int, **more: Any) -> int:
    """Hand in jobs, and so many that come to be."""
    for begin in range(0, count, TOGETHER):
        jobs = [{"payload": {"n": n}, **more} for n in range(begin, min(count, begin + TOGETHER))]
        _graphql(server, ENQUEUE, jobs=jobs)
    return count


def _drained(server: Server, count: int) -> float:
    """How long it took until so many jobs were completed."""
    began = time.perf_counter()
    while _count(server, "COMPLETED") < count:
        assert _count(server, "FAILED") == 0
        time.sleep(0.05)
    return time.perf_counter() - began


def _beginning(server: Server) -> Iterator[Row]:
    for n in range(ONE_BY_ONE):
        assert server.client.post("/api/v1/apps/bench/jobs", json={"payload": {"n": n}}).status_code == 201
    _drained(server, 1 + ONE_BY_ONE)
    jobs = _graphql(server, NEWEST, first=ONE_BY_ONE)["jobs"]["nodes"]
    moments = [[datetime.fromisoformat(job[part]) for part in ("createdAt", "startedAt", "finishedAt")] for job in jobs]
    begun = sorted((started - made).total_seconds() * 1e3 for made, started, _ in moments)
    ended = sorted((finished - made).total_seconds() * 1e3 for made, _, finished in moments)
    p99 = begun[int(len(begun) * 0.99)]
    yield "handed in to begun", f"p50 {statistics.median(begun):.1f} ms, p99 {p99:.1f} ms", "p50 < 50 ms"
    yield "handed in to done", f"p50 {statistics.median(ended):.1f} ms", ""


def _handing_in(server: Server) -> Iterator[Row]:
    """Jobs of tomorrow, so that nothing but handing in is measured; then whether all of them are there."""
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    single = {"query": ENQUEUE, "variables": {"jobs": [{"payload": {"n": 1}, "runAt": later}]}}
    many = {"query": ENQUEUE, "variables": {"jobs": [{"payload": {"n": n}, "runAt": later} for n in range(TOGETHER)]}}
    for label, body, each, connections in (("one by one", single, 1, 16), (f"{TOGETHER} together", many, TOGETHER, 4)):
        before = _count(server)
        asked = Request.of("POST", "/graphql", server.token, body)
        measured = load(server.address, [asked], connections, SECONDS)
        there = _count(server) - before
        acknowledged = round(measured.requests_per_s * SECONDS) * each
        rate = there / SECONDS
        yield f"handed in, {label}, one process", f"{rate:,.0f} jobs/s, p99 {measured.p99_ms:.0f} ms", "1,000 jobs/s"
        assert there >= acknowledged * 0.98, f"{there} of {acknowledged} are there"


def _doing(server: Server) -> Iterator[Row]:
    done = _count(server, "COMPLETED")
    began = time.perf_counter()
    _hand_in(server, DONE)
    _drained(server, done + DONE)
    rate = DONE / (time.perf_counter() - began)
    yield f"{DONE:,} jobs handed in and done, one worker", f"{rate:,.0f} jobs/s", "300 jobs/s"
