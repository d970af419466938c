"""GraphQL over HTTP: POST with JSON, answered as JSON or as server-sent events; and the page to try it in.

Sources: GraphQL over HTTP (status codes, `application/graphql-response+json`), GraphQL over SSE (distinct mode).
"""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import lru_cache
from typing import Any, Protocol

import jiter
import orjson
from graphql import GraphQLError, OperationType
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from domain.kernel import ctx as kernel
from domain.kernel.errors import Code, DomainError, Invalid
from graph.answer import Answer
from graph.documents import DocumentRefused
from graph.errors import code_of, coded, refusal
from graph.run import Caller, Executable, Runner, Stream

RESPONSE_JSON = "application/graphql-response+json"
JSON = "application/json"
SSE = "text/event-stream"
BODY_BYTES_MAX = 256 * 1024
ACCEPTED_MAX = 200  # ways of saying what one takes, remembered
COMPLETE = b"event: complete\ndata:\n\n"

PARAMETERS = {"query": str, "documentId": str, "operationName": str, "variables": dict, "extensions": dict}

log = logging.getLogger(__name__)

STATUS: Mapping[str, int] = {
    Code.UNAUTHENTICATED: 401,
    Code.FORBIDDEN: 403,
    Code.NOT_FOUND: 404,
    Code.IDEMPOTENCY_KEY_REUSED: 409,
    Code.CONFLICT: 409,
    Code.PAYLOAD_TOO_LARGE: 413,
    Code.UNSUPPORTED_MEDIA_TYPE: 415,
    Code.RATE_LIMITED: 429,
    Code.INTERNAL: 500,
    Code.UPSTREAM_FAILED: 502,
    Code.UNAVAILABLE: 503,
}


class HttpRefused(Exception):
    """A request that is no GraphQL request."""

    def __init__(self, status: int, code: Code, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, dict(headers or {})


class Find(Protocol):
    """Finds the operation of that name in a document, as the caller may ask for it. Raises DocumentRefused."""

    async def __call__(
        self, source: str, name: str | None, variables: Mapping[str, Any], caller: Caller
    ) -> Executable: ...


class SendStream(Protocol):
    """Sends frames of server-sent events until they end, the reader leaves or stops reading, or the server stops."""

    async def __call__(
        self,
        frames: AsyncGenerator[bytes, None],
        receive: Receive,
        send: Send,
        headers: list[tuple[bytes, bytes]],
    ) -> None: ...


class GraphQLEndpoint:
    """The endpoint of one schema, and the page to try it in. `stored` finds trusted documents by their id."""

    def __init__(
        self,
        runner: Runner,
        find: Find,
        page: Callable[[Request], Awaitable[ASGIApp]],
        stored: Callable[[str], Executable | None],
        send_stream: SendStream,
    ) -> None:
        self._runner = runner
        self._find = find
        self._page = page
        self._stored = stored
        self._send_stream = send_stream

    async def __call__(self, request: Request) -> ASGIApp:
        """Answer one request."""
        head = Head(request.scope)
        accept = head.get(b"accept")
        if accept is not None and request.method in ("GET", "HEAD") and "text/html" in accept:
            return await self._page(request)
        try:
            accepted = _accepted(accept)
            return await self._answer(head, await _parameters(head, request.receive), accepted)
        except HttpRefused as refused:
            return _refused(refused)
        except Exception:
            log.exception("request failed: %s", head.info.id)
            return _refused(HttpRefused(500, Code.INTERNAL, "internal error"))

    async def _answer(self, head: "Head", asked: Mapping[str, Any], accepted: Sequence[str]) -> ASGIApp:
        info = head.info
        variables = asked.get("variables") or {}
        try:
            caller = await self.caller(head)
        except DomainError as refused:
            return self._reply(Answer(None, [refusal(refused)]), accepted[0])
        try:
            operation = await self._operation(asked, variables, caller)
        except DocumentRefused as refused:
            return self._reply(Answer(None, [coded(error, info.id) for error in refused.errors]), accepted[0])
        if operation.type is not OperationType.SUBSCRIPTION:
            key = head.get(b"idempotency-key")
            return self._reply(await self._runner.run(operation, variables, caller, key), accepted[0])
        if SSE not in accepted:
            wanted = Invalid("query", f"a subscription is answered as {SSE}, or over a WebSocket")
            return self._reply(Answer(None, [refusal(wanted)]), accepted[0])
        opened = await self._runner.stream(operation, variables, caller)
        return self._reply(opened, SSE) if isinstance(opened, Answer) else self._followed(opened)

    async def caller(self, head: "Head") -> Caller:
        """Who asks. Raises DomainError."""
        return await self._runner.caller(bearer(head.get(b"authorization")), head.info)

    async def _operation(self, asked: Mapping[str, Any], variables: Mapping[str, Any], caller: Caller) -> Executable:
        """The operation asked for, by its text or by the id of a stored one. Raises DocumentRefused."""
        id = asked.get("documentId")
        if id is not None:
            operation = self._stored(id)
            if operation is None:
                raise DocumentRefused([refusal(Invalid("documentId", "there is no stored document of this id"))])
            return operation
        return await self._find(asked["query"], asked.get("operationName") or None, variables, caller)

    def _reply(self, answer: Answer, media_type: str) -> ASGIApp:
        """The answer as a body, or as the one event of a stream; what was not executed is no stream."""
        if media_type != SSE:
            return _whole(answer, media_type)
        return self._stream(_single(answer)) if answer.executed else _whole(answer, RESPONSE_JSON)

    def _followed(self, answers: Stream) -> ASGIApp:
        async def stream(scope: Scope, receive: Receive, send: Send) -> None:
            async with aclosing(answers):
                await self._send_stream(_events(answers), receive, send, [])

        return stream

    def _stream(self, frames: AsyncGenerator[bytes, None]) -> ASGIApp:
        async def stream(scope: Scope, receive: Receive, send: Send) -> None:
            await self._send_stream(frames, receive, send, [])

        return stream


class Head:
    """What comes before a request's body, looked up once. Of headers with one name the first counts."""

    __slots__ = ("_headers", "info", "method")

    def __init__(self, scope: Scope) -> None:
        client = scope.get("client")
        self.method: str = scope["method"]
        self.info = kernel.Request(scope["state"]["request_id"], "api", client[0] if client else None)
        self._headers: dict[bytes, bytes] = dict(reversed(scope["headers"]))

    def get(self, name: bytes) -> str | None:
        """A header's value."""
        value = self._headers.get(name)
        return None if value is None else value.decode("latin-1")


async def _single(answer: Answer) -> AsyncGenerator[bytes, None]:
    yield answer.event
    yield COMPLETE


async def _events(answers: Stream) -> AsyncGenerator[bytes, None]:
    async for answer in answers:
        yield answer.event
    yield COMPLETE


def bearer(header: str | None) -> str | None:
    """The token of an `Authorization` header; a header of another form is a token that is not good."""
    if header is None:
        return None
    return header[7:] if header.startswith("Bearer ") else ""


@lru_cache(ACCEPTED_MAX)  # clients send the same one with each request
def _accepted(accept: str | None) -> Sequence[str]:
    """The media types the caller takes, the one it likes best first. Raises HttpRefused."""
    ours = (RESPONSE_JSON, JSON, SSE)
    if not accept:
        return ours
    liked = {kind: quality for kind in ours if (quality := _quality(accept, kind))}
    if not liked:
        raise HttpRefused(406, Code.NOT_ACCEPTABLE, f"the answer is {RESPONSE_JSON}, {JSON} or {SSE}")
    return tuple(sorted(liked, key=lambda kind: -liked[kind]))


def _quality(accept: str, kind: str) -> float:
    """How much the caller likes a media type: what the most specific range that covers it says; 0 for not at all."""
    ranges = {}
    for part in accept.split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        ranges[name] = next((_number(p[2:]) for p in parameters if p.startswith("q=")), 1.0)
    covering = (kind, f"{kind.partition('/')[0]}/*", "*/*")
    return next((ranges[name] for name in covering if name in ranges), 0.0)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 1.0


async def _parameters(head: Head, receive: Receive) -> Mapping[str, Any]:
    """The request's parameters. Raises HttpRefused."""
    if head.method != "POST":
        raise HttpRefused(405, Code.METHOD_NOT_ALLOWED, "GraphQL is asked by POST", {"allow": "POST"})
    media_type = (head.get(b"content-type") or "").partition(";")[0].strip().lower()
    if media_type != JSON:
        raise HttpRefused(415, Code.UNSUPPORTED_MEDIA_TYPE, f"the body must be {JSON}")
    try:
        body = jiter.from_json(await _body(receive), allow_inf_nan=False, catch_duplicate_keys=True)
    except ValueError as error:
        raise HttpRefused(400, Code.INVALID_INPUT, f"invalid JSON: {error}") from error
    if not isinstance(body, dict):
        raise HttpRefused(400, Code.INVALID_INPUT, "the body must be an object; batches are not taken")
    _check(body)
    return body


async def _body(receive: Receive) -> bytes:
    """The whole body. Raises HttpRefused."""
    raw = b""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise HttpRefused(400, Code.INVALID_INPUT, "the body ended before it was whole")
        raw += message.get("body", b"")
        more = message.get("more_body", False)
        if len(raw) > BODY_BYTES_MAX:
            raise HttpRefused(413, Code.PAYLOAD_TOO_LARGE, f"the body is larger than {BODY_BYTES_MAX} bytes")
    return raw


def _refused(refused: HttpRefused) -> Response:
    errors = [{"message": refused.message, "extensions": {"code": refused.code}}]
    return Response(orjson.dumps({"errors": errors}), refused.status, refused.headers, media_type=RESPONSE_JSON)


def _check(body: Mapping[str, Any]) -> None:
    """Raises HttpRefused for a parameter of the wrong kind."""
    for name, kind in PARAMETERS.items():
        value = body.get(name)
        if value is not None and not isinstance(value, kind):
            what = "an object" if kind is dict else "a string"
            raise HttpRefused(400, Code.INVALID_INPUT, f"{name} must be {what}")
    if body.get("query") is None and body.get("documentId") is None:
        raise HttpRefused(400, Code.INVALID_INPUT, "query is required")


def _whole(answer: Answer, media_type: str) -> Response:
    headers = {"idempotency-replayed": "true"} if answer.replayed else {}
    retry = _retry_after(answer.errors)
    if retry is not None:
        headers["retry-after"] = retry
    status = 200
    if answer.errors and not answer.executed and media_type == RESPONSE_JSON:
        status = STATUS.get(code_of(answer.errors[0]), 400)
    return Response(answer.json, status, headers, media_type=media_type)


def _retry_after(errors: Sequence[GraphQLError]) -> str | None:
    for error in errors:
        after = (error.extensions or {}).get("retryAfter")
        if after is not None:
            return str(max(1, round(after)))
    return None
