"""Subscriptions as server-sent events: what is sent, how it goes on after a break, and when it ends."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from rest_compat.engine import sending, streams
from rest_compat.engine.streams import sse_frame
from tests.rest_compat.engine.conftest import Serve
from tests.rest_compat.engine.world import Rest

TICKS = """
subscription q(
  $after: ID @param(in: HEADER, name: "Last-Event-ID") @param(in: QUERY)
  $count: Int
  $refuseAt: Int
  $failAt: Int
  $text: String
) @rest(method: GET, path: "/s", stream: SSE) {
  ticks(after: $after, count: $count, refuseAt: $refuseAt, failAt: $failAt, text: $text) {
    cursor @eventId
    kind @event
    n: number
    text
  }
}
"""
SILENCE = 'subscription silence @rest(method: GET, path: "/silence", stream: SSE) { silence { number } }'
FLOOD = 'subscription flood @rest(method: GET, path: "/flood", stream: SSE) { flood { text } }'


class Listener:
    """A client of one stream, spoken to in ASGI: it can stop reading, and leave."""

    def __init__(self, rest: Rest, path: str) -> None:
        self.head: dict[str, Any] = {}
        self.body = b""
        self.ended = False
        self.reads = asyncio.Event()
        self.reads.set()
        self._left = asyncio.Event()
        raw_path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "method": "GET",
            "path": raw_path,
            "raw_path": raw_path.encode(),
            "query_string": query.encode(),
            "headers": [],
        }
        self.answering = asyncio.create_task(rest.adapter.answer(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        await self.reads.wait()
        if message["type"] == "http.response.start":
            self.head = message
        else:
            self.body += message["body"]
            self.ended = not message.get("more_body", False)

    def leave(self) -> None:
        self._left.set()


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not happened():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


# What is sent.


async def test_events_are_frames_with_line_feeds(rest: Serve) -> None:
    answer = await rest(TICKS).get("/s?count=2&text=%C3%A9%0D%0A")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-accel-buffering"] == "no"
    assert "etag" not in answer.headers
    assert answer.content == (
        b":\n\n"
        b'id: 1\nevent: tick\ndata: {"n":1,"text":"\xc3\xa9\\r\\n"}\n\n'
        b'id: 2\nevent: tick\ndata: {"n":2,"text":"\xc3\xa9\\r\\n"}\n\n'
    )


def test_nothing_in_an_event_can_break_its_frame() -> None:
    assert sse_frame(b"1", event="a\nb\r", id="c\x00\n") == b"id: c\nevent: ab\ndata: 1\n\n"
    assert sse_frame(b"1", event="", id="") == b"id: \ndata: 1\n\n"
    assert sse_frame(b"1") == b"data: 1\n\n"


async def test_a_stream_goes_on_behind_the_last_event(rest: Serve) -> None:
    routes = rest(TICKS)
    for url, headers in (("/s", {"Last-Event-ID": "2"}), ("/s?after=2", {}), ("/s?after=1", {"Last-Event-ID": "2"})):
        answer = await routes.get(url, headers=headers)
        assert [line for line in answer.text.splitlines() if line.startswith("id")] == ["id: 3"]
    nothing = await routes.get("/s", headers={"Last-Event-ID": "3"})
    assert (nothing.status_code, nothing.content) == (200, b":\n\n")


async def test_a_refusal_before_the_first_event_is_an_answer(rest: Serve) -> None:
    routes = rest(TICKS, 'subscription theSecret @rest(method: GET, path: "/x", stream: SSE) { silence { number } }')
    pruned = await routes.get("/s?text=never")
    assert (pruned.status_code, pruned.json()["error"]) == (410, "the log was pruned")
    assert pruned.json()["field"] == "Last-Event-ID"
    assert (await routes.get("/s?count=x")).status_code == 400
    assert (await routes.get("/x")).status_code == 401


async def test_a_refusal_in_the_middle_is_the_last_event(rest: Serve, strict_rest: Serve) -> None:
    answer = await rest(TICKS).get("/s?refuseAt=2")
    *_, last = answer.text.strip().split("\n\n")
    assert last == 'event: error\ndata: {"error":"it is gone","field":null}'
    assert answer.text.count("data:") == 2
    strict = await strict_rest(TICKS.replace('"/s"', '"/strict/s"')).get("/strict/s?refuseAt=1")
    assert strict.text == ':\n\nevent: error\ndata: {"code":"not_found"}\n\n'


async def test_a_fault_in_the_middle_is_masked(rest: Serve, caplog: pytest.LogCaptureFixture) -> None:
    routes = rest(TICKS)
    answer = await routes.get("/s?failAt=2")
    assert answer.text.endswith('event: error\ndata: {"error":"internal error","field":null}\n\n')
    assert f"stream failed: {answer.headers['x-request-id']} plain.q" in caplog.text
    assert routes.world.sources.open == 0


async def test_a_stream_may_be_asked_for_with_a_body(rest: Serve) -> None:
    routes = rest(
        'subscription q($count: Int, $text: String!) @rest(method: POST, path: "/chat", stream: SSE)'
        " { ticks(count: $count, text: $text) { text } }"
    )
    answer = await routes.post("/chat", json={"count": 1, "text": "hello"})
    assert answer.text == ':\n\ndata: {"text":"hello"}\n\n'
    assert (await routes.post("/chat", json={"count": 1})).json()["field"] == "text"


HEADED = """
subscription q($refuseAt: Int, $count: Int) @rest(method: GET, path: "/s", stream: SSE) {
  ticks(refuseAt: $refuseAt, count: $count) { run @header(name: "X-Run") number }
}
"""


async def test_headers_of_a_stream_are_those_of_its_first_event(rest: Serve) -> None:
    routes = rest(HEADED)
    answer = await routes.get("/s?count=2")
    assert answer.headers["x-run"] == "run-1"
    assert answer.text == ':\n\ndata: {"number":1}\n\ndata: {"number":2}\n\n'
    refused = await routes.get("/s?refuseAt=1")
    assert (refused.status_code, refused.json()["error"]) == (404, "it is gone")
    empty = await routes.get("/s?count=0")
    assert (empty.status_code, empty.text, "x-run" in empty.headers) == (200, ":\n\n", False)
    described = routes.operation("/s")["responses"]["200"]
    assert list(described["headers"]) == ["X-Run"]


async def test_the_head_of_a_stream(rest: Serve) -> None:
    routes = rest(TICKS, SILENCE)
    for path in ("/s", "/silence"):
        answer = await routes.request("HEAD", path)
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert routes.world.sources.open == 0


# How long it goes on.


async def test_while_nothing_happens_there_are_comments(rest: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT_S", 0.01)
    listener = Listener(rest(SILENCE), "/silence")
    await until(lambda: len(listener.body) > 12)
    assert set(listener.body.split(b"\n\n")) == {b":", b""}
    listener.leave()
    await listener.answering


async def test_who_leaves_is_listened_for_no_more(rest: Serve) -> None:
    routes = rest(SILENCE, FLOOD)
    for path in ("/silence", "/flood"):
        listener = Listener(routes, path)
        await until(lambda: routes.world.sources.open == 1)
        listener.leave()
        await asyncio.wait_for(listener.answering, 5)
        assert routes.world.sources.open == 0
        assert not listener.ended  # nobody is there to be told
    assert routes.world.sources.begun == 2


async def test_who_leaves_before_the_first_event_is_waited_for_no_more(rest: Serve) -> None:
    routes = rest(SILENCE.replace("number", 'run @header(name: "X-Run")'))
    listener = Listener(routes, "/silence")
    await until(lambda: routes.world.sources.open == 1)
    listener.leave()
    await asyncio.wait_for(listener.answering, 5)
    assert routes.world.sources.open == 0


async def test_who_does_not_read_is_left(rest: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "STALL_S", 0.05)
    routes = rest(FLOOD)
    listener = Listener(routes, "/flood")
    await until(lambda: len(listener.body) > 2**18)
    listener.reads.clear()
    await asyncio.wait_for(listener.answering, 5)
    assert (routes.world.sources.open, listener.ended) == (0, False)


async def test_a_stream_is_ended_when_the_server_stops(rest: Serve) -> None:
    routes = rest(SILENCE)
    listener = Listener(routes, "/silence")
    await until(lambda: routes.world.sources.open == 1)
    routes.adapter.close_streams()
    await asyncio.wait_for(listener.answering, 5)
    assert (routes.world.sources.open, listener.ended) == (0, True)
    late = Listener(routes, "/silence")
    await asyncio.wait_for(late.answering, 5)
    assert (late.head["status"], late.ended) == (200, True)


async def test_a_task_that_is_cancelled_frees_its_source(rest: Serve) -> None:
    routes = rest(SILENCE)
    listener = Listener(routes, "/silence")
    await until(lambda: routes.world.sources.open == 1)
    listener.answering.cancel()
    await asyncio.wait({listener.answering})
    assert listener.answering.cancelled()
    assert routes.world.sources.open == 0


# How it is described.


async def test_a_stream_is_described_by_its_events(rest: Serve) -> None:
    described = rest(TICKS).operation("/s")["responses"]
    content = described["200"]["content"]["text/event-stream"]
    assert content["schema"] == {"type": "string"}
    item = content["x-itemSchema"]
    assert (sorted(item["properties"]), item["required"]) == (["data", "event", "id"], ["data"])
    data = item["properties"]["data"]
    assert data["contentMediaType"] == "application/json"
    assert data["contentSchema"] == {
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1}, "text": {"type": ["string", "null"]}},  # noqa: E501
        "required": ["n", "text"],
    }  # fmt: skip
    assert "304" not in described


async def test_an_event_is_never_put_into_an_envelope(strict_rest: Serve) -> None:
    routes = strict_rest(TICKS.replace('"/s"', '"/strict/s"'))
    answer = await routes.get("/strict/s?count=1")
    assert json.loads(answer.text.partition("data: ")[2]) == {"n": 1, "text": None}
    described = routes.operation("/strict/s")["responses"]["200"]["content"]["text/event-stream"]
    assert list(described["x-itemSchema"]["properties"]["data"]["contentSchema"]["properties"]) == ["n", "text"]
