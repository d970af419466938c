"""A worker host: it runs the workers of the apps that it has leased, and serves the servers that ask for them."""

import asyncio
import os
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, suppress
from pathlib import Path
from time import monotonic
from typing import Any, Protocol
from urllib.parse import urlsplit
from uuid import UUID

import orjson

from domain.access.events import AccessChanged
from domain.agents import tools as agents
from domain.agents.registration import account_id
from domain.apps.events import AppChanged
from domain.kernel.ctx import Actor, Ctx, Request
from domain.kernel.errors import DomainError, Failed, Invalid, Reason, Unavailable
from domain.kernel.ids import uuid7
from domain.kernel.unit import Statement
from domain.secrets.events import SecretsChanged
from domain.secrets.service import PLATFORM
from domain.storage.blobs import Content
from domain.storage.ports import BlobStore
from domain.workers import service
from domain.workers.model import AppDeployment, Part, Wanted
from domain.workers.ports import (
    JOB_TIMEOUT_S,
    RPC_TIMEOUT_S,
    AgentRun,
    Archive,
    LogLine,
    LogLines,
    WorkerCaller,
    WorkerState,
)
from infra.embedded.account import Account
from infra.embedded.sockets import socket_folder
from infra.logs import get_logger
from infra.outbound import allowed_with
from infra.settings import Settings
from infra.workers import doing, runtimes
from infra.workers.egress import Policy, WayOut
from infra.workers.host_folder import HostFolder
from infra.workers.installing import InstallFailed, install, wants_packages
from infra.workers.leases import HEARTBEAT_S, LEASE_S, App, Elsewhere, Leases
from infra.workers.link import LinkServer
from infra.workers.logs import LogHub
from infra.workers.memory import Usage
from infra.workers.process import Message, Refused, WorkerProcess
from infra.workers.sandbox import LaunchFailed, Program, Sandbox
from infra.workers.supervised import SupervisedWorker
from infra.workers.unpacking import BadArchive, Unreadable
from infra.workers.versions import Versions

LOOK_S = 1.0
CLEAN_S = 60.0
LEAVE_S = 1.0
SOCKET = "host.sock"
AGENT_FILE = "agent.json"
AGENT_BYTES_MAX = 2**20
REQUEST = Request(door="worker")

# Variables that would change the programs themselves, not what they run.
MEDDLING = ("LD_", "GLIBC_", "DENO_", "PYTHON", "NODE_", "V8_", "RUST_")

log = get_logger(__name__)


Hear = Callable[[UUID, str, dict[str, Any]], None]


class Platform(doing.Platform, Protocol):
    """What a host is part of."""

    hearers: list[Hear]  # told of the facts that any process commits

    @property
    def blobs(self) -> BlobStore: ...

    async def fetch(self, statement: Statement) -> Sequence[Mapping[str, Any]]:
        """Run one statement by itself."""
        ...


class Host:
    """See `domain.workers.ports.AppWorkers`: of the apps that this host has. For others it raises Elsewhere."""

    def __init__(self, platform: Platform, folder: HostFolder, sandbox: Sandbox) -> None:
        settings = platform.settings
        self.id = folder.id
        self.address = f"tcp:{settings.worker_address}" if settings.worker_address else _socket_address(folder)
        self._platform = platform
        self._settings = settings
        self._sandbox = sandbox
        self._leases = Leases(platform.fetch, self.id, self.address)
        self._versions = Versions(folder.path / "versions", platform.blobs)
        self._scratch = folder.path
        self._doing = doing.Doing(platform, self)
        self._policy = _policy(settings)
        self._allowance = runtimes.Allowance(settings.worker_memory, settings.worker_network)
        self._workers: dict[App, SupervisedWorker] = {}
        self._hubs: dict[App, LogHub] = {}
        self._turns: dict[App, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._changed: dict[App, WorkerState] = {}
        self._renewed = self._cleaned = monotonic()
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._told: dict[App, Message] = {}  # what each app with an agent was told when it began

    # Being a host.

    async def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Be a host until cancelled."""
        server = LinkServer(self._settings.keys, self.serve)
        await server.listen(self.address)
        self._platform.hearers.append(self._hear)
        try:
            await self._leases.announce()
            log.info("worker_host_ready", id=str(self.id), address=self.address, namespaces=self._sandbox.namespaces)
            ready()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._beat())
                tasks.create_task(self._watch_memory())
        finally:
            self._platform.hearers.remove(self._hear)
            await server.close()
            await self._stop_all()
            with suppress(DomainError, TimeoutError):
                async with asyncio.timeout(LEAVE_S):
                    await self._leases.leave()

    def _hear(self, tenant_id: UUID, kind: str, payload: dict[str, Any]) -> None:
        if kind == AppChanged.kind:
            self._wake.set()  # it may have been uninstalled
        elif kind == SecretsChanged.kind and payload["scope"] == PLATFORM:
            for tenant, app_id in [app for app in self._workers if app[0] == tenant_id]:
                self._later(self.restart(tenant, app_id))
        elif kind == AccessChanged.kind:
            for app in [app for app in self._workers if app in self._told and app[0] == tenant_id]:
                if payload["user_id"] in (None, str(account_id(*app))):
                    self._later(self._retell(app))

    def _later(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _beat(self) -> None:
        """Keep what is ours, and take what nobody has."""
        while True:
            try:
                await self._look()
            except DomainError as problem:
                log.warning("leases_not_renewed", reason=problem.message)
                if monotonic() - self._renewed > LEASE_S:
                    await self._stop_all()  # others may run them by now
            except Exception:
                log.exception("worker_host_failed")
            with suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._wake.wait()
            self._wake.clear()

    async def _look(self) -> None:
        began, ours = monotonic(), list(self._workers)  # one that comes meanwhile may not be in the answer
        wanted = await self._leases.renew()
        self._renewed = began
        for app in ours:
            if app not in wanted:
                await self._drop(app)
        due = [app for app, want in wanted.items() if want is Wanted.RUNNING and app not in self._workers]
        for app in [*due, *await self._leases.orphans()]:
            await self._adopt(app)
        changed, self._changed = self._changed, {}
        for app, state in changed.items():
            await self._leases.note(app, state)
        if monotonic() - self._cleaned > CLEAN_S:
            self._cleaned = monotonic()
            await self._versions.keep_only(await self._leases.versions())

    async def _adopt(self, app: App) -> None:
        """Run an app that is to run."""
        try:
            await self._running(app)
        except Elsewhere:
            pass
        except DomainError as problem:
            log.warning("worker_not_started", app=app[1], reason=problem.message)

    async def _drop(self, app: App) -> None:
        """An app that is ours no more: uninstalled, or another host's."""
        async with self._turns[app]:
            worker = self._workers.pop(app, None)
            if worker is not None:
                await worker.stop()

    async def _stop_all(self) -> None:
        workers, self._workers = self._workers, {}
        await asyncio.gather(*(worker.stop() for worker in workers.values()))

    async def _watch_memory(self) -> None:
        """End workers that take more than they may, with all that they started."""
        while True:
            await asyncio.sleep(LOOK_S)
            pids = {worker.pid: worker for worker in self._workers.values() if worker.pid is not None}
            usage = await asyncio.to_thread(Usage.now) if pids else Usage()
            for pid, worker in pids.items():
                used = usage.of(pid)
                if used > self._allowance.memory_bytes:
                    worker.end(f"it used {used >> 20} MiB of memory, {self._allowance.memory_bytes >> 20} are allowed")

    # Workers.

    def _hub(self, app: App) -> LogHub:
        return self._hubs.setdefault(app, LogHub())

    def _worker(self, app: App) -> SupervisedWorker:
        if app not in self._workers:

            def changed(state: WorkerState) -> None:
                self._changed[app] = state
                self._wake.set()

            self._workers[app] = SupervisedWorker(app[1], lambda: self._launch(app), changed, self._hub(app))
        return self._workers[app]

    async def _running(self, app: App) -> SupervisedWorker:
        """The app's worker, started if it is to run and does not. Raises Failed, Elsewhere."""
        if app in self._workers:
            return self._workers[app]
        async with self._turns[app]:
            wanted = await self._leases.claim(app)
            if wanted is None:
                raise _no_code(app[1])
            worker = self._worker(app)
            if wanted is Wanted.RUNNING:
                await worker.start()
            return worker

    async def _deployment(self, app: App) -> AppDeployment | None:
        actor = Actor(tenant_id=app[0])
        return await self._platform.perform(actor, REQUEST, lambda ctx: service.deployment(ctx, app[1], Part.BACKEND))

    async def _launch(self, app: App) -> tuple[WorkerProcess, Message]:
        """A process of the version in use, with what it is told first. Raises LaunchFailed."""
        tenant_id, app_id = app
        try:
            deployment = await self._deployment(app)
            if deployment is None or deployment.entry_point is None:
                raise LaunchFailed("no code is deployed")
            folder = await self._versions.get(deployment.id, deployment.blob_id, deployment.size_bytes, self._finish)
            around = await self._platform.perform(
                Actor(tenant_id=tenant_id), REQUEST, lambda ctx: service.surroundings(ctx, app_id)
            )
        except (DomainError, BadArchive, InstallFailed, OSError) as problem:
            raise LaunchFailed(str(problem)) from problem
        credentials = {name: value.text for name, value in around.credentials.items()}
        discover: Message = {"type": "discover", "app_id": app_id, "runtime_url": self._settings.public_url}
        discover |= {"run_onstart": True, "manifest": around.manifest}
        if credentials:
            discover["credentials"] = credentials
        agent = await self._agent_config(app)
        if agent is not None:
            discover["agent_config"] = agent
            self._told[app] = discover
        given = {name: value for name, value in credentials.items() if not name.startswith(MEDDLING)}
        environment = {**given, "ROOTCX_APP_ID": app_id, "ROOTCX_RUNTIME_URL": self._settings.public_url}
        program = runtimes.program(
            folder, deployment.entry_point, environment, self._allowance, namespaces=self._sandbox.namespaces
        )
        return await self._started(app, program), discover

    async def _agent_config(self, app: App) -> Message | None:
        actor = Actor(tenant_id=app[0])
        return await self._platform.perform(actor, REQUEST, lambda ctx: agents.worker_config(ctx, app[1]))

    async def _retell(self, app: App) -> None:
        """Tell an app which tools its agent has now: one that does not listen for that is begun anew."""
        config, told = await self._agent_config(app), self._told.get(app)
        worker = self._workers.get(app)
        if told is None or worker is None or config == told["agent_config"]:
            return
        self._told[app] = {**told, "agent_config": config}
        with suppress(Failed):
            process = await worker.process()
            if process.protocol == 1:
                await self.restart(*app)
            else:
                await process.tell({name: part for name, part in self._told[app].items() if name != "run_onstart"})

    async def _started(self, app: App, program: Program) -> WorkerProcess:
        async with AsyncExitStack() as stack:
            jailed = await self._sandbox.launch(program)
            stack.callback(self._sandbox.release, jailed)
            if jailed.way_out is not None:
                way_out = WayOut(self._policy)
                await way_out.open(jailed.way_out)
                stack.push_async_callback(way_out.close)
            return WorkerProcess(jailed, _Around(app, self._hub(app), self._doing), stack.pop_all())
        raise AssertionError

    async def _finish(self, app: Path, scratch: Path) -> None:
        """Make a version that was unpacked ready to run. Raises BadArchive, InstallFailed."""
        entry_point = runtimes.entry_point_of(app)
        if entry_point is None and _agent(app) is not None:
            return  # an agent that has no code of its own
        if entry_point is None:
            raise NoEntryPoint(f"no entry point: the archive has none of {', '.join(runtimes.ENTRY_POINTS)}")
        if runtimes.is_python(entry_point):
            if not self._sandbox.namespaces:
                raise InstallFailed("Python runs only where the kernel allows namespaces, and this machine does not")
            if (app / "requirements.txt").is_file() and (app / "requirements.txt").read_text(errors="replace").strip():
                raise InstallFailed("requirements.txt is not installed: bring the packages along in the archive")
        elif wants_packages(app):
            await install(app, scratch, self._sandbox, self._policy, self._settings.npm_registry)

    # What can be asked of it.

    async def rpc(
        self,
        tenant_id: UUID,
        app_id: str,
        method: str,
        params: Any,
        caller: WorkerCaller | None,
        timeout_s: float = RPC_TIMEOUT_S,
    ) -> Any:
        process, left_s = await self._process((tenant_id, app_id), timeout_s)
        return await process.rpc(method, params, caller, left_s)

    async def run_job(
        self,
        tenant_id: UUID,
        app_id: str,
        job_id: str,
        payload: Any,
        caller: WorkerCaller | None,
        timeout_s: float = JOB_TIMEOUT_S,
    ) -> Any:
        process, left_s = await self._process((tenant_id, app_id), timeout_s)
        return await process.job(job_id, payload, caller, left_s)

    async def agent_invoke(
        self, tenant_id: UUID, app_id: str, invocation: Mapping[str, Any], caller: WorkerCaller | None
    ) -> AgentRun:
        process, _ = await self._process((tenant_id, app_id), RPC_TIMEOUT_S)
        return await process.agent_run(invocation, caller)

    async def _process(self, app: App, timeout_s: float) -> tuple[WorkerProcess, float]:
        """The process to ask, and the time that is left for it. Raises Failed, Elsewhere."""
        began = monotonic()
        try:
            async with asyncio.timeout(timeout_s):
                process = await (await self._running(app)).process()
        except TimeoutError:
            raise Failed(f"the worker of '{app[1]}' has not started within {timeout_s:g} s") from None
        return process, timeout_s - (monotonic() - began)

    async def deploy(self, archive: Archive) -> None:
        app, content = (archive.tenant_id, archive.app_id), archive.content
        async with self._turns[app]:
            await self._leases.claim(app)
            id = uuid7()
            try:
                folder = await self._versions.get(id, content.id, content.size_bytes, self._finish)
                entry_point, agent = runtimes.entry_point_of(folder), _agent(folder)
            except NoEntryPoint as problem:
                raise Invalid("archive", str(problem), reason=Reason.NO_ENTRY_POINT) from problem
            except Unreadable as problem:
                raise Invalid("archive", str(problem), reason=Reason.ARCHIVE_UNREADABLE) from problem
            except BadArchive as problem:
                raise Invalid("archive", str(problem)) from problem
            except InstallFailed as problem:
                raise Failed(str(problem)) from problem
            except OSError as problem:
                log.exception("deploy_failed", app=archive.app_id)
                raise Unavailable("the worker host cannot keep the code at the moment") from problem

            async def record(ctx: Ctx) -> None:
                await service.record(
                    ctx, archive.app_id, Part.BACKEND, content, archive.by, id=id, entry_point=entry_point, agent=agent
                )

            await self._platform.perform(Actor(archive.tenant_id, archive.by), REQUEST, record)
            if entry_point is None:
                await self._leases.want(app, Wanted.STOPPED)
                await self._worker(app).stop()
            else:
                await self._leases.want(app, Wanted.RUNNING)
                await self._worker(app).restart()

    async def start(self, tenant_id: UUID, app_id: str) -> None:
        app = (tenant_id, app_id)
        async with self._turns[app]:
            deployment = await self._deployment(app)
            if deployment is None or deployment.entry_point is None:
                raise _no_code(app_id)
            await self._leases.want(app, Wanted.RUNNING)
            await self._worker(app).start()

    async def stop(self, tenant_id: UUID, app_id: str) -> None:
        app = (tenant_id, app_id)
        async with self._turns[app]:
            await self._leases.want(app, Wanted.STOPPED)
            await self._worker(app).stop()

    async def restart(self, tenant_id: UUID, app_id: str) -> bool:
        app = (tenant_id, app_id)
        async with self._turns[app]:
            worker = self._workers.get(app)
            if worker is None or worker.state is WorkerState.STOPPED:
                return False
            await worker.restart()
            return True

    async def state(self, tenant_id: UUID, app_id: str) -> WorkerState | None:
        app = (tenant_id, app_id)
        if app in self._workers:
            return self._workers[app].state
        return None if await self._leases.claim(app) is None else WorkerState.STOPPED

    async def states(self, tenant_id: UUID) -> Mapping[str, WorkerState]:
        return {app[1]: worker.state for app, worker in self._workers.items() if app[0] == tenant_id}

    async def logs(self, tenant_id: UUID, app_id: str) -> LogLines:
        listener = self._hub((tenant_id, app_id)).listen()
        try:
            await self._running((tenant_id, app_id))
        except BaseException:
            await listener.aclose()
            raise
        return listener

    # The same over a connection.

    def serve(self, op: str, args: Message, told: "asyncio.Queue[Any]") -> Awaitable[Any] | AsyncIterator[Any]:
        """Serve a call of `remote.py`."""
        app = (UUID(args["tenant_id"]), str(args["app_id"]))
        caller = _caller(args.get("caller"))
        match op:
            case "rpc":
                return self.rpc(*app, args["method"], args["params"], caller, args["timeout_s"])
            case "run_job":
                return self.run_job(*app, args["job_id"], args["payload"], caller, args["timeout_s"])
            case "agent_invoke":
                return self._agent_events(app, args["invocation"], caller, told)
            case "deploy":
                content = Content(**{**args["content"], "id": UUID(args["content"]["id"])})
                return self.deploy(Archive(*app, content, UUID(args["by"])))
            case "start":
                return self.start(*app)
            case "stop":
                return self.stop(*app)
            case "restart":
                return self.restart(*app)
            case "state":
                return self.state(*app)
            case "logs":
                return self._log_items(app)
        raise Unavailable(f"this worker host does not know '{op[:40]}'")

    async def _log_items(self, app: App) -> AsyncGenerator[Any, None]:
        async with aclosing(await self.logs(*app)) as lines:
            yield True
            async for line in lines:
                yield {"level": line.level, "message": line.message}

    async def _agent_events(
        self, app: App, invocation: Message, caller: WorkerCaller | None, told: "asyncio.Queue[Any]"
    ) -> AsyncGenerator[Any, None]:
        run = await self.agent_invoke(*app, invocation, caller)
        answering = asyncio.create_task(_pass_results(run, told))
        try:
            yield True
            async for event in run:
                yield {"type": event.type, "fields": event.fields}
        finally:
            answering.cancel()
            await run.aclose()


class NoEntryPoint(BadArchive):
    """An archive that holds nothing to begin with."""


class _Around:
    """See `infra.workers.process.Surroundings`."""

    def __init__(self, app: App, hub: LogHub, doer: doing.Doing) -> None:
        self.own = doing.own_caller(app[1])
        self._app = app
        self._hub = hub
        self._doer = doer

    def said(self, level: str, message: str) -> None:
        self._hub.say(LogLine(level, message))

    async def done_for(self, caller: WorkerCaller, message: Message) -> Message:
        try:
            return await self._doer.done_for(*self._app, caller, message)
        except Refused:
            raise
        except Exception:
            log.exception("worker_request_failed", app=self._app[1], type=message["type"])
            raise Refused("internal error") from None


async def _pass_results(run: AgentRun, told: "asyncio.Queue[Any]") -> None:
    while True:
        answer = await told.get()
        with suppress(Failed):
            await run.tool_result(answer["call_id"], result=answer.get("result"), error=answer.get("error"))


def _caller(told: Message | None) -> WorkerCaller | None:
    if told is None:
        return None
    ids = {name: UUID(told[name]) for name in ("user_id", "delegator_id") if told.get(name) is not None}
    permissions = None if told.get("permissions") is None else tuple(told["permissions"])
    return WorkerCaller(**{**told, **ids, "permissions": permissions})


def _no_code(app_id: str) -> Failed:
    return Failed(f"no worker for '{app_id[:80]}': no entry point, no code is deployed")


def _agent(folder: Path) -> Message | None:
    """What agent.json says; one that is no JSON object is not there (RootCX agent protocol, definition)."""
    path = folder / AGENT_FILE
    try:
        told = orjson.loads(path.read_bytes()) if path.is_file() and path.stat().st_size <= AGENT_BYTES_MAX else None
    except (OSError, orjson.JSONDecodeError):
        return None
    return told if isinstance(told, dict) else None


def _socket_address(folder: HostFolder) -> str:
    account = Account("same", os.geteuid(), os.getegid())
    return f"unix:{socket_folder(folder.path, SOCKET, account) / SOCKET}"


def _policy(settings: Settings) -> Policy:
    """Where deployed code may connect to: what is public, what the settings add, and ourselves as others see us."""
    own = urlsplit(settings.public_url)
    port = own.port or (443 if own.scheme == "https" else 80)
    listening = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    return Policy(
        allowed=allowed_with(settings.outbound_networks),
        own=(own.hostname or "", port),
        home=(listening, settings.port) if own.scheme == "http" else None,
    )
