"""Apps: installing them from a manifest, listing and uninstalling them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from domain.access import service as access
from domain.access.permissions import (
    EVERYTHING,
    Permission,
    Verb,
    app_key,
    integration_key,
    policy_key,
    record_key,
    reveal_key,
)
from domain.agents import registration as agents
from domain.apps.changing import alone, carry_out, refuse_loss, steps_to
from domain.apps.events import AppChanged
from domain.apps.manifest import KINDS, Manifest, parse_manifest
from domain.apps.model import App
from domain.apps.reserved import is_reserved
from domain.collaboration import attached
from domain.crons import service as crons
from domain.hooks import service as hooks
from domain.jobs import service as jobs
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Denied, Invalid, Missing
from domain.kernel.model import DEFAULT_TENANT
from domain.kernel.unit import Statement
from domain.records.declared import policies_mark
from domain.records.naming import bounded, quoted
from domain.records.plan import Step, weighed
from domain.records.types import SecretType
from domain.secrets import service as secrets
from domain.storage import app_files
from domain.webhooks import service as webhooks
from domain.workers import service as workers
from domain.workers.model import Part

APPS_MAX = 10_000
PG_SCHEMAS = ("public",)  # an app may be called so; its tables stay out of there


@dataclass(frozen=True, slots=True)
class Installed:
    """What an installation did."""

    app: App
    first_time: bool
    steps: Sequence[Step]


async def apps(ctx: Ctx, kind: str | None = None) -> Sequence[App]:
    """The installed apps by name, of one kind if that is one. Raises Unauthenticated."""
    ctx.user()
    installed = ctx.visible(App).order_by(App.name, App.id).limit(APPS_MAX)
    return await ctx.all(installed.where(App.kind == kind) if kind in KINDS else installed)


async def app(ctx: Ctx, app_id: str) -> App:
    """One installed app. Raises Unauthenticated, Missing."""
    ctx.user()
    return _found(app_id, await ctx.first(ctx.visible(App).where(App.id == app_id)))


def _found(app_id: str, row: App | None) -> App:
    if row is None:
        raise Missing(f"app '{app_id}' not found")
    return row


async def install(ctx: Ctx, source: object, *, accept_loss: bool = False) -> Installed:
    """Install an app, or bring an installed one to a new manifest: tables, permission keys, its administrator.

    The manifest of an app that is there already is a change of declaration; the same manifest again changes
    nothing. Whoever may only create apps may change those they administer. Installations of one app wait for each
    other; a refused one leaves nothing behind. Raises Invalid with the path in the manifest; Denied; Conflict where
    stored values would be lost; Unavailable while others use the tables.
    """
    user_id = ctx.user()
    promoted = await access.make_first_admin(ctx, user_id)  # nobody rules yet: whoever installs first does
    may_change = promoted or ctx.may(Permission.APPS_INSTALL)
    if not may_change and not ctx.may(Permission.APPS_CREATE):
        ctx.need(Permission.APPS_INSTALL)
    manifest = _installable(source)
    await alone(ctx, manifest.app_id)
    there = await ctx.first(ctx.visible(App).where(App.id == manifest.app_id).with_for_update())
    if not may_change and not _may_change(ctx, there):
        ctx.need(Permission.APPS_INSTALL)
    steps = await weighed(ctx, await _steps(ctx, there, manifest))
    if not accept_loss:
        refuse_loss(manifest, steps)
    await carry_out(ctx, manifest.app_id, steps)
    for step in steps:
        if step.change == "rename_table" and step.before is not None:
            await attached.rename(ctx, manifest.app_id, step.before, step.entity)
    app = await ctx.add(_new_app(ctx, manifest)) if there is None else await _rewritten(ctx, there, manifest)
    await access.register_keys(ctx, app.id, _keys(manifest))
    await access.make_app_admin(ctx, app.id, user_id)
    await crons.declare(ctx, app.id, manifest.document["crons"])
    await webhooks.declare(ctx, app.id, manifest.document["webhooks"])
    await hooks.declare(ctx, app.id, manifest.document.get("trigger"))
    code = await workers.deployment(ctx, app.id, Part.BACKEND)
    await agents.follow(ctx, app, None if code is None else code.agent)
    ctx.changed_apps.add(app.id)
    ctx.emit(AppChanged(app.id, policies_mark(manifest.types)))
    return Installed(app, there is None, steps)


def _installable(source: object) -> Manifest:
    manifest = parse_manifest(source)
    if is_reserved(manifest.app_id):
        raise Invalid("appId", f"appId '{manifest.app_id}' is reserved")
    return manifest


async def _rewritten(ctx: Ctx, app: App, manifest: Manifest) -> App:
    """The app with the new manifest; the same one leaves it as it is."""
    if app.manifest != manifest.document:
        app.name, app.version = manifest.name, manifest.version
        app.description, app.kind = manifest.description, manifest.kind
        app.manifest = manifest.document
        app.revision += 1
        app.updated_at = ctx.now
        await ctx.flush()
    return app


def _new_app(ctx: Ctx, manifest: Manifest) -> App:
    return App(
        tenant_id=ctx.tenant_id,
        id=manifest.app_id,
        name=manifest.name,
        version=manifest.version,
        description=manifest.description,
        kind=manifest.kind,
        manifest=manifest.document,
        schema_name=_schema_name(ctx, manifest.app_id),
        revision=1,
        updated_at=ctx.now,
    )


def _schema_name(ctx: Ctx, app_id: str) -> str:
    """The app's own name in the default tenant, where people look for it; elsewhere with the tenant's mark."""
    if ctx.tenant_id == DEFAULT_TENANT and app_id not in PG_SCHEMAS:
        return app_id
    return bounded(f"{app_id}__{ctx.tenant_id.hex}")


async def _steps(ctx: Ctx, there: App | None, manifest: Manifest) -> list[Step]:
    app = _new_app(ctx, manifest) if there is None else there
    return await steps_to(ctx, app, manifest, first=there is None)


def _keys(manifest: Manifest) -> Mapping[str, str]:
    """The permission keys an app brings, with their descriptions."""
    records = {
        record_key(manifest.app_id, type.name, verb): f"{verb} {type.name}" for type in manifest.types for verb in Verb
    }
    bound = {
        policy_key(manifest.app_id, type.name, verb, policy.name): policy.description
        or f"{verb} {type.name}: {policy.name}"
        for type in manifest.types
        for policy in type.policies
        for verb in Verb
        if verb in policy.verbs
    }
    reveal = {
        reveal_key(manifest.app_id, type.name): f"reveal secrets of {type.name}"
        for type in manifest.types
        if any(isinstance(field.type, SecretType) for field in type.fields)
    }
    crons = {app_key(manifest.app_id, f"cron.{verb}"): f"{verb} crons" for verb in ("read", "write", "trigger")}
    custom = {app_key(manifest.app_id, key): text for key, text in manifest.custom_keys.items()}
    actions = {app_key(manifest.app_id, f"action:{id}"): f"call action {id}" for id in manifest.actions}
    own = {
        **records,
        **bound,
        **reveal,
        **crons,
        app_key(manifest.app_id, "invoke"): "call the app",
        **actions,
        **custom,
    }
    return {**own, **_integration_keys(manifest)} if manifest.kind == "integration" else own


def _integration_keys(manifest: Manifest) -> Mapping[str, str]:
    """The keys by which people may use an integration, or manage it for others."""
    actions = {integration_key(manifest.app_id, id): f"{id} with {manifest.name}" for id in manifest.actions}
    return {**actions, integration_key(manifest.app_id, "manage"): f"manage {manifest.name} for others"}


@dataclass(frozen=True, slots=True)
class Plan:
    """What installing a manifest would change."""

    app_id: str
    steps: Sequence[Step]


async def plan_app(ctx: Ctx, source: object) -> Plan:
    """What `install` would do, without doing it. Raises Unauthenticated, Invalid.

    Who may not change the app is told what may be lost, and not what stored values would make of it.
    """
    ctx.user()
    manifest = _installable(source)
    there = await ctx.first(ctx.visible(App).where(App.id == manifest.app_id))
    steps = await _steps(ctx, there, manifest)
    return Plan(manifest.app_id, await weighed(ctx, steps) if _may_change(ctx, there) else steps)


def _may_change(ctx: Ctx, app: App | None) -> bool:
    """Whether the caller may bring an app to another manifest, or install it if it isn't there."""
    if ctx.may(Permission.APPS_INSTALL):
        return True
    return app is None or ctx.may(app_key(app.id, EVERYTHING))


async def uninstall(ctx: Ctx, app_id: str) -> None:
    """Take an app away with its records, code, secrets and files. One that is not there is away already.

    Raises Denied.
    """
    ctx.need(Permission.APPS_INSTALL)
    if is_reserved(app_id):
        raise Denied(f"app '{app_id}' is blocked: it belongs to the system")
    await alone(ctx, app_id)
    await workers.forget(ctx, app_id)  # which may be there without the app, as may jobs
    await jobs.forget(ctx, app_id)
    await hooks.forget(ctx, app_id)
    await agents.forget(ctx, app_id)
    there = await ctx.first(ctx.visible(App).where(App.id == app_id).with_for_update())
    if there is None:
        return
    await ctx.fetch(Statement(f"DROP SCHEMA IF EXISTS {quoted(there.schema_name)} CASCADE"))
    await ctx.remove(there)
    await secrets.discard_all(ctx, secrets.app_scope(app_id))
    await webhooks.forget(ctx, app_id)
    await app_files.forget(ctx, app_id)
    await attached.forget_app(ctx, app_id)
    ctx.changed_apps.add(app_id)
    ctx.emit(AppChanged(app_id, None))
