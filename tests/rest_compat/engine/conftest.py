"""Fixtures of the engine's tests: documents in, routes out."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.rest_compat.engine.world import Rest, plain, served, strict, write

Serve = Callable[..., Rest]


@pytest.fixture
def rest(tmp_path: Path) -> Serve:
    """Serves documents in the plain dialect."""
    return lambda *documents, **facts: served(plain(write(tmp_path / "plain", *documents), **facts))


@pytest.fixture
def strict_rest(tmp_path: Path) -> Serve:
    """Serves documents in the strict dialect."""
    return lambda *documents, **facts: served(strict(write(tmp_path / "strict", *documents), **facts))
