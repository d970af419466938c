"""The runs that this process has taken up. A run is a row: whichever process takes it first runs it.

A process holds its runs by a lease. One that dies loses them: a run whose conversation we hold ourselves goes on in
another process, where it was; one whose conversation was in deployed code is over.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol, TypeVar
from uuid import UUID, uuid4

from domain.agents import invoking
from domain.agents.events import AgentInvoked, ApprovalDecided
from domain.agents.ports import Missed, Reply, RunEvent, Trigger
from domain.agents.running import LEASE_S, End, Facts, NoAgentCode, Running, take_up
from domain.agents.thinking import think
from domain.kernel.ctx import ANONYMOUS, Actor, Ctx, Request
from domain.kernel.errors import DomainError, Failed, Unavailable
from domain.kernel.unit import Statement
from domain.ports import Ports
from infra.agents.journal import Journal
from infra.logs import get_logger

RENEW_S = 4.0
LOST_AFTER_S = 3.0  # how long a run may wait for the process it began in, before any other takes it
DECIDED_POLL_S = 5.0
RUNS_MAX = 200  # of one process
REQUEST = Request(door="agent")

T = TypeVar("T")
Fetch = Callable[[Statement], Awaitable[Sequence[Mapping[str, Any]]]]
Work = Callable[[Ctx], Awaitable[T]]

log = get_logger(__name__)

_RENEW_SQL = f"""
UPDATE stoa.agent_runs SET leased_until = clock_timestamp() + interval '{LEASE_S} seconds'
WHERE holder_id = $1 AND id = ANY($2::uuid[]) AND finished_at IS NULL RETURNING id
"""
_FREE_SQL = """
SELECT id FROM stoa.agent_runs WHERE finished_at IS NULL AND (
    leased_until < clock_timestamp()
    OR (holder_id IS NULL AND created_at < clock_timestamp() - make_interval(secs => $1))
) ORDER BY created_at LIMIT $2
"""
_RELEASE_SQL = """
UPDATE stoa.agent_runs SET leased_until = clock_timestamp() WHERE holder_id = $1 AND finished_at IS NULL
"""


class Platform(Protocol):
    """What runs operations for us."""

    @property
    def ports(self) -> Ports:
        """The adapters of the platform."""
        ...

    async def account(self, tenant_id: UUID, user_id: UUID) -> Actor:
        """An account with the rights of this moment. Raises Unauthenticated."""
        ...

    async def perform(self, actor: Actor, request: Request, work: Work[T]) -> T:
        """What `work` comes to in a unit of its own, committed. Raises DomainError."""
        ...


class Runs:
    """See `domain.agents.ports.AgentRuns` and `domain.agents.running.Around`."""

    def __init__(self, platform: Platform, fetch: Fetch, valkey_url: str | None, public_url: str) -> None:
        self.public_url = public_url
        self._id = uuid4()
        self._platform = platform
        self._fetch = fetch
        self._journal = Journal(fetch, valkey_url)
        self._running: dict[UUID, asyncio.Task[None]] = {}
        self._waiting: dict[UUID, asyncio.Event] = {}  # for decisions, by approval
        self._tasks: set[asyncio.Task[Any]] = set()
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to take runs up."""
        await self._journal.start()
        self._keeping = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """Let go of all runs: others may take them up."""
        keeping, self._keeping = self._keeping, None
        tasks = [*([keeping] if keeping else []), *self._running.values(), *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(Unavailable):
            await self._fetch(Statement(_RELEASE_SQL, (self._id,)))
        await self._journal.stop()

    def hear(self, tenant_id: UUID, kind: str, payload: dict[str, Any]) -> None:
        """Something was committed, here or elsewhere."""
        if self._keeping is None:
            return
        if kind == AgentInvoked.kind:
            self._later(self._take_up(UUID(payload["run_id"])))
        elif kind == ApprovalDecided.kind:
            waiting = self._waiting.get(UUID(payload["approval_id"]))
            if waiting is not None:
                waiting.set()

    def _later(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Invoking and following.

    async def invoke(
        self,
        tenant_id: UUID,
        app_id: str,
        owner_id: UUID | None,
        message: str,
        trigger: Trigger,
        session_id: UUID | None = None,
        hooks: int = 0,
    ) -> Reply:
        async def begun(ctx: Ctx) -> Reply:
            run = await invoking.begin_unattended(ctx, app_id, owner_id, message, trigger, session_id, hooks)
            return Reply("", run.session_id, run.id)

        began = await self.perform(Actor(tenant_id, owner_id), Request(door=trigger), begun)
        async for event in self.follow(tenant_id, began.run_id):
            if event.kind == "done":
                return Reply(event.body["response"], began.session_id, began.run_id)
            if event.kind == "error":
                raise Failed(event.body["error"])
        raise Failed("the run is gone")

    def follow(self, tenant_id: UUID, run_id: UUID, after: int = 0) -> AsyncGenerator[RunEvent, None]:
        return self._journal.follow(tenant_id, run_id, after)

    async def fleet(self, tenant_id: UUID) -> AsyncGenerator[RunEvent | Missed, None]:
        return await self._journal.fleet(tenant_id)

    # What runs need.

    @property
    def ports(self) -> Ports:
        """The adapters of the platform."""
        return self._platform.ports

    async def account(self, tenant_id: UUID, user_id: UUID) -> Actor:
        return await self._platform.account(tenant_id, user_id)

    async def perform(self, actor: Actor, request: Request, work: Work[T]) -> T:
        return await self._platform.perform(actor, request, work)

    def tell(self, run: Facts, kind: str, body: Mapping[str, Any]) -> None:
        self._journal.tell(run, kind, body)

    async def decided(self, approval_id: UUID) -> None:
        """Wait until somebody may have decided; it looks by itself now and then, should the news be lost."""
        waiting = self._waiting.setdefault(approval_id, asyncio.Event())
        try:
            async with asyncio.timeout(DECIDED_POLL_S):
                await waiting.wait()
            waiting.clear()
        except TimeoutError:
            pass
        finally:
            if not waiting.is_set():
                self._waiting.pop(approval_id, None)

    # Running.

    async def _keep(self) -> None:
        """Renew the leases, end what is gone, and take up what nobody has."""
        while True:
            try:
                held = list(self._running)
                kept = {row["id"] for row in await self._fetch(Statement(_RENEW_SQL, (self._id, held)))}
                for id in held:
                    task = self._running.get(id)
                    if id not in kept and task is not None:
                        task.cancel()  # its agent was removed, or another process has taken it
                room = RUNS_MAX - len(self._running)
                for row in await self._fetch(Statement(_FREE_SQL, (LOST_AFTER_S, max(0, room)))):
                    await self._take_up(row["id"])
            except Unavailable:
                log.warning("agent_runs_wait", reason="the database is not ready")
            except Exception:
                log.exception("agent_runs_failed")
            await asyncio.sleep(RENEW_S)

    async def _take_up(self, run_id: UUID) -> None:
        if len(self._running) >= RUNS_MAX or run_id in self._running:
            return
        taken = await self.perform(ANONYMOUS, REQUEST, lambda ctx: take_up(ctx, run_id, self._id))
        if taken is not None:
            task = self._running[run_id] = asyncio.create_task(self._run(taken))
            task.add_done_callback(lambda _: self._running.pop(run_id, None))

    async def _run(self, facts: Facts) -> None:
        running = Running(self, facts)
        await self._journal.begin(facts.id)
        try:
            end = await self._ended(running)
            await self._journal.written()
            ours = await running.perform(lambda ctx: running.end(ctx, end, self._id))
            if ours and end.error is None:
                self.tell(facts, "done", {"response": end.response, "tokens": end.tokens})
            elif ours:
                self.tell(facts, "error", {"error": end.error})
            await self._journal.written()
            log.info("agent_ran", run=str(facts.id), app=facts.app_id, outcome="done" if end.error is None else "error")
        except Exception:
            log.exception("agent_run_lost", run=str(facts.id), app=facts.app_id)
        finally:
            self._journal.forget(facts.id)

    async def _ended(self, running: Running) -> End:
        """What the run comes to."""
        facts = running.facts
        try:
            if facts.interrupted and facts.has_code and facts.state is None:
                return End(error="the run was interrupted: the process that followed it has ended")
            if facts.has_code and facts.state is None:
                with suppress(NoAgentCode):
                    return await running.by_code()
            return await think(running)
        except DomainError as refused:
            return End(error=refused.message)
        except Exception:
            log.exception("agent_run_failed", run=str(facts.id), app=facts.app_id)
            return End(error="internal error")
