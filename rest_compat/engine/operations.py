"""Stored operations: a document compiled into all the engine needs to answer its route."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from graphql import (
    REMOVE,
    DirectiveNode,
    DocumentNode,
    FieldNode,
    FragmentSpreadNode,
    GraphQLEnumType,
    GraphQLNonNull,
    GraphQLScalarType,
    GraphQLSchema,
    InlineFragmentNode,
    NameNode,
    ObjectValueNode,
    SelectionSetNode,
    TypeInfo,
    ValidationContext,
    ValueNode,
    VariableNode,
    Visitor,
    get_nullable_type,
    validate,
    visit,
)

from rest_compat.engine import directives
from rest_compat.engine.answers import HTML
from rest_compat.engine.binding import Binding
from rest_compat.engine.documents import Documents, Fragment, RouteDocument
from rest_compat.engine.errors import compile_error
from rest_compat.engine.messages import unknown_parts
from rest_compat.engine.reading import Steps
from rest_compat.engine.schema import FILE_REFERENCE, ApiSchema, directives_of, scalar_kind
from rest_compat.engine.selecting import Selecting
from rest_compat.engine.shaping import TYPENAME, Shape, compile_shape, is_object
from rest_compat.engine.slots import Wanted, slots_of
from rest_compat.engine.system import System


@dataclass(frozen=True)
class Rules:
    """What the schema says of the fields an operation begins with."""

    public: bool
    guests: bool  # anybody may ask, but few things are answered to those who have no credential
    permissions: tuple[str, ...]
    refuses: tuple[tuple[str, str | None], ...]  # codes, with the finer reason where there is one


@dataclass(frozen=True)
class Compiled:
    """An operation ready to be executed, bound and shaped."""

    executable: DocumentNode
    binding: Binding
    shape: Shape
    rules: Rules
    selecting: Selecting
    handle: Any  # the backend's
    file_body: bool  # whether the body is a reference to stored bytes, which are the answer


@dataclass
class Route:
    """One route: a document of a system, compiled when it is first needed."""

    system: System
    document: RouteDocument
    fragments: Mapping[str, Fragment]
    schema: ApiSchema
    prepare: Any = field(repr=False)  # (document, name, label) -> handle

    @property
    def label(self) -> str:
        """The operation's name among those of all systems."""
        return f"{self.system.name}.{self.document.name}"

    @cached_property
    def compiled(self) -> Compiled:
        """Raises CompileError."""
        document, schema = self.document, self.schema.executable
        used = dict(_used(document, self.fragments))
        _validate(document, used, self.schema)
        selecting = Selecting(schema, used)
        wanted, fills = slots_of(document, schema, self.system)
        _check_nulls(document, used, wanted, schema)
        shape = compile_shape(document, selecting)
        executable = _stripped(document, used, shape)
        _check(self, shape)
        return Compiled(
            executable=executable,
            binding=Binding(self.system, wanted, fills, tuple(document.path_parameters), dict(_arguments(document))),
            shape=shape,
            rules=_rules(document, used, self.schema),
            selecting=selecting,
            handle=self.prepare(executable, document.name, self.label),
            file_body=_is_file(shape.type),
        )

    @cached_property
    def status(self) -> int:
        """Of an answer that is not refused."""
        return int(self.document.rest.get("status", 200))

    @cached_property
    def produces(self) -> str | None:
        """The media type of a text answer."""
        return HTML if self.page is not None else self.document.rest.get("produces")

    @cached_property
    def page(self) -> Callable[[Any], str] | None:
        """What makes a page of the body; None where the answer is none."""
        name = self.document.rest.get("page")
        return None if name is None else self.system.pages.get(name, str)

    @cached_property
    def message(self) -> str | None:
        """The template of the answer's message."""
        return self.document.rest.get("message")

    @cached_property
    def message_name(self) -> str:
        """What the message is called in the answer."""
        name: str = self.document.rest.get("messageName", "message")
        return name

    @cached_property
    def streams(self) -> bool:
        """Whether the answer is a stream of events."""
        return self.document.rest.get("stream") == "SSE"

    @cached_property
    def navigation(self) -> bool:
        """Whether it is a GET that does something."""
        return bool(self.document.rest.get("navigation"))

    @cached_property
    def enveloped(self) -> bool:
        """Whether the system's envelope goes around a JSON body."""
        return self.system.wrap is not None and self.document.rest.get("envelope", True) is not False

    @cached_property
    def body_bytes_max(self) -> int:
        """Larger request bodies are refused; 0 leaves it to who takes them."""
        return int(self.document.rest.get("bodyBytesMax", self.system.body_bytes_max))


def routes_of(system: System, documents: Documents, schema: ApiSchema, prepare: Any) -> Iterator[Route]:
    """The routes of a system's documents."""
    for document in documents.routes:
        yield Route(system, document, documents.fragments, schema, prepare)


def _used(document: RouteDocument, fragments: Mapping[str, Fragment]) -> Iterator[tuple[str, Fragment]]:
    """The fragments an operation needs. Raises CompileError for one that isn't there."""
    seen: set[str] = set()
    waiting: list[SelectionSetNode] = [document.node.selection_set]
    while waiting:
        for node in waiting.pop().selections:
            if isinstance(node, FragmentSpreadNode):
                name = node.name.value
                if name not in fragments:
                    raise document.wrong(f"there is no fragment '{name}'", node)
                if name not in seen:
                    seen.add(name)
                    yield name, fragments[name]
                    waiting.append(fragments[name].node.selection_set)
            elif isinstance(node, FieldNode | InlineFragmentNode) and node.selection_set is not None:
                waiting.append(node.selection_set)


def _whole(document: RouteDocument, used: Mapping[str, Fragment]) -> DocumentNode:
    return DocumentNode(definitions=(document.node, *(fragment.node for fragment in used.values())))


def _validate(document: RouteDocument, used: Mapping[str, Fragment], schema: ApiSchema) -> None:
    errors = validate(schema.documented, _whole(document, used))
    if errors:
        raise compile_error(document.file, errors[0])
    streams, kind = document.rest.get("stream") == "SSE", document.node.operation.value
    if streams and kind != "subscription":
        raise document.wrong("only a subscription is a stream")
    if kind == "subscription" and not streams:
        raise document.wrong("a subscription needs stream: SSE")
    changes = kind == "mutation" and document.method == "GET"
    if changes and not document.rest.get("navigation"):
        raise document.wrong("a mutation is no GET, unless browsers are sent there: navigation: true")
    if document.rest.get("navigation") and not changes:
        raise document.wrong("navigation is for a mutation that is a GET")


def _check_nulls(
    document: RouteDocument, used: Mapping[str, Fragment], wanted: Sequence[Wanted], schema: GraphQLSchema
) -> None:
    """Raises CompileError for a body's field that may be null, and is given to what takes none.

    A default makes such a variable valid GraphQL; the null then fails in the middle of the operation.
    """
    found = {want.variable for want in wanted if not want.steps and not isinstance(want.type, GraphQLNonNull)}
    found &= {want.variable for want in wanted for slot in want.slots if slot.place == "BODY"}
    context = ValidationContext(schema, _whole(document, used), TypeInfo(schema), lambda error: None)
    for usage in context.get_recursive_variable_usages(document.node):
        if usage.node.name.value in found and isinstance(usage.type, GraphQLNonNull):
            what = f"${usage.node.name.value} may be null, which no {usage.type} is: give it the type {usage.type}"
            raise document.wrong(what, usage.node)


def _check(route: Route, shape: Shape) -> None:
    """Raises CompileError where what `@rest` says does not fit the body."""
    document, text = route.document, _is_text(shape.type)
    for part in unknown_parts(document, route.message or "", route.schema.executable):
        raise document.wrong(f"the message speaks of {{{part}}}, which is no variable")
    if route.message is not None and shape.marked and not is_object(shape.type):
        raise document.wrong("only the fields of an object can stand beside a message")
    statuses = [route.status, *(node.status for node in shape.root.everywhere() if node.status is not None)]
    for status in statuses:
        if not 200 <= status < 400:
            raise document.wrong(f"{status} is no status of an answer that is not refused")
    located = any((happens.header or "").lower() == "location" for happens in shape.root.happenings())
    if any(status >= 300 for status in statuses) and not (text or located):
        raise document.wrong("a redirect needs a text as its body, or a Location header")
    if route.produces is not None and route.page is None and not text:
        raise document.wrong(f"{route.produces} is made of a text, which the body is not")
    if route.document.rest.get("page", "") not in ("", *route.system.pages):
        raise document.wrong(f"{route.system.name} has no page '{route.document.rest['page']}'")
    if route.streams and (route.message or route.produces):
        raise document.wrong("a stream has no message, and no media type but its own")


def _is_text(type: Any) -> bool:
    bare = get_nullable_type(type) if type is not None else None
    return isinstance(bare, GraphQLEnumType) or (isinstance(bare, GraphQLScalarType) and scalar_kind(bare) == "string")


def _is_file(type: Any) -> bool:
    bare = get_nullable_type(type) if type is not None else None
    return isinstance(bare, GraphQLScalarType) and bare.name == FILE_REFERENCE


class _Strip(Visitor):
    """Takes our directives out, and asks for the type's name where what happens to an answer depends on it."""

    def __init__(self, asked: frozenset[int]) -> None:
        super().__init__()
        self._asked = asked

    def enter_directive(self, node: DirectiveNode, *_: Any) -> Any:
        return REMOVE if node.name.value in directives.NAMES else None

    def enter_selection_set(self, node: SelectionSetNode, *_: Any) -> Any:
        if id(node) not in self._asked:
            return None
        asked = FieldNode(
            alias=NameNode(value=TYPENAME), name=NameNode(value="__typename"), directives=(), arguments=()
        )
        return SelectionSetNode(selections=(*node.selections, asked))


def _stripped(document: RouteDocument, used: Mapping[str, Fragment], shape: Shape) -> DocumentNode:
    stripped: DocumentNode = visit(_whole(document, used), _Strip(shape.asked))
    return stripped


def _root_fields(document: RouteDocument, used: Mapping[str, Fragment]) -> Iterator[FieldNode]:
    """The fields an operation begins with."""
    waiting = list(document.node.selection_set.selections)
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, FieldNode):
            yield node
        elif isinstance(node, FragmentSpreadNode):
            waiting += used[node.name.value].node.selection_set.selections
        elif isinstance(node, InlineFragmentNode):
            waiting += node.selection_set.selections


def _arguments(document: RouteDocument) -> Iterator[tuple[Steps, str]]:
    """Which variable is which argument of a root field, or which part of one: the domain speaks of arguments."""
    for node in document.node.selection_set.selections:
        for argument in (node.arguments or ()) if isinstance(node, FieldNode) else ():
            yield from _parts((argument.name.value,), argument.value)


def _parts(path: Steps, value: ValueNode) -> Iterator[tuple[Steps, str]]:
    if isinstance(value, VariableNode):
        yield path, value.name.value
    elif isinstance(value, ObjectValueNode):
        for part in value.fields:
            yield from _parts((*path, part.name.value), part.value)


def _rules(document: RouteDocument, used: Mapping[str, Fragment], schema: ApiSchema) -> Rules:
    root = schema.executable.get_root_type(document.node.operation)
    assert root is not None
    public, guests, permissions, refuses = True, False, [], []
    for node in _root_fields(document, used):
        field = root.fields.get(node.name.value)
        access = (directives_of(field, "access") if field is not None else None) or {}
        public = public and (field is None or access.get("level") in ("PUBLIC", "GUEST"))
        guests = guests or access.get("level") == "GUEST"
        permissions += [access["permission"]] if access.get("permission") else []
        told = (directives_of(field, "refuses") if field is not None else None) or {}
        refuses += [_refused(word) for word in told.get("codes", ())]
    return Rules(public, guests, tuple(dict.fromkeys(permissions)), tuple(dict.fromkeys(refuses)))


def _refused(word: str) -> tuple[str, str | None]:
    """`CONFLICT/NAME_TAKEN` -> its two parts."""
    code, _, reason = word.partition("/")
    return code, reason or None
