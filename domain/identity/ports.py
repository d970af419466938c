"""What identity needs of the outside: hashing passwords, signing tokens."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID


class Passwords(Protocol):
    """Argon2id, off the event loop and bounded in number."""

    async def hash(self, password: str) -> str:
        """A PHC string."""
        ...

    async def matches(self, hash: str | None, password: str) -> bool:
        """Whether `password` made `hash`. Takes as long for None (no account, no password) as for a real one."""
        ...

    def outdated(self, hash: str) -> bool:
        """Whether `hash` was made with other parameters than today's."""
        ...


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """What an access token says."""

    user_id: UUID
    tenant_id: UUID
    expires_at: float  # Unix seconds


@dataclass(frozen=True, slots=True)
class RefreshClaims:
    """What a refresh token says."""

    user_id: UUID
    tenant_id: UUID
    session_id: UUID
    generation: int


class Tokens(Protocol):
    """Signed tokens of fixed algorithms; `kid` tells which key signed."""

    access_life_s: int
    refresh_life_s: int

    def access(self, *, user_id: UUID, tenant_id: UUID, name: str, now: datetime) -> str:
        """An access token for one account; `name` is its address or user name, never empty."""
        ...

    def refresh(self, *, user_id: UUID, tenant_id: UUID, session_id: UUID, generation: int, now: datetime) -> str:
        """A refresh token of one session."""
        ...

    def read_access(self, token: str, now: float) -> AccessClaims:
        """What the token says, at `now` in Unix seconds.

        Raises Unauthenticated: `invalid token`, or `invalid token type` for a refresh token.
        """
        ...

    def read_refresh(self, token: str) -> RefreshClaims:
        """Raises Unauthenticated: `invalid token`, or `invalid token type` for an access token."""
        ...
