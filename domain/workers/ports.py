"""What a deployed app can be asked for. Its code runs in a process of its own on a worker host, never in a server.

In the host itself the implementation is at hand; in a server it is a connection to the host. Without a host
everything but `state` raises Unavailable.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from domain.storage.blobs import Content

RPC_TIMEOUT_S = 30.0
JOB_TIMEOUT_S = 300.0
LOG_LINES_WAITING_MAX = 256  # of one subscriber; what comes beyond is dropped, and the next line says how many
LOG_CHARS_MAX = 8192


@dataclass(frozen=True, slots=True)
class WorkerCaller:
    """Whom a worker serves: what it does with records meanwhile it does with this caller's rights.

    `user_id` None is a caller without a credential. `permissions` are the keys of a run that may do less than its
    user (an agent's); None means all the user may do at that moment.
    """

    user_id: UUID | None
    email: str
    permissions: tuple[str, ...] | None = None
    connection_id: str | None = None
    delegator_id: UUID | None = None  # the human an agent acts for, for the audit log
    door: str = "collection"  # how the audit log calls the way by which the worker's changes came
    hooks: int = 0  # see `domain.kernel.ctx.Request`


NOBODY = WorkerCaller(None, "")


class WorkerState(StrEnum):
    """How a worker is."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    CRASHED = "crashed"  # too often: it stays down until it is started


@dataclass(frozen=True, slots=True)
class LogLine:
    """What a worker said, or its host of it. `level`: info, warn, error, debug, stdout, stderr, system or event."""

    level: str
    message: str


class LogLines(Protocol):
    """A subscription to what a worker says, from the moment it is there. It does not end by itself."""

    def __aiter__(self) -> "LogLines": ...

    async def __anext__(self) -> LogLine: ...

    async def aclose(self) -> None:
        """Listen no more."""
        ...


@dataclass(frozen=True, slots=True)
class AgentEvent:
    """A message of a worker that runs an agent, as the worker protocol names it.

    `type` is agent_chunk, agent_tool_call, agent_session_compacted, agent_done or agent_error; the last two end the
    run. `fields` are the message's others, without `invoke_id`.
    """

    type: str
    fields: Mapping[str, Any] = field(default_factory=dict)


class AgentRun(Protocol):
    """One run of an agent in its worker. A worker that is lost ends it with an `agent_error`."""

    def __aiter__(self) -> AsyncIterator[AgentEvent]: ...

    async def __anext__(self) -> AgentEvent: ...

    async def tool_result(self, call_id: str, *, result: Any = None, error: str | None = None) -> None:
        """Answer an `agent_tool_call`."""
        ...

    async def aclose(self) -> None:
        """Hear no more of it; the worker is not told."""
        ...


@dataclass(frozen=True, slots=True)
class Archive:
    """The gzip tar of an app's backend: a blob that is stored and that nothing refers to yet."""

    tenant_id: UUID
    app_id: str
    content: Content
    by: UUID


class AppWorkers(Protocol):
    """The workers of all apps. Callers have been asked for their rights before.

    Failed carries what the deployed code said of its own failure; Unavailable says that no host can be reached.
    """

    async def rpc(
        self,
        tenant_id: UUID,
        app_id: str,
        method: str,
        params: Any,
        caller: WorkerCaller | None,
        timeout_s: float = RPC_TIMEOUT_S,
    ) -> Any:
        """What the app's method returns, a JSON value. Starts the worker if it must.

        Raises Failed (what the method threw, no such method, no answer in time, no code deployed), Unavailable.
        """
        ...

    async def run_job(
        self,
        tenant_id: UUID,
        app_id: str,
        job_id: str,
        payload: Any,
        caller: WorkerCaller | None,
        timeout_s: float = JOB_TIMEOUT_S,
    ) -> Any:
        """What the app's job handler returns, a JSON value. Raises Failed, Unavailable."""
        ...

    async def agent_invoke(
        self, tenant_id: UUID, app_id: str, invocation: Mapping[str, Any], caller: WorkerCaller | None
    ) -> AgentRun:
        """Begin a run. `invocation` holds the fields of the protocol's message, `invoke_id` among them.

        Raises Failed, Unavailable.
        """
        ...

    async def deploy(self, archive: Archive) -> None:
        """Put this version in the place of the one before and start it. The one before runs on until it is ready.

        Raises Invalid on `archive` (a part of it that may not be, no entry point), Failed when it cannot be installed
        or started, Unavailable.
        """
        ...

    async def start(self, tenant_id: UUID, app_id: str) -> None:
        """Start the worker, one that has crashed too. One that runs stays as it is. Raises Failed, Unavailable."""
        ...

    async def stop(self, tenant_id: UUID, app_id: str) -> None:
        """Stop the worker until it is started again, if it runs. Raises Unavailable."""
        ...

    async def restart(self, tenant_id: UUID, app_id: str) -> bool:
        """Run it anew, if it runs (its secrets have changed, say); whether it did. Raises Unavailable."""
        ...

    async def state(self, tenant_id: UUID, app_id: str) -> WorkerState | None:
        """How the worker is; None for one that never was started."""
        ...

    async def states(self, tenant_id: UUID) -> Mapping[str, WorkerState]:
        """How the tenant's workers are, by app."""
        ...

    async def logs(self, tenant_id: UUID, app_id: str) -> LogLines:
        """What the worker says from now on. Starts it if it must. Raises Failed, Unavailable."""
        ...


class Frontends(Protocol):
    """The pages of apps."""

    async def check(self, content: Content) -> None:
        """Whether the archive can be served. Raises Invalid on `archive`, Unavailable."""
        ...
