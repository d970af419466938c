"""The endpoint of each app's typed schema, `/graphql/{app}`: over HTTP, over WebSocket, and as a text to download."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from domain.kernel import ctx as kernel
from domain.kernel.errors import DomainError, Invalid
from domain.kernel.ids import parse_uuid
from graph.errors import extensions_of
from graph.http import RESPONSE_JSON, STATUS, Find, GraphQLEndpoint, Head, SendStream, bearer
from graph.run import Caller, Executable, Runner
from graph.typed.run import TypedSchemas

PREFIX = "/graphql/"
SDL = "/schema.graphql"
SIMULATE = "stoa-simulate"


class _AppEndpoint(GraphQLEndpoint):
    """The endpoint of one app, where who administers it may ask as somebody else would: `Stoa-Simulate: <user id>`."""

    app_id = ""

    async def caller(self, head: Head) -> Caller:
        caller = await super().caller(head)
        given = head.get(SIMULATE.encode())
        if given is None:
            return caller
        user_id = parse_uuid(given)
        if user_id is None:
            raise Invalid(SIMULATE, f"{SIMULATE} must be the id of a user")
        return await self._runner.simulated(caller, self.app_id, user_id)


class TypedEndpoint:
    """Answers under `/graphql/{app}`."""

    def __init__(
        self,
        runner: Runner,
        schemas: TypedSchemas,
        page: Callable[[Request], Awaitable[ASGIApp]],
        send_stream: SendStream,
    ) -> None:
        self._runner = runner
        self._schemas = schemas
        self._page = page
        self._send_stream = send_stream

    async def __call__(self, request: Request) -> ASGIApp:
        """Answer one request."""
        path = request.scope["path"].removeprefix(PREFIX)
        if path.endswith(SDL) and request.method in ("GET", "HEAD"):
            return await self._sdl(request, path.removesuffix(SDL))
        endpoint = _AppEndpoint(self._runner, self.find(path), self._page, lambda id: None, self._send_stream)
        endpoint.app_id = path
        return await endpoint(request)

    def find(self, app_id: str) -> Find:
        """What finds operations over an app's schema."""

        async def find(source: str, name: str | None, variables: Mapping[str, Any], caller: Caller) -> Executable:
            return await self._schemas.find(self._runner, app_id, source, name, variables, caller)

        return find

    async def _sdl(self, request: Request, app_id: str) -> Response:
        info = kernel.Request(request.state.request_id, "api", request.client.host if request.client else None)
        caller = await self._runner.caller(bearer(request.headers.get("authorization")), info)
        try:
            if caller.refusal is not None:
                raise caller.refusal
            text = await self._schemas.sdl(self._runner, app_id, caller)
        except DomainError as refused:
            errors = [{"message": refused.message, "extensions": extensions_of(refused)}]
            body = orjson.dumps({"errors": errors})
            return Response(body, STATUS.get(refused.code, 400), media_type=RESPONSE_JSON)
        return Response(text, media_type="text/plain")
