"""For every stored operation: the answer of its route is the projection of the operation's GraphQL answer.

Two servers that hold the same are asked the same, one over REST and one over GraphQL. Reading comes first, while both
are alike in every bit; then everything that writes, after which the two must still hold the same.

Planted and seen red: numbers of the query that are one too large, a @render that does nothing, every success as 200,
a variable that is dropped on the way in.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from graphql import get_named_type, type_from_ast

from rest_compat.engine.operations import Route
from tests.contract.asking import UPLOAD
from tests.contract.drawing import Drawing
from tests.contract.judging import code_of
from tests.contract.placing import NoSpelling, filled, places, request_of
from tests.contract.projecting import projected
from tests.contract.recipes import ELSEWHERE, RECIPES
from tests.contract.stage import Stage, twins
from tests.harness import Databases, Stoa

CASES = 16  # of each operation
SUCCESSES_MIN = 4

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?")
SEALED = re.compile(r"[A-Za-z0-9_.=-]{40,}")
HERE = re.compile(r"http://127\.0\.0\.1:\d+")
# Values that are the moment's own, of which only the kind is compared.
VOLATILE = {"rootcx.health"}


@dataclass
class World:
    """The twins, and which id of the one stands for which of the other."""

    stage: Stage
    one: Stoa
    other: Stoa
    ids: dict[str, str] = field(default_factory=dict)
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)

    def client(self, stoa: Stoa) -> Any:
        return stoa.client(self.stage.admin.token)

    def translated(self, value: Any) -> Any:
        """The value as the other twin knows it."""
        if isinstance(value, str):
            return UUID.sub(lambda found: self.ids.get(found[0], found[0]), value)
        if isinstance(value, list):
            return [self.translated(part) for part in value]
        if isinstance(value, dict):
            return {self.translated(name): self.translated(part) for name, part in value.items()}
        return value

    def both(self, query: str, **variables: Any) -> dict[str, Any]:
        """Do the same on both, over GraphQL. Returns what the one says."""
        answers = [
            self._clients[0].post("/graphql", json={"query": query, "variables": variables}).json(),
            self._clients[1].post("/graphql", json={"query": query, "variables": self.translated(variables)}).json(),
        ]
        assert "errors" not in answers[0], answers[0]
        assert difference(answers[0], answers[1], self.ids) is None
        data: dict[str, Any] = answers[0]["data"]
        return data

    def uploaded(self, path: str, name: str) -> dict[str, Any]:
        """Send both the same file. Returns what the one says."""
        answers = [client.post(path, files={"file": (name, name.encode(), "text/plain")}) for client in self._clients]
        assert [answer.status_code for answer in answers] == [201, 201], answers[0].text
        assert difference(answers[0].json(), answers[1].json(), self.ids) is None
        made: dict[str, Any] = answers[0].json()
        return made

    def __post_init__(self) -> None:
        self._clients = [self.client(self.one), self.client(self.other)]

    def over_rest(self, route: Route, variables: Mapping[str, Any]) -> Any:
        return self._clients[0].request(
            **request_of(route, self.one.app.rest.schema.executable, variables).as_request()
        )

    def over_graphql(self, route: Route, variables: Mapping[str, Any]) -> dict[str, Any]:
        given = {**self.translated(variables), **dict.fromkeys(filled(route), "filled")}
        answer = self._clients[1].post("/graphql", json={"documentId": route.label, "variables": given})
        body: dict[str, Any] = answer.json()
        return body


@pytest.fixture(scope="module")
def world(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with twins(databases, tmp_path_factory.mktemp("twins")) as (stage, one, other):
        yield World(stage, one, other)


def difference(one: Any, other: Any, ids: dict[str, str], where: str = "body") -> str | None:
    """Where two answers differ: in anything but ids that were made anew, moments and seals."""
    if isinstance(one, dict) and isinstance(other, dict):
        if list(one) != list(other):
            return f"{where}: {list(one)} and {list(other)}"
        parts = [(f"{where}.{name}", one[name], other[name]) for name in one]
    elif isinstance(one, list) and isinstance(other, list):
        if len(one) != len(other):
            return f"{where}: {len(one)} and {len(other)} elements"
        parts = [(f"{where}.{index}", a, b) for index, (a, b) in enumerate(zip(one, other, strict=True))]
    elif isinstance(one, str) and isinstance(other, str):
        return None if same_text(one, other, ids) else f"{where}: {one[:200]!r} and {other[:200]!r}"
    else:
        return None if one == other and type(one) is type(other) else f"{where}: {one!r} and {other!r}"
    return next((found for at, a, b in parts if (found := difference(a, b, ids, at))), None)


def same_text(one: str, other: str, ids: dict[str, str]) -> bool:
    ours, theirs = UUID.findall(one), UUID.findall(other)
    if len(ours) != len(theirs):
        return False
    if any(ids.setdefault(mine, its) != its for mine, its in zip(ours, theirs, strict=True)):
        return False
    return plain(one) == plain(other)


def plain(text: str) -> str:
    """Without what differs by nature: ids, and the digits of moments and seals."""
    text = MOMENT.sub(lambda found: re.sub(r"\d+", "0", found[0]), UUID.sub("<id>", text))
    return SEALED.sub("<sealed>", HERE.sub("<here>", text))


def kinds(value: Any) -> Any:
    """The value with its numbers replaced by their kind."""
    if isinstance(value, dict):
        return {name: kinds(part) for name, part in value.items()}
    return "a number" if isinstance(value, int | float) and not isinstance(value, bool) else value


def compared(world: World, route: Route, variables: dict[str, Any]) -> str:
    """The outcome, once both have been asked: `ok` or the code of the refusal. Fails where they disagree."""
    rest = world.over_rest(route, variables)
    graphql = world.over_graphql(route, variables)
    told = f"{route.label} {variables}: {rest.status_code} {rest.text[:500]} / {str(graphql)[:500]}"
    if graphql.get("errors"):
        error = graphql["errors"][0]
        code, reason = error["extensions"]["code"], error["extensions"].get("reason")
        assert rest.status_code == route.system.status_of_code(code, reason), told
        assert code_of(rest.json()) == code.lower(), told
        return str(code)
    assert rest.status_code == status_of(route), told
    if route.compiled.file_body:
        return "ok"
    expected = projected(route, graphql["data"], world.translated(variables))
    got = rest.json() if rest.content else None
    if route.label in VOLATILE:
        expected, got = kinds(expected), kinds(got)
    found = difference(got, expected, world.ids)
    assert found is None, f"{found} in {told}"
    return "ok"


def status_of(route: Route) -> int:
    return int(route.document.rest.get("status", 200))


def takes_a_file(world: World, route: Route) -> bool:
    schema = world.one.app.rest.schema.executable
    types = [type_from_ast(schema, d.type) for d in route.document.node.variable_definitions or ()]  # type: ignore[call-overload]
    return any(get_named_type(type).name == UPLOAD for type in types)


def routes(world: World, *, reading: bool) -> list[Route]:
    """The operations to compare. A stream, a file and what needs the outside world are compared elsewhere."""
    found = [
        route
        for route in world.one.app.rest.routes
        if not route.streams and not takes_a_file(world, route) and route.label not in ELSEWHERE
    ]
    return [route for route in found if (route.document.node.operation.value == "query") is reading]


def compare_all(world: World, *, reading: bool) -> None:
    schema = world.one.app.rest.schema.executable
    problems = []
    for route in routes(world, reading=reading):
        outcomes = world.outcomes[route.label] = Counter()
        recipe: Callable[..., dict[str, Any]] = RECIPES.get(route.label, lambda world, drawing: {})
        for case in range(CASES if places(route, schema) else SUCCESSES_MIN):
            drawing = Drawing(f"{route.label}:{case}", world.stage.things, schema)
            variables = {**drawing.variables(route), **recipe(world, drawing)}
            if case % 4 == 3:
                variables = drawing.spoiled(route, variables)
            try:
                outcomes[compared(world, route, variables)] += 1
            except NoSpelling:
                outcomes["no spelling"] += 1
            except AssertionError as problem:
                problems.append(str(problem).split("\nassert ")[0])
    assert not problems, f"{len(problems)} differences, among them:\n" + "\n".join(problems[:10])


def test_what_reads_answers_the_same(world: World) -> None:
    compare_all(world, reading=True)


def test_what_writes_answers_the_same(world: World) -> None:
    compare_all(world, reading=False)


def test_every_operation_was_compared_where_it_succeeds(world: World) -> None:
    """A comparison of refusals alone proves little. An operation that needs more to succeed gets a recipe."""
    rare = {label: dict(outcomes) for label, outcomes in world.outcomes.items() if outcomes["ok"] < SUCCESSES_MIN}
    assert not rare, "too rarely successful, see recipes.py:\n" + "\n".join(f"{k} {v}" for k, v in rare.items())
    assert len(world.outcomes) > 30
    known = {route.label for route in world.one.app.rest.routes}
    assert ELSEWHERE.keys() | RECIPES.keys() <= known


def test_both_still_hold_the_same(world: World) -> None:
    """Audit rows, events, kept answers, sessions: whatever an operation writes it writes by either door."""
    tables = "SELECT schemaname || '.' || relname AS name FROM pg_stat_user_tables ORDER BY 1"

    def counted(stoa: Stoa) -> dict[str, int]:
        names = [row["name"] for row in stoa.sql(tables)]
        return {name: stoa.sql(f"SELECT count(*) AS n FROM {name}")[0]["n"] for name in names}

    assert counted(world.one) == counted(world.other)
    audited = "SELECT app_id, entity, operation, actor_id, door FROM stoa.audit_log ORDER BY id"
    assert world.one.sql(audited) == world.other.sql(audited)
