"""An installation without a worker host: nothing deployed runs."""

from collections.abc import Mapping
from typing import Any, NoReturn
from uuid import UUID

from domain.kernel.errors import Unavailable
from domain.workers.ports import Deployment, WorkerState


class NoWorkers:
    """See `domain.workers.ports.AppWorkers`."""

    async def rpc(self, *_: Any, **__: Any) -> NoReturn:
        raise _no_host()

    async def run_job(self, *_: Any, **__: Any) -> NoReturn:
        raise _no_host()

    async def agent_invoke(self, *_: Any, **__: Any) -> NoReturn:
        raise _no_host()

    async def deploy(self, deployment: Deployment) -> None:
        raise _no_host()

    async def start(self, tenant_id: UUID, app_id: str) -> None:
        raise _no_host()

    async def stop(self, tenant_id: UUID, app_id: str) -> None:
        raise _no_host()

    async def restart(self, tenant_id: UUID, app_id: str) -> bool:
        raise _no_host()

    async def state(self, tenant_id: UUID, app_id: str) -> WorkerState | None:
        return None

    async def states(self, tenant_id: UUID) -> Mapping[str, WorkerState]:
        return {}

    async def logs(self, *_: Any, **__: Any) -> NoReturn:
        raise _no_host()


def _no_host() -> Unavailable:
    return Unavailable("no worker host is running: deployed code needs `stoa worker`", retry_after_s=5)
