"""The declared object types of every app in use, parsed once and kept while they hold."""

import time
from dataclasses import dataclass
from uuid import UUID

from domain.apps.manifest import parse_manifest
from domain.apps.model import App
from domain.kernel.ctx import Ctx
from domain.kernel.unit import Statement
from domain.records.declared import AppSchema

TRUSTED_S = 1.0  # how long a parsed app is used before its revision is looked up again
APPS_MAX = 2000


@dataclass(slots=True)
class _Entry:
    schema: AppSchema
    trusted_until: float


class Catalog:
    """Parsed apps by tenant and id. An operation that changes an app reads its own change."""

    def __init__(self) -> None:
        self._entries: dict[tuple[UUID, str], _Entry] = {}

    async def find(self, ctx: Ctx, app_id: str) -> AppSchema | None:
        """The schema of an installed app, or None."""
        key = (ctx.tenant_id, app_id)
        if app_id in ctx.changed_apps:
            return await _load(ctx, app_id)
        entry = self._entries.get(key)
        if entry is not None and entry.trusted_until > time.monotonic():
            return entry.schema
        if entry is None or await _revision(ctx, app_id) != entry.schema.revision:
            schema = await _load(ctx, app_id)
            if schema is None:
                self._entries.pop(key, None)
                return None
            entry = self._keep(key, schema)
        entry.trusted_until = time.monotonic() + TRUSTED_S
        return entry.schema

    def _keep(self, key: tuple[UUID, str], schema: AppSchema) -> _Entry:
        while len(self._entries) >= APPS_MAX:
            self._entries.pop(next(iter(self._entries)))
        entry = self._entries[key] = _Entry(schema, 0.0)
        return entry

    def forget(self, tenant_id: UUID, app_id: str) -> None:
        """Look the app up again at its next use."""
        self._entries.pop((tenant_id, app_id), None)


async def _revision(ctx: Ctx, app_id: str) -> int | None:
    sql = "SELECT revision FROM stoa.apps WHERE tenant_id = $1 AND id = $2"
    rows = await ctx.fetch(Statement(sql, (ctx.tenant_id, app_id)))
    return rows[0]["revision"] if rows else None


async def _load(ctx: Ctx, app_id: str) -> AppSchema | None:
    app = await ctx.first(ctx.visible(App).where(App.id == app_id).execution_options(populate_existing=True))
    return None if app is None else schema_of(app)


def schema_of(app: App) -> AppSchema:
    """The object types an installed app declares."""
    types = parse_manifest(app.manifest).types
    return AppSchema(
        tenant_id=app.tenant_id,
        app_id=app.id,
        app_name=app.name,
        schema_name=app.schema_name,
        revision=app.revision,
        types={type.name: type for type in types},
    )
