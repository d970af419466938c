"""A system: where its documents are, and what its dialect does everywhere."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from starlette.routing import Route as StarletteRoute

from rest_compat.engine.errors import Refusal

STATUS: Mapping[str, int] = {
    "INVALID_INPUT": 400,
    "UNAUTHENTICATED": 401,
    "FORBIDDEN": 403,
    "NOT_FOUND": 404,
    "METHOD_NOT_ALLOWED": 405,
    "NOT_ACCEPTABLE": 406,
    "CONFLICT": 409,
    "IDEMPOTENCY_KEY_REUSED": 409,
    "GONE": 410,
    "PRECONDITION_FAILED": 412,
    "PAYLOAD_TOO_LARGE": 413,
    "UNSUPPORTED_MEDIA_TYPE": 415,
    "RANGE_NOT_SATISFIABLE": 416,
    "RATE_LIMITED": 429,
    "QUERY_TOO_COMPLEX": 400,
    "QUERY_TIMEOUT": 400,
    "UPSTREAM_FAILED": 502,
    "UNAVAILABLE": 503,
    "INTERNAL": 500,
}


class Extra(Enum):
    """What is done with a parameter nobody asked for, or one that is given twice where one is wanted."""

    IGNORE = "ignore"  # of a repeated one the last counts, of two spellings the first that is no null
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Meta:
    """What an envelope may tell of the request."""

    request_id: str


def bearer_token(headers: Mapping[str, str]) -> str | None:
    """The token of `Authorization: Bearer ...`; anything else in that header is a token that is not good."""
    value = headers.get("authorization")
    if value is None:
        return None
    return value[7:] if value.startswith("Bearer ") else ""


@dataclass(frozen=True)
class System:
    """The facts of one dialect."""

    name: str  # also the prefix of its operations' names, where several systems meet
    title: str
    version: str
    description: str
    folder: Path  # with its *.graphql
    prefixes: Sequence[str]  # paths below these, if no route has them, are answered in this dialect
    error: Callable[[Refusal, Meta], Any]  # the body of a refusal
    error_schema: Mapping[str, Any]
    stream_error: Callable[[Refusal, Meta], Any] | None = None  # the data of one in a stream, if it looks different
    status: Mapping[str, int] = field(default_factory=lambda: STATUS)  # by reason, or else by code
    wrap: Callable[[Any, Meta], Any] | None = None  # the envelope of a success
    wrap_schema: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
    token: Callable[[Mapping[str, str]], str | None] = bearer_token  # of a request with these headers
    security: Mapping[str, Any] = field(
        default_factory=lambda: {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
    )
    unknown_parameters: Extra = Extra.IGNORE
    repeated_parameters: Extra = Extra.IGNORE
    unknown_fields: Extra = Extra.IGNORE
    body_bytes_max: int = 50 * 2**20
    pages: Mapping[str, Callable[[Any], str]] = field(default_factory=dict)  # bodies as HTML, for people
    by_hand: Sequence[StarletteRoute] = ()  # what is answered to people and to other servers: described nowhere

    def status_of(self, refusal: Refusal) -> int:
        """The HTTP status of a refusal."""
        return self.status_of_code(refusal.code, refusal.reason)

    def status_of_code(self, code: str, reason: str | None = None) -> int:
        """The HTTP status of a code, or of the finer reason if the dialect tells it apart."""
        if reason is not None and reason in self.status:
            return self.status[reason]
        return self.status.get(code, STATUS.get(code, 500))
