"""The adapter: requests in, stored operations executed, answers out. An ASGI application for all systems at once."""

import logging
import re
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from starlette.routing import Route as StarletteRoute
from starlette.types import Receive, Scope, Send

from rest_compat.engine import streams
from rest_compat.engine.answers import (
    JSON,
    PAGE_HEADERS,
    Headers,
    accepts,
    cookie_header,
    dumped,
    of_type,
    send_bytes,
    text_headers,
    with_defaults,
)
from rest_compat.engine.backend import Backend, Caller, CallInfo, Elsewhere, Made, Result, Results
from rest_compat.engine.binding import Bound
from rest_compat.engine.blobs import send_blob, send_made
from rest_compat.engine.call import Call
from rest_compat.engine.documents import RouteDocument, read_documents
from rest_compat.engine.errors import INVALID, CompileError, Refusal, together
from rest_compat.engine.exchange import Exchange
from rest_compat.engine.messages import filled
from rest_compat.engine.operations import Route, routes_of
from rest_compat.engine.routing import Endpoint, NotText, Table
from rest_compat.engine.schema import api_schema
from rest_compat.engine.sending import Closing, Following
from rest_compat.engine.shaping import Shaped, joined
from rest_compat.engine.streams import EventStream, sse_frame
from rest_compat.engine.system import Meta, System
from rest_compat.engine.uploads import Uploads

log = logging.getLogger(__name__)

READ_MAX, READ_CHARS_MAX = 2_000, 1_000  # addresses that are remembered as they were read, and how long one may be
SHORT_BYTES_MAX = 2**20  # what is so short at most is no file that somebody sends for minutes

_BRACES = re.compile(r"\{[^}]*\}")


@dataclass(frozen=True)
class ByHand:
    """A route that no document makes."""

    system: System
    route: StarletteRoute

    @property
    def label(self) -> str:
        """What it is called in the log."""
        return f"{self.system.name}.{self.route.name}"

    async def answer(self, values: Sequence[str], exchange: Exchange, receive: Receive) -> None:
        """Let the hand-written route answer. The engine's table has found it, and its parameters."""
        names = re.findall(r"\{(\w+)\}", self.route.path)
        scope = {**exchange.scope, "path_params": dict(zip(names, values, strict=True))}
        await self.route.app(scope, receive, exchange.send_tagged)


class RestAdapter:
    """All routes of all systems, answered by one backend."""

    def __init__(self, systems: Sequence[System], schema: str, backend: Backend, base_url: str) -> None:
        self.systems = tuple(systems)
        self.schema = api_schema(schema)
        self.routes: list[Route] = []
        self.backend = backend
        self._base_url = base_url
        self._table: Table[Route | ByHand] = Table()
        self._spelled: dict[str, RouteDocument] = {}
        self._uploads = Uploads()
        self._closing = Closing()
        self._read: dict[tuple[str | bytes, ...], Bound] = {}  # requests that are no more than their address
        for system in systems:
            for route in routes_of(system, read_documents(system.folder), self.schema, backend.prepare):
                self._enter(route)
        for system in systems:
            for by_hand in system.by_hand:
                self._enter_by_hand(ByHand(system, by_hand))

    def _enter(self, route: Route) -> None:
        document = route.document
        taken = self._table.add(document.method, document.path, route, head=not route.navigation)
        if isinstance(taken, Route):
            raise document.wrong(f"{document.method} {document.path} is also in {taken.document.file}")
        # OpenAPI takes paths that differ in their parameters' names only for the same.
        other = self._spelled.setdefault(_BRACES.sub("{}", document.path), document)
        if other.path != document.path:
            raise document.wrong(f"{document.path} is {other.path} in {other.file}")
        self.routes.append(route)

    def _enter_by_hand(self, by_hand: ByHand) -> None:
        path = by_hand.route.path
        for method in sorted((by_hand.route.methods or set()) - {"HEAD"}):
            if self._table.add(method, path, by_hand) is not None:
                raise CompileError(by_hand.system.name, f"{method} {path} is written by hand, and has a route already")

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
        exchange = Exchange(scope, send)
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
        endpoint, values = found
        route = endpoint.route(exchange.method)
        if route is None:
            await self._without_route(endpoint, exchange)
        else:
            await self._guarded(route, values, exchange, receive)
        return True

    @staticmethod
    async def _without_route(endpoint: Endpoint[Route | ByHand], exchange: Exchange) -> None:
        allow = {"allow": endpoint.allowed}
        if exchange.method == "OPTIONS":
            await send_bytes(exchange.send, 204, b"", [*exchange.headers, *text_headers(allow)])
            return
        system = next(iter(endpoint.routes.values())).system
        message = f"{exchange.method[:20]} is not allowed here, {endpoint.allowed} are"
        await exchange.refuse(system, Refusal("METHOD_NOT_ALLOWED", message, headers=allow))

    async def _guarded(
        self, route: Route | ByHand, values: Sequence[str], exchange: Exchange, receive: Receive
    ) -> None:
        """Answer, whatever happens; an answer that breaks off in the middle stays broken off."""
        try:
            if isinstance(route, ByHand):
                await route.answer(values, exchange, receive)
            else:
                await self._route(route, values, exchange, receive)
        except Refusal as refusal:
            await exchange.refuse(route.system, refusal)
        except Exception:
            log.exception("request failed: %s %s", exchange.meta.request_id, route.label)
            if not exchange.started:
                await exchange.refuse(route.system, Refusal("INTERNAL", "internal error"))

    async def _route(self, route: Route, values: Sequence[str], exchange: Exchange, receive: Receive) -> None:
        call = Call(exchange.scope, receive, values, route.body_bytes_max)
        try:
            await self._called(route, call, exchange, receive)
        except Exception:
            if call.leaves_much:
                exchange.headers.append((b"connection", b"close"))
            raise
        finally:
            await call.close()

    async def _called(self, route: Route, call: Call, exchange: Exchange, receive: Receive) -> None:
        compiled = route.compiled
        if route.navigation:
            exchange.keep_nothing()
        info = CallInfo(exchange.meta.request_id, exchange.client_ip)
        caller = await self.backend.caller(route.system.token(exchange.request_headers), info)
        refusal = await self.backend.admit(compiled.handle, caller)
        if refusal is not None:
            raise refusal
        _refuse_other_media(route, exchange)
        whose = caller.user_id or exchange.client_ip
        with self._uploads.one_of(whose) if _takes_long(route) else nullcontext():
            bound = await self._bound(route, call, exchange, caller)
            if route.streams:
                await self._stream(route, bound, caller, exchange, receive)
            else:
                await self._run(route, bound, caller, exchange, receive)

    async def _bound(self, route: Route, call: Call, exchange: Exchange, caller: Caller) -> Bound:
        """The call as the operation's variables. Addresses that come again are read once.

        Not those that a browser is sent to: they hold what is good for one time, and nobody is to keep it.
        """
        if route.navigation or not exchange.reads or not route.compiled.binding.by_address:
            return await self._newly_bound(route, call, exchange, caller)
        address = (route.label, *call.path_values, call.request.scope["query_string"])
        bound = self._read.get(address)
        if bound is None:
            bound = await self._newly_bound(route, call, exchange, caller)
            if sum(map(len, address)) <= READ_CHARS_MAX:
                if len(self._read) >= READ_MAX:
                    del self._read[next(iter(self._read))]
                self._read[address] = bound
        return bound.again()

    async def _newly_bound(self, route: Route, call: Call, exchange: Exchange, caller: Caller) -> Bound:
        """As `_bound`. Who may be a stranger here is asked for a credential first."""
        try:
            return await route.compiled.binding.bind(call, self._filler(exchange, caller))
        except Refusal as refusal:
            if caller.user_id is None and route.compiled.rules.guests and refusal.code == INVALID:
                raise Refusal("UNAUTHENTICATED", "missing authorization header") from refusal
            raise

    def _filler(self, exchange: Exchange, caller: Caller) -> Callable[[str], Any]:
        def fill(what: str) -> Any:
            match what:
                case "NOW":
                    return datetime.now(UTC).isoformat()
                case "NEW_ID":
                    return str(uuid.uuid4())
                case "REQUEST_ID":
                    return exchange.meta.request_id
                case "CLIENT_IP":
                    return exchange.client_ip
                case "USER_AGENT":
                    return exchange.request_headers.get("user-agent")
                case "USER_ID":
                    return caller.user_id
                case "HEADERS":
                    return exchange.plain_headers
            return self._base_url

        return fill

    # Answers at once.

    async def _run(self, route: Route, bound: Bound, caller: Caller, exchange: Exchange, receive: Receive) -> None:
        compiled = route.compiled
        key = None if exchange.reads else exchange.request_headers.get("idempotency-key")
        result = await self.backend.run(compiled.handle, bound.variables, caller, key)
        exchange.headers += text_headers(result.headers)
        if result.refusals or result.data is None:
            raise bound.named(_refusal(result))
        if result.replayed:
            exchange.headers.append((b"idempotency-replayed", b"true"))
        shaped = compiled.shape.apply(result.data)
        if route.message is not None:
            told = {route.message_name: filled(route.document, route.message, bound.variables)}
            shaped.body = joined(shaped.body, told) if compiled.shape.marked else told
        headers = [*exchange.headers, *self._head(shaped)]
        status = shaped.status or route.status
        if 300 <= status < 400:
            await _redirect(exchange, status, shaped.body, headers)
        elif compiled.file_body:
            await self._file(shaped.body, exchange, receive, headers)
        else:
            body, media_type = _encoded(route, shaped.body, exchange.meta, status)
            kind = [] if media_type is None else of_type(media_type)
            also = text_headers(PAGE_HEADERS) if route.page is not None else []
            await exchange.reply(status, body, with_defaults(headers, [*kind, *also]))

    def _head(self, shaped: Shaped) -> Headers:
        """The headers and cookies that the data has for the answer."""
        secure = self._base_url.startswith("https:")
        cookies = [cookie_header(cookie, value, secure=secure) for cookie, value in shaped.cookies]
        return [*text_headers(shaped.headers), *cookies]

    async def _file(self, reference: Any, exchange: Exchange, receive: Receive, headers: Headers) -> None:
        if reference is None:
            raise Refusal("NOT_FOUND", "there is no file")
        opened = await self.backend.open_file(str(reference))
        if isinstance(opened, Elsewhere):
            await _redirect(exchange, 302, opened.url, headers)
        elif isinstance(opened, Made):
            await send_made(opened, exchange, receive, headers)
        else:
            await send_blob(opened, exchange, receive, headers)

    # Streams.

    async def _stream(self, route: Route, bound: Bound, caller: Caller, exchange: Exchange, receive: Receive) -> None:
        opened = await self.backend.stream(route.compiled.handle, bound.variables, caller)
        if isinstance(opened, Result):
            raise bound.named(_refusal(opened))
        begun = _Begun()
        frames = self._frames(route, bound, opened, exchange.meta, begun)
        headers = exchange.headers
        async with aclosing(opened), Following(frames, receive, self._closing) as following:
            stream = EventStream(exchange.send, following)
            if route.compiled.shape.has_head:
                with suppress(StopAsyncIteration):
                    await following.first()
                if begun.refusal is not None:
                    raise begun.refusal
                headers = [*headers, *begun.headers]
            if exchange.head:
                await send_bytes(exchange.send, 200, b"", with_defaults(headers, streams.HEADERS), head=True)
                return
            await stream.send(headers)
        await stream.end(headers)

    async def _frames(
        self, route: Route, bound: Bound, results: Results, meta: Meta, begun: "_Begun"
    ) -> AsyncGenerator[bytes, None]:
        """The events as frames; a refusal is the last one."""
        try:
            async for result in results:
                if result.refusals or result.data is None:
                    begun.refusal = bound.named(_refusal(result))
                    break
                shaped = route.compiled.shape.apply(result.data)
                begun.headers = self._head(shaped)
                yield sse_frame(dumped(shaped.body), event=shaped.event, id=shaped.event_id)
        except Exception:
            log.exception("stream failed: %s %s", meta.request_id, route.label)
            begun.refusal = Refusal("INTERNAL", "internal error")
        if begun.refusal is not None:
            tell = route.system.stream_error or route.system.error
            yield sse_frame(dumped(tell(begun.refusal, meta)), event="error")


@dataclass(slots=True)
class _Begun:
    """What the event that came last is for the head of the answer, if that is still to be sent."""

    headers: Headers = field(default_factory=list)
    refusal: Refusal | None = None


def _refusal(result: Result) -> Refusal:
    """Why there is no data."""
    return together(result.refusals) if result.refusals else Refusal("INTERNAL", "internal error")


async def _redirect(exchange: Exchange, status: int, target: Any, headers: Headers) -> None:
    """Send the caller elsewhere: to where a header says, or else to the body."""
    if target is None and not any(name == b"location" for name, _ in headers):
        raise Refusal("NOT_FOUND", "there is nowhere to go")
    await send_bytes(exchange.send, status, b"", with_defaults(headers, text_headers({"location": str(target)})))


def _encoded(route: Route, body: Any, meta: Meta, status: int) -> tuple[bytes, str | None]:
    """The bytes of a body and their media type."""
    if status == 204:
        return b"", None
    if route.page is not None:
        body = route.page(body)
    if route.produces is not None:
        textual = route.produces.startswith("text/") and "charset=" not in route.produces
        return ("" if body is None else str(body)).encode(), route.produces + ("; charset=utf-8" if textual else "")
    if route.enveloped and route.system.wrap is not None:
        body = route.system.wrap(body, meta)
    return dumped(body), JSON


def _takes_long(route: Route) -> bool:
    """Whether what comes with a request may be so much that only few of them are under way."""
    return route.compiled.binding.takes_files and not 0 < route.body_bytes_max <= SHORT_BYTES_MAX


def _refuse_other_media(route: Route, exchange: Exchange) -> None:
    """Raises Refusal when the caller takes nothing that the route has."""
    if route.compiled.file_body or route.status == 204 or 300 <= route.status < 400:
        return  # what a file is, is not known yet; nothing is neither this nor that
    made = streams.MEDIA_TYPE if route.streams else route.produces or JSON
    if not accepts(exchange.request_headers.get("accept"), made):
        raise Refusal("NOT_ACCEPTABLE", f"the answer is {made}")
