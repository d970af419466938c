"""GraphQL over WebSocket: the protocol graphql-transport-ws, its rules kept by Strawberry's own handler."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import jiter
import orjson
from graphql import OperationType
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState
from strawberry.exceptions import ConnectionRejectionError
from strawberry.http.exceptions import NonJsonMessageReceived, NonTextMessageReceived, WebSocketDisconnected
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import BaseGraphQLTransportWSHandler
from strawberry.types.execution import ExecutionResult, PreExecutionError
from strawberry.types.unset import UNSET

from domain.kernel import ctx as kernel
from domain.kernel.errors import Code, Limited, Unauthenticated
from graph.answer import Answer
from graph.documents import DocumentRefused
from graph.errors import code_of, coded, refusal
from graph.http import BODY_BYTES_MAX, Find, bearer
from graph.run import Caller, Runner

OPERATIONS_MAX = 20  # at once, of one socket
INIT_TIMEOUT = timedelta(seconds=10)
UNAUTHORIZED = 4401
TOO_LARGE = 1009
TRY_AGAIN_LATER = 1013


@dataclass
class _Connection:
    """What the handler calls the context: who is at the other end."""

    caller: Caller
    connection_params: dict[str, Any] | None = None


class _Socket:
    """What the handler calls the websocket: JSON in and out."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket

    async def iter_json(self, *, ignore_parsing_errors: bool = False) -> AsyncGenerator[object, None]:
        try:
            while self._socket.application_state != WebSocketState.DISCONNECTED:
                raw = (await self._socket.receive_text()).encode()
                if len(raw) > BODY_BYTES_MAX:
                    await self.close(TOO_LARGE, f"a message is at most {BODY_BYTES_MAX} bytes")
                    return
                try:
                    message = jiter.from_json(raw, allow_inf_nan=False, catch_duplicate_keys=True)
                except ValueError as error:
                    raise NonJsonMessageReceived from error
                if not isinstance(message, dict):
                    raise NonJsonMessageReceived
                yield message
        except KeyError as error:  # a frame of bytes
            raise NonTextMessageReceived from error
        except WebSocketDisconnect:
            return

    async def send_json(self, message: Any) -> None:
        try:
            await self._socket.send_text(orjson.dumps(message).decode())
        except (WebSocketDisconnect, RuntimeError) as gone:
            raise WebSocketDisconnected from gone

    async def close(self, code: int, reason: str) -> None:
        with suppress(RuntimeError, WebSocketDisconnect):
            await self._socket.close(code, reason[:120])


class _Handler(BaseGraphQLTransportWSHandler[Any, Any]):
    """The protocol's state machine."""

    async def handle_subscribe(self, message: Any) -> None:
        payload = message["payload"]
        kinds: dict[str, Any] = {"query": str, "operationName": (str, type(None)), "variables": (dict, type(None))}
        fits = isinstance(payload, dict) and all(isinstance(payload.get(name), kind) for name, kind in kinds.items())
        if not fits or not isinstance(message["id"], str):
            await self.handle_invalid_message("Failed to parse message")
        elif len(self.operations) >= OPERATIONS_MAX and message["id"] not in self.operations:
            limited = refusal(Limited(f"there are {OPERATIONS_MAX} operations under way on this socket"))
            await self.send_message({"id": message["id"], "type": "error", "payload": [limited.formatted]})
        else:
            await super().handle_subscribe(message)

    async def handle_task_exception(self, error: Exception) -> None:
        """Log what an operation failed with; that nobody is there any more is no failure."""
        if not isinstance(error, WebSocketDisconnected):
            await super().handle_task_exception(error)


class _View:
    """What the handler calls the view and the schema: signing in, and running operations."""

    def __init__(self, runner: Runner, find: Find, socket: _Socket) -> None:
        self._runner = runner
        self._find = find
        self._socket = socket

    async def on_ws_connect(self, connection: _Connection) -> Any:
        params = connection.connection_params or {}
        header = params.get("Authorization", params.get("authorization"))
        if header is not None:
            token = bearer(header) if isinstance(header, str) else ""
            connection.caller = await self._runner.caller(token, connection.caller.request)
        if isinstance(connection.caller.refusal, Unauthenticated):
            raise ConnectionRejectionError
        if connection.caller.refusal is not None:
            await self._socket.close(TRY_AGAIN_LATER, connection.caller.refusal.message)
            raise WebSocketDisconnected
        return UNSET

    async def stream(
        self,
        query: str,
        *,
        variable_values: Any,
        context_value: _Connection,
        root_value: Any,
        operation_name: str | None,
    ) -> AsyncGenerator[ExecutionResult, None]:
        return self._results(query, variable_values or {}, context_value.caller, operation_name)

    async def _results(
        self, query: str, variables: dict[str, Any], caller: Caller, name: str | None
    ) -> AsyncGenerator[ExecutionResult, None]:
        """The results of one operation; a caller who was let in once and is no longer is shown out."""
        caller = await self._runner.again(caller)
        if isinstance(caller.refusal, Unauthenticated):
            await self._socket.close(UNAUTHORIZED, "Unauthorized")
            return
        try:
            operation = await self._find(query, name, variables, caller)
        except DocumentRefused as refused:
            yield PreExecutionError(None, [coded(error, caller.request.id) for error in refused.errors])
            return
        if operation.type is not OperationType.SUBSCRIPTION:
            yield _result(await self._runner.run(operation, variables, caller))
            return
        opened = await self._runner.stream(operation, variables, caller)
        if isinstance(opened, Answer):
            yield _result(opened)
            return
        async with aclosing(opened):
            async for answer in opened:
                if any(code_of(error) == Code.UNAUTHENTICATED for error in answer.errors):
                    await self._socket.close(UNAUTHORIZED, "Unauthorized")
                    return
                yield _result(answer)


def _result(answer: Answer) -> ExecutionResult:
    if answer.errors and not answer.executed:
        return PreExecutionError(None, list(answer.errors))
    data: Any = orjson.Fragment(answer.encoded)  # encoded once for all sockets that are sent it
    return ExecutionResult(data, list(answer.errors) or None)


class WebSocketEndpoint:
    """The endpoint of one schema. `origins` are the pages that may open a socket besides our own."""

    def __init__(self, runner: Runner, find: Find, origins: tuple[str, ...], new_request_id: Callable[[], str]) -> None:
        self._runner = runner
        self._find = find
        self._origins = origins
        self._new_request_id = new_request_id

    async def __call__(self, socket: WebSocket) -> None:
        """Serve one socket until it closes."""
        if not self._allowed(socket):
            await socket.close(1008)
            return
        if GRAPHQL_TRANSPORT_WS_PROTOCOL not in socket.scope["subprotocols"]:
            await socket.accept()
            await socket.close(4406, "Subprotocol not acceptable")
            return
        await socket.accept(GRAPHQL_TRANSPORT_WS_PROTOCOL)
        client_ip = socket.client.host if socket.client else None
        info = kernel.Request(self._new_request_id(), "api", client_ip)
        caller = await self._runner.caller(bearer(socket.headers.get("authorization")), info)
        connection = _Connection(caller)
        adapter = _Socket(socket)
        view: Any = _View(self._runner, self._find, adapter)
        handler = _Handler(view, adapter, connection, None, view, INIT_TIMEOUT)  # type: ignore[arg-type]
        await handler.handle()

    def _allowed(self, socket: WebSocket) -> bool:
        """Whether the page that opens the socket may: one without an origin is no page."""
        origin = socket.headers.get("origin")
        if origin is None or "*" in self._origins or origin.lower() in self._origins:
            return True
        return urlsplit(origin).netloc == socket.headers.get("host")
