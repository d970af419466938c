"""The adapter: requests in, stored operations executed, answers out. An ASGI application for all systems at once."""

import asyncio
import logging
import re
import secrets
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from starlette.routing import Route as StarletteRoute
from starlette.types import Message, Receive, Scope, Send

from rest_compat.engine.answers import (
    JSON,
    Headers,
    cookie_header,
    dumped,
    etag_of,
    matches,
    send_blob,
    send_bytes,
    sse_frame,
    text_headers,
)
from rest_compat.engine.backend import Backend, Caller, CallInfo, Result
from rest_compat.engine.binding import BODY_METHODS
from rest_compat.engine.call import Call
from rest_compat.engine.documents import read_documents
from rest_compat.engine.errors import CompileError, Refusal
from rest_compat.engine.operations import Route, filled, routes_of
from rest_compat.engine.routing import Endpoint, NotText, Table
from rest_compat.engine.schema import ApiSchema
from rest_compat.engine.shaping import Shaped
from rest_compat.engine.streams import send_stream
from rest_compat.engine.system import Meta, System

log = logging.getLogger(__name__)

NOSNIFF = (b"x-content-type-options", b"nosniff")
# What an answer to a browser that was sent here carries is nobody else's: tokens, and a code in the address.
UNKEPT = [(b"cache-control", b"no-store"), (b"referrer-policy", b"no-referrer")]
TEXT = "text/event-stream"


@dataclass(frozen=True)
class ByHand:
    """A route that no document makes."""

    system: System
    route: StarletteRoute

    async def answer(self, values: Sequence[str], exchange: "_Exchange", receive: Receive) -> None:
        names = re.findall(r"\{(\w+)\}", self.route.path)
        scope = {**exchange.scope, "path_params": dict(zip(names, values, strict=True))}
        await self.route.app(scope, receive, exchange.send_tagged)


class RestAdapter:
    """All routes of all systems, answered by one backend."""

    def __init__(self, systems: Sequence[System], schema: str, backend: Backend, base_url: str) -> None:
        self.systems = tuple(systems)
        self.schema = ApiSchema(schema)
        self.routes: list[Route] = []
        self._backend = backend
        self._base_url = base_url
        self._table: Table[Route | ByHand] = Table()
        self._closing = asyncio.Event()
        for system in systems:
            for route in routes_of(system, read_documents(system.folder), self.schema, backend.prepare):
                self._enter(route)
            for by_hand in system.by_hand:
                for method in (by_hand.methods or set()) - {"HEAD"}:
                    if self._table.add(method, by_hand.path, ByHand(system, by_hand)) is not None:
                        raise CompileError(system.name, f"{method} {by_hand.path} is a document, too")

    def _enter(self, route: Route) -> None:
        document = route.document
        taken = self._table.add(document.method, document.path, route, head=not route.navigation)
        if isinstance(taken, Route):
            raise CompileError(
                document.file, f"{document.method} {document.path} is also in {taken.document.file}", document.node
            )
        self.routes.append(route)

    def route_of(self, method: str, raw_path: bytes) -> Route | None:
        """The route of a request, if it has one."""
        found = self._table.find(raw_path)
        route = None if found is None else found[0].route(method)
        return route if isinstance(route, Route) else None

    def compile_all(self) -> None:
        """Compile every document. Raises CompileError."""
        for route in self.routes:
            route.compiled  # noqa: B018

    def close_streams(self) -> None:
        """End the streams: the process is about to go."""
        self._closing.set()

    def claims(self, path: str) -> System | None:
        """The system that a path without a route belongs to, if it is below one's prefixes."""
        best: tuple[int, System | None] = (0, None)
        for system in self.systems:
            for prefix in system.prefixes:
                below = path == prefix or path.startswith(prefix.rstrip("/") + "/")
                if below and len(prefix) > best[0]:
                    best = (len(prefix), system)
        return best[1]

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Answer an HTTP request. False, and nothing sent, for a path that is none of ours."""
        exchange = _Exchange(scope, send)
        raw_path = scope.get("raw_path") or scope["path"].encode()
        try:
            found = self._table.find(raw_path)
        except NotText as problem:
            system = self.claims(scope["path"]) or self.systems[0]
            await exchange.refuse(system, Refusal("INVALID_INPUT", str(problem)))
            return True
        if found is None:
            claiming = self.claims(scope["path"])
            if claiming is not None:
                await exchange.refuse(claiming, Refusal("NOT_FOUND", f"there is no {scope['path'][:200]}"))
            return claiming is not None
        await self._at(found[0], found[1], exchange, receive)
        return True

    async def _at(
        self, endpoint: Endpoint[Route | ByHand], values: list[str], exchange: "_Exchange", receive: Receive
    ) -> None:
        method = exchange.scope["method"]
        route = endpoint.route(method)
        if route is None:
            system = next(iter(endpoint.routes.values())).system
            allow = {"allow": endpoint.allowed}
            if method == "OPTIONS":
                await send_bytes(exchange.send, 204, b"", [*exchange.headers, *text_headers(allow)])
                return
            message = f"{method[:20]} is not allowed here, {endpoint.allowed} are"
            await exchange.refuse(system, Refusal("METHOD_NOT_ALLOWED", message, headers=allow))
            return
        if isinstance(route, ByHand):
            await route.answer(values, exchange, receive)
            return
        if route.navigation:
            exchange.headers += UNKEPT
        call = Call(exchange.scope, receive, values, route.system.body_bytes_max)
        try:
            await self._route(route, call, exchange, receive)
        except Refusal as refusal:
            await exchange.refuse(route.system, refusal)
        except Exception:
            log.exception("request failed: %s %s", exchange.meta.request_id, route.label)
            await exchange.refuse(route.system, Refusal("INTERNAL", "internal error"))
        finally:
            await call.close()

    async def _route(self, route: Route, call: Call, exchange: "_Exchange", receive: Receive) -> None:
        compiled, backend = route.compiled, self._backend
        info = CallInfo(exchange.meta.request_id, exchange.client_ip)
        caller = await backend.caller(route.system.token(call.request), info)
        refusal = await backend.admit(compiled.handle, caller)
        if refusal is not None:
            raise refusal
        _refuse_other_media(route, exchange)
        variables = await compiled.binding.bind(call, self._filler(call, caller, exchange.meta))
        if route.streams:
            await self._stream(route, variables, caller, exchange, receive)
            return
        key = exchange.header(b"idempotency-key") if exchange.scope["method"] in (*BODY_METHODS, "DELETE") else None
        result = await backend.run(compiled.handle, variables, caller, key)
        if result.refusals or result.data is None:
            raise compiled.binding.named(_first(result))
        shaped = compiled.shape.apply(result.data)
        if route.message is not None:
            more = shaped.body if compiled.shape.marked and isinstance(shaped.body, dict) else {}
            shaped.body = {"message": filled(route.message, variables), **more}
        await self._reply(route, shaped, exchange, replayed=result.replayed)

    def _filler(self, call: Call, caller: Caller, meta: Meta) -> Callable[[str], Any]:
        def fill(what: str) -> Any:
            match what:
                case "NOW":
                    return datetime.now(UTC).isoformat()
                case "NEW_ID":
                    return str(uuid.uuid4())
                case "REQUEST_ID":
                    return meta.request_id
                case "CLIENT_IP":
                    return call.request.client.host if call.request.client else None
                case "USER_AGENT":
                    return call.request.headers.get("user-agent")
                case "USER_ID":
                    return caller.user_id
            return self._base_url

        return fill

    # Answers.

    async def _reply(self, route: Route, shaped: Shaped, exchange: "_Exchange", *, replayed: bool) -> None:
        status = shaped.status or route.status
        headers = [*exchange.headers, *text_headers(shaped.headers)]
        headers += [cookie_header(c, value, secure=self._base_url.startswith("https")) for c, value in shaped.cookies]
        if replayed:
            headers.append((b"idempotency-replayed", b"true"))
        if 300 <= status < 400:
            if not any(name == "location" for name, _ in shaped.headers):
                headers += text_headers({"location": str(shaped.body)})
            await send_bytes(exchange.send, status, b"", headers)
            return
        if route.compiled.file_body:
            blob = await self._backend.open_file(str(shaped.body))
            await send_blob(exchange.send, blob, exchange.text_headers(), headers, head=exchange.head)
            return
        body, media_type = self._encoded(route, shaped.body, exchange.meta, status)
        await exchange.reply(
            status, body, [*headers, *([(b"content-type", media_type)] if body or status != 204 else [])]
        )

    @staticmethod
    def _encoded(route: Route, body: Any, meta: Meta, status: int) -> tuple[bytes, bytes]:
        if status == 204:
            return b"", b""
        if route.produces is not None:
            text = "" if body is None else str(body)
            charset = "; charset=utf-8" if route.produces.startswith("text/") else ""
            return text.encode(), f"{route.produces}{charset}".encode()
        if route.enveloped and route.system.wrap is not None:
            body = route.system.wrap(body, meta)
        return dumped(body), JSON

    async def _stream(
        self, route: Route, variables: dict[str, Any], caller: Caller, exchange: "_Exchange", receive: Receive
    ) -> None:
        opened = await self._backend.stream(route.compiled.handle, variables, caller)
        if isinstance(opened, Result):
            raise route.compiled.binding.named(_first(opened))
        if exchange.head:
            await opened.aclose()
            await send_bytes(exchange.send, 200, b"", [*exchange.headers, (b"content-type", TEXT.encode())], head=True)
            return
        frames = _frames(route, opened, exchange.meta)
        await send_stream(frames, receive, exchange.send, exchange.headers, self._closing)


async def _frames(route: Route, results: AsyncGenerator[Result, None], meta: Meta) -> AsyncGenerator[bytes, None]:
    """The events as frames; a refusal is the last one."""
    try:
        async for result in results:
            if result.refusals or result.data is None:
                refusal = route.compiled.binding.named(_first(result))
                yield sse_frame(dumped(route.system.error(refusal, meta)), event="error")
                return
            shaped = route.compiled.shape.apply(result.data)
            yield sse_frame(dumped(shaped.body), event=shaped.event, id=shaped.event_id)
    finally:
        await results.aclose()


def _first(result: Result) -> Refusal:
    return result.refusals[0] if result.refusals else Refusal("INTERNAL", "internal error")


def _refuse_other_media(route: Route, exchange: "_Exchange") -> None:
    """Raises Refusal when the caller takes nothing that the route has."""
    accept = exchange.header(b"accept")
    if not accept or "*/*" in accept:
        return
    made = TEXT if route.streams else route.produces or "application/json"
    if route.compiled.file_body:
        return  # what a file is, is not known yet
    kinds = {part.partition(";")[0].strip().lower() for part in accept.split(",") if not _refused_part(part)}
    if made not in kinds and f"{made.partition('/')[0]}/*" not in kinds:
        raise Refusal("NOT_ACCEPTABLE", f"the answer is {made}")


def _refused_part(part: str) -> bool:
    """Whether an entry of `Accept` has the quality zero."""
    _, _, quality = part.replace(" ", "").partition(";q=")
    with suppress(ValueError):
        return float(quality.partition(";")[0]) == 0
    return False


class _Exchange:
    """One request and the answer to it."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.scope = scope
        self.send = send
        self.meta = Meta(f"req_{secrets.token_hex(12)}")
        self.headers: Headers = [(b"x-request-id", self.meta.request_id.encode()), NOSNIFF]

    @property
    def head(self) -> bool:
        """Whether only the headers are asked for."""
        return bool(self.scope["method"] == "HEAD")

    @property
    def client_ip(self) -> str | None:
        """The address the request came from."""
        client = self.scope.get("client")
        return client[0] if client else None

    def header(self, name: bytes) -> str | None:
        """The first header of that name."""
        return next((value.decode("latin-1") for key, value in self.scope["headers"] if key == name), None)

    def text_headers(self) -> dict[str, str]:
        """The request's headers."""
        return {key.decode("latin-1"): value.decode("latin-1") for key, value in self.scope["headers"]}

    async def reply(self, status: int, body: bytes, headers: Headers) -> None:
        """An answer at once. What is read gets an entity tag, and what the caller has already is not sent again."""
        if status == 200 and self.scope["method"] in ("GET", "HEAD") and UNKEPT[0] not in headers:
            tag = etag_of(body)
            headers = [*headers, (b"etag", tag.encode()), (b"cache-control", b"private, no-cache")]
            if matches(tag, self.header(b"if-none-match")):
                await send_bytes(self.send, 304, b"", headers)
                return
        await send_bytes(self.send, status, body, headers, head=self.head)

    async def send_tagged(self, message: Message) -> None:
        """Send what a hand-written route answers, with the headers that all answers have."""
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *self.headers]}
        await self.send(message)

    async def refuse(self, system: System, refusal: Refusal) -> None:
        """The refusal in the dialect of the system."""
        status = system.status_of(refusal)
        more = dict(refusal.headers)
        if refusal.retry_after_s is not None:
            more["retry-after"] = str(max(1, round(refusal.retry_after_s)))
        if status == 401:
            more["www-authenticate"] = "Bearer"
        body = dumped(system.error(refusal, self.meta))
        headers = [*self.headers, (b"content-type", JSON), *text_headers(more)]
        await send_bytes(self.send, status, body, headers, head=self.head)
