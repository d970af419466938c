"""Bytes on their way out: ranges, tags, and the headers that keep them from doing harm."""

import os
from pathlib import Path

import pytest

from tests.harness import Person, Stoa
from tests.storage.files import Bucket

CONTENT = """
query ($bucket: String!, $id: UUID!, $inline: Boolean!) {
  storageContent(bucket: $bucket, id: $id, inline: $inline)
}
"""


@pytest.fixture(scope="module")
def bucket(admin: Person) -> Bucket:
    return Bucket(admin)


@pytest.fixture(scope="module")
def letters(bucket: Bucket) -> str:
    """The path of a file of ten letters."""
    return f"{bucket.path}/{bucket.put('letters.txt', b'abcdefghij', 'text/plain')}"


@pytest.mark.parametrize(
    ("asked", "status", "content", "range"),
    [
        ("bytes=0-3", 206, b"abcd", "bytes 0-3/10"),
        ("bytes=8-", 206, b"ij", "bytes 8-9/10"),
        ("bytes=-2", 206, b"ij", "bytes 8-9/10"),
        ("bytes=0-999", 206, b"abcdefghij", "bytes 0-9/10"),
        ("bytes=-999", 206, b"abcdefghij", "bytes 0-9/10"),
        ("bytes=10-", 416, None, "bytes */10"),
        ("bytes=5-4", 416, None, "bytes */10"),
        ("bytes=-0", 416, None, "bytes */10"),
        ("bytes=0-1,3-4", 200, b"abcdefghij", None),
        ("bytes=a-b", 200, b"abcdefghij", None),
        ("lines=0-1", 200, b"abcdefghij", None),
    ],
)
def test_ranges(admin: Person, letters: str, asked: str, status: int, content: bytes | None, range: str | None) -> None:
    answer = admin.client.get(letters, headers={"range": asked})
    assert (answer.status_code, answer.headers.get("content-range")) == (status, range)
    if content is not None:
        assert answer.content == content


def test_what_the_caller_has_is_not_sent_again(admin: Person, letters: str) -> None:
    first = admin.client.get(letters)
    tag = first.headers["etag"]
    assert admin.client.get(letters, headers={"if-none-match": tag}).status_code == 304
    since = {"if-modified-since": first.headers["last-modified"]}
    assert admin.client.get(letters, headers=since).status_code == 304
    parts = {"range": "bytes=0-0", "if-range": tag}
    assert admin.client.get(letters, headers=parts).status_code == 206
    assert admin.client.get(letters, headers={**parts, "if-range": '"other"'}).status_code == 200
    assert first.headers["cache-control"] == "private, no-cache"
    head = admin.client.head(letters)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "10")


@pytest.mark.parametrize("media_type", ["text/html", "image/svg+xml", "application/xhtml+xml", "text/xml"])
def test_what_may_hold_scripts_is_saved_and_never_shown(
    stoa: Stoa, admin: Person, bucket: Bucket, media_type: str
) -> None:
    id = bucket.put(f"{media_type.replace('/', '-')}.html", b"<script>alert(1)</script>", media_type)
    url = admin.data(CONTENT, bucket=bucket.name, id=id, inline=True)["storageContent"]
    for answer in (stoa.client().get(url), admin.client.get(f"{bucket.path}/{id}")):
        assert answer.headers["content-disposition"].startswith("attachment; ")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"] == "sandbox"
        assert answer.headers["content-type"] == media_type


def test_what_does_no_harm_is_shown_where_that_is_asked_for(stoa: Stoa, admin: Person, bucket: Bucket) -> None:
    id = bucket.put("shown.png", b"\x89PNG\r\n\x1a\n", "image/png")
    for inline, kind in ((True, "inline"), (False, "attachment")):
        url = admin.data(CONTENT, bucket=bucket.name, id=id, inline=inline)["storageContent"]
        assert stoa.client().get(url).headers["content-disposition"] == f'{kind}; filename="shown.png"'
    assert admin.client.get(f"{bucket.path}/{id}").headers["content-disposition"].startswith("attachment")


def test_a_name_breaks_out_of_no_header(admin: Person, bucket: Bucket) -> None:
    id = bucket.put('a"; filename=x.exe; é%0d%0a.txt')
    answer = admin.client.get(f"{bucket.path}/{id}")
    assert answer.headers["content-disposition"] == (
        'attachment; filename="a; filename=x.exe; 0d0a.txt"; '
        "filename*=UTF-8''a%22%3B%20filename%3Dx.exe%3B%20%C3%A9%250d%250a.txt"
    )


def test_a_public_bucket_is_read_without_a_credential_and_only_read(stoa: Stoa, admin: Person) -> None:
    open, shut = Bucket(admin, public=True), Bucket(admin)
    file, folder, hidden = open.put("a.txt"), open.folder("f"), shut.put("a.txt")
    anonymous, guest = stoa.client(), stoa.person()
    for client in (anonymous, guest.client, stoa.client("not a token")):
        assert client.get(f"{open.path}/{file}").content == b"abc"
        assert client.get(f"{open.path}/{folder}").status_code == 400
        assert client.get(f"{open.path}/{hidden}").status_code == 404
    for client, refused in ((anonymous, 401), (guest.client, 403)):
        assert client.get(f"{shut.path}/{hidden}").status_code == refused
        assert client.get(f"/api/v1/storage/objects/nowhere/{hidden}").status_code == refused
        assert client.get(open.path).status_code == refused
        assert client.delete(f"{open.path}/{file}").status_code == refused
        assert client.patch(f"{open.path}/{file}", json={"name": "b"}).status_code == refused
        assert client.get(f"{open.path}/{file}/ancestors").status_code == refused
    assert open.names() == ["f", "a.txt"]


def test_bytes_that_are_lost_are_404_and_not_half_an_answer(stoa: Stoa, admin: Person, bucket: Bucket) -> None:
    id = bucket.put("lost.txt", os.urandom(1000))
    [row] = stoa.sql("SELECT blob_id FROM stoa.storage_objects WHERE id = $1", id)
    folder: Path = stoa.app.platform.settings.data_dir / "blobs"
    (folder / row["blob_id"].hex[-3:] / row["blob_id"].hex).unlink()
    assert admin.client.get(f"{bucket.path}/{id}").status_code == 404


def test_who_reads_on_while_a_file_is_deleted_gets_all_of_it(stoa: Stoa, admin: Person, bucket: Bucket) -> None:
    content = os.urandom(8 * 2**20)
    id = bucket.put("long.bin", content)
    url = bucket.object(id)["content"]
    with __import__("httpx").stream("GET", stoa.base_url + url) as answer:
        parts = answer.iter_bytes(65536)
        begun = next(parts)
        assert admin.client.delete(f"{bucket.path}/{id}").status_code == 200
        assert begun + b"".join(parts) == content
