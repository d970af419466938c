"""Keyset pages: lists in an order that new rows don't disturb, with cursors only we can make."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, Select, func, literal, select, tuple_

from domain.kernel.errors import Invalid
from domain.kernel.model import Base

if TYPE_CHECKING:
    from domain.kernel.ctx import Ctx

FIRST_DEFAULT = 50
FIRST_MAX = 1000

M = TypeVar("M", bound=Base)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PageArgs:
    """The part of a list that is asked for: `first` rows behind the cursor `after`."""

    first: int = FIRST_DEFAULT
    after: str | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Rows with the cursor of each. `count` asks how many there are in all, when somebody wants to know."""

    rows: Sequence[T]
    cursors: Sequence[str]
    has_next: bool
    has_previous: bool
    count: Callable[[], Awaitable[int]]


def bounded_first(first: int, most: int = FIRST_MAX) -> int:
    """`first`, if it is a sensible number of rows. Raises Invalid."""
    if not 1 <= first <= most:
        raise Invalid("first", f"first must be between 1 and {most}")
    return first


def seal_cursor(ctx: "Ctx", scope: str, key: Sequence[object]) -> str:
    """The cursor of the row with this sort key; good for this tenant and this list only."""
    return ctx.ports.seal.seal(orjson.dumps(key, default=str), f"cursor:{ctx.tenant_id}:{scope}")


def unseal_cursor(ctx: "Ctx", scope: str, cursor: str, field: str = "after") -> list[Any]:
    """The sort key in `cursor`. Raises Invalid for a cursor of another list, or one that is none."""
    payload = ctx.ports.seal.unseal(cursor, f"cursor:{ctx.tenant_id}:{scope}")
    if payload is None:
        raise Invalid(field, "not a cursor of this list")
    key: list[Any] = orjson.loads(payload)
    return key


async def keyset_page(
    ctx: "Ctx",
    rows: Select[M],
    args: PageArgs,
    *,
    scope: str,
    by: Sequence[Any],
    descending: bool = False,
    first_max: int = FIRST_MAX,
) -> Page[M]:
    """The page of `rows` in the order of the columns `by`, of which the last must be unique.

    `scope` names the list with its filters. Raises Invalid on `first` or `after`.
    """
    first = bounded_first(args.first, first_max)
    key: ColumnElement[Any] = tuple_(*by)
    statement = rows.add_columns(*by).order_by(*(c.desc() if descending else c.asc() for c in by))
    if args.after is not None:
        values = _typed(by, unseal_cursor(ctx, scope, args.after))
        statement = statement.where(key < values if descending else key > values)
    found = (await ctx.execute(statement.limit(first + 1))).all()
    page = found[:first]

    async def count() -> int:
        return int((await ctx.execute(select(func.count()).select_from(rows.subquery()))).scalar_one())

    return Page(
        rows=[row[0] for row in page],
        cursors=[seal_cursor(ctx, scope, list(row[1:])) for row in page],
        has_next=len(found) > first,
        has_previous=args.after is not None,
        count=count,
    )


def _typed(by: Sequence[Any], values: list[Any]) -> Any:
    """The cursor's JSON values as the columns' Python types."""
    parsed = [_value(column.type.python_type, value) for column, value in zip(by, values, strict=True)]
    return tuple_(*(literal(value, column.type) for value, column in zip(parsed, by, strict=True)))


def _value(python_type: type, value: Any) -> Any:
    if python_type is UUID:
        return UUID(value)
    if python_type is datetime:
        return datetime.fromisoformat(value).astimezone(UTC)
    return value
