"""Fields that nobody writes: formulas, lookups, rollups, and numbers of their own."""

from typing import Any

import pytest

from tests import build
from tests.apps.test_changes import INSTALL, PLAN, installed, planned, refused, rows
from tests.build import Collections
from tests.harness import Person, Stoa
from tests.typed.asking import Typed

COUNT = """
query($app: ID!, $entity: String!, $where: JSONObject, $by: String) {
  records(app: $app, entity: $entity, where: $where, orderBy: $by, direction: ASC) { totalCount nodes }
}
"""


def computed(name: str, type: str, **more: Any) -> dict[str, Any]:
    return build.field(name, type, **more)


def lines(*more: dict[str, Any]) -> dict[str, Any]:
    return build.entity(
        "lines",
        build.field("order", "reference", references={"entity": "orders", "field": "id"}, on_delete="cascade"),
        build.field("quantity", "integer"),
        build.field("price", "decimal", scale=2),
        build.field("kind", "enum", enum_values=["goods", "service"]),
        computed("total", "formula", expression="quantity * price", returns="decimal", scale=2),
        computed("customer", "lookup", link="order", field="name"),
        *more,
    )


def orders(*more: dict[str, Any]) -> dict[str, Any]:
    return build.entity(
        "orders",
        build.field("name"),
        build.field("no", "autonumber", format="ORD-{0000}", start=7),
        computed("lines_count", "rollup", entity="lines", link="order", function="count"),
        computed("pieces", "rollup", entity="lines", link="order", function="sum", field="quantity"),
        computed("mean", "rollup", entity="lines", link="order", function="avg", field="price"),
        computed("dearest", "rollup", entity="lines", link="order", function="max", field="price"),
        computed(
            "goods", "rollup", entity="lines", link="order", function="sum", field="price", where="kind = 'goods'"
        ),
        *more,
    )


@pytest.fixture
def shop(admin: Person) -> Collections:
    return build.app(admin, orders(), lines(), dialect="stoa")


def of(record: dict[str, Any], *names: str) -> list[Any]:
    return [record[name] for name in names]


def found(app: Collections, entity: str, **asked: Any) -> list[dict[str, Any]]:
    told = app.person.data(COUNT, app=app.app_id, entity=entity, **asked)["records"]
    assert told["totalCount"] == len(told["nodes"])
    nodes: list[dict[str, Any]] = told["nodes"]
    return nodes


def test_formulas_lookups_and_rollups_are_read_filtered_and_sorted(shop: Collections) -> None:
    first, second = shop.create("orders", name="Ada"), shop.create("orders", name="Bob")
    names = ("lines_count", "pieces", "mean", "dearest", "goods")
    assert of(first, *names) == [0, 0, None, None, "0.00"]
    made = shop.create("lines", order=first["id"], quantity=2, price="1.50", kind="goods")
    assert of(made, "total", "customer") == ["3.00", "Ada"]
    shop.create("lines", order=first["id"], quantity=1, price="2.25", kind="service")
    shop.create("lines", order=second["id"], quantity=5)
    after = shop.person.client.get(shop.path("orders", first["id"])).json()
    assert of(after, *names) == [2, 3, "1.88", "2.25", "1.50"]
    assert [row["name"] for row in found(shop, "orders", where={"pieces": {"gt": 3}})] == ["Bob"]
    assert [row["name"] for row in found(shop, "orders", by="lines_count")] == ["Bob", "Ada"]
    assert [row["total"] for row in found(shop, "lines", where={"total": {"gte": "2.25"}}, by="total")] == [
        "2.25",
        "3.00",
    ]
    assert len(found(shop, "lines", where={"customer": {"like": "B%"}})) == 1
    changed = shop.person.client.patch(shop.path("lines", made["id"]), json={"quantity": 4, "total": "99.00"})
    assert changed.json()["total"] == "6.00"
    shop.person.client.patch(shop.path("orders", first["id"]), json={"name": "Ann"})
    assert shop.query("lines", where={"id": made["id"]})["data"][0]["customer"] == "Ann"


def test_the_typed_schema_knows_what_is_computed(shop: Collections) -> None:
    order, other = shop.create("orders", name="Ada"), shop.create("orders", name="Bob")
    for quantity, price in ((2, "1.50"), (3, "2.00")):
        shop.create("lines", order=order["id"], quantity=quantity, price=price)
    query = """{
      orders(where: {pieces: {gte: 0}}, orderBy: [{pieces: DESC}]) {
        nodes { no pieces mean lines { nodes { total customer } } }
        aggregate { sum { pieces } max { no dearest } }
      }
      lines(where: {orderRecord: {pieces: {gt: 4}}, total: {gt: "3"}}) { nodes { total } }
    }"""
    told = Typed.of(shop).data(query)
    assert told["lines"] == {"nodes": [{"total": "6.00"}]}
    first, second = told["orders"]["nodes"]
    assert (first["no"], first["pieces"], first["mean"]) == (order["no"], 5, "1.75")
    assert sorted(line["total"] for line in first["lines"]["nodes"]) == ["3.00", "6.00"]
    assert {line["customer"] for line in first["lines"]["nodes"]} == {"Ada"}
    assert (second["no"], second["pieces"], second["mean"]) == (other["no"], 0, None)
    assert told["orders"]["aggregate"] == {"sum": {"pieces": 5}, "max": {"no": other["no"], "dearest": "2.00"}}


def test_pages_go_on_behind_a_computed_value(shop: Collections) -> None:
    for n in range(5):
        shop.create("orders", name=f"o{n}")
        order = shop.query("orders", where={"name": f"o{n}"})["data"][0]["id"]
        shop.create_many("lines", [{"order": order, "quantity": n // 2}, {"order": order, "quantity": 0}])
    query = """
    query($app: ID!, $after: String) {
      records(app: $app, entity: "orders", orderBy: "pieces", direction: ASC, first: 2, after: $after) {
        nodes pageInfo { endCursor hasNextPage }
      }
    }
    """
    pieces: list[int] = []
    after, more = None, True
    while more:
        page = shop.person.data(query, app=shop.app_id, after=after)["records"]
        pieces += [row["pieces"] for row in page["nodes"]]
        after, more = page["pageInfo"]["endCursor"], page["pageInfo"]["hasNextPage"]
    assert pieces == [0, 0, 1, 1, 2]


def test_what_a_reader_may_not_list_is_still_summed_for_them(admin: Person, stoa: Stoa, shop: Collections) -> None:
    """A rollup is part of its record: whoever may read that sees it."""
    order = shop.create("orders", name="Ada")
    shop.create("lines", order=order["id"], quantity=2)
    clerk = shop.as_(build.reader(stoa, admin, f"app:{shop.app_id}:orders.read"))
    assert clerk.query("orders")["data"][0]["pieces"] == 2
    assert clerk.person.client.get(shop.path("lines")).status_code == 403


def test_a_formula_that_goes_with_the_clock_is_computed_when_it_is_read(admin: Person, stoa: Stoa) -> None:
    due = build.field("due", "date")
    late = computed("late", "formula", expression="due < current_date", returns="boolean")
    app = build.app(admin, build.entity("bills", due, late), dialect="stoa")
    app.create_many("bills", [{"due": "2001-01-01"}, {"due": "9000-01-01"}])
    assert [row["late"] for row in found(app, "bills", by="due")] == [True, False]
    assert [row["due"] for row in found(app, "bills", where={"late": {"eq": True}})] == ["2001-01-01"]
    columns = stoa.sql("SELECT column_name FROM information_schema.columns WHERE table_schema = $1", app.app_id)
    assert "late" not in {row["column_name"] for row in columns}
    moving = computed("day", "formula", expression="date_trunc('day', created_at)", returns="timestamp")
    error = refused(app, build.entity("bills", due, late, moving))
    assert (error["extensions"]["field"], error["message"]) == (
        "bills.day",
        "field 'day' of 'bills' has a formula that depends on when it is computed: declare it stored: false",
    )
    assert installed(app, build.entity("bills", due, late, {**moving, "stored": False})) == []
    assert app.query("bills")["data"][0]["day"].endswith("T00:00:00+00:00")


def test_numbers_count_up_are_kept_and_found_by_what_is_shown(shop: Collections) -> None:
    made = shop.create_many("orders", [{"name": f"o{n}"} for n in range(3)])
    assert [row["no"] for row in made] == ["ORD-0007", "ORD-0008", "ORD-0009"]
    assert [row["name"] for row in found(shop, "orders", where={"no": {"gt": "ORD-0007"}}, by="no")] == ["o1", "o2"]
    again = shop.person.client.patch(shop.path("orders", made[0]["id"]), json={"no": "ORD-0001", "name": "x"})
    assert (again.json()["no"], again.json()["name"]) == ("ORD-0007", "x")
    wrong = shop.person.graphql(COUNT, app=shop.app_id, entity="orders", where={"no": {"eq": "7"}})
    assert wrong["errors"][0]["message"] == "where.no.eq must be like ORD-0007"


def test_a_new_number_is_for_the_records_that_are_there_too(admin: Person) -> None:
    app = build.app(admin, build.entity("bills", build.field("name")), dialect="stoa")
    app.create_many("bills", [{"name": "a"}, {"name": "b"}])
    number = build.field("no", "autonumber", format="{00}/X")
    assert ("add_column", "no") in installed(app, build.entity("bills", build.field("name"), number))
    assert sorted(row["no"] for row in rows(app, "bills")) == ["01/X", "02/X"]
    renamed = build.field("number", "autonumber", format="N{000}", renamedFrom="no")
    assert ("rename_column", "number") in installed(app, build.entity("bills", build.field("name"), renamed))
    assert app.create("bills", name="c")["number"] == "N003"
    plain = build.field("number", "integer")
    assert ("drop_numbering", "number") in installed(app, build.entity("bills", build.field("name"), plain))
    assert [row["number"] for row in found(app, "bills", by="number")] == [1, 2, 3]
    error = refused(app, build.entity("bills", build.field("name"), build.field("number", "autonumber")))
    assert error["message"] == "field 'number' of 'bills' has values of its own and cannot become an autonumber"


def test_a_restored_record_has_the_number_it_had(admin: Person) -> None:
    fields = [build.field("name"), build.field("no", "autonumber"), build.field("n", "integer")]
    double = computed("double", "formula", expression="n * 2", returns="integer")
    app = build.app(admin, build.entity("bills", *fields, double, trash=True), dialect="stoa")
    made = app.create("bills", name="a", n=4)
    app.create("bills", name="b")
    app.person.client.delete(app.path("bills", made["id"]))
    restore = 'mutation($app: ID!, $id: ID!) { restoreRecord(app: $app, entity: "bills", id: $id) }'
    back = admin.data(restore, app=app.app_id, id=made["id"])["restoreRecord"]
    assert of(back, "id", "name", "no", "double") == [made["id"], "a", "1", 8]


def test_formulas_change_come_and_go_without_loss(admin: Person) -> None:
    n = build.field("n", "integer")
    twice = computed("m", "formula", expression="n * 2", returns="integer")
    app = build.app(admin, build.entity("bills", n, twice), dialect="stoa")
    app.create("bills", n=4)
    assert planned(app, build.entity("bills", n, twice)) == []
    thrice = {**twice, "expression": "n * 3"}
    assert installed(app, build.entity("bills", n, thrice)) == [("set_formula", "m")]
    assert rows(app, "bills") == [{"n": 4, "m": 12}]
    half = {**twice, "expression": "n / 2", "returns": "decimal", "scale": 1}
    index = {"indexes": [{"name": "by_m", "columns": ["m"]}]}
    done = installed(app, build.entity("bills", n, half, **index))
    assert [change for change in done if change[1] == "m"] == [
        ("drop_column", "m"),
        ("add_column", "m"),
        ("add_index", "m"),
    ]
    assert installed(app, build.entity("bills", n, twice, **index))[:2] == [("drop_column", "m"), ("add_column", "m")]
    plain = build.field("m", "integer")
    assert ("drop_formula", "m") in installed(app, build.entity("bills", n, plain))
    assert rows(app, "bills") == [{"n": 4, "m": 8}]
    assert [
        step["loses"] for step in planned(app, build.entity("bills", n, twice)) if step["change"] == "drop_column"
    ] == [True]
    assert installed(app, build.entity("bills", n), lose=True) == [("drop_check", None), ("drop_column", "m")]


def test_what_is_summed_and_looked_up_survives_a_rename(shop: Collections) -> None:
    order = shop.create("orders", name="Ada")
    shop.create("lines", order=order["id"], quantity=2)
    entities = [orders(build.field("extra")), lines()]
    entities[1]["fields"][1] = build.field("count", "integer", renamedFrom="quantity")
    entities[1]["fields"][4]["expression"] = "count * price"
    entities[0]["fields"][3]["field"] = "count"
    assert ("rename_column", "count") in installed(shop, *entities)
    assert shop.query("orders")["data"][0]["pieces"] == 2


def rollup(**more: Any) -> dict[str, Any]:
    return {"type": "rollup", "entity": "bs", "link": "a", **more}


def formula(expression: str, **more: Any) -> dict[str, Any]:
    return {"type": "formula", "expression": expression, **more}


WRONG: list[tuple[dict[str, Any], str, str]] = [
    (formula("n +", returns="integer"), "", "entity 'as' cannot be changed as declared"),
    (formula("pg_sleep(1)", returns="integer"), "expression", "must not use 'pg_sleep'"),
    (formula("x + 1", returns="integer"), "expression", "must not use 'x'"),
    (formula("n", returns="shape"), "returns", "'shape' is not a field type"),
    (formula("n"), "returns", "is required"),
    (formula("n", returns="integer", required=True), "required", "is not for formula fields"),
    (
        {"type": "lookup", "link": "n", "field": "n"},
        "link",
        "'n' must be a field that leads to an entity of this manifest",
    ),
    ({"type": "lookup", "link": "b", "field": "nix"}, "field", "'nix' is not one of the fields, or is computed itself"),
    (rollup(entity="cs", function="count"), "entity", "'cs' must be an entity of this manifest"),
    (rollup(link="n", function="count"), "link", "'n' must be a field that leads here"),
    (rollup(function="mode"), "function", "must be one of count, sum, avg, min, max"),
    (rollup(function="sum", field="t"), "field", "is of a type that has no sum"),
    (rollup(function="sum"), "field", "is required"),
    (
        {"type": "autonumber", "format": "no number"},
        "format",
        "must be a text with one number in braces, like TKT-{0000}",
    ),
]


@pytest.mark.parametrize(("declared", "key", "words"), WRONG)
def test_what_cannot_be_computed_is_refused_with_its_path(
    admin: Person, declared: dict[str, Any], key: str, words: str
) -> None:
    link = build.field("b", "reference", references={"entity": "bs", "field": "id"})
    back = build.field("a", "reference", references={"entity": "as", "field": "id"})
    manifest = build.manifest(
        build.entity("as", build.field("n", "integer"), link, {"name": "x", **declared}),
        build.entity("bs", build.field("n", "integer"), build.field("t"), back),
        dialect="stoa",
    )
    error = admin.graphql(INSTALL, m=manifest)["errors"][0]
    path = f"dataContract.0.fields.2.{key}"
    assert error["extensions"]["code"] == "INVALID_INPUT"
    assert error["message"].startswith(f"{path} {words}" if key else words)
    assert admin.graphql(PLAN, m=build.manifest(app_id=manifest["appId"]))["data"]["planApp"]["compliant"]
