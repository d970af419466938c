"""Stored operations: a document compiled into all the engine needs to answer its route."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from graphql import (
    REMOVE,
    DirectiveNode,
    DocumentNode,
    FieldNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    NameNode,
    Node,
    SelectionSetNode,
    VariableNode,
    Visitor,
    get_named_type,
    validate,
    visit,
)

from rest_compat.engine import directives
from rest_compat.engine.binding import Binding, compile_binding
from rest_compat.engine.documents import Documents, Fragment, RouteDocument
from rest_compat.engine.errors import CompileError, compile_error
from rest_compat.engine.schema import ApiSchema, directives_of
from rest_compat.engine.shaping import TYPENAME, Shape, compile_shape
from rest_compat.engine.system import System

FILE_REFERENCE = "FileRef"  # the scalar whose value stands for stored bytes


@dataclass(frozen=True)
class Rules:
    """What the schema says of the fields an operation begins with."""

    public: bool
    permissions: tuple[str, ...]
    refuses: tuple[tuple[str, str | None], ...]  # codes, with the finer reason where there is one


@dataclass(frozen=True)
class Compiled:
    """An operation ready to be executed, bound and shaped."""

    executable: DocumentNode
    binding: Binding
    shape: Shape
    rules: Rules
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
        document, schema = self.document, self.schema
        used = dict(_used(document, self.fragments))
        _validate(document, used, schema)
        executable = _stripped(document, used)
        arguments = dict(_arguments(document))
        binding = compile_binding(document, schema.executable, self.system, arguments)
        _check_message(document, binding)
        shape = compile_shape(document, schema.executable, used)
        return Compiled(
            executable=executable,
            binding=binding,
            shape=shape,
            file_body=shape.type is not None and get_named_type(shape.type).name == FILE_REFERENCE,
            rules=_rules(document, used, schema),
            handle=self.prepare(executable, document.name, self.label),
        )

    @property
    def used_fragments(self) -> Mapping[str, Fragment]:
        """The fragments the operation spreads, directly or not. Raises CompileError."""
        return dict(_used(self.document, self.fragments))

    @property
    def status(self) -> int:
        """Of an answer that is not refused."""
        return int(self.document.rest.get("status", 200))

    @property
    def produces(self) -> str | None:
        """The media type of a text answer."""
        return self.document.rest.get("produces")

    @property
    def message(self) -> str | None:
        """The template of the answer's message."""
        return self.document.rest.get("message")

    @property
    def streams(self) -> bool:
        """Whether the answer is a stream of events."""
        return self.document.rest.get("stream") == "SSE"

    @property
    def navigation(self) -> bool:
        """Whether it is a GET that does something."""
        return bool(self.document.rest.get("navigation"))

    @property
    def enveloped(self) -> bool:
        """Whether the system's envelope goes around the body."""
        return self.system.wrap is not None and self.document.rest.get("envelope", True) is not False


def routes_of(system: System, documents: Documents, schema: ApiSchema, prepare: Any) -> Iterator[Route]:
    """The routes of a system's documents."""
    for document in documents.routes:
        yield Route(system, document, documents.fragments, schema, prepare)


def _used(document: RouteDocument, fragments: Mapping[str, Fragment]) -> Iterator[tuple[str, Fragment]]:
    """The fragments an operation needs. Raises CompileError for one that isn't there."""
    seen: set[str] = set()
    waiting: list[tuple[str, SelectionSetNode]] = [(document.file, document.node.selection_set)]
    while waiting:
        file, selections = waiting.pop()
        for node in selections.selections:
            if isinstance(node, FragmentSpreadNode):
                name = node.name.value
                if name not in fragments:
                    raise CompileError(file, f"there is no fragment '{name}'", node)
                if name not in seen:
                    seen.add(name)
                    yield name, fragments[name]
                    waiting.append((fragments[name].file, fragments[name].node.selection_set))
            elif isinstance(node, FieldNode | InlineFragmentNode) and node.selection_set is not None:
                waiting.append((file, node.selection_set))


def _whole(document: RouteDocument, used: Mapping[str, Fragment]) -> DocumentNode:
    return DocumentNode(definitions=(document.node, *(fragment.node for fragment in used.values())))


def _validate(document: RouteDocument, used: Mapping[str, Fragment], schema: ApiSchema) -> None:
    if document.rest.get("stream") == "SSE" and document.node.operation.value != "subscription":
        raise document.wrong("only a subscription is a stream")
    if document.node.operation.value == "subscription" and document.rest.get("stream") != "SSE":
        raise document.wrong("a subscription needs stream: SSE")
    changes = document.node.operation.value == "mutation" and document.method == "GET"
    if changes and not document.rest.get("navigation"):
        raise document.wrong("a mutation is no GET, unless browsers are sent there: navigation: true")
    if document.rest.get("navigation") and not changes:
        raise document.wrong("navigation is for a mutation that is a GET")
    errors = validate(schema.documented, _whole(document, used))
    if errors:
        raise compile_error(_file_of(errors[0], document), errors[0])


def _file_of(error: GraphQLError, document: RouteDocument) -> str:
    return error.source.name if error.source is not None else document.file


def _check_message(document: RouteDocument, binding: Binding) -> None:
    variables = {slot.variable for slot in binding.slots} | {name for name, _ in binding.fills}
    for name in message_parts(document.rest.get("message") or ""):
        if name.partition(".")[0] not in variables:
            raise document.wrong(f"the message speaks of ${name}, which is no variable")


_PART = re.compile(r"\{([A-Za-z_][A-Za-z0-9_.]*)\}")


def message_parts(template: str) -> list[str]:
    """The variables a message speaks of, with the steps inside them."""
    return _PART.findall(template)


def filled(template: str, variables: Mapping[str, Any]) -> str:
    """The message with its variables."""

    def value(match: re.Match[str]) -> str:
        found: Any = variables
        for step in match[1].split("."):
            found = found.get(step) if isinstance(found, Mapping) else None
        return "" if found is None else str(found)

    return _PART.sub(value, template)


class _Strip(Visitor):
    """Takes our directives out, and asks for the type's name where a status depends on it."""

    def enter_directive(self, node: DirectiveNode, *_: Any) -> Any:
        return REMOVE if node.name.value in directives.NAMES else None

    def enter_selection_set(self, node: SelectionSetNode, *_: Any) -> Any:
        statuses = any(
            isinstance(selection, InlineFragmentNode)
            and any(directive.name.value == "status" for directive in selection.directives or ())
            for selection in node.selections
        )
        if not statuses:
            return None
        asked = FieldNode(
            alias=NameNode(value=TYPENAME), name=NameNode(value="__typename"), directives=(), arguments=()
        )
        return SelectionSetNode(selections=(*node.selections, asked))


def _stripped(document: RouteDocument, used: Mapping[str, Fragment]) -> DocumentNode:
    stripped: DocumentNode = visit(_whole(document, used), _Strip())
    return stripped


def root_fields(document: RouteDocument, used: Mapping[str, Fragment]) -> Iterator[FieldNode]:
    """The fields an operation begins with."""
    waiting: list[Node] = list(document.node.selection_set.selections)
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, FieldNode):
            yield node
        elif isinstance(node, FragmentSpreadNode):
            waiting += used[node.name.value].node.selection_set.selections
        elif isinstance(node, InlineFragmentNode):
            waiting += node.selection_set.selections


def _arguments(document: RouteDocument) -> Iterator[tuple[str, str]]:
    """Which variable is which argument of a root field: the domain speaks of arguments."""
    for node in document.node.selection_set.selections:
        for argument in (node.arguments or ()) if isinstance(node, FieldNode) else ():
            if isinstance(argument.value, VariableNode):
                yield argument.name.value, argument.value.name.value


def _rules(document: RouteDocument, used: Mapping[str, Fragment], schema: ApiSchema) -> Rules:
    root = schema.executable.get_root_type(document.node.operation)
    assert root is not None
    public, permissions, refuses = True, [], []
    for node in root_fields(document, used):
        field = root.fields.get(node.name.value)
        access = (directives_of(field, "access") if field is not None else None) or {}
        public = public and (field is None or access.get("level") == "PUBLIC")
        permissions += [access["permission"]] if access.get("permission") else []
        told = (directives_of(field, "refuses") if field is not None else None) or {}
        refuses += [_refused(word) for word in told.get("codes", ())]
    return Rules(public, tuple(dict.fromkeys(permissions)), tuple(dict.fromkeys(refuses)))


def _refused(word: str) -> tuple[str, str | None]:
    """`CONFLICT/NAME_TAKEN` -> its two parts."""
    code, _, reason = word.partition("/")
    return code, reason or None
