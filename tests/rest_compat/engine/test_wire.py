"""What only shows on a real socket: framing, keep-alive, bodies that grow, readers that leave or don't read."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection, HTTPResponse, IncompleteRead
from typing import Any

import pytest
import uvicorn

from rest_compat.engine import sending
from tests.rest_compat.engine.world import Bytes, Rest, plain, served, write

DOCUMENTS = """
query text @rest(method: GET, path: "/text", produces: "text/plain") { text }
query echo($text: String, $number: Int) @rest(method: GET, path: "/echo/{text}") { echo(text: $text, number: $number) }
query file($id: String = "f1") @rest(method: GET, path: "/file") { file(of: $id) }
mutation take($any: JSON @param(in: BODY)) @rest(method: POST, path: "/take", bodyBytesMax: 1000) { echo(any: $any) }
mutation upload($upload: Upload! @param(in: FILE)) @rest(method: POST, path: "/upload", bodyBytesMax: 300000) {
  echo(upload: $upload)
}
mutation drop($id: ID!) @rest(method: DELETE, path: "/drop/{id}", status: 204) { drop(id: $id) }
subscription ticks($after: ID @param(in: HEADER, name: "Last-Event-ID"))
@rest(method: GET, path: "/ticks", stream: SSE) { ticks(after: $after) { cursor @eventId number } }
subscription silence @rest(method: GET, path: "/silence", stream: SSE) { silence { number } }
subscription flood @rest(method: GET, path: "/flood", stream: SSE) { flood { text } }
"""


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Wire"]:
    rest = served(plain(write(tmp_path_factory.mktemp("wire") / "plain", DOCUMENTS)))
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        rest.app, interface="asgi3", lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    until(lambda: server.started)
    yield Wire(rest, listener.getsockname())
    server.should_exit = True
    thread.join(10)
    listener.close()


class Wire:
    """The routes behind a socket."""

    def __init__(self, rest: Rest, address: tuple[str, int]) -> None:
        self.world = rest.world
        self.address = address

    def ask(self, method: str, path: str, **more: Any) -> tuple[HTTPResponse, bytes]:
        with closing(HTTPConnection(*self.address, timeout=10)) as connection:
            connection.request(method, path, **more)
            answer = connection.getresponse()
            return answer, answer.read()

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=10)

    def send(self, raw: bytes) -> bytes:
        """All that the server answers until it closes."""
        with self.connect() as connection:
            connection.sendall(raw)
            parts = []
            while part := connection.recv(2**16):
                parts.append(part)
            return b"".join(parts)


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# Framing.


def test_a_connection_is_kept_whatever_was_answered(wire: Wire) -> None:
    with closing(HTTPConnection(*wire.address, timeout=10)) as connection:
        for method, path, status, length in (
            ("GET", "/text", 200, "19"),
            ("HEAD", "/text", 200, "19"),
            ("DELETE", "/drop/1", 204, None),
            ("OPTIONS", "/text", 204, None),
            ("GET", "/nowhere", 404, None),
            ("POST", "/text", 405, None),
            ("POST", "/take", 200, None),
            ("GET", "/file", 200, "10"),
            ("HEAD", "/file", 200, "10"),
        ):
            connection.request(method, path, body=b"{}" if method == "POST" else None)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == status
            assert length is None or answer.headers["content-length"] == length
            assert answer.headers.get("connection") != "close"


def test_conditions_and_ranges_on_the_wire(wire: Wire) -> None:
    answer, body = wire.ask("GET", "/text")
    again, nothing = wire.ask("GET", "/text", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status, nothing, again.headers.get("content-length")) == (304, b"", None)
    assert body.decode() == "some text, även so"
    part, body = wire.ask("GET", "/file", headers={"Range": "bytes=3-5"})
    assert (part.status, body, part.headers["content-range"]) == (206, b"345", "bytes 3-5/10")
    beyond, _ = wire.ask("GET", "/file", headers={"Range": "bytes=30-"})
    assert (beyond.status, beyond.headers["content-range"]) == (416, "bytes */10")


def test_the_path_is_read_as_it_came(wire: Wire) -> None:
    answer, body = wire.ask("GET", "/echo/a%2Fb%2e%2e%20%C3%BC?number=7")
    assert (answer.status, b'"text":"a/b.. \xc3\xbc"' in body) == (200, True)
    assert wire.ask("GET", "/echo/%FF")[0].status == 400
    assert wire.ask("GET", "/echo/%00")[0].status == 400
    assert wire.ask("GET", "/echo/a?number=%FF")[0].status == 400
    raw = wire.send(b"GET /echo/a?n\xfcmber=1 HTTP/1.1\r\nhost: w\r\nconnection: close\r\n\r\n")
    assert raw.startswith(b"HTTP/1.1 400 ")


def test_a_stream_on_the_wire(wire: Wire) -> None:
    raw = wire.send(
        b"GET /ticks HTTP/1.1\r\nhost: w\r\nlast-event-id: 1\r\naccept: text/event-stream\r\nconnection: close\r\n\r\n"
    )
    head, _, body = raw.partition(b"\r\n\r\n")
    assert b"content-type: text/event-stream; charset=utf-8" in head
    chunks = []
    while body:
        size, _, body = body.partition(b"\r\n")
        chunks.append(body[: int(size, 16)])
        body = body[int(size, 16) + 2 :]
    assert chunks == [b":\n\n", b'id: 2\ndata: {"number":2}\n\n', b'id: 3\ndata: {"number":3}\n\n', b""]


# Bodies that are too large.


def test_a_body_that_says_it_is_too_large_is_refused_unread(wire: Wire) -> None:
    before = len(wire.world.keys)
    raw = wire.send(b"POST /take HTTP/1.1\r\nhost: w\r\ncontent-length: 99999999\r\nconnection: close\r\n\r\n")
    assert raw.startswith(b"HTTP/1.1 413 ")
    assert len(wire.world.keys) == before


@pytest.mark.parametrize("path", ["/take", "/upload"])
def test_a_body_that_grows_too_large_is_cut_while_it_is_read(wire: Wire, path: str) -> None:
    with wire.connect() as connection:
        head = f"POST {path} HTTP/1.1\r\nhost: w\r\ncontent-type: multipart/form-data; boundary=b\r\n"
        head = head.replace("multipart/form-data; boundary=b", "application/json") if path == "/take" else head
        connection.sendall(f"{head}transfer-encoding: chunked\r\n\r\n".encode())
        if path == "/upload":
            part = b'--b\r\ncontent-disposition: form-data; name="upload"; filename="x"\r\n\r\n'
            connection.sendall(b"%x\r\n%s\r\n" % (len(part), part))
        answer = b""
        connection.settimeout(0.01)
        for _ in range(1000):  # and never an end
            try:
                connection.sendall(b"2000\r\n" + b"1" * 0x2000 + b"\r\n")
                answer = connection.recv(2**16)
            except TimeoutError:
                continue
            break
        assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_body_up_to_its_bound_is_taken(wire: Wire) -> None:
    for size, status in ((1000, 200), (1001, 413)):
        body = b'"' + b"x" * (size - 2) + b'"'
        assert wire.ask("POST", "/take", body=body)[0].status == status
        chunked = iter([body[:500], body[500:]])
        assert wire.ask("POST", "/take", body=chunked, encode_chunked=True)[0].status == status


def test_a_body_that_breaks_off_runs_nothing(wire: Wire) -> None:
    before = len(wire.world.keys)
    with wire.connect() as connection:
        connection.sendall(b'POST /take HTTP/1.1\r\nhost: w\r\ncontent-length: 100\r\n\r\n{"a": ')
    assert wire.ask("GET", "/nowhere")[0].status == 404
    assert len(wire.world.keys) == before


# Readers.


def test_who_leaves_a_stream_frees_its_source(wire: Wire) -> None:
    begun = wire.world.sources.begun
    connection = wire.connect()
    connection.sendall(b"GET /silence HTTP/1.1\r\nhost: w\r\n\r\n")
    until(lambda: wire.world.sources.open == 1)
    connection.close()
    until(lambda: wire.world.sources.open == 0)
    assert wire.world.sources.begun == begun + 1


def test_who_does_not_read_is_left(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "STALL_S", 0.2)
    endless = wire.world.files["endless"]
    assert isinstance(endless, Bytes)
    for path, open in (
        ("/flood", lambda: wire.world.sources.open),
        ("/file?id=endless", lambda: endless.readers),
    ):
        with wire.connect() as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nhost: w\r\n\r\n".encode())
            until(lambda open=open: open() == 1)
            until(lambda open=open: open() == 0)


def test_who_leaves_a_file_is_read_for_no_more(wire: Wire) -> None:
    endless = wire.world.files["endless"]
    assert isinstance(endless, Bytes)
    with wire.connect() as connection:
        connection.sendall(b"GET /file?id=endless HTTP/1.1\r\nhost: w\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200 OK")
        until(lambda: endless.readers == 1)
    until(lambda: endless.readers == 0)


def test_an_answer_that_breaks_off_is_seen_to(wire: Wire) -> None:
    with closing(HTTPConnection(*wire.address, timeout=10)) as connection:
        connection.request("GET", "/file?id=broken")
        answer = connection.getresponse()
        assert (answer.status, answer.headers["content-length"]) == (200, "10")
        with pytest.raises(IncompleteRead) as broken:
            answer.read()
    assert broken.value.partial == b"0123"
