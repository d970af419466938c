"""What the schema says of its own fields, for clients, for the REST adapter and for tests to hold us to.

`@access` tells who may call a root field, `@refuses` with which codes it may say no beyond the common ones,
`@constraint` the bounds of an argument, `@jsonSchema` the shape of a scalar's value. `query`, `mutation` and
`subscription` make a root field of a resolver and take its docstring as the description.
"""

import inspect
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, TypeVar

import strawberry
from strawberry.schema_directive import Location

from domain.kernel.errors import Code, Reason

F = TypeVar("F", bound=Callable[..., Any])


def refusal(code: Code, reason: Reason) -> str:
    """A code with its finer word."""
    return f"{code}/{reason}"


@strawberry.enum(description="Who may call a field at all.")
class Level(Enum):
    PUBLIC = strawberry.enum_value("PUBLIC", description="Anybody; no credential is asked for.")
    GUEST = strawberry.enum_value("GUEST", description="Signed-in users, and anybody for what is declared to be open.")
    USER = strawberry.enum_value("USER", description="Any signed-in user; the permission says what is needed besides.")


ErrorCode = strawberry.enum(Code, name="ErrorCode", description="What `extensions.code` of an error may be.")


@strawberry.schema_directive(
    name="access", locations=[Location.FIELD_DEFINITION], description="Who may call this field."
)
class Access:
    level: Level = Level.USER
    permission: str | None = strawberry.directive_field(name="permission", default=strawberry.UNSET)


@strawberry.schema_directive(
    name="refuses",
    locations=[Location.FIELD_DEFINITION],
    description="Codes this field may refuse with, beside those any may; `CODE/REASON` where there is a finer word.",
)
class Refuses:
    codes: list[str]


@strawberry.schema_directive(
    name="constraint",
    locations=[Location.ARGUMENT_DEFINITION, Location.INPUT_FIELD_DEFINITION],
    description="Bounds of a value; lengths in characters.",
)
class Constraint:
    minimum: int | None = strawberry.directive_field(name="minimum", default=strawberry.UNSET)
    maximum: int | None = strawberry.directive_field(name="maximum", default=strawberry.UNSET)
    min_length: int | None = strawberry.directive_field(name="minLength", default=strawberry.UNSET)
    max_length: int | None = strawberry.directive_field(name="maxLength", default=strawberry.UNSET)
    min_items: int | None = strawberry.directive_field(name="minItems", default=strawberry.UNSET)
    max_items: int | None = strawberry.directive_field(name="maxItems", default=strawberry.UNSET)
    pattern: str | None = strawberry.directive_field(name="pattern", default=strawberry.UNSET)


@strawberry.schema_directive(
    name="jsonSchema",
    locations=[Location.SCALAR],
    description="The JSON Schema of a scalar's value, as JSON text.",
)
class JsonSchema:
    schema: str


CONCLUDES = "concludes"  # in the metadata of a root field

PUBLIC = Access(level=Level.PUBLIC)
GUEST = Access(level=Level.GUEST)


def _directives(access: Access, refuses: Sequence[str]) -> list[object]:
    return [access, *([Refuses(codes=list(refuses))] if refuses else [])]


def query(*, access: Access | None = None, refuses: Sequence[str] = (), graphql_type: Any = None) -> Callable[[F], Any]:
    """A root field of `Query`."""
    return lambda resolver: strawberry.field(
        resolver=resolver,
        description=inspect.getdoc(resolver),
        directives=_directives(access or Access(), refuses),
        graphql_type=graphql_type,
    )


def mutation(
    *, access: Access | None = None, refuses: Sequence[str] = (), graphql_type: Any = None, concludes: bool = False
) -> Callable[[F], Any]:
    """A root field of `Mutation`. One that `concludes` may come to a single statement, as `Ctx.conclude` runs it.

    So it does one thing, and nothing that can fail after that.
    """
    return lambda resolver: strawberry.mutation(
        resolver=resolver,
        description=inspect.getdoc(resolver),
        directives=_directives(access or Access(), refuses),
        graphql_type=graphql_type,
        metadata={CONCLUDES: concludes},
    )


def subscription(*, access: Access | None = None, refuses: Sequence[str] = ()) -> Callable[[F], Any]:
    """A root field of `Subscription`."""
    return lambda resolver: strawberry.subscription(
        resolver=resolver,
        description=inspect.getdoc(resolver),
        directives=_directives(access or Access(), refuses),
    )


def bounded(description: str, **bounds: Any) -> Any:
    """The annotation of an argument with bounds."""
    return strawberry.argument(description=description, directives=[Constraint(**bounds)])


def about(description: str) -> Any:
    """The annotation of an argument."""
    return strawberry.argument(description=description)
