"""Relay connections (GraphQL Cursor Connections Specification) over keyset pages."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Generic, TypeVar

import strawberry

from domain.kernel.page import FIRST_DEFAULT, FIRST_MAX, Page
from graph.rules import about, bounded

Node = TypeVar("Node")

First = Annotated[int, bounded("How many to return.", minimum=1, maximum=FIRST_MAX)]
After = Annotated[str | None, about("The cursor to start behind: `endCursor` of the page before.")]

FIRST = FIRST_DEFAULT


@strawberry.type(description="Where a page stands in its list.")
class PageInfo:
    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


@strawberry.type(description="One element of a list, with its cursor.")
class Edge(Generic[Node]):
    cursor: str
    node: Node


@strawberry.type(description="A page of a list.")
class Connection(Generic[Node]):
    edges: list[Edge[Node]]
    nodes: list[Node]
    page_info: PageInfo
    count: strawberry.Private[Callable[[], Awaitable[int]]]

    @strawberry.field(description="How many there are in the whole list; counted only when asked for.")
    async def total_count(self) -> int:
        return await self.count()


def connection(page: Page[Node]) -> Connection[Node]:
    """A page as a connection; its rows are resolved as the node type."""
    return Connection(
        edges=[Edge(cursor=cursor, node=row) for cursor, row in zip(page.cursors, page.rows, strict=True)],
        nodes=list(page.rows),
        page_info=PageInfo(
            has_next_page=page.has_next,
            has_previous_page=page.has_previous,
            start_cursor=page.cursors[0] if page.cursors else None,
            end_cursor=page.cursors[-1] if page.cursors else None,
        ),
        count=page.count,
    )
