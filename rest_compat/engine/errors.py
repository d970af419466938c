"""What can be wrong: with a document (when it is compiled), and with a request (when it is answered)."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graphql import GraphQLError, Node, get_location


class CompileError(Exception):
    """A document that makes no route. The text begins with file, line and column."""

    def __init__(self, file: str, message: str, node: Node | None = None, position: tuple[int, int] | None = None):
        if position is None and node is not None and node.loc is not None:
            where = get_location(node.loc.source, node.loc.start)
            position = (where.line, where.column)
        line, column = position or (1, 1)
        super().__init__(f"{file}:{line}:{column}: {message}")
        self.file, self.line, self.column, self.message = file, line, column, message


def compile_error(file: str, error: GraphQLError) -> CompileError:
    """A parser's or validator's error as one of ours."""
    where = error.locations[0] if error.locations else None
    return CompileError(file, error.message, position=(where.line, where.column) if where else None)


@dataclass
class Refusal(Exception):
    """Why a request is not answered as it hoped. `code` is one of the schema's `ErrorCode`, `reason` a finer word.

    `path` is where in the operation's variables the cause is: the engine makes it the name the caller knows.
    """

    code: str
    message: str
    field: str | None = None
    reason: str | None = None
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    retry_after_s: float | None = None
    path: tuple[str | int, ...] = ()
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


def invalid(field: str | None, message: str) -> Refusal:
    """A part of the request that cannot be accepted."""
    return Refusal("INVALID_INPUT", message, field=field)
