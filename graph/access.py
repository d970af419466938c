"""Roles and permissions, of the installation or of one app."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import strawberry

from domain.access import acting, service
from domain.access.model import ActingAgreement as ActingAgreementRow
from domain.access.model import PermissionKey as PermissionKeyRow
from domain.access.permissions import EVERYTHING
from domain.access.service import RoleChanges
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Code
from graph.rules import Access, about, bounded, mutation, query

Info = strawberry.Info[Ctx, None]

App = Annotated[
    strawberry.ID | None,
    about("Speak of this app's roles, with its keys un-prefixed; without it, of the whole installation."),
]
RoleName = Annotated[str, bounded("The role's name.", max_length=service.ROLE_NAME_CHARS_MAX)]
ADMINISTRATOR = Access(permission=EVERYTHING)


@strawberry.type(description="A named set of permission keys.")
class Role:
    name: str
    description: str | None
    inherits: list[str] = strawberry.field(description="Roles whose permissions it has too.")
    permissions: list[str]


@strawberry.type(description="A role that a user holds.")
class RoleAssignment:
    user_id: UUID
    role: str
    assigned_at: datetime


@strawberry.type(description="What a user may do: roles and keys, those inherited included, both sorted.")
class EffectivePermissions:
    roles: list[str]
    permissions: list[str]


@strawberry.type(description="A permission key that can be given to a role.")
class PermissionKey:
    key: str
    description: str


@strawberry.type(description="That one account may have work done in another's name: jobs, crons, hooks.")
class ActingAgreement:
    principal_id: UUID = strawberry.field(description="In whose name.")
    actor_id: UUID = strawberry.field(description="Who may.")
    created_at: datetime


Principal = Annotated[UUID | None, about("In whose name; an administrator may speak for anybody.")]


@strawberry.type
class AccessQuery:
    @query(graphql_type=list[ActingAgreement])
    async def acting_agreements(self, info: Info) -> list[ActingAgreementRow]:
        """For whom the caller may act, and who may act for them; newest first."""
        return list(await acting.agreements(info.context))

    @query(refuses=[Code.NOT_FOUND], graphql_type=list[Role])
    async def roles(self, info: Info, app: App = None) -> list[service.RoleView]:
        """The roles, by name."""
        return await service.roles(info.context, app)

    @query(access=ADMINISTRATOR, refuses=[Code.NOT_FOUND])
    async def role_assignments(self, info: Info, app: App = None) -> list[RoleAssignment]:
        """Who holds which role, newest first."""
        views = await service.assignments(info.context, app)
        return [RoleAssignment(user_id=v.user_id, role=v.role, assigned_at=v.assignment.assigned_at) for v in views]

    @query(refuses=[Code.NOT_FOUND], graphql_type=EffectivePermissions)
    async def permissions(
        self,
        info: Info,
        user: Annotated[UUID | None, about("Whose; an administrator may ask for anybody's.")] = None,
        app: App = None,
    ) -> service.Effective:
        """What the caller, or another user, may do."""
        return await service.effective(info.context, user, app)

    @query(refuses=[Code.NOT_FOUND], graphql_type=list[PermissionKey])
    async def available_permissions(self, info: Info, app: App = None) -> list[PermissionKeyRow]:
        """The keys that can be given to roles: those the caller holds, or all of an app."""
        return await service.available(info.context, app)


@strawberry.type
class AccessMutation:
    @mutation(refuses=[Code.NOT_FOUND, Code.FORBIDDEN], graphql_type=ActingAgreement)
    async def allow_acting(self, info: Info, actor: UUID, principal: Principal = None) -> ActingAgreementRow:
        """Let somebody have work done in one's name. They must have all permissions that one has."""
        return await acting.allow(info.context, actor, principal)

    @mutation(refuses=[Code.FORBIDDEN])
    async def disallow_acting(self, info: Info, actor: UUID, principal: Principal = None) -> bool:
        """Take that back; what is under way goes on. Whether there was anything to take back."""
        return await acting.disallow(info.context, actor, principal)

    @mutation(access=ADMINISTRATOR, refuses=[Code.NOT_FOUND], graphql_type=Role)
    async def create_role(
        self,
        info: Info,
        name: RoleName,
        description: str | None = None,
        inherits: list[str] | None = None,
        permissions: list[str] | None = None,
        app: App = None,
    ) -> service.RoleView:
        """Write a new role."""
        changes = RoleChanges(description, inherits or [], permissions or [])
        return await service.create_role(info.context, name, changes, app)

    @mutation(access=ADMINISTRATOR, refuses=[Code.NOT_FOUND], graphql_type=Role)
    async def update_role(
        self,
        info: Info,
        name: RoleName,
        description: strawberry.Maybe[str | None] = None,
        inherits: list[str] | None = None,
        permissions: list[str] | None = None,
        app: App = None,
    ) -> service.RoleView:
        """Write parts of a role anew; a list that is given replaces the old one. Null takes the description away."""
        changes = RoleChanges(
            description.value if description else None,
            inherits,
            permissions,
            clear_description=description is not None and description.value is None,
        )
        return await service.update_role(info.context, name, changes, app)

    @mutation(access=ADMINISTRATOR, refuses=[Code.NOT_FOUND])
    async def delete_role(self, info: Info, name: RoleName, app: App = None) -> bool:
        """Delete a role, and take it from everybody."""
        await service.delete_role(info.context, name, app)
        return True

    @mutation(access=ADMINISTRATOR, refuses=[Code.NOT_FOUND])
    async def assign_role(self, info: Info, user: UUID, role: RoleName, app: App = None) -> bool:
        """Give a role to a user; one who has it keeps it."""
        await service.assign_role(info.context, user, role, app)
        return True

    @mutation(access=ADMINISTRATOR, refuses=[Code.NOT_FOUND])
    async def revoke_role(self, info: Info, user: UUID, role: RoleName, app: App = None) -> bool:
        """Take a role from a user."""
        await service.revoke_role(info.context, user, role, app)
        return True
