"""Where the wheels of the engines keep their programs. Not by importing them: that costs a tenth of a second."""

import importlib.util
from pathlib import Path

from infra.failure import Failure


def program(package: str, pattern: str, instead: str) -> Path:
    """The file in an installed package that matches the pattern. Raises Failure, naming the setting to use instead."""
    spec = importlib.util.find_spec(package)
    folder = Path(spec.origin).parent if spec and spec.origin else None
    found = next(folder.glob(pattern), None) if folder else None
    if found is None:
        what = "has no program for this machine" if folder else "is not installed"
        raise Failure(f"the package {package.replace('_', '-')} {what}: set {instead} to a server of yours")
    return found
