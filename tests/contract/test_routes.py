"""The routes that the systems' documentation lists, and the routes that are served: compared both ways."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from rest_compat.engine.adapter import RestAdapter

CATALOGUES = Path(__file__).parent / "routes"
SYSTEMS = sorted(path.stem for path in CATALOGUES.glob("*.json"))

OURS = {"stoa"}  # routes of our own, which no other system documents


def shape(method: str, path: str) -> str:
    """A route without the names of its parameters, which are the server's own."""
    return f"{method} {re.sub(r'{[^}]+}', '{}', path)}"


def documented(system: str) -> dict[str, dict[str, Any]]:
    rows = json.loads((CATALOGUES / f"{system}.json").read_text())
    return {shape(row["method"], row["path"]): row for row in rows}


def listed(system: str, what: str) -> list[str]:
    """The routes in `routes/<system>.<what>`: `missing`, `more` (both may only shrink), or `open`."""
    lines = (CATALOGUES / f"{system}.{what}").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def served(adapter: RestAdapter, system: str) -> dict[str, Any]:
    """The routes of a system; those written by hand have no rules to look at."""
    generated = {shape(r.document.method, r.document.path): r for r in adapter.routes if r.system.name == system}
    by_hand = {
        shape(method, route.path): None
        for one in adapter.systems
        for route in one.by_hand
        for method in (route.methods or set()) - {"HEAD"}
        if one.name == system
    }
    return {**generated, **by_hand}


@pytest.mark.parametrize("system", SYSTEMS)
def test_documented_routes_are_served(adapter: RestAdapter, system: str) -> None:
    assert sorted(documented(system).keys() - served(adapter, system).keys()) == listed(system, "missing")


@pytest.mark.parametrize("system", SYSTEMS)
def test_served_routes_are_documented(adapter: RestAdapter, system: str) -> None:
    assert sorted(served(adapter, system).keys() - documented(system).keys()) == listed(system, "more")


@pytest.mark.parametrize("system", SYSTEMS)
def test_routes_ask_for_a_credential_where_the_documentation_says_so(adapter: RestAdapter, system: str) -> None:
    told = documented(system)
    public = {at: route.compiled.rules.public for at, route in served(adapter, system).items() if route and at in told}
    assert public == {at: told[at]["public"] or at in listed(system, "open") for at in public}


def test_every_system_has_its_catalogue(adapter: RestAdapter) -> None:
    assert {system.name for system in adapter.systems} - OURS == set(SYSTEMS)
