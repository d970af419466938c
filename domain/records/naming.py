"""Names in PostgreSQL: quoting them, and keeping long ones apart."""

import hashlib
from functools import lru_cache

NAME_BYTES_MAX = 63
MARK = "stoa"


@lru_cache(4096)
def quoted(name: str) -> str:
    """`name` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """`text` as an SQL string; for statements that take no parameters (DDL)."""
    assert "\x00" not in text
    escaped = text.replace("'", "''")
    return f"E'{escaped.replace(chr(92), chr(92) * 2)}'" if "\\" in text else f"'{escaped}'"


def bounded(name: str) -> str:
    """`name`, shortened when PostgreSQL would cut it, so that two long names never become one."""
    if len(name.encode()) <= NAME_BYTES_MAX:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: NAME_BYTES_MAX - 9]}_{digest}"


def fingerprint(kind: str, definition: str) -> str:
    """A short mark of a definition, kept as comment on what the engine made and may replace."""
    return f"{MARK} {kind} {hashlib.sha256(definition.encode()).hexdigest()[:16]}"
