"""The OpenAPI description, computed from what each route selects and binds: it cannot say what isn't so."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rest_compat.engine.answers import JSON
from rest_compat.engine.errors import INVALID
from rest_compat.engine.input_schemas import Inputs
from rest_compat.engine.json_schemas import Components, Json, object_schema
from rest_compat.engine.links import link
from rest_compat.engine.operations import Route
from rest_compat.engine.output_schemas import Outputs, statuses
from rest_compat.engine.streams import MEDIA_TYPE as EVENTS
from rest_compat.engine.system import System

OPENAPI = "3.1.0"
ERROR = "Error"  # the component of a system's refusals
DESCRIBED_STATUS: Mapping[int, str] = {
    200: "Done.",
    201: "Created.",
    202: "Accepted.",
    204: "Done; there is nothing to say.",
    206: "The part asked for.",
    301: "Go there instead, always.",
    302: "Go there instead.",
    303: "Look there.",
    304: "What the caller has is still right.",
    307: "Go there instead.",
    308: "Go there instead, always.",
    400: "The input cannot be accepted.",
    401: "No credential, or one that is not good.",
    402: "Beyond what the plan allows.",
    403: "The caller may not do this.",
    404: "There is no such thing, or the caller may not know of it.",
    406: "The caller takes none of what there is.",
    409: "The state of things does not allow it.",
    410: "It was there, and will not be again.",
    412: "It is no longer as the caller has it.",
    413: "The body is too large.",
    415: "The body is of a kind that is not taken.",
    416: "The range is beyond the file.",
    422: "Well-formed, and meaningless.",
    429: "Too often.",
    500: "Something failed that is not the caller's fault.",
    502: "Something outside that we asked failed.",
    503: "Something we need does not answer; try again.",
    504: "It took too long.",
}
_TEXT: Json = {"type": "string"}
_HEADERS_OF_REFUSALS: Mapping[int, str] = {
    401: "WWW-Authenticate",
    416: "Content-Range",
    429: "Retry-After",
    503: "Retry-After",
}


def describe(routes: Iterable[Route], systems: Sequence[System], *, merged: bool, base_url: str) -> Json:
    """The description of one system's routes, or of all of them together. Raises CompileError."""
    describer = _Describer(Components(merged))
    paths: dict[str, Json] = {}
    by_operation: dict[str, Route] = {}
    for route in routes:
        operation = describer.operation(route)
        paths.setdefault(route.document.described_path, {})[route.document.method.lower()] = operation
        by_operation[operation["operationId"]] = route
    components = describer.components
    link(paths, components, by_operation)
    schemes = {components.name(system, name): scheme for system in systems for name, scheme in system.security.items()}
    one = systems[0]
    return {
        "openapi": OPENAPI,
        "info": {
            "title": "Stoa" if merged else one.title,
            "version": "1" if merged else one.version,
            "description": _merged_text(systems) if merged else one.description,
        },
        "servers": [{"url": base_url}],
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": dict(sorted(components.schemas.items())), "securitySchemes": schemes},
        "tags": [{"name": tag} for tag in sorted(describer.tags)],
    }


def _merged_text(systems: Sequence[System]) -> str:
    return "Every route of " + ", ".join(system.title for system in systems) + "."


@dataclass
class _Describer:
    components: Components
    tags: set[str] = field(default_factory=set)

    def operation(self, route: Route) -> Json:
        """One route."""
        document, rules = route.document, route.compiled.rules
        described: Json = {
            "operationId": route.label if self.components.merged else document.name,
            "tags": self._tags(route),
            **_texts(route),
        }
        inputs = Inputs(self.components, route)
        parameters = [*inputs.parameters(), *_common_parameters(route)]
        if parameters:
            described["parameters"] = parameters
        body = inputs.body()
        if body is not None:
            described["requestBody"] = body
        described["responses"] = self._responses(route)
        names = [self.components.name(route.system, name) for name in route.system.security]
        credentials: list[Json] = [{name: []} for name in names]
        described["security"] = [*credentials, {}] if rules.guests else [] if rules.public else credentials
        if rules.permissions:
            described["x-permission"] = list(rules.permissions)
        return described

    def _tags(self, route: Route) -> list[str]:
        tags = route.document.rest.get("tags", [route.document.area.replace("_", " ").capitalize()])
        named = [f"{route.system.title}: {tag}" if self.components.merged else tag for tag in tags]
        self.tags |= set(named)
        return named

    # Answers.

    def _responses(self, route: Route) -> Json:
        """Every status the route may answer with."""
        found: dict[int, Json] = {}
        for status in statuses(route):
            found |= self._successes(route, status)
        error = {JSON: {"schema": self._error(route.system)}}
        for code, reason in _codes(route):
            status = route.system.status_of_code(code, reason)
            refusal: Json = {"description": DESCRIBED_STATUS.get(status, code), "content": error}
            if status in _HEADERS_OF_REFUSALS:
                refusal["headers"] = {_HEADERS_OF_REFUSALS[status]: {"schema": _TEXT}}
            found.setdefault(status, refusal)
        return {str(status): found[status] for status in sorted(found)}

    def _successes(self, route: Route, status: int) -> dict[int, Json]:
        """The answers that go by a status of the document: a file, say, comes whole, in parts or not at all."""
        outputs = Outputs(self.components, route, status)
        headers = {name: {"schema": schema} for name, schema in outputs.headers()}
        if status == 204:
            return {204: _answer(204, headers)}
        if 300 <= status < 400:
            return {status: _redirect(status, headers)}
        if route.compiled.file_body:
            content: Json = {"*/*": {}}  # a schema would be held against what is in a file of JSON
            headers = {"ETag": {"schema": _TEXT}, "Content-Disposition": {"schema": _TEXT}} | headers
            part = {"Content-Range": {"required": True, "schema": _TEXT}} | headers
            return {
                200: _answer(200, headers, content),
                206: _answer(206, part, content),
                302: _redirect(302, {}),
                304: _answer(304, headers),
            }
        if route.streams:
            return {status: _answer(status, headers, {EVENTS: _events(route, outputs.body())})}
        content = (
            {route.produces: {"schema": _TEXT}} if route.produces else {JSON: {"schema": self._json(route, outputs)}}
        )
        if status != 200 or route.document.method != "GET":
            return {status: _answer(status, headers, content)}
        headers = {"ETag": {"schema": _TEXT}} | headers
        return {200: _answer(200, headers, content), 304: _answer(304, headers)}

    def _json(self, route: Route, outputs: Outputs) -> Json:
        schema = outputs.body()
        if route.message is not None:
            told = object_schema({route.message_name: _TEXT}, [route.message_name])
            schema = self.components.joined(told, schema) if route.compiled.shape.marked else told
        if route.enveloped and route.system.wrap_schema is not None:
            return dict(route.system.wrap_schema(schema))
        return schema

    def _error(self, system: System) -> Json:
        name = self.components.name(system, ERROR)
        self.components.schemas.setdefault(name, dict(system.error_schema))
        return self.components.reference(name)


def _texts(route: Route) -> Json:
    """What an operation's own words are described as: its first sentence, and all of it where that is more."""
    node, why = route.document.node, route.document.rest.get("deprecated")
    text = node.description.value.strip() if node.description else ""
    summary = re.split(r"(?<=\.)\s", " ".join(text.split()), maxsplit=1)[0]
    whole = "\n\n".join(part for part in (text, f"Deprecated: {why}" if why else "") if part)
    return {
        **({"summary": summary} if summary else {}),
        **({"description": whole} if summary != " ".join(whole.split()) else {}),
        **({"deprecated": True} if why else {}),
    }


def _common_parameters(route: Route) -> Iterator[Json]:
    """What every route of a kind takes."""
    if _takes_keys(route):
        yield {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "description": "A request that comes again with its key is answered as the first time, and done once.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]*$"},
        }


def _takes_keys(route: Route) -> bool:
    """Whether a request may be told from its repetition: keys are remembered for those who are known."""
    rules = route.compiled.rules
    return route.document.node.operation.value == "mutation" and (rules.guests or not rules.public)


def _answer(status: int, headers: Json, content: Json | None = None) -> Json:
    return {
        "description": DESCRIBED_STATUS.get(status, "Done."),
        **({"headers": headers} if headers else {}),
        **({"content": content} if content is not None else {}),
    }


def _redirect(status: int, headers: Json) -> Json:
    location = {"required": True, "schema": {"type": "string", "format": "uri-reference"}}
    others = {name: header for name, header in headers.items() if name.lower() != "location"}
    return _answer(status, {"Location": location, **others})


def _events(route: Route, data: Json) -> Json:
    """A stream of events; `itemSchema` is how OpenAPI 3.2 tells what each of them is."""
    shape = route.compiled.shape
    happenings = list(shape.root.happenings())
    properties: Json = {"data": {"type": "string", "contentMediaType": JSON, "contentSchema": data}}
    if any(happens.event for happens in happenings):
        properties["event"] = _TEXT
    if any(happens.event_id for happens in happenings):
        properties["id"] = _TEXT
    return {"schema": _TEXT, "x-itemSchema": object_schema(properties, ["data"])}


def _codes(route: Route) -> Iterator[tuple[str, str | None]]:
    """The codes a route may refuse with: those of every route like it, and those its fields tell."""
    compiled = route.compiled
    yield from ((code, None) for code in (INVALID, "NOT_ACCEPTABLE", "QUERY_TIMEOUT", "UNAVAILABLE"))
    if not compiled.rules.public:
        yield from (("UNAUTHENTICATED", None), ("FORBIDDEN", None))
    if compiled.binding.body_places:
        yield from (("PAYLOAD_TOO_LARGE", None), ("UNSUPPORTED_MEDIA_TYPE", None))
    if compiled.binding.takes_files:
        yield "RATE_LIMITED", None
    if _takes_keys(route):
        yield from (("IDEMPOTENCY_KEY_REUSED", None), ("CONFLICT", None))
    if compiled.file_body:
        yield from (("RANGE_NOT_SATISFIABLE", None), ("NOT_FOUND", None))
    yield from compiled.rules.refuses
