"""Arrows point at the domain: who may import whom, read from the sources themselves."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = frozenset({"domain", "graph", "infra", "rest_compat", "tests", "bench"})
# What a layer may import besides itself and the standard library; None for anything that isn't ours.
MAY: dict[str, tuple[frozenset[str], frozenset[str] | None]] = {
    "domain": (frozenset(), frozenset({"sqlalchemy", "orjson"})),
    "graph": (frozenset({"domain"}), None),
    "rest_compat": (frozenset(), None),
    "infra": (frozenset({"domain", "graph", "rest_compat"}), None),
}


def imported(source: str) -> Iterator[tuple[int, str]]:
    """The top-level packages that a module names, anywhere in it, with the line."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "a relative import" if node.level else (node.module or "").partition(".")[0]


def wrong(layer: str, source: str) -> list[tuple[int, str]]:
    ours, others = MAY[layer]

    def allowed(name: str) -> bool:
        if name in OURS:
            return name == layer or name in ours
        return name in sys.stdlib_module_names or others is None or name in others

    return [(line, name) for line, name in imported(source) if not allowed(name)]


@pytest.mark.parametrize("layer", MAY)
def test_a_layer_imports_what_is_below_it_only(layer: str) -> None:
    sources = sorted((ROOT / layer).rglob("*.py"))
    assert len(sources) > 10
    found = [f"{p.relative_to(ROOT)}:{line}: {name}" for p in sources for line, name in wrong(layer, p.read_text())]
    assert found == []


@pytest.mark.parametrize(
    ("layer", "line"),
    [
        ("domain", "import infra.settings"),
        ("domain", "from graph.run import Runner"),
        ("domain", "def f():\n    import strawberry"),
        ("domain", "from . import errors"),
        ("graph", "from rest_compat.engine import streams"),
        ("graph", "if TYPE_CHECKING:\n    from infra.app import Application"),
        ("rest_compat", "import domain.kernel.errors"),
        ("infra", "from tests.harness import Stoa"),
    ],
)
def test_a_wrong_import_is_seen(layer: str, line: str) -> None:
    assert len(wrong(layer, f"import os\nimport {layer}\n{line}")) == 1
