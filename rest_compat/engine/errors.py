"""What can be wrong: with a document (when it is compiled), and with a request (when it is answered)."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphql import GraphQLError, Node, get_location


class CompileError(Exception):
    """A document that makes no route. The text begins with file, line and column.

    A node knows where it stands: an operation is wrong in the file of the fragment that makes it so.
    """

    def __init__(self, file: str, message: str, node: Node | None = None, position: tuple[int, int] | None = None):
        if position is None and node is not None and node.loc is not None:
            where = get_location(node.loc.source, node.loc.start)
            file, position = node.loc.source.name, (where.line, where.column)
        line, column = position or (1, 1)
        super().__init__(f"{file}:{line}:{column}: {message}")
        self.file, self.line, self.column, self.message = file, line, column, message


def compile_error(file: str, error: GraphQLError) -> CompileError:
    """A parser's or validator's error as one of ours; `file` where it doesn't say which."""
    where = error.locations[0] if error.locations else None
    name = error.source.name if error.source is not None else file
    return CompileError(name, error.message, position=(where.line, where.column) if where else None)


@dataclass
class Refusal(Exception):
    """Why a request is not answered as it hoped. `code` is one of the schema's `ErrorCode`, `reason` a finer word.

    `path` is where in the operation's variables the cause is: the engine makes it the name the caller knows. `also`
    is what else is wrong with the same request, for dialects that tell everything at once.
    """

    code: str
    message: str
    field: str | None = None
    reason: str | None = None
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    retry_after_s: float | None = None
    path: tuple[str | int, ...] = ()
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    also: Sequence["Refusal"] = ()

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


INVALID = "INVALID_INPUT"


def invalid(field: str | None, message: str) -> Refusal:
    """A part of the request that cannot be accepted."""
    return Refusal(INVALID, message, field=field)


def together(refusals: Sequence[Refusal]) -> Refusal:
    """The first of them, with those of its kind as what else is wrong."""
    first, *rest = refusals
    return dataclasses.replace(first, also=tuple(other for other in rest if other.code == first.code))
