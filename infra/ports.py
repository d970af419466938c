"""Ports for work that needs only some of them: chores, and commands beside the server."""

from dataclasses import fields
from typing import Any

from domain.ports import Ports


def only(**adapters: Any) -> Ports:
    """Ports with these adapters and no others: asking one of the others for anything fails."""
    every: dict[str, Any] = {port.name: adapters.get(port.name) for port in fields(Ports)}
    return Ports(**every)
