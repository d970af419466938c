"""A small world with a schema of its own, and all that the engine needs to serve it: a backend and two dialects."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import orjson
from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    build_schema,
    execute,
    subscribe,
)
from graphql.utilities import type_from_ast, validate_input_value

from rest_compat.engine.adapter import RestAdapter
from rest_compat.engine.backend import CallInfo, Elsewhere, Result
from rest_compat.engine.call import Upload
from rest_compat.engine.describe import describe
from rest_compat.engine.errors import Refusal
from rest_compat.engine.system import STATUS, Extra, Meta, System

SDL = (Path(__file__).parent / "world.graphql").read_text()

# What there is.

PERSON = {"__typename": "Person", "name": "Ada", "email": None, "born": "1815-12-10T00:00:00.000000Z", "friend": None}
ROBOT = {"__typename": "Robot", "name": "Rob", "model": "R2", "twin": None}


def thing(id: str = "t1", **values: Any) -> dict[str, Any]:
    """A thing as resolvers make it."""
    return {
        "__typename": "Thing",
        "id": id,
        "name": f"Thing {id}",
        "colour": "DARK_BLUE",
        "size": 3,
        "weight": 1.5,
        "note": None,
        "tags": ["a", "b"],
        "moods": ["RED", None],
        "made": "2025-03-04T08:15:30.123000Z",
        "seen": ["2025-03-04T08:15:30.000000Z", None],
        "gone": None,
        "owner": PERSON,
        "keeper": ROBOT,
        "parts": [{"id": "p1", "serial": 2**40}, {"id": "p2", "serial": 7}],
        "labels": [{"key": "x", "value": 1}, {"key": "y", "value": None}],
        "anyLabels": None,
        "extra": {"deep": [1, {"er": None}]},
        "record": orjson.Fragment(b'{"id": "r1", "name": "kept"}'),
        "maybeRecord": None,
        "file": "f1",
        **values,
    }


# Executing.


def _uuid(value: Any) -> UUID:
    return UUID(value)


def _moment(value: Any) -> datetime:
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError("needs an offset")
    return moment.astimezone(UTC)


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("must be an object")
    return value


def _big(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
        raise ValueError("must be an integer of at most 64 bits")
    return value


async def _shown(value: Any) -> Any:
    """An argument as `echo` answers it."""
    if isinstance(value, Upload):
        name, kind, size = value.filename, value.content_type, value.size_bytes
        text = b"".join([chunk async for chunk in value.chunks()]).decode("latin-1")
        return {"name": name, "type": kind, "size": size, "text": text}
    if isinstance(value, UUID | datetime):
        return {"parsed": str(value)}
    if isinstance(value, list):
        return [await _shown(part) for part in value]
    return {key: await _shown(part) for key, part in value.items()} if isinstance(value, dict) else value


async def _echo(_source: Any, _info: Any, **arguments: Any) -> Any:
    return await _shown(arguments)


def _refuse(_source: Any, _info: Any, code: str, **more: Any) -> Any:
    raise Refusal(code, more.get("message") or f"refused: {code}", more.get("field"), more.get("reason"))


def _made(_source: Any, _info: Any, input: Mapping[str, Any]) -> Any:
    if input["name"] == "taken":
        raise Refusal("CONFLICT", "name is taken", "input.name")
    if input["name"] == "old":
        return {"__typename": "Found", "id": "t1", "thing": thing(), "since": "2020-01-01T00:00:00.000000Z"}
    return {"__typename": "Created", "id": "t9", "thing": thing("t9", name=input["name"])}


def _maybe_made(source: Any, info: Any, input: Mapping[str, Any]) -> Any:
    return None if input["name"] == "nothing" else _made(source, info, input)


def _signed_in(_source: Any, _info: Any, name: str) -> Any:
    if name == "else":
        return {"__typename": "Elsewhere", "url": "https://else.example/a b?x=1"}
    return {"__typename": "Session", "token": f"token-{name}", "name": None if name == "out" else name}


def _fault(*_: Any) -> Any:
    raise RuntimeError("a fault of ours: pw=hunter2")


@dataclass
class Sources:
    """The sources of subscriptions: how many are open, and how many have ever been."""

    open: int = 0
    begun: int = 0

    @contextmanager
    def opened(self) -> Iterator[None]:
        self.open += 1
        self.begun += 1
        try:
            yield
        finally:
            self.open -= 1


async def _ticks(
    _source: Any,
    info: Any,
    after: str | None = None,
    count: int = 3,
    refuseAt: int | None = None,
    failAt: int | None = None,
    text: str | None = None,
) -> AsyncIterator[Any]:
    if text == "never":
        raise Refusal("GONE", "the log was pruned", "after")

    async def events() -> AsyncIterator[Any]:
        with info.context.sources.opened():
            for number in range(int(after or 0) + 1, count + 1):
                if number == failAt:
                    raise RuntimeError("a fault of ours")
                yield {"number": number, "refuse": number == refuseAt, "text": text}

    return events()


async def _silence(_source: Any, info: Any) -> AsyncIterator[Any]:
    with info.context.sources.opened():
        await asyncio.sleep(3600)
        yield {"number": 1, "refuse": False, "text": None}


async def _flood(_source: Any, info: Any) -> AsyncIterator[Any]:
    with info.context.sources.opened():
        while True:
            yield {"number": 1, "refuse": False, "text": "x" * 2**16}
            await asyncio.sleep(0)


def _tick(event: Mapping[str, Any], *_: Any, **__: Any) -> Any:
    if event["refuse"]:
        raise Refusal("NOT_FOUND", "it is gone")
    number = event["number"]
    return {"cursor": str(number), "kind": "tick", "number": number, "text": event["text"], "run": "run-1"}


def _schema() -> GraphQLSchema:
    schema = build_schema(SDL)
    for name, coerce in {"UUID": _uuid, "DateTime": _moment, "JSONObject": _object, "BigInt": _big}.items():
        schema.type_map[name].coerce_input_value = coerce  # type: ignore[union-attr]
    resolvers: dict[tuple[str, str], Any] = {
        ("Query", "echo"): _echo,
        ("Query", "thing"): lambda _s, _i, id: None if id == "none" else thing(id),
        ("Query", "things"): lambda _s, _i, first=None, filter=None: [thing(f"t{n}") for n in range(first or 2)],
        ("Query", "page"): lambda _s, _i, first=None: {"nodes": [thing()], "total": 1},
        ("Query", "maybePage"): lambda *_: None,
        ("Query", "named"): lambda _s, _i, name=None: {"Ada": PERSON, "Rob": ROBOT}.get(name),
        ("Query", "everyone"): lambda *_: [PERSON, ROBOT],
        ("Query", "text"): lambda _s, _i, of=None: of or "some text, även so",
        ("Query", "maybeText"): lambda *_: None,
        ("Query", "file"): lambda _s, _i, of="f1": of,
        ("Query", "files"): lambda *_: ["f1", "f2"],
        ("Query", "refuse"): _refuse,
        ("Query", "secret"): lambda _s, info: f"the secret of {info.context.user_id}",
        ("Query", "fault"): _fault,
        ("Mutation", "echo"): _echo,
        ("Mutation", "make"): _made,
        ("Mutation", "maybeMake"): _maybe_made,
        ("Mutation", "change"): lambda _s, _i, id, input: thing(id, name=input["name"]),
        ("Mutation", "drop"): lambda _s, _i, id: True,
        ("Mutation", "signIn"): _signed_in,
    }
    for (type_name, field_name), resolve in resolvers.items():
        schema.type_map[type_name].fields[field_name].resolve = resolve  # type: ignore[union-attr]
    subscription = schema.subscription_type
    assert subscription is not None
    for name, source in {"ticks": _ticks, "silence": _silence, "flood": _flood, "secretTicks": _ticks}.items():
        subscription.fields[name].subscribe = source
        subscription.fields[name].resolve = _tick
    return schema


SCHEMA = _schema()


@dataclass(frozen=True)
class Caller:
    """See `rest_compat.engine.backend.Caller`."""

    user_id: str | None
    sources: Sources


@dataclass
class Bytes:
    """A stored file. See `rest_compat.engine.backend.Blob`."""

    content: bytes
    name: str = 'näme "1".txt'
    media_type: str = "text/plain"
    etag: str | None = '"f-1"'
    modified: datetime | None = datetime(2025, 3, 4, 8, 15, 30, 999999, UTC)
    inline: bool = False
    breaks: bool = False  # in the middle
    endless: bool = False
    readers: int = 0

    @property
    def size(self) -> int:
        return 2**40 if self.endless else len(self.content)

    async def read(self, start: int, end: int) -> AsyncGenerator[bytes, None]:
        self.readers += 1
        try:
            while self.endless:
                yield b"x" * 2**16
            for at in range(start, end, 4):
                yield self.content[at : min(at + 4, end)]
                if self.breaks:
                    raise RuntimeError("the disk is gone")
        finally:
            self.readers -= 1


class World:
    """The backend. See `rest_compat.engine.backend.Backend`."""

    def __init__(self) -> None:
        self.sources = Sources()
        self.labels: list[str] = []
        self.keys: list[str | None] = []
        self.calls: list[CallInfo] = []
        self.headers: list[tuple[str, str]] = []
        self.files: dict[str, Bytes | Elsewhere] = {
            "f1": Bytes(b"0123456789"),
            "f2": Bytes(b"", etag=None, modified=None, inline=True, name="plain.txt"),
            "broken": Bytes(b"0123456789", breaks=True),
            "endless": Bytes(b"", endless=True),
            "else": Elsewhere("https://store.example/signed?x=ä"),
        }

    def prepare(self, document: DocumentNode, name: str, label: str) -> DocumentNode:
        self.labels.append(label)
        return document

    async def caller(self, token: str | None, info: CallInfo) -> Caller:
        self.calls.append(info)
        user_id = token.removeprefix("token-") if token and token.startswith("token-") else None
        return Caller(user_id, self.sources)

    async def admit(self, handle: DocumentNode, caller: Caller) -> Refusal | None:
        if caller.user_id is not None or "secret" not in self._name(handle):
            return None
        return Refusal("UNAUTHENTICATED", "missing authorization header")

    @staticmethod
    def _name(handle: DocumentNode) -> str:
        name = _operation(handle).name
        return name.value.lower() if name else ""

    async def run(
        self, handle: DocumentNode, variables: Mapping[str, Any], caller: Caller, idempotency_key: str | None
    ) -> Result:
        self.keys.append(idempotency_key)
        begun = execute(SCHEMA, handle, variable_values=dict(variables), context_value=caller)
        result = begun if isinstance(begun, ExecutionResult) else await begun
        replayed = idempotency_key == "again"
        return Result(result.data, self._refusals(handle, variables, result.errors), replayed, self.headers)

    async def stream(
        self, handle: DocumentNode, variables: Mapping[str, Any], caller: Caller
    ) -> Result | AsyncGenerator[Result, None]:
        opened: Any = subscribe(SCHEMA, handle, variable_values=dict(variables), context_value=caller)
        opened = await opened if hasattr(opened, "__await__") else opened
        if isinstance(opened, ExecutionResult):
            return Result(None, self._refusals(handle, variables, opened.errors))
        return self._results(handle, variables, opened)

    async def _results(
        self, handle: DocumentNode, variables: Mapping[str, Any], opened: Any
    ) -> AsyncGenerator[Result, None]:
        try:
            async for result in opened:
                yield Result(result.data, self._refusals(handle, variables, result.errors))
        except GraphQLError as error:
            if isinstance(error.original_error, Refusal):
                yield Result(None, [error.original_error])
            else:
                raise
        finally:
            await opened.aclose()

    def _refusals(
        self, handle: DocumentNode, variables: Mapping[str, Any], errors: Sequence[GraphQLError] | None
    ) -> list[Refusal]:
        if not errors:
            return []
        found = [e.original_error for e in errors if isinstance(e.original_error, Refusal)]
        return found or self._ill_typed(handle, variables) or [Refusal("INTERNAL", "internal error")]

    def _ill_typed(self, handle: DocumentNode, variables: Mapping[str, Any]) -> list[Refusal]:
        found: list[Refusal] = []
        for definition in _operation(handle).variable_definitions or ():
            name = definition.variable.name.value
            type: Any = type_from_ast(SCHEMA, definition.type)

            def add(error: GraphQLError, path: list[str | int], name: str = name) -> None:
                spoken = ".".join(map(str, [name, *path]))
                found.append(Refusal("INVALID_INPUT", f"{spoken}: {error.message}", spoken, path=(name, *path)))

            if name in variables:
                validate_input_value(variables[name], type, add)
        return found

    async def open_file(self, reference: str) -> Bytes | Elsewhere:
        if reference not in self.files:
            raise Refusal("NOT_FOUND", "file not found")
        return self.files[reference]


def _operation(document: DocumentNode) -> OperationDefinitionNode:
    found = document.definitions[0]
    assert isinstance(found, OperationDefinitionNode)
    return found


# Dialects.


def _plain_error(refusal: Refusal, meta: Meta) -> Any:
    return {"error": refusal.message, "field": refusal.field}


def _full_error(refusal: Refusal, meta: Meta) -> Any:
    all = [refusal, *refusal.also]
    return {
        "success": False,
        "error": {"code": refusal.code, "details": [{"field": one.field, "message": one.message} for one in all]},
        "request_id": meta.request_id,
    }


def _wrap(body: Any, meta: Meta) -> Any:
    return {"success": True, "data": body, "request_id": meta.request_id}


def _wrap_schema(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    text = {"type": "string"}
    return {
        "type": "object",
        "required": ["success", "data", "request_id"],
        "properties": {"success": {"const": True}, "data": schema, "request_id": text},
    }


PLAIN_ERROR = {
    "type": "object",
    "required": ["error", "field"],
    "properties": {"error": {"type": "string"}, "field": {"type": ["string", "null"]}},
}
FULL_ERROR = {"type": "object", "required": ["success", "error", "request_id"]}


def plain(folder: Path, **facts: Any) -> System:
    """A dialect that minds little: what is unknown is ignored, bodies are bare."""
    return System(
        **{
            "name": "plain",
            "title": "Plain",
            "version": "1",
            "description": "",
            "folder": folder,
            "prefixes": ["/"],
            "error": _plain_error,
            "error_schema": PLAIN_ERROR,
            "status": {**STATUS, "NAME_TAKEN": 418},
            **facts,
        }
    )


def strict(folder: Path, **facts: Any) -> System:
    """A dialect that refuses what it doesn't know, tells all that is wrong at once, and has an envelope."""
    return System(
        **{
            "name": "strict",
            "title": "Strict",
            "version": "2",
            "description": "",
            "folder": folder,
            "prefixes": ["/strict"],
            "error": _full_error,
            "error_schema": FULL_ERROR,
            "wrap": _wrap,
            "wrap_schema": _wrap_schema,
            "stream_error": lambda refusal, meta: {"code": refusal.code.lower()},
            "unknown_parameters": Extra.REFUSE,
            "repeated_parameters": Extra.REFUSE,
            "unknown_fields": Extra.REFUSE,
            **facts,
        }
    )


# Serving.


@dataclass
class Rest:
    """An adapter, and a client that speaks to it in the same process."""

    adapter: RestAdapter
    world: World
    client: httpx.AsyncClient = field(init=False)

    def __post_init__(self) -> None:
        transport = httpx.ASGITransport(self.app)  # type: ignore[arg-type]
        self.client = httpx.AsyncClient(transport=transport, base_url="http://world")

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        """The adapter as an ASGI application of its own."""
        if not await self.adapter.answer(scope, receive, send):
            await send({"type": "http.response.start", "status": 599, "headers": []})
            await send({"type": "http.response.body", "body": b"none of ours"})

    async def get(self, url: str, **more: Any) -> httpx.Response:
        return await self.client.get(url, **more)

    async def post(self, url: str, **more: Any) -> httpx.Response:
        return await self.client.post(url, **more)

    async def request(self, method: str, url: str, **more: Any) -> httpx.Response:
        return await self.client.request(method, url, **more)

    def described(self) -> dict[str, Any]:
        """The description of the first system's routes."""
        system = self.adapter.systems[0]
        routes = [route for route in self.adapter.routes if route.system is system]
        return describe(routes, [system], merged=False, base_url="http://world")

    def operation(self, path: str, method: str = "get") -> dict[str, Any]:
        """The description of one operation."""
        found: dict[str, Any] = self.described()["paths"][path][method]
        return found


def write(folder: Path, *documents: str) -> Path:
    """A folder with the documents in a file."""
    folder.mkdir(exist_ok=True)
    (folder / "world.graphql").write_text("\n".join(documents))
    return folder


def served(*systems: System, base_url: str = "http://world") -> Rest:
    """The routes of these systems."""
    world = World()
    return Rest(RestAdapter(systems, SDL, world, base_url), world)
