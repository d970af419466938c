"""The JSON Schemas of requests: parameters and bodies, computed from what their operations want."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from graphql import (
    ArgumentNode,
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLScalarType,
    ObjectFieldNode,
    TypeInfo,
    TypeInfoVisitor,
    VariableDefinitionNode,
    VariableNode,
    Visitor,
    get_nullable_type,
    is_required_input_field,
    visit,
)

from rest_compat.engine.binding import Binding
from rest_compat.engine.call import JSON, MULTIPART, URL_ENCODED
from rest_compat.engine.json_schemas import Components, Json, nullable, object_schema
from rest_compat.engine.operations import Route
from rest_compat.engine.reading import Steps
from rest_compat.engine.schema import directives_of, scalar_kind, scalar_schema
from rest_compat.engine.slots import ANYTHING, IN_BODY, Filled, Slot, Wanted, default_of
from rest_compat.engine.system import Extra

BINARY: Json = {"type": "string", "format": "binary"}
# Headers that an HTTP client writes by itself, whoever uses it.
OF_THE_CLIENT = frozenset({"host", "sec-fetch-mode"})
_STYLES: Mapping[str, str] = {"COMMA": "form", "SPACE": "spaceDelimited", "PIPE": "pipeDelimited"}

Usage = GraphQLArgument | GraphQLInputField


@dataclass(frozen=True)
class Inputs:
    """Describes what one route asks for. Input types become components."""

    components: Components
    route: Route

    @cached_property
    def usages(self) -> Mapping[str, Usage]:
        """The argument or input field that each variable is given to, whose description and bounds hold for it."""
        types = TypeInfo(self.route.schema.executable)
        visitor = _Usages(types)
        visit(self.route.compiled.executable, TypeInfoVisitor(types, visitor))
        return visitor.found

    def _usage(self, want: Wanted) -> Usage | None:
        return self.usages.get(want.variable) if want.field is None else want.field

    @property
    def _binding(self) -> Binding:
        return self.route.compiled.binding

    @property
    def _closed(self) -> bool:
        """Whether unknown fields are refused."""
        return self.route.system.unknown_fields is Extra.REFUSE

    # Parameters.

    def parameters(self) -> Iterator[Json]:
        """Everything outside the body, each older name as a parameter of its own."""
        for want in self._binding.wanted:
            for slot in want.slots:
                if slot.place not in IN_BODY and slot.name.lower() not in OF_THE_CLIENT:
                    described = self._parameter(want, slot)
                    yield described
                    yield from ({**described, "name": alias, "deprecated": True} for alias in slot.aliases)

    def _parameter(self, want: Wanted, slot: Slot) -> Json:
        usage = self._usage(want)
        described: Json = {
            "name": want.variable if slot.name == ANYTHING else slot.name,
            "in": slot.place.lower(),
            "required": slot.place == "PATH" or (want.required and len(want.slots) == 1 and not slot.aliases),
        }
        text = _text(want, usage)
        if text:
            described["description"] = text
        if slot.name == ANYTHING:
            return described | {
                "style": "form",
                "explode": True,
                "schema": {"type": "object", "additionalProperties": {"type": "string"}},
            }
        schema = {**self._textual(slot, usage), **_default(want, slot)}
        if _is_json(slot):
            return described | {"content": {JSON: {"schema": schema}}}
        style = _STYLES.get(slot.text.style or "")
        if style is not None and slot.place == "QUERY":
            described |= {"style": style, "explode": False}
        if slot.flag:
            described["allowEmptyValue"] = True
        return described | {"schema": schema}

    def _textual(self, slot: Slot, usage: Usage | None) -> Json:
        """The schema of a value that is written as text, for which null has no spelling."""
        if slot.flag:
            return {}
        schema = self._bounded(self._spelled(slot), usage)
        if slot.low is not None or slot.high is not None:
            schema = {key: value for key, value in schema.items() if key not in ("minimum", "maximum")}
        whole_segment = slot.place == "PATH" and f"{{{slot.name}}}" in self.route.document.path
        if whole_segment and schema.get("type") == "string" and "enum" not in schema:
            schema = {"minLength": 1, **schema}
        if slot.text.spellings:
            schema = {"anyOf": [schema, {"type": "string", "enum": list(slot.text.spellings)}]}
        if slot.lenient:
            schema = {"anyOf": [schema, {"type": "string"}]}  # what cannot be read is taken for something that can
        return schema

    def _spelled(self, slot: Slot) -> Json:
        bare = get_nullable_type(slot.type)
        if isinstance(bare, GraphQLList):
            return {"type": "array", "items": self._leaf(get_nullable_type(bare.of_type), slot.text.case)}
        return self._leaf(bare, slot.text.case)

    def _leaf(self, type: Any, case: str | None) -> Json:
        if isinstance(type, GraphQLScalarType) and type.name == "ID":
            return {"type": "string"}
        return _in_both_cases(self._bare(type), case)

    # Bodies.

    def _pairs(self, *places: str) -> list[tuple[Wanted, Slot]]:
        """The values wanted in these places, each with its slot there."""
        return [(w, slot) for w in self._binding.wanted for slot in w.slots if slot.place in places]

    def body(self) -> Json | None:
        """The request's body, if the route takes one."""
        wanted = [want for want in self._binding.wanted if any(s.place in IN_BODY for s in want.slots)]
        if not wanted:
            return None
        needed = any(want.required and all(slot.place in IN_BODY for slot in want.slots) for want in wanted)
        contents = dict(self._contents())
        # An object whose parts have places of their own is made of what comes; then its schema says what must.
        required = needed or any(self._demands(content["schema"]) for content in contents.values())
        return {"required": required, "content": contents}

    def _demands(self, schema: Json) -> bool:
        """Whether nothing at all is no value of the schema."""
        return bool(self.components.resolved(schema).get("required"))

    def _contents(self) -> Iterator[tuple[str, Json]]:
        places = self._binding.body_places
        if "BODY" in places:
            yield JSON, {"schema": self._json()}
        if places & {"FORM", "FILE"}:
            yield MULTIPART, {"schema": self._fields("FORM", "FILE")}
        if "FORM" in places and "FILE" not in places:
            yield URL_ENCODED, {"schema": self._fields("FORM")}
        if places & {"FILE", "RAW"}:
            yield "application/octet-stream", {"schema": {"minLength": 1}}  # an empty body is none

    def _json(self) -> Json:
        fields = self._fields("BODY")
        whole = next((pair for pair in self._pairs("BODY") if pair[1].whole_body), None)
        if whole is None:
            return fields
        want, slot = whole
        parts: list[Wanted | Filled] = [*self._binding.wanted, *self._binding.fills]
        elsewhere = [part.steps for part in parts if part.variable == want.variable and part.steps]
        schema = self._bounded(self._json_value(slot.type, elsewhere), self._usage(want))
        if slot.lenient:
            schema = {"anyOf": [schema, {}]}
        return self._with_fields(schema, fields) if fields["properties"] else schema

    def _with_fields(self, whole: Json, fields: Json) -> Json:
        """The whole body, in which other variables have fields of their own."""
        whole = self.components.resolved(whole)
        properties = {**whole.get("properties", {}), **fields["properties"]}
        required = [*whole.get("required", ()), *fields.get("required", ())]
        return {**whole, "properties": properties, **({"required": required} if required else {})}

    def _fields(self, *places: str) -> Json:
        """The object that the fields of a body make."""
        properties: Json = {}
        required: list[str] = []
        choices: list[Json] = []
        for want, slot in self._pairs(*places):
            if slot.whole_body:
                continue
            names = ["file"] if slot.name == ANYTHING else list(slot.names)
            schema = self._field(want, slot, self._usage(want))
            properties |= {names[0]: schema} | {alias: {**schema, "deprecated": True} for alias in names[1:]}
            if want.required and len(want.slots) == 1:
                required += names if len(names) == 1 else []
                choices += [{"anyOf": [{"required": [name]} for name in names]}] if len(names) > 1 else []
        fields = object_schema(properties, required)
        if choices:
            fields["allOf"] = choices
        if self._closed and not any(slot.name == ANYTHING for _, slot in self._pairs(*places)):
            fields["additionalProperties"] = False
        return fields

    def _field(self, want: Wanted, slot: Slot, usage: Usage | None) -> Json:
        if slot.place == "FILE":
            listed = isinstance(get_nullable_type(slot.type), GraphQLList)
            schema: Json = {"type": "array", "items": BINARY} if listed else BINARY
        elif slot.place == "FORM":
            schema = self._textual(slot, usage)
        elif slot.lenient:
            schema = {"anyOf": [self._json_value(slot.type), {}]}
        else:
            schema = self._bounded(_in_both_cases(self._json_value(slot.type), slot.text.case), usage)
        text = _text(want, usage)
        told = {"description": text} if text else {}
        schema = {"allOf": [schema]} if "$ref" in schema and told else schema
        return {**schema, **_default(want, slot), **told}

    # Variables, for who gives them by their own names.

    def variable(self, definition: VariableDefinitionNode, type: GraphQLInputType) -> Json:
        """A variable as JSON, whatever its place in a request."""
        usage = self.usages.get(definition.variable.name.value)
        text = definition.description.value if definition.description else (usage.description if usage else None)
        default = default_of(definition)
        return {
            **self._bounded(self._json_value(type), usage),
            **({} if default is None else {"default": default}),
            **({"description": text} if text else {}),
        }

    # Values.

    def _json_value(self, type: Any, elsewhere: Sequence[Steps] = ()) -> Json:
        """A value in JSON, without the parts that are placed elsewhere."""
        if isinstance(type, GraphQLNonNull):
            return self._bare(type.of_type, elsewhere)
        return nullable(self._bare(type, elsewhere))

    def _bare(self, type: Any, elsewhere: Sequence[Steps] = ()) -> Json:
        if isinstance(type, GraphQLList):
            return {"type": "array", "items": self._json_value(type.of_type)}
        if isinstance(type, GraphQLEnumType):
            return {"type": "string", "enum": list(type.values)}
        if isinstance(type, GraphQLScalarType):
            # GraphQL takes a whole number for an ID, and so do we.
            return {"type": ["string", "integer"]} if type.name == "ID" else scalar_schema(type)
        assert isinstance(type, GraphQLInputObjectType)
        return self._object(type, elsewhere) if elsewhere else self._component(type)

    def _component(self, type: GraphQLInputObjectType) -> Json:
        # Fragments have names of their own; a type that shares one with them gets another.
        own = f"{type.name}Input" if type.name in self.route.fragments else type.name
        name = self.components.name(self.route.system, own)
        if name not in self.components.schemas:
            self.components.schemas[name] = {}  # the type may be inside itself
            self.components.schemas[name] = self._object(type)
        return self.components.reference(name)

    def _object(self, type: GraphQLInputObjectType, elsewhere: Sequence[Steps] = ()) -> Json:
        properties = {}
        required = []
        for name, inner in type.fields.items():
            if (name,) in elsewhere:
                continue
            below = [steps[1:] for steps in elsewhere if steps[0] == name]
            told = {"description": inner.description} if inner.description else {}
            properties[name] = self._bounded(self._json_value(inner.type, below), inner) | told
            if is_required_input_field(inner) and not below:
                required.append(name)
        closed = {"additionalProperties": False} if self._closed else {}
        told = {"description": type.description} if type.description else {}
        return object_schema(properties, required, **closed, **told)

    @staticmethod
    def _bounded(schema: Json, usage: Usage | None) -> Json:
        """The schema within the bounds that the schema's `@constraint` tells."""
        bounds = directives_of(usage, "constraint") if usage is not None else None
        return {**schema, **{name: bound for name, bound in (bounds or {}).items() if bound is not None}}


def _is_json(slot: Slot) -> bool:
    """Whether a parameter is JSON as text: what has parts, and is no list of plain values."""
    bare = get_nullable_type(slot.type)
    if isinstance(bare, GraphQLList):
        inner = get_nullable_type(bare.of_type)
        return slot.text.style == "JSON" or isinstance(inner, GraphQLInputObjectType | GraphQLList) or _is_open(inner)
    return isinstance(bare, GraphQLInputObjectType) or _is_open(bare)


def _is_open(type: Any) -> bool:
    return isinstance(type, GraphQLScalarType) and scalar_kind(type) in ("object", "array")


def _in_both_cases(schema: Json, case: str | None) -> Json:
    """Of a text that is read in one case, and written in the other as well."""
    if case is None or "enum" not in schema:
        return schema
    names = [name for name in schema["enum"] if name is not None]
    return {**schema, "enum": [*(_recased(case, name) for name in names), *schema["enum"]]}


def _recased(case: str, name: str) -> str:
    """The other case, in which clients of such a system write the name."""
    return name.lower() if case == "UPPER" else name.upper()


def _default(want: Wanted, slot: Slot) -> Json:
    value = None if want.steps else default_of(want.definition)
    if isinstance(value, str) and slot.text.case is not None:
        value = _recased(slot.text.case, value)
    return {} if value is None else {"default": value}


def _text(want: Wanted, usage: Usage | None) -> str:
    if want.definition.description is not None and not want.steps:
        return want.definition.description.value
    return (usage.description or "") if usage is not None else ""


class _Usages(Visitor):
    def __init__(self, types: TypeInfo) -> None:
        super().__init__()
        self._types = types
        self.found: dict[str, Usage] = {}

    def enter_argument(self, node: ArgumentNode, *_: Any) -> None:
        argument = self._types.get_argument()
        if isinstance(node.value, VariableNode) and argument is not None:
            self.found.setdefault(node.value.name.value, argument)

    def enter_object_field(self, node: ObjectFieldNode, *_: Any) -> None:
        parent = get_nullable_type(self._types.get_parent_input_type())
        if isinstance(node.value, VariableNode) and isinstance(parent, GraphQLInputObjectType):
            self.found.setdefault(node.value.name.value, parent.fields[node.name.value])
