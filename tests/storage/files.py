"""Buckets and files as one person works with them, over GraphQL and the URLs it hands out."""

import itertools
from collections.abc import Iterator
from typing import Any

import httpx

from tests.harness import Person, Stoa

_numbers = itertools.count(1)

OBJECT = "id name parentId isFolder mediaType sizeBytes sha256 uploadedBy metadata content"

CREATE_UPLOAD = """
mutation ($bucket: String!, $name: String!, $sizeBytes: BigInt!, $mediaType: String, $parent: UUID, $expiresIn: Int) {
  createUpload(bucket: $bucket, name: $name, sizeBytes: $sizeBytes, mediaType: $mediaType, parent: $parent,
               expiresIn: $expiresIn) { id url expiresAt }
}
"""
CREATE_FOLDER = """
mutation ($bucket: String!, $name: String!, $parent: UUID) {
  createFolder(bucket: $bucket, name: $name, parent: $parent) { id }
}
"""
MOVE = """
mutation ($bucket: String!, $id: UUID!, $name: String, $parent: UUID) {
  updateObject(bucket: $bucket, id: $id, name: $name, parent: $parent) { object { name parentId } }
}
"""


class Bucket:
    """A bucket of the test's own, as one person sees it."""

    def __init__(self, person: Person, name: str | None = None, **rules: Any) -> None:
        self.person = person
        self.name = name or f"bucket-{next(_numbers)}"
        if name is None:
            made = person.client.post("/api/v1/storage/buckets", json={"name": self.name, **rules})
            assert made.status_code == 201, made.text

    def as_(self, person: Person) -> "Bucket":
        """The same bucket for somebody else."""
        return Bucket(person, self.name)

    @property
    def path(self) -> str:
        """Where RootCX has its objects."""
        return f"/api/v1/storage/objects/{self.name}"

    def put(self, name: str, content: bytes = b"abc", media_type: str | None = None, parent: str | None = None) -> str:
        """A new file. Returns its id."""
        made = self.slot(name, len(content), mediaType=media_type, parent=parent)
        answer = self.person.client.put(made["url"], content=content)
        assert answer.status_code == 201, answer.text
        assert answer.json()["id"] == made["id"]
        return str(made["id"])

    def slot(self, name: str, size: int, **more: Any) -> dict[str, Any]:
        """Where to send a file."""
        asked = {"bucket": self.name, "name": name, "sizeBytes": size, "expiresIn": 900, **more}
        made: dict[str, Any] = self.person.data(CREATE_UPLOAD, **asked)["createUpload"]
        return made

    def folder(self, name: str, parent: str | None = None) -> str:
        """A new folder. Returns its id."""
        return str(self.person.data(CREATE_FOLDER, bucket=self.name, name=name, parent=parent)["createFolder"]["id"])

    def move(self, id: str, **to: Any) -> dict[str, Any]:
        """The response map of giving an object another name or place."""
        return self.person.graphql(MOVE, bucket=self.name, id=id, **to)

    def object(self, id: str) -> dict[str, Any]:
        """One object."""
        query = f"query ($bucket: String!, $id: UUID!) {{ storageObject(bucket: $bucket, id: $id) {{ {OBJECT} }} }}"
        found: dict[str, Any] = self.person.data(query, bucket=self.name, id=id)["storageObject"]
        return found

    def names(self, parent: str | None = None) -> list[str]:
        """The names in a folder, in the order of the list."""
        answer = self.person.client.get(self.path, params={"parent_id": parent} if parent else {})
        assert answer.status_code == 200, answer.text
        return [row["name"] for row in answer.json()]

    def upload(
        self, name: str, content: bytes = b"abc", media_type: str = "text/plain", **fields: str
    ) -> httpx.Response:
        """The answer to an upload by a form."""
        return self.person.client.post(f"{self.path}/upload", files={"file": (name, content, media_type)}, data=fields)


def kept(stoa: Stoa) -> list[dict[str, Any]]:
    """The blobs that something refers to."""
    return stoa.sql("SELECT id, size_bytes FROM stoa.blobs WHERE expires_at IS NULL ORDER BY id")


def given_up(stoa: Stoa) -> int:
    """How many blobs the next sweep takes."""
    return int(stoa.sql("SELECT count(*) FROM stoa.blobs WHERE expires_at <= now()")[0]["count"])


def on_disk(stoa: Stoa) -> list[str]:
    """The names of the files that hold bytes, whole or not."""
    return sorted(_names(stoa))


def _names(stoa: Stoa) -> Iterator[str]:
    folder = stoa.app.platform.settings.data_dir / "blobs"
    yield from (path.name for path in folder.rglob("*") if path.is_file())
