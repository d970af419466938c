"""From a request to an operation's variables: where each value is, and how it is read there."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from graphql import (
    GraphQLInputType,
    GraphQLSchema,
    VariableDefinitionNode,
    type_from_ast,
)
from graphql.utilities import validate_input_value
from starlette.datastructures import UploadFile

from rest_compat.engine.call import Call
from rest_compat.engine.documents import RouteDocument, directive_arguments
from rest_compat.engine.errors import Refusal, invalid
from rest_compat.engine.reading import body_reader, input_field, is_list, named_type, nested, text_reader
from rest_compat.engine.system import Extra, System

IN_BODY = frozenset({"BODY", "FORM", "FILE", "RAW"})
BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})
EVERYTHING_ELSE = "*"


@dataclass(frozen=True)
class Slot:
    """One value of the request, and the variable (or the part of one) that it is for."""

    variable: str
    steps: tuple[str, ...]  # inside the variable
    place: str
    name: str  # as the caller knows it; empty for the whole body
    type: GraphQLInputType
    required: bool
    definition: VariableDefinitionNode
    aliases: tuple[str, ...] = ()
    flag: bool = False
    split: str | None = None
    case: str | None = None
    invalid: Any = None
    lenient: bool = False  # whether `invalid` stands for what cannot be read
    low: int | None = None
    high: int | None = None
    read_text: Callable[[Sequence[str]], Any] = field(default=lambda texts: texts[-1], repr=False)
    read_json: Callable[[Any, str], Any] | None = field(default=None, repr=False)

    @property
    def whole_body(self) -> bool:
        """Whether the body itself is the value."""
        return self.place == "BODY" and not self.name


@dataclass(frozen=True)
class Binding:
    """All slots of an operation, and what the server fills itself."""

    system: System
    slots: tuple[Slot, ...]
    path_parameters: tuple[str, ...]
    fills: tuple[tuple[str, str], ...]  # variable, what with
    arguments: Mapping[str, str]  # argument of a root field -> variable

    def in_place(self, *places: str) -> list[Slot]:
        """The slots in one of these places."""
        return [slot for slot in self.slots if slot.place in places]

    async def bind(self, call: Call, fill: Callable[[str], Any]) -> dict[str, Any]:
        """The variables. Raises Refusal with the name of the value, as the caller knows it."""
        variables: dict[str, Any] = {name: fill(what) for name, what in self.fills}
        path = dict(zip(self.path_parameters, call.path_values, strict=True))
        body = await self._body(call)
        self._refuse_unknown_parameters(call)
        # The whole body first: what is placed inside it comes on top.
        for slot in sorted(self.slots, key=lambda slot: len(slot.steps)):
            found, value = await self._value(slot, call, path, body)
            if found:
                _put(variables, slot, _clamped(slot, value))
            elif slot.required:
                raise invalid(slot.name or None, f"{slot.name or 'the body'} is required")
        return variables

    async def _body(self, call: Call) -> Any:
        slots = self.in_place("BODY")
        if not slots:
            return None
        body = await call.json(optional=not any(slot.required for slot in slots if slot.whole_body))
        if not any(slot.whole_body for slot in slots):
            if not isinstance(body, dict):
                raise invalid(None, "the body must be a JSON object")
            self._refuse_unknown_fields(body, slots)
        return body

    def _refuse_unknown_fields(self, body: Mapping[str, Any], slots: Sequence[Slot]) -> None:
        if self.system.unknown_fields is Extra.REFUSE:
            known = {name for slot in slots for name in (slot.name, *slot.aliases)}
            for name in body:
                if name not in known:
                    raise invalid(name[:80], f"unknown field '{name[:80]}'")

    def _refuse_unknown_parameters(self, call: Call) -> None:
        slots = self.in_place("QUERY")
        if self.system.unknown_parameters is Extra.IGNORE or any(slot.name == EVERYTHING_ELSE for slot in slots):
            return
        known = {name for slot in slots for name in (slot.name, *slot.aliases)}
        for name in call.query:
            if name.partition("[")[0] not in known:
                raise invalid(name[:80], f"unknown parameter '{name[:80]}'")

    async def _value(self, slot: Slot, call: Call, path: Mapping[str, str], body: Any) -> tuple[bool, Any]:
        """Whether the request has the value, and the value."""
        match slot.place:
            case "PATH":
                return True, self._read(slot, [path[slot.name]])
            case "QUERY":
                return self._query(slot, call)
            case "HEADER":
                return self._texts(slot, {n: call.request.headers.getlist(n) for n in (slot.name, *slot.aliases)})
            case "COOKIE":
                return self._texts(slot, {name: [value] for name, value in call.request.cookies.items()})
            case "BODY":
                return self._json(slot, body)
            case "FORM":
                fields = (await call.form()).multi_items()
                texts: dict[str, list[str]] = {}
                for name, value in fields:
                    if not isinstance(value, UploadFile):
                        texts.setdefault(name, []).append(value)
                return self._texts(slot, texts)
            case "FILE":
                upload = await call.file(slot.name)
                return upload is not None, upload
        raw = await call.raw()
        return raw is not None, raw

    def _query(self, slot: Slot, call: Call) -> tuple[bool, Any]:
        query = call.query
        if slot.name == EVERYTHING_ELSE:
            taken = {name for other in self.in_place("QUERY") for name in (other.name, *other.aliases)}
            rest = {name: texts[-1] for name, texts in query.items() if name not in taken}
            return bool(rest), rest
        if not query:
            return False, None
        found, value = self._texts(slot, query)
        if not found and (spelled := nested(query, slot.name)) is not None:
            return True, spelled
        return found, value

    def _texts(self, slot: Slot, texts: Mapping[str, Sequence[str]]) -> tuple[bool, Any]:
        for name in (slot.name, *slot.aliases):
            found = texts.get(name)
            if found:
                if len(found) > 1 and self.system.repeated_parameters is Extra.REFUSE and not is_list(slot.type):
                    raise invalid(name, f"{name} is given more than once")
                return True, True if slot.flag else self._read(slot, found)
        return False, None

    @staticmethod
    def _read(slot: Slot, texts: Sequence[str]) -> Any:
        value = _cased(slot, slot.read_text(texts))
        return slot.invalid if slot.lenient and not _acceptable(slot, value) else value

    @staticmethod
    def _json(slot: Slot, body: Any) -> tuple[bool, Any]:
        if slot.whole_body:
            found, value = True, body
        else:
            name = next((name for name in (slot.name, *slot.aliases) if name in body), None)
            found, value = name is not None, None if name is None else body[name]
        if not found:
            return False, None
        value = _cased(slot, value)
        if slot.lenient and not _acceptable(slot, value):
            return True, slot.invalid
        return True, value if slot.read_json is None else slot.read_json(value, slot.name)

    # What went wrong, in the caller's words.

    def named(self, refusal: Refusal) -> Refusal:
        """The refusal, its field by the name the caller gave the value under."""
        if refusal.path:
            return self._renamed(refusal, [str(step) for step in refusal.path])
        if refusal.field is None:
            return refusal
        first, *rest = refusal.field.split(".")
        variable = self.arguments.get(first)
        return refusal if variable is None else self._renamed(refusal, [variable, *rest], spoken=refusal.field)

    def _renamed(self, refusal: Refusal, path: Sequence[str], spoken: str | None = None) -> Refusal:
        """`path` begins with a variable; `spoken` is what the message calls the value, if not by that path."""
        variable, rest = path[0], list(path[1:])
        slots = [s for s in self.slots if s.variable == variable and list(s.steps) == rest[: len(s.steps)]]
        if not slots:
            return refusal
        slot = max(slots, key=lambda slot: len(slot.steps))
        name = ".".join([*([slot.name] if slot.name else []), *rest[len(slot.steps) :]])
        before = spoken or ".".join(path)
        message = refusal.message
        if message.startswith(before):
            message = (name or "the body") + message[len(before) :]
        return replace(refusal, message=message, field=name or None, path=())


def _cased(slot: Slot, value: Any) -> Any:
    if slot.case is None or not isinstance(value, str):
        return value
    return value.upper() if slot.case == "UPPER" else value.lower()


def _acceptable(slot: Slot, value: Any) -> bool:
    errors: list[object] = []
    validate_input_value(value, slot.type, lambda error, _path: errors.append(error))
    return not errors


def _clamped(slot: Slot, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int):
        return value
    if slot.low is not None and value < slot.low:
        return slot.low
    return slot.high if slot.high is not None and value > slot.high else value


def _put(variables: dict[str, Any], slot: Slot, value: Any) -> None:
    if not slot.steps:
        variables[slot.variable] = value
        return
    inner = variables.get(slot.variable)
    if not isinstance(inner, dict):
        inner = variables[slot.variable] = {}
    else:
        inner = variables[slot.variable] = dict(inner)
    for step in slot.steps[:-1]:
        inner = inner.setdefault(step, {})
    inner[slot.steps[-1]] = value


# Compiling.


def compile_binding(
    document: RouteDocument, schema: GraphQLSchema, system: System, arguments: Mapping[str, str]
) -> Binding:
    """The binding that a document's variables ask for. Raises CompileError."""
    slots: list[Slot] = []
    fills: list[tuple[str, str]] = []
    for definition in document.node.variable_definitions or ():
        filled = next((d for d in definition.directives or () if d.name.value == "fill"), None)
        if filled is not None:
            fills.append((definition.variable.name.value, directive_arguments(filled)["with"]))
        else:
            slots += _slots(document, schema, system, definition)
    _check(document, slots)
    return Binding(system, tuple(slots), tuple(document.path_parameters), tuple(fills), arguments)


def _slots(
    document: RouteDocument, schema: GraphQLSchema, system: System, definition: VariableDefinitionNode
) -> list[Slot]:
    type: Any = type_from_ast(schema, definition.type)
    placed = [directive_arguments(d) for d in definition.directives or () if d.name.value == "param"]
    if not any("field" not in arguments for arguments in placed):
        placed.insert(0, {})
    return [_slot(document, system, definition, type, arguments, placed) for arguments in placed]


def _slot(
    document: RouteDocument,
    system: System,
    definition: VariableDefinitionNode,
    type: GraphQLInputType,
    arguments: Mapping[str, Any],
    placed: Sequence[Mapping[str, Any]],
) -> Slot:
    variable = definition.variable.name.value
    steps = tuple(arguments["field"].split(".")) if "field" in arguments else ()
    part = input_field(type, steps)
    if part is None:
        raise document.wrong(f"${variable} has no part '{arguments['field']}'", definition)
    part_type, required = part
    # What else is placed inside a variable makes it one that need not come whole.
    elsewhere = not steps and any("field" in other for other in placed)
    required = required and definition.default_value is None and not elsewhere
    place = arguments.get("in") or _default_place(document, variable)
    name = arguments.get("name", "" if place == "RAW" or (place == "BODY" and "in" in arguments) else variable)
    if place == "BODY" and "in" in arguments and steps and "name" not in arguments:
        name = steps[-1]
    return Slot(
        variable=variable,
        steps=steps,
        place=place,
        name=name,
        type=part_type,
        required=required or place == "PATH",
        definition=definition,
        aliases=tuple(arguments.get("aliases", ())),
        flag=arguments.get("flag", False),
        split=arguments.get("split"),
        case=arguments.get("case"),
        invalid=json.loads(arguments["invalid"]) if "invalid" in arguments else None,
        lenient="invalid" in arguments,
        low=arguments.get("min"),
        high=arguments.get("max"),
        read_text=text_reader(part_type, arguments.get("split")),
        read_json=body_reader(part_type, prune=system.unknown_fields is Extra.IGNORE),
    )


def _default_place(document: RouteDocument, variable: str) -> str:
    if variable in document.path_parameters:
        return "PATH"
    return "BODY" if document.method in BODY_METHODS and document.node.operation.value != "subscription" else "QUERY"


def _check(document: RouteDocument, slots: Sequence[Slot]) -> None:
    in_path = {slot.name for slot in slots if slot.place == "PATH"}
    for slot in slots:
        if slot.place == "PATH" and slot.name not in document.path_parameters:
            raise document.wrong(f"the path has no parameter '{slot.name}'", slot.definition)
        if slot.place in IN_BODY and document.method not in BODY_METHODS:
            raise document.wrong(f"{document.method} has no body to take ${slot.variable} from", slot.definition)
        if slot.low is not None and slot.high is not None and slot.low > slot.high:
            raise document.wrong("min is above max", slot.definition)
        if slot.lenient and named_type(slot.type) is None:
            raise document.wrong("invalid needs a type", slot.definition)
        if slot.lenient and not _acceptable(slot, slot.invalid):
            raise document.wrong(f"invalid does not fit the type {slot.type}", slot.definition)
    for name in document.path_parameters:
        if name not in in_path:
            raise document.wrong(f"no variable takes the path's parameter '{name}'")
    places = [(slot.place, slot.name) for slot in slots]
    for place in set(places):
        if places.count(place) > 1:
            raise document.wrong(f"two variables take {place[0].lower()} '{place[1]}'")
    whole = [slot for slot in slots if slot.whole_body]
    if whole and any(slot.place == "BODY" and not slot.whole_body for slot in slots):
        raise document.wrong("one variable takes the whole body, another a field of it", whole[0].definition)
    if any(slot.place == "BODY" for slot in slots) and any(slot.place in IN_BODY - {"BODY"} for slot in slots):
        raise document.wrong("the body cannot be JSON and something else")
