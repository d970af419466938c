"""Definitions that tests put into a catalog."""

import json
from pathlib import Path
from typing import Any

BEARER = {"authorization": "Bearer {{credentials.access_token}}"}
SECRETS = {
    "type": "object",
    "required": ["clientId", "clientSecret"],
    "properties": {
        "clientId": {"type": "string", "platformSecret": "PARCELNET_CLIENT_ID"},
        "clientSecret": {"type": "string", "platformSecret": "PARCELNET_CLIENT_SECRET"},
        "region": {"type": "string"},
    },
}


def action(id: str, request: dict[str, Any] | None = None, **schema: Any) -> dict[str, Any]:
    """An action, done by a request if there is one."""
    made: dict[str, Any] = {"id": id, "name": id.title(), "description": f"{id} something"}
    if schema:
        made["inputSchema"] = {"type": "object", **schema}
    return made if request is None else {**made, "request": request}


def parcelnet(url: str, **more: Any) -> dict[str, Any]:
    """An integration with the test's own service, by OAuth."""
    return {
        "appId": "parcelnet",
        "name": "ParcelNet",
        "description": "Parcels of others.",
        "type": "integration",
        "instructions": "Ask for parcels.",
        "webhooks": ["parcel-moved"],
        "configSchema": SECRETS,
        "userAuth": {
            "type": "oauth2",
            "authorizationUrl": f"{url}/authorize",
            "tokenUrl": f"{url}/token",
            "scopes": ["parcels:read", "parcels:write"],
            "parameters": {"audience": "parcels"},
        },
        "actions": [
            action(
                "find",
                {
                    "method": "GET",
                    "url": f"{url}/api/parcels/{{{{input.id}}}}",
                    "headers": BEARER,
                    "query": {"with": "{{input.with}}", "limit": "{{input.limit}}"},
                },
                required=["id"],
                properties={"id": {"type": "string"}, "limit": {"type": "integer"}},
            ),
            action(
                "send",
                {
                    "method": "POST",
                    "url": f"{url}/api/parcels",
                    "headers": {**BEARER, "x-trace": "{{input.trace}}"},
                    "body": {"to": "{{input.to}}", "weight": "{{input.weight}}", "note": "for {{input.to}}"},
                },
                required=["to"],
                properties={"to": {"type": "string"}, "weight": {"type": "number"}},
            ),
            action("label", {"method": "POST", "url": f"{url}/api/labels", "headers": BEARER, "as": "form",
                             "body": {"text": "{{input.text}}", "tags": "{{input.tags}}"}}),
            action("open", {"method": "GET", "url": f"{url}/open/{{{{+input.path}}}}"}),
            action("slackish", {"url": f"{url}/said", "headers": BEARER,
                                "answer": {"ok": "ok", "error": "error", "revoked": ["token_revoked"]}}),
        ],
        **more,
    }  # fmt: skip


def keyed(url: str, **more: Any) -> dict[str, Any]:
    """An integration with the same service, by a key that people enter."""
    return {
        "appId": "keyed",
        "name": "Keyed",
        "type": "integration",
        "userAuth": {
            "type": "api_key",
            "schema": {
                "type": "object",
                "required": ["access_token"],
                "additionalProperties": False,
                "properties": {"access_token": {"type": "string", "minLength": 4}},
            },
        },
        "actions": [action("whoami", {"url": f"{url}/api/me", "headers": BEARER})],
        **more,
    }


def put(folder: Path, definition: dict[str, Any], files: dict[str, str] | None = None) -> None:
    """Put a definition into the catalog, with its code."""
    place = folder / definition["appId"]
    place.mkdir(exist_ok=True)
    for name, text in {"manifest.json": json.dumps(definition), **(files or {})}.items():
        (place / name).write_text(text)
