"""Imports: what comes in from each format, what is refused and where, and that nothing half is ever stored."""

import io
import json
import time
import zipfile
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import openpyxl
import openpyxl.chart
import pytest

from infra.transfer import tables
from tests import build
from tests.build import Collections
from tests.graph.listening import listening
from tests.harness import Person, Stoa
from tests.transfer.test_large_imports import watched

AIRPORTS = Path(__file__).parents[1] / "data" / "airports.csv"
IMPORT = """
mutation($app: ID!, $entity: String!, $id: UUID, $text: String, $rows: [JSONObject!], $object: StoredFileInput,
         $format: TransferFormat, $mapping: JSONObject, $write: ImportWrite! = INSERT, $key: String,
         $skipBad: Boolean! = false, $dryRun: Boolean! = false, $delimiter: String, $blanks: [String!],
         $rowsMax: Int! = 1000000) {
  importRecords(app: $app, entity: $entity, id: $id, text: $text, rows: $rows, object: $object, format: $format,
                mapping: $mapping, write: $write, key: $key, skipBad: $skipBad, dryRun: $dryRun,
                delimiter: $delimiter, blanks: $blanks, rowsMax: $rowsMax) {
    import { id state read created updated skipped failed message errors { row line field code message } }
    rows { row action recordId }
  }
}"""
ONE = "query($id: UUID!) { recordImport(id: $id) { id state read failed message finishedAt } }"
PARCELS = (
    build.field("code", required=True, is_primary_key=True),
    build.field("weight", "number"),
    build.field("kind", enum_values=["Letter", "Box"], default_value="Box"),
    build.field("sent", "boolean"),
    build.field("day", "date"),
    build.field("tags", "[text]"),
    build.field("facts", "json"),
)


@pytest.fixture
def depot(admin: Person) -> Collections:
    return build.app(
        admin,
        build.entity("parcels", *PARCELS),
        build.entity("labels", build.field("text"), build.link("parcel", "parcels", on_delete="cascade")),
        build.entity("airports", build.field("iata", is_primary_key=True), build.field("name", required=True),
                     build.field("city"), build.field("state"), build.field("country"),
                     build.field("latitude", "number", required=True), build.field("longitude", "number")),
    )  # fmt: skip


def run(app: Collections, entity: str = "parcels", **asked: Any) -> dict[str, Any]:
    done: dict[str, Any] = app.person.data(IMPORT, app=app.app_id, entity=entity, **asked)["importRecords"]
    return done


def csv_of(app: Collections, text: str, **asked: Any) -> dict[str, Any]:
    done: dict[str, Any] = run(app, text=text, format="CSV", **asked)["import"]
    return done


def send(app: Collections, name: str, content: bytes, entity: str = "parcels", **asked: Any) -> httpx.Response:
    where = f"/records/{app.app_id}/{entity}/import"
    return app.person.client.post(where, files={"file": (name, content)}, params=asked)


def codes(app: Collections) -> list[str]:
    return sorted(row["code"] for row in app.query("parcels")["data"])


def counted(done: dict[str, Any]) -> tuple[str, int, int, int, int]:
    return (done["state"], done["read"], done["created"], done["updated"], done["failed"])


# What comes in.


def test_airports_come_in_as_they_are(depot: Collections, stoa: Stoa) -> None:
    answer = send(depot, "airports.csv", AIRPORTS.read_bytes(), "airports")
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert counted(told["import"]) == ("DONE", 61, 61, 0, 0)
    assert [row["action"] for row in told["rows"]] == ["INSERT"] * 61
    found = depot.query("airports", where={"iata": "00M"})["data"][0]
    assert (found["name"], found["city"], found["latitude"]) == ("Thigpen", "Bay Springs", 31.95376472)
    assert found["id"] == told["rows"][0]["recordId"]
    logged = stoa.sql("SELECT actor_id::text, door FROM stoa.audit_log WHERE record_id = $1", found["id"])
    assert logged == [{"actor_id": depot.person.id, "door": "api"}]
    assert stoa.sql(
        "SELECT count(*) AS n FROM stoa.outbox o JOIN stoa.audit_log a ON a.id = o.audit_id WHERE a.app_id = $1",
        depot.app_id,
    ) == [{"n": 61}]


def test_cells_are_read_as_people_write_them(depot: Collections) -> None:
    done = csv_of(
        depot,
        "code,weight,kind,sent,day,tags,facts\r\n"
        'a,"1,234.5",letter,yes,2025/3/4,"x; y,z","{""n"": 12345678901234567890}"\r\n'
        "b,(12),,N,,[],\r\n"
        '"c ""quoted"", with\nlines", $5 ,BOX,1,2025-03-04,"[""a,b""]",plain\r\n'
        "\r\n"
        "d,12%,Box,off,,,true\r\n",
    )
    assert counted(done) == ("DONE", 4, 4, 0, 0)
    rows = {row["code"]: row for row in depot.query("parcels")["data"]}
    fields = ("weight", "kind", "sent", "day", "tags", "facts")
    assert [rows["a"][name] for name in fields] == [
        1234.5, "Letter", True, "2025-03-04", ["x", "y", "z"], {"n": 12345678901234567890}
    ]  # fmt: skip
    assert [rows["b"][name] for name in fields] == [-12, "Box", False, None, [], None]
    assert [rows['c "quoted", with\nlines'][name] for name in fields] == [
        5, "Box", True, "2025-03-04", ["a,b"], "plain"
    ]  # fmt: skip
    assert [rows["d"][name] for name in fields] == [12, "Box", False, None, None, True]


def test_other_tables_than_commas_make(depot: Collections) -> None:
    assert counted(csv_of(depot, "\ufeffcode;weight\na,b;1\n"))[:3] == ("DONE", 1, 1)
    assert counted(csv_of(depot, "code\tweight\nc\t2\n"))[:3] == ("DONE", 1, 1)
    assert counted(csv_of(depot, "code!weight\nd!3\n", delimiter="!"))[:3] == ("DONE", 1, 1)
    assert counted(csv_of(depot, "code,weight\ne,NULL\nf,n/a\n", blanks=["NULL", "n/a"]))[:3] == ("DONE", 2, 2)
    found = {row["code"]: row["weight"] for row in depot.query("parcels")["data"]}
    assert found == {"a,b": 1, "c": 2, "d": 3, "e": None, "f": None}


def test_the_delimiter_is_found_in_the_header_and_not_in_what_is_quoted_or_above_it(depot: Collections) -> None:
    mapping = {"weight, in kg": "weight", "kind, of, parcel": "kind", "code": "code"}
    table = '"weight, in kg";"kind, of, parcel";code\n1;box;a\n'
    assert counted(csv_of(depot, table, mapping=mapping))[:3] == ("DONE", 1, 1)
    late = csv_of(depot, "\n\n \ncode;weight\nb;x\nc;2\n", skipBad=True)
    assert (counted(late), wrong(late)) == (("DONE", 2, 1, 0, 1), [(1, 5, "weight", "INVALID_INPUT")])
    assert codes(depot) == ["a", "c"]
    assert counted(csv_of(depot, "\n \n")) == ("DONE", 0, 0, 0, 0)


def test_columns_are_mapped_left_out_and_never_guessed(depot: Collections) -> None:
    text = "Code,Gewicht,Notes\na,1,x\n"
    mapping = {"Code": "code", "Gewicht": "weight", "Notes": None}
    done = csv_of(depot, text, mapping=mapping)
    assert (done["state"], depot.query("parcels")["data"][0]["weight"]) == ("DONE", 1)
    asked = {"app": depot.app_id, "entity": "parcels", "text": text, "format": "CSV"}
    wrong: list[dict[str, Any]] = [{}, {**mapping, "Notes": "no_such"}, {**mapping, "No": "code"},
                                   {**mapping, "Notes": "code"}]  # fmt: skip
    for other in wrong:
        told = depot.person.graphql(IMPORT, **asked, mapping=other)["errors"][0]["extensions"]
        assert (told["code"], told["field"]) == ("INVALID_INPUT", "mapping")
    assert depot.query("parcels")["total"] == 1


@pytest.mark.parametrize("name", ["rows.json", "rows.ndjson", "rows.jsonl"])
def test_json_comes_in_to_the_digit(depot: Collections, name: str) -> None:
    rows = [
        {"code": "a", "weight": 1e300, "facts": {"deep": [{"big": 12345678901234567890}, None, "\u2028"]}},
        {"code": "b", "weight": None, "kind": None, "tags": ["x", 'y"]}']},
    ]
    content = json.dumps(rows, indent=3) if name.endswith(".json") else "\n".join(map(json.dumps, rows))
    answer = send(depot, name, content.encode())
    assert counted(answer.json()["import"]) == ("DONE", 2, 2, 0, 0)
    found = {row["code"]: row for row in depot.query("parcels")["data"]}
    assert (found["a"]["weight"], found["a"]["facts"]) == (rows[0]["weight"], rows[0]["facts"])
    assert (found["a"]["kind"], found["b"]["kind"], found["b"]["tags"]) == ("Box", None, ["x", 'y"]}'])


def test_a_workbook_comes_in_with_its_own_kinds_of_values(depot: Collections) -> None:
    book = openpyxl.Workbook()
    book.create_sheet("other").append(["nothing"])
    sheet = book.worksheets[0]
    sheet.append(["code", "weight", "sent", "day", "facts"])
    sheet.append(["a", 1.5, True, date(2025, 3, 4), datetime(2025, 3, 4, 12)])
    sheet.append([7, "1,000", "no", "2025-03-05", None])
    file = io.BytesIO()
    book.save(file)
    told = send(depot, "parcels.xlsx", file.getvalue()).json()["import"]
    assert counted(told) == ("DONE", 2, 2, 0, 0)
    found = {row["code"]: row for row in depot.query("parcels")["data"]}
    assert [found["a"][name] for name in ("weight", "sent", "day")] == [1.5, True, "2025-03-04"]
    assert found["a"]["facts"] == "2025-03-04T12:00:00+00:00"
    assert [found["7"][name] for name in ("weight", "sent", "day")] == [1000, False, "2025-03-05"]
    missing = send(depot, "parcels.xlsx", file.getvalue(), sheet="none")
    assert (missing.status_code, missing.json()["error"]["field"]) == (400, "sheet")


def changed_workbook(rows: list[list[Any]], change: Callable[[str], str], part: str = "sheet1.xml") -> bytes:
    """A workbook of which a part was changed by hand."""
    book, file, changed = openpyxl.Workbook(), io.BytesIO(), io.BytesIO()
    for row in rows:
        book.worksheets[0].append(row)
    book.save(file)
    with zipfile.ZipFile(file) as before, zipfile.ZipFile(changed, "w", zipfile.ZIP_DEFLATED) as after:
        for name in before.namelist():
            text = before.read(name)
            after.writestr(name, change(text.decode()) if name.endswith(part) else text)
    return changed.getvalue()


@pytest.mark.parametrize("said", ["A1", "A1:A2", "A1:XFD1048576", "A1:B3"])
def test_what_a_workbook_says_of_its_size_is_not_believed(depot: Collections, said: str) -> None:
    rows = [["code", "weight"], ["a", 1], ["b", 2]]
    file = changed_workbook(rows, lambda text: text.replace('ref="A1:B3"', f'ref="{said}"'))
    assert counted(send(depot, "x.xlsx", file).json()["import"]) == ("DONE", 2, 2, 0, 0)
    assert {row["code"]: row["weight"] for row in depot.query("parcels")["data"]} == {"a": 1, "b": 2}


def test_a_row_beyond_all_sheets_is_refused_in_time(depot: Collections) -> None:
    far = str(2**31)
    file = changed_workbook(
        [["code"], ["a"]], lambda text: text.replace('r="2"', f'r="{far}"').replace('"A2"', f'"A{far}"')
    )
    began = time.monotonic()
    answer = send(depot, "x.xlsx", file)
    assert (answer.status_code, answer.json()["error"]["field"]) == (413, "file")
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(("part", "end"), [("styles.xml", "</styleSheet>"), ("sheet1.xml", "</worksheet>")])
def test_a_workbook_that_takes_all_memory_is_refused_and_takes_none_of_ours(
    depot: Collections, monkeypatch: pytest.MonkeyPatch, part: str, end: str
) -> None:
    monkeypatch.setattr(tables, "MEMORY_BYTES_MAX", 200 * 2**20)
    file = changed_workbook([["code"], ["a"]], lambda text: text.replace(end, f"{'<x/>' * 3_000_000}{end}"), part)
    assert len(file) < 100_000
    with watched() as growth:
        answer = send(depot, "x.xlsx", file)
    assert (answer.status_code, answer.json()["error"]["field"]) == (413, "file"), answer.text
    assert growth[0] < 50 * 2**20


def test_a_chart_is_no_sheet(depot: Collections) -> None:
    book, file = openpyxl.Workbook(), io.BytesIO()
    book.create_chartsheet("chart").add_chart(openpyxl.chart.BarChart())
    book.save(file)
    answer = send(depot, "x.xlsx", file.getvalue(), sheet="chart")
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "sheet")


def test_what_is_exported_comes_in_again_as_it_was(depot: Collections, admin: Person) -> None:
    rows = [
        {"code": "=1+1", "weight": -1e-7, "kind": "Letter", "sent": False, "day": "2024-02-29", "tags": ["a,b", ""]},
        {"code": "'=1+1", "facts": {"x": [1, None]}, "tags": []},
        {"code": "-5", "weight": 0, "facts": [], "sent": True},
        {"code": 'lines\nand "quotes"\ttabs', "facts": "text"},
    ]
    for row in rows:
        depot.create("parcels", **row)
    for format in ("csv", "json", "ndjson", "xlsx"):
        there = build.app(admin, build.entity("parcels", *PARCELS))
        file = admin.client.get(f"/records/{depot.app_id}/parcels/export", params={"format": format}).content
        told = send(there, f"parcels.{format}", file).json()["import"]
        assert counted(told) == ("DONE", 4, 4, 0, 0), (format, told)

        def values(app: Collections) -> list[dict[str, Any]]:
            found = app.query("parcels", orderBy="code")["data"]
            return [{k: v for k, v in row.items() if k not in ("id", "created_at", "updated_at")} for row in found]

        assert values(there) == values(depot), format


def test_a_file_in_storage_is_imported(depot: Collections) -> None:
    made = depot.person.client.post(
        "/api/v1/storage/objects/default/upload", files={"file": ("parcels.csv", b"code\na\n", "text/csv")}
    )
    assert made.status_code in (200, 201), made.text
    object = {"bucket": "default", "id": made.json()["id"]}
    assert run(depot, object=object, format="CSV")["import"]["created"] == 1
    stranger = {"bucket": "default", "id": str(uuid4())}
    asked = {"app": depot.app_id, "entity": "parcels", "format": "CSV"}
    assert depot.person.code(IMPORT, **asked, object=stranger) == "NOT_FOUND"


# What is bad.


BAD = (
    "code,weight,kind,day\n"
    "a,1,Box,2025-01-01\n"
    "b,heavy,Box,\n"  # line 3
    '"c\nd",1,Crate,\n'  # lines 4 and 5
    "e,1,Box,2025-02-30\n"
    ",1,Box,\n"
    "f,1,Box,,more\n"
    "a,2,Box,\n"  # a second time
    "g,1,Box,\n"
)
WRONG = [
    (2, 3, "weight", "INVALID_INPUT"),
    (3, 4, "kind", "INVALID_INPUT"),
    (4, 6, "day", "INVALID_INPUT"),
    (5, 7, "code", "INVALID_INPUT"),
    (6, 8, None, "INVALID_INPUT"),
    (7, 9, "code", "CONFLICT"),
]


def wrong(done: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [(error["row"], error["line"], error["field"], error["code"]) for error in done["errors"]]


def test_each_bad_row_is_told_with_its_line_and_nothing_is_stored(depot: Collections, stoa: Stoa) -> None:
    done = csv_of(depot, BAD)
    assert counted(done) == ("REJECTED", 8, 2, 0, 6)
    assert wrong(done) == WRONG
    assert done["errors"][0]["message"] == "field 'weight' must be a number"
    assert codes(depot) == []
    assert stoa.sql("SELECT FROM stoa.audit_log WHERE app_id = $1", depot.app_id) == []
    assert depot.person.data(ONE, id=done["id"])["recordImport"]["state"] == "REJECTED"


def test_good_rows_are_stored_where_bad_ones_are_to_be_skipped(depot: Collections) -> None:
    done = csv_of(depot, BAD, skipBad=True)
    assert counted(done) == ("DONE", 8, 2, 0, 6)
    assert wrong(done) == WRONG
    assert codes(depot) == ["a", "g"]


def test_a_dry_run_finds_the_same_and_leaves_no_trace(depot: Collections, stoa: Stoa) -> None:
    done = run(depot, text=BAD, format="CSV", skipBad=True, dryRun=True)
    assert counted(done["import"]) == ("DONE", 8, 2, 0, 6)
    assert wrong(done["import"]) == WRONG
    assert [(row["row"], row["recordId"]) for row in done["rows"]] == [(1, None), (8, None)]
    assert codes(depot) == []
    assert stoa.sql("SELECT FROM stoa.audit_log WHERE app_id = $1", depot.app_id) == []


def test_links_that_lead_nowhere_are_told_among_many_good_ones(depot: Collections) -> None:
    parcel = depot.create("parcels", code="a")["id"]
    rows = [{"text": str(n), "parcel": parcel if n % 400 else str(uuid4())} for n in range(1, 2501)]
    done = run(depot, "labels", rows=rows, skipBad=True)["import"]
    assert counted(done) == ("DONE", 2500, 2494, 0, 6)
    assert [(e["row"], e["line"], e["field"], e["code"]) for e in done["errors"]] == [
        (n, None, "parcel", "CONFLICT") for n in range(400, 2500, 400)
    ]
    assert depot.query("labels")["total"] == 2494


@pytest.mark.parametrize(
    ("name", "content", "field"),
    [
        ("x.csv", b'code\n"a', "file"),
        ("x.csv", b"code\n\xff\xfe\n", "file"),
        ("x.csv", b"code,code\na,b\n", "file"),
        ("x.csv", b"code\n" + b"x" * (2**20 + 1), "file"),
        ("x.json", b'{"code": "a"}', "file"),
        ("x.json", b'[{"code": "a"} {"code": "b"}]', "file"),
        ("x.json", b'[{"code": "a"}', "file"),
        ("x.json", b'[{"code": "a"}] more', "file"),
        ("x.json", b'[{"code": NaN}]', "file"),
        ("x.json", b"[" * 100_000, "file"),
        ("x.xlsx", b"PK\x03\x04 no workbook", "file"),
        ("x.xlsx", b"no zip", "file"),
        ("x.unknown", b"code\na\n", "format"),
    ],
)
def test_what_cannot_be_read_is_refused_as_a_whole(depot: Collections, name: str, content: bytes, field: str) -> None:
    id = str(uuid4())
    answer = send(depot, name, content, skipBad="true", id=id)
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, field), answer.text
    assert codes(depot) == []
    told = depot.person.data(ONE, id=id)["recordImport"]
    assert (told["state"], told["message"]) == ("FAILED", answer.json()["error"]["message"])
    assert told["finishedAt"] is not None


def test_bad_elements_of_json_are_rows_that_are_bad(depot: Collections) -> None:
    content = b'[{"code": "a"}, 1, {"no_such": 1}, {}, {"code": ["x", {"y": 1}]}]'
    told = send(depot, "x.json", content, skipBad="true").json()["import"]
    assert counted(told) == ("DONE", 5, 2, 0, 3)
    assert [(error["row"], error["field"]) for error in told["errors"]] == [(2, None), (3, "no_such"), (4, "row")]
    lines = send(depot, "x.ndjson", b'{"code": "b"}\n\n{"code": \n[]\n', skipBad="true").json()["import"]
    assert [(error["row"], error["line"]) for error in lines["errors"]] == [(2, 3), (3, 4)]


def test_what_nobody_can_store_is_told_and_not_stored(depot: Collections) -> None:
    content = rb'[{"code": "\ud800"}, {"a\u0000b": 1}, {"\ud800": 1}, {"code": "a\u0000"}, {"facts": ["\udfff"]}]'
    told = send(depot, "x\x01.json", content, skipBad="true").json()["import"]
    assert counted(told) == ("DONE", 5, 0, 0, 5)
    assert [error["field"] for error in told["errors"]] == [None, "a\ufffdb", "?", "code", "code"]


def test_cells_of_any_size_are_read_in_time(depot: Collections) -> None:
    digits = "1" * 500_000
    began = time.monotonic()
    table = f"code,weight\na,{digits}x\nb,{digits}\nc,{'(' * 500_000}\n"
    done = send(depot, "x.csv", table.encode(), skipBad="true").json()["import"]
    assert time.monotonic() - began < 8
    assert wrong(done) == [(n, n + 1, "weight", "INVALID_INPUT") for n in (1, 2, 3)]


def test_more_rows_than_wanted_are_refused(depot: Collections) -> None:
    asked = {"app": depot.app_id, "entity": "parcels", "rows": [{"code": str(n)} for n in range(4)]}
    assert depot.person.code(IMPORT, **asked, rowsMax=3) == "PAYLOAD_TOO_LARGE"
    assert codes(depot) == []
    assert run(depot, rows=asked["rows"], rowsMax=4)["import"]["created"] == 4


def test_one_thing_is_imported_at_a_time(depot: Collections) -> None:
    asked = {"app": depot.app_id, "entity": "parcels", "format": "CSV"}
    for given in ({}, {"text": "code\na", "rows": [{"code": "b"}]}):
        assert depot.person.code(IMPORT, **asked, **given) == "INVALID_INPUT"
    assert codes(depot) == []


# Rows about records that are there.


def test_rows_find_their_records_by_key(depot: Collections) -> None:
    first = depot.create("parcels", code="a", weight=1, kind="Letter", sent=True)
    text = "code,weight,kind\na,2,\nb,3,\na,4,\n"
    done = csv_of(depot, text, write="UPSERT", key="code")
    assert counted(done) == ("DONE", 3, 1, 2, 0)
    found = {row["code"]: row for row in depot.query("parcels")["data"]}
    assert (found["a"]["id"], found["a"]["weight"], found["a"]["sent"]) == (first["id"], 4, True)
    assert (found["a"]["kind"], found["b"]["kind"]) == ("Letter", "Box")  # a blank cell: no change, or the default


def test_only_what_is_there_is_updated(depot: Collections) -> None:
    first = depot.create("parcels", code="a", weight=1)
    rows = [{"id": first["id"], "weight": None, "sent": True}, {"id": str(uuid4()), "weight": 3}]
    done = run(depot, rows=rows, write="UPDATE", key="id")
    assert counted(done["import"]) == ("DONE", 2, 0, 1, 0)
    assert done["import"]["skipped"] == 1
    assert done["rows"] == [{"row": 1, "action": "UPDATE", "recordId": first["id"]}]
    found = depot.query("parcels")["data"]
    assert [(row["code"], row["weight"], row["sent"]) for row in found] == [("a", None, True)]


def test_a_key_that_cannot_be_one_is_told_of_its_row(depot: Collections) -> None:
    made = depot.create("parcels", code="a")["id"]
    done = csv_of(depot, f"id,weight\n{made},7\nnone,8\n", write="UPDATE", key="id", skipBad=True)
    assert counted(done) == ("DONE", 2, 0, 1, 1)
    assert wrong(done) == [(2, 3, "id", "INVALID_INPUT")]
    assert depot.query("parcels")["data"][0]["weight"] == 7


def test_a_key_is_a_unique_field_and_only_for_updates(depot: Collections) -> None:
    asked = {"app": depot.app_id, "entity": "parcels", "rows": [{"code": "a", "weight": 1}]}
    wrong: list[dict[str, Any]] = [
        {"write": "UPSERT", "key": "weight"},
        {"write": "UPSERT", "key": "id"},
        {"write": "UPSERT", "key": "no_such"},
        {"write": "UPDATE"},
        {"write": "INSERT", "key": "code"},
    ]
    for asked_how in wrong:
        told = depot.person.graphql(IMPORT, **asked, **asked_how)["errors"][0]["extensions"]
        assert (told["code"], told["field"]) == ("INVALID_INPUT", "key")
    assert codes(depot) == []


# Who may.


def test_importing_takes_the_rights_of_what_it_writes(stoa: Stoa, admin: Person, depot: Collections) -> None:
    key = f"app:{depot.app_id}:parcels"
    creates = build.reader(stoa, admin, f"{key}.create")
    updates = build.reader(stoa, admin, f"{key}.update")
    asked = {"app": depot.app_id, "entity": "parcels", "rows": [{"code": "a", "weight": 1}]}
    upsert, update = ({"write": way, "key": "code"} for way in ("UPSERT", "UPDATE"))
    assert [updates.code(IMPORT, **asked), updates.code(IMPORT, **asked, **upsert)] == ["FORBIDDEN"] * 2
    assert [creates.code(IMPORT, **asked, **update), creates.code(IMPORT, **asked, **upsert)] == ["FORBIDDEN"] * 2
    assert codes(depot) == []
    done = creates.data(IMPORT, **asked)["importRecords"]["import"]
    assert done["created"] == 1
    assert updates.data(IMPORT, **asked, **update)["importRecords"]["import"]["updated"] == 1
    assert updates.code(ONE, id=done["id"]) == "NOT_FOUND"
    assert creates.data(ONE, id=done["id"])["recordImport"]["read"] == 1
    assert admin.data(ONE, id=done["id"])["recordImport"]["read"] == 1


def test_imports_are_listed_for_who_made_them(stoa: Stoa, admin: Person, depot: Collections) -> None:
    person = build.reader(stoa, admin, f"app:{depot.app_id}:parcels.read", f"app:{depot.app_id}:parcels.create")
    csv_of(depot, "code\na\n")
    mine = csv_of(depot.as_(person), "code\nb\n")
    listed = """query($app: ID!) { recordImports(app: $app, entity: "parcels") { totalCount nodes { id } } }"""
    assert person.data(listed, app=depot.app_id)["recordImports"] == {"totalCount": 1, "nodes": [{"id": mine["id"]}]}
    assert admin.data(listed, app=depot.app_id)["recordImports"]["totalCount"] == 2


def test_an_id_is_good_for_one_import(depot: Collections) -> None:
    id = str(uuid4())
    assert csv_of(depot, "code\na\n", id=id)["id"] == id
    again = depot.person.code(IMPORT, app=depot.app_id, entity="parcels", text="code\nb\n", format="CSV", id=id)
    assert (again, codes(depot)) == ("CONFLICT", ["a"])


# How it goes.

PROGRESS = "subscription($id: UUID!) { importProgress(id: $id) { id state read } }"


def test_an_import_is_followed_from_before_it_begins_to_its_end(stoa: Stoa, depot: Collections) -> None:
    id = str(uuid4())
    with listening(stoa, depot.person, PROGRESS, id=id) as events:
        csv_of(depot, "code\na\nb\n", id=id)
        seen = []
        while (payload := events.next()) is not None:
            seen.append(payload["data"]["importProgress"])
    assert seen[-1] == {"id": id, "state": "DONE", "read": 2}
    other = stoa.person()
    assert other.code(ONE, id=id) == "NOT_FOUND"


def test_an_import_whose_runner_is_gone_was_interrupted(stoa: Stoa, depot: Collections) -> None:
    id = csv_of(depot, "code\na\n")["id"]
    running = "UPDATE stoa.imports SET state = 'running', heard_at = now() - make_interval(secs => $2) WHERE id = $1"
    stoa.sql(running, id, 10.0)
    assert depot.person.data(ONE, id=id)["recordImport"]["state"] == "RUNNING"
    stoa.sql(running, id, 61.0)
    with listening(stoa, depot.person, PROGRESS, id=id) as events:
        payload = events.next()
        assert payload is not None
        assert payload["data"]["importProgress"]["state"] == "INTERRUPTED"
        assert events.next() is None
    assert depot.person.data(ONE, id=id)["recordImport"]["state"] == "INTERRUPTED"


def test_there_is_a_bound_to_imports_under_way(stoa: Stoa, depot: Collections) -> None:
    ids = [csv_of(depot, f"code\n{n}\n")["id"] for n in range(4)]
    stoa.sql("UPDATE stoa.imports SET state = 'running', heard_at = now() WHERE id = ANY ($1)", ids)
    asked = {"app": depot.app_id, "entity": "parcels", "text": "code\na\n", "format": "CSV"}
    assert depot.person.code(IMPORT, **asked) == "RATE_LIMITED"
    stoa.sql("UPDATE stoa.imports SET state = 'done' WHERE id = $1", ids[0])
    assert depot.person.data(IMPORT, **asked)["importRecords"]["import"]["created"] == 1
    stoa.sql("DELETE FROM stoa.imports")


def test_the_same_file_again_is_refused_row_by_row_and_at_once(depot: Collections) -> None:
    rows = [{"code": str(n)} for n in range(3000)]
    assert run(depot, rows=rows)["import"]["created"] == 3000
    began = time.monotonic()
    done = run(depot, rows=[*rows, {"code": "new"}], skipBad=True)["import"]
    assert time.monotonic() - began < 8
    assert counted(done) == ("DONE", 3001, 1, 0, 3000)
    assert done["errors"][0] == {
        "row": 1, "line": None, "field": "code", "code": "CONFLICT", "message": "a record with this code exists already"
    }  # fmt: skip
    assert len(done["errors"]) == 1000
