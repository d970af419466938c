"""What RootCX's clients rely on of storage: behaviours 53, 54 and 56 of its reference, and its tables of routes."""

import re
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests import build
from tests.harness import Person, Stoa
from tests.rootcx.test_acceptance import refused

OBJECTS = "/api/v1/storage/objects"
PNG = b"\x89PNG\r\n\x1a\n"
POSTGRES_TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,6})?\+00"


def bucket(admin: Person, name: str, **rules: Any) -> str:
    """A new bucket. Returns the path of its objects."""
    answer = admin.client.post("/api/v1/storage/buckets", json={"name": name, **rules})
    assert (answer.status_code, answer.json()) == (201, {"name": name})
    return f"{OBJECTS}/{name}"


def folder(person: Person, objects: str, name: str, parent_id: str | None = None) -> str:
    """A new folder. Returns its id."""
    answer = person.client.post(objects, json={"name": name, "parent_id": parent_id})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    assert made == {"id": made["id"], "name": name, "is_folder": True}
    return str(made["id"])


def upload(
    person: Person, objects: str, name: str, content: bytes = b"abc", media_type: str | None = None, **fields: str
) -> httpx.Response:
    """Upload a file."""
    part = (name, content, media_type) if media_type else (name, content)
    return person.client.post(f"{objects}/upload", files={"anything": part}, data=fields)


def listed(person: Person, objects: str, **params: str) -> list[dict[str, Any]]:
    """What is in a folder."""
    answer = person.client.get(objects, params=params)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    return found


def test_53_names_are_taken_once_folders_are_no_rings_and_go_with_their_content(admin: Person, stoa: Stoa) -> None:
    objects = bucket(admin, "labels")
    assert upload(admin, objects, "a.txt").status_code == 201
    refused(upload(admin, objects, "a.txt", b"other"), 400, "taken")
    year = folder(admin, objects, "2025")
    month = folder(admin, objects, "03", year)
    day = folder(admin, objects, "04", month)
    assert upload(admin, objects, "a.txt", parent_id=day).status_code == 201
    for target in (year, month, day):
        refused(admin.client.patch(f"{objects}/{year}", json={"parent_id": target}), 400, "into itself")
    refused(admin.client.patch(f"{objects}/{month}", json={"name": "a.txt", "parent_id": ""}), 400, "taken")

    assert admin.client.delete(f"{objects}/{year}").json() == {"deleted": year}
    assert [row["name"] for row in listed(admin, objects)] == ["a.txt"]
    refused(admin.client.get(f"{objects}/{day}"), 404)
    assert stoa.sql("SELECT count(*) FROM stoa.blobs WHERE expires_at IS NOT NULL") == [{"count": 1}]

    refused(admin.client.delete("/api/v1/storage/buckets/default"), 400, "default")
    refused(admin.client.delete("/api/v1/storage/buckets/labels"), 409, "objects")
    assert admin.client.delete(f"{objects}/{listed(admin, objects)[0]['id']}").status_code == 200
    assert admin.client.delete("/api/v1/storage/buckets/labels").json() == {"deleted": "labels"}
    refused(admin.client.delete("/api/v1/storage/buckets/labels"), 404)


def test_54_a_bucket_takes_its_types_and_sizes_only_and_downloads_do_no_harm(admin: Person, stoa: Stoa) -> None:
    objects = bucket(admin, "pictures", allowed_types=["image/*"], max_file_size=10)
    body = refused(upload(admin, objects, "a.txt", b"abc", "text/plain"), 400, "text/plain")
    assert body["field"] == "anything"  # as the part is called
    refused(upload(admin, objects, "a.png", PNG + b"123", "image/png"), 400, "10 bytes")
    assert listed(admin, objects) == []
    answer = upload(admin, objects, "a.png", PNG, "image/png")
    assert answer.status_code == 201
    made = answer.json()
    assert made == {"id": made["id"], "name": "a.png", "content_type": "image/png", "size": 8}
    got = admin.client.get(f"{objects}/{made['id']}")
    assert (got.status_code, got.content) == (200, PNG)
    assert got.headers["content-type"] == "image/png"
    assert got.headers["content-length"] == "8"
    assert got.headers["content-disposition"] == 'attachment; filename="a.png"'
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.headers["content-security-policy"] == "sandbox"


def test_56_an_app_takes_documents_by_their_extension(admin: Person) -> None:
    path = f"/api/v1/apps/{build.app(admin, build.entity('notes', build.field('text'))).app_id}/upload"
    refused(admin.client.post(path, files={"file": ("x.sh", b"#!/bin/sh")}), 400, "not allowed")
    answer = admin.client.post(path, files={"file": ("x.CSV", b"a,b\n1,2\n")})
    assert answer.status_code == 201
    assert answer.json() == {"file_id": answer.json()["file_id"], "original_name": "x.CSV", "size": 8}
    refused(admin.client.post(path, data={"file": "x.csv"}), 400)
    refused(admin.client.post("/api/v1/apps/nowhere/upload", files={"file": ("x.csv", b"1")}), 404)


# What the tables of its section 2.14 say besides.


def test_buckets_look_as_clients_know_them(admin: Person) -> None:
    rules = {"public": True, "max_file_size": 1048576, "allowed_types": ["image/*", "application/pdf"]}
    bucket(admin, "shapes", **rules)
    buckets = admin.client.get("/api/v1/storage/buckets").json()
    names = [row["name"] for row in buckets]
    assert names == sorted(names)
    assert "default" in names
    row = next(row for row in buckets if row["name"] == "shapes")
    assert re.fullmatch(POSTGRES_TIME, row.pop("created_at"))
    assert row == {"name": "shapes", **rules}
    row = next(row for row in buckets if row["name"] == "default")
    assert (row["public"], row["max_file_size"], row["allowed_types"]) == (False, None, None)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"name": "default"}, "exists"),
        ({"name": "a b"}, "1 to 63"),
        ({"name": "x" * 64}, "name"),
        ({}, "name is required"),
        ({"name": "x", "max_file_size": 0}, "max_file_size"),
        ({"name": "x", "max_file_size": "much"}, "max_file_size"),
        ({"name": "x", "allowed_types": "image/*"}, "allowed_types"),
        ({"name": "x", "allowed_types": ["image"]}, "allowed_types.0"),
    ],
)
def test_buckets_that_are_refused(admin: Person, body: dict[str, Any], text: str) -> None:
    refused(admin.client.post("/api/v1/storage/buckets", json=body), 400, text)


def test_objects_look_as_clients_know_them(admin: Person) -> None:
    objects = bucket(admin, "looks")
    year = folder(admin, objects, "2025")
    made = upload(admin, objects, "a.bin", b"12345", parent_id=year).json()
    assert made == {"id": made["id"], "name": "a.bin", "content_type": "application/octet-stream", "size": 5}
    [row] = listed(admin, objects, parent_id=year)
    assert re.fullmatch(POSTGRES_TIME, row.pop("created_at"))
    assert row == {
        "id": made["id"],
        "bucket": "looks",
        "parent_id": year,
        "name": "a.bin",
        "is_folder": False,
        "content_type": "application/octet-stream",
        "size": 5,
        "metadata": {},
        "uploaded_by": admin.id,
    }
    [row] = listed(admin, objects)
    looks = ("is_folder", "content_type", "size", "parent_id")
    assert [row[key] for key in looks] == [True, "application/x-directory", 0, None]
    assert admin.client.get(f"{objects}/{made['id']}/ancestors").json() == [
        {"id": year, "name": "2025"},
        {"id": made["id"], "name": "a.bin"},
    ]


def test_lists_and_folders_that_are_refused(admin: Person) -> None:
    objects = bucket(admin, "refusals")
    assert listed(admin, f"{OBJECTS}/nowhere") == []
    assert listed(admin, objects, parent_id=str(uuid4())) == []
    refused(admin.client.get(objects, params={"parent_id": "no-uuid"}), 400, "parent_id")
    refused(admin.client.post(objects, json={"name": " "}), 400, "name")
    refused(admin.client.post(objects, json={"name": "x", "parent_id": "no-uuid"}), 400, "parent_id")
    refused(admin.client.post(objects, json={"name": "x", "parent_id": str(uuid4())}), 404, "parent_id")
    refused(admin.client.post(f"{OBJECTS}/nowhere", json={"name": "x"}), 404, "nowhere")
    refused(upload(admin, f"{OBJECTS}/nowhere", "a"), 404, "nowhere")
    folder(admin, objects, "x")
    refused(admin.client.post(objects, json={"name": "x"}), 400, "taken")
    refused(upload(admin, objects, "x"), 400, "taken")
    assert [row["name"] for row in listed(admin, objects)] == ["x"]


def test_moves_by_patch(admin: Person) -> None:
    objects = bucket(admin, "moves")
    year, id = folder(admin, objects, "2025"), upload(admin, objects, "a.txt").json()["id"]

    def patch(**body: Any) -> httpx.Response:
        return admin.client.patch(f"{objects}/{id}", json=body)

    assert patch(parent_id=year).json() == {"id": id, "updated": True}
    assert patch(name="b.txt").json() == {"id": id, "updated": True}
    assert [row["name"] for row in listed(admin, objects, parent_id=year)] == ["b.txt"]
    for top in ("", "null", None):
        assert patch(parent_id=year).status_code == 200
        assert patch(parent_id=top).status_code == 200
        assert [row["name"] for row in listed(admin, objects)] == ["2025", "b.txt"]
    refused(patch(name=""), 400, "name")
    refused(patch(parent_id="no-uuid"), 400, "parent_id")
    refused(patch(parent_id=str(uuid4())), 404, "parent_id")
    refused(admin.client.patch(f"{objects}/{uuid4()}", json={"name": "x"}), 404)
    refused(admin.client.patch(f"{objects}/no-uuid", json={"name": "x"}), 400)
    refused(admin.client.get(f"{objects}/{year}"), 400, "folder")
    refused(admin.client.get(f"{objects}/{uuid4()}"), 404)
    refused(admin.client.delete(f"{objects}/{uuid4()}"), 404)
