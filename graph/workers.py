"""Deployed code: putting it in place, its workers, and asking them."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from typing import Annotated
from uuid import UUID

import strawberry

from domain.access.permissions import EVERYTHING, Permission, app_key
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Code, Reason
from domain.kernel.upload import Upload
from domain.workers import ports, service
from domain.workers.model import AppDeployment, Part
from graph.rules import GUEST, Access, about, bounded, mutation, query, refusal, subscription
from graph.scalars import BigInt, Json

Info = strawberry.Info[Ctx, None]

AppId = Annotated[strawberry.ID, about("The app's id.")]
Archive = Annotated[Upload, about("A gzip tar.")]

WorkerState = strawberry.enum(
    ports.WorkerState,
    name="WorkerState",
    description="How a worker is. One that crashes five times within a minute is not brought back by itself.",
)

DEPLOYER = Access(permission=Permission.APPS_DEPLOY)
ADMIN = Access(permission=EVERYTHING)
MAY_INVOKE = Access(permission=app_key("{app}", "invoke"))

NO_WORKER = refusal(Code.NOT_FOUND, Reason.NO_WORKER)
BAD_ARCHIVE = (
    refusal(Code.INVALID_INPUT, Reason.ARCHIVE_UNREADABLE),
    refusal(Code.PAYLOAD_TOO_LARGE, Reason.FILE_TOO_LARGE),
    Code.NOT_FOUND,
)


@strawberry.type(description="The version of an app's code that is in use.")
class Deployment:
    id: UUID
    app_id: strawberry.ID
    size_bytes: BigInt = strawberry.field(description="Of the archive.")
    created_at: datetime
    deployed_by: UUID
    entry_point: str | None = strawberry.field(description="The file that the code begins with; null for pages.")

    @strawberry.field(description="Where the pages are; null for a backend.")
    def url(self: AppDeployment) -> str | None:
        return f"/apps/{self.app_id}/" if self.part == Part.FRONTEND else None


@strawberry.type(description="The process that runs an app's code.")
class Worker:
    app: strawberry.ID
    state: WorkerState  # type: ignore[valid-type]


@strawberry.type(description="A line of a worker's log.")
class LogLine:
    level: str = strawberry.field(
        description="info, warn, error or debug of what it logs; stdout or stderr of what it prints; event; system."
    )
    message: str


def _worker(app: str, state: ports.WorkerState) -> Worker:
    return Worker(app=strawberry.ID(app), state=state)


@strawberry.type
class WorkersQuery:
    @query(refuses=[NO_WORKER])
    async def worker(self, info: Info, app: AppId) -> Worker:
        """How an app's worker is. One that never was started is not there."""
        return _worker(app, await service.state(info.context, app))

    @query(access=ADMIN)
    async def workers(self, info: Info) -> list[Worker]:
        """How all workers are, by app."""
        found = await service.states(info.context)
        return [_worker(app, state) for app, state in sorted(found.items())]


@strawberry.type
class WorkersMutation:
    @mutation(
        access=DEPLOYER,
        graphql_type=Deployment,
        refuses=[*BAD_ARCHIVE, refusal(Code.INVALID_INPUT, Reason.NO_ENTRY_POINT), Code.UPSTREAM_FAILED],
    )
    async def deploy_app(self, info: Info, app: AppId, archive: Archive) -> AppDeployment:
        """Put an app's code in the place of the one before, and start it. Whoever administers the app may, too.

        The code before runs on until the new one is ready. The app need not be installed.
        """
        return await service.deploy(info.context, app, archive)

    @mutation(access=DEPLOYER, graphql_type=Deployment, refuses=BAD_ARCHIVE)
    async def deploy_frontend(self, info: Info, app: AppId, archive: Archive) -> AppDeployment:
        """Put an app's pages in the place of the ones before. Whoever administers the app may, too.

        They are at /apps/{app}/, open to everybody; a path without a file is answered with index.html.
        """
        return await service.deploy_frontend(info.context, app, archive)

    @mutation(access=ADMIN, refuses=[Code.UPSTREAM_FAILED])
    async def start_worker(self, info: Info, app: AppId) -> Worker:
        """Start an app's worker, one that has crashed too often as well. One that runs stays as it is."""
        return _worker(app, await service.start(info.context, app))

    @mutation(access=ADMIN)
    async def stop_worker(self, info: Info, app: AppId) -> Worker:
        """Stop an app's worker until it is started again."""
        return _worker(app, await service.stop(info.context, app))

    @mutation(access=GUEST, refuses=[Code.UNAUTHENTICATED, Code.FORBIDDEN, Code.UPSTREAM_FAILED])
    async def call_app(
        self,
        info: Info,
        app: AppId,
        method: Annotated[str, bounded("Its name.", min_length=1, max_length=service.METHOD_CHARS_MAX)],
        params: Annotated[Json | None, about("What it is given; an empty object without it.")] = None,
    ) -> Json | None:
        """What a method of the app's code returns. It takes the permission `app:{app}:invoke`.

        Methods that the manifest lists as public may be called by everybody. A method has 30 seconds.
        """
        return Json(await service.call(info.context, app, method, {} if params is None else params))


@strawberry.type
class WorkersSubscription:
    @subscription(access=MAY_INVOKE, refuses=[Code.UPSTREAM_FAILED])
    async def worker_logs(self, info: Info, app: AppId) -> AsyncGenerator[LogLine, None]:
        """What an app's worker says from now on. A reader that is too slow is told how many lines it missed."""
        return _shown(await service.logs(info.context, app))


async def _shown(lines: ports.LogLines) -> AsyncGenerator[LogLine, None]:
    async with aclosing(lines):
        async for line in lines:
            yield LogLine(level=line.level, message=line.message)
