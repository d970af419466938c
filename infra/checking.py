"""What can be said of the platform without running it: is it whole, which routes has it, how are they described."""

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from graphql import DocumentNode

from graph.schema import build_schema, sdl
from infra.failure import Failure, Misuse
from infra.systems import SYSTEMS
from rest_compat.engine.adapter import RestAdapter
from rest_compat.engine.describe import describe
from rest_compat.engine.errors import CompileError
from rest_compat.engine.operations import Route

SCHEMA_FILE = Path(__file__).parent.parent / "schema.graphql"


class _Nobody:
    """A backend that executes nothing: enough to compile documents."""

    def prepare(self, document: DocumentNode, name: str, label: str) -> None:
        return None


def sdl_and_backend() -> tuple[str, Any]:
    """What a REST adapter needs to compile documents, and no more."""
    return sdl(build_schema()), _Nobody()


def adapter() -> RestAdapter:
    """The REST adapter with every document compiled. Raises Failure with the first one that is wrong."""
    try:
        made = RestAdapter(SYSTEMS, *sdl_and_backend(), "http://127.0.0.1:9100")
        made.compile_all()
    except CompileError as wrong:
        raise Failure(str(wrong)) from wrong
    return made


def schema_difference() -> list[str]:
    """How the committed schema differs from the one the code makes, as a diff; empty when it doesn't."""
    committed = SCHEMA_FILE.read_text() if SCHEMA_FILE.exists() else ""
    made = sdl(build_schema())
    return list(
        difflib.unified_diff(committed.splitlines(), made.splitlines(), SCHEMA_FILE.name, "the code's", lineterm="")
    )


def openapi(name: str | None) -> dict[str, Any]:
    """The description of one system, or of all together. Raises Misuse for an unknown one."""
    rest = adapter()
    systems = [system for system in SYSTEMS if name in (None, system.name)]
    if not systems:
        known = ", ".join(system.name for system in SYSTEMS)
        raise Misuse(f"there is no system {name!r}; there are {known}")
    routes = [route for route in rest.routes if route.system in systems]
    return describe(routes, systems, merged=name is None, base_url="http://127.0.0.1:9100")


def route_table() -> Iterator[tuple[str, str, str, str]]:
    """Method, path, operation and permission of every route, by path."""
    for route in sorted(adapter().routes, key=lambda route: (route.document.path, route.document.method)):
        yield route.document.method, route.document.path, route.label, _permission(route)


def _permission(route: Route) -> str:
    rules = route.compiled.rules
    return "public" if rules.public else ", ".join(rules.permissions) or "signed in"
