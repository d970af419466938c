"""Apps: installing, listing and taking away."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import strawberry

from domain.access.permissions import Permission
from domain.apps import service
from domain.apps.model import App as AppRow
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Code
from domain.records.plan import Step
from domain.workers.service import with_frontends
from graph.rules import Access, about, mutation, query
from graph.scalars import Json, JsonObject

Info = strawberry.Info[Ctx, None]

AppId = Annotated[strawberry.ID, about("The app's id.")]
Manifest = Annotated[JsonObject, about("The app's manifest, a JSON object.")]


@strawberry.type(description="An installed app.")
class App:
    id: strawberry.ID
    name: str
    version: str
    description: str
    kind: str = strawberry.field(description="app, integration or agent")
    created_at: datetime
    updated_at: datetime
    entities: list[str] = strawberry.field(description="The names of its object types.")

    @strawberry.field(description="Always `installed`: an app is there whole, or not at all.")
    def status(self) -> str:
        return "installed"

    @strawberry.field(description="Whether it has pages of its own to serve.")
    async def has_frontend(self: AppRow, info: Info) -> bool:
        return self.id in await with_frontends(info.context)

    @strawberry.field(description="The declared object types, as in its manifest.")
    def data_contract(self: AppRow) -> Json:
        return Json(self.manifest["dataContract"])

    @strawberry.field(description="The manifest as it was understood.")
    def manifest(self: AppRow) -> Json:
        return Json(self.manifest)


@strawberry.type(description="One change of the database that a declaration asks for.")
class SchemaChange:
    entity: str
    change: str
    column: str | None
    detail: str
    loses: bool = strawberry.field(description="Whether stored values go with it.")
    sql: list[str] = strawberry.field(description="What is done for it, in PostgreSQL's words.")


@strawberry.type(description="What installing a manifest would change.")
class InstallPlan:
    app: strawberry.ID
    changes: list[SchemaChange]

    @strawberry.field(description="Whether there is nothing to change.")
    def compliant(self) -> bool:
        return not self.changes


@strawberry.type(description="What an installation did.")
class InstallPayload:
    app: App
    created: bool = strawberry.field(description="Whether the app was not there before.")
    changes: list[SchemaChange]


def _changes(steps: Sequence[Step]) -> list[SchemaChange]:
    return [
        SchemaChange(
            entity=step.entity,
            change=step.change,
            column=step.column,
            detail=step.detail,
            loses=step.loses,
            sql=list(step.statements),
        )
        for step in steps
    ]


@strawberry.type
class AppsQuery:
    @query(graphql_type=list[App])
    async def apps(
        self, info: Info, kind: Annotated[str | None, about("app, integration or agent; others are ignored.")] = None
    ) -> list[AppRow]:
        """The installed apps, by name."""
        return list(await service.apps(info.context, kind))

    @query(graphql_type=App, refuses=[Code.NOT_FOUND])
    async def app(self, info: Info, id: AppId) -> AppRow:
        """One installed app."""
        return await service.app(info.context, id)

    @query()
    async def plan_app(self, info: Info, manifest: Manifest) -> InstallPlan:
        """What installing a manifest would change, without doing it."""
        plan = await service.plan_app(info.context, manifest)
        return InstallPlan(app=strawberry.ID(plan.app_id), changes=_changes(plan.steps))


@strawberry.type
class AppsMutation:
    @mutation(access=Access(permission=Permission.APPS_INSTALL), refuses=[Code.CONFLICT])
    async def install_app(
        self,
        info: Info,
        manifest: Manifest,
        accept_loss: Annotated[bool, about("Go on where the plan says that stored values are lost.")] = False,
    ) -> InstallPayload:
        """Install an app, or bring an installed one to a new manifest; values that fit are kept.

        A manifest in Stoa's own dialect that would lose stored values is refused unless that is accepted; RootCX's
        removes the values of removed fields.
        """
        done = await service.install(info.context, manifest, accept_loss=accept_loss)
        return InstallPayload(app=done.app, created=done.first_time, changes=_changes(done.steps))  # type: ignore[arg-type]

    @mutation(access=Access(permission=Permission.APPS_INSTALL))
    async def uninstall_app(self, info: Info, id: AppId) -> bool:
        """Take an app away with all its records; one that isn't there is away already."""
        await service.uninstall(info.context, id)
        return True
