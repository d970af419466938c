"""Signed opaque text, by HMAC-SHA256 with a key derived for each purpose."""

import base64
import hmac
from collections.abc import Sequence
from functools import lru_cache

from infra.identity.tokens import Key

MAC_BYTES = 16


class HmacSeal:
    """See `domain.kernel.seal.Seal`. The first key signs, all of them are recognised."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self._secrets = [key.secret for key in keys]

    def seal(self, payload: bytes, purpose: str) -> str:
        """`payload` with its signature, in URL-safe base64."""
        mac = _mac(self._secrets[0], payload, purpose)
        return base64.urlsafe_b64encode(mac + payload).rstrip(b"=").decode()

    def pads(self, purpose: str) -> tuple[bytes, bytes]:
        """The inner and outer pad of the HMAC for this purpose (RFC 2104)."""
        return _pads(self._secrets[0], purpose)

    def unseal(self, text: str, purpose: str) -> bytes | None:
        """The payload, or None."""
        try:
            raw = base64.b64decode(text.encode() + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except ValueError:
            return None
        mac, payload = raw[:MAC_BYTES], raw[MAC_BYTES:]
        canonical = base64.urlsafe_b64encode(raw).rstrip(b"=").decode() == text
        genuine = any(hmac.compare_digest(_mac(secret, payload, purpose), mac) for secret in self._secrets)
        return payload if canonical and genuine else None


def _mac(secret: bytes, payload: bytes, purpose: str) -> bytes:
    return hmac.digest(_derived(secret, purpose), payload, "sha256")[:MAC_BYTES]


@lru_cache(maxsize=1024)
def _derived(secret: bytes, purpose: str) -> bytes:
    return hmac.digest(secret, b"stoa seal " + purpose.encode(), "sha256")


@lru_cache(maxsize=1024)
def _pads(secret: bytes, purpose: str) -> tuple[bytes, bytes]:
    key = _derived(secret, purpose).ljust(64, b"\x00")
    return bytes(byte ^ 0x36 for byte in key), bytes(byte ^ 0x5C for byte in key)
