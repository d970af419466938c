"""A client of the Model Context Protocol: that of the protocol's own package."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, Tool

from tests.harness import Person, Stoa

MODES = ("auto", "legacy")  # the way of 2026, and that of clients before


@asynccontextmanager
async def speaking(stoa: Stoa, person: Person, mode: Any = "auto") -> AsyncIterator[Client]:
    """A client that is connected as this person."""
    headers = {"authorization": f"Bearer {person.token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=30, trust_env=False) as http,
        Client(streamable_http_client(f"{stoa.base_url}/mcp", http_client=http), mode=mode) as client,
    ):
        yield client


async def every_tool(client: Client) -> dict[str, Tool]:
    """The tools of all pages, by name."""
    found: dict[str, Tool] = {}
    cursor = None
    while True:
        page = await client.list_tools(cursor=cursor)
        found |= {tool.name: tool for tool in page.tools}
        cursor = page.next_cursor
        if cursor is None:
            return found


def told(result: CallToolResult) -> Any:
    """What a call that must succeed has answered."""
    assert not result.is_error, result
    return result.structured_content


def refused(result: CallToolResult) -> dict[str, Any]:
    """What a call that must not succeed was refused with."""
    assert result.is_error, result
    body: dict[str, Any] = result.structured_content
    return body
