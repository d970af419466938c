"""The definition of an integration: a manifest of RootCX, and how its actions are done where no code does them.

Beside what a manifest has, an action may have a `request`:

    {"method": "POST", "url": "https://api.example.com/v1/things/{{input.id}}",
     "headers": {"authorization": "Bearer {{credentials.access_token}}"}, "query": {...}, "body": {...}, "as": "form",
     "answer": {"ok": "ok", "error": "error", "revoked": ["token_revoked"]}}

and `userAuth` may be one of these, where no code does it:

    {"type": "oauth2", "authorizationUrl", "tokenUrl", "scopes", "scopeSeparator", "parameters",
     "clientId", "clientSecret", "clientAuth": "basic" or "post"}
    {"type": "api_key", "schema": {...}}

Which server is asked is never the caller's choice: only `config` may be in that part of a URL.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from domain.apps.manifest import parse_manifest
from domain.integrations.templates import base_of, placeholders
from domain.kernel.errors import Invalid
from domain.kernel.reading import Node

KIND = "integration"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
ACTIONS_MAX = 500
HEADERS_MAX = 50

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_SECRET_KEY = re.compile(r"[A-Za-z0-9_]{1,128}")
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection"})  # headers that are not a template's


@dataclass(frozen=True, slots=True)
class Answer:
    """How the other service says no with a status that says yes: a field that is true, and one that says why not."""

    ok: str | None = None
    error: str | None = None
    revoked: frozenset[str] = frozenset()  # errors that mean the credentials are no longer good


@dataclass(frozen=True, slots=True)
class RequestTemplate:
    """The request that does an action. The texts in it are templates."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Any = None  # comes to an object
    body: Any = None
    form: bool = False  # whether the body is sent as a form
    answer: Answer = Answer()


@dataclass(frozen=True, slots=True)
class OAuth2:
    """Connecting by an authorization code. The texts are templates over `config`."""

    authorization_url: str
    token_url: str
    client_id: str
    client_secret: str | None
    scopes: Sequence[str]
    scope_separator: str
    in_form: bool  # whether the secret is sent as a part of the form, instead of in a header
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ApiKey:
    """Connecting by what people enter; `schema` says what that is."""

    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Definition:
    """An integration as its folder in the catalog defines it."""

    id: str
    manifest: Mapping[str, Any]  # in its parsed form
    source: Mapping[str, Any]  # as it was written
    requests: Mapping[str, RequestTemplate]  # by action
    auth: OAuth2 | ApiKey | None

    def action(self, id: str) -> Mapping[str, Any] | None:
        """What the manifest says of an action."""
        return next((action for action in self.manifest["actions"] if action["id"] == id), None)


def parse_definition(source: Any) -> Definition:
    """Read a definition. Raises Invalid with the path of the first thing wrong."""
    parsed = parse_manifest({"type": KIND, **source} if isinstance(source, dict) else source)
    if parsed.kind != KIND:
        raise Invalid("type", f"type must be {KIND}")
    if len(parsed.actions) > ACTIONS_MAX or len(set(parsed.actions)) < len(parsed.actions):
        raise Invalid("actions", f"actions must be at most {ACTIONS_MAX}, each with an id of its own")
    list(secret_fields(parsed.document, "configSchema"))
    root = Node(source, "")
    return Definition(
        id=parsed.app_id,
        manifest=parsed.document,
        source=source,
        requests={
            action.text("id"): _request(request)
            for action in root.objects("actions")
            if (request := action.object("request")) is not None
        },
        auth=_auth(root.object("userAuth")),
    )


def secret_fields(manifest: Mapping[str, Any], path: str = "configSchema") -> Iterator[tuple[str, str]]:
    """The fields of a configuration that are kept, each with its key in the platform's vault. Raises Invalid."""
    properties = (manifest.get("configSchema") or {}).get("properties")
    for name, schema in (properties if isinstance(properties, dict) else {}).items():
        key = schema.get("platformSecret") if isinstance(schema, dict) else None
        if key is None:
            continue
        if not isinstance(key, str) or not _SECRET_KEY.fullmatch(key):
            raise Invalid(path, f"{path}.properties.{name}.platformSecret must be letters, digits and underscores")
        yield name, key


def _request(node: Node) -> RequestTemplate:
    method = node.text("method", default="GET").upper()
    if method not in METHODS:
        raise Invalid(node.path("method"), f"{node.path('method')} must be one of {', '.join(METHODS)}")
    kind = node.text("as", default="json")
    if kind not in ("json", "form"):
        raise Invalid(node.path("as"), f"{node.path('as')} must be json or form")
    body = node.json("body")
    if kind == "form" and not isinstance(body, dict):
        raise Invalid(node.path("body"), f"{node.path('body')} must be an object where it is sent as a form")
    query = node.json("query")
    if not isinstance(query, dict | str | None):
        raise Invalid(node.path("query"), f"{node.path('query')} must be an object, or a placeholder for one")
    for key, template in (("query", query), ("body", body)):
        _templates(node, key, template)
    return RequestTemplate(method, _url(node, "url"), _headers(node), query, body, kind == "form", _answer(node))


def _url(node: Node, key: str, also: frozenset[str] = frozenset({"input", "config", "credentials"})) -> str:
    url: str = node.text(key)
    try:
        named, fixed = list(placeholders(url)), list(placeholders(base_of(url)))
    except ValueError as wrong:
        raise Invalid(node.path(key), f"{node.path(key)}: {wrong}") from wrong
    if any(path.split(".")[0] != "config" for path in fixed):
        raise Invalid(node.path(key), f"{node.path(key)}: which server is asked can only be told by config")
    if any(path.split(".")[0] not in also for path in named):
        raise Invalid(node.path(key), f"{node.path(key)}: only {', '.join(sorted(also))} can be told here")
    return url


def _templates(node: Node, key: str, template: Any) -> None:
    try:
        list(placeholders(template))
    except ValueError as wrong:
        raise Invalid(node.path(key), f"{node.path(key)}: {wrong}") from wrong


def _headers(node: Node) -> dict[str, str]:
    headers = node.json("headers", default={})
    if not isinstance(headers, dict) or len(headers) > HEADERS_MAX:
        raise Invalid(node.path("headers"), f"{node.path('headers')} must be an object of at most {HEADERS_MAX}")
    for name, value in headers.items():
        if not _HEADER.fullmatch(name) or name.lower() in _OURS or not isinstance(value, str):
            raise Invalid(node.path("headers"), f"{node.path('headers')}: '{name[:80]}' cannot be a header")
    _templates(node, "headers", headers)
    return {name.lower(): value for name, value in headers.items()}


def _answer(node: Node) -> Answer:
    told = node.object("answer")
    if told is None:
        return Answer()
    revoked = frozenset(told.texts("revoked", default=()))
    return Answer(told.text("ok", default=None), told.text("error", default=None), revoked)


def _auth(node: Node | None) -> OAuth2 | ApiKey | None:
    """How people connect, where Stoa does it; what else `userAuth` may say is the code's business."""
    kind = None if node is None else node.raw("type")
    if node is not None and kind == "oauth2" and node.has("tokenUrl"):
        return _oauth2(node)
    if node is not None and kind == "api_key":
        schema = node.json("schema", default={"type": "object"})
        if not isinstance(schema, dict):
            raise Invalid(node.path("schema"), f"{node.path('schema')} must be an object")
        return ApiKey(schema)
    return None


def _oauth2(node: Node) -> OAuth2:
    config = frozenset({"config"})
    parameters = node.json("parameters", default={})
    if not isinstance(parameters, dict) or not all(isinstance(value, str) for value in parameters.values()):
        raise Invalid(node.path("parameters"), f"{node.path('parameters')} must map names to texts")
    client_auth = node.text("clientAuth", default="basic")
    if client_auth not in ("basic", "post"):
        raise Invalid(node.path("clientAuth"), f"{node.path('clientAuth')} must be basic or post")
    return OAuth2(
        authorization_url=_url(node, "authorizationUrl", config),
        token_url=_url(node, "tokenUrl", config),
        client_id=node.text("clientId", default="{{config.clientId}}"),
        client_secret=node.text("clientSecret", default="{{config.clientSecret}}"),
        scopes=tuple(node.texts("scopes", default=())),
        scope_separator=node.text("scopeSeparator", default=" "),
        in_form=client_auth == "post",
        parameters=parameters,
    )
