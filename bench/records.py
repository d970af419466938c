"""The records engine beside its peers: the same requests over the same records, in one run on one database.

Every figure is taken in turns, a short load on each side and around again, so that what else the machine does falls
on all of them alike. Ratios are medians over the rounds; what they are to reach is beside them.
"""

import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import crm, growth
from bench.following import delivered
from bench.load import Measured, load
from bench.peers import NotInstalled, pocketbase, postgraphile
from bench.sides import (
    CREATE,
    GET,
    LIMIT,
    LIST,
    NESTED,
    POCKETBASE,
    POSTGRAPHILE,
    REST_CREATE,
    REST_LIST,
    STOA,
    WORKLOADS,
    Side,
    clerk,
    filled,
    limit,
    requests_of,
    stoa_asks,
    stoa_followed,
)
from bench.table import table

SECONDS = 1.0  # of one load
ROUNDS = 5
CONNECTIONS = (1, 16, 64)
REQUESTS = 200  # different ones, of a workload


@dataclass(frozen=True)
class Target:
    """How many times a peer's requests a second Stoa's are to be, and would like to be."""

    reach: float
    aim: float | None = None

    def __str__(self) -> str:
        return f">= {self.reach:g}x" + ("" if self.aim is None else f" (aim {self.aim:g}x)")


# With 16 and 64 connections.
TARGETS: Mapping[tuple[str, str], Target] = {
    (GET, POSTGRAPHILE): Target(2, 5),
    (GET, POCKETBASE): Target(1.2),
    (LIST, POSTGRAPHILE): Target(3),
    (LIST, POCKETBASE): Target(5),
    (LIST, LIMIT): Target(0.6, 0.9),
    (NESTED, POSTGRAPHILE): Target(3),
    (NESTED, LIMIT): Target(0.8, 0.95),
    (CREATE, POSTGRAPHILE): Target(1.4, 2),
    (REST_LIST, POCKETBASE): Target(2.5, 5),
    (REST_CREATE, POCKETBASE): Target(1.4, 2),
}
P99_OVER_P50_MAX = 3.0  # of Stoa, with 64 connections
MEMORY_OVER_POSTGRAPHILE_MAX = 0.35

SUBSCRIBERS = 500
CHANGES = 20
DELIVERY_OVER_POCKETBASE_MAX = 0.5

# What a create that was answered is worth, which is not the same on all sides.
PROMISES = """Stoa and PostGraphile answer a create once PostgreSQL has it on disk (fsync, synchronous_commit).
PocketBase's SQLite (WAL, synchronous=NORMAL) answers before that: a crash of the machine may take its last creates
along. Stoa's creates write the audit log, from which versions are read, and the outbox in the same transaction; the
peers' are bare inserts."""

Row = tuple[str, ...]


@dataclass
class Figures:
    """What the rounds of one workload over so many connections came to, by side."""

    workload: str
    connections: int
    rounds: dict[str, list[Measured]] = field(default_factory=lambda: defaultdict(list))

    def median(self, name: str, of: Callable[[Measured], float]) -> float:
        """Of a side's rounds."""
        return statistics.median(of(measured) for measured in self.rounds[name])

    def ratio(self, name: str) -> float:
        """Stoa's requests a second over another's in the same round."""
        pairs = zip(self.rounds[STOA], self.rounds[name], strict=True)
        return statistics.median(ours.requests_per_s / theirs.requests_per_s for ours, theirs in pairs)


def run() -> str:
    """The tables of the group."""
    with tempfile.TemporaryDirectory() as folder, standing(Path(folder), crm.Sizes(), REQUESTS) as (sides, missing):
        rows = [
            row
            for workload in WORKLOADS
            for connections in CONNECTIONS
            for row in _rows(measured(sides, workload, connections, ROUNDS, SECONDS))
        ]
        others = [*_memory(sides), *_following(sides)]
    head = ("workload", "connections", "side", "requests/s", "p50 ms", "p99 ms", "Stoa is", "to reach", "")
    figures = table(("figure", "measured", "to reach"), [*others, *growth.rows()])
    return "\n\n".join([table(head, rows), PROMISES, figures, *missing])


def _memory(sides: Sequence[Side]) -> Iterator[Row]:
    memory = {side.name: side.memory_mib for side in sides}
    for name in (STOA, POSTGRAPHILE, POCKETBASE):
        if name in memory:
            ratio = f", Stoa's is {memory[STOA] / memory[name]:.2f}x" if name != STOA else ""
            to_reach = f"<= {MEMORY_OVER_POSTGRAPHILE_MAX}x" if name == POSTGRAPHILE else ""
            yield f"memory of {name}'s server after that", f"{memory[name]:.0f} MiB{ratio}", to_reach


def _following(sides: Sequence[Side]) -> Iterator[Row]:
    """Each side in turn: its subscribers are told of a change a second."""
    times = {side.name: delivered(side.followed(SUBSCRIBERS, CHANGES)) for side in sides if side.followed is not None}
    for name, (p50, p99) in times.items():
        ratio, to_reach = "", ""
        if name == POCKETBASE:
            ratio = f", Stoa's p99 is {times[STOA][1] / p99:.2f}x"
            to_reach = f"<= {DELIVERY_OVER_POCKETBASE_MAX}x (aim 0.3x)"
        yield f"{SUBSCRIBERS} subscribers, delivery by {name}", f"p50 {p50:.0f} ms, p99 {p99:.0f} ms{ratio}", to_reach


@contextmanager
def standing(folder: Path, sizes: crm.Sizes, requests: int) -> Iterator[tuple[list[Side], list[str]]]:
    """All sides, running on their records until the end of the block, and what is to be said of those missing."""
    asks = stoa_asks(sizes, requests)
    with ExitStack() as running:
        server, statements = running.enter_context(filled(folder, sizes, asks))
        asked = requests_of(asks, clerk(server, "clerk"))
        stoa = Side(STOA, server.address, server.pid, asked, stoa_followed(server, sizes))
        sides, missing = [stoa], []
        for peer in (postgraphile, pocketbase):
            try:
                sides += running.enter_context(peer(folder, sizes, requests))
            except NotInstalled as problem:
                missing.append(f"Not installed here: {peer.__name__} ({problem})")
        yield [*sides, *running.enter_context(limit(folder, statements))], missing


def measured(sides: Sequence[Side], workload: str, connections: int, rounds: int, seconds: float) -> Figures:
    """The figures of one workload over so many connections."""
    figures = Figures(workload, connections)
    asked = [(side, side.requests[workload]) for side in sides if workload in side.requests]
    for side, requests in asked:
        load(side.address, requests, connections, seconds / 2)
    for _ in range(rounds):
        for side, requests in asked:
            figures.rounds[side.name].append(load(side.address, requests, connections, seconds))
    return figures


def _rows(figures: Figures) -> Iterator[Row]:
    for name in figures.rounds:
        rate, p50, p99 = (
            figures.median(name, of)
            for of in (lambda one: one.requests_per_s, lambda one: one.p50_ms, lambda one: one.p99_ms)
        )
        if name == STOA:
            told = (f"p99 {p99 / p50:.1f}x p50", f"<= {P99_OVER_P50_MAX:g}x", _met(p99 <= P99_OVER_P50_MAX * p50))
            told = told if figures.connections == max(CONNECTIONS) else ("", "", "")
        else:
            told = _against(figures, name)
        yield (figures.workload, str(figures.connections), name, f"{rate:.0f}", f"{p50:.2f}", f"{p99:.2f}", *told)


def _against(figures: Figures, name: str) -> Row:
    """The ratio to another side, and whether it is what it is to be."""
    ratio = figures.ratio(name)
    target = TARGETS.get((figures.workload, name)) if figures.connections > 1 else None
    if target is None:
        return (f"{ratio:.2f}x", "", "")
    return (f"{ratio:.2f}x", str(target), _met(ratio >= target.reach))


def _met(so: bool) -> str:
    return "yes" if so else "NO"
