"""The application with one route more: a bare Starlette handler that makes the same call as a route of the engine."""

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from infra.app import Application, create_app
from infra.settings import Settings
from rest_compat.engine.backend import CallInfo

PREFIX = "/bare"


class WithBareRoute:
    """See above; everything else goes to the application."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self._bare: ASGIApp = Starlette(
            routes=[Route(f"{PREFIX}/apps/{{appId}}/collections/{{entity}}/{{id}}", self._record)]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        bare = scope["type"] == "http" and scope["path"].startswith(PREFIX)
        await (self._bare if bare else self._app)(scope, receive, send)

    async def drain(self) -> None:
        await self._app.drain()

    async def _record(self, request: Request) -> Response:
        route = next(route for route in self._app.rest.routes if route.document.name == "getRecord")
        backend = self._app.rest.backend
        token = request.headers["authorization"].removeprefix("Bearer ")
        caller = await backend.caller(token, CallInfo("bare"))
        result = await backend.run(route.compiled.handle, dict(request.path_params), caller, None)
        assert result.data is not None
        return Response(orjson.dumps(result.data["record"]), media_type="application/json")


def create(settings: Settings, database_url: str, valkey_url: str | None) -> WithBareRoute:
    """The application factory."""
    return WithBareRoute(create_app(settings, database_url, valkey_url))
