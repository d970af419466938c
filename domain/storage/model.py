"""Buckets, the trees of objects in them, the files of apps, and the bytes behind all of them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Computed, ForeignKey, ForeignKeyConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from domain.kernel.ids import uuid7
from domain.kernel.model import SCHEMA, Base, Identified, OfTenant

ROOT = UUID(int=0)  # what stands for the top of a bucket where a null would not do

FOLDER_TYPE = "application/x-directory"


class Blob(OfTenant, Base):
    """Bytes in the store of blobs, and until when they are kept.

    The row is there before the bytes are, and goes after them: whatever is killed in between, a chore finds it.
    Deleting a row that refers to it sets `expires_at`, by a trigger, so that no way of deleting forgets the bytes.
    """

    __tablename__ = "blobs"
    __table_args__ = (Index(None, "expires_at", postgresql_where=text("expires_at IS NOT NULL")),)
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey(f"{SCHEMA}.tenants.id"))
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)  # None until they are all there
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]  # None while something refers to it


class Bucket(OfTenant, Base):
    """A named tree of objects, with the rules for what goes into it."""

    __tablename__ = "storage_buckets"
    __table_args__ = (Index("uq_storage_buckets_key", "tenant_id", "key", unique=True),)
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey(f"{SCHEMA}.tenants.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str]  # the name as permission keys spell it; no two buckets share one
    public: Mapped[bool]  # anybody may read its objects
    max_file_size: Mapped[int | None] = mapped_column(BigInteger)  # bytes
    allowed_types: Mapped[list[str] | None]  # `image/png`, `image/*`; None or none for all
    created_at: Mapped[datetime]


class FileFacts:
    """What is known of a file's bytes."""

    name: Mapped[str]
    media_type: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str | None]  # hex


class StorageObject(Identified, FileFacts, Base):
    """A file or a folder of a bucket. A folder has no blob."""

    __tablename__ = "storage_objects"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "bucket"],
            [f"{SCHEMA}.storage_buckets.tenant_id", f"{SCHEMA}.storage_buckets.name"],
            name="fk_storage_objects_bucket",
        ),
        Index("uq_storage_objects_name", "tenant_id", "bucket", "place", "name", unique=True),
        Index("ix_storage_objects_listing", "tenant_id", "bucket", "place", "is_file", "name"),
    )
    bucket: Mapped[str]
    parent_id: Mapped[UUID | None] = mapped_column(
        ForeignKey(f"{SCHEMA}.storage_objects.id", ondelete="CASCADE"), index=True
    )
    place: Mapped[UUID] = mapped_column(Computed(f"coalesce(parent_id, '{ROOT}'::uuid)", persisted=True))
    is_file: Mapped[bool]
    blob_id: Mapped[UUID | None] = mapped_column(ForeignKey(f"{SCHEMA}.blobs.id"), index=True)
    # `metadata` is SQLAlchemy's own word on a mapped class.
    details: Mapped[dict[str, Any]] = mapped_column("metadata")
    uploaded_by: Mapped[UUID]  # an account that may be gone by now
    updated_at: Mapped[datetime]

    @property
    def is_folder(self) -> bool:
        """Whether others may be inside."""
        return not self.is_file


class AppFile(Identified, FileFacts, Base):
    """A file that was given to an app. Names need not differ, and nothing is inside anything."""

    __tablename__ = "app_files"
    __table_args__ = (Index(None, "tenant_id", "app_id"),)
    app_id: Mapped[str]
    blob_id: Mapped[UUID] = mapped_column(ForeignKey(f"{SCHEMA}.blobs.id"), index=True)
    uploaded_by: Mapped[UUID | None]  # None where deployed code did without a user
