"""Crons: jobs that the clock hands in."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import strawberry

from domain.access.permissions import app_key
from domain.crons import model, service
from domain.crons.service import CronChanges, NewCron
from domain.jobs.model import Job as JobRow
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Code, Reason
from domain.kernel.page import PageArgs
from graph.connection import FIRST, After, Connection, connection
from graph.jobs import Job
from graph.rules import Access, about, bounded, mutation, query, refusal
from graph.scalars import BigInt, Json

Info = strawberry.Info[Ctx, None]

AppId = Annotated[strawberry.ID, about("The app's id.")]
CronId = Annotated[UUID, about("The cron's id.")]
Name = Annotated[str, bounded("1 to 64 of A-Z a-z 0-9 _ -, another one for each cron of the app.", max_length=64)]
Schedule = Annotated[
    str,
    about("Five fields of digits and `* / , - $` (`$` is the last day of a month), or `N seconds`, N from 1 to 59."),
]
First = Annotated[int, bounded("How many to return.", minimum=1, maximum=service.LISTED_MAX)]
FirstRuns = Annotated[int, bounded("How many to return.", minimum=1, maximum=service.RUNS_FIRST_MAX)]
SinceEnabled = Annotated[bool, about("Only those since it was enabled the last time, or got another schedule.")]

Overlap = strawberry.enum(
    model.Overlap, name="CronOverlap", description="What is done when a cron is due while a job of it waits or runs."
)
RunStatus = strawberry.enum(
    model.RunStatus,
    name="CronRunStatus",
    description="What became of a time that a cron was due: a job was handed in, or none since there was one already.",
)

READ = Access(permission=app_key("{app}", "cron.read"))
WRITE = Access(permission=app_key("{app}", "cron.write"))
TRIGGER = Access(permission=app_key("{app}", "cron.trigger"))
# Of a cron that is somebody else's, `cron.manage_others` is asked for besides.
OTHERS = [Code.NOT_FOUND, Code.FORBIDDEN]


@strawberry.type(description="A time that a cron was due.")
class CronRun:
    id: BigInt
    status: RunStatus  # type: ignore[valid-type]
    message: str = strawberry.field(description="In words.")
    process_id: int = strawberry.field(description="Of the process that did it.")
    job_id: UUID | None = strawberry.field(description="The job that was handed in.")
    due_at: datetime | None
    started_at: datetime
    finished_at: datetime


@strawberry.type(description="A schedule by which an app's code, or its agent, is given a job.")
class Cron:
    id: UUID
    app_id: strawberry.ID
    name: str
    schedule: str
    timezone: str | None = strawberry.field(description="Whose clock it goes by; UTC without one.")
    payload: Json = strawberry.field(description="What a job is given; with `cron_id` beside it when it was due.")
    overlap: Overlap  # type: ignore[valid-type]
    number: BigInt | None = strawberry.field(description="Another one each time it is enabled; null while it is not.")
    next_at: datetime | None = strawberry.field(description="When it is due.")
    owner_id: UUID | None = strawberry.field(description="In whose name its jobs run.")
    created_at: datetime
    updated_at: datetime

    @strawberry.field(description="Whether it is due at all.")
    def enabled(self: model.Cron) -> bool:
        return self.enabled

    @strawberry.field(
        description="What became of each time it was due, newest first.", graphql_type=Connection[CronRun]
    )
    async def runs(
        self: model.Cron, info: Info, first: FirstRuns = FIRST, after: After = None
    ) -> Connection[model.CronRun]:
        return connection(await service.runs(info.context, self.app_id, self.id, PageArgs(first, after)))


@strawberry.type
class CronsQuery:
    @query(access=READ, graphql_type=Connection[Cron], refuses=[Code.FORBIDDEN])
    async def crons(self, info: Info, app: AppId, first: First = FIRST, after: After = None) -> Connection[model.Cron]:
        """An app's crons by name: one's own, and everybody's with `app:{app}:cron.manage_others`."""
        return connection(await service.crons(info.context, app, PageArgs(first, after)))

    @query(graphql_type=Connection[Cron])
    async def all_crons(self, info: Info, first: First = FIRST, after: After = None) -> Connection[model.Cron]:
        """The crons of all apps whose crons the caller may read, by app and name."""
        return connection(await service.all_crons(info.context, PageArgs(first, after)))

    @query(access=READ, graphql_type=Cron, refuses=OTHERS)
    async def cron(self, info: Info, app: AppId, id: CronId) -> model.Cron:
        """One cron."""
        return await service.cron(info.context, app, id)

    @query(access=READ, graphql_type=Connection[CronRun], refuses=OTHERS)
    async def cron_runs(
        self,
        info: Info,
        app: AppId,
        id: CronId,
        since_enabled: SinceEnabled = False,
        first: FirstRuns = FIRST,
        after: After = None,
    ) -> Connection[model.CronRun]:
        """What became of each time a cron was due, newest first."""
        args = PageArgs(first, after)
        return connection(await service.runs(info.context, app, id, args, since_enabled=since_enabled))


@strawberry.type
class CronsMutation:
    @mutation(
        access=WRITE,
        graphql_type=Cron,
        refuses=[Code.NOT_FOUND, Code.FORBIDDEN, refusal(Code.CONFLICT, Reason.NAME_TAKEN)],
    )
    async def create_cron(
        self,
        info: Info,
        app: AppId,
        name: Name,
        schedule: Schedule,
        timezone: Annotated[str | None, about("Like `Europe/Paris`; UTC without it.")] = None,
        payload: Annotated[Json | None, about("Any JSON; `{}` without it.")] = None,
        overlap: Annotated[Overlap | None, about("SKIP without it.")] = None,  # type: ignore[valid-type]
        run_as: Annotated[UUID | None, about("In whose name (`allowActing`); the caller's own without it.")] = None,
    ) -> model.Cron:
        """Make a cron of an app. It is enabled."""
        overlap = overlap or model.Overlap.SKIP
        new = NewCron(name, schedule, timezone, {} if payload is None else payload, overlap)
        return await service.create(info.context, app, new, run_as)

    @mutation(access=WRITE, graphql_type=Cron, refuses=OTHERS)
    async def update_cron(
        self,
        info: Info,
        app: AppId,
        id: CronId,
        schedule: Annotated[str | None, about("As for `createCron`.")] = None,
        payload: Annotated[Json | None, about("Any JSON but null.")] = None,
        overlap: Annotated[Overlap | None, about("What is done while a job of it waits or runs.")] = None,  # type: ignore[valid-type]
        enabled: Annotated[bool | None, about("Whether it is due at all.")] = None,
    ) -> model.Cron:
        """Change a cron; what is left out stays. Enabled anew, or with another schedule, it is due from then on."""
        changes = CronChanges(schedule, payload, overlap, enabled)
        return await service.update(info.context, app, id, changes)

    @mutation(access=WRITE, graphql_type=Cron, refuses=OTHERS)
    async def delete_cron(self, info: Info, app: AppId, id: CronId) -> model.Cron:
        """Delete a cron with what is known of its runs. Returns what it was."""
        return await service.remove(info.context, app, id)

    @mutation(access=TRIGGER, graphql_type=Job, refuses=[*OTHERS, Code.RATE_LIMITED])
    async def trigger_cron(self, info: Info, app: AppId, id: CronId) -> JobRow:
        """Hand in a cron's job now, whatever its schedule and overlap say, and whether it is enabled."""
        return await service.trigger(info.context, app, id)
