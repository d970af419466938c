"""Channels, who is known in them, and the messages on their way in and out.

Tokens and passwords are in the vault; a trigger takes them away with the channel.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from domain.kernel.model import SCHEMA, Base, Identified, OfTenant

CHANNEL = f"{SCHEMA}.channels.id"
USER = f"{SCHEMA}.users.id"


class Provider(StrEnum):
    """Whose messages a channel carries."""

    TELEGRAM = "telegram"
    SLACK = "slack"
    EMAIL = "email"


class Status(StrEnum):
    """Whether a channel takes messages."""

    ACTIVE = "active"
    INACTIVE = "inactive"


class Channel(Identified, Base):
    """A bot or a mailbox."""

    __tablename__ = "channels"
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey(f"{SCHEMA}.tenants.id"), index=True)
    provider: Mapped[str]
    name: Mapped[str]
    config: Mapped[dict[str, Any]] = mapped_column(JSONB)  # without what is secret
    status: Mapped[str]
    created_by: Mapped[UUID]
    updated_at: Mapped[datetime]


class ChannelLink(OfTenant, Base):
    """A token that somebody is to send to the channel, so that it knows whose account they have."""

    __tablename__ = "channel_links"
    token_hash: Mapped[bytes] = mapped_column(primary_key=True)
    channel_id: Mapped[UUID] = mapped_column(ForeignKey(CHANNEL, ondelete="CASCADE"), index=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey(USER, ondelete="CASCADE"), index=True)
    expires_at: Mapped[datetime] = mapped_column(index=True)


class ChannelIdentity(OfTenant, Base):
    """Whose account a sender has. Nobody is two senders of one channel."""

    __tablename__ = "channel_identities"
    __table_args__ = (Index(None, "channel_id", "user_id", unique=True),)
    channel_id: Mapped[UUID] = mapped_column(ForeignKey(CHANNEL, ondelete="CASCADE"), primary_key=True)
    sender: Mapped[str] = mapped_column(primary_key=True)  # as the provider calls them
    user_id: Mapped[UUID] = mapped_column(ForeignKey(USER, ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime]


class Conversation(OfTenant, Base):
    """Which agent somebody talks with in a chat, and the session that goes on there."""

    __tablename__ = "channel_conversations"
    channel_id: Mapped[UUID] = mapped_column(ForeignKey(CHANNEL, ondelete="CASCADE"), primary_key=True)
    chat: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey(USER, ondelete="CASCADE"), primary_key=True, index=True)
    app_id: Mapped[str]
    session_id: Mapped[UUID | None]


class Direction(StrEnum):
    """Which way a message goes."""

    IN = "in"
    OUT = "out"


class MessageState(StrEnum):
    """How far a message is."""

    WAITING = "waiting"
    DONE = "done"  # answered, or sent
    FAILED = "failed"  # for good


class ChannelMessage(Identified, Base):
    """A message on its way. Those of one chat go one after the other, each way."""

    __tablename__ = "channel_messages"
    __table_args__ = (
        Index(None, "channel_id", "direction", "external_id", unique=True),
        Index("ix_channel_messages_waiting", "direction", "due_at", postgresql_where=text("state = 'waiting'")),
        Index(
            "ix_channel_messages_chat",
            "channel_id",
            "chat",
            "direction",
            "id",
            postgresql_where=text("state = 'waiting'"),
        ),
        Index("ix_channel_messages_settled_at", "settled_at"),
    )
    channel_id: Mapped[UUID] = mapped_column(ForeignKey(CHANNEL, ondelete="CASCADE"))
    direction: Mapped[str]
    chat: Mapped[str]  # where it was said, or is to be
    sender: Mapped[str | None]  # of one that came in
    external_id: Mapped[str | None]  # the provider's own, of one that came in: it comes once, however often it is told
    body: Mapped[str]
    about: Mapped[dict[str, Any]] = mapped_column(JSONB)  # what an answer needs beside the chat: thread, subject
    state: Mapped[str]
    attempts: Mapped[int]
    due_at: Mapped[datetime]
    lease: Mapped[UUID | None]  # of who works on it; whoever lost it has no say any more
    error: Mapped[str | None]  # of the last attempt
    settled_at: Mapped[datetime | None]
