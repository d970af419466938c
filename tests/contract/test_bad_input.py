"""Every route, given what no honest client sends: a 4xx in the words of its system, and nothing of our insides.

Every answer is also held against the route's description, as in all tests. Planted and seen red: a parser that takes
any JSON, a path that is decoded leniently, a text with U+0000 that reaches the database, a token that is not verified.
There is more that could be sent than there is time for: each route gets a share, drawn the same in every run.
"""

import base64
import hashlib
import hmac
import itertools
import random
import re
import select
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID, uuid4

import httpx
import orjson
import pytest

from domain.kernel.model import DEFAULT_TENANT
from rest_compat.engine.operations import Route
from rest_compat.engine.system import Extra
from tests.contract.asking import document, root_fields
from tests.contract.drawing import Drawing
from tests.contract.judging import LEAKS, faults, graphql_faults
from tests.contract.placing import NoSpelling, Place, Sent, places, request_of
from tests.contract.stage import Stage, furnish
from tests.harness import Stoa

T = TypeVar("T")
REQUESTS_MAX = 1_500  # of each test

SQL = ["'; DROP TABLE stoa.users; --", "' OR '1'='1", '"; CALL sleep(9); --', "$1", "%s", "\\'", "`id`", "{{7*7}}"]
TEXTS = [
    *SQL, "a\x00b", "x" * 5_000, "\u202e\ufeff", "../../etc/passwd", "<script>", "\r\nx: y", "ＡＤＭＩＮ", "🙂" * 90,
]  # fmt: skip
VALUES: list[Any] = [
    None, True, -1, 0, 10**30, -(10**30), 1.5, 2**63, "", [], [[]], {}, {"a": {"b": []}}, [None], "\x00",
]  # fmt: skip
ODD_NAMES = ("__proto__", "constructor", "a\x00", "'; --", "x" * 5_000)


@pytest.fixture(scope="module")
def stage(stoa: Stoa) -> Stage:
    return furnish(stoa)


@pytest.fixture(scope="module")
def client(stoa: Stoa, stage: Stage) -> httpx.Client:
    return stoa.client(stage.admin.token)


@pytest.fixture(scope="module")
def routes(stoa: Stoa) -> list[Route]:
    found = [route for route in stoa.app.rest.routes if not route.streams]
    assert len(found) > 50
    return found


def good(stoa: Stoa, stage: Stage, route: Route) -> Sent | None:
    """A request as it is meant; what would take something away is about what isn't there."""
    schema = stoa.app.rest.schema.executable
    things = dict(stage.things)
    if route.document.method == "DELETE":
        things = {name: ["nothing"] for name in things}
        things |= {name: ["00000000-0000-4000-8000-000000000000"] for name in ("record", "user", "folder")}
    drawing = Drawing(f"bad:{route.label}", things, schema)
    for _ in range(20):
        try:
            return request_of(route, schema, drawing.variables(route))
        except NoSpelling:
            continue
    return None  # it takes a file, say


def placed(stoa: Stoa, route: Route, where: str) -> list[Place]:
    return [place for place in places(route, stoa.app.rest.schema.executable) if place.where == where]


def share(routes: Sequence[Route], route: Route, cases: Sequence[T]) -> Sequence[T]:
    """The route's share of what could be sent."""
    count = max(8, REQUESTS_MAX // len(routes))
    return cases if len(cases) <= count else random.Random(route.label).sample(cases, count)


Problems = list[str]


def judge(problems: Problems, route: Route, what: str, answer: httpx.Response, *, refused: int | None = None) -> None:
    """Note what is wrong with an answer: a fault, a leak, or another status than this kind of input has."""
    found = list(faults(route, answer))
    if refused is not None and answer.status_code != refused:
        found.append(f"not {refused}")
    problems += [
        f"{problem}: {route.label} {what[:80]!r}: {answer.status_code} {answer.text[:200]}" for problem in found
    ]


def send(client: httpx.Client, problems: Problems, route: Route, what: str, **request: Any) -> httpx.Response | None:
    """The answer; an answer that is not as described is a problem like any other."""
    try:
        return client.request(**request)
    except (AssertionError, ValueError) as undescribed:
        problems.append(f"undescribed: {route.label} {what[:80]!r}: {str(undescribed)[:300]}")
        return None


def check(
    client: httpx.Client, problems: Problems, route: Route, what: str, *, refused: int | None = None, **request: Any
) -> None:
    answer = send(client, problems, route, what, **request)
    if answer is not None:
        judge(problems, route, what, answer, refused=refused)


def report(problems: Problems) -> None:
    assert not problems, f"{len(problems)} problems:\n" + "\n".join(problems[:25])


NO_JSON = [
    b"{", b"nonsense", b"[1,2", b"{}{}", b'{"a":1,}', b"{'a':1}", b'{"a":NaN}', b'{"a":Infinity}', b'\xff\xfe{}',
    b'{"a":"\xff"}', b'{"a":"\\ud800"}', '{"a":1}'.encode("utf-16"), b'{"a":1,"a":2}', b'{"a":"\x01"}',
    b'{"a":' * 5_000 + b"1" + b"}" * 5_000, b"[" * 100_000, b'{"a":' + b"9" * 5_000 + b"}",
]  # fmt: skip


def test_nothing_that_is_sent_looks_like_a_leak() -> None:
    assert [text for text in [*TEXTS, *ODD_NAMES, *RAW_PATHS, repr(VALUES)] if LEAKS.search(text)] == []


def with_body(stoa: Stoa, routes: list[Route]) -> Iterator[Route]:
    return (route for route in routes if placed(stoa, route, "BODY"))


def well_asked(stoa: Stoa, stage: Stage, routes: list[Route]) -> list[tuple[Route, Sent]]:
    """The routes that take JSON, each with a request as it is meant, but for those that need more to be asked."""
    asked = [(route, good(stoa, stage, route)) for route in with_body(stoa, routes)]
    found = [(route, request) for route, request in asked if request is not None]
    assert len(found) > 0.9 * len(asked)
    return found


def test_what_is_no_json_is_refused(stoa: Stoa, stage: Stage, client: httpx.Client, routes: list[Route]) -> None:
    problems: Problems = []
    for route, request in well_asked(stoa, stage, routes):
        for raw in NO_JSON:
            plain = {**request.as_request(), "content": raw, "headers": {"content-type": "application/json"}}
            check(client, problems, route, repr(raw[:60]), refused=400, **plain)
    report(problems)


def test_bodies_and_fields_of_other_types_are_no_faults(
    stoa: Stoa, stage: Stage, client: httpx.Client, routes: list[Route]
) -> None:
    problems: Problems = []
    for route, request in well_asked(stoa, stage, routes):
        named = {place.name for place in placed(stoa, route, "BODY") if place.name}
        bodies = [*VALUES]
        if isinstance(request.body, dict):
            names = sorted({*named, *request.body})
            bodies += [{**request.body, name: value} for name in names for value in [*VALUES, *TEXTS]]
            bodies += [{**request.body, text: 1} for text in ODD_NAMES]
            bodies += [{**request.body, **{f"k{n}": n for n in range(2_000)}}]
        for body in share(routes, route, bodies):
            sent = Sent(request.method, request.path, request.params, request.headers, body)
            plain = sent.as_request() if body is not None else {**sent.as_request(), "content": b"null"}
            check(client, problems, route, str(body), **plain)
    report(problems)


def test_fields_nobody_asked_for_are_taken_as_the_dialect_takes_them(
    stoa: Stoa, stage: Stage, client: httpx.Client, routes: list[Route]
) -> None:
    met: Counter[str] = Counter()
    for route, request in well_asked(stoa, stage, routes):
        if not all(place.name for place in placed(stoa, route, "BODY")):
            continue  # any field may be one of the body itself
        sent = Sent(request.method, request.path, request.params, request.headers, {**request.body, "zzz": 1})
        answer = client.request(**sent.as_request())
        refuses = route.system.unknown_fields is Extra.REFUSE
        assert ("'zzz'" in answer.text) is refuses, f"{route.label}: {answer.text}"
        met["refused" if refuses else "ignored"] += 1
    assert met["ignored"] > 5


RAW_PATHS = {
    "%00": 400, "%ff": 400, "%c0%af": 400, "%ed%a0%80": 400, "a%00b": 400, "..": None, "%2e%2e%2f%2e%2e": None,
    "'%20OR%201=1--": None, "%F0%9F%99%82": None, "x" * 3_000: None, "%2F": None, "-1": None, "*": None, "%25": None,
    "%": None, "%zz": None, "00000000-0000-0000-0000-00000000000g": None,
}  # fmt: skip


def test_paths_that_are_no_names_are_no_faults(
    stoa: Stoa, stage: Stage, client: httpx.Client, routes: list[Route]
) -> None:
    problems: Problems = []
    for route in routes:
        request = good(stoa, stage, route)
        if request is None:
            continue
        places = [index for index, part in enumerate(route.document.path.split("/")) if part.startswith("{")]
        for index, bad in share(routes, route, list(itertools.product(places, RAW_PATHS))):
            steps = request.path.split("/")
            steps[index] = bad
            url = httpx.URL(stoa.base_url).copy_with(raw_path="/".join(steps).encode())
            check(client, problems, route, bad, refused=RAW_PATHS[bad], **{**request.as_request(), "url": url})
    report(problems)


def test_parameters_that_make_no_sense_are_no_faults(
    stoa: Stoa, stage: Stage, client: httpx.Client, routes: list[Route]
) -> None:
    problems: Problems = []
    raw = [
        b"%00", b"%ff", b"x" * 3_000, b"-1", b"1e999", b"99999999999999999999", b"", b"%27%20OR%201%3D1--",
        b"[]", b"{}",
    ]  # fmt: skip
    for route in routes:
        request = good(stoa, stage, route)
        if request is None:
            continue
        names = [place.name.encode() for place in placed(stoa, route, "QUERY") if place.name != "*"]
        queries = [b"%s=%s" % (name, value) for name in [*names, b"nothing", b"a[b][c]"] for value in raw]
        queries += [b"&".join(b"%s=%d" % (name, n) for n in range(3)) for name in names]
        queries += [b"&".join(b"p%d=1" % n for n in range(2_000)), b"&&&==&%", b"a" * 8_000]
        for query in share(routes, route, queries):
            url = httpx.URL(stoa.base_url).copy_with(raw_path=request.path.encode() + b"?" + query)
            known = request.as_request()
            known.pop("params", None)
            spoiled = 400 if (b"%00" in query or b"%ff" in query) and placed(stoa, route, "QUERY") else None
            check(client, problems, route, query.decode(), refused=spoiled, **{**known, "url": url})
    report(problems)


# Credentials.


def forging(stage: Stage, change: Callable[[dict[str, Any], dict[str, Any]], None], key: bytes = b"k" * 32) -> str:
    """The administrator's token, changed and signed with a key of our own."""
    header, payload, _ = stage.admin.token.split(".")
    head, claims = (orjson.loads(base64.urlsafe_b64decode(part + "==")) for part in (header, payload))
    change(head, claims)
    signed = b".".join(base64.urlsafe_b64encode(orjson.dumps(part)).rstrip(b"=") for part in (head, claims))
    mac = hmac.new(key, signed, hashlib.sha256).digest() if head.get("alg") != "none" else b""
    return (signed + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")).decode()


def forged(stoa: Stoa, stage: Stage) -> dict[str, str]:
    """`Authorization` headers that stand for nobody."""
    tokens, now = stoa.app.platform.ports.tokens, datetime.now(UTC)
    whose: dict[str, Any] = {"user_id": UUID(stage.admin.id), "tenant_id": DEFAULT_TENANT, "name": "admin"}

    def nothing(head: dict[str, Any], claims: dict[str, Any]) -> None: ...

    unsigned = forging(stage, lambda head, _: head.update(alg="none"))
    body, _, signature = stage.admin.token.rpartition(".")
    return {
        "nothing": "",
        "no token": "Bearer",
        "nonsense": "Bearer nonsense",
        "another scheme": "Basic YWRtaW46YWRtaW4=",
        "another key": f"Bearer {forging(stage, nothing)}",
        "an empty key": f"Bearer {forging(stage, nothing, b'')}",
        "no signature": f"Bearer {unsigned}",
        "the signature cut off": f"Bearer {body}.",
        "the signature changed": f"Bearer {body}.{signature[::-1]}",
        "a key by path": f"Bearer {forging(stage, lambda head, _: head.update(kid='../../dev/null'), b'')}",
        "a refresh token": f"Bearer {stage.admin.refresh_token}",
        "expired": f"Bearer {tokens.access(**whose, now=now - timedelta(hours=1))}",
        "of nobody there is": f"Bearer {tokens.access(**{**whose, 'user_id': uuid4()}, now=now)}",
        "of another tenant": f"Bearer {tokens.access(**{**whose, 'tenant_id': uuid4()}, now=now)}",
        "twice": f"Bearer {stage.admin.token}, Bearer {stage.admin.token}",
    }


def opened_by_forgeries(stoa: Stoa, stage: Stage, routes: Sequence[Route]) -> Problems:
    """What a credential that stands for nobody comes to, where that isn't a 401."""
    problems: Problems = []
    anonymous, headers = stoa.client(), forged(stoa, stage)
    for route in (route for route in routes if not route.compiled.rules.public):
        request = good(stoa, stage, route) or Sent(route.document.method, re.sub(r"{[^}]+}", "x", route.document.path))
        for name, header in headers.items():
            plain = request.as_request()
            plain["headers"] = {**plain.get("headers", {}), **({"authorization": header} if header else {})}
            answer = send(anonymous, problems, route, name, **plain)
            if answer is not None:
                judge(problems, route, name, answer, refused=401)
                if answer.headers.get("www-authenticate") != "Bearer":
                    problems.append(f"no challenge: {route.label} {name}")
    return problems


def test_forged_credentials_open_no_route(stoa: Stoa, stage: Stage, routes: list[Route]) -> None:
    report(opened_by_forgeries(stoa, stage, routes))


# Methods and media.


def test_other_methods_are_refused_with_the_ones_there_are(
    stoa: Stoa, client: httpx.Client, routes: list[Route]
) -> None:
    served: dict[str, set[str]] = {}
    for route in stoa.app.rest.routes:
        served.setdefault(route.document.path, set()).add(route.document.method)
    by_hand = {by.path for system in stoa.app.rest.systems for by in system.by_hand}
    for path, methods in served.items():
        if path in by_hand or path.endswith("*}"):
            continue
        url = re.sub(r"{[^}]+}", "x", path)
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE"} - methods:
            answer = client.request(method, url)
            allowed = {part.strip() for part in answer.headers.get("allow", "").split(",")}
            assert (answer.status_code, allowed - {"HEAD", "OPTIONS"}) == (405, methods), f"{method} {path}"


def test_other_media_are_refused(stoa: Stoa, stage: Stage, client: httpx.Client, routes: list[Route]) -> None:
    problems: Problems = []
    for route, request in well_asked(stoa, stage, routes):
        for media_type in ("text/plain", "application/xml", "application/x-www-form-urlencoded", "application/jsonx"):
            plain = {**request.as_request(), "headers": {"content-type": media_type}}
            check(client, problems, route, media_type, refused=415, **plain)
        for accept in ("image/png", "application/json;q=0"):
            plain = request.as_request()
            plain["headers"] = {**plain["headers"], "accept": accept}
            check(client, problems, route, accept, refused=406, **plain)
    report(problems)


def opened(stoa: Stoa, stage: Stage, route: Route, *headers: str) -> socket.socket:
    """A connection on which a request of the route has begun."""
    path = re.sub(r"{[^}]+}", "x", route.document.path)
    raw = socket.create_connection(stoa.address.split(":"), timeout=10)
    lines = [f"{route.document.method} {path} HTTP/1.1", "host: x", "content-type: application/json", *headers]
    raw.sendall("\r\n".join([*lines, f"authorization: Bearer {stage.admin.token}", "", ""]).encode())
    return raw


def test_bodies_that_say_they_are_too_large_are_refused_before_they_come(
    stoa: Stoa, stage: Stage, routes: list[Route]
) -> None:
    for route in with_body(stoa, routes):
        with opened(stoa, stage, route, f"content-length: {10**10}") as raw:
            assert raw.recv(100).startswith(b"HTTP/1.1 413"), route.label


def test_bodies_that_grow_too_large_are_cut_while_they_come(stoa: Stoa, stage: Stage, routes: list[Route]) -> None:
    known = [route for route in with_body(stoa, routes) if not route.compiled.rules.public]
    of_a_kind = {(route.system.name, route.body_bytes_max): route for route in known}
    chunk = b"8000\r\n" + b" " * 0x8000 + b"\r\n"
    for (_, most), route in of_a_kind.items():
        with opened(stoa, stage, route, "transfer-encoding: chunked") as raw:
            sent = 0
            with suppress(ConnectionError):  # whoever goes on after the answer is hung up on
                while not select.select([raw], [], [], 0)[0]:
                    raw.sendall(chunk)
                    sent += 0x8000
                    assert sent < most + 16 * 2**20, route.label
                assert raw.recv(100).startswith(b"HTTP/1.1 413"), route.label
            assert sent > most - 2**20, route.label


# GraphQL.


def test_values_of_other_types_are_no_faults_of_any_field(stoa: Stoa, client: httpx.Client) -> None:
    """A lone odd value for each argument in turn, beside well-formed ones."""
    problems: Problems = []
    fields = [field for field in root_fields(stoa.app.rest.schema.executable) if field.kind != "subscription"]
    cases = [(field, name, value) for field in fields for name in field.definition.args for value in [*VALUES, *TEXTS]]
    for field, name, value in random.Random("graphql").sample(cases, min(len(cases), REQUESTS_MAX)):
        query, variables = document(field, name)
        answer = client.post("/graphql", json={"query": query, "variables": {**variables, name: value}})
        problems += [
            f"{found}: {field} {name}={str(value)[:80]!r}: {answer.text[:300]}" for found in graphql_faults(answer)
        ]
    report(problems)


# Afterwards.


def test_all_of_it_left_the_server_well(stoa: Stoa, stage: Stage, client: httpx.Client) -> None:
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/api/v1/auth/me").json()["username"] == "admin"
    assert stoa.sql("SELECT count(*) AS n FROM stoa.users WHERE username = 'admin'") == [{"n": 1}]
