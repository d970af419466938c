"""Links of a description: from the answer of a route that makes something to the routes that are about it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rest_compat.engine.answers import JSON
from rest_compat.engine.json_schemas import Components, Json
from rest_compat.engine.operations import Route

_MARK: Json = {"x-mark": True}


def link(paths: Mapping[str, Json], components: Components, routes: Mapping[str, Route]) -> None:
    """Link each POST to the operations on its path with one more parameter. `routes` are by operation id."""
    below = _below(paths)
    for path, item in paths.items():
        created = item.get("post", {"responses": {}})
        for status, response in created["responses"].items():
            schema = response.get("content", {}).get(JSON, {}).get("schema")
            if status.startswith("2") and schema is not None:
                pointer = _pointer(routes[created["operationId"]])
                links = dict(_links(path, below.get(path, ()), schema, pointer, components))
                if links:
                    response["links"] = links


def _below(paths: Mapping[str, Json]) -> dict[str, list[tuple[str, Json]]]:
    """Paths that end in a parameter, by what stands before it, with that parameter's name."""
    found: dict[str, list[tuple[str, Json]]] = {}
    for path, item in paths.items():
        match = re.fullmatch(r"(.*)/\{(\w+)\}", path)
        if match is not None:
            found.setdefault(match[1], []).append((match[2], item))
    return found


def _links(
    path: str, targets: Sequence[tuple[str, Json]], schema: Json, pointer: str, components: Components
) -> Iterator[tuple[str, Json]]:
    body = _at(schema, pointer, components)
    for parameter, item in targets:
        field = next((name for name in (parameter, "id") if name in _properties(body, components)), None)
        for method, operation in item.items() if field is not None else ():
            shared = {name: f"$request.path.{name}" for name in re.findall(r"\{(\w+)\}", path)}
            name = re.sub(r"[^A-Za-z0-9_.-]", "_", f"{method}_{operation['operationId']}")
            yield (
                name,
                {
                    "operationId": operation["operationId"],
                    "parameters": {**shared, parameter: f"$response.body#{pointer}/{field}"},
                },
            )


def _pointer(route: Route) -> str:
    """Where in an answer the body is, as a JSON pointer."""
    wrap = route.system.wrap_schema
    return (_found(wrap(_MARK)) or "") if wrap is not None and route.enveloped else ""


def _found(schema: Any) -> str | None:
    """The pointer to what is marked among the properties of a schema."""
    if schema == _MARK:
        return ""
    for name, inner in schema.get("properties", {}).items() if isinstance(schema, Mapping) else ():
        pointer = _found(inner)
        if pointer is not None:
            return f"/{name}{pointer}"
    return None


def _at(schema: Json, pointer: str, components: Components) -> Json:
    """The schema at the pointer."""
    for name in pointer.split("/")[1:]:
        schema = _properties(schema, components).get(name, {})
    return schema


def _properties(schema: Json, components: Components) -> Json:
    """The properties that a value of the schema has in any case."""
    objects = components.objects(schema)
    if not objects:
        return {}
    first, *others = (inner.get("properties", {}) for inner in objects)
    return {name: inner for name, inner in first.items() if all(name in other for other in others)}
