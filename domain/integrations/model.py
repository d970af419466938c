"""What is deployed of the catalog, who is connected to what, and which apps may use it.

Everything goes with the integration's app, whichever way that goes. Secrets are in the vault; a trigger takes them
away with the rows that they belong to.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Index, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from domain.kernel.model import SCHEMA, Base, Identified, OfTenant

USER = f"{SCHEMA}.users.id"


def _of_app(column: str) -> ForeignKeyConstraint:
    app = [f"{SCHEMA}.apps.tenant_id", f"{SCHEMA}.apps.id"]
    return ForeignKeyConstraint(["tenant_id", column], app, ondelete="CASCADE")


class DeployedIntegration(OfTenant, Base):
    """An integration that came from the catalog, with the definition that it is done by."""

    __tablename__ = "integrations"
    __table_args__ = (_of_app("id"),)
    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)  # of its app
    definition: Mapped[dict[str, Any]] = mapped_column(JSONB)  # as the catalog had it when it was deployed
    webhook_hash: Mapped[bytes] = mapped_column(unique=True)  # of the token that its webhook is called by
    deployed_by: Mapped[UUID]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class IntegrationConfig(Identified, Base):
    """A client configuration with a name, for where one set of secrets for everybody is not enough."""

    __tablename__ = "integration_configs"
    __table_args__ = (_of_app("integration_id"), Index(None, "tenant_id", "integration_id"))
    integration_id: Mapped[str]
    label: Mapped[str]


class IntegrationConnection(Identified, Base):
    """Somebody's account at the other service. Its credentials are in the vault."""

    __tablename__ = "integration_connections"
    __table_args__ = (_of_app("integration_id"), Index(None, "tenant_id", "integration_id", "user_id"))
    integration_id: Mapped[str]
    user_id: Mapped[UUID] = mapped_column(ForeignKey(USER, ondelete="CASCADE"), index=True)
    config_id: Mapped[UUID | None] = mapped_column(ForeignKey(f"{SCHEMA}.integration_configs.id"), index=True)
    label: Mapped[str | None]
    dead_at: Mapped[datetime | None]  # since when the other service takes its credentials no more
    refreshing_until: Mapped[datetime | None]  # until when somebody is fetching new credentials
    updated_at: Mapped[datetime]


class IntegrationBinding(Identified, Base):
    """An app may use an integration: for everybody, or for one user."""

    __tablename__ = "integration_bindings"
    __table_args__ = (
        _of_app("app_id"),
        _of_app("integration_id"),
        UniqueConstraint("tenant_id", "app_id", "integration_id", "user_id", postgresql_nulls_not_distinct=True),
        Index(None, "tenant_id", "integration_id"),
    )
    app_id: Mapped[str]
    integration_id: Mapped[str]
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey(USER, ondelete="CASCADE"), index=True)  # None: everybody
    connection_id: Mapped[UUID | None] = mapped_column(  # None: that of whoever calls
        ForeignKey(f"{SCHEMA}.integration_connections.id", ondelete="SET NULL"), index=True
    )
    created_by: Mapped[UUID]


class IntegrationAttempt(OfTenant, Base):
    """Somebody who was sent to the other service to agree, and has not come back."""

    __tablename__ = "integration_attempts"
    __table_args__ = (_of_app("integration_id"), Index(None, "tenant_id", "integration_id"))
    state_hash: Mapped[bytes] = mapped_column(primary_key=True)
    integration_id: Mapped[str]
    user_id: Mapped[UUID] = mapped_column(ForeignKey(USER, ondelete="CASCADE"), index=True)
    config_id: Mapped[UUID | None] = mapped_column(ForeignKey(f"{SCHEMA}.integration_configs.id", ondelete="CASCADE"))
    browser_hash: Mapped[bytes]  # of what the browser was given to know it again by
    code_verifier: Mapped[str]
    callback_url: Mapped[str]
    expires_at: Mapped[datetime] = mapped_column(index=True)
