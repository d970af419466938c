"""Exports: each format holds what reads show, for who may read it, and nobody is sent a formula."""

import csv
import io
import json
import re
import time
from typing import Any
from uuid import uuid4

import httpx
import openpyxl
import pytest

from tests import build
from tests.build import Collections
from tests.harness import Person, Stoa
from tests.transfer.test_large_imports import watched

EXPORT = """
query($app: ID!, $entity: String!, $format: TransferFormat! = CSV, $where: JSONObject, $orderBy: String,
      $direction: Direction! = ASC, $columns: [String!], $labels: JSONObject, $header: Boolean! = true,
      $guarded: Boolean! = true, $first: Int, $expiresIn: Int! = 60) {
  exportRecords(app: $app, entity: $entity, format: $format, where: $where, orderBy: $orderBy, direction: $direction,
                columns: $columns, labels: $labels, header: $header, guarded: $guarded, first: $first,
                expiresIn: $expiresIn)
}"""
GOODS = [
    {"name": "plain", "price": 1, "sold": True, "day": "2025-01-02", "tags": ["a", "b"], "facts": {"x": None}},
    {"name": 'quotes " and, commas\nlines', "price": -2.5, "sold": False, "facts": [1, "é"]},
    {"name": "=1+1", "price": 1e300, "tags": []},
    {"name": "'=1+1"},
    {"name": "Жёлтый 黄"},
]


@pytest.fixture(scope="module")
def shop(admin: Person) -> Collections:
    fields = [
        build.field("name", required=True),
        build.field("price", "number"),
        build.field("sold", "boolean"),
        build.field("day", "date"),
        build.field("tags", "[text]"),
        build.field("facts", "json"),
    ]
    app = build.app(admin, build.entity("goods", *fields), app_id="shop")
    for values in GOODS:
        app.create("goods", **values)
    return app


def exported(app: Collections, **asked: Any) -> httpx.Response:
    url = app.person.data(EXPORT, app=app.app_id, entity="goods", **asked)["exportRecords"]
    answer = httpx.get(app.person.client.base_url.join(url), timeout=30)  # no credential but the URL
    assert answer.status_code == 200, answer.text
    return answer


def lines(answer: httpx.Response) -> list[list[str]]:
    return list(csv.reader(io.StringIO(answer.content.decode(), newline=""), strict=True))


def rows(app: Collections) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = app.query("goods", orderBy="created_at", order="asc")["data"]
    return found


def test_csv_holds_every_record_and_no_formula(shop: Collections) -> None:
    answer = exported(shop)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert re.fullmatch(r'attachment; filename="goods-\d{4}-\d\d-\d\d\.csv"', answer.headers["content-disposition"])
    assert answer.headers["cache-control"] == "no-store"
    header, *body = lines(answer)
    assert header == ["id", "name", "price", "sold", "day", "tags", "facts", "created_at", "updated_at"]
    assert [line[0] for line in body] == [row["id"] for row in rows(shop)]
    assert body[0][1:7] == ["plain", "1", "true", "2025-01-02", '["a","b"]', '{"x":null}']
    assert body[1][1:7] == ['quotes " and, commas\nlines', "-2.5", "false", "", "", '[1,"é"]']
    assert [line[1] for line in body[2:]] == ["'=1+1", "''=1+1", "Жёлтый 黄"]
    assert answer.content.count(b"\r\n") == 6


def test_csv_can_be_had_as_it_is(shop: Collections) -> None:
    asked = {"columns": ["price", "name"], "guarded": False, "header": False, "orderBy": "name", "first": 2}
    assert lines(exported(shop, **asked)) == [["", "'=1+1"], ["1e+300", "=1+1"]]


def test_a_number_is_no_formula(admin: Person) -> None:
    fields = [build.field("price", "decimal", scale=2), build.field("share", "percent"), build.field("note")]
    app = build.app(admin, build.entity("goods", *fields), dialect="stoa")
    app.create("goods", price="-1.50", share="-3", note="-1.50")
    answer = exported(app, columns=["price", "share", "note"])
    assert lines(answer)[1] == ["-1.50", "-3.0000", "'-1.50"]


@pytest.mark.parametrize("format", ["ndjson", "pdf"])
def test_long_records_are_not_held_many_at_once(stoa: Stoa, admin: Person, format: str) -> None:
    app = build.app(admin, build.entity("goods", build.field("text")))
    stoa.sql(f"INSERT INTO {app.app_id}.goods (text) SELECT repeat('words ', 200000) FROM generate_series(1, 200) n")
    with watched() as growth:
        where = f"{stoa.base_url}/records/{app.app_id}/goods/export?format={format}"
        with httpx.stream("GET", where, headers=admin.client.headers, timeout=60) as answer:
            sent = sum(map(len, answer.iter_raw()))
    assert (answer.status_code, sent > 240_000_000) == (200, format == "ndjson")
    assert growth[0] < 100 * 2**20


def test_a_condition_may_hold_any_number(shop: Collections) -> None:
    found = exported(shop, format="JSON", where={"price": {"lt": 10**30}}, orderBy="price")
    assert [row["price"] for row in found.json()] == [-2.5, 1]


def test_labels_stand_above_columns(shop: Collections) -> None:
    asked = {"columns": ["name", "price"], "labels": {"name": "=Name"}, "first": 1}
    assert lines(exported(shop, **asked))[0] == ["'=Name", "price"]


def test_json_and_ndjson_are_what_reads_show(shop: Collections) -> None:
    whole = exported(shop, format="JSON")
    assert whole.headers["content-type"] == "application/json"
    assert whole.json() == rows(shop)
    each = exported(shop, format="NDJSON")
    assert [json.loads(line) for line in each.content.decode().splitlines()] == rows(shop)
    some = exported(shop, format="JSON", where={"price": {"lt": 100}}, orderBy="price", direction="DESC")
    assert [row["price"] for row in some.json()] == [1, -2.5]
    assert exported(shop, format="JSON", where={"name": {"eq": "none"}}).json() == []
    assert exported(shop, format="NDJSON", where={"name": {"eq": "none"}}).content == b""
    assert len(lines(exported(shop, where={"name": {"eq": "none"}}))) == 1


def test_a_workbook_opens_with_texts_as_texts(shop: Collections) -> None:
    answer = exported(shop, format="XLSX", columns=["name", "price", "sold", "day", "tags"])
    assert answer.headers["content-type"].endswith("spreadsheetml.sheet")
    sheet = openpyxl.load_workbook(io.BytesIO(answer.content)).worksheets[0]
    assert sheet.title == "goods"
    found = [[cell.value for cell in line] for line in sheet.iter_rows()]
    assert found[0] == ["name", "price", "sold", "day", "tags"]
    assert [line[0] for line in found[1:]] == [values["name"] for values in GOODS]
    assert sheet["A4"].data_type == "s"  # =1+1
    assert (found[1][1], found[1][2], found[1][3].date().isoformat()) == (1, True, "2025-01-02")
    assert [line[1] for line in found[2:4]] == [-2.5, "1e+300"]


def test_a_document_is_a_pdf(shop: Collections) -> None:
    answer = exported(shop, format="PDF", columns=["name", "price"])
    assert (answer.headers["content-type"], answer.content[:5]) == ("application/pdf", b"%PDF-")
    assert answer.content.rstrip().endswith(b"%%EOF")
    assert b"/Count 1\n" in answer.content


def test_a_document_has_as_many_pages_as_it_takes(stoa: Stoa, admin: Person) -> None:
    app = build.app(admin, build.entity("goods", build.field("n", "number"), build.field("text")))
    stoa.sql(
        f"INSERT INTO {app.app_id}.goods (n, text) SELECT n, repeat('word ', n % 40) FROM generate_series(1, 500) n"
    )
    answer = admin.client.get(f"/records/{app.app_id}/goods/export", params={"format": "pdf"})
    assert answer.status_code == 200
    pages = re.search(rb"/Count ([0-9]+)\n", answer.content)
    assert pages is not None
    assert 10 < int(pages[1]) < 40


def test_a_url_is_good_for_a_while_and_cannot_be_changed(shop: Collections) -> None:
    url = shop.person.data(EXPORT, app="shop", entity="goods", expiresIn=1)["exportRecords"]
    with httpx.Client(base_url=shop.person.client.base_url) as anybody:
        assert anybody.get(url[:-2] + ("AA" if url[-2:] != "AA" else "BB")).status_code == 404
        assert anybody.head(url).status_code == 200
        time.sleep(1.1)
        assert anybody.get(url).status_code == 410


def test_an_export_shows_what_its_maker_may_read_when_it_is_used(stoa: Stoa, admin: Person, shop: Collections) -> None:
    person = stoa.person()
    assert person.code(EXPORT, app="shop", entity="goods") == "FORBIDDEN"
    role = build.grant(admin, person, "app:shop:goods.read")
    url = person.data(EXPORT, app="shop", entity="goods")["exportRecords"]
    assert len(lines(httpx.get(f"{stoa.base_url}{url}"))) == 6
    taken = admin.client.post("/api/v1/roles/revoke", json={"userId": person.id, "role": role})
    assert taken.status_code == 200
    assert httpx.get(f"{stoa.base_url}{url}").status_code == 403


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"columns": ["no_such"]}, "columns"),
        ({"columns": ["name", "name"]}, "columns"),
        ({"labels": {"no_such": "x"}}, "columns"),
        ({"orderBy": "no_such"}, "orderBy"),
        ({"where": {"no_such": {"eq": 1}}}, "where.no_such"),
        ({"where": {"name": {"in": [str(uuid4()) for _ in range(400)]}}}, "where"),
    ],
)
def test_what_cannot_be_exported(shop: Collections, wrong: dict[str, Any], field: str) -> None:
    told = shop.person.graphql(EXPORT, app="shop", entity="goods", **wrong)["errors"][0]["extensions"]
    assert (told["code"], told["field"]) == ("INVALID_INPUT", field)


def test_over_rest_the_file_itself_is_the_answer(shop: Collections, stoa: Stoa) -> None:
    asked = {"format": "csv", "columns": "name,price", "orderBy": "price", "first": "1"}
    answer = shop.person.client.get("/records/shop/goods/export", params=asked)
    assert (answer.status_code, answer.text) == (200, 'name,price\r\n"quotes "" and, commas\nlines",-2.5\r\n')
    assert stoa.client().get("/records/shop/goods/export").status_code == 401
    assert stoa.person().client.get("/records/shop/goods/export").status_code == 403
    assert shop.person.client.get("/records/shop/nothing/export").status_code == 404


def test_too_many_for_a_document_is_said_before_it_is_begun(stoa: Stoa, admin: Person) -> None:
    app = build.app(admin, build.entity("goods", build.field("n", "number")))
    stoa.sql(f"INSERT INTO {app.app_id}.goods (n) SELECT generate_series(1, 5001)")
    url = admin.data(EXPORT, app=app.app_id, entity="goods", format="PDF")["exportRecords"]
    refused = httpx.get(f"{stoa.base_url}{url}")
    assert refused.json()["error"]["field"] == "format"
    assert refused.json()["error"]["code"] == "QUERY_TOO_COMPLEX"
    whole = admin.data(EXPORT, app=app.app_id, entity="goods", format="NDJSON", columns=["n"])["exportRecords"]
    got = [json.loads(line)["n"] for line in httpx.get(f"{stoa.base_url}{whole}").content.splitlines()]
    assert sorted(got) == list(range(1, 5002))


def test_an_export_is_of_one_moment(stoa: Stoa, admin: Person) -> None:
    app = build.app(admin, build.entity("goods", build.field("n", "number"), build.field("pad")))
    stoa.sql(f"INSERT INTO {app.app_id}.goods (n, pad) SELECT n, repeat('x', 1000) FROM generate_series(1, 20000) n")
    url = admin.data(EXPORT, app=app.app_id, entity="goods", format="NDJSON")["exportRecords"]
    with httpx.stream("GET", f"{stoa.base_url}{url}", timeout=30) as answer:
        parts = answer.iter_bytes()
        seen = len(next(parts))
        stoa.sql(f"DELETE FROM {app.app_id}.goods")
        whole = seen + sum(map(len, parts))
    assert whole > 20_000 * 1000
    assert app.query("goods")["total"] == 0


def test_a_saved_view_is_exported_as_it_is_when_the_url_is_used(stoa: Stoa, shop: Collections) -> None:
    person = shop.person
    view = {"name": "cheap", "where": {"price": {"lt": 2}}, "orderBy": "price", "columns": ["price", "name"]}
    made = person.data(
        """mutation($view: SavedViewInput!) {
          createSavedView(app: "shop", entity: "goods", view: $view) { id } }""",
        view=view,
    )["createSavedView"]["id"]
    url = person.data("query($id: UUID!) { exportView(id: $id) }", id=made)["exportView"]
    told = httpx.get(f"{stoa.base_url}{url}")
    assert lines(told) == [["price", "name"], ["1", "plain"], ["-2.5", 'quotes " and, commas\nlines']]
    changed = 'mutation($id: UUID!) { updateSavedView(id: $id, changes: {columns: ["name"], direction: ASC}) { id } }'
    person.data(changed, id=made)
    assert [line[-1] for line in lines(httpx.get(f"{stoa.base_url}{url}"))] == [
        "name", 'quotes " and, commas\nlines', "plain"
    ]  # fmt: skip
    assert stoa.person().code("query($id: UUID!) { exportView(id: $id) }", id=made) == "NOT_FOUND"
    person.data("mutation($id: UUID!) { deleteSavedView(id: $id) { id } }", id=made)
    assert httpx.get(f"{stoa.base_url}{url}").status_code == 404
