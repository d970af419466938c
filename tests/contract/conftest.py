"""What the contract tests share: the routes as the documents make them, and a server with something in it."""

import pytest

from graph import schema as graph_schema
from infra.systems import SYSTEMS
from rest_compat.engine.adapter import RestAdapter


class _Nobody:
    """A backend that is never asked anything: the routes alone are looked at."""

    def prepare(self, *_: object) -> None:
        return None


@pytest.fixture(scope="session")
def adapter() -> RestAdapter:
    """The adapter with every system's routes, and nothing behind it."""
    sdl = graph_schema.sdl(graph_schema.build_schema())
    return RestAdapter(SYSTEMS, sdl, _Nobody(), "http://test")  # type: ignore[arg-type]
