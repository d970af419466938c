"""Signed URLs: good for what they say, as long as they say, and for nothing else."""

import string
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import orjson
import pytest

from domain.storage.links import LIFE_S_MAX, Method
from infra.seal import HmacSeal
from tests import build
from tests.harness import Person, Stoa, running
from tests.storage.files import CREATE_UPLOAD, Bucket

ALPHABET = string.ascii_letters + string.digits + "-_"
CONTENT = """
query ($bucket: String!, $id: UUID!, $expiresIn: Int!) {
  storageContent(bucket: $bucket, id: $id, expiresIn: $expiresIn)
}
"""


@pytest.fixture(scope="module")
def bucket(admin: Person) -> Bucket:
    return Bucket(admin)


def url_of(bucket: Bucket, id: str) -> str:
    return str(bucket.object(id)["content"])


def token(stoa: Stoa, method: Method, *says: Any) -> str:
    """A URL as only we can make it."""
    return "/files/" + stoa.app.platform.ports.seal.seal(orjson.dumps(says, default=str), method)


def status(answer: httpx.Response) -> int:
    if answer.status_code >= 400:
        assert set(answer.json()) == {"error"}
        assert answer.json()["error"]["requestId"] == answer.headers["x-request-id"]
    return answer.status_code


def test_a_url_needs_no_credential_and_bears_any(stoa: Stoa, bucket: Bucket) -> None:
    url = url_of(bucket, bucket.put("open.txt"))
    for client in (stoa.client(), stoa.client("not a token"), stoa.person().client):
        assert client.get(url).content == b"abc"


def test_no_letter_of_a_url_can_be_changed(stoa: Stoa, bucket: Bucket) -> None:
    url, client = url_of(bucket, bucket.put("edited.txt")), stoa.client()
    start = len("/files/")
    for position in range(start, len(url)):
        letter = ALPHABET[(ALPHABET.index(url[position]) + 1 + position % 60) % 64]
        if letter != url[position]:
            assert status(client.get(url[:position] + letter + url[position + 1 :])) == 404
    for other in (url[:-1], url + "A", url + "=", url[:start], "/files/x", "/files/" + "A" * 5000, "/files/%00"):
        assert status(client.get(other)) in (400, 404)


def test_a_url_is_good_for_its_method_only(stoa: Stoa, bucket: Bucket) -> None:
    read = url_of(bucket, bucket.put("method.txt"))
    write = bucket.slot("later.txt", 3)["url"]
    client = stoa.client()
    assert status(client.put(read, content=b"xyz")) == 404
    assert status(client.get(write)) == 404
    assert status(client.delete(read)) == 405
    assert status(client.post(write, content=b"abc")) == 405
    assert client.head(read).headers["content-length"] == "3"
    assert client.get(read).content == b"abc"
    assert client.put(write, content=b"abc").status_code == 201


def test_the_key_of_one_installation_is_none_of_another(stoa: Stoa, bucket: Bucket) -> None:
    id = bucket.put("foreign.txt")
    later = (datetime.now(UTC) + timedelta(hours=1)).timestamp()
    says = orjson.dumps(["object", str(UUID(int=0)), later, {"id": id, "inline": False}])
    [ours] = stoa.app.platform.settings.keys
    forged = HmacSeal([replace(ours, secret=b"x" * 32)]).seal(says, Method.READ)
    assert status(stoa.client().get(f"/files/{forged}")) == 404
    other_purpose = HmacSeal([ours]).seal(says, "cursor:x")
    assert status(stoa.client().get(f"/files/{other_purpose}")) == 404
    assert stoa.client().get(f"/files/{HmacSeal([ours]).seal(says, Method.READ)}").content == b"abc"


def test_a_url_expires_and_cannot_be_renewed_with_itself(stoa: Stoa, bucket: Bucket, admin: Person) -> None:
    id = bucket.put("expiring.txt")
    now = datetime.now(UTC).timestamp()
    tenant, what = str(UUID(int=0)), {"id": id, "inline": False}
    client = stoa.client()
    assert status(client.get(token(stoa, Method.READ, "object", tenant, now - 0.001, what))) == 410
    end = now + 2
    url = token(stoa, Method.READ, "object", tenant, end, what)
    renewed = admin.data("query ($t: String!) { signedFile(token: $t) }", t=url.removeprefix("/files/"))["signedFile"]
    says = stoa.app.platform.ports.seal.unseal(renewed.removeprefix("/files/"), Method.READ)
    assert orjson.loads(says or b"")[2] == end
    slot = bucket.slot("late.txt", 3, expiresIn=1)
    written = stoa.app.platform.ports.seal.unseal(slot["url"].removeprefix("/files/"), Method.WRITE)
    kind, tenant_id, end, new = orjson.loads(written or b"")
    assert 0 < end - now < 5
    late = token(stoa, Method.WRITE, kind, tenant_id, now - 1, new)
    assert status(client.put(late, content=b"abc")) == 410
    assert "late.txt" not in bucket.names()


@pytest.mark.parametrize("life_s", [0, -1, LIFE_S_MAX + 1, 604_800])
def test_nothing_lives_longer_than_an_hour(admin: Person, bucket: Bucket, life_s: int) -> None:
    id = bucket.put(f"life-{life_s}.txt")
    assert admin.code(CONTENT, bucket=bucket.name, id=id, expiresIn=life_s) == "INVALID_INPUT"
    asked = {"bucket": bucket.name, "name": "x", "sizeBytes": 1, "expiresIn": life_s}
    assert admin.code(CREATE_UPLOAD, **asked) == "INVALID_INPUT"


def test_what_is_deleted_is_gone_for_its_urls(stoa: Stoa, bucket: Bucket) -> None:
    folder = bucket.folder("going")
    one, two = bucket.put("1", parent=folder), bucket.put("2")
    urls = [url_of(bucket, one), url_of(bucket, two)]
    slot = bucket.slot("3", 3, parent=folder)
    bucket.person.client.delete(f"{bucket.path}/{folder}")
    bucket.person.client.delete(f"{bucket.path}/{two}")
    assert [status(stoa.client().get(url)) for url in urls] == [404, 404]
    assert status(stoa.client().put(slot["url"], content=b"abc")) == 404


def test_a_url_leads_into_its_own_tenant(stoa: Stoa, bucket: Bucket) -> None:
    """Two tenants with one file each: each token shows its own, and an id of the other's is none."""
    other = UUID(int=7)
    stoa.sql("INSERT INTO stoa.tenants (id, slug, name, created_at) VALUES ($1, 'seven', 'Seven', now())", other)
    id = bucket.put("ours.txt", b"ours")
    later = (datetime.now(UTC) + timedelta(minutes=1)).timestamp()
    client, what = stoa.client(), {"id": id, "inline": False}
    assert client.get(token(stoa, Method.READ, "object", UUID(int=0), later, what)).content == b"ours"
    assert status(client.get(token(stoa, Method.READ, "object", other, later, what))) == 404
    new = {
        "bucket": "default",
        "name": "theirs.txt",
        "media_type": "text/plain",
        "uploaded_by": UUID(int=1),
        "parent_id": None,
        "size_bytes": 6,
        "id": UUID(int=77),
    }
    slot = token(stoa, Method.WRITE, "object", other, later, new)
    assert bucket.person.client.put(slot, content=b"theirs").status_code == 201
    rows = stoa.sql(
        "SELECT o.tenant_id, b.tenant_id AS of_blob FROM stoa.storage_objects o JOIN stoa.blobs b ON b.id = o.blob_id "
        "WHERE o.id = $1",
        UUID(int=77),
    )
    assert rows == [{"tenant_id": other, "of_blob": other}]
    assert bucket.person.client.get(f"/api/v1/storage/objects/default/{UUID(int=77)}").status_code == 404
    read = token(stoa, Method.READ, "object", other, later, {"id": UUID(int=77), "inline": False})
    assert client.get(read).content == b"theirs"
    told = stoa.sql("SELECT tenant_id FROM stoa.outbox WHERE payload ->> 'object_id' = $1", str(UUID(int=77)))
    assert told == [{"tenant_id": other}]


def test_rights_are_asked_for_when_a_url_is_made(stoa: Stoa, admin: Person, bucket: Bucket) -> None:
    id, guest = bucket.put("rights.txt"), stoa.person()
    assert guest.code(CONTENT, bucket=bucket.name, id=id, expiresIn=60) == "FORBIDDEN"
    role = build.grant(admin, guest, "storage:read")
    url = guest.data(CONTENT, bucket=bucket.name, id=id, expiresIn=60)["storageContent"]
    admin.client.post("/api/v1/roles/revoke", json={"userId": guest.id, "role": role})
    assert guest.code(CONTENT, bucket=bucket.name, id=id, expiresIn=60) == "FORBIDDEN"
    assert stoa.client().get(url).content == b"abc"  # a URL stands for itself until it expires


# With S3 they may lead on.


def test_urls_lead_on_to_s3_where_they_should(
    databases: Any, valkey_url: str, tmp_path: Any, s3_access: Any, stoa: Stoa
) -> None:
    chosen = {
        "s3_bucket": s3_access.bucket,
        "s3_endpoint": s3_access.endpoint,
        "s3_region": s3_access.region,
        "s3_access_key": s3_access.access_key,
        "s3_secret_key": s3_access.secret_key,
    }
    with running(databases.new(), valkey_url, tmp_path, s3_redirect=True, **chosen) as server:
        bucket = Bucket(server.person())
        content = bytes(300_000)
        id = bucket.put("é.html", content, "text/html")
        answer = server.client().get(bucket.object(id)["content"])
        assert (answer.status_code, answer.content) == (302, b"")
        assert answer.headers["location"].startswith(s3_access.endpoint)
        got = httpx.get(answer.headers["location"])
        assert got.content == content
        assert got.headers["content-type"] == "text/html"
        assert got.headers["content-disposition"] == "attachment; filename=\".html\"; filename*=UTF-8''%C3%A9.html"
    with running(server.database_url, valkey_url, tmp_path, **chosen) as server:
        bucket = Bucket(server.signed_in(bucket.person.name), bucket.name)
        answer = server.client().get(bucket.object(id)["content"], headers={"range": "bytes=299999-"})
        assert (answer.status_code, answer.content) == (206, b"\x00")
