"""Ids of the platform's own rows: UUID version 7 (RFC 9562), so that new rows sort last."""

import os
import re
import time
from uuid import UUID

_HYPHENATED = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

_last_ms = 0
_sequence = 0


def uuid7() -> UUID:
    """A new id: 48 bits of Unix milliseconds, 12 bits counting within one, 62 random bits.

    Ids of one process are strictly increasing, also when the clock steps back.
    """
    global _last_ms, _sequence
    now_ms = time.time_ns() // 1_000_000
    if now_ms > _last_ms:
        _last_ms, _sequence = now_ms, 0
    else:
        _sequence += 1
        if _sequence > 0xFFF:
            _last_ms, _sequence = _last_ms + 1, 0
    random = int.from_bytes(os.urandom(8)) & 0x3FFF_FFFF_FFFF_FFFF
    return UUID(int=_last_ms << 80 | 7 << 76 | _sequence << 64 | 2 << 62 | random)


def parse_uuid(text: object) -> UUID | None:
    """The UUID that `text` spells with hyphens, or None; braces, `urn:` and bare hex are not taken."""
    if isinstance(text, str) and _HYPHENATED.fullmatch(text):
        return UUID(text)
    return None
