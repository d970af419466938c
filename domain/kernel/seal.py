"""Signed opaque text: what we hand out and must recognise as our own when it comes back."""

from typing import Protocol


class Seal(Protocol):
    """Signs with the installation's secret. A seal for one purpose is worthless for another."""

    def seal(self, payload: bytes, purpose: str) -> str:
        """URL-safe text that carries `payload` and its signature."""
        ...

    def pads(self, purpose: str) -> tuple[bytes, bytes]:
        """The inner and outer pad of the HMAC for this purpose: with them, PostgreSQL can seal as we do."""
        ...

    def unseal(self, text: str, purpose: str) -> bytes | None:
        """The payload, or None for anything `seal` did not make for this purpose."""
        ...
