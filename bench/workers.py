"""What deployed code costs: a call of it beside an echo over a bare pipe, and a thousand who follow its log."""

import asyncio
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import deno
import httpx

from bench.following import Followed, followed_by
from bench.jobs import deploy
from bench.load import Request, warmed
from bench.serving import PASSWORD, Server, serving
from bench.table import table

SECONDS = 2.0
ROUNDS = 5
ECHOES = 2_000
SUBSCRIBERS = 1_000
OF_A_USER = 100  # streams that one user may have open
LINES = 10
MEMORY_MIB_MAX = 300
CODE = "serve({rpc: {echo: (params) => params, say: ({text}) => { log.info(text); return null }}})"
# A line in, a line out: what any program would need at the least.
ECHO = """
const decoder = new TextDecoder(), encoder = new TextEncoder();
let held = "";
for await (const chunk of Deno.stdin.readable) {
  held += decoder.decode(chunk, {stream: true});
  for (let end; (end = held.indexOf("\\n")) >= 0; held = held.slice(end + 1)) {
    const {id, params} = JSON.parse(held.slice(0, end));
    Deno.stdout.writeSync(encoder.encode(JSON.stringify({type: "rpc_response", id, result: params}) + "\\n"));
  }
}
"""

Row = tuple[str, str, str]


def run() -> str:
    """The table of the group."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as server:
        deploy(server, CODE)
        rows = [*_calling(server, Path(folder)), *_following(server)]
    return table(("figure", "measured", "to reach"), rows)


def _calling(server: Server, folder: Path) -> Iterator[Row]:
    body = {"method": "echo", "params": {"x": 1}}
    call = Request.of("POST", "/api/v1/apps/bench/rpc", server.token, body)
    calls, pipes = [], []
    for _ in range(ROUNDS):  # in turns, so that what else the machine does falls on all of them alike
        calls.append(warmed(server.address, [call], 1, SECONDS).p50_ms)
        pipes.append(_piped(folder))
    ours, pipe = statistics.median(calls), statistics.median(pipes)
    yield "a call of a warm worker over REST, p50 of one connection", f"{ours:.2f} ms", "< 3 ms"
    yield "an echo over a pipe to the same runtime", f"{pipe:.3f} ms", ""
    yield "the call over that echo", f"{ours / pipe:.1f}x", "<= 2x"
    many = warmed(server.address, [call], 16, SECONDS)
    yield "calls over 16 connections", f"{many.requests_per_s:,.0f} a second, p99 {many.p99_ms:.1f} ms", ""


def _piped(folder: Path) -> float:
    """The median of the milliseconds that an echo takes."""
    program = folder / "echo.ts"
    program.write_text(ECHO)
    command = [deno.find_deno_bin(), "run", "--quiet", "--no-remote", str(program)]
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "DENO_DIR": str(folder), "NO_COLOR": "1"}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ)
    assert process.stdin is not None
    assert process.stdout is not None
    times = []
    for n in range(ECHOES):
        started = time.perf_counter()
        process.stdin.write(json.dumps({"type": "rpc", "id": str(n), "params": {"x": 1}}).encode() + b"\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["id"] == str(n)
        times.append(time.perf_counter() - started)
    process.stdin.close()
    process.wait()
    return statistics.median(times[ECHOES // 4 :]) * 1e3


def _following(server: Server) -> Iterator[Row]:
    idle = server.memory_mib
    tokens = _tokens(server, SUBSCRIBERS // OF_A_USER)
    asked = [
        Request.of("GET", "/api/v1/apps/bench/logs", tokens[n % len(tokens)], accept="text/event-stream")
        for n in range(SUBSCRIBERS)
    ]
    said = [
        (
            Request.of(
                "POST", "/api/v1/apps/bench/rpc", server.token, {"method": "say", "params": {"text": f"line{n}."}}
            ),
            f"line{n}.".encode(),
        )
        for n in range(LINES)
    ]
    memory: list[float] = []
    times = asyncio.run(
        followed_by(Followed(server.address, asked, said), 1.0, lambda: memory.append(server.memory_mib))
    )
    times.sort()
    p50, p99 = times[len(times) // 2] * 1e3, times[int(len(times) * 0.99)] * 1e3
    each = (max(memory) - idle) / SUBSCRIBERS * 1024
    measured = f"{max(memory):.0f} MiB, {each:.0f} KiB each"
    yield f"memory of the server with {SUBSCRIBERS:,} who follow a log", measured, f"< {MEMORY_MIB_MAX} MB"
    yield "from a line to each of them", f"p50 {p50:.0f} ms, p99 {p99:.0f} ms", ""


def _tokens(server: Server, count: int) -> list[str]:
    """Bearers of that many accounts that may follow the log."""
    server.client.post("/api/v1/roles", json={"name": "follower", "permissions": ["app:bench:invoke"]})

    def signed_up(n: int) -> str:
        named = {"username": f"follower-{n}", "password": PASSWORD}
        with httpx.Client(base_url=f"http://{server.address}", timeout=60) as client:
            client.post("/api/v1/auth/register", json=named).raise_for_status()
            signed_in = client.post("/api/v1/auth/login", json=named).json()
        role = {"userId": signed_in["user"]["id"], "role": "follower"}
        server.client.post("/api/v1/roles/assign", json=role).raise_for_status()
        return f"Bearer {signed_in['accessToken']}"

    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(signed_up, range(count)))
