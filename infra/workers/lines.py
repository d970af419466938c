"""JSON lines, as hosts and deployed code are spoken to."""

import json
from collections.abc import Mapping
from typing import Any

import orjson


def line_of(message: Mapping[str, Any]) -> bytes:
    """A message as a line; whole numbers of any size and many levels included, which a GraphQL document may hold."""
    try:
        return orjson.dumps(message, default=str) + b"\n"
    except TypeError:
        return json.dumps(message, default=str, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
