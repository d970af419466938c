"""The application: every door on one port. REST routes first, then GraphQL, the descriptions, pages and metrics."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from graph.http import Find, GraphQLEndpoint
from graph.typed import endpoint as typed_endpoint
from graph.typed.endpoint import TypedEndpoint
from graph.ws import WebSocketEndpoint
from infra.failure import Failure
from infra.logs import get_logger
from infra.mcp import PATH as MCP
from infra.mcp import McpEndpoint
from infra.platform import Platform
from infra.rest_backend import RunnerBackend
from infra.settings import Settings
from infra.systems import SYSTEMS
from infra.workers import frontends
from rest_compat.engine.adapter import RestAdapter
from rest_compat.engine.describe import describe
from rest_compat.engine.exchange import request_id
from rest_compat.engine.sending import Closing
from rest_compat.engine.streams import send_stream
from rest_compat.engine.system import System

STATIC = Path(__file__).parent / "static"
# The pages use our own files only. CodeMirror and Swagger UI show their icons as data.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
CATALOG = 'application/linkset+json; profile="https://www.rfc-editor.org/info/rfc9727"'
EXPOSED = [
    "ETag",
    "X-Request-Id",
    "Retry-After",
    "Idempotency-Replayed",
    "Location",
    "Content-Disposition",
    "Content-Range",
]

log = get_logger(__name__)

Page = Callable[[Request], Awaitable[ASGIApp]]


def create_app(settings: Settings, database_url: str, valkey_url: str | None) -> "Application":
    """The application on this database; it opens its connections when the server starts it."""
    return Application(settings, database_url, valkey_url)


class Application:
    """An ASGI application. `drain` tells it that the server is about to stop."""

    def __init__(self, settings: Settings, database_url: str, valkey_url: str | None) -> None:
        self._settings = settings
        self._database_url = database_url
        self._valkey_url = valkey_url
        self._closing = Closing()
        self._http: ASGIApp = CORSMiddleware(
            self._answer,
            allow_origins=list(settings.cors_origins),
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=EXPOSED,
        )
        self._described: dict[str | None, bytes] = {}
        self.platform: Platform
        self.rest: RestAdapter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if any(name == b"origin" for name, _ in scope["headers"]):
                await self._http(scope, receive, send)
            else:
                await self._answer(scope, receive, _varying(send))
        elif scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        else:
            await self._lifespan(receive, send)

    async def drain(self) -> None:
        """End what never ends by itself."""
        self._closing.set()
        if hasattr(self, "rest"):
            self.rest.close_streams()

    # Starting and stopping.

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        async with AsyncExitStack() as running:
            await receive()
            try:
                await self._start(running)
            except Exception as problem:
                if not isinstance(problem, Failure):
                    log.exception("start_failed")
                await send({"type": "lifespan.startup.failed", "message": str(problem)})
                return
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _start(self, running: AsyncExitStack) -> None:
        platform = await running.enter_async_context(
            Platform.open(self._settings, self._database_url, self._valkey_url)
        )
        backend = RunnerBackend(platform.runner)
        self.platform = platform
        self.rest = RestAdapter(SYSTEMS, platform.sdl, backend, self._settings.public_url)
        graphiql = self._page("graphiql/index.html")
        stream = partial(send_stream, closing=self._closing)
        self._graphql = GraphQLEndpoint(platform.runner, platform.runner.find, graphiql, self._stored, stream)
        self._typed = TypedEndpoint(platform.runner, platform.typed, graphiql, stream)
        self._files = _Assets(directory=STATIC)
        mcp = McpEndpoint(platform, self.rest, backend)
        running.push_async_callback(mcp.close)
        self._pages: dict[str, Page] = {
            "/graphql": self._graphql,
            MCP: mcp,
            "/.well-known/api-catalog": _catalog,
            "/openapi.json": self._openapi,
            "/docs": self._page("docs.html"),
            "/": self._page("index.html"),
            "/metrics": self._metrics,
        }

    def _stored(self, id: str) -> Any:
        """The stored operation of that id, like `rootcx.listRecords`."""
        route = next((route for route in self.rest.routes if route.label == id), None)
        return None if route is None else route.compiled.handle

    # Answering.

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        typed = path.startswith(typed_endpoint.PREFIX)
        if not typed and await self.rest.answer(scope, receive, send):
            return
        scope.setdefault("state", {})["request_id"] = request_id()
        page = self._pages.get(path)
        if typed:
            response: ASGIApp = await self._typed(Request(scope, receive))
        elif page is not None:
            response = await page(Request(scope, receive))
        elif path.startswith("/openapi/") and path.endswith(".json"):
            response = await self._system_openapi(path.removeprefix("/openapi/").removesuffix(".json"))
        elif path.startswith("/static/"):
            response = self._files
            scope = {**scope, "path": path.removeprefix("/static"), "root_path": ""}
        elif path.startswith(frontends.PREFIX):
            response = await self.platform.frontends(Request(scope, receive))
        else:
            response = _not_found(path)
        await response(scope, receive, _with_request_id(scope, send))

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        socket = WebSocket(scope, receive, send)
        find = self._found(scope["path"])
        if find is None:
            await socket.close()
        else:
            await WebSocketEndpoint(self.platform.runner, find, self._settings.cors_origins, request_id)(socket)

    def _found(self, path: str) -> Find | None:
        """What finds the operations of the schema at this path."""
        if path == "/graphql":
            return self.platform.runner.find
        if path.startswith(typed_endpoint.PREFIX):
            return self._typed.find(path.removeprefix(typed_endpoint.PREFIX))
        return None

    async def _openapi(self, request: Request) -> Response:
        return await self._description(None)

    async def _system_openapi(self, name: str) -> Response:
        system = next((system for system in SYSTEMS if system.name == name), None)
        return _not_found(f"/openapi/{name}.json") if system is None else await self._description(system)

    async def _description(self, system: System | None) -> Response:
        """Computed once, away from the event loop: it compiles every document."""
        name = system.name if system else None
        if name not in self._described:
            self._described[name] = await asyncio.to_thread(self._describe, system)
        return Response(self._described[name], media_type="application/json")

    def _describe(self, system: System | None) -> bytes:
        systems = SYSTEMS if system is None else (system,)
        routes = [route for route in self.rest.routes if route.system in systems]
        described = describe(routes, systems, merged=system is None, base_url=self._settings.public_url)
        return orjson.dumps(described)

    def _page(self, name: str) -> Page:
        async def page(request: Request) -> Response:
            response = await self._files.get_response(name, request.scope)
            response.headers["content-security-policy"] = PAGE_POLICY
            return response

        return page

    async def _metrics(self, request: Request) -> Response:
        self.platform.observer.listeners.set(self.platform.runner.streams)
        return Response(self.platform.observer.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")


class _Assets(StaticFiles):
    """The pages and what they are made of. Browsers ask each time whether it changed, so that the parts fit."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        try:
            response = await super().get_response(path, scope)
        except HTTPException as refused:
            if refused.status_code == 405:
                body = {"error": "method not allowed", "code": "method_not_allowed"}
                return JSONResponse(body, 405, {"allow": "GET, HEAD"})
            return _not_found(scope["path"])
        response.headers["cache-control"] = "no-cache"
        return response


async def _catalog(request: Request) -> Response:
    """Where the descriptions and pages are (RFC 9727), as a link set (RFC 9264)."""
    described = [("/openapi.json", "All systems")]
    described += [(f"/openapi/{system.name}.json", system.title) for system in SYSTEMS]
    links = {
        "anchor": "/",
        "service-desc": [{"href": path, "title": title, "type": "application/json"} for path, title in described],
        "service-doc": [{"href": path, "type": "text/html"} for path in ("/docs", "/graphql")],
        "status": [{"href": "/health", "type": "application/json"}],
    }
    return Response(orjson.dumps({"linkset": [links]}), media_type=CATALOG)


def _not_found(path: str) -> Response:
    return JSONResponse({"error": f"there is no {path[:200]}", "code": "not_found"}, 404)


def _varying(send: Send) -> Send:
    """For who names no origin: those who keep answers are told that another origin may be answered otherwise."""

    async def varying(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), (b"vary", b"Origin")]}
        await send(message)

    return varying


def _with_request_id(scope: Scope, send: Send) -> Send:
    async def tagged(message: Message) -> None:
        if message["type"] == "http.response.start":
            tag = (b"x-request-id", scope["state"]["request_id"].encode())
            message = {**message, "headers": [*message["headers"], tag, (b"x-content-type-options", b"nosniff")]}
        await send(message)

    return tagged
