"""Bytes on their way in: how many may come, of what kind, how often, and what is left when something goes wrong."""

import asyncio
import hashlib
import os
import socket
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

import graph.run
from domain.kernel.ctx import ANONYMOUS, Ctx
from domain.kernel.errors import TimedOut
from infra.storage.folder import FolderBlobs
from tests import build
from tests.harness import Person, Stoa, at_once, running
from tests.infra.running import eventually
from tests.storage.files import CREATE_UPLOAD, Bucket, given_up, kept, on_disk


@pytest.fixture
def bucket(admin: Person) -> Bucket:
    return Bucket(admin)


def reason(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal."""
    told = answer.json()
    return answer.status_code, told["code"].upper() if "code" in told else told["error"]["code"]


def connection(stoa: Stoa) -> socket.socket:
    host, port = stoa.address.split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def put_head(url: str, length: str, keep: str = "close") -> bytes:
    return f"PUT {url} HTTP/1.1\r\nhost: x\r\n{length}\r\nconnection: {keep}\r\n\r\n".encode()


def everything(sock: socket.socket) -> bytes:
    found = b""
    while chunk := sock.recv(65536):
        found += chunk
    return found


# By a signed URL.


def test_a_file_arrives_as_it_was_sent(stoa: Stoa, bucket: Bucket) -> None:
    content = os.urandom(3 * 2**20 + 7)
    id = bucket.put("random.bin", content)
    found = bucket.object(id)
    assert found["sha256"] == hashlib.sha256(content).hexdigest()
    assert bucket.person.client.get(found["content"]).content == content


def test_a_url_takes_one_file_once(stoa: Stoa, bucket: Bucket) -> None:
    slot = bucket.slot("a.txt", 3)
    client = stoa.client()
    assert client.put(slot["url"], content=b"abc").status_code == 201
    assert reason(client.put(slot["url"], content=b"xyz")) == (409, "CONFLICT")
    bucket.move(slot["id"], name="b.txt")
    assert reason(client.put(slot["url"], content=b"xyz")) == (409, "CONFLICT")
    found = bucket.object(slot["id"])
    assert (found["name"], client.get(found["content"]).content) == ("b.txt", b"abc")
    assert bucket.names() == ["b.txt"]


def test_of_many_who_use_one_url_at_the_same_moment_one_is_heard(stoa: Stoa, bucket: Bucket) -> None:
    slot = bucket.slot("a.txt", 3)
    clients = [stoa.client() for _ in range(4)]
    answers = at_once([lambda client=client: client.put(slot["url"], content=b"abc").status_code for client in clients])
    assert sorted(answers) == [201, 409, 409, 409]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", (400, "INVALID_INPUT")),
        (b"ab", (400, "INVALID_INPUT")),
        (b"abcd", (413, "PAYLOAD_TOO_LARGE")),
    ],
)
@pytest.mark.parametrize("told", [True, False])
def test_as_many_bytes_come_as_were_announced(
    stoa: Stoa, bucket: Bucket, content: bytes, expected: tuple[int, str], told: bool
) -> None:
    def chunked() -> Iterator[bytes]:
        yield content

    slot = bucket.slot("a.txt", 3)
    before = kept(stoa)
    answer = stoa.client().put(slot["url"], content=content if told else chunked())
    assert reason(answer) == expected
    assert bucket.names() == []
    assert kept(stoa) == before
    assert stoa.client().put(slot["url"], content=b"abc").status_code == 201  # it was not used up


def test_what_is_too_much_is_refused_before_it_is_read(stoa: Stoa, bucket: Bucket) -> None:
    slot = bucket.slot("a.txt", 3)
    begun = len(stoa.sql("SELECT 1 FROM stoa.blobs"))
    with closing(connection(stoa)) as sock:
        sock.sendall(put_head(slot["url"], "content-length: 1000000000"))
        assert everything(sock).startswith(b"HTTP/1.1 413")
    assert len(stoa.sql("SELECT 1 FROM stoa.blobs")) == begun
    assert bucket.names() == []


@pytest.mark.parametrize("size", [2 * 2**20, 3])
def test_a_sender_who_promises_little_and_sends_much_is_cut_off(stoa: Stoa, bucket: Bucket, size: int) -> None:
    slot, files = bucket.slot("a.bin", size), on_disk(stoa)
    sent, much = 0, 100 * 2**20
    with closing(connection(stoa)) as sock:
        sock.sendall(put_head(slot["url"], "transfer-encoding: chunked", keep="keep-alive"))
        with suppress(OSError):
            while sent < much:
                sock.sendall(b"10000\r\n" + bytes(65536) + b"\r\n")
                sent += 65536
    assert sent < much
    assert eventually(lambda: on_disk(stoa) == files, 10)
    assert bucket.names() == []


@pytest.mark.parametrize("length", ["content-length: 3000000", "transfer-encoding: chunked"])
def test_a_sender_who_leaves_in_the_middle_leaves_nothing(stoa: Stoa, bucket: Bucket, length: str) -> None:
    slot = bucket.slot("a.bin", 3_000_000)
    files, before = on_disk(stoa), given_up(stoa)
    with closing(connection(stoa)) as sock:
        sock.sendall(put_head(slot["url"], length))
        part = bytes(2_000_000)
        sock.sendall(part if "content" in length else b"%x\r\n" % len(part) + part + b"\r\n")
        assert eventually(lambda: any(name.endswith(".part") for name in on_disk(stoa)), 10)
    assert eventually(lambda: on_disk(stoa) == files, 10), on_disk(stoa)
    assert eventually(lambda: given_up(stoa) == before + 1, 10)
    assert bucket.names() == []
    assert stoa.client().put(slot["url"], content=bytes(3_000_000)).status_code == 201


def test_nothing_is_seen_of_a_file_that_is_still_coming(stoa: Stoa, bucket: Bucket) -> None:
    slot = bucket.slot("a.bin", 2_000_000)
    with closing(connection(stoa)) as sock:
        sock.sendall(put_head(slot["url"], "content-length: 2000000"))
        sock.sendall(bytes(1_500_000))
        assert eventually(lambda: any(name.endswith(".part") for name in on_disk(stoa)), 10)
        assert bucket.names() == []
        assert bucket.person.client.get(f"{bucket.path}/{slot['id']}").status_code == 404
        sock.sendall(bytes(500_000))
        assert everything(sock).startswith(b"HTTP/1.1 201")
    assert bucket.names() == ["a.bin"]


def test_a_slow_sender_holds_no_connection_and_no_clock(
    databases: Any, valkey_url: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(databases.new(), valkey_url, tmp_path, database_connections=1) as stoa:
        bucket = Bucket(stoa.person())
        slot = bucket.slot("a.txt", 6)
        monkeypatch.setattr(graph.run, "TIMEOUT_S", 1.0)
        with closing(connection(stoa)) as sock:
            sock.sendall(put_head(slot["url"], "content-length: 6"))
            for _ in range(3):
                sock.sendall(b"ab")
                time.sleep(0.6)
                assert bucket.slot("b.txt", 1)["id"]  # with the only connection there is
            assert everything(sock).startswith(b"HTTP/1.1 201")
        assert bucket.names() == ["a.txt"]


def test_a_file_that_takes_too_long_is_given_up(stoa: Stoa, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domain.storage.blobs.UPLOAD_S_MAX", 0.3)
    slot = bucket.slot("a.txt", 3)
    files = on_disk(stoa)
    with closing(connection(stoa)) as sock:
        sock.sendall(put_head(slot["url"], "content-length: 3"))
        sock.sendall(b"ab")
        answer = everything(sock)
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"QUERY_TIMEOUT" in answer
    assert on_disk(stoa) == files
    assert bucket.names() == []


# What a bucket takes.


def test_the_rules_of_the_bucket_hold_for_every_way_in(stoa: Stoa, admin: Person) -> None:
    bucket = Bucket(admin, max_file_size=10, allowed_types=["image/*"])
    asked = {"bucket": bucket.name, "name": "a.png"}
    assert admin.code(CREATE_UPLOAD, **asked, sizeBytes=11, mediaType="image/png") == "PAYLOAD_TOO_LARGE"
    assert admin.code(CREATE_UPLOAD, **asked, sizeBytes=5, mediaType="text/html") == "UNSUPPORTED_MEDIA_TYPE"
    assert admin.code(CREATE_UPLOAD, **asked, sizeBytes=5) == "UNSUPPORTED_MEDIA_TYPE"
    assert admin.code(CREATE_UPLOAD, **asked, sizeBytes=0, mediaType="image/png") == "INVALID_INPUT"
    for media_type, size in (("image/png", 11), ("text/plain", 3), ("image/svg+xml; x=1, text/html", 3)):
        assert bucket.upload("a", bytes(size), media_type).status_code == 400
    assert bucket.names() == []
    assert bucket.upload("a.png", bytes(10), "IMAGE/png").status_code == 201


def test_a_rule_that_changes_meanwhile_holds_for_the_url_too(admin: Person, stoa: Stoa) -> None:
    bucket = Bucket(admin)
    slot = bucket.slot("a.txt", 20, mediaType="text/plain")
    admin.data("mutation ($name: String!) { updateBucket(name: $name, maxFileSize: 10) { name } }", name=bucket.name)
    assert reason(stoa.client().put(slot["url"], content=bytes(20))) == (413, "PAYLOAD_TOO_LARGE")
    images = 'updateBucket(name: $name, maxFileSize: null, allowedTypes: ["image/*"]) { name }'
    admin.data(f"mutation ($name: String!) {{ {images} }}", name=bucket.name)
    assert reason(stoa.client().put(slot["url"], content=bytes(20))) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert bucket.names() == []


def test_the_installations_own_limit_holds_where_a_bucket_has_none(
    databases: Any, valkey_url: str, tmp_path: Any
) -> None:
    with running(databases.new(), valkey_url, tmp_path, upload_bytes_max=100) as stoa:
        bucket = Bucket(stoa.person())
        assert bucket.upload("a.txt", bytes(101)).status_code == 400
        assert bucket.upload("a.txt", bytes(100)).status_code == 201
        asked = {"bucket": bucket.name, "name": "b", "sizeBytes": 101}
        assert bucket.person.code(CREATE_UPLOAD, **asked) == "PAYLOAD_TOO_LARGE"


# By a form.


def test_forms_that_hold_no_file_or_too_many(stoa: Stoa, bucket: Bucket) -> None:
    client, path = bucket.person.client, f"{bucket.path}/upload"
    two = [("a", ("a.txt", b"1")), ("b", ("b.txt", b"2"))]
    for sent in (
        {"data": {"parent_id": "x"}, "files": {"f": ("a", b"1")}},
        {"files": two},
        {"files": {"f": ("a", b"")}},
        {"files": {"f": ("", b"1")}},
        {"data": {"file": "text"}},
        {},
        {"content": b"--x", "headers": {"content-type": "multipart/form-data; boundary=x"}},
        {"content": b"--x", "headers": {"content-type": "multipart/form-data"}},
    ):
        answer = client.post(path, **sent)
        assert answer.status_code == 400, (sent, answer.text)
    assert client.post(path, json={"file": "a"}).status_code in (400, 415)
    assert bucket.names() == []


@pytest.mark.parametrize(
    "name",
    [
        b"../../etc/passwd",
        b"/etc/passwd",
        b"a\\\\..\\\\b",
        b"..",
        b"a\x00b",
        b"a\x7fb",
        b"x" * 5000,
        "a\u202egpj.exe".encode(),
        "a\u2028b".encode(),
        b"   ",
        b"",
    ],
)
def test_names_that_are_refused_however_they_come(stoa: Stoa, bucket: Bucket, name: bytes) -> None:
    body = b'--x\r\ncontent-disposition: form-data; name="f"; filename="%s"\r\n\r\nabc\r\n--x--\r\n' % name
    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = bucket.person.client.post(f"{bucket.path}/upload", content=body, headers=headers)
    assert answer.status_code == 400, answer.text
    told = name.decode("latin-1")
    assert bucket.person.client.post(bucket.path, json={"name": told}).status_code == 400
    assert bucket.person.code(CREATE_UPLOAD, bucket=bucket.name, name=told, sizeBytes=1) == "INVALID_INPUT"
    assert bucket.names() == []


def test_a_name_that_holds_line_ends_makes_no_headers(bucket: Bucket) -> None:
    client = bucket.person.client
    part = 'content-disposition: form-data; name="f"; filename="a\r\nX-Injected: 1"'
    headers = {"content-type": "multipart/form-data; boundary=x"}
    body = f"--x\r\n{part}\r\n\r\nabc\r\n--x--\r\n".encode()
    made = client.post(f"{bucket.path}/upload", content=body, headers=headers).json()
    assert "\n" not in made["name"]  # the line ends with the name
    assert "x-injected" not in client.get(f"{bucket.path}/{made['id']}").headers
    assert client.post(bucket.path, json={"name": "a\r\nX-Injected: 1"}).status_code == 400


def test_a_form_above_the_routes_limit_is_413(stoa: Stoa, bucket: Bucket) -> None:
    def more() -> Iterator[bytes]:
        yield b'--x\r\ncontent-disposition: form-data; name="f"; filename="a"\r\n\r\n'
        for _ in range(70):
            yield bytes(2**20)
        yield b"\r\n--x--\r\n"

    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = bucket.person.client.post(f"{bucket.path}/upload", content=more(), headers=headers)
    assert reason(answer) == (413, "PAYLOAD_TOO_LARGE")
    assert bucket.names() == []


def test_the_parent_may_stand_behind_the_file(bucket: Bucket) -> None:
    folder = bucket.folder("f")
    parts = [("file", ("a.txt", b"abc", "text/plain")), ("parent_id", (None, folder))]
    assert bucket.person.client.post(f"{bucket.path}/upload", files=parts).status_code == 201
    assert bucket.names(folder) == ["a.txt"]
    assert bucket.upload("b.txt", parent_id="").status_code == 201
    assert bucket.upload("c.txt", parent_id="null").status_code == 201
    assert bucket.names() == ["f", "b.txt", "c.txt"]


def test_who_may_not_write_sends_in_vain(stoa: Stoa, admin: Person, bucket: Bucket) -> None:
    guest, before = stoa.person(), len(stoa.sql("SELECT 1 FROM stoa.blobs"))
    assert bucket.as_(guest).upload("a.txt").status_code == 403
    assert Bucket(admin, "nowhere").upload("a.txt").status_code == 404
    anonymous = stoa.client().post(f"{bucket.path}/upload", files={"f": ("a", b"1")})
    assert anonymous.status_code == 401
    assert guest.code(CREATE_UPLOAD, bucket=bucket.name, name="a", sizeBytes=1) == "FORBIDDEN"
    assert len(stoa.sql("SELECT 1 FROM stoa.blobs")) == before  # not even begun


def test_a_file_is_no_value_of_json(admin: Person, bucket: Bucket) -> None:
    upload = 'mutation ($file: Upload!) { uploadObject(bucket: "default", file: $file) { id } }'
    for value in ("text", {"filename": "a", "chunks": 1}, 1, None, [1]):
        assert admin.code(upload, file=value) == "INVALID_INPUT"
    assert admin.code('mutation { uploadObject(bucket: "default", file: "x") { id } }') == "INVALID_INPUT"


# Twice.


def test_with_a_key_an_upload_that_is_sent_again_is_done_once(stoa: Stoa, admin: Person) -> None:
    path = f"/api/v1/apps/{build.app(admin, build.entity('notes', build.field('text'))).app_id}/storage/upload"
    before = len(kept(stoa))

    def send(content: bytes = b"abc", key: str = "key-1") -> httpx.Response:
        return admin.client.post(path, files={"f": ("a.txt", content)}, headers={"idempotency-key": key})

    first, again = send(), send()
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert len(kept(stoa)) == before + 1
    assert reason(send(b"abcd")) == (409, "IDEMPOTENCY_KEY_REUSED")
    answers = at_once([lambda: send(key="key-2") for _ in range(4)])
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len({answer.json()["file_id"] for answer in answers if answer.status_code == 201}) == 1
    assert len(kept(stoa)) == before + 2


# How many at once.


def test_one_caller_sends_only_so_many_files_at_once(stoa: Stoa, admin: Person, bucket: Bucket) -> None:
    slots = [bucket.slot(f"{number}.bin", 100) for number in range(11)]
    under_way = []
    try:
        for slot in slots[:10]:
            sock = connection(stoa)
            sock.sendall(put_head(slot["url"], "content-length: 100") + bytes(10))
            under_way.append(sock)
        uploads = stoa.app.rest._uploads._under_way
        assert eventually(lambda: uploads["127.0.0.1"] == 10, 10)
        refused = stoa.client().put(slots[10]["url"], content=bytes(100))
        assert reason(refused) == (429, "RATE_LIMITED")
        assert refused.headers["retry-after"] == "5"
        assert bucket.upload("by-form.txt").status_code == 201  # somebody else: who is signed in counts for themselves
        for sock in under_way:
            sock.sendall(bytes(90))
            assert everything(sock).startswith(b"HTTP/1.1 201")
    finally:
        for sock in under_way:
            sock.close()
    assert eventually(lambda: not uploads, 10)
    assert stoa.client().put(slots[10]["url"], content=bytes(100)).status_code == 201


# A store that fails.


def test_a_disk_that_is_full_is_503_and_leaves_nothing(
    stoa: Stoa, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: FolderBlobs, part: Any) -> Any:
        return open("/dev/full", "wb", buffering=0)

    slot, before = bucket.slot("a.txt", 3), on_disk(stoa)
    with monkeypatch.context() as patched:
        patched.setattr(FolderBlobs, "_create", full)
        answer = stoa.client().put(slot["url"], content=b"abc")
    assert reason(answer) == (503, "UNAVAILABLE")
    assert answer.headers["retry-after"] == "5"
    assert "/dev" not in answer.text
    assert (bucket.names(), on_disk(stoa)) == ([], before)
    assert stoa.client().put(slot["url"], content=b"abc").status_code == 201


async def test_an_operation_waits_outside_with_its_clock_stopped() -> None:
    nothing: Any = None

    def operation(limit: asyncio.Timeout) -> Ctx:
        return Ctx(actor=ANONYMOUS, now=datetime.now(UTC), unit=nothing, ports=nothing, limit=limit)

    async with asyncio.timeout(0.2) as limit:
        ctx = operation(limit)
        assert await ctx.outside(asyncio.sleep(0.3, "done"), 5) == "done"
        with pytest.raises(TimedOut):
            await ctx.outside(asyncio.sleep(5), 0.1)
    assert not limit.expired()
    with suppress(TimeoutError):
        async with asyncio.timeout(0.2) as limit:
            await operation(limit).outside(asyncio.sleep(0.1), 5)
            await asyncio.sleep(5)
    assert limit.expired()
