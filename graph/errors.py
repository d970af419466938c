"""Refusals as GraphQL errors: every error has a code of the closed set, and nothing of our insides."""

import re
from collections.abc import Iterable
from typing import Any

from graphql import GraphQLError

from domain.kernel.errors import Code, DomainError

_SUGGESTION = re.compile(r" Did you mean .*\?$", re.DOTALL)


class Fault(Exception):
    """An error nobody foresaw; the caller hears `internal error`, the log the rest."""


def coded(error: GraphQLError, *, suggestions: bool) -> GraphQLError:
    """`error` as the caller may see it. Without `suggestions` it does not tell names the caller didn't use."""
    if error.extensions and error.extensions.get("code"):
        return error
    cause = error.original_error
    if isinstance(cause, DomainError):
        return _with(error, cause.message, extensions_of(cause))
    if is_fault(error):
        return _with(error, "internal error", {"code": Code.INTERNAL})
    message = error.message if suggestions else _SUGGESTION.sub("", error.message)
    return _with(error, message, {"code": Code.INVALID_INPUT})


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


def coded_all(errors: Iterable[GraphQLError], *, suggestions: bool) -> list[GraphQLError]:
    """Each of the errors as the caller may see it."""
    return [coded(error, suggestions=suggestions) for error in errors]


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
