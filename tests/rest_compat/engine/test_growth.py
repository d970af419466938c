"""What routes cost as they become many: little at start, and nothing for those that are asked for."""

import asyncio
import gc
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rest_compat.engine.schema import api_schema
from tests.rest_compat.engine.world import SDL, Rest, plain, served

ROUTES = 631
BOOT_S_MAX = 2.0


def documents(folder: Path, count: int) -> Path:
    """As many routes as the four systems have together, about twenty a file, in the shapes that theirs have."""
    folder.mkdir()
    for area in range(0, count, 20):
        fragment = (
            f"fragment Thing{area} on Thing {{ id name created_at: made @render(as: TIME_OFFSET) parts {{ id }} }}"
        )
        routes = [_route(area, number) for number in range(area, min(area + 20, count))]
        (folder / f"area_{area}.graphql").write_text("\n".join([fragment, *routes]))
    return folder


def _route(area: int, number: int) -> str:
    match number % 4:
        case 0:
            return f"""
            "Things of one kind, some at a time."
            query list{number}(
              $first: Int = 50 @param(in: QUERY, name: "limit", invalid: "50", min: 1, max: 50)
              $filter: Filter @param(in: QUERY, name: "where")
            ) @rest(method: GET, path: "/api/v1/area{area}/things{number}") {{
              things(first: $first, filter: $filter) {{ ...Thing{area} }}
            }}
            """
        case 1:
            return f"""
            "One thing."
            query get{number}($id: ID!) @rest(method: GET, path: "/api/v1/area{area}/things{number}/{{id}}") {{
              thing(id: $id) {{ ...Thing{area} owner {{ ... on Person {{ email }} }} }}
            }}
            """
        case 2:
            return f"""
            "Make a thing."
            mutation make{number}($input: ThingInput! @param(in: BODY))
            @rest(method: POST, path: "/api/v1/area{area}/things{number}", status: 201) {{
              make(input: $input) {{ ... on Created {{ thing {{ ...Thing{area} }} }} ... on Found {{ id }} }}
            }}
            """
    return f"""
    "Drop a thing."
    mutation drop{number}($id: ID!)
    @rest(method: DELETE, path: "/api/v1/area{area}/things{number}/{{id}}", message: "{{id}} dropped") {{
      drop(id: $id)
    }}
    """


def calls(of: Callable[[], Any]) -> int:
    """How many Python functions are called on the way: the same on any machine."""
    count = 0

    def profile(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal count
        count += event == "call"

    gc.disable()  # whoever wants to be told of a collection would be counted, too
    sys.setprofile(profile)
    try:
        of()
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Rest:
    return served(plain(documents(tmp_path_factory.mktemp("many") / "plain", ROUTES)))


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Rest:
    return served(plain(documents(tmp_path_factory.mktemp("few") / "plain", 10)))


def test_all_routes_are_there_within_two_seconds(tmp_path: Path) -> None:
    folder = documents(tmp_path / "plain", ROUTES)
    started = time.process_time()
    rest = served(plain(folder))
    assert time.process_time() - started < BOOT_S_MAX
    assert len(rest.adapter.routes) == ROUTES


def test_nothing_is_compiled_before_it_is_asked_for(tmp_path: Path) -> None:
    api_schema.cache_clear()
    rest = served(plain(documents(tmp_path / "plain", 40)))
    assert rest.world.labels == []
    assert "executable" not in vars(api_schema(SDL))
    asyncio.run(rest.get("/api/v1/area0/things1/7"))
    asyncio.run(rest.get("/api/v1/area0/things1/8"))
    assert rest.world.labels == ["plain.get1"]


def test_these_documents_are_routes(few: Rest) -> None:
    few.adapter.compile_all()
    assert sum(len(item) for item in few.described()["paths"].values()) == 10


@pytest.mark.parametrize("path", [b"/api/v1/area0/things1/7", b"/api/v1/area0/nowhere", b"/api/v1/area0/things2/"])
def test_looking_for_a_route_costs_the_same_among_many(many: Rest, few: Rest, path: bytes) -> None:
    def find(rest: Rest) -> int:
        return calls(lambda: rest.adapter.route_of("GET", path))

    assert find(many) == find(few)


def test_answering_costs_the_same_among_many(many: Rest, few: Rest) -> None:
    def answer(rest: Rest) -> int:
        async def send(message: Any) -> None:
            assert message.get("status", 200) == 200

        async def receive() -> Any:
            return {"type": "http.request"}

        path = "/api/v1/area0/things1/7"
        scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [],
        }

        def once() -> None:
            coroutine = rest.adapter.answer(scope, receive, send)
            with pytest.raises(StopIteration):  # it has nothing to wait for, and needs no loop
                coroutine.send(None)

        once()
        return calls(once)

    assert answer(many) == answer(few)
