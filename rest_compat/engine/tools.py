"""Stored operations as tools of programs that think: a name, what it is for, a JSON Schema of its variables.

An operation is a tool where its input and its answer are JSON at once: no stream, no file, no page, nothing a browser
is sent to, and nothing that is open to everybody (signing in is not for tools).
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from graphql import GraphQLInputType, GraphQLNonNull, type_from_ast

from rest_compat.engine.backend import Backend, Caller
from rest_compat.engine.errors import INVALID, Refusal, together
from rest_compat.engine.input_schemas import Inputs
from rest_compat.engine.json_schemas import Components, Json
from rest_compat.engine.messages import filled
from rest_compat.engine.operations import Route
from rest_compat.engine.shaping import joined
from rest_compat.engine.slots import default_of
from rest_compat.engine.system import Meta


@dataclass(frozen=True)
class Tool:
    """One operation as a tool."""

    name: str
    route: Route = field(repr=False)
    description: str
    input_schema: Json = field(repr=False)

    @property
    def reads(self) -> bool:
        """Whether it changes nothing."""
        return self.route.document.node.operation.value == "query"

    @property
    def destroys(self) -> bool:
        """Whether it takes something away, or puts something in its place."""
        return self.route.document.method in ("DELETE", "PUT", "PATCH")

    @property
    def permissions(self) -> tuple[str, ...]:
        """The keys it takes, variables in braces."""
        return self.route.compiled.rules.permissions


@dataclass(frozen=True, slots=True)
class Called:
    """What a call came to: the body of its route's answer. `refused` is whether that is the body of a refusal."""

    body: Any
    refused: bool


def tools_of(routes: Iterable[Route]) -> Mapping[str, Tool]:
    """The tools by name. Where two systems call an operation alike, the later one's has its system's name before it."""
    tools: dict[str, Tool] = {}
    for route in routes:
        if _is_tool(route):
            name = route.document.name
            name = name if name not in tools else f"{route.system.name}_{name}"
            tools[name] = Tool(name, route, _description(route), _input_schema(route))
    return tools


def _is_tool(route: Route) -> bool:
    if route.streams or route.navigation or route.page is not None or route.produces is not None:
        return False
    compiled = route.compiled
    if compiled.rules.public or compiled.binding.takes_files or compiled.binding.fills or compiled.file_body:
        return False
    return all(status < 300 for status in (route.status, *_statuses(route)))


def _statuses(route: Route) -> Iterator[int]:
    return (node.status for node in route.compiled.shape.root.everywhere() if node.status is not None)


def _description(route: Route) -> str:
    node = route.document.node
    text = " ".join(node.description.value.split()) if node.description else route.document.name
    return f"{route.system.title}: {text}"


def _input_schema(route: Route) -> Json:
    """The variables by their own names. What they refer to is in `$defs`."""
    components = Components(merged=False)
    inputs, properties, required = Inputs(components, route), {}, []
    for definition in route.document.node.variable_definitions or ():
        name = definition.variable.name.value
        type: GraphQLInputType = type_from_ast(route.schema.executable, definition.type)  # type: ignore[assignment]
        properties[name] = inputs.variable(definition, type)
        if isinstance(type, GraphQLNonNull) and default_of(definition) is None:
            required.append(name)
    schema: Json = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        schema["required"] = required
    if components.schemas:
        schema["$defs"] = components.schemas
    local: Json = json.loads(json.dumps(schema).replace('"#/components/schemas/', '"#/$defs/'))
    return local


async def call(tool: Tool, arguments: Mapping[str, Any], backend: Backend, caller: Caller, meta: Meta) -> Called:
    """What the operation answers to these variables, with the rights of the caller."""
    route = tool.route
    unknown = sorted(arguments.keys() - tool.input_schema["properties"].keys())
    if unknown:
        return _refused(route, Refusal(INVALID, f"{unknown[0]} is no argument of {tool.name}", unknown[0]), meta)
    result = await backend.run(route.compiled.handle, arguments, caller, None)
    if result.refusals or result.data is None:
        refusal = together(result.refusals) if result.refusals else Refusal("INTERNAL", "internal error")
        return _refused(route, refusal, meta)
    shaped = route.compiled.shape.apply(result.data)
    if route.message is None:
        return Called(shaped.body, refused=False)
    told = {route.message_name: filled(route.document, route.message, arguments)}
    return Called(joined(shaped.body, told) if route.compiled.shape.marked else told, refused=False)


def _refused(route: Route, refusal: Refusal, meta: Meta) -> Called:
    return Called(route.system.error(refusal, meta), refused=True)
