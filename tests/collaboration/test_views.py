"""Saved views: keeping a query, whose it is, and what it shows."""

from typing import Any

import pytest

from tests import build
from tests.build import Collections
from tests.harness import Person, Stoa

VIEW = "id name shared where dialect orderBy direction columns layout createdBy problem"
CREATE = f"""
mutation($app: ID!, $entity: String!, $view: SavedViewInput!) {{
  createSavedView(app: $app, entity: $entity, view: $view) {{ {VIEW} }}
}}"""
UPDATE = f"""
mutation($id: UUID!, $changes: SavedViewChanges!) {{ updateSavedView(id: $id, changes: $changes) {{ {VIEW} }} }}"""
DELETE = "mutation($id: UUID!) { deleteSavedView(id: $id) { id } }"
VIEWS = f"query($app: ID!, $entity: String!) {{ savedViews(app: $app, entity: $entity) {{ {VIEW} }} }}"
ONE = f"query($id: UUID!) {{ savedView(id: $id) {{ {VIEW} }} }}"
SHOWN = """
query($id: UUID!, $first: Int = 50, $after: String) {
  viewRecords(id: $id, first: $first, after: $after) { totalCount nodes pageInfo { hasNextPage endCursor } }
}"""


@pytest.fixture(scope="module")
def shop(admin: Person) -> Collections:
    app = build.app(
        admin, build.entity("goods", build.field("name", required=True), build.field("price", "number")), app_id="shop"
    )
    app.create_many("goods", [{"name": f"g{n}", "price": n} for n in range(6)])
    return app


@pytest.fixture(scope="module")
def keeper(stoa: Stoa, admin: Person, shop: Collections) -> Person:
    return build.reader(stoa, admin, "app:shop:goods.read", "app:shop:goods.update")


@pytest.fixture(scope="module")
def reader(stoa: Stoa, admin: Person, shop: Collections) -> Person:
    return build.reader(stoa, admin, "app:shop:goods.read")


def create(person: Person, **view: Any) -> dict[str, Any]:
    made: dict[str, Any] = person.data(CREATE, app="shop", entity="goods", view=view)["createSavedView"]
    return made


def names(person: Person) -> list[str]:
    return [view["name"] for view in person.data(VIEWS, app="shop", entity="goods")["savedViews"]]


def test_a_view_shows_what_it_asks_for_in_its_order(reader: Person, shop: Collections) -> None:
    made = create(
        reader, name="dear", where={"price": {"gte": 2}}, orderBy="price", direction="ASC", columns=["name", "price"],
        layout={"kind": "kanban"},
    )  # fmt: skip
    told = {"name": "dear", "shared": False, "dialect": "STOA", "direction": "ASC", "problem": None}
    assert {key: made[key] for key in told} == told
    assert (made["where"], made["layout"]) == ({"price": {"gte": 2}}, {"kind": "kanban"})
    page = reader.data(SHOWN, id=made["id"], first=3)["viewRecords"]
    assert ([row["price"] for row in page["nodes"]], page["totalCount"]) == ([2, 3, 4], 4)
    last = reader.data(SHOWN, id=made["id"], first=3, after=page["pageInfo"]["endCursor"])["viewRecords"]
    assert [row["price"] for row in last["nodes"]] == [5]
    assert reader.data(ONE, id=made["id"])["savedView"] == made
    reader.data(DELETE, id=made["id"])


def test_ones_own_views_are_nobody_elses(reader: Person, keeper: Person) -> None:
    made = create(reader, name="mine")
    assert (names(reader), names(keeper)) == (["mine"], [])
    for operation in (ONE, SHOWN, DELETE):
        assert keeper.code(operation, id=made["id"]) == "NOT_FOUND"
    other = create(keeper, name="mine")  # each has names of their own
    assert names(reader) == ["mine"]
    reader.data(DELETE, id=made["id"])
    keeper.data(DELETE, id=other["id"])


def test_views_for_everybody_are_made_by_who_may_change_records(reader: Person, keeper: Person, admin: Person) -> None:
    view = {"name": "all", "shared": True}
    assert reader.code(CREATE, app="shop", entity="goods", view=view) == "FORBIDDEN"
    made = create(keeper, **view)
    assert (names(reader), names(keeper)) == (["all"], ["all"])
    assert reader.code(DELETE, id=made["id"]) == "FORBIDDEN"
    assert reader.code(UPDATE, id=made["id"], changes={"name": "other"}) == "FORBIDDEN"
    assert admin.data(UPDATE, id=made["id"], changes={"name": "every"})["updateSavedView"]["name"] == "every"
    assert names(reader) == ["every"]
    admin.data(DELETE, id=made["id"])


def test_a_name_is_taken_once_in_one_place(keeper: Person) -> None:
    made = [create(keeper, name="twice"), create(keeper, name="twice", shared=True)]
    for view in ({"name": " twice "}, {"name": "twice", "shared": True}):
        assert keeper.code(CREATE, app="shop", entity="goods", view=view) == "CONFLICT"
    assert keeper.code(UPDATE, id=made[0]["id"], changes={"shared": True}) == "CONFLICT"
    assert [view["shared"] for view in keeper.data(VIEWS, app="shop", entity="goods")["savedViews"]] == [False, True]
    for view in made:
        keeper.data(DELETE, id=view["id"])


def test_a_change_leaves_what_it_does_not_name(keeper: Person) -> None:
    made = create(keeper, name="v", where={"name": {"eq": "g1"}}, columns=["name"], orderBy="name")
    changed = keeper.data(UPDATE, id=made["id"], changes={"where": None, "direction": "ASC"})["updateSavedView"]
    assert changed == {**made, "where": None, "direction": "ASC"}
    keeper.data(DELETE, id=made["id"])


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": "  "}, "name"),
        ({"name": "x" * 121}, "name"),
        ({"name": "v", "where": {"no_such": {"eq": 1}}}, "where"),
        ({"name": "v", "orderBy": "no_such"}, "orderBy"),
        ({"name": "v", "columns": ["no_such"]}, "columns"),
        ({"name": "v", "columns": ["name", "name"]}, "columns"),
        ({"name": "v", "layout": {"x": "y" * 70_000}}, "layout"),
    ],
)
def test_what_a_view_cannot_say(keeper: Person, wrong: dict[str, Any], field: str) -> None:
    answer = keeper.graphql(CREATE, app="shop", entity="goods", view=wrong)
    told = answer["errors"][0]["extensions"]
    assert (told["code"], told["field"].split(".")[0]) == ("INVALID_INPUT", field)
    assert names(keeper) == []


def test_a_view_of_what_is_no_longer_declared_says_so(admin: Person, stoa: Stoa) -> None:
    app = build.app(admin, build.entity("goods", build.field("name"), build.field("old")))
    asked = {"app": app.app_id, "entity": "goods"}
    made = admin.data(CREATE, **asked, view={"name": "v", "columns": ["old"]})["createSavedView"]
    changed = build.manifest(build.entity("goods", build.field("name")), app_id=app.app_id)
    assert admin.client.post("/api/v1/apps", json=changed).status_code == 200
    assert admin.data(ONE, id=made["id"])["savedView"]["problem"] == "unknown field 'old' of 'goods'"
    assert admin.client.delete(f"/api/v1/apps/{app.app_id}").status_code == 200
    assert admin.code(ONE, id=made["id"]) == "NOT_FOUND"
    assert stoa.sql("SELECT FROM stoa.saved_views WHERE app_id = $1", app.app_id) == []
