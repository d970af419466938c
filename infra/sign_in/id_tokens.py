"""ID tokens: the signature by one of the provider's own keys, and every claim that says whom the token is for.

Of the header only `alg` and `kid` are used, each to choose among what the provider publishes: no key in it, nor one
it points to, is looked at. Signatures are public-key ones only, so that no key that everybody knows signs anything.
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

ALGORITHMS: Mapping[str, tuple[str, str | None]] = {
    **{f"{family}{bits}": ("RSA", None) for family in ("RS", "PS") for bits in (256, 384, 512)},
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
    "Ed25519": ("OKP", "Ed25519"),
}
"""Algorithm -> the type of its keys, and the curve of those that have one."""

TOKEN_CHARS_MAX = 16 * 1024
SUBJECT_CHARS_MAX = 255
KEYS_MAX = 100
LEEWAY_S = 60.0
MOMENT_MAX = 1e11  # beyond it is milliseconds, or NaN

_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


class TokenRefused(Exception):
    """What is wrong with an ID token."""


@dataclass(frozen=True, slots=True)
class Key:
    """A public key of a provider's."""

    id: str | None
    algorithm: str | None  # the only one it is for, where it says so
    type: str
    curve: str | None
    jwk: Any = field(repr=False)

    def fits(self, algorithm: str) -> bool:
        """Whether the algorithm is one for keys like this."""
        type, curve = ALGORITHMS[algorithm]
        return self.type == type and curve in (None, self.curve) and self.algorithm in (None, algorithm)


def keys_of(document: Mapping[str, Any]) -> list[Key]:
    """The keys of a JWK set that are for signatures and that we understand."""
    from joserfc.errors import JoseError
    from joserfc.jwk import import_key

    found: list[Key] = []
    entries = document.get("keys")
    for entry in entries[:KEYS_MAX] if isinstance(entries, list) else ():
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig" or entry.get("kty") not in _TYPES:
            continue
        public = {name: value for name, value in entry.items() if name in _PUBLIC}
        try:
            jwk = import_key(public)
        except (JoseError, ValueError, TypeError, KeyError):
            continue
        words = {name: value if isinstance(value := entry.get(name), str) else None for name in ("kid", "alg", "crv")}
        found.append(Key(words["kid"], words["alg"], entry["kty"], words["crv"], jwk))
    return found


_TYPES = ("RSA", "EC", "OKP")
_PUBLIC = ("kty", "n", "e", "crv", "x", "y")


def key_id_of(token: str, supported: frozenset[str] | None) -> str | None:
    """The id of the key that a token says it is signed with. Raises TokenRefused for a token we do not verify."""
    header = _header(token)
    algorithm = header.get("alg")
    if (
        not isinstance(algorithm, str)
        or algorithm not in ALGORITHMS
        or (supported is not None and algorithm not in supported)
    ):
        raise TokenRefused("the ID token is not signed by an algorithm of the provider's")
    if "crit" in header or "b64" in header:
        raise TokenRefused("the ID token has a header that is not known here")
    if str(header.get("typ", "JWT")).lower() != "jwt":
        raise TokenRefused("this is another kind of token")
    key_id = header.get("kid")
    if key_id is not None and not isinstance(key_id, str):
        raise TokenRefused("the ID token names its key by what is no name")
    return key_id


def claims_of(token: str, keys: Sequence[Key], *, issuer: str, client_id: str, now: float) -> dict[str, Any]:
    """The claims, if the token is the issuer's, for this client, and of this moment. Raises TokenRefused."""
    claims = _verified(token, keys)
    if claims.get("iss") != issuer:
        raise TokenRefused("the ID token is of another issuer")
    if claims.get("typ", "ID") != "ID":  # Keycloak's word, in the claims, for what its tokens are
        raise TokenRefused("this is another kind of token")
    _check_audience(claims, client_id)
    _check_times(claims, now)
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_CHARS_MAX or not subject.isprintable():
        raise TokenRefused("the ID token is about nobody")
    return claims


def _header(token: str) -> dict[str, Any]:
    from joserfc.errors import JoseError
    from joserfc.jws import extract_compact

    if len(token) > TOKEN_CHARS_MAX or not _TOKEN.fullmatch(token):
        raise TokenRefused("this is no ID token")
    try:
        header: dict[str, Any] = extract_compact(token.encode()).headers()
    except (JoseError, ValueError) as problem:
        raise TokenRefused("this is no ID token") from problem
    return header


def _verified(token: str, keys: Sequence[Key]) -> dict[str, Any]:
    from joserfc import jwt
    from joserfc.errors import JoseError, SecurityWarning
    from joserfc.jws import JWSRegistry

    header = _header(token)
    algorithm, key_id = header["alg"], header.get("kid")
    fitting = [key for key in keys if key.fits(algorithm) and key_id in (None, key.id)]
    if not fitting:
        raise TokenRefused("the ID token is signed with a key the provider does not have")
    if len(fitting) > 1:
        raise TokenRefused("the ID token does not say which key it is signed with")
    registry = JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)  # of `EdDSA`, the older name that providers use
            return jwt.decode(token, fitting[0].jwk, algorithms=[algorithm], registry=registry).claims
    except (JoseError, ValueError, TypeError) as problem:
        raise TokenRefused("the signature of the ID token is not good") from problem


def _check_audience(claims: Mapping[str, Any], client_id: str) -> None:
    audience, party = claims.get("aud"), claims.get("azp")
    audiences = audience if isinstance(audience, list) else [audience]
    if client_id not in audiences:
        raise TokenRefused("the ID token is for another client")
    if (len(audiences) > 1 and party is None) or (party is not None and party != client_id):
        raise TokenRefused("the ID token was issued to another client")


def _check_times(claims: Mapping[str, Any], now: float) -> None:
    expires, issued, begins = (_moment(claims, name) for name in ("exp", "iat", "nbf"))
    if expires is None or issued is None:
        raise TokenRefused("the ID token does not say how long it is good")
    if expires + LEEWAY_S <= now:
        raise TokenRefused("the ID token has expired")
    if max(issued, begins or issued) - LEEWAY_S > now:
        raise TokenRefused("the ID token is not good yet")


def _moment(claims: Mapping[str, Any], name: str) -> float | None:
    """A claim that is Unix seconds, None where it is not there. Raises TokenRefused."""
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < MOMENT_MAX:
        raise TokenRefused(f"{name} in the ID token is no moment")
    return value
