"""Refusals as GraphQL errors: every error has a code of the closed set, and nothing of our insides."""

import re
from typing import Any

from graphql import GraphQLError

from domain.kernel.errors import Code, DomainError

# Strawberry's words for a null where there is a value or nothing: they speak of Python.
_MAYBE = re.compile(r"Expected value of type .* 'Maybe\[.*", re.DOTALL)


def coded(error: GraphQLError, request_id: str) -> GraphQLError:
    """`error` as the caller may see it; of a fault only where to find it in the log."""
    if error.extensions and error.extensions.get("code"):
        return error
    cause = error.original_error
    if isinstance(cause, DomainError):
        return _with(error, cause.message, extensions_of(cause))
    if is_fault(error):
        return _with(error, "internal error", {"code": Code.INTERNAL, "requestId": request_id})
    return _with(error, _MAYBE.sub("what may be left out is not null", error.message), {"code": Code.INVALID_INPUT})


def code_of(error: GraphQLError) -> str:
    """The code of an error that has been coded."""
    return str((error.extensions or {})["code"])


def extensions_of(refusal: DomainError) -> dict[str, Any]:
    """What a refusal says besides its message."""
    more = {
        "field": refusal.field,
        "reason": refusal.reason,
        "details": refusal.details or None,
        "retryAfter": refusal.retry_after_s,
    }
    return {"code": refusal.code, **{key: value for key, value in more.items() if value is not None}}


def is_fault(error: GraphQLError) -> bool:
    """Whether the error comes from code of ours that failed, not from a refusal or a bad document."""
    cause = error.original_error
    return cause is not None and not isinstance(cause, DomainError | GraphQLError)


def refusal(cause: DomainError) -> GraphQLError:
    """A refusal that belongs to the whole operation."""
    return GraphQLError(cause.message, original_error=cause, extensions=extensions_of(cause))


def _with(error: GraphQLError, message: str, extensions: dict[str, Any]) -> GraphQLError:
    return GraphQLError(
        message,
        nodes=error.nodes,
        source=error.source,
        positions=error.positions,
        path=error.path,
        original_error=error.original_error,
        extensions=extensions,
    )
