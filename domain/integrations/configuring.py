"""What an integration is configured with: secrets of the platform, and client configurations with names."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Select, exists, select

from domain.access.permissions import EVERYTHING
from domain.apps.model import App
from domain.audit import service as audit
from domain.integrations.definition import KIND, secret_fields
from domain.integrations.model import IntegrationConfig, IntegrationConnection
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Invalid, Missing
from domain.kernel.secret import SecretText
from domain.secrets import service as secrets

LABEL_CHARS_MAX = 200
CONFIGS_MAX = 100
CREDENTIALS_BYTES_MAX = 32 * 1024
VALUE_KEY = "credentials"


def integration_apps(ctx: Ctx) -> Select[App]:
    """The apps that are integrations, by what their manifests say: one that has an agent as well is of that kind."""
    return ctx.visible(App).where(App.manifest["type"].astext == KIND)


async def integration_app(ctx: Ctx, id: str) -> App:
    """The app that an installed integration is. Raises Missing."""
    found = await ctx.first(integration_apps(ctx).where(App.id == id))
    if found is None:
        raise Missing(f"integration '{id[:80]}' not found")
    return found


# Of the platform.


async def configure(ctx: Ctx, id: str, values: Mapping[str, Any]) -> App:
    """Keep what of `values` the integration declares as secret; an empty text deletes.

    Raises Denied, Missing; Invalid on the field.
    """
    ctx.need(EVERYTHING)
    ctx.keep_nothing()
    app = await integration_app(ctx, id)
    await keep_fields(ctx, app, values)
    return app


async def keep_fields(ctx: Ctx, app: App, values: Mapping[str, Any]) -> None:
    """Write the secret ones of these fields into the platform's vault. Raises Invalid."""
    for name, key in secret_fields(app.manifest):
        value = values.get(name)
        if value is None:
            continue
        if not isinstance(value, str):
            raise Invalid(name, f"{name} must be a string")
        if value:
            await secrets.keep(ctx, secrets.PLATFORM, key, SecretText(value))
        else:
            await secrets.discard(ctx, secrets.PLATFORM, key)


async def config_of(ctx: Ctx, app: App, config_id: UUID | None = None) -> dict[str, str]:
    """What the integration is configured with, in the clear; what a named configuration has goes before."""
    found = {}
    for name, key in secret_fields(app.manifest):
        value = await secrets.reveal(ctx, secrets.PLATFORM, key)
        if value is not None:
            found[name] = value.text
    return found if config_id is None else found | await revealed(ctx, config_scope(config_id))


async def configured(ctx: Ctx, apps: Sequence[App]) -> Mapping[str, bool]:
    """Which of these integrations have the secrets they cannot do without, by id."""
    known = await secrets.known_keys(ctx, secrets.PLATFORM)
    return {app.id: _is_configured(app.manifest, known) for app in apps}


def _is_configured(manifest: Mapping[str, Any], known: frozenset[str]) -> bool:
    """RootCX reference, "GET /api/v1/integrations"."""
    keys = dict(secret_fields(manifest))
    schema = manifest.get("configSchema") or {}

    def all_set(required: Any) -> bool:
        return all(keys[name] in known for name in required or () if name in keys)

    if not keys:
        return True
    if isinstance(schema.get("anyOf"), list):
        return any(all_set(branch.get("required")) for branch in schema["anyOf"] if isinstance(branch, dict))
    if schema.get("required"):
        return all_set(schema["required"])
    return any(key in known for key in keys.values())


# With names.


def config_scope(id: UUID) -> str:
    """Where the vault keeps a named configuration."""
    return f"integration_config:{id}"


async def configs(ctx: Ctx, integration_id: str) -> Sequence[IntegrationConfig]:
    """The named configurations by age. Raises Unauthenticated, Missing."""
    ctx.user()
    await integration_app(ctx, integration_id)
    return await ctx.all(_configs(ctx, integration_id).order_by(IntegrationConfig.id).limit(CONFIGS_MAX))


def _configs(ctx: Ctx, integration_id: str) -> Select[IntegrationConfig]:
    return ctx.visible(IntegrationConfig).where(IntegrationConfig.integration_id == integration_id)


async def create_config(ctx: Ctx, integration_id: str, label: str, credentials: Mapping[str, Any]) -> IntegrationConfig:
    """Write a new named configuration. Raises Denied, Missing; Invalid on `label` or `credentials`."""
    ctx.need(EVERYTHING)
    ctx.keep_nothing()
    await integration_app(ctx, integration_id)
    if len(await ctx.all(_configs(ctx, integration_id).limit(CONFIGS_MAX))) >= CONFIGS_MAX:
        raise Invalid("label", f"there are {CONFIGS_MAX} configurations already")
    config = await ctx.add(IntegrationConfig(integration_id=integration_id, label=checked_label(label)))
    await keep_values(ctx, config_scope(config.id), credentials)
    await audit.note(ctx, audit.Note("integration_configs", str(config.id), "INSERT", after=_noted(config)))
    return config


async def delete_config(ctx: Ctx, integration_id: str, id: UUID) -> IntegrationConfig:
    """Delete a named configuration that no connection came by. Raises Denied, Missing; Invalid on `id`."""
    ctx.need(EVERYTHING)
    config = await named_config(ctx, integration_id, id)
    if (await ctx.execute(select(exists().where(IntegrationConnection.config_id == id)))).scalar():
        raise Invalid("id", "the configuration is in use: connections were made with it")
    await ctx.remove(config)
    await audit.note(ctx, audit.Note("integration_configs", str(id), "DELETE", before=_noted(config)))
    return config


async def named_config(ctx: Ctx, integration_id: str, id: UUID) -> IntegrationConfig:
    """The named configuration, locked until the operation ends. Raises Missing."""
    found = await ctx.first(_configs(ctx, integration_id).where(IntegrationConfig.id == id).with_for_update())
    if found is None:
        raise Missing("configuration not found")
    return found


def _noted(config: IntegrationConfig) -> dict[str, Any]:
    return {"integration": config.integration_id, "label": config.label}


# Values that are objects, in the vault.


def checked_label(label: str) -> str:
    """A label without blanks around it. Raises Invalid."""
    label = label.strip()
    if not 0 < len(label) <= LABEL_CHARS_MAX or not label.isprintable():
        raise Invalid("label", f"label must be 1 to {LABEL_CHARS_MAX} printable characters")
    return label


async def keep_values(ctx: Ctx, scope: str, values: Mapping[str, Any]) -> None:
    """Keep an object as one secret. Raises Invalid on `credentials`."""
    text = orjson.dumps(values)
    if len(text) > CREDENTIALS_BYTES_MAX:
        raise Invalid("credentials", f"credentials must be at most {CREDENTIALS_BYTES_MAX} bytes")
    await secrets.keep(ctx, scope, VALUE_KEY, SecretText(text.decode()))


async def revealed(ctx: Ctx, scope: str) -> dict[str, Any]:
    """The object that is kept there, in the clear; an empty one for none."""
    found = await secrets.reveal(ctx, scope, VALUE_KEY)
    return {} if found is None else orjson.loads(found.text)
