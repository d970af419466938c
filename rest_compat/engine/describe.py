"""The OpenAPI description, computed from what each route selects and binds: it cannot say what isn't so."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    ArgumentNode,
    FieldNode,
    FragmentSpreadNode,
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLUnionType,
    InlineFragmentNode,
    SelectionSetNode,
    TypeInfo,
    TypeInfoVisitor,
    VariableNode,
    Visitor,
    get_named_type,
    value_from_ast_untyped,
    visit,
)

from rest_compat.engine.binding import EVERYTHING_ELSE, IN_BODY, Slot
from rest_compat.engine.documents import Fragment, directive_arguments
from rest_compat.engine.operations import FILE_REFERENCE, Route
from rest_compat.engine.render import OMIT_NULL, schema_of
from rest_compat.engine.schema import directives_of, scalar_schema
from rest_compat.engine.shaping import response_key
from rest_compat.engine.system import Extra, System

Json = dict[str, Any]

OPENAPI = "3.1.0"
NULL: Json = {"type": "null"}
LEAVING = frozenset({"header", "cookie", "event", "eventId"})
DESCRIBED_STATUS: Mapping[int, str] = {
    200: "Done.",
    201: "Created.",
    202: "Accepted.",
    204: "Done; there is nothing to say.",
    206: "The part asked for.",
    304: "What the caller has is still right.",
    307: "Go there instead.",
    302: "Go there instead.",
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
    503: "Something we need does not answer; try again.",
}


def describe(routes: Iterable[Route], systems: Sequence[System], *, merged: bool, base_url: str) -> Json:
    """The description of one system's routes, or of all of them together. Raises CompileError."""
    described = _Describer(merged)
    paths: dict[str, Json] = {}
    for route in routes:
        path = route.document.path.replace("*}", "}")
        paths.setdefault(path, {})[route.document.method.lower()] = described.operation(route)
    described.link(paths)
    schemes = {described.name(system, name): scheme for system in systems for name, scheme in system.security.items()}
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
        "components": {"schemas": dict(sorted(described.schemas.items())), "securitySchemes": schemes},
        "tags": [{"name": tag} for tag in sorted(described.tags)],
    }


def _merged_text(systems: Sequence[System]) -> str:
    return "Every route of " + ", ".join(system.title for system in systems) + "."


def operation_id(route: Route, *, merged: bool) -> str:
    """The operation's name; with its system's where several meet."""
    return route.label if merged else route.document.name


@dataclass
class _Describer:
    merged: bool
    schemas: dict[str, Json] = field(default_factory=dict)
    tags: set[str] = field(default_factory=set)

    def name(self, system: System, name: str) -> str:
        return f"{system.name}.{name}" if self.merged else name

    def operation(self, route: Route) -> Json:
        """One route."""
        document, compiled = route.document, route.compiled
        tags = list(document.rest.get("tags", [document.area.replace("_", " ").capitalize()]))
        self.tags |= set(tags)
        described: Json = {"operationId": operation_id(route, merged=self.merged), "tags": tags}
        text = document.node.description.value.strip() if document.node.description else ""
        if text:
            line = " ".join(text.split())
            described["summary"] = re.split(r"(?<=\.)\s", line, maxsplit=1)[0]
            if described["summary"] != line:
                described["description"] = text
        if document.rest.get("deprecated"):
            described["deprecated"] = True
        parameters = [self.parameter(route, slot) for slot in compiled.binding.slots if slot.place not in IN_BODY]
        if parameters:
            described["parameters"] = parameters
        body = self.body(route)
        if body is not None:
            described["requestBody"] = body
        described["responses"] = self.responses(route)
        described["security"] = (
            [] if compiled.rules.public else [{self.name(route.system, name): []} for name in route.system.security]
        )
        if compiled.rules.permissions:
            described["x-permission"] = list(compiled.rules.permissions)
        return described

    # Input.

    def parameter(self, route: Route, slot: Slot) -> Json:
        """A parameter in the path, the query, a header or a cookie."""
        argument = _argument_of(route, slot)
        schema = {} if slot.flag else self.input(slot.type, argument, parameter=True)
        if slot.lenient:
            schema = {"anyOf": [schema, {"type": "string"}]}  # what cannot be read is taken for something that can
        described: Json = {
            "name": slot.variable if slot.name == EVERYTHING_ELSE else slot.name,
            "in": slot.place.lower(),
            "required": slot.required,
            "schema": {**schema, **_default(slot)},
        }
        text = _text(slot, argument)
        if text:
            described["description"] = text
        if slot.name == EVERYTHING_ELSE:
            described |= {"style": "form", "explode": True}
            described["schema"] = {"type": "object", "additionalProperties": {"type": "string"}}
        elif slot.split == ",":
            described |= {"style": "form", "explode": False}
        return described

    def body(self, route: Route) -> Json | None:
        """The request's body, if the route takes one."""
        slots = route.compiled.binding.in_place(*IN_BODY)
        if not slots:
            return None
        required = any(slot.required for slot in slots)
        whole = next((slot for slot in slots if slot.whole_body), None)
        if whole is not None:
            schema = self.input(whole.type, _argument_of(route, whole))
            placed = [slot.steps for slot in route.compiled.binding.slots if slot.variable == whole.variable]
            schema = _without(schema, [steps for steps in placed if steps])
            return {"required": required, "content": {"application/json": {"schema": schema}}}
        if any(slot.place == "RAW" for slot in slots):
            return {"required": required, "content": {"application/octet-stream": {"schema": {}}}}
        media_type = "application/json" if slots[0].place == "BODY" else "multipart/form-data"
        return {"required": required, "content": {media_type: {"schema": self._fields(route, slots)}}}

    def _fields(self, route: Route, slots: Sequence[Slot]) -> Json:
        properties: Json = {}
        for slot in slots:
            if slot.place == "FILE":
                schema: Json = {"type": "string", "format": "binary"}
            elif slot.lenient:
                schema = {"anyOf": [self.input(slot.type), {}], **_default(slot)}
            else:
                argument = _argument_of(route, slot)
                schema = {**self.input(slot.type, argument), **_default(slot)}
                text = _text(slot, argument)
                if text:
                    schema["description"] = text
            properties["file" if slot.name == EVERYTHING_ELSE else slot.name] = schema
            properties |= {alias: {**schema, "deprecated": True} for alias in slot.aliases}
        fields: Json = {"type": "object", "properties": properties}
        required = [slot.name for slot in slots if slot.required and not slot.aliases and slot.name != EVERYTHING_ELSE]
        if required:
            fields["required"] = required
        if route.system.unknown_fields is Extra.REFUSE:
            fields["additionalProperties"] = False
        return fields

    def input(self, type: Any, argument: GraphQLArgument | None = None, *, parameter: bool = False) -> Json:
        """The JSON Schema of an input value. Parameters are texts, for which null has no spelling."""
        bare = type.of_type if isinstance(type, GraphQLNonNull) else type
        if parameter and isinstance(bare, GraphQLScalarType) and bare.name == "ID":
            return self._bounded({"type": "string"}, argument)
        schema = self._bounded(self._input(bare), argument)
        return schema if parameter or isinstance(type, GraphQLNonNull) else _nullable(schema)

    def _input(self, type: Any) -> Json:
        if isinstance(type, GraphQLList):
            return {"type": "array", "items": self.input(type.of_type)}
        if isinstance(type, GraphQLEnumType):
            return {"type": "string", "enum": list(type.values)}
        if isinstance(type, GraphQLScalarType):
            # GraphQL takes a whole number for an ID, and so do we.
            return {"type": ["string", "integer"]} if type.name == "ID" else scalar_schema(type)
        assert isinstance(type, GraphQLInputObjectType)
        properties = {name: self.input(inner.type) for name, inner in type.fields.items()}
        required = [n for n, f in type.fields.items() if isinstance(f.type, GraphQLNonNull) and not _has_default(f)]
        return {"type": "object", "properties": properties, **({"required": required} if required else {})}

    @staticmethod
    def _bounded(schema: Json, argument: GraphQLArgument | None) -> Json:
        bounds = directives_of(argument, "constraint") if argument is not None else None
        return {**schema, **{name: bound for name, bound in (bounds or {}).items() if bound is not None}}

    # Output.

    def responses(self, route: Route) -> Json:
        """Every status the route may answer with."""
        found: dict[int, Json] = {}
        for status, schema in self._successes(route).items():
            found[status] = self._response(route, status, schema)
        if route.document.method == "GET" and not route.streams and route.status == 200:
            found[304] = {"description": DESCRIBED_STATUS[304]}
        error = {"application/json": {"schema": self._error(route.system)}}
        for code, reason in _codes(route):
            status = route.system.status_of_code(code, reason)
            found.setdefault(status, {"description": DESCRIBED_STATUS.get(status, code), "content": error})
        return {str(status): found[status] for status in sorted(found)}

    def _successes(self, route: Route) -> dict[int, Any]:
        statuses = _statuses(route.compiled.shape.root)
        schema = self._body_schema(route)
        return dict.fromkeys({*statuses, *([] if statuses else [route.status])}, schema)

    def _response(self, route: Route, status: int, schema: Json) -> Json:
        response: Json = {"description": DESCRIBED_STATUS.get(status, "Done.")}
        if status == 204:
            return response
        if 300 <= status < 400:
            response["headers"] = {"Location": {"required": True, "schema": {"type": "string", "format": "uri"}}}
            return response
        if route.streams:
            item = {
                "type": "object",
                "properties": {"data": {"contentMediaType": "application/json", "contentSchema": schema}},
            }
            response["content"] = {"text/event-stream": {"schema": {"type": "string"}, "x-itemSchema": item}}
        elif route.compiled.file_body:
            response["content"] = {"*/*": {"schema": {"type": "string", "format": "binary"}}}
        elif route.produces is not None:
            response["content"] = {route.produces: {"schema": {"type": "string"}}}
        else:
            response["content"] = {"application/json": {"schema": schema}}
        return response

    def _error(self, system: System) -> Json:
        name = self.name(system, "Error")
        self.schemas.setdefault(name, dict(system.error_schema))
        return {"$ref": f"#/components/schemas/{name}"}

    def _body_schema(self, route: Route) -> Json:
        whole = self._selected(route, route.document.node.selection_set, _root(route))
        schema = whole
        for step in route.compiled.shape.steps:
            schema = self._resolved(schema)["properties"][step]
        if route.message is not None:
            schema = self._with_message(route, schema)
        if route.enveloped and route.system.wrap_schema is not None:
            return dict(route.system.wrap_schema(schema))
        return schema

    def _with_message(self, route: Route, schema: Json) -> Json:
        told: Json = {"type": "object", "properties": {"message": {"type": "string"}}, "required": ["message"]}
        if route.compiled.shape.marked:
            more = self._resolved(schema)
            told["properties"] |= more.get("properties", {})
            told["required"] += more.get("required", [])
        return told

    def _resolved(self, schema: Json) -> Json:
        """The object behind a reference or a nullable."""
        for part in schema.get("anyOf", ()):
            if part != NULL:
                schema = part
        if "$ref" in schema:
            schema = self.schemas[schema["$ref"].rpartition("/")[2]]
        return schema

    def _output(self, route: Route, type: Any, node: FieldNode) -> Json:
        if isinstance(type, GraphQLNonNull):
            return self._value(route, type.of_type, node)
        return _nullable(self._value(route, type, node))

    def _value(self, route: Route, type: Any, node: FieldNode) -> Json:
        if isinstance(type, GraphQLList):
            return {"type": "array", "items": self._output(route, type.of_type, node)}
        if isinstance(type, GraphQLScalarType):
            return {"type": "string"} if type.name == FILE_REFERENCE else scalar_schema(type)
        if isinstance(type, GraphQLEnumType):
            return {"type": "string", "enum": list(type.values)}
        assert node.selection_set is not None
        return self._selected(route, node.selection_set, type)

    def _selected(self, route: Route, selections: SelectionSetNode, type: Any) -> Json:
        """The object that a selection set makes; one that is a single fragment is that fragment's component."""
        nodes = selections.selections
        if len(nodes) == 1 and isinstance(nodes[0], FragmentSpreadNode):
            return self._component(route, nodes[0].name.value)
        if isinstance(type, GraphQLUnionType | GraphQLInterfaceType):
            members = [node for node in nodes if isinstance(node, InlineFragmentNode) and node.type_condition]
            told = [self._member(route, node) for node in members if not _redirects(node)]
            if members:
                return told[0] if len(told) == 1 else {"oneOf": told}
        properties: Json = {}
        required: list[str] = []
        self._collect(route, selections, type, properties, required)
        return {"type": "object", "properties": properties, **({"required": required} if required else {})}

    def _member(self, route: Route, node: InlineFragmentNode) -> Json:
        assert node.type_condition is not None
        return self._selected(
            route, node.selection_set, route.schema.executable.type_map[node.type_condition.name.value]
        )

    def _component(self, route: Route, fragment_name: str) -> Json:
        name = self.name(route.system, fragment_name)
        if name not in self.schemas:
            self.schemas[name] = {}  # a fragment cannot be inside itself, but it may be met twice
            fragment: Fragment = route.fragments[fragment_name]
            type = route.schema.executable.type_map[fragment.node.type_condition.name.value]
            self.schemas[name] = self._selected(route, fragment.node.selection_set, type)
            if isinstance(type, GraphQLObjectType) and type.description:
                self.schemas[name]["description"] = type.description
        return {"$ref": f"#/components/schemas/{name}"}

    def _collect(
        self, route: Route, selections: SelectionSetNode, type: Any, properties: Json, required: list[str]
    ) -> None:
        for node in selections.selections:
            if isinstance(node, FieldNode):
                self._field(route, node, type, properties, required)
            elif isinstance(node, FragmentSpreadNode):
                self._collect(route, route.fragments[node.name.value].node.selection_set, type, properties, required)
            elif isinstance(node, InlineFragmentNode):
                self._collect(route, node.selection_set, type, properties, required)

    def _field(self, route: Route, node: FieldNode, type: Any, properties: Json, required: list[str]) -> None:
        directives = {d.name.value: directive_arguments(d) for d in node.directives or ()}
        if LEAVING & directives.keys():
            return
        if node.name.value == "__typename":
            properties[response_key(node)] = {"type": "string"}
            return
        selected = type.fields[node.name.value]
        schema = self._output(route, selected.type, node)
        renders = [directive_arguments(d)["as"] for d in node.directives or () if d.name.value == "render"]
        for name in renders:
            schema = _rendered(name, schema)
        told = selected.description if type is not _root(route) else None  # a root field's is the operation's
        if told and "$ref" not in schema and isinstance(get_named_type(selected.type), GraphQLScalarType):
            schema = {**schema, "description": told}
        key = response_key(node)
        properties[key] = schema
        if OMIT_NULL not in renders and not {"skip", "include"} & directives.keys() and key not in required:
            required.append(key)

    # Links.

    def link(self, paths: Mapping[str, Json]) -> None:
        """From a route whose answer has an `id` to the routes that take one behind the same path."""
        for path, item in paths.items():
            created = item.get("post")
            if created is None:
                continue
            for status, response in created["responses"].items():
                schema = response.get("content", {}).get("application/json", {}).get("schema")
                if status.startswith("2") and schema and "id" in self._resolved(schema).get("properties", {}):
                    links = dict(_links(path, paths))
                    if links:
                        response["links"] = links


def _links(path: str, paths: Mapping[str, Json]) -> Iterable[tuple[str, Json]]:
    for target, item in paths.items():
        match = re.fullmatch(re.escape(path) + r"/\{(\w+)\}", target)
        for method, operation in item.items() if match else ():
            assert match is not None
            shared = re.findall(r"\{(\w+)\}", path)
            parameters = {name: f"$request.path.{name}" for name in shared} | {match[1]: "$response.body#/id"}
            name = re.sub(r"[^A-Za-z0-9_.-]", "_", f"{method}_{operation['operationId']}")
            yield name, {"operationId": operation["operationId"], "parameters": parameters}


def _redirects(node: InlineFragmentNode) -> bool:
    """Whether what is selected for this member leads elsewhere: then it has no body."""
    statuses = [directive_arguments(d)["code"] for d in node.directives or () if d.name.value == "status"]
    return any(300 <= status < 400 for status in statuses)


def _root(route: Route) -> Any:
    return route.schema.executable.get_root_type(route.document.node.operation)


def _nullable(schema: Json) -> Json:
    if not schema:
        return schema
    if "$ref" in schema or "oneOf" in schema:
        return {"anyOf": [schema, NULL]}
    kind = schema.get("type")
    if kind is None or kind == "null":
        return schema
    kinds = [kind] if isinstance(kind, str) else list(kind)
    nullable = {**schema, "type": [*kinds, *(["null"] if "null" not in kinds else [])]}
    if "enum" in nullable and None not in nullable["enum"]:
        nullable["enum"] = [*nullable["enum"], None]
    return nullable


def _rendered(name: str, schema: Json) -> Json:
    if name == OMIT_NULL:
        kinds = schema.get("type")
        if isinstance(kinds, list) and "null" in kinds:
            rest = [kind for kind in kinds if kind != "null"]
            return {**schema, "type": rest[0] if len(rest) == 1 else rest}
        return schema
    nullable = isinstance(schema.get("type"), list) and "null" in schema["type"]
    rendered = schema_of(name, schema)
    return _nullable(rendered) if nullable else rendered


def _statuses(node: Any) -> set[int]:
    found = set(node.statuses.values())
    for happens in node.fields.values():
        if happens.below is not None:
            found |= _statuses(happens.below)
    return found


def _codes(route: Route) -> Iterable[tuple[str, str | None]]:
    """The codes a route may refuse with: those of every route like it, and those its fields tell."""
    rules = route.compiled.rules
    yield "INVALID_INPUT", None
    yield "NOT_ACCEPTABLE", None
    yield "UNAVAILABLE", None
    if not rules.public:
        yield "UNAUTHENTICATED", None
        yield "FORBIDDEN", None
    if route.compiled.binding.in_place(*IN_BODY):
        yield "PAYLOAD_TOO_LARGE", None
        yield "UNSUPPORTED_MEDIA_TYPE", None
    if route.document.node.operation.value == "mutation" and not rules.public:
        yield "IDEMPOTENCY_KEY_REUSED", None
        yield "CONFLICT", None
    if route.compiled.file_body:
        yield "RANGE_NOT_SATISFIABLE", None
        yield "NOT_FOUND", None
    yield from rules.refuses


def _default(slot: Slot) -> Json:
    node = slot.definition.default_value
    if node is None or slot.steps:
        return {}
    value = value_from_ast_untyped(node)
    if isinstance(value, str) and slot.case is not None:
        value = value.lower()
    return {} if value is None else {"default": value}


def _text(slot: Slot, argument: GraphQLArgument | None) -> str:
    if slot.definition.description is not None:
        return slot.definition.description.value
    return (argument.description or "") if argument is not None else ""


def _has_default(node: Any) -> bool:
    return node.ast_node is not None and node.ast_node.default_value is not None


def _without(schema: Json, placed: Sequence[tuple[str, ...]]) -> Json:
    """The schema of an input object without the parts that are placed elsewhere."""
    for first, *rest in placed:
        properties = schema.get("properties", {})
        if first in properties and not rest:
            properties = {name: part for name, part in properties.items() if name != first}
            required = [name for name in schema.get("required", ()) if name != first]
            schema = {**schema, "properties": properties, "required": required}
            if not required:
                del schema["required"]
    return schema


class _Usages(Visitor):
    """Finds the arguments that variables are given to."""

    def __init__(self, types: TypeInfo) -> None:
        super().__init__()
        self._types = types
        self.found: dict[str, GraphQLArgument] = {}

    def enter_argument(self, node: ArgumentNode, *_: Any) -> None:
        argument = self._types.get_argument()
        if isinstance(node.value, VariableNode) and argument is not None:
            self.found.setdefault(node.value.name.value, argument)


def _argument_of(route: Route, slot: Slot) -> GraphQLArgument | None:
    """The argument a slot's variable is for, whose description and bounds hold for it."""
    if slot.steps:
        return None
    types = TypeInfo(route.schema.executable)
    usages = _Usages(types)
    visit(route.compiled.executable, TypeInfoVisitor(types, usages))
    return usages.found.get(slot.variable)
