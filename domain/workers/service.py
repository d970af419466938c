"""Deployed code: putting it in place, starting and stopping its workers, and asking them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import delete, select

from domain.access.permissions import EVERYTHING, Permission, app_key
from domain.agents import registration as agents
from domain.apps.manifest import NAME, NAME_CHARS_MAX
from domain.apps.model import App
from domain.apps.reserved import is_reserved
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Denied, Invalid, Missing, Reason, TooLarge, Unauthenticated
from domain.kernel.ids import uuid7
from domain.kernel.rawjson import json_of
from domain.kernel.secret import SecretText
from domain.kernel.upload import Upload
from domain.secrets import service as secrets
from domain.storage import blobs
from domain.storage.blobs import Content
from domain.workers.events import AppDeployed
from domain.workers.model import AppDeployment, AppWorker, Part
from domain.workers.ports import NOBODY, RPC_TIMEOUT_S, Archive, LogLines, WorkerCaller, WorkerState

ARCHIVE_BYTES_MAX = 50 * 2**20
DEPLOY_S_MAX = 300.0
CONTROL_S_MAX = 30.0
ROOM_S = 5.0  # beyond the time of a call, for the way there and back
METHOD_CHARS_MAX = 500
PARAMS_BYTES_MAX = 1_000_000  # a message to deployed code has at most a MiB


# Deploying.


def _need_deploy(ctx: Ctx, app_id: str) -> None:
    """Raises Unauthenticated, Denied; Invalid on `app`."""
    own = app_key(app_id, EVERYTHING)  # who administers the app
    ctx.need(own if ctx.may(own) else Permission.APPS_DEPLOY)
    if is_reserved(app_id):
        raise Invalid("app", f"the id '{app_id}' is reserved")
    if not NAME.fullmatch(app_id) or len(app_id) > NAME_CHARS_MAX:
        raise Invalid("app", f"the id must match {NAME.pattern} and have at most {NAME_CHARS_MAX} characters")


async def deploy(ctx: Ctx, app_id: str, archive: Upload) -> AppDeployment:
    """Put a backend in the place of the one before, and start it. The app need not be installed.

    Raises Denied; Invalid on `app` or `archive`; Failed when it cannot be made to run; Unavailable.
    """
    _need_deploy(ctx, app_id)
    await put_in_place(ctx, app_id, archive)
    return await _deployed(ctx, app_id, Part.BACKEND)


async def deploy_frontend(ctx: Ctx, app_id: str, archive: Upload) -> AppDeployment:
    """Put a front end in the place of the one before. Raises Denied; Invalid on `app` or `archive`; Unavailable."""
    _need_deploy(ctx, app_id)
    content = await _stored(ctx, archive)
    await ctx.outside(ctx.ports.frontends.check(content), DEPLOY_S_MAX)
    return await record(ctx, app_id, Part.FRONTEND, content, ctx.user())


async def _stored(ctx: Ctx, archive: Upload) -> Content:
    if archive.size_bytes == 0:
        raise Invalid("archive", "empty archive")
    id = await ctx.apart(blobs.announce)
    return await blobs.store(ctx, id, archive, ARCHIVE_BYTES_MAX)


async def _deployed(ctx: Ctx, app_id: str, part: Part) -> AppDeployment:
    row = await deployment(ctx, app_id, part)
    if row is None:  # uninstalled in the same moment
        raise Missing(f"app '{app_id}' not found")
    return row


# Workers.


async def start(ctx: Ctx, app_id: str) -> WorkerState:
    """Start the app's worker, one that has crashed too often as well. Raises Denied, Failed, Unavailable."""
    ctx.need(EVERYTHING)
    await ctx.outside(ctx.ports.workers.start(ctx.tenant_id, app_id), CONTROL_S_MAX)
    return WorkerState.RUNNING


async def stop(ctx: Ctx, app_id: str) -> WorkerState:
    """Stop the app's worker until it is started again. Raises Denied, Unavailable."""
    ctx.need(EVERYTHING)
    await ctx.outside(ctx.ports.workers.stop(ctx.tenant_id, app_id), CONTROL_S_MAX)
    return WorkerState.STOPPED


async def state(ctx: Ctx, app_id: str) -> WorkerState:
    """How the app's worker is. Raises Unauthenticated; Missing for one that never was started."""
    ctx.user()
    found = await ctx.outside(ctx.ports.workers.state(ctx.tenant_id, app_id), CONTROL_S_MAX)
    if found is None:
        raise Missing(f"app '{app_id[:80]}' has no worker", reason=Reason.NO_WORKER)
    return found


async def states(ctx: Ctx) -> Mapping[str, WorkerState]:
    """How all workers are, by app. Raises Denied."""
    ctx.need(EVERYTHING)
    return await ctx.outside(ctx.ports.workers.states(ctx.tenant_id), CONTROL_S_MAX)


async def logs(ctx: Ctx, app_id: str) -> LogLines:
    """What the app's worker says from now on. Raises Denied, Failed, Unavailable."""
    ctx.need(app_key(app_id, "invoke"))
    return await ctx.outside(ctx.ports.workers.logs(ctx.tenant_id, app_id), CONTROL_S_MAX)


# Asking.


async def call(ctx: Ctx, app_id: str, method: str, params: Any) -> Any:
    """What a method of the app returns. One that the manifest makes public is open to nobody in particular.

    Raises Unauthenticated, Denied; Invalid on `method`; TooLarge; Failed with what the app says of it; Unavailable.
    """
    if not 0 < len(method) <= METHOD_CHARS_MAX:
        raise Invalid("method", f"method must be 1 to {METHOD_CHARS_MAX} characters")
    if ctx.nobody():
        await ctx.apart(lambda first: _need_public(first, app_id, method))
    else:
        ctx.need(app_key(app_id, "invoke"))
    return await ask(ctx, app_id, method, params, caller(ctx))


async def _need_public(ctx: Ctx, app_id: str, method: str) -> None:
    """Raises Unauthenticated for a method that is not open to everybody."""
    app = await ctx.first(ctx.visible(App).where(App.id == app_id))
    public = (app.manifest.get("public") or {}).get("rpcs", []) if app is not None else []
    if not any(rpc["name"] == method and not rpc.get("scope") for rpc in public):
        raise Unauthenticated("missing authorization header")


def caller(ctx: Ctx) -> WorkerCaller:
    """Whom a worker serves that is asked for in this operation."""
    if ctx.actor.user_id is None:
        return NOBODY
    return WorkerCaller(ctx.actor.user_id, ctx.actor.email)


# For other areas and for hosts. None of these asks who may.


async def ask(ctx: Ctx, app_id: str, method: str, params: Any, by: WorkerCaller) -> Any:
    """What a method of the app returns, called for `by`, while the operation holds no connection.

    Raises TooLarge; Failed with what the app says of it; Unavailable.
    """
    size_bytes = len(json_of(params).encode())
    if size_bytes > PARAMS_BYTES_MAX:
        raise TooLarge(f"these are {size_bytes} bytes of JSON, the app's code can be told {PARAMS_BYTES_MAX}")
    asked = ctx.ports.workers.rpc(ctx.tenant_id, app_id, method, params, by, RPC_TIMEOUT_S)
    return await ctx.outside(asked, RPC_TIMEOUT_S + ROOM_S)


async def put_in_place(ctx: Ctx, app_id: str, archive: Upload) -> None:
    """Put a backend in the place of the one before, and start it, while the operation holds no connection.

    Raises Invalid on `archive`; Failed when it cannot be made to run; Unavailable.
    """
    content = await _stored(ctx, archive)
    sent = Archive(ctx.tenant_id, app_id, content, ctx.user())
    await ctx.outside(ctx.ports.workers.deploy(sent), DEPLOY_S_MAX)


async def deployment(ctx: Ctx, app_id: str, part: Part) -> AppDeployment | None:
    """The version in use, or None."""
    return await ctx.first(ctx.visible(AppDeployment).where(AppDeployment.app_id == app_id, AppDeployment.part == part))


async def with_frontends(ctx: Ctx) -> frozenset[str]:
    """The apps that have a front end."""
    rows = select(AppDeployment.app_id).where(
        AppDeployment.tenant_id == ctx.tenant_id, AppDeployment.part == Part.FRONTEND
    )
    return frozenset((await ctx.execute(rows)).scalars())


async def record(
    ctx: Ctx,
    app_id: str,
    part: Part,
    content: Content,
    by: UUID,
    *,
    id: UUID | None = None,
    entry_point: str | None = None,
    agent: dict[str, Any] | None = None,
) -> AppDeployment:
    """Note the version that is in use from now on, and keep its archive; the one before is let go.

    `agent` is its agent.json, which makes it an agent's. Raises Invalid on `archive` for one that describes none.
    """
    await blobs.keep(ctx, content)
    await ctx.execute(
        delete(AppDeployment).where(
            AppDeployment.tenant_id == ctx.tenant_id, AppDeployment.app_id == app_id, AppDeployment.part == part
        )
    )
    row = AppDeployment(app_id=app_id, part=part, id=id or uuid7(), blob_id=content.id, size_bytes=content.size_bytes)
    row.entry_point, row.agent, row.deployed_by = entry_point, agent, by
    await ctx.add(row)
    await agents.register(ctx, app_id, agent)
    ctx.emit(AppDeployed(app_id, part))
    return row


async def forget(ctx: Ctx, app_id: str) -> None:
    """Let go of everything that is deployed for an app that is no more; its worker ends by that."""
    for model in (AppDeployment, AppWorker):
        await ctx.execute(delete(model).where(model.tenant_id == ctx.tenant_id, model.app_id == app_id))


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a worker is told when it begins. `manifest` is None for an app that is not installed."""

    credentials: Mapping[str, SecretText]
    manifest: dict[str, Any] | None


async def surroundings(ctx: Ctx, app_id: str) -> Surroundings:
    """What the app's worker is told when it begins."""
    app = await ctx.first(ctx.visible(App).where(App.id == app_id))
    return Surroundings(await secrets.environment(ctx, app_id), None if app is None else app.manifest)


async def may_call_action(ctx: Ctx, app_id: str, action: str) -> None:
    """Raises Missing for an action the app has not declared, Denied for one the caller may not call."""
    app = await ctx.first(ctx.visible(App).where(App.id == app_id))
    if app is None or not any(declared["id"] == action for declared in app.manifest.get("actions", [])):
        raise Missing(f"app '{app_id}' has no action '{action[:80]}'")
    key = app_key(app_id, f"action:{action}")
    if not ctx.may(key):
        raise Denied(f"permission denied: {key}")
