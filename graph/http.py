"""GraphQL over HTTP: POST with JSON, answered as JSON or as server-sent events; and the page to try it in.

Sources: GraphQL over HTTP (status codes, `application/graphql-response+json`), GraphQL over SSE (distinct mode).
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from typing import Any

import jiter
import orjson
from graphql import GraphQLError, OperationType
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse

from domain.kernel import ctx as kernel
from domain.kernel.errors import Code, Invalid
from graph.documents import DocumentRefused, Operation
from graph.errors import coded_all, refusal
from graph.run import Answer, Caller, Runner

RESPONSE_JSON = "application/graphql-response+json"
JSON = "application/json"
SSE = "text/event-stream"
BODY_BYTES_MAX = 256 * 1024
HEARTBEAT_S = 15.0

STATUS: Mapping[str, int] = {
    Code.UNAUTHENTICATED: 401,
    Code.FORBIDDEN: 403,
    Code.IDEMPOTENCY_KEY_REUSED: 409,
    Code.CONFLICT: 409,
    Code.PAYLOAD_TOO_LARGE: 413,
    Code.UNSUPPORTED_MEDIA_TYPE: 415,
    Code.RATE_LIMITED: 429,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
}


class HttpRefused(Exception):
    """A request that is no GraphQL request."""

    def __init__(self, status: int, code: Code, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, dict(headers or {})


class GraphQLEndpoint:
    """The endpoint of one schema. `stored` finds trusted documents by their id."""

    def __init__(
        self, runner: Runner, page: str, stored: Callable[[str], Operation | None], closing: asyncio.Event
    ) -> None:
        self._runner = runner
        self._page = page
        self._stored = stored
        self._closing = closing

    async def __call__(self, request: Request) -> Response:
        """Answer one request."""
        try:
            if request.method in ("GET", "HEAD") and "text/html" in request.headers.get("accept", ""):
                return FileResponse(self._page, headers={"cache-control": "no-cache"})
            if request.method != "POST":
                allow = {"allow": "POST"}
                raise HttpRefused(405, Code.METHOD_NOT_ALLOWED, "GraphQL is asked by POST", allow)
            media_type = _accepted(request.headers.get("accept"))
            return await self._answer(request, await _body(request), media_type)
        except HttpRefused as refused:
            errors = [{"message": refused.message, "extensions": {"code": refused.code}}]
            body = orjson.dumps({"errors": errors})
            return Response(body, refused.status, refused.headers, media_type=JSON)

    async def _answer(self, request: Request, body: Mapping[str, Any], media_type: str) -> Response:
        info = kernel.Request(request.state.request_id, "api", request.client.host if request.client else None)
        caller = await self._runner.caller(bearer(request.headers.get("authorization")), info)
        variables = body.get("variables") or {}
        try:
            operation = self._operation(body, variables, caller)
        except DocumentRefused as refused:
            answer = Answer(None, coded_all(refused.errors, suggestions=not caller.anonymous))
            return _whole(answer, media_type)
        if media_type == SSE:
            return StreamingResponse(
                self._events(operation, variables, caller), media_type=SSE, headers={"cache-control": "no-cache"}
            )
        if operation.type is OperationType.SUBSCRIPTION:
            wanted = Invalid("query", f"a subscription is answered as {SSE}, or over a WebSocket")
            return _whole(Answer(None, [refusal(wanted)]), media_type)
        key = request.headers.get("idempotency-key")
        return _whole(await self._runner.run(operation, variables, caller, key), media_type)

    def _operation(self, body: Mapping[str, Any], variables: Mapping[str, Any], caller: Caller) -> Operation:
        """The operation asked for, by its text or by the id of a stored one. Raises DocumentRefused."""
        id = body.get("documentId")
        if id is not None:
            operation = self._stored(id)
            if operation is None:
                raise DocumentRefused([refusal(Invalid("documentId", "there is no stored document of this id"))])
            return operation
        return self._runner.documents.operation(
            body["query"], body.get("operationName"), variables, anonymous=caller.anonymous
        )

    async def _events(
        self, operation: Operation, variables: Mapping[str, Any], caller: Caller
    ) -> AsyncGenerator[bytes, None]:
        """The answer, or the answers, as events; comments while nothing happens."""
        if operation.type is not OperationType.SUBSCRIPTION:
            yield _event(await self._runner.run(operation, variables, caller))
            yield b"event: complete\ndata:\n\n"
            return
        opened = await self._runner.stream(operation, variables, caller)
        if isinstance(opened, Answer):
            yield _event(opened)
            yield b"event: complete\ndata:\n\n"
            return
        yield b":\n\n"
        following: asyncio.Task[Answer] | None = None
        closing = asyncio.create_task(self._closing.wait())
        try:
            while True:
                following = following or asyncio.create_task(_next(opened))
                done, _ = await asyncio.wait(
                    [following, closing], timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED
                )
                if closing in done:
                    return
                if not done:
                    yield b":\n\n"
                    continue
                answer, following = following.result(), None
                yield _event(answer)
        except StopAsyncIteration:
            yield b"event: complete\ndata:\n\n"
        finally:
            closing.cancel()
            if following is not None:
                following.cancel()
                with suppress(asyncio.CancelledError, StopAsyncIteration):
                    await following
            await opened.aclose()


async def _next(answers: AsyncGenerator[Answer, None]) -> Answer:
    return await anext(answers)


def bearer(header: str | None) -> str | None:
    """The token of an `Authorization` header; a header of another form is a token that is not good."""
    if header is None:
        return None
    return header[7:] if header.startswith("Bearer ") else ""


def _accepted(accept: str | None) -> str:
    """The media type to answer in. Raises HttpRefused."""
    if not accept:
        return JSON
    kinds = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    for kind in (SSE, RESPONSE_JSON, JSON):
        if kind in kinds:
            return kind
    if "*/*" in kinds or "application/*" in kinds:
        return RESPONSE_JSON
    raise HttpRefused(406, Code.NOT_ACCEPTABLE, f"the answer is {RESPONSE_JSON}, {JSON} or {SSE}")


async def _body(request: Request) -> Mapping[str, Any]:
    """The request's parameters. Raises HttpRefused."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != JSON:
        raise HttpRefused(415, Code.UNSUPPORTED_MEDIA_TYPE, f"the body must be {JSON}")
    raw = b""
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > BODY_BYTES_MAX:
            raise HttpRefused(413, Code.PAYLOAD_TOO_LARGE, f"the body is larger than {BODY_BYTES_MAX} bytes")
    try:
        body = jiter.from_json(raw, allow_inf_nan=False, catch_duplicate_keys=True)
    except ValueError as error:
        raise HttpRefused(400, Code.INVALID_INPUT, f"invalid JSON: {error}") from error
    if not isinstance(body, dict):
        raise HttpRefused(400, Code.INVALID_INPUT, "the body must be an object; batches are not taken")
    _check(body)
    return body


def _check(body: Mapping[str, Any]) -> None:
    """Raises HttpRefused for a parameter of the wrong kind."""
    kinds = {
        "query": str,
        "documentId": str,
        "operationName": str,
        "variables": dict,
        "extensions": dict,
    }
    for name, kind in kinds.items():
        value = body.get(name)
        if value is not None and not isinstance(value, kind):
            what = "an object" if kind is dict else "a string"
            raise HttpRefused(400, Code.INVALID_INPUT, f"{name} must be {what}")
    if body.get("query") is None and body.get("documentId") is None:
        raise HttpRefused(400, Code.INVALID_INPUT, "query is required")


def payload(answer: Answer) -> dict[str, Any]:
    """The answer as GraphQL's response map."""
    if not answer.errors:
        return {"data": answer.data}
    errors = [error.formatted for error in answer.errors]
    return {"errors": errors, "data": answer.data} if answer.executed else {"errors": errors}


def _event(answer: Answer) -> bytes:
    return b"event: next\ndata: " + orjson.dumps(payload(answer)) + b"\n\n"


def _whole(answer: Answer, media_type: str) -> Response:
    headers = {"idempotency-replayed": "true"} if answer.replayed else {}
    retry = _retry_after(answer.errors)
    if retry is not None:
        headers["retry-after"] = retry
    status = 200
    if answer.errors and not answer.executed and media_type == RESPONSE_JSON:
        status = STATUS.get(str((answer.errors[0].extensions or {}).get("code")), 400)
    return Response(orjson.dumps(payload(answer)), status, headers, media_type=media_type)


def _retry_after(errors: "list[GraphQLError] | Any") -> str | None:
    for error in errors:
        after = (error.extensions or {}).get("retryAfter")
        if after is not None:
            return str(max(1, round(after)))
    return None
