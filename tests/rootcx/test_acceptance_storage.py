"""What RootCX's clients rely on of storage: behaviours 53, 54 and 56 of its reference, and its tables of routes."""

from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests import build
from tests.harness import Person, Stoa
from tests.rootcx.test_acceptance import refused

OBJECTS = "/api/v1/storage/objects"
PNG = b"\x89PNG\r\n\x1a\n"


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
    refused(upload(admin, objects, "a.txt", b"abc", "text/plain"), 400, "text/plain")
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
