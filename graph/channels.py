"""Channels: bots and mailboxes by which people talk with agents."""

from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Annotated
from uuid import UUID

import strawberry

from domain.access.permissions import EVERYTHING
from domain.channels import model, ports, receiving, service
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Code
from domain.kernel.page import PageArgs
from domain.kernel.upload import Upload
from graph.connection import FIRST, After, Connection, First, connection
from graph.rules import PUBLIC, Access, about, bounded, mutation, query, subscription
from graph.scalars import JsonObject

Info = strawberry.Info[Ctx, None]

ADMIN = Access(permission=EVERYTHING)

ChannelProvider = strawberry.enum(
    model.Provider, name="ChannelProvider", description="Whose messages a channel carries."
)
ChannelStatus = strawberry.enum(model.Status, name="ChannelStatus", description="Whether a channel takes messages.")
MessageDirection = strawberry.enum(model.Direction, name="MessageDirection", description="Which way a message goes.")
MessageState = strawberry.enum(
    model.MessageState,
    name="MessageState",
    description="How far a message is: it waits to be answered or sent, that is done, or it failed for good.",
)
ChannelId = Annotated[UUID, about("The channel.")]


@strawberry.type(description="A bot or a mailbox.")
class Channel:
    id: UUID
    provider: ChannelProvider  # type: ignore[valid-type]
    name: str
    status: ChannelStatus  # type: ignore[valid-type]
    created_at: datetime
    updated_at: datetime

    @strawberry.field(description="What is configured, without what is secret; `account` is what the provider says.")
    def config(self: model.Channel) -> JsonObject:
        return JsonObject(dict(self.config))


@strawberry.type(description="A new channel.")
class CreatedChannel:
    channel: Channel
    webhook_secret: str = strawberry.field(
        description="What its provider is to show, or to sign with. It is told this once."
    )


@strawberry.type(description="A channel that takes messages.")
class ActivatedChannel:
    channel: Channel
    webhook_url: str = strawberry.field(description="Where the provider is to send them.")


@strawberry.type(description="By what a channel is to know somebody.")
class ChannelLink:
    provider: ChannelProvider  # type: ignore[valid-type]
    token: str = strawberry.field(description="To be sent to the channel, as `/link {token}`, within five minutes.")
    url: str | None = strawberry.field(description="Where a click does that, if the provider has such links.")


@strawberry.type(description="A message on its way.")
class ChannelMessage:
    id: UUID
    direction: MessageDirection  # type: ignore[valid-type]
    chat: str
    sender: str | None
    body: str
    state: MessageState  # type: ignore[valid-type]
    attempts: int
    error: str | None = strawberry.field(description="Of the last attempt.")
    created_at: datetime
    settled_at: datetime | None


@strawberry.input(description="What came with a message to show whom it is from; each provider has its own way.")
class ChannelSignatureInput:
    secret_token: str | None = None
    signature: str | None = None
    timestamp: str | None = strawberry.field(default=None, description="In Unix seconds.")
    id: str | None = None


@strawberry.type(description="What a provider is told.")
class ChannelReceipt:
    ok: bool
    challenge: str | None = strawberry.field(description="What it wanted to hear back.")


@strawberry.type
class ChannelsQuery:
    @query(graphql_type=list[Channel])
    async def channels(self, info: Info) -> list[model.Channel]:
        """All channels, newest first."""
        return list(await service.channels(info.context))

    @query(graphql_type=Channel, refuses=[Code.NOT_FOUND])
    async def channel(self, info: Info, id: ChannelId) -> model.Channel:
        """One channel."""
        return await service.channel(info.context, id)

    @query(access=ADMIN, graphql_type=Connection[ChannelMessage], refuses=[Code.NOT_FOUND])
    async def channel_messages(
        self, info: Info, channel: ChannelId, first: First = FIRST, after: After = None
    ) -> Connection[model.ChannelMessage]:
        """The messages of a channel, newest first; those that are settled are kept for a week."""
        return connection(await service.messages(info.context, channel, PageArgs(first, after)))

    @query(refuses=[Code.NOT_FOUND])
    async def is_linked_to_channel(self, info: Info, channel: ChannelId) -> bool:
        """Whether the channel knows the caller."""
        return await service.is_linked(info.context, channel)


@strawberry.type
class ChannelsSubscription:
    @subscription(refuses=[Code.NOT_FOUND, Code.GONE])
    async def channel_linked(self, info: Info, channel: ChannelId) -> AsyncGenerator[bool, None]:
        """Whether the channel knows the caller: as it is, and whenever that changes."""
        return await service.links(info.context, channel)


@strawberry.type
class ChannelsMutation:
    @mutation(access=ADMIN)
    async def create_channel(
        self,
        info: Info,
        provider: Annotated[str, about("telegram, slack or email.")],
        name: Annotated[str, bounded("For people.", min_length=1, max_length=service.NAME_CHARS_MAX)],
        config: Annotated[JsonObject, about("Secrets of it go into the vault.")],
    ) -> CreatedChannel:
        """Write a new channel. It takes no messages until it is activated."""
        made = await service.create(info.context, provider, name, dict(config))
        return CreatedChannel(channel=made.channel, webhook_secret=made.webhook_secret)  # type: ignore[arg-type]

    @mutation(access=ADMIN, refuses=[Code.NOT_FOUND, Code.UPSTREAM_FAILED])
    async def activate_channel(
        self,
        info: Info,
        id: ChannelId,
        public_url: Annotated[str | None, about("Where we can be reached; the installation knows it, too.")] = None,
        config: Annotated[
            JsonObject | None, about("Put over the configuration; secrets only where none is set yet.")
        ] = None,
    ) -> ActivatedChannel:
        """Have the provider send messages here from now on."""
        done = await service.activate(info.context, id, public_url, None if config is None else dict(config))
        return ActivatedChannel(channel=done.channel, webhook_url=done.webhook_url)  # type: ignore[arg-type]

    @mutation(access=ADMIN, graphql_type=Channel, refuses=[Code.NOT_FOUND])
    async def deactivate_channel(self, info: Info, id: ChannelId) -> model.Channel:
        """Take no more messages."""
        return await service.deactivate(info.context, id)

    @mutation(access=ADMIN)
    async def delete_channel(self, info: Info, id: ChannelId) -> UUID:
        """Take a channel away with all that was said in it; one that is away already stays so."""
        await service.remove(info.context, id)
        return id

    @mutation(graphql_type=ChannelLink, refuses=[Code.NOT_FOUND])
    async def link_channel(self, info: Info, channel: ChannelId) -> service.Link:
        """A token by which an active channel knows the caller, and lets agents act in their name there."""
        return await service.link(info.context, channel)

    @mutation(refuses=[Code.NOT_FOUND])
    async def unlink_channel(self, info: Info, channel: ChannelId) -> UUID:
        """Be unknown to the channel again."""
        await service.unlink(info.context, channel)
        return channel

    @mutation(access=PUBLIC, refuses=[Code.NOT_FOUND, Code.PAYLOAD_TOO_LARGE])
    async def receive_channel_message(
        self,
        info: Info,
        provider: Annotated[str, about("As the channel's.")],
        channel: ChannelId,
        signature: Annotated[ChannelSignatureInput, about("From the headers.")],
        body: Annotated[Upload, about("As it came, byte for byte: it is signed.")],
    ) -> ChannelReceipt:
        """What a provider sends to a webhook. It is answered when it is stored, and worked on after that."""
        shown = ports.Signature(signature.secret_token, signature.signature, signature.timestamp, signature.id)
        received = await receiving.receive(info.context, provider, channel, shown, body)
        return ChannelReceipt(ok=True, challenge=received.challenge)
