"""Signing keys: what tokens, cursors and links are signed with. The first signs, all of them verify."""

import hashlib
import os
import re
import secrets
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from infra.failure import Misuse

SECRET_BYTES_MIN = 32
FILE_NAME = "secret.keys"

ALLOWED = (
    f"kid:hex[,kid:hex...] with at least {SECRET_BYTES_MIN} bytes each, or any text of {SECRET_BYTES_MIN} bytes or more"
)

_KID = r"[A-Za-z0-9_-]{1,64}"
_RING = re.compile(rf"{_KID}:[0-9A-Fa-f]*(,{_KID}:[0-9A-Fa-f]*)*")


@dataclass(frozen=True)
class SigningKey:
    """A secret and the name under which a signature says it was used."""

    kid: str
    secret: bytes = field(repr=False)


def parse(text: str) -> tuple[SigningKey, ...]:
    """The keys that STOA_SECRET_KEY spells. Raises ValueError, which never quotes the secret."""
    text = text.strip()
    if _RING.fullmatch(text):
        return _ring(entry.split(":") for entry in text.split(","))
    secret = text.encode()
    if len(secret) < SECRET_BYTES_MIN:
        raise ValueError(f"has only {len(secret)} bytes")
    return (SigningKey(hashlib.sha256(b"stoa kid\0" + secret).hexdigest()[:12], secret),)


def read_or_create(data_dir: Path) -> tuple[SigningKey, ...]:
    """The keys of a data folder; the first caller makes one, also when several start at once."""
    path = data_dir / FILE_NAME
    with suppress(FileExistsError):
        if not path.exists():
            _write_new(path, (_fresh(),))
    try:
        lines = path.read_text().splitlines()
        return _ring(line.split() for line in lines if line.strip())
    except (OSError, ValueError) as problem:
        raise Misuse(f"cannot read the signing keys in {path}: {problem}") from None


def rotate(data_dir: Path) -> SigningKey:
    """Put a new key first, so that it signs from the next start; the older ones go on verifying."""
    keys = (_fresh(), *read_or_create(data_dir))
    path = data_dir / FILE_NAME
    os.replace(_written(path, keys), path)
    return keys[0]


def _ring(entries: Iterable[list[str]]) -> tuple[SigningKey, ...]:
    keys = []
    for number, entry in enumerate(entries, 1):
        try:
            kid, digits = entry
            secret = bytes.fromhex(digits)
        except ValueError:
            raise ValueError(f"key {number} is not a name and an even number of hex digits") from None
        if len(secret) < SECRET_BYTES_MIN:
            raise ValueError(f"key {number} ({kid}) has only {len(secret)} bytes")
        keys.append(SigningKey(kid, secret))
    if not keys:
        raise ValueError("there is no key")
    if len({key.kid for key in keys}) < len(keys):
        raise ValueError("two keys have the same name")
    return tuple(keys)


def _fresh() -> SigningKey:
    return SigningKey(secrets.token_hex(6), secrets.token_bytes(SECRET_BYTES_MIN))


def _written(path: Path, keys: Iterable[SigningKey]) -> str:
    """The name of a new file beside `path` that holds the keys, readable by its owner alone."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    with os.fdopen(handle, "w") as file:
        file.writelines(f"{key.kid} {key.secret.hex()}\n" for key in keys)
        file.flush()
        os.fsync(file.fileno())
    return name


def _write_new(path: Path, keys: Iterable[SigningKey]) -> None:
    """Raises FileExistsError when another process was first: a link, unlike a rename, replaces nothing."""
    name = _written(path, keys)
    try:
        os.link(name, path)
    finally:
        os.unlink(name)
