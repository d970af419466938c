"""What an operation came to, and the forms it is sent in: each is made once, however many it is sent to."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import orjson
from graphql import ExecutionResult, GraphQLError


@dataclass(frozen=True)
class Answer:
    """What an operation came to. With errors, a mutation has no data: nothing of it was done."""

    data: dict[str, Any] | None
    errors: Sequence[GraphQLError] = ()
    replayed: bool = False

    @classmethod
    def of(cls, result: ExecutionResult) -> "Answer":
        """What the executor came to."""
        return cls(result.data, result.errors or ())

    @property
    def executed(self) -> bool:
        """Whether it came as far as being executed: then GraphQL tells of data, if only that there is none."""
        return self.data is not None or any(error.path for error in self.errors)

    @cached_property
    def encoded(self) -> bytes:
        """The data as JSON."""
        return orjson.dumps(self.data)

    @property
    def json(self) -> bytes:
        """GraphQL's response map."""
        if not self.errors:
            return b'{"data":' + self.encoded + b"}"
        told = orjson.dumps([error.formatted for error in self.errors])
        return b'{"errors":' + told + (b',"data":' + self.encoded if self.executed else b"") + b"}"

    @cached_property
    def event(self) -> bytes:
        """The response map as a server-sent event: on one line, though PostgreSQL breaks the line between records."""
        return b"event: next\ndata: " + self.json.replace(b"\n", b"") + b"\n\n"
