"""What RootCX does everywhere (its HTTP API reference, section 1)."""

from pathlib import Path
from typing import Any

from rest_compat.engine.errors import Refusal
from rest_compat.engine.system import STATUS, Meta, System
from rest_compat.rootcx import magic_link_page, pages

# Duplicate names are 400 there; a foreign key that is violated stays 409. What deployed code throws is a 500, and so is
# code that cannot be unpacked or begun, and a worker that there is none of.
ROOTCX_STATUS = {
    **STATUS,
    "NAME_TAKEN": 400,
    "UPSTREAM_FAILED": 500,
    "FILE_TOO_LARGE": 400,
    "TYPE_NOT_ALLOWED": 400,
    "ARCHIVE_UNREADABLE": 500,
    "NO_ENTRY_POINT": 500,
    "NO_WORKER": 500,
}


def error(refusal: Refusal, meta: Meta) -> dict[str, Any]:
    """`error` is a text, as every client of RootCX expects; the rest helps those who look."""
    body: dict[str, Any] = {"error": refusal.message, "code": refusal.code.lower(), "requestId": meta.request_id}
    if refusal.field is not None:
        body["field"] = refusal.field
    return body


ERROR_SCHEMA = {
    "type": "object",
    "required": ["error", "code", "requestId"],
    "properties": {
        "error": {"type": "string", "description": "What is wrong, for people."},
        "code": {"type": "string", "description": "What kind of thing is wrong, for programs."},
        "requestId": {"type": "string"},
        "field": {"type": "string", "description": "The part of the input it is about."},
    },
}

ROOTCX = System(
    name="rootcx",
    title="RootCX",
    version="0.9",
    description="The HTTP API of RootCX Core, answered by Stoa.",
    folder=Path(__file__).parent,
    prefixes=("/api/v1",),
    error=error,
    error_schema=ERROR_SCHEMA,
    status=ROOTCX_STATUS,
    pages={"integration": pages.integration},
    by_hand=[magic_link_page.ROUTE],
)
