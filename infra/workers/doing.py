"""What workers ask of the platform, done with the rights of whom they serve."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar
from uuid import UUID

import orjson

from domain.identity.model import SYSTEM_USER
from domain.integrations import service as integrations
from domain.kernel.ctx import Actor, Ctx, Request
from domain.kernel.errors import DomainError, Failed, Invalid
from domain.kernel.ids import parse_uuid
from domain.kernel.rawjson import RawJson
from domain.records import service as records
from domain.records.service import Query
from domain.records.spelling.dialects import Dialect
from domain.storage import links
from domain.storage.app_files import new_app_file
from domain.workers import service as workers
from domain.workers.ports import AppWorkers, WorkerCaller
from infra.settings import Settings
from infra.workers.process import Message, Refused

UPLOAD_S = 60  # for which the URL of an upload is good
FOUND_MAX = 1_000  # records of one `find`: what more there is would not fit a line

T = TypeVar("T")
Work = Callable[[Ctx], Awaitable[T]]


class Platform(Protocol):
    """What runs operations for us."""

    settings: Settings

    async def actor(self, tenant_id: UUID, caller: WorkerCaller) -> Actor:
        """The caller as an actor, with the rights of this moment. Raises Unauthenticated."""
        ...

    async def perform(self, actor: Actor, request: Request, work: Work[T]) -> T:
        """What `work` comes to in a unit of its own, committed. Raises DomainError."""
        ...


def own_caller(app_id: str) -> WorkerCaller:
    """The app itself: all there is to do in it, and nothing beyond."""
    return WorkerCaller(SYSTEM_USER, "system@localhost", permissions=(f"app:{app_id}:*",))


class Doing:
    """Does what the workers of one host ask."""

    def __init__(self, platform: Platform, app_workers: AppWorkers) -> None:
        self._platform = platform
        self._workers = app_workers

    async def done_for(self, tenant_id: UUID, app_id: str, caller: WorkerCaller, message: Message) -> Message:
        """What a worker's request comes to. Raises Refused."""
        try:
            match message["type"]:
                case "collection_op":
                    return {"result": await self._collection(tenant_id, app_id, caller, message)}
                case "self_action":
                    return {"result": await self._self_action(tenant_id, app_id, caller, message)}
                case "storage_upload":
                    return {"url": await self._upload_url(tenant_id, app_id, caller, message)}
            raise Refused("SQL is not available to workers here: use ctx.collection(...)")
        except DomainError as refused:
            raise Refused(refused.message) from refused

    async def _perform(self, tenant_id: UUID, caller: WorkerCaller, work: Work[T]) -> T:
        actor = await self._platform.actor(tenant_id, caller)
        return await self._platform.perform(actor, Request(door=caller.door, hooks=caller.hooks), work)

    # Records.

    async def _collection(self, tenant_id: UUID, app_id: str, caller: WorkerCaller, message: Message) -> Any:
        """RootCX worker protocol, "collection_op". Raises Refused, DomainError."""
        op, entity, given = message.get("op"), str(message.get("entity")), message.get("data")
        work = _OPERATIONS.get(str(op))
        if work is None:
            raise Refused(f"unknown operation '{str(op)[:80]}': use {', '.join(_OPERATIONS)}")
        if not isinstance(given, dict):
            raise Refused("data must be an object")
        return await self._perform(tenant_id, caller, lambda ctx: work(ctx, app_id, entity, given))

    # Files.

    async def _upload_url(self, tenant_id: UUID, app_id: str, caller: WorkerCaller, message: Message) -> str:
        """A URL that takes the file's bytes once. Raises Refused, DomainError."""
        size = message.get("size")
        if isinstance(size, bool) or not isinstance(size, int) or size <= 0:
            raise Refused("size must be the number of the file's bytes")
        by = None if caller == own_caller(app_id) else caller.user_id
        kind = message.get("content_type")
        new = new_app_file(app_id, str(message.get("name")), None if kind is None else str(kind), by, size)

        async def signed(ctx: Ctx) -> str:
            return links.writing(ctx, new, life_s=UPLOAD_S)

        token = await self._perform(tenant_id, caller, signed)
        return f"{self._platform.settings.public_url}/api/v1/storage/upload/{token}"

    # Actions.

    async def _self_action(self, tenant_id: UUID, app_id: str, caller: WorkerCaller, message: Message) -> Any:
        """RootCX worker protocol, "self_action". Raises Refused, DomainError."""
        params = message.get("params")
        if isinstance(params, dict):
            match message.get("action"):
                case "triggerAction":
                    return await self._trigger(tenant_id, app_id, caller, params)
                case "call_integration":
                    work = _call_integration(app_id, params)
                    return await self._perform(tenant_id, caller, work)
                case "syncConnectedUsers":
                    action = str(params.get("actionName"))
                    return await self._perform(tenant_id, caller, lambda ctx: _for_each(ctx, app_id, action))
        raise Refused(f"'{str(message.get('action'))[:80]}' is not available here")

    async def _trigger(self, tenant_id: UUID, app_id: str, caller: WorkerCaller, params: Message) -> Any:
        action = str(params.get("actionName"))
        await self._perform(tenant_id, caller, lambda ctx: workers.may_call_action(ctx, app_id, action))
        try:
            return await self._workers.rpc(tenant_id, app_id, action, params.get("input") or {}, caller)
        except Failed as failed:
            raise Refused(failed.message) from failed


def _call_integration(app_id: str, params: Message) -> Work[Any]:
    """Raises Refused."""
    as_user = parse_uuid(params.get("asUser"))
    if params.get("asUser") is not None and as_user is None:
        raise Refused("asUser must be the id of a user")
    integration, action, given = str(params.get("integrationId")), str(params.get("action")), params.get("input")
    given = {} if given is None else given
    return lambda ctx: integrations.call(ctx, app_id, integration, action, given, as_user)


async def _for_each(ctx: Ctx, app_id: str, action: str) -> dict[str, Any]:
    return {"ok": True, "synced": await integrations.call_for_each(ctx, app_id, action)}


async def _insert(ctx: Ctx, app_id: str, entity: str, values: Message) -> Any:
    return _value(await records.create(ctx, app_id, entity, values))


async def _update(ctx: Ctx, app_id: str, entity: str, values: Message) -> Any:
    if not isinstance(values.get("id"), str):
        raise Invalid("id", "update needs the id of the record in its data")
    changes = {name: value for name, value in values.items() if name != "id"}
    return _value(await records.update(ctx, app_id, entity, values["id"], changes))


async def _find(ctx: Ctx, app_id: str, entity: str, equal: Message) -> Any:
    return await _found(ctx, app_id, entity, equal, FOUND_MAX)


async def _find_one(ctx: Ctx, app_id: str, entity: str, equal: Message) -> Any:
    return next(iter(await _found(ctx, app_id, entity, equal, 1)), None)


async def _found(ctx: Ctx, app_id: str, entity: str, equal: Message, first: int) -> list[Any]:
    """The records whose fields equal what is given, newest first."""
    if any(isinstance(value, dict | list) for value in equal.values()):
        raise Invalid("data", "find takes the values that fields are to have")
    asked = Query(where=equal, dialect=Dialect.ROOTCX, first=first)
    found = await records.find(ctx, app_id, entity, asked, {"rows"})
    assert found.rows is not None
    rows: list[Any] = _value(found.rows)
    return rows


def _value(text: RawJson) -> Any:
    return orjson.loads(str(text))


_OPERATIONS: dict[str, Callable[[Ctx, str, str, Message], Awaitable[Any]]] = {
    "insert": _insert,
    "update": _update,
    "find": _find,
    "findOne": _find_one,
    "list": _find,
}
