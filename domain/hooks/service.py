"""Hooks of records: what a change hands in. Whoever makes one must be able to read the records it tells of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, or_, select

from domain.access import acting
from domain.access.permissions import Verb, app_key, record_key
from domain.agents import delegations
from domain.apps.reserved import refuse_reserved
from domain.hooks.model import HookAction, Operation, RecordHook
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Invalid, Missing
from domain.kernel.rawjson import json_of
from domain.kernel.reading import json_problem

OF_AN_APP_MAX = 200
CONFIG_BYTES_MAX = 16 * 1024


@dataclass(frozen=True, slots=True)
class NewHook:
    """A hook to be. `config` may name, by `app_id`, the app whose agent is told; it is handed on with each job."""

    entity: str
    operation: Operation
    action: HookAction
    config: dict[str, Any] = field(default_factory=dict)


async def hooks(ctx: Ctx, app_id: str) -> Sequence[RecordHook]:
    """The hooks of an app's records, oldest first. Raises Denied."""
    refuse_reserved(ctx, app_id)
    ctx.need(app_key(app_id, "hook.read"))
    rows = ctx.visible(RecordHook).where(RecordHook.app_id == app_id)
    return await ctx.all(rows.order_by(RecordHook.created_at, RecordHook.id).limit(OF_AN_APP_MAX * 10))


async def hook(ctx: Ctx, app_id: str, id: UUID) -> RecordHook:
    """One of them. Raises Denied, Missing."""
    return await _one(ctx, app_id, id, "hook.read")


async def _one(ctx: Ctx, app_id: str, id: UUID, key: str) -> RecordHook:
    refuse_reserved(ctx, app_id)
    ctx.need(app_key(app_id, key))
    row = await ctx.first(ctx.visible(RecordHook).where(RecordHook.app_id == app_id, RecordHook.id == id))
    if row is None:
        raise Missing("hook not found")
    return row


async def create(ctx: Ctx, app_id: str, new: NewHook, run_as: UUID | None = None) -> RecordHook:
    """Make a hook of an app's records, whose jobs run in the caller's name, or in that of who agreed to it, `run_as`.

    Raises Denied, Missing; Invalid on `entity` or `config`.
    """
    refuse_reserved(ctx, app_id)
    ctx.need(app_key(app_id, "hook.write"))
    owner_id = await acting.principal(ctx, run_as, "runAs")
    schema = await ctx.ports.catalog.find(ctx, app_id)
    if schema is None or new.entity not in schema.types:
        raise Missing(f"entity '{new.entity[:80]}' not found in app '{app_id[:80]}'")
    problem = json_problem(new.config)
    if problem is not None or len(json_of(new.config)) > CONFIG_BYTES_MAX:
        raise Invalid("config", f"config {problem or f'must be at most {CONFIG_BYTES_MAX} bytes of JSON'}")
    count = select(func.count()).select_from(ctx.visible(RecordHook).where(RecordHook.app_id == app_id).subquery())
    if (await ctx.execute(count)).scalar_one() >= OF_AN_APP_MAX:
        raise Invalid("entity", f"there are {OF_AN_APP_MAX} hooks already")
    target = _target(app_id, new)
    ctx.need(record_key(app_id, new.entity, Verb.READ))
    if new.action == HookAction.AGENT:
        ctx.need(app_key(target or app_id, "invoke"))
    return await _add(ctx, app_id, new, target, owner_id)


def _target(app_id: str, new: NewHook) -> str | None:
    """The app whose agent is told, if that is another one. Raises Invalid."""
    target = new.config.get("app_id") if new.action == HookAction.AGENT else None
    if target is not None and not isinstance(target, str):
        raise Invalid("config.app_id", "config.app_id must be the id of an app")
    return None if target == app_id else target


async def _add(
    ctx: Ctx, app_id: str, new: NewHook, target: str | None, owner_id: UUID, declared_by: str | None = None
) -> RecordHook:
    row = RecordHook(app_id=app_id, entity=new.entity, operation=new.operation, action=new.action, config=new.config)
    row.target_app_id, row.declared_by, row.owner_id, row.active = target, declared_by, owner_id, True
    return await ctx.add(row)


async def set_active(ctx: Ctx, app_id: str, id: UUID, active: bool) -> RecordHook:
    """Let a hook rest, or be at work again. Raises Denied, Missing."""
    row = await _one(ctx, app_id, id, "hook.write")
    row.active = active
    await ctx.flush()
    return row


async def remove(ctx: Ctx, app_id: str, id: UUID) -> None:
    """Delete a hook; jobs of it that have not begun will fail. Raises Denied, Missing."""
    await _remove(ctx, await _one(ctx, app_id, id, "hook.write"))


async def _remove(ctx: Ctx, row: RecordHook) -> None:
    await delegations.withdraw(ctx, row.id)
    await ctx.remove(row)


async def declare(ctx: Ctx, app_id: str, trigger: Mapping[str, Any] | None) -> None:
    """Make the hooks those of the manifest's `trigger`: the app's agent is told of another app's records.

    For `domain.apps`, whose caller has all rights in the app itself: only the right to read another app's records is
    asked for. Raises Denied.
    """
    there = await ctx.all(ctx.visible(RecordHook).where(RecordHook.declared_by == app_id).with_for_update())
    wanted = {} if trigger is None else {(trigger["appId"], trigger["entity"], on): on for on in trigger["on"]}
    for row in there:
        if wanted.pop((row.app_id, row.entity, row.operation), None) is None:
            await _remove(ctx, row)
        else:
            row.owner_id = row.owner_id or ctx.user()
    for (watched, entity, _), on in wanted.items():
        if watched != app_id:
            ctx.need(record_key(watched, entity, Verb.READ))
        new = NewHook(entity, Operation(on), HookAction.AGENT, {"app_id": app_id})
        await _add(ctx, watched, new, _target(watched, new), ctx.user(), app_id)


async def forget(ctx: Ctx, app_id: str) -> None:
    """Let go of the hooks of an app that is no more: of its records, and those that are for it."""
    its = or_(RecordHook.app_id == app_id, RecordHook.target_app_id == app_id, RecordHook.declared_by == app_id)
    await ctx.execute(delete(RecordHook).where(RecordHook.tenant_id == ctx.tenant_id, its))
