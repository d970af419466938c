"""Providers, whom they know here, and what is good for one use: attempts, links and nonces, kept as hashes."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Index
from sqlalchemy.orm import Mapped, mapped_column

from domain.kernel.model import SCHEMA, Base, OfTenant

TENANT = f"{SCHEMA}.tenants.id"
USER = f"{SCHEMA}.users.id"


class Delivery(StrEnum):
    """How a session gets to where the browser is sent."""

    NONCE = "nonce"  # a nonce in the query, to be exchanged within half a minute
    TOKENS = "tokens"  # the tokens themselves, in the query and in the fragment: RootCX's older way


class IdentityProvider(OfTenant, Base):
    """An OpenID provider to sign in with. Its client secret is in the vault."""

    __tablename__ = "identity_providers"
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey(TENANT), primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    display_name: Mapped[str]
    issuer_url: Mapped[str]
    client_id: Mapped[str]
    scopes: Mapped[list[str]]
    auto_register: Mapped[bool]  # whether people who have no account get one
    default_role: Mapped[str]  # of those who get an account
    role_claim: Mapped[str | None]  # the claim that names a role instead
    enabled: Mapped[bool]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


def _of_provider(column: str) -> ForeignKeyConstraint:
    provider = [f"{SCHEMA}.identity_providers.tenant_id", f"{SCHEMA}.identity_providers.id"]
    return ForeignKeyConstraint(["tenant_id", column], provider, ondelete="CASCADE")


class ExternalIdentity(OfTenant, Base):
    """Somebody a provider knows, and the account they have here. An account has one provider at most."""

    __tablename__ = "external_identities"
    __table_args__ = (_of_provider("provider_id"),)
    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    provider_id: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey(USER, ondelete="CASCADE"), unique=True)
    created_at: Mapped[datetime]


class SignInAttempt(OfTenant, Base):
    """A sign-in that was sent to its provider and has not come back."""

    __tablename__ = "sign_in_attempts"
    __table_args__ = (_of_provider("provider_id"), Index(None, "tenant_id", "provider_id"))
    state_hash: Mapped[bytes] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID]
    provider_id: Mapped[str]
    browser_hash: Mapped[bytes]  # of what the browser was given to know it again by
    nonce: Mapped[str]
    code_verifier: Mapped[str]
    redirect_uri: Mapped[str | None]
    delivery: Mapped[str]
    expires_at: Mapped[datetime] = mapped_column(index=True)


class SessionNonce(OfTenant, Base):
    """A session whose tokens wait to be fetched."""

    __tablename__ = "session_nonces"
    nonce_hash: Mapped[bytes] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID]
    session_id: Mapped[UUID] = mapped_column(ForeignKey(f"{SCHEMA}.sessions.id", ondelete="CASCADE"), index=True)
    expires_at: Mapped[datetime] = mapped_column(index=True)


class MagicLink(OfTenant, Base):
    """An invitation: whoever has the token is signed in, once, as the account of the address."""

    __tablename__ = "magic_links"
    token_hash: Mapped[bytes] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID] = mapped_column(ForeignKey(TENANT), index=True)
    email: Mapped[str]
    roles: Mapped[list[str]]
    redirect_uri: Mapped[str | None]
    delivery: Mapped[str]
    created_by: Mapped[UUID] = mapped_column(ForeignKey(USER, ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    used_at: Mapped[datetime | None]
