"""Refusals: everything the domain may say no with, and the closed set of codes they carry."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class Code(StrEnum):
    """Why an operation was refused. The value is what GraphQL shows in `extensions.code`."""

    INVALID_INPUT = "INVALID_INPUT"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    FORBIDDEN = "FORBIDDEN"
    NOT_FOUND = "NOT_FOUND"
    CONFLICT = "CONFLICT"
    GONE = "GONE"
    PRECONDITION_FAILED = "PRECONDITION_FAILED"
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    UNSUPPORTED_MEDIA_TYPE = "UNSUPPORTED_MEDIA_TYPE"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    NOT_ACCEPTABLE = "NOT_ACCEPTABLE"
    IDEMPOTENCY_KEY_REUSED = "IDEMPOTENCY_KEY_REUSED"
    RATE_LIMITED = "RATE_LIMITED"
    QUERY_TOO_COMPLEX = "QUERY_TOO_COMPLEX"
    QUERY_TIMEOUT = "QUERY_TIMEOUT"
    UPSTREAM_FAILED = "UPSTREAM_FAILED"
    UNAVAILABLE = "UNAVAILABLE"
    INTERNAL = "INTERNAL"


class Reason(StrEnum):
    """A finer word than the code, where dialects tell cases of one code apart."""

    NAME_TAKEN = "NAME_TAKEN"
    FILE_TOO_LARGE = "FILE_TOO_LARGE"  # for the place it was meant for
    TYPE_NOT_ALLOWED = "TYPE_NOT_ALLOWED"  # in the place it was meant for
    ARCHIVE_UNREADABLE = "ARCHIVE_UNREADABLE"  # it is none, or a broken one
    NO_ENTRY_POINT = "NO_ENTRY_POINT"  # deployed code that holds nothing to begin with
    NO_WORKER = "NO_WORKER"  # it never was started


class DomainError(Exception):
    """A refusal. `field` is the path of the input it is about, dots between the parts (`where.stage`)."""

    code: Code

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        reason: Reason | None = None,
        details: Mapping[str, Any] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.reason = reason
        self.details = dict(details or {})
        self.retry_after_s = retry_after_s


class Invalid(DomainError):
    """The input cannot be accepted; `field` names the part."""

    code = Code.INVALID_INPUT

    def __init__(self, field: str | None, message: str, **more: Any) -> None:
        super().__init__(message, field=field, **more)


class Unauthenticated(DomainError):
    """No credential, or one that is not good (any more)."""

    code = Code.UNAUTHENTICATED


class Denied(DomainError):
    """The caller is known and may not do this."""

    code = Code.FORBIDDEN


class Missing(DomainError):
    """There is no such thing, or the caller may not know of it."""

    code = Code.NOT_FOUND


class Conflict(DomainError):
    """The state of things does not allow it."""

    code = Code.CONFLICT


class Gone(DomainError):
    """It was there, and will not be again."""

    code = Code.GONE


class KeyReused(DomainError):
    """An idempotency key came back with another request."""

    code = Code.IDEMPOTENCY_KEY_REUSED


class Limited(DomainError):
    """Too often; `retry_after_s` says when again."""

    code = Code.RATE_LIMITED


class TooComplex(DomainError):
    """The question is larger than we answer."""

    code = Code.QUERY_TOO_COMPLEX


class TimedOut(DomainError):
    """The question took longer than we allow."""

    code = Code.QUERY_TIMEOUT


class TooLarge(DomainError):
    """The body is larger than we take."""

    code = Code.PAYLOAD_TOO_LARGE


class Unsupported(DomainError):
    """A body or file of a kind that is not taken."""

    code = Code.UNSUPPORTED_MEDIA_TYPE


class Failed(DomainError):
    """What we asked on the caller's behalf (deployed code, a provider outside) answered with an error of its own."""

    code = Code.UPSTREAM_FAILED


class Unavailable(DomainError):
    """Something we need does not answer at the moment."""

    code = Code.UNAVAILABLE


class Busy(Unavailable):
    """Others use what we need to change, for longer than we wait."""


def permission_denied(key: str) -> Denied:
    """The one wording for a missing permission; `details.permission` is its key."""
    return Denied(f"permission denied: {key}", details={"permission": key})
