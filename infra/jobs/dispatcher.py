"""Running jobs: taken from the table in groups, given to deployed code or agents, told of in groups.

It looks when it hears that a job was handed in, and twice a second anyway. Neither a lost word nor a lost process
loses a job: what nobody keeps is taken by the next who looks.
"""

import asyncio
import random
from collections import Counter
from contextlib import suppress
from itertools import islice
from time import monotonic
from typing import Any
from uuid import UUID, uuid4

import orjson

from domain.access.permissions import Verb, record_key
from domain.agents import delegations
from domain.agents.ports import Trigger
from domain.jobs.events import JobChanged
from domain.jobs.model import JobKind, JobOrigin, JobStatus
from domain.kernel.ctx import Actor, Request
from domain.kernel.errors import DomainError, Failed, Missing, TimedOut, Unavailable, permission_denied
from domain.kernel.rawjson import json_of
from domain.kernel.reading import json_problem
from domain.kernel.unit import Statement, StatementRefused
from domain.workers.ports import WorkerCaller
from infra.jobs.queue import JobQueue, Outcome, Taken
from infra.logs import get_logger
from infra.platform import Platform

AT_ONCE_MAX = 100
OF_AN_APP_MAX = 20
POLL_S = 0.5
SWEEP_S = 1.0
KEEP_S = 3.0
TOLD_AT_ONCE = 200
AGAIN_S = 0.5  # after the database did not do as it was told
LEAVE_S = 1.0
BACKOFF_S_MAX = 3600.0
ERROR_CHARS_MAX = 8192

# What a database that is away, or busy, does to one statement: the next try will tell.
AWAY = (Unavailable, TimedOut, StatementRefused)

REQUEST = Request(door="job")
TRIGGERS = {
    JobOrigin.CRON: Trigger.CRON,
    JobOrigin.HOOK: Trigger.HOOK,
    JobOrigin.WEBHOOK: Trigger.WEBHOOK,
}

_HOOK_SQL = "SELECT app_id, entity FROM stoa.record_hooks WHERE id = $1"

log = get_logger(__name__)


class Dispatcher:
    """Runs jobs on this platform. What it runs stays its own until the database knows what became of it."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._queue = JobQueue(platform.fetch, uuid4())
        self._running: dict[UUID, tuple[Taken, asyncio.Task[None]]] = {}
        self._outcomes: dict[UUID, Outcome] = {}  # which the database does not know yet
        self._wake = asyncio.Event()
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Run jobs until cancelled."""
        self._platform.hearers.append(self._hear)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._dispatch())
                tasks.create_task(self._keep())
                tasks.create_task(self._tell())
        finally:
            self._platform.hearers.remove(self._hear)
            await self._leave()

    def _hear(self, tenant_id: UUID, kind: str, payload: dict[str, Any]) -> None:
        if kind == JobChanged.kind and payload["status"] == JobStatus.PENDING:
            self._wake.set()

    # Taking.

    async def _dispatch(self) -> None:
        swept = 0.0
        while True:
            self._wake.clear()
            try:
                if monotonic() - swept >= SWEEP_S:
                    await self._sweep()
                    swept = monotonic()
                await self._take()
            except AWAY as problem:
                log.warning("jobs_not_taken", reason=str(problem))
                await asyncio.sleep(AGAIN_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self._wake.wait()

    async def _sweep(self) -> None:
        lost = await self._queue.sweep()
        if lost:
            log.warning("jobs_lost", count=lost)

    async def _take(self) -> None:
        room = AT_ONCE_MAX - len(self._running)
        if room <= 0:
            return
        busy = Counter(job.app for job, _ in self._running.values())
        for job in await self._queue.take(room, OF_AN_APP_MAX, busy):
            self._running[job.id] = job, asyncio.create_task(self._run(job))

    # Running.

    async def _run(self, job: Taken) -> None:
        began = monotonic()
        try:
            result = await self._done(job)
            problem = json_problem(result)
            if problem is not None:
                raise Failed(f"the result {problem}")
            outcome = Outcome(job, JobStatus.COMPLETED, json_of(result))
        except Unavailable as problem:
            again_s = max(problem.retry_after_s or 0, min(60.0, 2.0**job.losses))
            outcome = Outcome(job, JobStatus.PENDING, error=problem.message, again_s=again_s, lost=True)
        except DomainError as problem:
            outcome = _failed(job, problem.message)
        except Exception:
            log.exception("job_broken", job=str(job.id), app=job.app_id)
            outcome = _failed(job, "internal error")
        duration_ms = round((monotonic() - began) * 1000)
        log.info("job", job=str(job.id), app=job.app_id, outcome=outcome.status, duration_ms=duration_ms)
        self._outcomes[job.id] = outcome
        self._ended.set()

    async def _done(self, job: Taken) -> Any:
        """What the job comes to. Raises DomainError."""
        if job.user_id is None:
            raise Failed("the job is nobody's: there is no user to run it as")
        actor = await self._platform.principals.account(job.tenant_id, job.user_id)
        if job.hook_id is not None:
            await self._refuse_to_show(job, actor)
        payload = orjson.loads(job.payload)
        if job.kind is JobKind.AGENT:
            return await self._told_agent(job, actor, payload)
        caller = WorkerCaller(job.user_id, actor.email, hooks=job.hooks)
        return await self._platform.workers.run_job(job.tenant_id, job.app_id, str(job.id), payload, caller)

    async def _told_agent(self, job: Taken, actor: Actor, payload: Any) -> Any:
        """What the app's agent answers. Raises DomainError."""
        owner_id, hook_id = job.user_id, job.hook_id
        if owner_id is not None and hook_id is not None:  # whose hook is as good as their word
            await self._platform.perform(
                actor, REQUEST, lambda ctx: delegations.give(ctx, job.app_id, owner_id, hook_id)
            )
        message = message_of(job.origin, payload)
        reply = await self._platform.ports.agents.invoke(
            job.tenant_id, job.app_id, owner_id, message, TRIGGERS[job.origin], hooks=job.hooks
        )
        return {"response": reply.response, "session_id": str(reply.session_id)}

    async def _refuse_to_show(self, job: Taken, actor: Actor) -> None:
        """Raises Denied for the record of a hook whose owner may not read it any more; Missing without the hook."""
        rows = await self._platform.fetch(Statement(_HOOK_SQL, (job.hook_id,)))
        if not rows:
            raise Missing("the hook is gone")
        key = record_key(rows[0]["app_id"], rows[0]["entity"], Verb.READ)
        if not actor.grants.allows(key):
            raise permission_denied(key)

    # Keeping.

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(KEEP_S)
            running = dict(self._running)
            if not running:
                continue
            try:
                kept = await self._queue.keep(running.keys())
            except AWAY as problem:
                log.warning("jobs_not_kept", reason=str(problem))
                continue
            for id, (job, task) in running.items():
                if id not in kept and id in self._running:
                    log.info("job_not_ours", job=str(id), app=job.app_id)
                    task.cancel()  # it was called off, or somebody else has it
                    self._let_go(id)

    def _let_go(self, id: UUID) -> None:
        self._running.pop(id, None)
        self._outcomes.pop(id, None)
        self._wake.set()

    # Telling.

    async def _tell(self) -> None:
        while True:
            await self._ended.wait()
            self._ended.clear()
            while outcomes := list(islice(self._outcomes.values(), TOLD_AT_ONCE)):
                try:
                    taken = await self._queue.tell(outcomes)
                except AWAY as problem:  # should it have been done after all, the second time changes nothing
                    log.warning("jobs_not_told", count=len(outcomes), reason=str(problem))
                    await asyncio.sleep(AGAIN_S)
                    continue
                self._platform.feed.committed()
                for outcome in outcomes:
                    if outcome.job.id not in taken:
                        log.warning("job_result_refused", job=str(outcome.job.id), app=outcome.job.app_id)
                    self._let_go(outcome.job.id)

    async def _leave(self) -> None:
        """Give back what still runs: others may have it at once."""
        held, self._running = list(self._running.values()), {}
        for _, task in held:
            task.cancel()
        await asyncio.gather(*(task for _, task in held), return_exceptions=True)
        last = [self._outcomes.get(job.id) or Outcome(job, JobStatus.PENDING, lost=True) for job, _ in held]
        if last:
            with suppress(*AWAY, TimeoutError):
                async with asyncio.timeout(LEAVE_S):
                    await self._queue.tell(last)


def message_of(origin: JobOrigin, payload: Any) -> str:
    """What an agent is told of a job."""
    if origin is JobOrigin.HOOK:
        record = orjson.dumps(payload["record"] or payload["old_record"], option=orjson.OPT_INDENT_2).decode()
        return f"{payload['operation']} of the record {payload['record_id']} of {payload['entity']}:\n{record}"
    message = payload.get("message") if isinstance(payload, dict) else None
    return message if isinstance(message, str) and message else "Scheduled invocation"


def _failed(job: Taken, error: str) -> Outcome:
    """It failed; it may be run again if it has not failed too often."""
    said = error.replace("\x00", "")[:ERROR_CHARS_MAX]
    failures = job.attempts - job.losses
    if failures >= job.attempts_max:
        return Outcome(job, JobStatus.FAILED, error=said)
    rest_s = min(BACKOFF_S_MAX, job.backoff_s * 2.0 ** (failures - 1))
    return Outcome(job, JobStatus.PENDING, error=said, again_s=rest_s * random.uniform(0.8, 1.2))
