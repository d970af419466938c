"""No version older than the ones that closed the holes we know of can be installed."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
FLOORS = {
    "pyjwt": "2.13",  # CVE-2026-48526: a JWK taken for an HMAC secret; CVE-2026-32597: `crit` ignored
    "strawberry-graphql": "0.314",  # CVE-2026-35523: the legacy socket protocol skips the look at the caller
    "starlette": "1.3.1",  # CVE-2025-62727 Range, CVE-2026-48710 Host, CVE-2026-54283 limits of forms
}


def locked(file: str) -> dict[str, Version]:
    text = (ROOT / file).read_text()
    return {name.lower(): Version(version) for name, version in re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", text, re.M)}


@pytest.mark.parametrize("file", ["requirements.lock", "requirements-dev.lock"])
@pytest.mark.parametrize("name", FLOORS)
def test_what_is_locked_has_the_repairs(file: str, name: str) -> None:
    assert locked(file)[name] >= Version(FLOORS[name])


@pytest.mark.parametrize("name", FLOORS)
def test_what_the_package_asks_for_has_the_repairs(name: str) -> None:
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    requirement = next(r for r in map(Requirement, asked) if r.name == name)
    least = [Version(part.version) for part in requirement.specifier if part.operator in (">=", "==", "~=")]
    assert max(least) >= Version(FLOORS[name])


def test_every_dependency_is_locked_to_one_version_with_its_hashes() -> None:
    for file in ("requirements.lock", "requirements-dev.lock"):
        lines = [line for line in (ROOT / file).read_text().splitlines() if line and not line.startswith(("#", " "))]
        assert len(lines) > 20
        assert [line for line in lines if "==" not in line] == []


UNSAFE = {
    r"\byaml\.(load|unsafe_load|full_load)\(": "reads objects of any class",
    r"\bshell=True\b": "hands text to a shell",
    r"^\s*(import|from) (pickle|marshal|shelve|dill)\b": "reads code from data",
    r"\beval\(|\bexec\(": "runs text",
    r"verify=False": "believes any server",
}


@pytest.mark.parametrize("pattern", UNSAFE)
def test_nothing_of_ours_does_what_cannot_be_done_safely(pattern: str) -> None:
    sources = [p for layer in ("domain", "graph", "infra", "rest_compat") for p in (ROOT / layer).rglob("*.py")]
    found = [str(p.relative_to(ROOT)) for p in sources if re.search(pattern, p.read_text(), re.M)]
    assert found == [], UNSAFE[pattern]
