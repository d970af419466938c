"""Answers as HTTP has them: statuses, conditions, ranges, media types, and the headers that belong to them."""

from typing import Any

import httpx
import orjson
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from rest_compat.engine.answers import accepts, dumped, matches, quoted_tag, text_headers
from rest_compat.engine.backend import Elsewhere
from rest_compat.engine.errors import CompileError, Refusal
from tests.rest_compat.engine.conftest import Serve
from tests.rest_compat.engine.world import Bytes

TEXT = 'query q @rest(method: GET, path: "/t", produces: "text/plain") { text }'
PATHS = """
query a($id: ID!) @rest(method: GET, path: "/a/{id}") { thing(id: $id) { id } }
mutation b($id: ID!) @rest(method: DELETE, path: "/a/{id}", status: 204) { drop(id: $id) }
mutation c($id: ID!, $input: ThingInput! @param(in: BODY)) @rest(method: PUT, path: "/a/{id}") {
  change(id: $id, input: $input) { id }
}
query d @rest(method: GET, path: "/a/fixed") { text }
"""


# Methods.


async def test_head_is_get_without_the_body(rest: Serve) -> None:
    routes = rest(PATHS)
    got, headed = await routes.get("/a/1"), await routes.request("HEAD", "/a/1")
    assert (headed.status_code, headed.content) == (200, b"")
    for name in ("content-length", "content-type", "etag", "cache-control"):
        assert headed.headers[name] == got.headers[name]
    refused = await routes.request("HEAD", "/a/%FF")
    assert (refused.status_code, refused.content) == (400, b"")


async def test_options_and_other_methods_name_all_that_is_allowed(rest: Serve) -> None:
    routes = rest(PATHS)
    options = await routes.request("OPTIONS", "/a/1")
    assert (options.status_code, options.content) == (204, b"")
    assert options.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PUT"
    for method in ("POST", "PATCH", "TRACE", "BREW"):
        answer = await routes.request(method, "/a/1")
        assert (answer.status_code, answer.headers["allow"]) == (405, "DELETE, GET, HEAD, OPTIONS, PUT")
    # What a literal leads to is its own place: it is no id.
    assert (await routes.request("DELETE", "/a/fixed")).headers["allow"] == "GET, HEAD, OPTIONS"
    assert routes.world.keys == []


async def test_nothing_to_say(rest: Serve) -> None:
    answer = await rest(PATHS).request("DELETE", "/a/1")
    assert (answer.status_code, answer.content) == (204, b"")
    assert not {"content-type", "content-length", "etag"} & set(answer.headers)


# Conditions.


async def test_what_is_read_has_a_tag_and_is_not_sent_again(rest: Serve) -> None:
    routes = rest(PATHS, TEXT)
    first = await routes.get("/a/1")
    tag = first.headers["etag"]
    assert first.headers["cache-control"] == "private, no-cache"
    for condition in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        again = await routes.get("/a/1", headers={"If-None-Match": condition})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert (await routes.get("/a/1", headers={"If-None-Match": '"x"'})).status_code == 200
    assert (await routes.get("/a/2")).headers["etag"] != tag
    both = [("if-none-match", '"x"'), ("if-none-match", tag)]
    assert (await routes.get("/a/1", headers=both)).status_code == 304
    assert (await routes.request("HEAD", "/a/1", headers={"If-None-Match": tag})).status_code == 304
    text = (await routes.get("/t")).headers["etag"]
    assert (await routes.get("/t", headers={"If-None-Match": text})).status_code == 304
    changed = await routes.request("PUT", "/a/1", json={"name": "n"}, headers={"If-None-Match": "*"})
    assert (changed.status_code, "etag" in changed.headers) == (200, False)


async def test_a_document_may_say_what_the_tag_is(rest: Serve) -> None:
    routes = rest('query q @rest(method: GET, path: "/e") { thing(id: "t1") { id size @header(name: "ETag") } }')
    answer = await routes.get("/e")
    assert answer.headers.get_list("etag") == ['"3"']
    assert (await routes.get("/e", headers={"If-None-Match": '"3"'})).status_code == 304
    assert (await routes.get("/e", headers={"If-None-Match": '"4"'})).status_code == 200


# Media types.


async def test_text(rest: Serve) -> None:
    routes = rest(
        TEXT,
        'query r @rest(method: GET, path: "/m", produces: "text/plain; version=0.0.4; charset=utf-8") { text }',
        'query s @rest(method: GET, path: "/x", produces: "application/xml") { maybeText }',
        'query u @rest(method: GET, path: "/c", produces: "text/csv")'
        ' { thing(id: "t1") { name @body made @header(name: "Content-Disposition") } }',
        'query v @rest(method: GET, path: "/k", produces: "text/plain")'
        ' { thing(id: "t1") { name @body colour @header(name: "Content-Type") } }',
    )
    answer = await routes.get("/t")
    assert (answer.headers["content-type"], answer.text) == ("text/plain; charset=utf-8", "some text, även so")
    assert (await routes.get("/m")).headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    nothing = await routes.get("/x")
    assert (nothing.headers["content-type"], nothing.content) == ("application/xml", b"")
    assert (await routes.get("/c")).headers["content-disposition"].startswith("2025")
    assert (await routes.get("/k")).headers.get_list("content-type") == ["DARK_BLUE"]


async def test_a_page_shows_the_body_to_people_and_loads_nothing(rest: Serve) -> None:
    routes = rest(
        'query q @rest(method: GET, path: "/p", page: "card")'
        ' { thing(id: "t1") { id colour @header(name: "X-Colour") } }',
        pages={"card": lambda body: f"<h1>{body['id']}</h1>"},
    )
    answer = await routes.get("/p")
    assert (answer.headers["content-type"], answer.text) == ("text/html; charset=utf-8", "<h1>t1</h1>")
    assert answer.headers["x-colour"] == "DARK_BLUE"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.headers["referrer-policy"] == "no-referrer"
    refused = await routes.get("/p", headers={"accept": "application/json"})
    assert refused.status_code == 406


@pytest.mark.parametrize(
    ("accept", "json", "text", "stream"),
    [
        (None, 200, 200, 200),
        ("*/*", 200, 200, 200),
        ("application/json", 200, 406, 406),
        ("application/*;q=0.1", 200, 406, 406),
        ("text/plain, application/json;q=0.5", 200, 200, 406),
        ("text/event-stream", 406, 406, 200),
        ("text/*;q=0", 406, 406, 406),
        ("*/*, application/json;q=0", 406, 200, 200),
        ("application/json ; q=0.000", 406, 406, 406),
        ("text/html, */*;q=0.01", 200, 200, 200),
    ],
)
async def test_who_takes_nothing_there_is_is_refused(
    rest: Serve, accept: str | None, json: int, text: int, stream: int
) -> None:
    routes = rest(
        PATHS,
        TEXT,
        'subscription s @rest(method: GET, path: "/s", stream: SSE) { ticks(count: 1) { number } }',
        'query f @rest(method: GET, path: "/f") { file }',
    )
    sent = {"accept": accept} if accept else {}
    routes.client.headers.pop("accept", None)
    statuses = [(await routes.get(path, headers=sent)).status_code for path in ("/a/1", "/t", "/s")]
    assert statuses == [json, text, stream]
    assert (await routes.get("/f", headers=sent)).status_code == 200  # what a file is, is not known before
    assert (await routes.request("DELETE", "/a/1", headers=sent)).status_code == 204


def test_accept_is_read_by_the_closest_range() -> None:
    assert accepts("text/plain;q=0, text/*", "text/csv; charset=utf-8")
    assert not accepts("text/plain;q=0, text/*", "text/plain")
    assert accepts("text/plain;q=bad", "text/plain")
    assert not accepts("text", "text/plain")


# Redirects.


async def test_redirects(rest: Serve) -> None:
    routes = rest(
        'query a($of: String) @rest(method: GET, path: "/a", status: 302) { text(of: $of) }',
        'query b @rest(method: GET, path: "/b", status: 307) { maybeText }',
        """
        mutation c($name: String!) @rest(method: GET, path: "/c", navigation: true) {
          signIn(name: $name) {
            ... on Elsewhere @status(code: 302) { url @header(name: "Location") }
            ... on Session { token }
          }
        }
        """,
    )
    answer = await routes.get("/a", params={"of": "/é?a=b%20c&d=\r\nx y"})
    assert (answer.status_code, answer.content) == (302, b"")
    assert answer.headers["location"] == "/%C3%A9?a=b%20c&d=x y"
    nowhere = await routes.get("/b")
    assert (nowhere.status_code, "location" in nowhere.headers) == (404, False)
    elsewhere = await routes.get("/c?name=else")
    assert (elsewhere.status_code, elsewhere.headers["location"]) == (302, "https://else.example/a b?x=1")
    here = await routes.get("/c?name=me")
    assert here.json() == {"token": "token-me"}
    for answer in (elsewhere, here):
        assert (answer.headers["cache-control"], answer.headers["referrer-policy"]) == ("no-store", "no-referrer")
        assert "etag" not in answer.headers
    head = await routes.request("HEAD", "/c?name=me")
    assert (head.status_code, head.headers["allow"]) == (405, "GET, OPTIONS")
    described = routes.operation("/c")["responses"]
    assert list(described["200"]["content"]["application/json"]["schema"]["properties"]) == ["token"]
    assert described["302"]["headers"]["Location"]["required"] is True


# Files.

FILE = 'query q($id: String = "f1") @rest(method: GET, path: "/f") { file(of: $id) }'


async def test_a_file_is_sent_as_it_is(rest: Serve) -> None:
    answer = await rest(FILE).get("/f")
    assert (answer.status_code, answer.content) == (200, b"0123456789")
    told = {name: answer.headers[name] for name in ("content-type", "content-length", "etag", "accept-ranges")}
    assert told == {"content-type": "text/plain", "content-length": "10", "etag": '"f-1"', "accept-ranges": "bytes"}
    assert answer.headers["content-disposition"] == (
        "attachment; filename=\"nme 1.txt\"; filename*=UTF-8''n%C3%A4me%20%221%22.txt"
    )
    assert answer.headers["content-security-policy"] == "sandbox"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["last-modified"] == "Tue, 04 Mar 2025 08:15:30 GMT"
    plain = await rest(FILE).get("/f?id=f2")
    assert (plain.content, plain.headers["content-disposition"]) == (b"", 'inline; filename="plain.txt"')
    assert not {"etag", "last-modified"} & set(plain.headers)


@pytest.mark.parametrize(
    ("asked", "status", "content", "content_range"),
    [
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=0-0", 206, b"0", "bytes 0-0/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=-30", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=5-99", 206, b"56789", "bytes 5-9/10"),
        ("bytes = 2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=10-", 416, None, "bytes */10"),
        ("bytes=-0", 416, None, "bytes */10"),
        ("bytes=5-2", 416, None, "bytes */10"),
        # What is no single range of bytes is answered with all of them.
        ("bytes=0-1,3-4", 200, b"0123456789", None),
        ("bytes=-", 200, b"0123456789", None),
        ("bytes=a-b", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
        ("bytes=0-" + "9" * 5000, 200, b"0123456789", None),
    ],
)
async def test_a_range_of_a_file(
    rest: Serve, asked: str, status: int, content: bytes | None, content_range: str | None
) -> None:
    answer = await rest(FILE).get("/f", headers={"Range": asked})
    assert (answer.status_code, answer.headers.get("content-range")) == (status, content_range)
    if content is not None:
        assert (answer.content, answer.headers["content-length"]) == (content, str(len(content)))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If-None-Match": '"f-1"'}, 304),
        ({"If-None-Match": 'W/"f-1"'}, 304),
        ({"If-None-Match": '"f-2"'}, 200),
        ({"If-None-Match": '"f-2"', "If-Modified-Since": "Tue, 04 Mar 2025 08:15:30 GMT"}, 200),
        ({"If-Modified-Since": "Tue, 04 Mar 2025 08:15:30 GMT"}, 304),
        ({"If-Modified-Since": "Tue, 04 Mar 2025 08:15:29 GMT"}, 200),
        ({"If-Modified-Since": "some day"}, 200),
        ({"Range": "bytes=0-1", "If-None-Match": '"f-1"'}, 304),
        ({"Range": "bytes=0-1", "If-Range": '"f-1"'}, 206),
        ({"Range": "bytes=0-1", "If-Range": 'W/"f-1"'}, 200),
        ({"Range": "bytes=0-1", "If-Range": '"f-2"'}, 200),
        ({"Range": "bytes=0-1", "If-Range": "Tue, 04 Mar 2025 08:15:30 GMT"}, 206),
        ({"Range": "bytes=0-1", "If-Range": "Tue, 04 Mar 2025 08:15:31 GMT"}, 200),
        ({"Range": "bytes=99-", "If-Range": '"f-2"'}, 200),
    ],
)
async def test_conditions_on_a_file(rest: Serve, headers: dict[str, str], status: int) -> None:
    answer = await rest(FILE).get("/f", headers=headers)
    assert answer.status_code == status
    assert answer.content == {304: b"", 200: b"0123456789", 206: b"01"}[status]


async def test_a_file_without_a_tag_or_a_moment_meets_no_condition(rest: Serve) -> None:
    routes = rest(FILE)
    for headers in (
        {"If-None-Match": "*"},
        {"If-Modified-Since": "Tue, 04 Mar 2036 08:15:30 GMT"},
        {"If-Range": '"f-1"', "Range": "bytes=9-"},
    ):
        assert (await routes.get("/f?id=f2", headers=headers)).status_code == 200
    weak = Bytes(b"01", etag='W/"f"')
    routes.world.files["weak"] = weak
    asked = {"Range": "bytes=0-0", "If-Range": 'W/"f"'}
    assert (await routes.get("/f?id=weak", headers=asked)).status_code == 200


async def test_the_head_of_a_file_is_that_of_the_whole(rest: Serve) -> None:
    routes = rest(FILE)
    answer = await routes.request("HEAD", "/f", headers={"Range": "bytes=0-1"})
    assert (answer.status_code, answer.headers["content-length"], answer.content) == (200, "10", b"")


async def test_a_file_that_is_not_there_or_elsewhere(rest: Serve) -> None:
    routes = rest(FILE)
    assert (await routes.get("/f?id=nowhere")).status_code == 404
    gone = rest('query q @rest(method: GET, path: "/f") { thing(id: "none") { file @body } }')
    assert (await gone.get("/f")).status_code == 404
    moved = await routes.get("/f?id=else")
    assert (moved.status_code, moved.headers["location"]) == (302, "https://store.example/signed?x=%C3%A4")
    assert isinstance(routes.world.files["else"], Elsewhere)


async def test_names_of_files_cannot_break_out_of_their_header(rest: Serve) -> None:
    routes = rest(FILE)
    routes.world.files["f1"] = Bytes(b"", name='a"\\\r\nX: y\x00%;.txt', media_type="text/html\r\nX-Evil: 1")
    answer = await routes.get("/f")
    assert answer.headers["content-disposition"] == (
        "attachment; filename=\"aX: y;.txt\"; filename*=UTF-8''a%22%5CX%3A%20y%25%3B.txt"
    )
    assert (answer.headers["content-type"], "x-evil" in answer.headers) == ("text/htmlX-Evil: 1", False)


async def test_files_in_a_list_are_values(rest: Serve) -> None:
    answer = await rest('query q @rest(method: GET, path: "/f") { files }').get("/f")
    assert answer.json() == ["f1", "f2"]


# Refusals.


@pytest.mark.parametrize(
    ("code", "reason", "status"),
    [
        ("INVALID_INPUT", None, 400),
        ("UNAUTHENTICATED", None, 401),
        ("FORBIDDEN", None, 403),
        ("NOT_FOUND", None, 404),
        ("CONFLICT", None, 409),
        ("CONFLICT", "NAME_TAKEN", 418),
        ("GONE", None, 410),
        ("RATE_LIMITED", None, 429),
        ("UNAVAILABLE", None, 503),
        ("NEVER_HEARD_OF", None, 500),
    ],
)
async def test_a_refusal_has_the_status_of_its_kind(rest: Serve, code: str, reason: str | None, status: int) -> None:
    routes = rest('query q($c: String!, $r: String) @rest(method: GET, path: "/e") { refuse(code: $c, reason: $r) }')
    answer = await routes.get("/e", params={"c": code, **({"r": reason} if reason else {})})
    assert (answer.status_code, answer.json()["error"]) == (status, f"refused: {code}")
    assert answer.headers.get("www-authenticate") == ("Bearer" if status == 401 else None)


async def test_what_a_refusal_says_beside_its_body(rest: Serve) -> None:
    routes = rest('query q @rest(method: GET, path: "/e") { text }')
    routes.world.headers = [("X-Rate-Limit", "1")]

    async def admit(*_: Any) -> Refusal:
        return Refusal("RATE_LIMITED", "too often", retry_after_s=0.2, headers={"X-Limit": "5"})

    assert (await routes.get("/e")).headers["x-rate-limit"] == "1"
    routes.world.admit = admit  # type: ignore[method-assign, assignment]
    answer = await routes.get("/e")
    assert (answer.status_code, answer.headers["retry-after"], answer.headers["x-limit"]) == (429, "1", "5")


async def test_a_fault_is_masked(rest: Serve, caplog: pytest.LogCaptureFixture) -> None:
    routes = rest(
        'query q @rest(method: GET, path: "/e") { fault }',
        'query r($text: String) @rest(method: GET, path: "/r") { echo(text: $text) }',
    )
    answer = await routes.get("/e")
    assert (answer.status_code, answer.json()) == (500, {"error": "internal error", "field": None})

    async def broken(*_: Any) -> Any:
        raise RuntimeError("pw=hunter2")

    routes.world.run = broken  # type: ignore[method-assign]
    answer = await routes.get("/r")
    assert (answer.status_code, answer.json()["error"]) == (500, "internal error")
    assert f"request failed: {answer.headers['x-request-id']} plain.r" in caplog.text


async def test_who_asks_is_looked_at_before_what_is_asked(rest: Serve) -> None:
    routes = rest(
        'query theSecret($first: Int!) @rest(method: GET, path: "/s") { secret page(first: $first) { total } }'
    )
    assert (await routes.get("/s?first=x", headers={"accept": "text/plain"})).status_code == 401
    signed = {"authorization": "Bearer token-u1"}
    assert (await routes.get("/s?first=x", headers={**signed, "accept": "text/plain"})).status_code == 406
    assert (await routes.get("/s?first=x", headers=signed)).status_code == 400
    assert (await routes.get("/s?first=1", headers=signed)).json()["secret"] == "the secret of u1"


@pytest.mark.parametrize("credential", ["bearer token-u1", "Bearer", "Basic dTpw", "token-u1", "Bearer  token-u1"])
async def test_a_credential_is_a_bearer_token_or_no_good(rest: Serve, credential: str) -> None:
    routes = rest('query theSecret @rest(method: GET, path: "/s") { secret }')
    assert (await routes.get("/s", headers={"authorization": credential})).status_code == 401


async def test_requests_that_change_something_may_have_a_key(rest: Serve) -> None:
    routes = rest(PATHS)
    sent = {"Idempotency-Key": "k1"}
    await routes.request("PUT", "/a/1", json={"name": "n"}, headers=sent)
    await routes.request("DELETE", "/a/1", headers=sent)
    await routes.get("/a/1", headers=sent)
    assert routes.world.keys == ["k1", "k1", None]
    again = await routes.request("PUT", "/a/1", json={"name": "n"}, headers={"Idempotency-Key": "again"})
    assert again.headers["idempotency-replayed"] == "true"
    first = await routes.request("PUT", "/a/1", json={"name": "n"}, headers=sent)
    assert "idempotency-replayed" not in first.headers


# By hand.


async def test_routes_written_by_hand_stand_in_the_same_table(rest: Serve) -> None:
    async def hook(request: Request) -> PlainTextResponse:
        if request.path_params["id"] == "bad":
            raise RuntimeError("a fault of ours")
        return PlainTextResponse(f"heard {request.path_params['id']}")

    routes = rest(
        'query q($id: String!) @rest(method: GET, path: "/hooks/{id}") { text(of: $id) }',
        by_hand=[Route("/hooks/{id}", hook, methods=["POST"])],
    )
    answer = await routes.post("/hooks/a%2Fb")
    assert (answer.status_code, answer.text) == (200, "heard a/b")
    assert answer.headers["x-request-id"].startswith("req_")
    assert (await routes.request("PUT", "/hooks/a")).headers["allow"] == "GET, HEAD, OPTIONS, POST"
    assert (await routes.post("/hooks/bad")).status_code == 500
    assert routes.adapter.route_of("POST", b"/hooks/a") is None
    assert "post" not in routes.described()["paths"]["/hooks/{id}"]


def test_a_route_by_hand_takes_no_documents_place(rest: Serve) -> None:
    async def hook(request: Request) -> PlainTextResponse:
        return PlainTextResponse("")

    with pytest.raises(CompileError, match="GET /t is written by hand, and has a route already"):
        rest(TEXT, by_hand=[Route("/t", hook)])


# The parts.


def test_tags() -> None:
    assert [quoted_tag(tag) for tag in ("3", '"3"', 'W/"3"', 'a"b')] == ['"3"', '"3"', 'W/"3"', '"ab"']
    assert matches('"a"', 'W/"a"')
    assert not matches('"a"', None)
    assert not matches('"a"', "a")


def test_header_values_are_one_line() -> None:
    assert text_headers({"X-A": " a\r\n\tb\x00\x7f "}) == [(b"x-a", b"a\tb")]
    assert text_headers([("X-A", "ü%20")]) == [(b"x-a", b"%C3%BC%20")]


def test_json_has_numbers_of_any_size() -> None:
    assert dumped({"a": 2**70, "b": orjson.Fragment(b'{"c": 1}'), "d": "ü"}) == (
        f'{{"a":{2**70},"b":{{"c":1}},"d":"ü"}}'.encode()
    )


async def test_the_request_id_is_ours(rest: Serve) -> None:
    routes = rest(TEXT)
    answers: list[httpx.Response] = [await routes.get("/t", headers={"x-request-id": "mine"}) for _ in range(2)]
    ids = {answer.headers["x-request-id"] for answer in answers}
    assert len(ids) == 2
    assert all(id.startswith("req_") and len(id) == 28 for id in ids)
    assert [call.request_id for call in routes.world.calls] == [a.headers["x-request-id"] for a in answers]
