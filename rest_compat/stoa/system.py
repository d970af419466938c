"""What Stoa's own routes do everywhere."""

from pathlib import Path
from typing import Any

from rest_compat.engine.errors import Refusal
from rest_compat.engine.system import Meta, System


def error(refusal: Refusal, meta: Meta) -> dict[str, Any]:
    """The words of a GraphQL error, and where to find the request in the log."""
    told: dict[str, Any] = {"code": refusal.code, "message": refusal.message, "requestId": meta.request_id}
    if refusal.field is not None:
        told["field"] = refusal.field
    return {"error": told}


ERROR_SCHEMA = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "requestId"],
            "properties": {
                "code": {"type": "string", "description": "What kind of thing is wrong, for programs."},
                "message": {"type": "string", "description": "What is wrong, for people."},
                "field": {"type": "string", "description": "The part of the input it is about."},
                "requestId": {"type": "string"},
            },
        }
    },
}

STOA = System(
    name="stoa",
    title="Stoa",
    version="1",
    description="The URLs that Stoa's GraphQL API hands out, and records as files.",
    folder=Path(__file__).parent,
    prefixes=("/files", "/exports", "/records"),
    error=error,
    error_schema=ERROR_SCHEMA,
)
