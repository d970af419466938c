"""REST knows the schema's text and a backend that executes, and nothing of ours below it."""

import ast
import sys
from pathlib import Path

import rest_compat

MAY = {"rest_compat", "graphql", "starlette", "orjson", "jiter"} | sys.stdlib_module_names


def test_rest_compat_imports_nothing_of_ours_and_few_others() -> None:
    root = Path(rest_compat.__file__).parent
    modules = sorted(root.rglob("*.py"))
    assert root / "engine" / "adapter.py" in modules
    found = {
        f"{path.relative_to(root)}:{line}: {module}" for path in modules for line, module in _imported(path.read_text())
    }
    assert sorted(one for one in found if one.rpartition(" ")[2].partition(".")[0] not in MAY) == []


def test_the_engine_knows_no_system() -> None:
    root = Path(rest_compat.__file__).parent / "engine"
    found = {module for path in root.glob("*.py") for _, module in _imported(path.read_text())}
    ours = {module for module in found if module.partition(".")[0] == "rest_compat"}
    assert {module.split(".")[1] for module in ours} == {"engine"}


def _imported(text: str) -> list[tuple[int, str]]:
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports say less"
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [(node.lineno, module) for module in modules]
    return found
