"""Hooks of records: jobs that a change hands in, in its own transaction."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import strawberry

from domain.access.permissions import app_key
from domain.hooks import model, service
from domain.hooks.service import NewHook
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Code
from graph.rules import Access, about, mutation, query
from graph.scalars import JsonObject

Info = strawberry.Info[Ctx, None]

AppId = Annotated[strawberry.ID, about("The app whose records it is about.")]
HookId = Annotated[UUID, about("The hook's id.")]

READ = Access(permission=app_key("{app}", "hook.read"))
WRITE = Access(permission=app_key("{app}", "hook.write"))

Operation = strawberry.enum(model.Operation, name="HookOperation", description="What happens to a record.")
HookAction = strawberry.enum(
    model.HookAction, name="HookAction", description="What a hook does: a job for the app's code, or for an agent."
)


@strawberry.type(description="One job for each record that something happens to, handed in with the change itself.")
class RecordHook:
    id: UUID
    app_id: strawberry.ID
    entity: str
    operation: Operation  # type: ignore[valid-type]
    action: HookAction  # type: ignore[valid-type]
    config: JsonObject = strawberry.field(
        description="Handed on with each job; `app_id` in it is the app whose agent is told."
    )
    active: bool
    declared_by: strawberry.ID | None = strawberry.field(description="The app whose manifest asks for it.")
    owner_id: UUID | None = strawberry.field(description="In whose name the jobs run.")
    created_at: datetime


@strawberry.type
class HooksQuery:
    @query(access=READ, graphql_type=list[RecordHook], refuses=[Code.FORBIDDEN])
    async def record_hooks(self, info: Info, app: AppId) -> list[model.RecordHook]:
        """The hooks of an app's records, oldest first."""
        return list(await service.hooks(info.context, app))

    @query(access=READ, graphql_type=RecordHook, refuses=[Code.NOT_FOUND])
    async def record_hook(self, info: Info, app: AppId, id: HookId) -> model.RecordHook:
        """One hook."""
        return await service.hook(info.context, app, id)


@strawberry.type
class HooksMutation:
    @mutation(access=WRITE, graphql_type=RecordHook, refuses=[Code.NOT_FOUND, Code.FORBIDDEN])
    async def create_record_hook(
        self,
        info: Info,
        app: AppId,
        entity: Annotated[str, about("The name of the object type. The caller must be able to read its records.")],
        operation: Operation,  # type: ignore[valid-type]
        action: HookAction = model.HookAction.JOB,  # type: ignore[valid-type]
        config: Annotated[JsonObject | None, about("`{}` without it.")] = None,
        run_as: Annotated[UUID | None, about("In whose name (`allowActing`); the caller's own without it.")] = None,
    ) -> model.RecordHook:
        """Make a hook of an app's records."""
        new = NewHook(entity, operation, action, dict(config or {}))
        return await service.create(info.context, app, new, run_as)

    @mutation(access=WRITE, graphql_type=RecordHook, refuses=[Code.NOT_FOUND])
    async def set_record_hook_active(
        self, info: Info, app: AppId, id: HookId, active: Annotated[bool, about("Whether it is at work.")]
    ) -> model.RecordHook:
        """Let a hook rest, or be at work again."""
        return await service.set_active(info.context, app, id, active)

    @mutation(access=WRITE, refuses=[Code.NOT_FOUND])
    async def delete_record_hook(self, info: Info, app: AppId, id: HookId) -> bool:
        """Delete a hook. Jobs of it that have not begun will fail."""
        await service.remove(info.context, app, id)
        return True
