"""The catalog: what is in it, and making an integration of it one of the installation's."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import orjson
from sqlalchemy import select

from domain.access import service as access
from domain.access.permissions import Permission
from domain.apps import service as apps
from domain.apps.model import App
from domain.audit import service as audit
from domain.integrations.configuring import integration_apps
from domain.integrations.definition import KIND, Definition, parse_definition, secret_fields
from domain.integrations.model import DeployedIntegration
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Conflict, Missing
from domain.kernel.secret import SecretText
from domain.secrets import service as secrets
from domain.sign_in.tokens import new_token, token_hash
from domain.workers import service as workers

TOKEN_KEY = "webhook_token"


def integration_scope(id: str) -> str:
    """Where the vault keeps what belongs to the integration itself."""
    return f"integration:{id}"


async def catalog(ctx: Ctx) -> Sequence[Definition]:
    """The definitions that could be deployed, by name. Raises Unauthenticated."""
    ctx.user()
    return await ctx.ports.integration_catalog.definitions()


@dataclass(frozen=True, slots=True)
class Deployed:
    """An integration that was deployed, and the token that other services call its webhook by."""

    app: App
    webhook_token: str


async def deploy(ctx: Ctx, id: str) -> Deployed:
    """Make a definition of the catalog one of the installation's integrations, or bring that to its newest form.

    It is installed first, for its code is told of its manifest when it begins: should the code not run, deploying
    it once more is all there is to do. Raises Denied, Missing, Failed, Unavailable; Conflict for an id that another app
    has.
    """
    ctx.need(Permission.APPS_INSTALL)
    ctx.keep_nothing()
    definition = await ctx.ports.integration_catalog.definition(id)
    if definition is None:
        raise Missing(f"integration '{id[:80]}' is not in the catalog")
    token = await ctx.apart(lambda apart: _installed(apart, definition))
    code = await ctx.ports.integration_catalog.code(id)
    if code is not None:
        await workers.put_in_place(ctx, id, code)
    return Deployed(await apps.app(ctx, id), token)


async def _installed(ctx: Ctx, definition: Definition) -> str:
    """Install the definition's manifest. Returns its webhook's token, which it keeps for good. Raises Conflict."""
    other = await ctx.first(ctx.visible(App).where(App.id == definition.id))
    if other is not None and other.manifest["type"] != KIND:
        raise Conflict(f"there is an app '{definition.id}' already, which is no integration")
    await apps.install(ctx, definition.manifest)
    there = await deployed(ctx, definition.id)
    token = await secrets.reveal(ctx, integration_scope(definition.id), TOKEN_KEY)
    if there is None or token is None:
        token = SecretText(new_token())
        await secrets.keep(ctx, integration_scope(definition.id), TOKEN_KEY, token)
    row = there or DeployedIntegration(id=definition.id)
    row.definition, row.deployed_by, row.updated_at = dict(definition.source), ctx.user(), ctx.now
    row.webhook_hash = token_hash(token.text)
    await (ctx.add(row) if there is None else ctx.flush())
    what = {"version": definition.manifest["version"], "sha256": _digest(definition)}
    await audit.note(ctx, audit.Note("integrations", definition.id, "DEPLOY", after=what))
    return token.text


def _digest(definition: Definition) -> str:
    return hashlib.sha256(orjson.dumps(definition.source, option=orjson.OPT_SORT_KEYS)).hexdigest()


async def remove(ctx: Ctx, id: str) -> None:
    """Take an integration away with its configuration, connections and bindings. None there is away already.

    Secrets of the platform that another integration needs as well stay. Raises Denied.
    """
    ctx.need(Permission.APPS_INSTALL)
    app = await ctx.first(integration_apps(ctx).where(App.id == id))
    if app is None:
        return
    if await deployed(ctx, id) is not None:  # a manifest that somebody else wrote may name any secret
        await _discard_secrets(ctx, app)
    await apps.uninstall(ctx, id)
    await access.register_keys(ctx, id, {})
    await audit.note(ctx, audit.Note("integrations", id, "REMOVE", before={"version": app.version}))


async def _discard_secrets(ctx: Ctx, app: App) -> None:
    others = await ctx.all(integration_apps(ctx).where(App.id != app.id).limit(apps.APPS_MAX))
    shared = {key for other in others for _, key in secret_fields(other.manifest)}
    for _, key in secret_fields(app.manifest):
        if key not in shared:
            await secrets.discard(ctx, secrets.PLATFORM, key)


async def deployed(ctx: Ctx, id: str) -> DeployedIntegration | None:
    """What came from the catalog under this id, or None."""
    return await ctx.first(ctx.visible(DeployedIntegration).where(DeployedIntegration.id == id))


async def definition_of(ctx: Ctx, id: str) -> Definition | None:
    """The definition that an integration is done by; None for one that is code and nothing else."""
    row = await deployed(ctx, id)
    return None if row is None else parse_definition(row.definition)


async def by_webhook_token(ctx: Ctx, token: str) -> DeployedIntegration | None:
    """The integration whose webhook is called by this token, or None."""
    wanted = DeployedIntegration.webhook_hash == token_hash(token)  # of whichever tenant: the caller says none
    return await ctx.first(select(DeployedIntegration).where(wanted))
