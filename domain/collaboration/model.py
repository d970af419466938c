"""Rows that belong to a record, and views of records."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from domain.kernel.model import Base, Identified, JsonText, OfTenant
from domain.kernel.rawjson import RawJson


class OfRecord(OfTenant):
    """A row that belongs to one record of an app.

    There is no key to the record's table, of which there are many. `record_created_at` says which record it is, should
    another one ever have the same id: so a row outlives its record unseen, until a chore takes it away, and is there
    again when the record comes back out of the trash.
    """

    app_id: Mapped[str]
    entity: Mapped[str]
    record_id: Mapped[str]
    record_created_at: Mapped[datetime]


RECORD = ("tenant_id", "app_id", "entity", "record_id")


class Comment(Identified, OfRecord, Base):
    """What somebody said of a record."""

    __tablename__ = "record_comments"
    __table_args__ = (Index("ix_record_comments_record", *RECORD, "created_at", "id"),)
    author_id: Mapped[UUID]  # an account that may be gone by now
    body: Mapped[str]  # plain text, as typed
    edited_at: Mapped[datetime | None]


class Association(Identified, OfRecord, Base):
    """A directed edge from one record to another, of any app: there is one of a type between two records."""

    __tablename__ = "record_associations"
    __table_args__ = (
        Index("uq_record_associations_edge", *RECORD, "type", "to_app_id", "to_entity", "to_id", unique=True),
        Index("ix_record_associations_to", "tenant_id", "to_app_id", "to_entity", "to_id"),
    )
    type: Mapped[str]
    to_app_id: Mapped[str]
    to_entity: Mapped[str]
    to_id: Mapped[str]
    to_created_at: Mapped[datetime]
    meta: Mapped[RawJson] = mapped_column(JsonText)
    updated_at: Mapped[datetime]


class RecipientType(StrEnum):
    """Whom a record is shared with."""

    USER = "user"
    ROLE = "role"


class ShareLevel(StrEnum):
    """How much a share allows; each more than the ones before."""

    READ = "read"
    EDIT = "edit"
    FULL = "full"  # to share it further, and to delete it


class RecordShare(Identified, OfRecord, Base):
    """A record that somebody may use although its row policy alone would not let them."""

    __tablename__ = "record_shares"
    __table_args__ = (
        Index("uq_record_shares_recipient", *RECORD, "recipient_type", "recipient_id", unique=True),
        Index("ix_record_shares_recipient", "tenant_id", "recipient_type", "recipient_id"),
    )
    recipient_type: Mapped[str]
    recipient_id: Mapped[str]  # the id of a user, the stored name of a role
    level: Mapped[str]
    source: Mapped[str]  # manual; or what made it, like a rule
    source_id: Mapped[str | None]
    granted_by: Mapped[UUID]
    reason: Mapped[str | None]
    updated_at: Mapped[datetime]


class SavedView(Identified, Base):
    """A query over an entity's records with a name: somebody's own, or everybody's who may read them."""

    __tablename__ = "saved_views"
    __table_args__ = (
        Index(
            "uq_saved_views_name", "tenant_id", "app_id", "entity", "owner_id", "name", unique=True,
            postgresql_nulls_not_distinct=True,
        ),
    )  # fmt: skip
    app_id: Mapped[str]
    entity: Mapped[str]
    name: Mapped[str]
    owner_id: Mapped[UUID | None]  # None: it is everybody's
    created_by: Mapped[UUID]
    where: Mapped[RawJson | None] = mapped_column(JsonText)
    dialect: Mapped[str]
    order_by: Mapped[str | None]
    descending: Mapped[bool]
    columns: Mapped[list[str]]  # the fields to show, in order; none for all
    layout: Mapped[dict[str, Any]]  # what whoever shows it wants to know besides
    updated_at: Mapped[datetime]
