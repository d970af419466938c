"""The spellings of ObjectQL and of Objectify: each with its own sense of no value, empty lists and letters."""

from typing import Any

import pytest

from domain.kernel.errors import Invalid
from domain.records.declared import Field, ObjectType
from domain.records.query import All, AnyOf
from domain.records.spelling.dialects import Dialect, condition_of
from domain.records.types import TEXT
from tests import build
from tests.build import Collections, entity, field
from tests.harness import Person

TICKETS = [
    {"name": "t1", "subject": "ACME Corp", "status": "open", "priority": "high", "hours": 5, "due": "2026-06-01"},
    {"name": "t2", "subject": "acme corp", "status": "open", "priority": "low", "hours": 40, "tags": ["a", "b"]},
    {"name": "t3", "subject": "100% match", "status": "closed", "hours": 8, "due": "2026-06-10", "limit": 8},
]


@pytest.fixture(scope="module")
def desk(admin: Person) -> Collections:
    texts = [field(name) for name in ("name", "subject", "status", "priority")]
    others = [field("hours", "number"), field("limit", "number"), field("due", "date"), field("tags", "[text]")]
    app = build.app(admin, entity("tickets", *texts, *others))
    for ticket in TICKETS:
        app.create("tickets", **ticket)
    return app


FIND = """query($app: ID!, $where: JSONObject, $dialect: Dialect!) {
    records(app: $app, entity: "tickets", where: $where, dialect: $dialect, orderBy: "name", direction: ASC) { nodes }
}"""


def found(desk: Collections, dialect: str, where: Any) -> str:
    """The names of the tickets that meet a condition."""
    data = desk.person.data(FIND, app=desk.app_id, where=where, dialect=dialect)
    return " ".join(row["name"] for row in data["records"]["nodes"])


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ({}, "t1 t2 t3"),
        ({"status": "open"}, "t1 t2"),
        ({"priority": None}, "t3"),
        ({"priority": {"$eq": None}}, "t3"),
        ({"priority": {"$ne": None}}, "t1 t2"),
        ({"priority": {"$ne": "low"}}, "t1 t3"),
        ({"hours": {"$gte": 8}}, "t2 t3"),
        ({"hours": {"$gt": 5, "$lt": 40}}, "t3"),
        ({"priority": {"$in": ["high", "urgent"]}}, "t1"),
        ({"priority": {"$in": ["high", None]}}, "t1 t3"),
        ({"priority": {"$in": []}}, ""),
        ({"priority": {"$nin": ["low"]}}, "t1 t3"),
        ({"priority": {"$nin": ["low", None]}}, "t1"),
        ({"priority": {"$nin": []}}, "t1 t2 t3"),
        ({"hours": {"$between": [5, 8]}}, "t1 t3"),
        ({"hours": {"$between": [8, 5]}}, ""),
        ({"subject": {"$contains": "acme"}}, "t1 t2"),
        ({"subject": {"$contains": "100%"}}, "t3"),
        ({"subject": {"$contains": "0_%"}}, ""),
        ({"tags": {"$contains": "a"}}, "t2"),
        ({"subject": {"$notContains": "acme"}}, "t3"),
        ({"priority": {"$notContains": "hi"}}, "t2 t3"),
        ({"subject": {"$startsWith": "ACME"}}, "t1"),
        ({"subject": {"$endsWith": "match"}}, "t3"),
        ({"subject": {"$like": "acme%"}}, "t2"),
        ({"subject": {"$ilike": "acme%"}}, "t1 t2"),
        ({"due": {"$null": True}}, "t2"),
        ({"due": {"$exists": True}}, "t1 t3"),
        ({"due": {"$null": False}}, "t1 t3"),
        ({"$and": [{"status": "open"}, {"hours": {"$lt": 10}}]}, "t1"),
        ({"$and": []}, "t1 t2 t3"),
        ({"$or": [{"priority": "low"}, {"hours": 8}]}, "t2 t3"),
        ({"$or": []}, ""),
        ({"$or": [{}]}, "t1 t2 t3"),
        ({"$not": {"status": "open"}}, "t3"),
        ({"$not": {"priority": "low"}}, "t1 t3"),
        ({"$not": {}}, ""),
        ({"$not": {"$not": {"priority": "low"}}}, "t2"),
        ({"hours": {"$gte": {"$field": "limit"}}}, "t3"),
    ],
)
def test_objectql_finds(desk: Collections, where: Any, names: str) -> None:
    assert found(desk, "OBJECTQL", where) == names


def test_a_day_is_meant_whole_where_moments_are_compared_with_it(desk: Collections) -> None:
    today = desk.query("tickets")["data"][0]["created_at"][:10]
    assert found(desk, "OBJECTQL", {"created_at": {"$lte": today}}) == "t1 t2 t3"
    assert found(desk, "OBJECTQL", {"created_at": {"$between": [today, today]}}) == "t1 t2 t3"
    assert found(desk, "OBJECTQL", {"created_at": {"$lt": today}}) == ""


@pytest.mark.parametrize(
    ("where", "path"),
    [
        ({"nope": 1}, "where.nope"),
        ({"status": ["open"]}, "where.status"),
        ({"hours": {}}, "where.hours"),
        ({"hours": {"$gt": 1, "x": 2}}, "where.hours.x"),
        ({"hours": {"$gt": None}}, "where.hours.$gt"),
        ({"hours": {"$eq": "many"}}, "where.hours.$eq"),
        ({"hours": {"$in": 5}}, "where.hours.$in"),
        ({"hours": {"$between": [1]}}, "where.hours.$between"),
        ({"hours": {"$between": [1, None]}}, "where.hours.$between"),
        ({"subject": {"$contains": 5}}, "where.subject.$contains"),
        ({"subject": {"$like": "a\\"}}, "where.subject.$like"),
        ({"subject": {"$regex": "a"}}, "where.subject.$regex"),
        ({"due": {"$null": 1}}, "where.due.$null"),
        ({"$and": {}}, "where.$and"),
        ({"$not": []}, "where.$not"),
        ({"$nor": []}, "where.$nor"),
        ({"hours": {"$gt": {"$field": "nope"}}}, "where.hours.$gt.$field"),
        ({"hours": {"$gt": {"$field": "due"}}}, "where.hours.$gt"),
        ({"hours": {"$in": [{"$field": "limit"}]}}, "where.hours.$in.0"),
    ],
)
def test_objectql_refuses_by_path(desk: Collections, where: Any, path: str) -> None:
    variables = {"app": desk.app_id, "where": where, "dialect": "OBJECTQL"}
    (error,) = desk.person.graphql(FIND, **variables)["errors"]
    assert (error["extensions"]["code"], error["extensions"]["field"]) == ("INVALID_INPUT", path)


def leaf(property: str, op: str, value: Any = None) -> dict[str, Any]:
    return {"property": property, "op": op, "value": value}


@pytest.mark.parametrize(
    ("where", "names"),
    [
        (leaf("status", "eq", "open"), "t1 t2"),
        (leaf("priority", "neq", "low"), "t1 t3"),
        (leaf("hours", "gte", 8), "t2 t3"),
        (leaf("priority", "in", ["high"]), "t1"),
        (leaf("priority", "nin", ["low"]), "t1 t3"),
        (leaf("subject", "contains", "CME"), "t1 t2"),
        (leaf("subject", "contains", "%"), "t3"),
        (leaf("tags", "contains", "b"), "t2"),
        (leaf("subject", "starts_with", "Acme"), "t1 t2"),
        (leaf("subject", "ends_with", "MATCH"), "t3"),
        (leaf("hours", "between", [5, 8]), "t1 t3"),
        (leaf("due", "is_null"), "t2"),
        (leaf("due", "is_not_null"), "t1 t3"),
        ({"all": [leaf("status", "eq", "open"), leaf("hours", "lt", 10)]}, "t1"),
        ({"any": [leaf("priority", "eq", "low"), leaf("hours", "eq", 8)]}, "t2 t3"),
        ({"all": []}, "t1 t2 t3"),
        ({"any": []}, ""),
    ],
)
def test_objectify_finds(desk: Collections, where: Any, names: str) -> None:
    assert found(desk, "OBJECTIFY", where) == names


@pytest.mark.parametrize(
    ("where", "path"),
    [
        (leaf("nope", "eq", 1), "where.property"),
        ({"property": "hours"}, "where.op"),
        (leaf("hours", "near", 1), "where.near"),
        (leaf("hours", "eq"), "where.eq"),
        (leaf("hours", "contains", "1"), "where.contains"),
        (leaf("hours", "in", []), "where.in"),
        (leaf("hours", "in", list(range(101))), "where.in"),
        (leaf("hours", "between", 1), "where.between"),
        ({"property": "hours", "op": "eq", "value": 1, "not": True}, "where.not"),
        ({"all": [leaf("hours", "eq", "x")]}, "where.all.0.eq"),
    ],
)
def test_objectify_refuses_by_path(desk: Collections, where: Any, path: str) -> None:
    variables = {"app": desk.app_id, "where": where, "dialect": "OBJECTIFY"}
    (error,) = desk.person.graphql(FIND, **variables)["errors"]
    assert (error["extensions"]["code"], error["extensions"]["field"]) == ("INVALID_INPUT", path)


THINGS = ObjectType("things", (Field("a", TEXT), Field("b", TEXT)))


def test_lists_of_conditions_are_read() -> None:
    def objectql(where: Any) -> Any:
        return condition_of(where, Dialect.OBJECTQL, THINGS)

    a, b = objectql({"a": "x"}), objectql({"b": {"$contains": "y"}})
    assert objectql(["a", "=", "x"]) == a
    assert objectql(["and", ["a", "==", "x"], ["b", "contains", "y"]]) == All([a, b])
    assert objectql(["or", ["a", "eq", "x"], {"b": {"$contains": "y"}}]) == AnyOf([a, b])
    assert objectql([["a", "eq", "x"], ["b", "contains", "y"]]) == All([a, b])
    assert objectql(["a", "is_null"]) == objectql({"a": None})
    filters = [leaf("a", "eq", "x"), leaf("b", "contains", "y")]
    assert condition_of(filters, Dialect.OBJECTIFY, THINGS) == All([a, b])
    for wrong, path in (([], "where"), (["a"], "where"), (["a", "~", 1], "where.1"), (["or", 5], "where.1")):
        with pytest.raises(Invalid) as refused:
            objectql(wrong)
        assert refused.value.field == path
