"""The OpenID providers of a tenant."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from sqlalchemy import Select, func, select

from domain.access.permissions import EVERYTHING
from domain.access.scope import BASE
from domain.audit import service as audit
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Invalid, Missing
from domain.kernel.outbound import is_loopback_name
from domain.kernel.secret import SecretText
from domain.secrets import service as secrets
from domain.sign_in.delivery import web_address
from domain.sign_in.model import ExternalIdentity, IdentityProvider
from domain.sign_in.ports import Client, ProviderFailed

TEXT_CHARS_MAX = 255
SCOPES_MAX = 32
PROVIDERS_MAX = 100
OPENID = "openid"
SCOPES = (OPENID, "email", "profile")
CLIENT_SECRET = "client_secret"

_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,128}")  # RFC 6749, section 3.3


@dataclass(frozen=True, slots=True)
class ProviderDraft:
    """A provider as an administrator wants it. Without a client secret the one that is kept stays."""

    id: str
    display_name: str
    issuer_url: str
    client_id: str
    client_secret: SecretText | None = None
    scopes: Sequence[str] | None = None
    auto_register: bool = True
    default_role: str = BASE
    role_claim: str | None = None
    enabled: bool = True


def secret_scope(provider_id: str) -> str:
    """Where the vault keeps a provider's client secret."""
    return f"oidc:{provider_id}"


async def enabled(ctx: Ctx) -> Sequence[IdentityProvider]:
    """The providers one may sign in with, by id; asked before anybody has."""
    return await ctx.all(_by_id(ctx).where(IdentityProvider.enabled))


async def every(ctx: Ctx) -> Sequence[IdentityProvider]:
    """All providers, by id. Raises Denied."""
    ctx.need(EVERYTHING)
    return await ctx.all(_by_id(ctx))


def _by_id(ctx: Ctx) -> Select[IdentityProvider]:
    return ctx.visible(IdentityProvider).order_by(IdentityProvider.id.collate("C")).limit(PROVIDERS_MAX)


async def usable(ctx: Ctx, id: str) -> IdentityProvider:
    """The enabled provider of this id. Raises Missing."""
    found = await ctx.first(ctx.visible(IdentityProvider).where(IdentityProvider.id == id, IdentityProvider.enabled))
    if found is None:
        raise Missing(f"provider '{id[:TEXT_CHARS_MAX]}' not found")
    return found


async def client_of(ctx: Ctx, provider: IdentityProvider) -> Client:
    """Who we are to the provider."""
    secret = await secrets.reveal(ctx, secret_scope(provider.id), CLIENT_SECRET)
    return Client(provider.issuer_url, provider.client_id, secret)


async def save(ctx: Ctx, draft: ProviderDraft) -> IdentityProvider:
    """Write a provider, new or over the old one, if it answers. Raises Denied; Invalid on a part of the draft."""
    ctx.need(EVERYTHING)
    ctx.keep_nothing()
    _check(draft)
    try:
        await ctx.ports.open_id.discovered(draft.issuer_url, fresh=True)
    except ProviderFailed as failed:
        raise Invalid("issuerUrl", f"issuerUrl: {failed}") from failed
    await ctx.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"providers:{ctx.tenant_id}", 0))))
    provider = await ctx.first(ctx.visible(IdentityProvider).where(IdentityProvider.id == draft.id))
    before = None if provider is None else _noted(provider)
    if provider is None:
        if len(await ctx.all(_by_id(ctx))) >= PROVIDERS_MAX:
            raise Invalid("id", f"there are {PROVIDERS_MAX} providers already")
        provider = IdentityProvider(id=draft.id)
    provider.display_name, provider.issuer_url = draft.display_name, draft.issuer_url
    provider.client_id, provider.scopes = draft.client_id, list(_scopes(draft))
    provider.auto_register, provider.default_role = draft.auto_register, draft.default_role
    provider.role_claim, provider.enabled, provider.updated_at = draft.role_claim, draft.enabled, ctx.now
    await (ctx.add(provider) if before is None else ctx.flush())
    if draft.client_secret is not None:
        await secrets.keep(ctx, secret_scope(draft.id), CLIENT_SECRET, draft.client_secret)
    operation = "INSERT" if before is None else "UPDATE"
    await audit.note(ctx, audit.Note("identity_providers", draft.id, operation, before, _noted(provider)))
    return provider


async def remove(ctx: Ctx, id: str, *, though_linked: bool) -> IdentityProvider:
    """Delete a provider with its client secret. Returns what it was.

    Accounts that are linked to it stay, and can no longer be signed in to by it: that is to be meant. Raises Denied,
    Missing, Invalid.
    """
    ctx.need(EVERYTHING)
    provider = await ctx.first(ctx.visible(IdentityProvider).where(IdentityProvider.id == id).with_for_update())
    if provider is None:
        raise Missing(f"provider '{id[:TEXT_CHARS_MAX]}' not found")
    linked = ctx.visible(ExternalIdentity).where(ExternalIdentity.provider_id == id)
    count = (await ctx.execute(select(func.count()).select_from(linked.subquery()))).scalar_one()
    if count and not though_linked:
        raise Invalid("force", f"{count} accounts are linked to provider '{id}'; force deletes it all the same")
    await ctx.remove(provider)
    await secrets.discard_all(ctx, secret_scope(id))
    await audit.note(ctx, audit.Note("identity_providers", id, "DELETE", before=_noted(provider)))
    return provider


def _check(draft: ProviderDraft) -> None:
    """Raises Invalid."""
    texts = {
        "id": draft.id,
        "displayName": draft.display_name,
        "clientId": draft.client_id,
        "defaultRole": draft.default_role,
        **({} if draft.role_claim is None else {"roleClaim": draft.role_claim}),
    }
    for name, text in texts.items():
        if not text.strip() or len(text) > TEXT_CHARS_MAX or not text.isprintable():
            raise Invalid(name, f"{name} must be 1 to {TEXT_CHARS_MAX} printable characters")
    issuer = web_address("issuerUrl", draft.issuer_url)
    if issuer.scheme != "https" and not is_loopback_name(issuer.hostname or ""):
        raise Invalid("issuerUrl", "issuerUrl must begin with https://, unless the provider is on this machine")
    if urlsplit(draft.issuer_url).query or "#" in draft.issuer_url:
        raise Invalid("issuerUrl", "issuerUrl must have neither query nor fragment")
    scopes = _scopes(draft)
    if len(scopes) > SCOPES_MAX or not all(_SCOPE.fullmatch(scope) for scope in scopes):
        raise Invalid("scopes", f"scopes must be at most {SCOPES_MAX}, without blanks, quotes and backslashes")


def _scopes(draft: ProviderDraft) -> tuple[str, ...]:
    """What is asked for; without `openid` there would be no ID token."""
    return tuple(dict.fromkeys((OPENID, *(SCOPES if draft.scopes is None else draft.scopes))))


def _noted(provider: IdentityProvider) -> dict[str, object]:
    """What the audit log tells of a provider."""
    names = ("id", "display_name", "issuer_url", "client_id", "scopes", "auto_register", "default_role", "role_claim")
    return {**{name: getattr(provider, name) for name in names}, "enabled": provider.enabled}
