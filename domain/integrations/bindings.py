"""Which apps may use which integrations, for everybody or for one user, and with whose connection."""

from collections.abc import Sequence
from enum import StrEnum
from uuid import UUID

from sqlalchemy import Select, func, or_, select

from domain.access.permissions import integration_key
from domain.apps import service as apps
from domain.audit import service as audit
from domain.integrations.configuring import integration_app
from domain.integrations.model import IntegrationBinding, IntegrationConnection
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Denied, Missing

BINDINGS_MAX = 1_000


class Scope(StrEnum):
    """For whom an app may use an integration."""

    APP = "app"  # everybody who uses the app
    USER = "user"  # whoever binds it


async def bindings(ctx: Ctx, app_id: str) -> Sequence[IntegrationBinding]:
    """The integrations an app may use for everybody, and for the caller. Raises Unauthenticated, Missing."""
    user_id = ctx.user()
    await apps.app(ctx, app_id)
    mine = or_(IntegrationBinding.user_id.is_(None), IntegrationBinding.user_id == user_id)
    rows = ctx.visible(IntegrationBinding).where(IntegrationBinding.app_id == app_id, mine)
    ordered = rows.order_by(IntegrationBinding.integration_id, IntegrationBinding.user_id.nulls_first())
    return await ctx.all(ordered.limit(BINDINGS_MAX))


async def bind(
    ctx: Ctx, app_id: str, integration_id: str, connection_id: UUID | None, scope: Scope
) -> IntegrationBinding:
    """Let an app use an integration. Raises Denied, Missing.

    Without a connection it is that of whoever uses the app. For everybody it takes the right to manage the
    integration; somebody else's connection does, too.
    """
    user_id = ctx.user()
    if scope is Scope.APP:
        ctx.need(integration_key(integration_id, "manage"))
    await apps.app(ctx, app_id)
    await integration_app(ctx, integration_id)
    if connection_id is not None:
        await _refuse_foreign(ctx, integration_id, connection_id)
    return await _written(ctx, app_id, integration_id, user_id if scope is Scope.USER else None, connection_id)


async def _refuse_foreign(ctx: Ctx, integration_id: str, connection_id: UUID) -> None:
    """Raises Missing for what is no connection with the integration, Denied for one the caller may not hand on."""
    connection = await ctx.one(IntegrationConnection, connection_id)
    if connection.integration_id != integration_id:
        raise Missing("integration connection not found")
    if connection.user_id != ctx.user() and not ctx.may(integration_key(integration_id, "manage")):
        raise Denied("this connection is somebody else's")


async def unbind(ctx: Ctx, app_id: str, integration_id: str, scope: Scope) -> IntegrationBinding:
    """Let an app use an integration no longer. Raises Denied, Missing."""
    user_id = ctx.user()
    if scope is Scope.APP:
        ctx.need(integration_key(integration_id, "manage"))
    row = await ctx.first(_row(ctx, app_id, integration_id, user_id if scope is Scope.USER else None))
    if row is None:
        raise Missing(f"app '{app_id[:80]}' is not bound to integration '{integration_id[:80]}'")
    await ctx.remove(row)
    await audit.note(ctx, audit.Note("integration_bindings", str(row.id), "DELETE", before=_noted(row)))
    return row


# For other modules. None of these asks who may.


async def binding_of(ctx: Ctx, app_id: str, integration_id: str, user_id: UUID | None) -> IntegrationBinding | None:
    """By which an app uses an integration for this user: their own, or else that for everybody."""
    own = None if user_id is None else await ctx.first(_row(ctx, app_id, integration_id, user_id))
    return own or await ctx.first(_row(ctx, app_id, integration_id, None))


async def bind_for_everybody(ctx: Ctx, app_id: str, integration_id: str, connection_id: UUID) -> IntegrationBinding:
    """Let an app use an integration with this connection. Raises Missing."""
    await apps.app(ctx, app_id)
    return await _written(ctx, app_id, integration_id, None, connection_id)


async def _written(
    ctx: Ctx, app_id: str, integration_id: str, user_id: UUID | None, connection_id: UUID | None
) -> IntegrationBinding:
    name = f"bindings:{ctx.tenant_id}:{app_id}"
    await ctx.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))
    row = await ctx.first(_row(ctx, app_id, integration_id, user_id))
    operation, before = ("INSERT", None) if row is None else ("UPDATE", _noted(row))
    if row is None:
        row = IntegrationBinding(app_id=app_id, integration_id=integration_id, user_id=user_id)
        row.created_by = ctx.user()
    row.connection_id = connection_id
    await (ctx.add(row) if operation == "INSERT" else ctx.flush())
    await audit.note(ctx, audit.Note("integration_bindings", str(row.id), operation, before, _noted(row)))
    return row


def _row(ctx: Ctx, app_id: str, integration_id: str, user_id: UUID | None) -> Select[IntegrationBinding]:
    return ctx.visible(IntegrationBinding).where(
        IntegrationBinding.app_id == app_id,
        IntegrationBinding.integration_id == integration_id,
        IntegrationBinding.user_id.is_not_distinct_from(user_id),
    )


def _noted(row: IntegrationBinding) -> dict[str, str | None]:
    return {
        "app": row.app_id,
        "integration": row.integration_id,
        "user": None if row.user_id is None else str(row.user_id),
        "connection": None if row.connection_id is None else str(row.connection_id),
    }
