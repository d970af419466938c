"""The declared object types of every app in use, parsed once and kept while they hold."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

import orjson

from domain.apps.manifest import parse_manifest
from domain.apps.model import App
from domain.kernel.ctx import Ctx
from domain.kernel.unit import Statement
from domain.records.declared import AppSchema, ObjectType

TRUSTED_S = 1.0  # how long a parsed app is used before its revision is looked up again
LOOKING_S = 0.1  # while one operation does, the others go on with what is known
APPS_MAX = 2000


Fetch: TypeAlias = Callable[[Statement], Awaitable[Sequence[Mapping[str, Any]]]]
Stamp = tuple[datetime, int]  # when an app was first installed, and its revision: an app can go and come back


@dataclass(slots=True)
class _Entry:
    schema: AppSchema
    stamp: Stamp
    trusted_until: float = 0.0


class Catalog:
    """Parsed apps by tenant and id. An operation that changes an app reads its own change."""

    def __init__(self) -> None:
        self._entries: dict[tuple[UUID, str], _Entry] = {}
        self._changes = 0  # how often something was to be forgotten

    def at_hand(self, tenant_id: UUID, app_id: str) -> AppSchema | None:
        """The schema of an installed app, for nobody who changes it, if it need not be looked up."""
        entry = self._entries.get((tenant_id, app_id))
        return None if entry is None or entry.trusted_until <= time.monotonic() else entry.schema

    async def find(self, ctx: Ctx, app_id: str) -> AppSchema | None:
        """The schema of an installed app, or None."""
        if app_id in ctx.changed_apps:
            loaded = await _load(ctx.fetch, ctx, app_id)
            return None if loaded is None else loaded.schema
        key = (ctx.tenant_id, app_id)
        entry = self._entries.get(key)
        if entry is None or entry.trusted_until <= time.monotonic():
            if entry is not None:
                entry.trusted_until = time.monotonic() + LOOKING_S
            entry = await self._looked_up(ctx, key, entry)
        return None if entry is None else entry.schema

    async def _looked_up(self, ctx: Ctx, key: tuple[UUID, str], entry: _Entry | None) -> _Entry | None:
        """The app as it is now. What may have changed while we looked is not trusted beyond this once."""
        changes = self._changes
        if entry is None or await _stamp(ctx, key[1]) != entry.stamp:
            entry = await _load(ctx.committed, ctx, key[1])
        self._entries.pop(key, None)
        if entry is not None:
            entry.trusted_until = time.monotonic() + (TRUSTED_S if changes == self._changes else 0)
            self._entries[key] = entry
            while len(self._entries) > APPS_MAX:
                self._entries.pop(next(iter(self._entries)))
        return entry

    def forget(self, tenant_id: UUID, app_id: str) -> None:
        """Look the app up again at its next use."""
        self._changes += 1
        self._entries.pop((tenant_id, app_id), None)


async def _stamp(ctx: Ctx, app_id: str) -> Stamp | None:
    sql = "SELECT created_at, revision FROM stoa.apps WHERE tenant_id = $1 AND id = $2"
    rows = await ctx.committed(Statement(sql, (ctx.tenant_id, app_id)))
    return (rows[0]["created_at"], rows[0]["revision"]) if rows else None


async def _load(fetch: Fetch, ctx: Ctx, app_id: str) -> _Entry | None:
    sql = """SELECT tenant_id, id, name, schema_name, revision, created_at, manifest::text AS manifest FROM stoa.apps
        WHERE tenant_id = $1 AND id = $2"""
    rows = await fetch(Statement(sql, (ctx.tenant_id, app_id)))
    if not rows:
        return None
    app = App(**{**rows[0], "manifest": orjson.loads(rows[0]["manifest"])})
    return _Entry(schema_of(app, parse_manifest(app.manifest).types), (app.created_at, app.revision))


def schema_of(app: App, types: Sequence[ObjectType]) -> AppSchema:
    """An app with these object types."""
    return AppSchema(
        tenant_id=app.tenant_id,
        app_id=app.id,
        app_name=app.name,
        schema_name=app.schema_name,
        revision=app.revision,
        types={type.name: type.in_schema(app.schema_name) for type in types},
    )
