"""Incoming webhooks: an app's URLs that others post to."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import strawberry

from domain.access.permissions import app_key
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Code, Reason
from domain.kernel.page import PageArgs
from domain.kernel.secret import SecretText
from domain.kernel.upload import Upload
from domain.webhooks import receiving, service
from domain.webhooks.service import WebhookChanges, WebhookView
from domain.workers.service import METHOD_CHARS_MAX
from graph.connection import FIRST, After, Connection, First, connection
from graph.rules import PUBLIC, Access, about, bounded, mutation, query, refusal
from graph.scalars import Json, JsonObject

Info = strawberry.Info[Ctx, None]

AppId = Annotated[strawberry.ID, about("The app's id.")]
WebhookId = Annotated[UUID, about("The webhook's id.")]

READ = Access(permission=app_key("{app}", "webhook.read"))
WRITE = Access(permission=app_key("{app}", "webhook.write"))


@strawberry.type(description="A URL of an app that others post to. Whoever has it may.")
class Webhook:
    id: UUID
    app_id: strawberry.ID
    name: str
    method: str = strawberry.field(description="What is called of the app's code; `agent` for its agent.")
    token: str = strawberry.field(description="What the URL ends with. It stays when the app is installed anew.")
    prefix: str = strawberry.field(description="The beginning of the token, to know it by.")
    url: str
    signing_secret: str | None = strawberry.field(
        description="What signatures are made with: `x-webhook-signature` is the HMAC-SHA256, in hexadecimal, of "
        "`x-webhook-timestamp` (seconds since 1970), a dot, and the body."
    )
    signed_only: bool = strawberry.field(description="Whether what comes without a signature is refused.")
    owner_id: UUID | None = strawberry.field(description="In whose name the code is called.")
    created_at: datetime


@strawberry.type
class WebhooksQuery:
    @query(access=READ, graphql_type=Connection[Webhook], refuses=[Code.FORBIDDEN])
    async def webhooks(
        self, info: Info, app: AppId, first: First = FIRST, after: After = None
    ) -> Connection[WebhookView]:
        """An app's incoming webhooks by name, with their URLs."""
        return connection(await service.webhooks(info.context, app, PageArgs(first, after)))


@strawberry.type
class WebhooksMutation:
    @mutation(access=WRITE, graphql_type=Webhook, refuses=[Code.NOT_FOUND, refusal(Code.CONFLICT, Reason.NAME_TAKEN)])
    async def create_webhook(
        self,
        info: Info,
        app: AppId,
        name: Annotated[
            str, bounded("Another one for each of the app.", min_length=1, max_length=service.NAME_CHARS_MAX)
        ],
        method: Annotated[
            str, bounded("What is called; `agent` for the agent.", min_length=1, max_length=METHOD_CHARS_MAX)
        ],
    ) -> WebhookView:
        """Make an incoming webhook, in the caller's name."""
        return await service.create(info.context, app, name, method)

    @mutation(access=WRITE, graphql_type=Webhook, refuses=[Code.NOT_FOUND])
    async def update_webhook(
        self,
        info: Info,
        app: AppId,
        id: WebhookId,
        method: Annotated[str | None, about("What is called from now on.")] = None,
        signed_only: Annotated[bool | None, about("Whether what comes without a signature is refused.")] = None,
        signing_secret: Annotated[SecretText | None, about("One that the other side has chosen.")] = None,
    ) -> WebhookView:
        """Change an incoming webhook; what is left out stays, and so does its URL."""
        changes = WebhookChanges(method, signed_only, signing_secret)
        return await service.update(info.context, app, id, changes)

    @mutation(access=WRITE, graphql_type=Webhook, refuses=[Code.NOT_FOUND])
    async def rotate_webhook(self, info: Info, app: AppId, id: WebhookId) -> WebhookView:
        """Give an incoming webhook another URL. The one before is good no more."""
        return await service.rotate(info.context, app, id)

    @mutation(access=WRITE, graphql_type=Webhook, refuses=[Code.NOT_FOUND])
    async def delete_webhook(self, info: Info, app: AppId, id: WebhookId) -> WebhookView:
        """Delete an incoming webhook. Returns what it was."""
        return await service.remove(info.context, app, id)

    @mutation(
        access=PUBLIC,
        refuses=[
            Code.NOT_FOUND,
            Code.FORBIDDEN,
            Code.UPSTREAM_FAILED,
            Code.PAYLOAD_TOO_LARGE,
            Code.CONFLICT,
            Code.RATE_LIMITED,
        ],
    )
    async def receive_webhook(
        self,
        info: Info,
        token: Annotated[str, about("What the URL ends with.")],
        headers: Annotated[JsonObject, about("The headers of the post, by name in lower case.")],
        body: Annotated[Upload | None, about("What was posted.")] = None,
    ) -> Json | None:
        """Take what others post to an incoming webhook. It is what the app's code makes of it."""
        return Json(await receiving.receive(info.context, token, headers, body))
