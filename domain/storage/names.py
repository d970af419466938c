"""What files, buckets and types may be called."""

import re
import unicodedata
from collections.abc import Sequence

from domain.kernel.errors import Invalid

NAME_CHARS_MAX = 255
MEDIA_TYPE_CHARS_MAX = 255
ALLOWED_TYPES_MAX = 100
OCTETS = "application/octet-stream"

_BUCKET = re.compile(r"[A-Za-z0-9_-]{1,63}")
_TOKEN = r"[A-Za-z0-9!#$&^_.+-]+"
_MEDIA_TYPE = re.compile(rf"({_TOKEN}/{_TOKEN})((?:\s*;\s*{_TOKEN}=(?:{_TOKEN}|\"[^\"\\\x00-\x1f\x7f]*\"))*)", re.ASCII)
_ALLOWED_TYPE = re.compile(rf"{_TOKEN}/(?:\*|{_TOKEN})", re.ASCII)
_SHOWN = frozenset(
    {"application/pdf", "image/avif", "image/bmp", "image/gif", "image/jpeg", "image/png", "image/webp", "text/plain"}
)
# They turn the direction of what is shown: `exe.gpj` for `jpg.exe`.
_TURNING = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_NEVER = ("Cc", "Cs", "Zl", "Zp")


def clean_name(name: str, field: str = "name") -> str:
    """The name of a file or folder, trimmed and composed (NFC). Raises Invalid.

    Names are for people and headers: no bytes are ever kept under one. Still none may look like a path.
    """
    name = unicodedata.normalize("NFC", name).strip()
    if not name:
        raise Invalid(field, f"{field} must not be empty")
    if len(name) > NAME_CHARS_MAX:
        raise Invalid(field, f"{field} must be at most {NAME_CHARS_MAX} characters")
    if name in (".", "..") or "/" in name or "\\" in name:
        raise Invalid(field, f"{field} must not be a path")
    if any(unicodedata.category(char) in _NEVER or char in _TURNING for char in name):
        raise Invalid(field, f"{field} must not hold control characters")
    return name


def clean_media_type(media_type: str | None, field: str) -> str:
    """`type/subtype` in lower case with its parameters as they were; that of any bytes for none. Raises Invalid."""
    if not media_type or not media_type.strip():
        return OCTETS
    match = _MEDIA_TYPE.fullmatch(media_type.strip())
    if match is None or len(media_type) > MEDIA_TYPE_CHARS_MAX:
        raise Invalid(field, f"{field} must be a media type, like image/png")
    return match[1].lower() + match[2]


def is_allowed(media_type: str, allowed: Sequence[str] | None) -> bool:
    """Whether a list of types (`image/png`, `image/*`) takes this one; an empty list takes all."""
    bare = media_type.partition(";")[0].strip()
    kind = bare.partition("/")[0]
    return not allowed or bare in allowed or f"{kind}/*" in allowed


def is_harmless(media_type: str) -> bool:
    """Whether a browser may show it where it meets it: what holds no scripts, however it is read."""
    bare = media_type.partition(";")[0].strip()
    return bare in _SHOWN or bare.partition("/")[0] in ("audio", "video")


def check_bucket_name(name: str) -> None:
    """Raises Invalid."""
    if not _BUCKET.fullmatch(name):
        raise Invalid("name", "name must be 1 to 63 of A-Z a-z 0-9 _ -")


def key_of(bucket: str) -> str:
    """A bucket's name as permission keys spell it, which know neither capitals nor hyphens."""
    return bucket.lower().replace("-", "_")


def clean_allowed_types(types: Sequence[str] | None) -> list[str] | None:
    """The types a bucket takes, in lower case. Raises Invalid on `allowedTypes`."""
    if types is None:
        return None
    if len(types) > ALLOWED_TYPES_MAX:
        raise Invalid("allowedTypes", f"allowedTypes must be at most {ALLOWED_TYPES_MAX}")
    for position, type in enumerate(types):
        if len(type) > MEDIA_TYPE_CHARS_MAX or not _ALLOWED_TYPE.fullmatch(type):
            raise Invalid(f"allowedTypes.{position}", f"allowedTypes.{position} must be like image/png or image/*")
    return list(dict.fromkeys(type.lower() for type in types))
