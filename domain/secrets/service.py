"""The vault. Anybody who may can write secrets and list their names; values go to the areas that need them.

A scope says what secrets are for: the platform, an app, an OpenID provider. What other areas keep and reveal here is
theirs to guard; the only way for a value to leave over an interface is `platform_environment`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.dialects.postgresql import insert

from domain.access.permissions import Permission
from domain.apps.manifest import NAME as APP_ID
from domain.audit import service as audit
from domain.identity import service as identity
from domain.identity.model import AccountKind
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Invalid, Missing, Unavailable, permission_denied
from domain.kernel.page import Page, PageArgs, keyset_page
from domain.kernel.secret import SecretText
from domain.secrets.events import SecretsChanged
from domain.secrets.model import MasterKey, Secret
from domain.secrets.ports import Sealed
from domain.workers.ports import WorkerState

PLATFORM = "platform"
KEY_CHARS_MAX = 128
VALUE_BYTES_MAX = 64 * 1024  # a process takes no larger variable along than twice this
SECRETS_MAX = 1_000  # of one scope

_PLATFORM_KEY = re.compile(r"[A-Za-z0-9_]+")
_RUNNING = (WorkerState.STARTING, WorkerState.RUNNING)
_ON_BEHALF = (AccountKind.AGENT, AccountKind.SYSTEM)  # accounts that act for others: secrets are people's to change


def app_scope(app_id: str) -> str:
    """The scope of an app's own secrets."""
    return f"app:{app_id}"


# For people.


@dataclass(frozen=True, slots=True)
class SecretChange:
    """A secret that was set or deleted, and how many apps' workers are restarted for it."""

    secret: Secret
    workers_restarted: int


async def secrets(ctx: Ctx, app_id: str | None, args: PageArgs) -> Page[Secret]:
    """The secrets of an app (without one, of the platform) by name. Raises Denied; Invalid on `first` or `after`."""
    ctx.need(Permission.SECRETS_MANAGE)
    scope = _scope(app_id)
    return await keyset_page(ctx, _of(ctx, scope), args, scope=f"secrets:{scope}", by=(Secret.key.collate("C"),))


async def set_secret(ctx: Ctx, app_id: str | None, key: str, value: SecretText) -> SecretChange:
    """Write a secret of an app (without one, of the platform), new or over the old one.

    Whether the app is installed is not asked: its secrets may come first. Raises Denied; Invalid on `app`, `key` or
    `value`.
    """
    await _may_change(ctx)
    _check_key(app_id, key)
    if app_id is not None and not APP_ID.fullmatch(app_id):
        raise Invalid("app", f"app must match {APP_ID.pattern}")
    return await _changed(ctx, app_id, await keep(ctx, _scope(app_id), key, value))


async def delete_secret(ctx: Ctx, app_id: str | None, key: str) -> SecretChange:
    """Delete a secret of an app (without one, of the platform). Raises Denied, Missing."""
    await _may_change(ctx)
    secret = await discard(ctx, _scope(app_id), key)
    if secret is None:
        raise Missing(f"secret '{key}' not found")
    return await _changed(ctx, app_id, secret)


async def platform_environment(ctx: Ctx) -> Mapping[str, SecretText]:
    """The platform's secrets in the clear, by name. Who looked is in the audit log. Raises Denied."""
    ctx.need(Permission.SECRETS_MANAGE)
    found = await reveal_all(ctx, PLATFORM)
    await audit.note(ctx, audit.Note("secrets", PLATFORM, "READ", after={"keys": list(found)}))
    return found


async def _may_change(ctx: Ctx) -> None:
    ctx.need(Permission.SECRETS_MANAGE)
    ctx.keep_nothing()
    if (await identity.me(ctx)).kind in _ON_BEHALF:
        raise permission_denied(Permission.SECRETS_MANAGE)


async def _changed(ctx: Ctx, app_id: str | None, secret: Secret) -> SecretChange:
    return SecretChange(secret, await _workers(ctx) if app_id is None else 0)


async def _workers(ctx: Ctx) -> int:
    """How many apps have workers that take the platform's secrets along: they are restarted to see them."""
    try:
        states = await ctx.ports.workers.states(ctx.tenant_id)
    except Unavailable:
        return 0  # there is no host that would run any
    return sum(state in _RUNNING for state in states.values())


def _scope(app_id: str | None) -> str:
    return PLATFORM if app_id is None else app_scope(app_id)


def _check_key(app_id: str | None, key: str) -> None:
    if not 0 < len(key) <= KEY_CHARS_MAX:
        raise Invalid("key", f"key must be 1 to {KEY_CHARS_MAX} characters")
    if app_id is None and not _PLATFORM_KEY.fullmatch(key):
        raise Invalid("key", "key must be letters, digits and underscores")
    if not key.isprintable() or "=" in key:
        raise Invalid("key", "key must be the name of an environment variable: no control characters, no '='")


# For other areas. None of these asks who may.


async def keep(ctx: Ctx, scope: str, key: str, value: SecretText) -> Secret:
    """Write a secret, new or over the old one. Raises Invalid on `key` or `value`; Unavailable."""
    text = _value_bytes(value)
    await _alone(ctx, scope)
    known = _of(ctx, scope).where(Secret.key == key).with_for_update()
    secret = await ctx.first(known.execution_options(populate_existing=True))
    version = 1 if secret is None else secret.version + 1
    sealed = await seal(ctx, text, place(ctx.tenant_id, scope, key, version))
    before = None if secret is None else _noted(secret)
    if secret is None:
        await _refuse_too_many(ctx, scope)
        secret = Secret(scope=scope, key=key)
    secret.version, secret.updated_at = version, ctx.now
    put(secret, sealed)
    await (ctx.add(secret) if before is None else ctx.flush())
    operation = "INSERT" if before is None else "UPDATE"
    await audit.note(ctx, audit.Note("secrets", f"{scope}/{key}", operation, before, _noted(secret)))
    ctx.emit(SecretsChanged(scope))
    return secret


async def reveal(ctx: Ctx, scope: str, key: str) -> SecretText | None:
    """The secret, or None. Raises Unreadable for one that was tampered with."""
    secret = await ctx.first(_of(ctx, scope).where(Secret.key == key))
    return None if secret is None else _revealed(ctx, secret)


async def reveal_all(ctx: Ctx, scope: str) -> dict[str, SecretText]:
    """The secrets of a scope by name. Raises Unreadable."""
    found = await ctx.all(_of(ctx, scope).order_by(Secret.key.collate("C")).limit(SECRETS_MAX))
    return {secret.key: _revealed(ctx, secret) for secret in found}


async def known_keys(ctx: Ctx, scope: str) -> frozenset[str]:
    """The names of the secrets of a scope."""
    return frozenset((await ctx.execute(_of(ctx, scope).with_only_columns(Secret.key).limit(SECRETS_MAX))).scalars())


async def environment(ctx: Ctx, app_id: str) -> dict[str, SecretText]:
    """What an app's worker is started with: the platform's secrets, and its own over them. Raises Unreadable."""
    return await reveal_all(ctx, PLATFORM) | await reveal_all(ctx, app_scope(app_id))


async def discard(ctx: Ctx, scope: str, key: str) -> Secret | None:
    """Delete a secret. Returns what it was, None where there is none."""
    secret = await ctx.first(_of(ctx, scope).where(Secret.key == key).with_for_update())
    if secret is not None:
        await ctx.remove(secret)
        await audit.note(ctx, audit.Note("secrets", f"{scope}/{key}", "DELETE", before=_noted(secret)))
        ctx.emit(SecretsChanged(scope))
    return secret


async def discard_all(ctx: Ctx, scope: str) -> None:
    """Delete the secrets of a scope that is no more."""
    for secret in await ctx.all(_of(ctx, scope).limit(SECRETS_MAX)):
        await discard(ctx, scope, secret.key)


def _of(ctx: Ctx, scope: str) -> Select[Secret]:
    return ctx.visible(Secret).where(Secret.scope == scope)


async def _alone(ctx: Ctx, scope: str) -> None:
    """Whoever writes a scope's secrets waits for the others: versions count up, and there is a most of them."""
    name = f"secrets:{ctx.tenant_id}:{scope}"
    await ctx.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))


async def _refuse_too_many(ctx: Ctx, scope: str) -> None:
    count = await ctx.execute(select(func.count()).select_from(_of(ctx, scope).subquery()))
    if count.scalar_one() >= SECRETS_MAX:
        raise Invalid("key", f"there are {SECRETS_MAX} secrets already")


def _noted(secret: Secret) -> dict[str, Any]:
    """What the audit log may know of a secret."""
    return {"scope": secret.scope, "key": secret.key, "version": secret.version}


# What is encrypted, and for which place.


def place_of(secret: Secret) -> bytes:
    """What the ciphertext is bound to."""
    return place(secret.tenant_id, secret.scope, secret.key, secret.version)


def place(tenant_id: UUID, scope: str, key: str, version: int) -> bytes:
    """What the ciphertext of a value is bound to. Each part has its length before it: no two places look alike."""
    parts = (tenant_id.bytes, scope.encode(), key.encode(), str(version).encode())
    return b"".join(len(part).to_bytes(4) + part for part in parts)


def sealed_in(secret: Secret) -> Sealed:
    """What is stored of the value."""
    return Sealed(secret.key_id, secret.wrapped_key, secret.ciphertext)


def put(secret: Secret, sealed: Sealed) -> None:
    """Store what was sealed."""
    secret.key_id, secret.wrapped_key, secret.ciphertext = sealed.key_id, sealed.wrapped_key, sealed.ciphertext


def _revealed(ctx: Ctx, secret: Secret) -> SecretText:
    return SecretText(ctx.ports.cipher.unseal(sealed_in(secret), place_of(secret)).decode())


def _value_bytes(value: SecretText) -> bytes:
    try:
        text = value.text.encode()
    except UnicodeEncodeError:
        raise Invalid("value", "value must be text") from None
    if len(text) > VALUE_BYTES_MAX:
        raise Invalid("value", f"value must be at most {VALUE_BYTES_MAX} bytes")
    if b"\x00" in text:
        raise Invalid("value", "value must not hold the character U+0000")
    return text


async def seal(ctx: Ctx, text: bytes, bound_to: bytes) -> Sealed:
    """The text, encrypted. Raises Unavailable where secrets are in use that this process has no master key for."""
    cipher = ctx.ports.cipher
    for key in await ctx.all(select(MasterKey)):
        if key.id not in cipher.key_ids() or not cipher.proves(key.id, key.proof):
            raise Unavailable("this server lacks a master key that other secrets need")
    sealed = cipher.seal(text, bound_to)
    await register_key(ctx, sealed.key_id)
    return sealed


async def register_key(ctx: Ctx, key_id: str) -> None:
    """Note that secrets need this master key, so that no process goes without it."""
    row = {"id": key_id, "proof": ctx.ports.cipher.proof(key_id), "created_at": ctx.now}
    await ctx.execute(insert(MasterKey).values(row).on_conflict_do_nothing())
