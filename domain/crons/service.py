"""Crons: making, changing and triggering them, and firing those that are due.

Everybody sees and changes their own; those of others take `cron.manage_others` of the app. A cron whose owner is gone
is free to all who may.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, and_, delete, false, func, or_, select

from domain.access import acting
from domain.access.permissions import app_key
from domain.agents import delegations
from domain.apps.manifest import is_cron_name
from domain.apps.model import App
from domain.apps.reserved import refuse_reserved
from domain.crons.model import NUMBERS, Cron, CronRun, Overlap, RunStatus
from domain.jobs import service as jobs
from domain.jobs.model import Job, JobKind, JobOrigin
from domain.jobs.service import NewJob
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Conflict, Invalid, Limited, Missing, Reason, permission_denied
from domain.kernel.page import Page, PageArgs, keyset_page
from domain.kernel.rawjson import json_of
from domain.kernel.unit import UNIQUE_STATE, Statement, StatementRefused

OF_AN_APP_MAX = 1_000
LISTED_MAX = 10_000
RUNS_FIRST_MAX = 500
WAITING_MAX = 1_000  # jobs of one cron, of those that queue
FIRED_AT_ONCE = 100
RUNS_KEPT = timedelta(days=30)
FORGOTTEN_AT_ONCE = 10_000
FIRING_LOCK = "stoa:crons"


@dataclass(frozen=True, slots=True)
class NewCron:
    """A cron to be."""

    name: str
    schedule: str
    timezone: str | None = None
    payload: Any = None
    overlap: Overlap = Overlap.SKIP


# Looking.


def _may_see(ctx: Ctx, app_ids: Sequence[str]) -> ColumnElement[bool]:
    """Which crons of these apps the caller sees."""
    everyones = [app_id for app_id in app_ids if ctx.may(app_key(app_id, "cron.manage_others"))]
    own = or_(Cron.owner_id == ctx.user(), Cron.owner_id.is_(None))
    return and_(Cron.app_id.in_(app_ids), or_(own, Cron.app_id.in_(everyones)))


async def crons(ctx: Ctx, app_id: str, args: PageArgs) -> Page[Cron]:
    """An app's crons by name. Raises Denied; Invalid on `first` or `after`."""
    refuse_reserved(ctx, app_id)
    ctx.need(app_key(app_id, "cron.read"))
    rows = ctx.visible(Cron).where(_may_see(ctx, [app_id]))
    return await keyset_page(ctx, rows, args, scope=f"crons:{app_id}", by=(Cron.name, Cron.id), first_max=LISTED_MAX)


async def all_crons(ctx: Ctx, args: PageArgs) -> Page[Cron]:
    """The crons of all apps whose crons the caller may read, by app and name.

    Raises Unauthenticated; Invalid on `first` or `after`.
    """
    ctx.user()
    there = (await ctx.execute(ctx.visible(Cron).with_only_columns(Cron.app_id).distinct())).scalars().all()
    readable = [app_id for app_id in there if ctx.may(app_key(app_id, "cron.read"))]
    rows = ctx.visible(Cron).where(_may_see(ctx, readable) if readable else false())
    by = (Cron.app_id, Cron.name, Cron.id)
    return await keyset_page(ctx, rows, args, scope="crons", by=by, first_max=LISTED_MAX)


async def cron(ctx: Ctx, app_id: str, id: UUID) -> Cron:
    """One cron. Raises Denied, Missing."""
    return await _one(ctx, app_id, id, "cron.read")


async def runs(ctx: Ctx, app_id: str, id: UUID, args: PageArgs, *, since_enabled: bool = False) -> Page[CronRun]:
    """What became of each time it was due, newest first; since it was enabled the last time only, if so asked.

    Raises Denied, Missing; Invalid on `first` or `after`.
    """
    row = await _one(ctx, app_id, id, "cron.read")
    rows = ctx.visible(CronRun).where(CronRun.cron_id == id)
    if since_enabled:
        rows = rows.where(CronRun.number == row.number)
    scope = f"cron_runs:{id}:{since_enabled}"
    return await keyset_page(ctx, rows, args, scope=scope, by=(CronRun.id,), descending=True, first_max=RUNS_FIRST_MAX)


async def _one(ctx: Ctx, app_id: str, id: UUID, key: str, *, lock: bool = False) -> Cron:
    """The cron, for who holds `key` of the app and may act on it. Raises Denied, Missing."""
    refuse_reserved(ctx, app_id)
    ctx.need(app_key(app_id, key))
    rows = ctx.visible(Cron).where(Cron.app_id == app_id, Cron.id == id)
    row = await ctx.first(rows.with_for_update().execution_options(populate_existing=True) if lock else rows)
    if row is None:
        raise Missing("cron not found")
    others = app_key(app_id, "cron.manage_others")
    if row.owner_id not in (None, ctx.user()) and not ctx.may(others):
        raise permission_denied(others)
    return row


# Making and changing.


async def create(ctx: Ctx, app_id: str, new: NewCron, run_as: UUID | None = None) -> Cron:
    """Make a cron of an app, enabled. Its jobs run in the caller's name, or in that of who agreed to it, `run_as`.

    Raises Denied, Missing; Conflict when the name is taken; Invalid on a part.
    """
    refuse_reserved(ctx, app_id)
    ctx.need(app_key(app_id, "cron.write"))
    owner_id = await acting.principal(ctx, run_as, "runAs")
    _check(new)
    if await ctx.first(ctx.visible(App).where(App.id == app_id).with_for_update(read=True, key_share=True)) is None:
        raise Missing(f"app '{app_id[:80]}' not found", field="app")
    count = select(func.count()).select_from(ctx.visible(Cron).where(Cron.app_id == app_id).subquery())
    if (await ctx.execute(count)).scalar_one() >= OF_AN_APP_MAX:
        raise Invalid("name", f"there are {OF_AN_APP_MAX} crons already")
    return await _add(ctx, app_id, new, owner_id)


def _check(new: NewCron) -> None:
    if not is_cron_name(new.name):
        raise Invalid("name", "name must be 1 to 64 of A-Z a-z 0-9 _ -")
    jobs.check_payload(new.payload)


async def _add(ctx: Ctx, app_id: str, new: NewCron, owner_id: UUID) -> Cron:
    row = Cron(app_id=app_id, name=new.name, schedule=new.schedule, timezone=new.timezone, owner_id=owner_id)
    row.payload, row.overlap, row.updated_at = json_of(new.payload), new.overlap, ctx.now
    await _enable(ctx, row)
    try:
        await ctx.add(row)
    except StatementRefused as refused:
        if refused.sqlstate == UNIQUE_STATE:
            message = f"a cron named '{new.name}' is there already"
            raise Conflict(message, field="name", reason=Reason.NAME_TAKEN) from refused
        raise
    return row


async def _enable(ctx: Ctx, row: Cron) -> None:
    """Let it be due from now on. Raises Invalid on `schedule` or `timezone`."""
    now = await _now(ctx)
    row.next_at = ctx.ports.schedules.next_after(row.schedule, row.timezone, now)
    if row.next_at is None:
        raise Invalid("schedule", f"schedule '{row.schedule[:80]}' is never due")
    row.number = (await ctx.execute(select(NUMBERS.next_value()))).scalar_one()


async def _now(ctx: Ctx) -> datetime:
    """The database's time: those who fire crons may live on several machines."""
    now: datetime = (await ctx.fetch(Statement("SELECT clock_timestamp() AS now")))[0]["now"]
    return now


@dataclass(frozen=True, slots=True)
class CronChanges:
    """What is to change; None leaves a part as it is."""

    schedule: str | None = None
    payload: Any = None
    overlap: Overlap | None = None
    enabled: bool | None = None


async def update(ctx: Ctx, app_id: str, id: UUID, changes: CronChanges) -> Cron:
    """Change a cron. Enabling it anew gives it another number, and so does another schedule.

    Raises Denied, Missing; Invalid on a part.
    """
    row = await _one(ctx, app_id, id, "cron.write", lock=True)
    if changes.payload is not None:
        jobs.check_payload(changes.payload)
        row.payload = json_of(changes.payload)
    row.overlap = changes.overlap or row.overlap
    rescheduled = changes.schedule not in (None, row.schedule)
    row.schedule = row.schedule if changes.schedule is None else changes.schedule
    enabled = row.enabled if changes.enabled is None else changes.enabled
    if enabled and (rescheduled or not row.enabled):
        await _enable(ctx, row)
    elif rescheduled:
        ctx.ports.schedules.next_after(row.schedule, row.timezone, ctx.now)
    if not enabled:
        row.number = row.next_at = None
    row.updated_at = ctx.now
    await ctx.flush()
    return row


async def remove(ctx: Ctx, app_id: str, id: UUID) -> Cron:
    """Delete a cron with its runs. Jobs that it has handed in stay. Returns what it was. Raises Denied, Missing."""
    row = await _one(ctx, app_id, id, "cron.write", lock=True)
    await _remove(ctx, row)
    return row


async def _remove(ctx: Ctx, row: Cron) -> None:
    await delegations.withdraw(ctx, row.id)
    await ctx.remove(row)


async def declare(ctx: Ctx, app_id: str, declared: Sequence[dict[str, Any]]) -> None:
    """Make the crons those of the manifest: all of them enabled, others gone. An empty list changes nothing.

    RootCX, "what install does". For `domain.apps`: nobody is asked who may. Raises Invalid with the manifest's path.
    """
    if not declared:
        return
    there = {row.name: row for row in await ctx.all(ctx.visible(Cron).where(Cron.app_id == app_id).with_for_update())}
    names = [cron["name"] for cron in declared]
    for index, cron in enumerate(declared):
        path = f"crons.{index}"
        if names.index(cron["name"]) != index:
            raise Invalid(f"{path}.name", f"{path}.name '{cron['name']}' is there twice")
        try:
            await _declared(ctx, app_id, _of_manifest(cron), there.get(cron["name"]))
        except Invalid as problem:
            raise Invalid(f"{path}.{problem.field}", f"{path}: {problem.message}") from problem
    for row in there.values():
        if row.name not in names:
            await _remove(ctx, row)


def _of_manifest(cron: dict[str, Any]) -> NewCron:
    payload = cron["payload"]
    if "method" in cron:
        payload = {**payload, "method": cron["method"]}
    return NewCron(cron["name"], cron["schedule"], cron.get("timezone"), payload, Overlap(cron["overlapPolicy"]))


async def _declared(ctx: Ctx, app_id: str, new: NewCron, row: Cron | None) -> None:
    _check(new)
    if row is None:
        await _add(ctx, app_id, new, ctx.user())
        return
    stays = row.enabled and (row.schedule, row.timezone) == (new.schedule, new.timezone)
    same = stays and (orjson.loads(str(row.payload)), row.overlap) == (new.payload, new.overlap)
    row.owner_id = row.owner_id or ctx.user()
    if not same:
        row.schedule, row.timezone, row.overlap = new.schedule, new.timezone, new.overlap
        row.payload, row.updated_at = json_of(new.payload), ctx.now
    if not stays:
        await _enable(ctx, row)
    await ctx.flush()


# Firing.


async def trigger(ctx: Ctx, app_id: str, id: UUID) -> Job:
    """Hand in the cron's job now, whatever its schedule and overlap say, and whether it is enabled.

    Raises Denied, Missing, Limited.
    """
    row = await _one(ctx, app_id, id, "cron.trigger")
    return await _hand_in(ctx, row, orjson.loads(str(row.payload)), None)


async def _hand_in(ctx: Ctx, row: Cron, payload: Any, cron_id: UUID | None) -> Job:
    agent = row.owner_id is not None and await delegations.give(ctx, row.app_id, row.owner_id, row.id)
    kind = JobKind.AGENT if agent else JobKind.CODE
    new = NewJob(payload, kind=kind, origin=JobOrigin.CRON, cron_id=cron_id)
    return (await jobs.put(ctx, row.app_id, [new], row.owner_id))[0]


async def fire_due(ctx: Ctx, process_id: int) -> int:
    """Fire the crons of all tenants that are due, each once however often it was missed. How many those were.

    Whoever comes while another does so leaves it to them.
    """
    lock = select(func.pg_try_advisory_xact_lock(func.hashtextextended(FIRING_LOCK, 0)))
    if not (await ctx.execute(lock)).scalar_one():
        return 0
    now = await _now(ctx)
    due = select(Cron).where(Cron.next_at <= now).order_by(Cron.next_at).limit(FIRED_AT_ONCE)
    rows = await ctx.all(due.with_for_update(skip_locked=True))
    for row in rows:
        ctx.enter(row.tenant_id)
        await _fire(ctx, row, now, process_id)
    return len(rows)


async def _fire(ctx: Ctx, row: Cron, now: datetime, process_id: int) -> None:
    waiting = await jobs.waiting(ctx, row.id)
    most = 1 if row.overlap == Overlap.SKIP else WAITING_MAX
    job, why = None, f"{waiting} waiting or running already"
    if waiting < most:
        try:
            job = await _hand_in(ctx, row, _due_payload(row), row.id)
        except Limited as refused:
            why = refused.message
    run = CronRun(
        tenant_id=row.tenant_id,
        cron_id=row.id,
        number=row.number,
        status=RunStatus.SUCCEEDED if job is not None else RunStatus.SKIPPED,
        message="1 job" if job is not None else f"0 jobs: {why}",
        process_id=process_id,
        job_id=None if job is None else job.id,
        due_at=row.next_at,
        started_at=now,
        finished_at=await _now(ctx),
    )
    await ctx.add(run)
    try:
        row.next_at = _next(ctx, row, now)
    except Invalid:  # its time zone was known once: no reason to keep the others waiting
        row.next_at = None
    row.number = row.number if row.next_at else None
    await ctx.flush()


def _due_payload(row: Cron) -> Any:
    """The cron's payload with its id; one that is no object is in there as `payload`."""
    payload = orjson.loads(str(row.payload))
    return {**(payload if isinstance(payload, dict) else {"payload": payload}), "cron_id": str(row.id)}


def _next(ctx: Ctx, row: Cron, now: datetime) -> datetime | None:
    """When it is due after this; intervals are counted from when it was, unless that is past again."""
    schedules = ctx.ports.schedules
    if row.next_at is not None:
        after = schedules.next_after(row.schedule, row.timezone, row.next_at)
        if after is not None and after > now:
            return after
    return schedules.next_after(row.schedule, row.timezone, now)


# For chores.


async def forget_old_runs(ctx: Ctx) -> None:
    """Let go of what is known of runs long ago."""
    old = select(CronRun.id).where(CronRun.finished_at < ctx.now - RUNS_KEPT).limit(FORGOTTEN_AT_ONCE)
    await ctx.execute(delete(CronRun).where(CronRun.id.in_(old)))
