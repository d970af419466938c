"""Incoming webhooks: an app's URLs, made and changed.

Their tokens and signing secrets are in the vault, since they must be shown again; a token is found by its hash.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select

from domain.access.permissions import app_key
from domain.agents import delegations
from domain.apps.model import App
from domain.apps.reserved import refuse_reserved
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Conflict, Invalid, Missing, Reason
from domain.kernel.page import Page, PageArgs, keyset_page
from domain.kernel.secret import SecretText
from domain.kernel.unit import UNIQUE_STATE, StatementRefused
from domain.secrets import service as secrets
from domain.sign_in.tokens import new_token, token_hash
from domain.webhooks.model import Webhook
from domain.workers.service import METHOD_CHARS_MAX

OF_AN_APP_MAX = 400  # with two secrets each
NAME_CHARS_MAX = 120
SECRET_CHARS_MIN, SECRET_CHARS_MAX = 16, 500
PREFIX_CHARS = 12
TOKEN, SECRET = "token", "secret"


@dataclass(frozen=True, slots=True)
class WebhookView:
    """A webhook with what is secret of it, for who may read it."""

    id: UUID
    app_id: str
    name: str
    method: str
    signed_only: bool
    owner_id: UUID | None
    created_at: datetime
    token: str
    url: str
    signing_secret: str | None

    @property
    def prefix(self) -> str:
        """The beginning of the token, to know it by."""
        return self.token[:PREFIX_CHARS]


# For people.


async def webhooks(ctx: Ctx, app_id: str, args: PageArgs) -> Page[WebhookView]:
    """An app's webhooks by name, with their URLs. Raises Denied; Invalid on `first` or `after`."""
    refuse_reserved(ctx, app_id)
    ctx.need(app_key(app_id, "webhook.read"))
    rows = ctx.visible(Webhook).where(Webhook.app_id == app_id)
    scope = f"webhooks:{app_id}"
    page = await keyset_page(ctx, rows, args, scope=scope, by=(Webhook.name.collate("C"),))
    kept = await secrets.reveal_all(ctx, secret_scope(app_id))
    views = [_view(ctx, row, kept) for row in page.rows]
    return Page(views, page.cursors, page.has_next, page.has_previous, page.count)


def secret_scope(app_id: str) -> str:
    """Where the vault keeps what is secret of an app's webhooks."""
    return f"webhooks:{app_id}"


def secret_key(row: Webhook, part: str) -> str:
    """What the vault calls a part of a webhook."""
    return f"{row.id}.{part}"


def _view(ctx: Ctx, row: Webhook, kept: Mapping[str, SecretText]) -> WebhookView:
    token, secret = kept[secret_key(row, TOKEN)].text, kept.get(secret_key(row, SECRET))
    return WebhookView(
        id=row.id,
        app_id=row.app_id,
        name=row.name,
        method=row.method,
        signed_only=row.signed_only,
        owner_id=row.owner_id,
        created_at=row.created_at,
        token=token,
        url=ctx.ports.integration_urls.hook(token),
        signing_secret=None if secret is None else secret.text,
    )


async def _viewed(ctx: Ctx, row: Webhook) -> WebhookView:
    return _view(ctx, row, await secrets.reveal_all(ctx, secret_scope(row.app_id)))


async def create(ctx: Ctx, app_id: str, name: str, method: str) -> WebhookView:
    """Make a webhook of an app, in the caller's name.

    Raises Denied, Missing; Conflict when the name is taken; Invalid on `name` or `method`.
    """
    _need_write(ctx, app_id)
    if await ctx.first(ctx.visible(App).where(App.id == app_id).with_for_update(read=True, key_share=True)) is None:
        raise Missing(f"app '{app_id[:80]}' not found", field="app")
    return await _viewed(ctx, await _add(ctx, app_id, name, method))


def _need_write(ctx: Ctx, app_id: str) -> None:
    refuse_reserved(ctx, app_id)
    ctx.need(app_key(app_id, "webhook.write"))
    ctx.keep_nothing()


async def _add(ctx: Ctx, app_id: str, name: str, method: str) -> Webhook:
    _check(name, method)
    there = ctx.visible(Webhook).where(Webhook.app_id == app_id)
    if (await ctx.execute(select(func.count()).select_from(there.subquery()))).scalar_one() >= OF_AN_APP_MAX:
        raise Invalid("name", f"there are {OF_AN_APP_MAX} webhooks already")
    token = new_token()
    row = Webhook(app_id=app_id, name=name, method=method, token_hash=token_hash(token), signed_only=False)
    row.owner_id = ctx.user()
    try:
        await ctx.add(row)
    except StatementRefused as refused:
        if refused.sqlstate == UNIQUE_STATE:
            raise Conflict(
                f"a webhook named '{name}' is there already", field="name", reason=Reason.NAME_TAKEN
            ) from refused
        raise
    await secrets.keep(ctx, secret_scope(app_id), secret_key(row, TOKEN), SecretText(token))
    await secrets.keep(ctx, secret_scope(app_id), secret_key(row, SECRET), SecretText(new_token()))
    return row


def _check(name: str, method: str) -> None:
    if not 0 < len(name) <= NAME_CHARS_MAX or not name.isprintable():
        raise Invalid("name", f"name must be 1 to {NAME_CHARS_MAX} characters, none of them a control character")
    if not 0 < len(method) <= METHOD_CHARS_MAX:
        raise Invalid("method", f"method must be 1 to {METHOD_CHARS_MAX} characters")


@dataclass(frozen=True, slots=True)
class WebhookChanges:
    """What is to change; None leaves a part as it is."""

    method: str | None = None
    signed_only: bool | None = None
    signing_secret: SecretText | None = None


async def update(ctx: Ctx, app_id: str, id: UUID, changes: WebhookChanges) -> WebhookView:
    """Change a webhook; its URL stays. Raises Denied, Missing; Invalid on `method` or `signingSecret`."""
    row = await _to_change(ctx, app_id, id)
    row.method = changes.method if changes.method is not None else row.method
    row.signed_only = changes.signed_only if changes.signed_only is not None else row.signed_only
    _check(row.name, row.method)
    secret = changes.signing_secret
    if secret is not None:
        if not SECRET_CHARS_MIN <= len(secret.text) <= SECRET_CHARS_MAX:
            raise Invalid("signingSecret", f"signingSecret must be {SECRET_CHARS_MIN} to {SECRET_CHARS_MAX} characters")
        await secrets.keep(ctx, secret_scope(app_id), secret_key(row, SECRET), secret)
    await ctx.flush()
    return await _viewed(ctx, row)


async def rotate(ctx: Ctx, app_id: str, id: UUID) -> WebhookView:
    """Give a webhook another URL; the one before is good no more. Raises Denied, Missing."""
    row = await _to_change(ctx, app_id, id)
    token = new_token()
    row.token_hash = token_hash(token)
    await secrets.keep(ctx, secret_scope(app_id), secret_key(row, TOKEN), SecretText(token))
    await ctx.flush()
    return await _viewed(ctx, row)


async def remove(ctx: Ctx, app_id: str, id: UUID) -> WebhookView:
    """Delete a webhook. Returns what it was. Raises Denied, Missing."""
    row = await _to_change(ctx, app_id, id)
    view = await _viewed(ctx, row)
    await _remove(ctx, row)
    return view


async def _to_change(ctx: Ctx, app_id: str, id: UUID) -> Webhook:
    _need_write(ctx, app_id)
    row = await ctx.first(ctx.visible(Webhook).where(Webhook.app_id == app_id, Webhook.id == id).with_for_update())
    if row is None:
        raise Missing("webhook not found")
    return row


async def _remove(ctx: Ctx, row: Webhook) -> None:
    for part in (TOKEN, SECRET):
        await secrets.discard(ctx, secret_scope(row.app_id), secret_key(row, part))
    await delegations.withdraw(ctx, row.id)
    await ctx.remove(row)


async def declare(ctx: Ctx, app_id: str, declared: Sequence[dict[str, Any]]) -> None:
    """Make the webhooks those of the manifest, others gone. Those that stay keep their URLs. An empty list changes
    nothing.

    RootCX, "what install does". For `domain.apps`: nobody is asked who may. Raises Invalid with the manifest's path.
    """
    if not declared:
        return
    rows = ctx.visible(Webhook).where(Webhook.app_id == app_id).with_for_update()
    there = {row.name: row for row in await ctx.all(rows)}
    names = [webhook["name"] for webhook in declared]
    for name in there.keys() - set(names):
        await _remove(ctx, there[name])
    for index, webhook in enumerate(declared):
        path = f"webhooks.{index}"
        if names.index(webhook["name"]) != index:
            raise Invalid(f"{path}.name", f"{path}.name '{webhook['name'][:80]}' is there twice")
        try:
            await _declared(ctx, app_id, webhook, there.get(webhook["name"]))
        except Invalid as problem:
            raise Invalid(f"{path}.{problem.field}", f"{path}: {problem.message}") from problem


async def _declared(ctx: Ctx, app_id: str, webhook: dict[str, Any], row: Webhook | None) -> None:
    if row is None:
        await _add(ctx, app_id, webhook["name"], webhook["method"])
        return
    _check(webhook["name"], webhook["method"])
    row.method, row.owner_id = webhook["method"], row.owner_id or ctx.user()
    await ctx.flush()


async def forget(ctx: Ctx, app_id: str) -> None:
    """Let go of what is secret of the webhooks of an app that is no more; their rows go with it."""
    await secrets.discard_all(ctx, secret_scope(app_id))
