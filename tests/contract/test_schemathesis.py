"""Schemathesis on what a running server says of itself: all its checks and ours, the same requests in every run.

What is excluded is said in schemathesis.toml, with the reasons. Planted and seen red: a status that is not described, a
schema that says less than the answers hold, a text of the database in a refusal, a fault in a resolver.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.contract.stage import Stage, furnish
from tests.harness import Stoa

ROOT = Path(__file__).parents[2]
CONFIG = Path(__file__).with_name("schemathesis.toml")
SEED = 1
TIME_MAX_S = 110
# What an administrator takes from themselves, or from everybody else, with it: asked last.
TAKING = ("uninstallApp", "deleteUser", "revokeRole")
# A stream has no end to wait for: tests/graph and tests/workers listen to them.
LEFT_OUT = [part for name in ("workerLogs", "agentsStream", *TAKING) for part in ("--exclude-operation-id", name)]
# GraphQL tells refusals as errors, of which Schemathesis takes each for a fault: `every_graphql_error_is_a_refusal`
# tells them apart. And bounds of numbers, which REST describes, are not among what a GraphQL schema can say.
AS_GRAPHQL = ("--exclude-checks", "not_a_server_error,positive_data_acceptance")
NOT_TAKING = [part for name in TAKING for part in ("--exclude-name", f"Mutation.{name}")]


@pytest.fixture(scope="module")
def stage(stoa: Stoa) -> Stage:
    return furnish(stoa)


def fuzzed(folder: Path, description: str, token: str, *options: str) -> dict[str, Any]:
    """The report of a run; fails with what it printed when a check failed."""
    report = folder / "report.json"
    command = [
        str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(CONFIG), "run", description,
        "--seed", str(SEED), "--header", f"Authorization: Bearer {token}", "--continue-on-failure",
        "--warnings", "off", "--report", "json", "--report-json-path", str(report), *options,
    ]  # fmt: skip
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIME_MAX_S, check=False)
    assert run.returncode == 0, f"{run.stdout[-20_000:]}\n{run.stderr[-2_000:]}"
    told: dict[str, Any] = json.loads(report.read_text())
    return told


def reached(told: dict[str, Any]) -> set[str]:
    """The operations that did what was asked at least once."""
    return {name for name, phases in told["valid_rates"].items() if any(phase["accepted"] for phase in phases.values())}


def test_somebody_with_few_rights_finds_every_route_as_described(stoa: Stoa, stage: Stage, tmp_path: Path) -> None:
    phases = ("--phases", "fuzzing,stateful", "--max-examples", "2")
    told = fuzzed(tmp_path, f"{stoa.base_url}/openapi/rootcx.json", stage.plain.token, *phases, *LEFT_OUT)
    assert told["operations"]["tested"] > 80
    assert told["test_cases"]["generated"] > 150


def test_an_administrator_finds_every_route_as_described(stoa: Stoa, stage: Stage, tmp_path: Path) -> None:
    told = fuzzed(tmp_path, f"{stoa.base_url}/openapi/rootcx.json", stage.admin.token, "--max-examples", "4", *LEFT_OUT)
    phases = {name: phase["status"] for name, phase in told["phases"].items()}
    assert phases == {"examples": "skip", "coverage": "success", "fuzzing": "success", "stateful": "success"}
    assert told["operations"]["tested"] > 80
    assert told["test_cases"]["generated"] > 2_000
    assert len(reached(told)) > 45


def test_stoas_own_routes_are_as_described(stoa: Stoa, stage: Stage, tmp_path: Path) -> None:
    told = fuzzed(tmp_path, f"{stoa.base_url}/openapi/stoa.json", stage.admin.token, "--max-examples", "8")
    assert told["test_cases"]["generated"] > 10


@pytest.mark.parametrize(("who", "examples"), [("plain", 1), ("admin", 4)])
def test_every_field_of_the_schema_refuses_or_answers(
    stoa: Stoa, stage: Stage, tmp_path: Path, who: str, examples: int
) -> None:
    token = {"admin": stage.admin, "plain": stage.plain}[who].token
    options = ("--max-examples", str(examples), *AS_GRAPHQL, *NOT_TAKING)
    told = fuzzed(tmp_path, f"{stoa.base_url}/graphql", token, *options)
    assert told["operations"]["tested"] > 80
    assert told["test_cases"]["generated"] > 80 * examples


def test_what_takes_away_is_as_described(stoa: Stoa, stage: Stage, tmp_path: Path) -> None:
    held = stage.admin.client.get("/api/v1/permissions").json()
    assert "*" in held["permissions"]  # until here, it was all asked with every right
    only = [part for name in TAKING for part in ("--include-operation-id", name)]
    phases = ("--max-examples", "8", "--phases", "coverage,fuzzing")
    told = fuzzed(tmp_path, f"{stoa.base_url}/openapi/rootcx.json", stage.admin.token, *phases, *only)
    assert told["operations"]["tested"] == len(TAKING)
    assert stoa.client().get("/health").json() == {"status": "ok"}
