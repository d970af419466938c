"""Key rings: what tokens, cursors and links are signed with, and what secrets are encrypted with.

Of each ring the first key is used for what is new, all of them for what is there.
"""

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

_KID = r"[A-Za-z0-9_-]{1,64}"
_RING = re.compile(rf"{_KID}:[0-9A-Fa-f]*(,{_KID}:[0-9A-Fa-f]*)*")
_HEX = re.compile(r"[0-9A-Fa-f]+")


@dataclass(frozen=True)
class Key:
    """A secret and the name under which what was made with it says so."""

    kid: str
    secret: bytes = field(repr=False)


@dataclass(frozen=True)
class Use:
    """What the keys of a ring are for, and what follows from that."""

    name: str
    file_name: str  # in the data folder
    variable: str
    bytes_min: int
    bytes_max: int | None
    any_text: bool  # whether a text that is no ring is one key

    @property
    def allowed(self) -> str:
        """How a ring is spelled in the environment."""
        if self.any_text:
            least = self.bytes_min
            return f"kid:hex[,kid:hex...] with at least {least} bytes each, or any text of {least} bytes or more"
        return f"kid:hex[,kid:hex...] with {2 * self.bytes_min} hex digits each, or {2 * self.bytes_min} hex digits"

    def fits(self, secret: bytes) -> bool:
        """Whether the secret has the right length."""
        return len(secret) >= self.bytes_min and (self.bytes_max is None or len(secret) <= self.bytes_max)


SIGNING = Use("signing keys", "secret.keys", "STOA_SECRET_KEY", 32, None, any_text=True)
MASTER = Use("master keys", "master.keys", "STOA_MASTER_KEY", 32, 32, any_text=False)


def parse(text: str, use: Use = SIGNING) -> tuple[Key, ...]:
    """The keys that a variable spells. Raises ValueError, which never quotes a secret."""
    text = text.strip()
    if _RING.fullmatch(text):
        return _ring((entry.split(":") for entry in text.split(",")), use)
    if not use.any_text and not (_HEX.fullmatch(text) and len(text) % 2 == 0):
        raise ValueError("is not a ring of keys")
    secret = text.encode() if use.any_text else bytes.fromhex(text)
    if not use.fits(secret):
        raise ValueError(f"has {len(secret)} bytes")
    return (Key(hashlib.sha256(b"stoa kid\0" + secret).hexdigest()[:12], secret),)


def read_or_create(data_dir: Path, use: Use = SIGNING) -> tuple[Key, ...]:
    """The keys of a data folder; the first caller makes one, also when several start at once."""
    path = data_dir / use.file_name
    with suppress(FileExistsError):
        if not path.exists():
            _write_new(path, (_fresh(use),))
    try:
        lines = path.read_text().splitlines()
        return _ring((line.split() for line in lines if line.strip()), use)
    except (OSError, ValueError) as problem:
        raise Misuse(f"cannot read the {use.name} in {path}: {problem}") from None


def rotate(data_dir: Path, use: Use = SIGNING) -> Key:
    """Put a new key first, so that it is the one used from now on; the older ones stay good for what is there."""
    keys = (_fresh(use), *read_or_create(data_dir, use))
    path = data_dir / use.file_name
    os.replace(_written(path, keys), path)
    return keys[0]


class LiveRing:
    """A ring that is looked at again whenever its file has changed: a new key is used without a restart."""

    def __init__(self, given: tuple[Key, ...], data_dir: Path, use: Use) -> None:
        self._keys = given
        self._data_dir = data_dir
        self._use = use
        self._path = None if given else data_dir / use.file_name
        self._seen: tuple[int, int] | None = None

    @property
    def rotates(self) -> bool:
        """Whether the keys are ours to add to; those of the environment aren't."""
        return self._path is not None

    @property
    def source(self) -> str:
        """Where the keys come from, for messages."""
        return self._use.variable if self._path is None else str(self._path)

    def now(self) -> tuple[Key, ...]:
        """The keys as they are now. Raises Misuse for a file that cannot be read."""
        if self._path is not None:
            seen = self._stamp(self._path)
            # A file that has gone since is nothing to make new keys for: what these made would be lost.
            if not self._keys or seen not in (None, self._seen):
                self._keys = read_or_create(self._data_dir, self._use)
                self._seen = seen
        return self._keys

    def rotate(self) -> Key:
        """Put a new key first."""
        return rotate(self._data_dir, self._use)

    @staticmethod
    def _stamp(path: Path) -> tuple[int, int] | None:
        """What a new version of the file differs in: it is never written in place."""
        try:
            found = path.stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns


def _ring(entries: Iterable[list[str]], use: Use) -> tuple[Key, ...]:
    keys = []
    for number, entry in enumerate(entries, 1):
        try:
            kid, digits = entry
            secret = bytes.fromhex(digits)
        except ValueError:
            raise ValueError(f"key {number} is not a name and an even number of hex digits") from None
        if not use.fits(secret):
            raise ValueError(f"key {number} ({kid}) has {len(secret)} bytes")
        keys.append(Key(kid, secret))
    if not keys:
        raise ValueError("there is no key")
    if len({key.kid for key in keys}) < len(keys):
        raise ValueError("two keys have the same name")
    return tuple(keys)


def _fresh(use: Use) -> Key:
    return Key(secrets.token_hex(6), secrets.token_bytes(use.bytes_min))


def _written(path: Path, keys: Iterable[Key]) -> str:
    """The name of a new file beside `path` that holds the keys, readable by its owner alone."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    with os.fdopen(handle, "w") as file:
        file.writelines(f"{key.kid} {key.secret.hex()}\n" for key in keys)
        file.flush()
        os.fsync(file.fileno())
    return name


def _write_new(path: Path, keys: Iterable[Key]) -> None:
    """Raises FileExistsError when another process was first: a link, unlike a rename, replaces nothing."""
    name = _written(path, keys)
    try:
        os.link(name, path)
    finally:
        os.unlink(name)
