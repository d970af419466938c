"""What every authorization code flow has in common (RFC 6749, RFC 7636)."""

import base64
import hashlib
from collections.abc import Mapping
from urllib.parse import urlencode, urlsplit, urlunsplit


def challenge(verifier: str) -> str:
    """PKCE's S256 of a code verifier (RFC 7636, section 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def asking(endpoint: str, wanted: Mapping[str, str]) -> str:
    """The endpoint with these parameters beside those it has."""
    parts = urlsplit(endpoint)
    return urlunsplit(parts._replace(query="&".join(part for part in (parts.query, urlencode(wanted)) if part)))
