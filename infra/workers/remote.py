"""The workers of all apps, wherever they run: each call goes to the host that has the app."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import asdict
from time import monotonic
from typing import Any, Protocol, TypeVar
from uuid import UUID

from domain.kernel.errors import Unavailable
from domain.workers.ports import (
    JOB_TIMEOUT_S,
    RPC_TIMEOUT_S,
    AgentEvent,
    AgentRun,
    AppWorkers,
    Archive,
    LogLine,
    LogLines,
    WorkerCaller,
    WorkerState,
)
from infra.keys import Key
from infra.workers.leases import App, Elsewhere, Fetch, Place, noted_state, noted_states, place_of
from infra.workers.link import Frame, HostLink, Lost
from infra.workers.logs import LogHub

LOOK_AGAIN_S = 0.2
TRUSTED_S = 2.0  # how long we believe that a host has an app
REMEMBERED_MAX = 10_000
TRIES = 3
AGAIN_S = 1.0

T = TypeVar("T")


class Local(AppWorkers, Protocol):
    """The host of this very process."""

    id: UUID


class Workers:
    """See `domain.workers.ports.AppWorkers`. `local` is the host in this process, where there is one."""

    def __init__(self, fetch: Fetch, keys: Sequence[Key], wait_s: float = 0.0) -> None:
        self.local: Local | None = None
        self._fetch = fetch
        self._keys = keys
        self._wait_s = wait_s
        self._links: dict[str, asyncio.Task[HostLink]] = {}
        self._places: dict[App, tuple[Place, float]] = {}
        self._hubs: dict[App, _Followed] = {}

    async def close(self) -> None:
        """Hang up."""
        for followed in list(self._hubs.values()):
            await followed.stop()
        for opening in list(self._links.values()):
            with suppress(Lost, asyncio.CancelledError):
                await (await opening).close()

    # Calls.

    async def rpc(
        self,
        tenant_id: UUID,
        app_id: str,
        method: str,
        params: Any,
        caller: WorkerCaller | None,
        timeout_s: float = RPC_TIMEOUT_S,
    ) -> Any:
        args = {"method": method, "params": params, "caller": _spelled(caller), "timeout_s": timeout_s}
        return await self._asked(
            (tenant_id, app_id),
            "rpc",
            args,
            lambda host: host.rpc(tenant_id, app_id, method, params, caller, timeout_s),
        )

    async def run_job(
        self,
        tenant_id: UUID,
        app_id: str,
        job_id: str,
        payload: Any,
        caller: WorkerCaller | None,
        timeout_s: float = JOB_TIMEOUT_S,
    ) -> Any:
        args = {"job_id": job_id, "payload": payload, "caller": _spelled(caller), "timeout_s": timeout_s}
        return await self._asked(
            (tenant_id, app_id),
            "run_job",
            args,
            lambda host: host.run_job(tenant_id, app_id, job_id, payload, caller, timeout_s),
        )

    async def deploy(self, archive: Archive) -> None:
        content = {"id": archive.content.id, "size_bytes": archive.content.size_bytes, "sha256": archive.content.sha256}
        args = {"content": content, "by": archive.by}
        await self._asked((archive.tenant_id, archive.app_id), "deploy", args, lambda host: host.deploy(archive))

    async def start(self, tenant_id: UUID, app_id: str) -> None:
        await self._asked((tenant_id, app_id), "start", {}, lambda host: host.start(tenant_id, app_id))

    async def stop(self, tenant_id: UUID, app_id: str) -> None:
        if await noted_state(self._fetch, (tenant_id, app_id)) is not None:
            await self._asked((tenant_id, app_id), "stop", {}, lambda host: host.stop(tenant_id, app_id))

    async def restart(self, tenant_id: UUID, app_id: str) -> bool:
        done = await self._asked((tenant_id, app_id), "restart", {}, lambda host: host.restart(tenant_id, app_id))
        return bool(done)

    async def state(self, tenant_id: UUID, app_id: str) -> WorkerState | None:
        noted = await noted_state(self._fetch, (tenant_id, app_id))
        if noted is None:
            return None
        try:
            told = await self._asked((tenant_id, app_id), "state", {}, lambda host: host.state(tenant_id, app_id))
        except Unavailable:
            return noted
        return None if told is None else WorkerState(told)

    async def states(self, tenant_id: UUID) -> Mapping[str, WorkerState]:
        return await noted_states(self._fetch, tenant_id)

    async def agent_invoke(
        self, tenant_id: UUID, app_id: str, invocation: Mapping[str, Any], caller: WorkerCaller | None
    ) -> AgentRun:
        app = (tenant_id, app_id)
        args = {"invocation": dict(invocation), "caller": _spelled(caller)}

        async def begun(link: HostLink) -> AgentRun:
            run = _RemoteRun(link, self._args(app, args))
            await run.begin()
            return run

        return await self._anywhere(app, begun, lambda host: host.agent_invoke(tenant_id, app_id, invocation, caller))

    async def logs(self, tenant_id: UUID, app_id: str) -> LogLines:
        app = (tenant_id, app_id)
        followed = self._hubs.get(app)
        if followed is None or followed.ended:
            followed = self._hubs[app] = _Followed(lambda: self._lines(app))
        listener = followed.hub.listen()
        try:
            await followed.begun()
        except BaseException:
            await listener.aclose()
            raise
        return listener

    async def _lines(self, app: App) -> AsyncGenerator[LogLine | None, None]:
        """What the app's worker says; None once we are listening. Raises as a call does, Lost when the host goes."""

        async def listening(link: HostLink) -> AsyncGenerator[Any, None]:
            items = link.items("logs", self._args(app, {}))
            await anext(items)  # the host says first that it listens
            return items

        async def local(host: Local) -> LogLines:
            return await host.logs(*app)

        found: Any = await self._anywhere(app, listening, local)
        yield None
        async with aclosing(found) as lines:
            async for line in lines:
                yield line if isinstance(line, LogLine) else LogLine(line["level"], line["message"])

    # Where.

    async def _asked(self, app: App, op: str, args: Frame, local: Callable[[Local], Awaitable[T]]) -> T:
        async def over(link: HostLink) -> T:
            answer: T = await link.call(op, self._args(app, args))
            return answer

        return await self._anywhere(app, over, local)

    @staticmethod
    def _args(app: App, args: Frame) -> Frame:
        return {"tenant_id": app[0], "app_id": app[1], **args}

    async def _anywhere(
        self, app: App, over: Callable[[HostLink], Awaitable[T]], local: Callable[[Local], Awaitable[T]]
    ) -> T:
        """Ask the host that has the app, or that it falls to. Raises Unavailable, and what the host refuses with."""
        for _ in range(TRIES):
            place = await self._place(app)
            try:
                if self.local is not None and place.host_id == self.local.id:
                    return await local(self.local)
                return await over(await self._link(place))
            except Elsewhere:
                self._places.pop(app, None)
            except Lost as problem:
                self._places.pop(app, None)
                raise Unavailable("the worker host has gone, try again", retry_after_s=1) from problem
        raise Unavailable(f"no worker host has '{app[1]}' at the moment, try again", retry_after_s=1)

    async def _place(self, app: App) -> Place:
        known = self._places.get(app)
        if known is not None and known[1] > monotonic():
            return known[0]
        place = await self._coming(app)
        if place is None:
            raise Unavailable("no worker host is running: deployed code needs `stoa worker`", retry_after_s=5)
        if len(self._places) >= REMEMBERED_MAX:
            self._places.clear()
        self._places[app] = place, monotonic() + TRUSTED_S
        return place

    async def _coming(self, app: App) -> Place | None:
        """The place of the app. Where no host runs, one may be about to: a platform's parts start one by one."""
        place = await place_of(self._fetch, app)
        for _ in range(round(self._wait_s / LOOK_AGAIN_S)):
            if place is not None:
                break
            await asyncio.sleep(LOOK_AGAIN_S)
            place = await place_of(self._fetch, app)
        return place

    async def _link(self, place: Place) -> HostLink:
        """The connection to a host, which all calls share. Raises Lost."""
        opening = self._links.get(place.address)
        if (
            opening is not None
            and opening.done()
            and (opening.cancelled() or opening.exception() or opening.result().lost)
        ):
            opening = None
        if opening is None:
            opening = self._links[place.address] = asyncio.create_task(HostLink.open(place.address, self._keys))
        return await asyncio.shield(opening)


def _spelled(caller: WorkerCaller | None) -> Frame | None:
    return None if caller is None else asdict(caller)


class _RemoteRun:
    """See `domain.workers.ports.AgentRun`."""

    def __init__(self, link: HostLink, args: Frame) -> None:
        self._told: asyncio.Queue[Frame] = asyncio.Queue()
        self._events = link.items("agent_invoke", args, self._told)

    async def begin(self) -> None:
        """Wait until it has begun. Raises what it is refused with."""
        await anext(self._events)

    def __aiter__(self) -> "_RemoteRun":
        return self

    async def __anext__(self) -> AgentEvent:
        try:
            event = await anext(self._events)
        except Lost:
            return AgentEvent("agent_error", {"error": "the worker host has gone"})
        return AgentEvent(event["type"], event["fields"])

    async def tool_result(self, call_id: str, *, result: Any = None, error: str | None = None) -> None:
        self._told.put_nowait({"call_id": call_id, "result": result, "error": error})

    async def aclose(self) -> None:
        await self._events.aclose()


class _Followed:
    """One app's log, followed for everybody here who listens to it, from host to host, while anybody does."""

    def __init__(self, lines: Callable[[], AsyncGenerator[LogLine | None, None]]) -> None:
        self.hub = LogHub(self._left)
        self._lines = lines
        self._first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._follow())

    @property
    def ended(self) -> bool:
        """Whether nobody listened any more."""
        return self._task.done() or self._task.cancelling() > 0

    async def begun(self) -> None:
        """Wait until it is listened to. Raises what that is refused with."""
        await asyncio.shield(self._first)

    async def stop(self) -> None:
        """Follow it no more."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def _left(self) -> None:
        self._task.cancel()

    async def _follow(self) -> None:
        try:
            while True:
                try:
                    async with aclosing(self._lines()) as lines:
                        async for line in lines:
                            if line is not None:
                                self.hub.say(line)
                            elif not self._first.done():
                                self._first.set_result(None)
                except (Unavailable, Lost):
                    if not self._first.done():
                        raise
                self.hub.say(LogLine("system", "the worker host has gone; looking for the worker"))
                await asyncio.sleep(AGAIN_S)
        except Exception as problem:
            if not self._first.done():
                self._first.set_exception(problem)
                self._first.exception()  # nobody need wait for it
