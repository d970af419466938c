"""Compiled operations come to what the executor makes of them, and leave to it what they cannot do."""

import asyncio
from dataclasses import dataclass
from enum import Enum
from typing import Any

import pytest
import strawberry
from graphql import GraphQLSchema, OperationDefinitionNode, parse, validate

from domain.kernel.errors import Denied
from graph.compiled import compiled
from graph.resolving import executed
from graph.selection import selected
from tests.rest_compat.engine.test_growth import calls


class Nobody:
    """As much of a context as the executor asks for."""

    actor = type("Actor", (), {"user_id": "somebody"})()


@strawberry.enum
class Order(Enum):
    UP = "up"
    DOWN = "down"


@strawberry.input
class Filter:
    name: str = "any"
    sizes: list[int] | None = None


@strawberry.type
class Part:
    name: str
    size: int | None

    @strawberry.field
    def doubled(self, by: int = 2) -> int:
        return (self.size or 0) * by

    @strawberry.field
    def refused(self) -> str | None:
        raise Denied("not for you")

    @strawberry.field
    def refused_all(self) -> str:
        raise Denied("not for anybody")

    @strawberry.field
    def faulty(self) -> str:
        return None  # type: ignore[return-value]


@strawberry.type
class Thing:
    name: str
    wanted: list[str]
    asked: strawberry.scalars.JSON

    @strawberry.field
    def parts(self) -> list[Part]:
        return [Part(name="a", size=1), Part(name="b", size=None)]

    @strawberry.field
    def some(self) -> list[Part | None]:
        return [Part(name="a", size=1), None]

    @strawberry.field
    async def later(self) -> str:
        return "later"


@strawberry.type
class Query:
    @strawberry.field
    async def thing(
        self,
        info: strawberry.Info,
        name: str | None = "nameless",
        order: Order = Order.UP,
        first: int = 5,
        filter: Filter | None = None,
        any: strawberry.scalars.JSON | None = None,
    ) -> Thing | None:
        await asyncio.sleep(0)
        if name == "absent":
            return None
        if name == "refused":
            raise Denied("not for you")
        shown = None if filter is None else [filter.name, filter.sizes]
        return Thing(name=str(name), wanted=sorted(selected(info)), asked=[order.value, first, shown, any])

    @strawberry.field
    def plain(self) -> int:
        return 7

    @strawberry.field
    def things(self, count: int) -> list[Thing]:
        return [Thing(name=str(n), wanted=[], asked=n) for n in range(count)]


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def make(self, name: str) -> Thing:
        return Thing(name=name, wanted=[], asked=None)


SCHEMA: GraphQLSchema = strawberry.Schema(Query, Mutation)._schema


@dataclass
class Both:
    """What the executor and the compiled operation come to: data, and the errors' messages and paths."""

    executed: Any
    compiled: Any


def both(source: str, **variables: Any) -> Both:
    document = parse(source)
    assert validate(SCHEMA, document) == []
    node = next(node for node in document.definitions if isinstance(node, OperationDefinitionNode))
    made = compiled(SCHEMA, document, node)
    assert made is not None
    ctx: Any = Nobody()
    first = asyncio.run(executed(SCHEMA, document, node, variables, ctx))
    second = asyncio.run(made.executed(variables, ctx))
    return Both(told(first), "left" if second is None else told(second))


def told(result: Any) -> Any:
    errors = [
        (error.message, error.path, type(error.original_error), len(error.nodes or ())) for error in result.errors or ()
    ]
    return result.data, sorted(errors, key=str)


@pytest.mark.parametrize(
    ("source", "variables"),
    [
        ("{ plain }", {}),
        ("{ p: plain }", {}),
        ("{ thing { name wanted asked } }", {}),
        ('{ thing(name: "absent") { name } }', {}),
        ('{ t: thing(name: "refused") { name } }', {}),
        ("query($n: String) { thing(name: $n) { name } }", {}),
        ("query($n: String) { thing(name: $n) { name } }", {"n": None}),
        ('query($n: String = "d") { thing(name: $n) { name } }', {}),
        ('query($n: String = "d") { thing(name: $n) { n: name asked } }', {"n": "x"}),
        ("query($o: Order!) { thing(order: $o) { asked } }", {"o": "DOWN"}),
        ("query($o: Order! = DOWN) { thing(order: $o) { asked } }", {}),
        ("query($f: Int = 3) { thing(first: $f) { asked } }", {}),
        ("query($f: Int = 3) { thing(first: $f) { asked } }", {"f": None}),
        ('{ thing(filter: {name: "x", sizes: [1, 2]}, any: {a: [1, {b: null}]}) { asked } }', {}),
        ("query($f: Filter) { thing(filter: $f) { asked } }", {"f": {"sizes": 4}}),
        ("query($n: String! $s: Int!) { thing(filter: {name: $n, sizes: [$s]}) { asked } }", {"n": "y", "s": 1}),
        ("query($a: JSON) { thing(any: $a) { asked } }", {"a": {"deep": [1, None]}}),
        ("query($a: JSON = {b: 1}) { thing(any: $a) { asked } }", {}),
        ("{ thing { parts { name size doubled more: doubled(by: 3) __typename } __typename } }", {}),
        ("{ thing { ...F ... on Thing { name } } } fragment F on Thing { parts { name } parts { size } }", {}),
        ("{ thing { parts { name refused } some { refused name } } }", {}),
        ("{ thing { parts { name refusedAll } } }", {}),
        ("{ thing { some { refusedAll } name } }", {}),
        ("{ thing { some { faulty } } }", {}),
        ("query($c: Int!) { things(count: $c) { name parts { faulty } } }", {"c": 2}),
        ("query($c: Int!) { things(count: $c) { name asked } }", {"c": 3}),
        ('mutation { make(name: "x") { name } }', {}),
    ],
)
def test_they_come_to_what_the_executor_makes_of_them(source: str, variables: dict[str, Any]) -> None:
    found = both(source, **variables)
    assert found.compiled == found.executed


@pytest.mark.parametrize(
    ("source", "variables"),
    [
        ("query($n: Int!) { things(count: $n) { name } }", {}),
        ("query($n: Int!) { things(count: $n) { name } }", {"n": None}),
        ("query($n: Int!) { things(count: $n) { name } }", {"n": "many"}),
        ("query($o: Order) { thing(order: $o) { name } }", {"o": "SIDEWAYS"}),
        ("query($f: Filter) { thing(filter: $f) { name } }", {"f": {"colour": "red"}}),
    ],
)
def test_variables_that_do_not_fit_are_the_executors_to_refuse(source: str, variables: dict[str, Any]) -> None:
    found = both(source, **variables)
    assert found.compiled == "left"
    assert found.executed[0] is None
    assert len(found.executed[1]) == 1


@pytest.mark.parametrize(
    "source",
    [
        "{ plain other: plain }",
        "{ __typename }",
        "{ __schema { queryType { name } } }",
        "{ thing { later } }",
        "query($s: Boolean!) { thing { name @skip(if: $s) } }",
    ],
)
def test_what_needs_the_executor_is_not_compiled(source: str) -> None:
    document = parse(source)
    assert compiled(SCHEMA, document, document.definitions[0]) is None  # type: ignore[arg-type]


def test_what_one_execution_does_to_its_input_is_nothing_to_the_next() -> None:
    document = parse("query($a: JSON = {b: 1}) { thing(any: $a) { asked } }")
    made: Any = compiled(SCHEMA, document, document.definitions[0])  # type: ignore[arg-type]
    ctx: Any = Nobody()
    first = asyncio.run(made.executed({}, ctx))
    first.data["thing"]["asked"][3]["b"] = 2
    assert asyncio.run(made.executed({}, ctx)).data["thing"]["asked"][3] == {"b": 1}


def test_an_execution_calls_far_less_than_the_executor_does() -> None:
    source = "query($n: String = null, $f: Int = 3) { thing(name: $n, first: $f) { name asked } }"
    document = parse(source)
    node: Any = document.definitions[0]
    made: Any = compiled(SCHEMA, document, node)
    ctx: Any = Nobody()

    def count(execution: Any) -> int:
        asyncio.run(execution())
        return calls(lambda: asyncio.run(execution()))

    idle = count(lambda: asyncio.sleep(0))
    ours = count(lambda: made.executed({"n": "x"}, ctx)) - idle
    theirs = count(lambda: executed(SCHEMA, document, node, {"n": "x"}, ctx)) - idle
    assert ours < theirs * 0.6, (ours, theirs)
