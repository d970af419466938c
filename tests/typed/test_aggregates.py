"""Aggregates over lists of an app's typed schema, whole and by groups."""

from typing import Any

import pytest

from tests import build
from tests.build import entity, field, link
from tests.harness import Person
from tests.typed.asking import Typed

DEALS = [  # title, stage, amount, closed, company
    ("a", "won", 10, "2024-01-15", "X"),
    ("b", "won", 30, "2024-02-01", "X"),
    ("c", "lost", 5, "2024-02-29", "X"),
    ("d", "open", None, None, "Y"),
    ("e", "lost", 5, "2024-03-31", "Y"),
]


@pytest.fixture(scope="module")
def deals(admin: Person) -> Typed:
    app = build.app(
        admin,
        entity("companies", field("name")),
        entity(
            "deals",
            field("title"),
            field("stage"),
            field("amount", "number"),
            field("closed", "date"),
            link("company_id", "companies"),
        ),
    )
    ids = {name: app.create("companies", name=name)["id"] for name in ("X", "Y", "Z")}
    for title, stage, amount, closed, company in DEALS:
        app.create("deals", title=title, stage=stage, amount=amount, closed=closed, company_id=ids[company])
    return Typed.of(app)


def test_of_all_records_that_match(deals: Typed) -> None:
    query = """{
      deals(where: {stage: {ne: "open"}}, first: 1) {
        nodes { title }
        aggregate {
          count
          sum { amount }
          avg { amount }
          min { amount title closed }
          max { amount title closed }
          countDistinct { stage companyId }
        }
      }
    }"""
    assert deals.data(query)["deals"]["aggregate"] == {
        "count": 4,
        "sum": {"amount": 50},
        "avg": {"amount": 12.5},
        "min": {"amount": 5, "title": "a", "closed": "2024-01-15"},
        "max": {"amount": 30, "title": "e", "closed": "2024-03-31"},
        "countDistinct": {"stage": 2, "companyId": 2},
    }


def test_of_no_records(deals: Typed) -> None:
    query = (
        '{deals(where: {stage: {eq: "?"}}) {aggregate {count sum {amount}} groups(by: {stage: true}) {key {stage}}}}'
    )
    assert deals.data(query)["deals"] == {"aggregate": {"count": 0, "sum": {"amount": None}}, "groups": []}


def test_of_the_records_of_each_record(deals: Typed) -> None:
    query = "{companies(orderBy: {name: ASC}) {nodes {name deals {aggregate {count sum {amount}}}}}}"
    found = deals.data(query)["companies"]["nodes"]
    assert [(c["name"], c["deals"]["aggregate"]["count"], c["deals"]["aggregate"]["sum"]["amount"]) for c in found] == [
        ("X", 3, 45),
        ("Y", 2, 5),
        ("Z", 0, None),
    ]


GROUPS = """query($by: [DealGroupBy!]!, $having: DealHaving, $order: [DealGroupOrder!], $n: Int! = 50) {
  deals {
    groups(by: $by, having: $having, orderBy: $order, first: $n) { key {stage closed} aggregate {count sum {amount}} }
  }
}"""


def groups(deals: Typed, **variables: Any) -> list[tuple[Any, ...]]:
    found = deals.data(GROUPS, **variables)["deals"]["groups"]
    return [(*g["key"].values(), g["aggregate"]["count"], g["aggregate"]["sum"]["amount"]) for g in found]


def test_groups_by_a_field(deals: Typed) -> None:
    assert groups(deals, by=[{"stage": True}]) == [
        ("lost", None, 2, 10),
        ("open", None, 1, None),
        ("won", None, 2, 40),
    ]


def test_groups_by_the_month(deals: Typed) -> None:
    assert groups(deals, by=[{"closed": "MONTH"}]) == [
        (None, "2024-01-01", 1, 10),
        (None, "2024-02-01", 2, 35),
        (None, "2024-03-01", 1, 5),
        (None, None, 1, None),
    ]
    assert groups(deals, by=[{"closed": "YEAR"}, {"stage": True}], having={"count": {"gte": 2}}) == [
        ("lost", "2024-01-01", 2, 10),
        ("won", "2024-01-01", 2, 40),
    ]


def test_groups_have_an_order_and_a_bound(deals: Typed) -> None:
    by = [{"stage": True}]
    assert [g[0] for g in groups(deals, by=by, order=[{"sum": {"amount": "DESC_NULLS_LAST"}}])] == [
        "won",
        "lost",
        "open",
    ]
    assert [g[0] for g in groups(deals, by=by, order=[{"count": "DESC"}, {"key": {"stage": "DESC"}}], n=2)] == [
        "won",
        "lost",
    ]
    assert [
        g[0] for g in groups(deals, by=by, having={"sum": {"amount": {"gt": 5}}, "max": {"amount": {"lt": 30}}})
    ] == ["lost"]
    assert [g[0] for g in groups(deals, by=by, having={"sum": {"amount": {"isNull": True}}})] == ["open"]


def test_what_groups_must_come_to_is_read_anew_with_each_run(deals: Typed) -> None:
    query = """query($counts: [BigInt!], $having: DealHaving) {deals {
      listed: groups(by: {stage: true}, having: {count: {in: $counts}}) {key {stage}}
      whole: groups(by: {stage: true}, having: $having) {key {stage}}
    }}"""

    def stages(counts: Any, **having: Any) -> list[list[str]]:
        found = deals.data(query, counts=counts, having=having)["deals"]
        return [[group["key"]["stage"] for group in groups] for groups in found.values()]

    assert stages([2], count={"nin": [2]}) == [["lost", "won"], ["open"]]
    assert stages([3, 1], count={"nin": [1]}) == [["open"], ["lost", "won"]]
    assert stages(1, sum={"amount": {"eq": None}}) == [["open"], ["open"]]
    assert stages([], sum={"amount": {"ne": None}}) == [[], ["lost", "won"]]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"by": []}, "by must name 1 to 8 different fields"),
        ({"by": [{"stage": True}, {"stage": True}]}, "by must name 1 to 8 different fields"),
        ({"by": [{"stage": True, "closed": "DAY"}]}, "by.0 must name one field; a list names several"),
        ({"by": [{"stage": False}]}, "by.0 must be true"),
        (
            {"by": [{"stage": True}], "order": [{"key": {"closed": "ASC"}}]},
            "orderBy.0.key: the records are not grouped by 'closed'",
        ),
        ({"by": [{"stage": True}], "n": 0}, "first must be between 1 and 1000"),
    ],
)
def test_what_cannot_be_grouped(deals: Typed, variables: dict[str, Any], message: str) -> None:
    assert deals.error(GROUPS, **variables) == ("INVALID_INPUT", message)
