"""What of the pages is not ours: pinned, noticed, and from no registry in particular."""

import json
import re
from typing import Any

from infra.app import STATIC

VENDOR = STATIC / "vendor"


def read(name: str) -> Any:
    return json.loads((VENDOR / name).read_text())


def test_every_package_is_pinned_and_locked_with_its_hash() -> None:
    wanted = read("package.json")
    pinned = wanted["dependencies"] | wanted["devDependencies"]
    locked = read("package-lock.json")["packages"]
    assert {name: locked[f"node_modules/{name}"]["version"] for name in pinned} == pinned
    assert [path for path, package in locked.items() if path and "integrity" not in package] == []
    assert [path for path, package in locked.items() if "resolved" in package] == []


def test_the_notices_tell_of_all_that_is_bundled() -> None:
    notices = (VENDOR / "THIRD_PARTY.txt").read_text()
    told = dict(re.findall(r"^(\S+) (\d\S*) \(.+\)$", notices, re.MULTILINE))
    bundled = read("package.json")["dependencies"]
    assert {name: told.get(name) for name in bundled} == bundled
    assert "Apache License" in notices  # Swagger UI's
