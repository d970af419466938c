"""Tokens as JWT: HS256 only, the key found by `kid`, nothing else of the header believed.

Claims as RootCX has them; the tenant is told where it is not the default one.
"""

from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import jwt

from domain.identity.ports import AccessClaims, RefreshClaims
from domain.kernel.errors import Unauthenticated
from domain.kernel.ids import parse_uuid
from domain.kernel.model import DEFAULT_TENANT

ALGORITHM = "HS256"
ACCESS_LIFE_S = 900
REFRESH_LIFE_S = 30 * 24 * 3600
LEEWAY_S = 30
REMEMBERED_MAX = 10_000


class Key(Protocol):
    """A signing key: its id and its secret."""

    @property
    def kid(self) -> str: ...
    @property
    def secret(self) -> bytes: ...


class JwtTokens:
    """See `domain.identity.ports.Tokens`. The first key signs, all of them verify."""

    access_life_s = ACCESS_LIFE_S
    refresh_life_s = REFRESH_LIFE_S

    def __init__(self, keys: Sequence[Key]) -> None:
        self._kid, self._secret = keys[0].kid, keys[0].secret
        self._secrets = {key.kid: key.secret for key in keys}
        self._read: OrderedDict[str, AccessClaims] = OrderedDict()

    def access(self, *, user_id: UUID, tenant_id: UUID, name: str, now: datetime) -> str:
        """An access token."""
        return self._signed({"sub": str(user_id), "email": name}, tenant_id, now, ACCESS_LIFE_S)

    def refresh(self, *, user_id: UUID, tenant_id: UUID, session_id: UUID, generation: int, now: datetime) -> str:
        """A refresh token, told from an access token by its empty `email`."""
        claims = {"sub": str(user_id), "email": "", "session_id": str(session_id), "gen": generation}
        return self._signed(claims, tenant_id, now, REFRESH_LIFE_S)

    def _signed(self, claims: dict[str, Any], tenant_id: UUID, now: datetime, life_s: int) -> str:
        issued = int(now.timestamp())
        claims = {**claims, "iat": issued, "exp": issued + life_s}
        if tenant_id != DEFAULT_TENANT:
            claims["tid"] = str(tenant_id)
        return jwt.encode(claims, self._secret, ALGORITHM, headers={"kid": self._kid})

    def read_access(self, token: str, now: float) -> AccessClaims:
        """What the token says; one that was read before is remembered until it expires."""
        known = self._read.get(token)
        if known is None:
            known = self._access_claims(token)
            self._read[token] = known
            if len(self._read) > REMEMBERED_MAX:
                self._read.popitem(last=False)
        if known.expires_at + LEEWAY_S <= now:
            raise Unauthenticated("invalid token: it has expired")
        return known

    def _access_claims(self, token: str) -> AccessClaims:
        claims = self._claims(token)
        if not claims.get("email") or "session_id" in claims:
            raise Unauthenticated("invalid token type")
        return AccessClaims(_uuid(claims, "sub"), _tenant(claims), float(claims["exp"]))

    def read_refresh(self, token: str) -> RefreshClaims:
        """What the token says."""
        claims = self._claims(token)
        if claims.get("email") or "session_id" not in claims:
            raise Unauthenticated("invalid token type")
        generation = claims.get("gen", 0)
        if not isinstance(generation, int):
            raise Unauthenticated("invalid token")
        return RefreshClaims(_uuid(claims, "sub"), _tenant(claims), _uuid(claims, "session_id"), generation)

    def _claims(self, token: str) -> dict[str, Any]:
        try:
            secret = self._secrets.get(jwt.get_unverified_header(token).get("kid", self._kid))
            if secret is None:
                raise Unauthenticated("invalid token")
            options: Any = {"require": ["exp", "iat", "sub"]}
            return jwt.decode(token, secret, [ALGORITHM], options=options, leeway=LEEWAY_S)
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise Unauthenticated("invalid token") from error


def _uuid(claims: dict[str, Any], name: str) -> UUID:
    parsed = parse_uuid(claims.get(name))
    if parsed is None:
        raise Unauthenticated("invalid token")
    return parsed


def _tenant(claims: dict[str, Any]) -> UUID:
    return _uuid(claims, "tid") if "tid" in claims else DEFAULT_TENANT
