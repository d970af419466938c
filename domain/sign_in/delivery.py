"""Where a browser may be sent, and how its session gets there."""

import ipaddress
import re
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import SplitResult, urlencode, urlsplit, urlunsplit

from sqlalchemy import delete

from domain.identity import service as identity
from domain.identity.model import Session, User
from domain.identity.service import SignIn
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Invalid, Unauthenticated
from domain.sign_in.model import Delivery, SessionNonce
from domain.sign_in.tokens import is_token, new_token, token_hash

NONCE_LIFE = timedelta(seconds=30)
REDIRECT_CHARS_MAX = 2048

_CHARACTERS = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+")  # RFC 3986, and nothing a browser would mend
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Onward:
    """Where the browser goes on."""

    location: str


def own_address(field: str, uri: str, public_url: str) -> str:
    """`uri`, if it leads to this installation or to the machine of whoever asks. Raises Invalid."""
    parts = web_address(field, uri)
    if _origin(parts) != _origin(urlsplit(public_url)) and not _is_loopback(parts.hostname or ""):
        raise Invalid(field, f"{field} must lead to {public_url} or to a loopback address")
    return uri


def web_address(field: str, uri: str) -> SplitResult:
    """The parts of an address of the web without a user in it. Raises Invalid."""
    if not 0 < len(uri) <= REDIRECT_CHARS_MAX or not _CHARACTERS.fullmatch(uri):
        raise Invalid(field, f"{field} must be a URL of at most {REDIRECT_CHARS_MAX} characters")
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        parts, port = None, None
    if parts is None or parts.scheme not in _PORTS or not parts.hostname or port == 0:
        raise Invalid(field, f"{field} must be an http or https URL")
    if "@" in parts.netloc:
        raise Invalid(field, f"{field} must not hold a user name")
    return parts


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def deliver(ctx: Ctx, user: User, redirect_uri: str | None, delivery: str) -> SignIn | Onward:
    """A new session of `user`: as it is, or on its way to `redirect_uri`. Raises Unauthenticated."""
    session = await identity.begin_session(ctx, user)
    if redirect_uri is None:
        return identity.tokens_of(ctx, user, session)
    if delivery == Delivery.NONCE:
        return Onward(_with(redirect_uri, {"auth_nonce": await _nonce(ctx, session)}))
    signed_in = identity.tokens_of(ctx, user, session)
    tokens = {
        "access_token": signed_in.access_token,
        "refresh_token": signed_in.refresh_token or "",
        "expires_in": str(signed_in.expires_in_s),
    }
    return Onward(_with(redirect_uri, tokens, fragment=urlencode(tokens)))


async def _nonce(ctx: Ctx, session: Session) -> str:
    nonce = new_token()
    row = SessionNonce(nonce_hash=token_hash(nonce), session_id=session.id, expires_at=ctx.now + NONCE_LIFE)
    await ctx.add(row)
    return nonce


def _with(uri: str, values: dict[str, str], fragment: str | None = None) -> str:
    parts = urlsplit(uri)
    query = "&".join(part for part in (parts.query, urlencode(values)) if part)
    return urlunsplit(parts._replace(query=query, fragment=parts.fragment if fragment is None else fragment))


async def exchange_nonce(ctx: Ctx, nonce: str) -> SignIn:
    """The tokens of the session that waits behind a nonce, once. Raises Unauthenticated."""
    row = None
    if is_token(nonce):
        waiting = delete(SessionNonce).where(
            SessionNonce.tenant_id == ctx.tenant_id, SessionNonce.nonce_hash == token_hash(nonce)
        )
        row = (await ctx.execute(waiting.returning(SessionNonce.session_id, SessionNonce.expires_at))).first()
    if row is None or row.expires_at <= ctx.now:
        raise Unauthenticated("invalid nonce: it is unknown, was used, or is older than 30 s")
    return await identity.tokens_of_session(ctx, row.session_id)
