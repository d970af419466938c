"""Jobs: handing them in, and what becomes of them."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import strawberry

from domain.access.permissions import app_key
from domain.jobs import model, service
from domain.jobs.service import JobFilter, NewJob
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Code
from domain.kernel.page import PageArgs
from graph.connection import FIRST, After, Connection, First, connection
from graph.rules import Access, Constraint, about, bounded, mutation, query, subscription
from graph.scalars import BigInt, Json

Info = strawberry.Info[Ctx, None]

AppId = Annotated[strawberry.ID, about("The app's id.")]
JobId = Annotated[strawberry.ID, about("The job's id, or its number.")]

MAY_INVOKE = Access(permission=app_key("{app}", "invoke"))

JobStatus = strawberry.enum(
    model.JobStatus,
    name="JobStatus",
    description="How a job is. A pending one may have been begun before, and wait to be begun again.",
)

JobOrigin = strawberry.enum(model.JobOrigin, name="JobOrigin", description="What handed a job in.")


@strawberry.type(description="Work for an app's code or agent, done later in the name of a user.")
class Job:
    id: UUID
    number: BigInt = strawberry.field(description="Counts all jobs.")
    app_id: strawberry.ID
    status: JobStatus  # type: ignore[valid-type]
    origin: JobOrigin  # type: ignore[valid-type]
    priority: int
    run_at: datetime = strawberry.field(description="It runs then, or as soon as there is room after.")
    payload: Json = strawberry.field(description="What it is given.")
    result: Json | None = strawberry.field(description="What it came to, once it is completed.")
    error: str | None = strawberry.field(description="Why it failed, the last time it did.")
    attempts: int = strawberry.field(description="How often it was begun.")
    user_id: UUID | None = strawberry.field(description="In whose name it runs.")
    cron_id: UUID | None = strawberry.field(description="The cron that handed it in, if one did.")
    created_at: datetime
    started_at: datetime | None = strawberry.field(description="When it was begun the last time.")
    finished_at: datetime | None

    @strawberry.field(description="How often it may fail before it has failed.")
    def max_attempts(self: model.Job) -> int:
        return self.attempts_max

    @strawberry.field(description="How long it rests after the first failure; twice as long after each further one.")
    def backoff_seconds(self: model.Job) -> int:
        return self.backoff_s


def _bounds(description: str, default: Any, **bounds: Any) -> Any:
    return strawberry.field(default=default, description=description, directives=[Constraint(**bounds)])


@strawberry.input(description="A job to be.")
class JobInput:
    payload: Json | None = strawberry.field(default=strawberry.UNSET, description="Any JSON; `{}` without it.")
    run_at: datetime | None = strawberry.field(default=None, description="Not before then; at once without it.")
    priority: int = _bounds(
        "Higher ones of an app go before.", 0, minimum=service.PRIORITY_MIN, maximum=service.PRIORITY_MAX
    )
    max_attempts: int = _bounds("How often it may fail before it has.", 1, minimum=1, maximum=service.ATTEMPTS_MAX)
    backoff_seconds: int = _bounds(
        "How long it rests after the first failure; twice as long after each further one.",
        service.BACKOFF_S_DEFAULT,
        minimum=0,
        maximum=service.BACKOFF_S_MAX,
    )


def _new(given: JobInput) -> NewJob:
    payload: object = {} if given.payload is strawberry.UNSET else given.payload
    return NewJob(payload, given.run_at, given.priority, given.max_attempts, given.backoff_seconds)


@strawberry.type
class JobsQuery:
    @query(graphql_type=Connection[Job])
    async def jobs(
        self,
        info: Info,
        app: AppId,
        status: Annotated[JobStatus | None, about("Those of this status only.")] = None,  # type: ignore[valid-type]
        finished: Annotated[bool | None, about("Those that are finished, or those that are not.")] = None,
        first: First = FIRST,
        after: After = None,
    ) -> Connection[model.Job]:
        """An app's jobs, newest first: one's own, and everybody's with `app:{app}:job.manage_others`."""
        wanted = JobFilter(status, finished)
        return connection(await service.jobs(info.context, app, wanted, PageArgs(first, after)))

    @query(graphql_type=Job, refuses=[Code.NOT_FOUND])
    async def job(self, info: Info, app: AppId, id: JobId) -> model.Job:
        """One job."""
        return await service.job(info.context, app, id)


@strawberry.type
class JobsMutation:
    @mutation(access=MAY_INVOKE, graphql_type=Job, refuses=[Code.RATE_LIMITED])
    async def enqueue_job(
        self,
        info: Info,
        app: AppId,
        job: Annotated[JobInput | None, about("By default it runs at once and once, with an empty payload.")] = None,
        user: Annotated[UUID | None, about("In whose name (`allowActing`); the caller's own without it.")] = None,
    ) -> model.Job:
        """Hand in a job for an app's code. The app need not be installed: a job that nothing can do fails."""
        return (await service.enqueue(info.context, app, [_new(job or JobInput())], user))[0]

    @mutation(access=MAY_INVOKE, graphql_type=list[Job], refuses=[Code.RATE_LIMITED])
    async def enqueue_jobs(
        self,
        info: Info,
        app: AppId,
        jobs: Annotated[list[JobInput], bounded("The jobs.", min_items=1, max_items=service.AT_ONCE_MAX)],
    ) -> list[model.Job]:
        """Hand in jobs for an app's code, all of them or none."""
        return list(await service.enqueue(info.context, app, [_new(job) for job in jobs]))

    @mutation(graphql_type=Job, refuses=[Code.NOT_FOUND, Code.CONFLICT])
    async def cancel_job(self, info: Info, app: AppId, id: JobId) -> model.Job:
        """Call a job off. What runs already is not undone, but what it comes to is refused."""
        return await service.cancel(info.context, app, id)

    @mutation(access=MAY_INVOKE, graphql_type=Job, refuses=[Code.NOT_FOUND, Code.CONFLICT])
    async def retry_job(self, info: Info, app: AppId, id: JobId) -> model.Job:
        """Run a job again that has failed or was called off."""
        return await service.retry(info.context, app, id)


@strawberry.type
class JobsSubscription:
    @subscription(refuses=[Code.NOT_FOUND, Code.GONE])
    async def job_changed(
        self,
        info: Info,
        app: AppId,
        id: Annotated[strawberry.ID | None, about("One job, which is told as it is first; all without it.")] = None,
    ) -> AsyncGenerator[Job, None]:
        """Jobs of an app as they change, each as it is by then. Which ones is as for `jobs`."""
        return _shown(await service.changes(info.context, app, id))


async def _shown(changes: AsyncGenerator[model.Job, None]) -> AsyncGenerator[Job, None]:
    async with aclosing(changes):
        async for job in changes:
            yield job  # type: ignore[misc]
