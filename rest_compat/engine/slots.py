"""What the variables of a document ask of a request: which value may be at which place. Computed once a route."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from graphql import (
    DirectiveNode,
    GraphQLEnumType,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLScalarType,
    GraphQLSchema,
    Undefined,
    VariableDefinitionNode,
    get_nullable_type,
    is_leaf_type,
    type_from_ast,
    value_from_ast_untyped,
)
from graphql.utilities import validate_input_value

from rest_compat.engine.documents import RouteDocument, directive_arguments
from rest_compat.engine.reading import (
    JsonReader,
    Part,
    Steps,
    TextReader,
    is_list,
    is_nested,
    json_reader,
    named_type,
    part_of,
)
from rest_compat.engine.schema import scalar_kind
from rest_compat.engine.system import Extra, System

IN_BODY = frozenset({"BODY", "FORM", "FILE", "RAW"})
BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})
ANYTHING = "*"

_AS_TEXT = frozenset({"PATH", "QUERY", "HEADER", "COOKIE", "FORM"})


@dataclass(frozen=True)
class Slot:
    """A place in the request where a value may be, and how it is read there."""

    place: str  # RestPlace
    name: str  # as the caller knows it; empty for the whole body
    aliases: tuple[str, ...]
    type: GraphQLInputType
    flag: bool
    lenient: bool  # whether `invalid` stands for what cannot be read
    invalid: Any
    low: int | None
    high: int | None
    text: TextReader
    json: JsonReader | None

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The name and the older ones."""
        return (self.name, *self.aliases)

    @cached_property
    def nests(self) -> bool:
        """Whether a text value may be spelled in parts, `name[a]`."""
        return is_nested(self.type)

    @cached_property
    def takes_all(self) -> bool:
        """Whether any value that is read is taken as it is."""
        return not self.lenient and self.low is None and self.high is None

    @property
    def whole_body(self) -> bool:
        """Whether the body itself is the value."""
        return self.place == "BODY" and not self.name

    @cached_property
    def plain(self) -> bool:
        """Whether the value is one text under the one name there is."""
        return not (self.aliases or self.nests or self.flag)

    @cached_property
    def _leaf(self) -> Any:
        """The type, where it is a scalar or an enum."""
        bare = get_nullable_type(self.type)
        return bare if is_leaf_type(bare) else None

    def accepted(self, value: Any) -> Any:
        """The value within its bounds, or what is taken for one that cannot be read."""
        if self.takes_all:
            return value
        value = self._clamped(value)
        return value if not self.lenient or self._fits(value) else self.invalid

    def _fits(self, value: Any) -> bool:
        if self._leaf is None or value is None:
            return not problems(value, self.type)
        try:
            return self._leaf.coerce_input_value(value) is not Undefined
        except Exception:  # whatever a scalar finds wrong
            return False

    def _clamped(self, value: Any) -> Any:
        if (self.low is None and self.high is None) or isinstance(value, bool) or not isinstance(value, int):
            return value
        if self.low is not None and value < self.low:
            return self.low
        return self.high if self.high is not None and value > self.high else value


@dataclass(frozen=True)
class Wanted:
    """A value that an operation wants: a variable or a part of one, and the slots where it may be, first come first."""

    variable: str
    steps: Steps  # inside the variable
    type: GraphQLInputType
    required: bool
    field: GraphQLInputField | None  # that it is, where it is a part
    definition: VariableDefinitionNode
    slots: tuple[Slot, ...]

    @property
    def name(self) -> str:
        """What the caller who gives none is told to give."""
        return self.slots[0].name

    @cached_property
    def takes_file(self) -> bool:
        """Whether it may be a file."""
        return any(slot.place in ("FILE", "RAW") for slot in self.slots)


@dataclass(frozen=True)
class Filled:
    """A variable, or a part of one, that the server fills."""

    variable: str
    steps: Steps
    fill: str  # RestFill


def problems(value: Any, type: GraphQLInputType) -> list[tuple[str, list[str | int]]]:
    """What keeps a value from being of the type: messages, each with the path inside the value."""
    found: list[tuple[str, list[str | int]]] = []
    validate_input_value(value, type, lambda error, path: found.append((error.message, path)))
    return found


def slots_of(
    document: RouteDocument, schema: GraphQLSchema, system: System
) -> tuple[tuple[Wanted, ...], tuple[Filled, ...]]:
    """What the document's variables want, whole variables first, and what is filled. Raises CompileError."""
    compiler = _Compiler(document, schema, system)
    wanted = [want for definition in document.node.variable_definitions or () for want in compiler.wanted(definition)]
    fills = [fill for definition in document.node.variable_definitions or () for fill in compiler.fills(definition)]
    _check_places(document, wanted)
    wanted.sort(key=lambda want: len(want.steps))
    return tuple(wanted), tuple(fills)


@dataclass(frozen=True)
class _Compiler:
    document: RouteDocument
    schema: GraphQLSchema
    system: System

    def fills(self, definition: VariableDefinitionNode) -> Iterator[Filled]:
        for node, arguments in _directives(definition, "fill"):
            steps = _steps(arguments)
            self._part(definition, steps, node)
            yield Filled(definition.variable.name.value, steps, arguments["with"])

    def wanted(self, definition: VariableDefinitionNode) -> Iterator[Wanted]:
        """The variable and its placed parts, each with its slots."""
        placed: dict[Steps, list[tuple[DirectiveNode | None, Mapping[str, Any]]]] = {}
        for node, arguments in _directives(definition, "param"):
            placed.setdefault(_steps(arguments), []).append((node, arguments))
        filled = {_steps(arguments): node for node, arguments in _directives(definition, "fill")}
        for steps in placed.keys() & filled.keys():
            raise self.document.wrong("what the server fills has no place in the request", filled[steps])
        elsewhere = [steps for steps in (*placed, *filled) if steps]
        if () not in placed and () not in filled and not self._is_placed_whole(definition, elsewhere):
            placed[()] = [(None, {})]
        for steps, places in placed.items():
            yield self._wanted(definition, steps, places, elsewhere if not steps else [])

    def _is_placed_whole(self, definition: VariableDefinitionNode, elsewhere: Sequence[Steps]) -> bool:
        """Whether every field of the variable has a place of its own, so that nothing is left of it."""
        type = get_nullable_type(self._type(definition))
        parts = {steps[0] for steps in elsewhere if len(steps) == 1}
        return isinstance(type, GraphQLInputObjectType) and bool(parts) and parts == set(type.fields)

    def _wanted(
        self,
        definition: VariableDefinitionNode,
        steps: Steps,
        places: Sequence[tuple[DirectiveNode | None, Mapping[str, Any]]],
        elsewhere: Sequence[Steps],
    ) -> Wanted:
        part = self._part(definition, steps, places[0][0])
        slots = tuple(self._slot(definition, steps, part.type, *place, elsewhere) for place in places)
        return Wanted(
            variable=definition.variable.name.value,
            steps=steps,
            type=part.type,
            # What is placed elsewhere makes the rest of an object one that need not be there.
            required=part.required and definition.default_value is None and not elsewhere,
            field=part.field,
            definition=definition,
            slots=slots,
        )

    def _slot(
        self,
        definition: VariableDefinitionNode,
        steps: Steps,
        type: GraphQLInputType,
        node: DirectiveNode | None,
        arguments: Mapping[str, Any],
        elsewhere: Sequence[Steps],
    ) -> Slot:
        own_name = steps[-1] if steps else definition.variable.name.value
        place = arguments.get("in") or self._default_place(own_name)
        nameless = place == "RAW" or (place == "BODY" and arguments.get("in") == "BODY" and not steps)
        prune = self.system.unknown_fields is Extra.IGNORE
        slot = Slot(
            place=place,
            name=arguments.get("name", "" if nameless else own_name),
            aliases=tuple(arguments.get("aliases", ())),
            type=type,
            flag=arguments.get("flag", False),
            lenient="invalid" in arguments,
            invalid=self._json(arguments, "invalid", node),
            low=arguments.get("min"),
            high=arguments.get("max"),
            text=TextReader(
                type,
                repeats=self.system.repeated_parameters is Extra.IGNORE,
                prune=prune,
                style=arguments.get("list"),
                case=arguments.get("case"),
                spellings=self._json(arguments, "spellings", node) if "spellings" in arguments else {},
            ),
            json=json_reader(type, prune=prune, elsewhere=elsewhere),
        )
        self._check(slot, node or definition)
        return slot

    def _default_place(self, name: str) -> str:
        if name in self.document.path_parameters:
            return "PATH"
        return "BODY" if self.document.method in BODY_METHODS else "QUERY"

    def _type(self, definition: VariableDefinitionNode) -> GraphQLInputType:
        type: Any = type_from_ast(self.schema, definition.type)
        return type

    def _part(self, definition: VariableDefinitionNode, steps: Steps, node: DirectiveNode | None) -> Part:
        part = part_of(self._type(definition), steps)
        if part is None:
            raise self.document.wrong(
                f"${definition.variable.name.value} has no part '{'.'.join(steps)}'", node or definition
            )
        return part

    def _json(self, arguments: Mapping[str, Any], name: str, node: DirectiveNode | None) -> Any:
        if name not in arguments:
            return None
        try:
            return json.loads(arguments[name])
        except ValueError as error:
            raise self.document.wrong(f"{name} is not JSON ({error})", node) from error

    # What makes no sense.

    def _check(self, slot: Slot, node: DirectiveNode | VariableDefinitionNode) -> None:
        for what in _nonsense(self.document, slot):
            raise self.document.wrong(what, node)


def _directives(definition: VariableDefinitionNode, name: str) -> Iterator[tuple[DirectiveNode, dict[str, Any]]]:
    for node in definition.directives or ():
        if node.name.value == name:
            yield node, directive_arguments(node)


def _steps(arguments: Mapping[str, Any]) -> Steps:
    return tuple(arguments["field"].split(".")) if "field" in arguments else ()


def _nonsense(document: RouteDocument, slot: Slot) -> Iterator[str]:
    """What is wrong with a slot by itself."""
    leaf = named_type(slot.type)
    if slot.place == "PATH" and slot.name not in document.path_parameters:
        yield f"the path has no parameter '{slot.name}'"
    if slot.place == "PATH" and slot.aliases:
        yield "a part of the path has no other names"
    if slot.place in IN_BODY and document.method == "GET":
        yield "GET has no body to take a value from"
    if (slot.flag or slot.text.style is not None) and slot.place not in _AS_TEXT:
        yield "flag and list are for texts"
    if slot.text.style is not None and not is_list(slot.type):
        yield f"{slot.type} is no list"
    if slot.text.case is not None and not _has_case(leaf):
        yield f"{slot.type} has no case"
    if slot.flag and not (isinstance(leaf, GraphQLScalarType) and leaf.name == "Boolean" and not is_list(slot.type)):
        yield f"a flag is a Boolean, not {slot.type}"
    if (slot.low is not None or slot.high is not None) and not _is_whole_number(slot.type):
        yield f"min and max are for whole numbers, not {slot.type}"
    if slot.low is not None and slot.high is not None and slot.low > slot.high:
        yield "min is above max"
    if not isinstance(slot.text.spellings, dict):
        yield "spellings is no JSON object"
    elif any(problems(value, leaf) for value in slot.text.spellings.values()):
        yield f"a spelling stands for what is no {leaf}"
    if slot.lenient and problems(slot.invalid, slot.type):
        yield f"invalid does not fit the type {slot.type}"
    if slot.whole_body and not is_list(slot.type) and _is_one_word(leaf):
        yield f"the whole body would be one {slot.type}: name the field it is in"
    if slot.whole_body and slot.aliases:
        yield "the whole body has no other names"
    if slot.name == ANYTHING and slot.place not in ("QUERY", "FILE"):
        yield "only the query and files can be taken by any name"


def _has_case(leaf: Any) -> bool:
    return isinstance(leaf, GraphQLEnumType) or (
        isinstance(leaf, GraphQLScalarType) and scalar_kind(leaf) in ("string", "boolean")
    )


def _is_one_word(leaf: Any) -> bool:
    """Whether it is a text, a number or the like: nothing that a body is by itself."""
    return isinstance(leaf, GraphQLEnumType) or (
        isinstance(leaf, GraphQLScalarType) and scalar_kind(leaf) in ("string", "boolean", "integer", "number")
    )


def _is_whole_number(type: GraphQLInputType) -> bool:
    bare = get_nullable_type(type)
    return isinstance(bare, GraphQLScalarType) and scalar_kind(bare) == "integer"


def _check_places(document: RouteDocument, wanted: Sequence[Wanted]) -> None:
    """Raises CompileError where slots get in each other's way, or a parameter of the path is left."""
    taken: set[tuple[str, str]] = set()
    places: set[str] = set()
    for want in wanted:
        for slot in want.slots:
            for name in slot.names:
                if (slot.place, name) in taken:
                    what = f"{slot.place.lower()} '{name}'" if name else "the whole body"
                    raise document.wrong(f"{what} is taken more than once", want.definition)
                taken.add((slot.place, name))
            places.add(slot.place)
            if "RAW" in places and len(places & IN_BODY) > 1:
                raise document.wrong("a raw body is nothing else besides", want.definition)
    for name in document.path_parameters:
        if ("PATH", name) not in taken:
            raise document.wrong(f"no variable takes the path's parameter '{name}'")


def default_of(definition: VariableDefinitionNode) -> Any:
    """The default of a variable as JSON; None where it has none."""
    return None if definition.default_value is None else value_from_ast_untyped(definition.default_value)
