"""What every table of the platform has in common. All of them live in the PostgreSQL schema `stoa`."""

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import DateTime, MetaData, Text, Uuid, cast, type_coerce
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from domain.kernel.ids import uuid7
from domain.kernel.rawjson import RawJson

DEFAULT_TENANT = UUID("00000000-0000-0000-0000-000000000000")
SCHEMA = "stoa"

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class JsonText(TypeDecorator[RawJson]):
    """A jsonb column that is read and written as text: what is only passed on needs no parsing, and loses nothing."""

    impl = JSONB
    cache_ok = True

    def column_expression(self, column: Any) -> Any:
        """Read as text."""
        return type_coerce(cast(column, Text), self)

    def bind_expression(self, bindparam: Any) -> Any:
        """Written from text."""
        return cast(cast(bindparam, Text), JSONB)

    def bind_processor(self, dialect: Any) -> Any:
        """The text as it is."""
        return lambda text: None if text is None else str(text)

    def result_processor(self, dialect: Any, coltype: object) -> Any:
        """The text as it is."""
        return lambda text: None if text is None else RawJson(text)


class Base(DeclarativeBase):
    """The mapped classes of the platform."""

    metadata = MetaData(schema=SCHEMA, naming_convention=NAMES)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text,
        UUID: Uuid,
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        list[str]: ARRAY(Text),
    }


class OfTenant:
    """A row that belongs to one tenant."""

    tenant_id: Mapped[UUID] = mapped_column(index=False)


class Identified(OfTenant):
    """A tenant's row with an id of its own."""

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    created_at: Mapped[datetime]
