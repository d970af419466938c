"""From an operation's data to an answer: which value is the body, what goes into headers, how values are spelled.

Compiled once from the selection set. Where a document asks for nothing special, the body is the value as it is:
JSON that PostgreSQL built passes through untouched.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    DirectiveNode,
    FieldNode,
    FragmentSpreadNode,
    GraphQLList,
    GraphQLOutputType,
    GraphQLSchema,
    GraphQLUnionType,
    InlineFragmentNode,
    SelectionSetNode,
    get_named_type,
    get_nullable_type,
    is_abstract_type,
)

from rest_compat.engine.documents import Fragment, RouteDocument, directive_arguments
from rest_compat.engine.render import OMIT_NULL, ON_EACH, RENDERS

TYPENAME = "__rest_typename"  # the hidden alias that tells which member of a union came


@dataclass(slots=True)
class Node:
    """What happens to the values of one selection set. `fields` has only those to which something happens."""

    fields: "dict[str, Field]" = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)  # by type name

    @property
    def plain(self) -> bool:
        """Whether its values are the answer's values as they are."""
        return not self.fields and not self.statuses


@dataclass(slots=True)
class Field:
    """What happens to one value of a selection set."""

    renders: tuple[str, ...] = ()
    omit_null: bool = False
    header: str | None = None
    cookie: Mapping[str, Any] | None = None
    event: bool = False
    event_id: bool = False
    below: Node | None = None

    @property
    def leaves(self) -> bool:
        """Whether the value is no part of the body."""
        return bool(self.header or self.cookie or self.event or self.event_id)


@dataclass(slots=True)
class Shaped:
    """An answer in the making."""

    body: Any = None
    status: int | None = None
    headers: list[tuple[str, str]] = field(default_factory=list)
    cookies: list[tuple[Mapping[str, Any], str | None]] = field(default_factory=list)
    event: str | None = None
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """The compiled shape: the steps to the body, and what happens on the way and below."""

    steps: tuple[str, ...]
    root: Node
    type: Any  # of the body; None where it is all root fields
    marked: bool = False  # whether the document says what the body is

    def apply(self, data: Mapping[str, Any]) -> Shaped:
        """The answer that data makes."""
        shaped = Shaped()
        value: Any = data
        if not self.root.plain:
            value = _apply(self.root, data, shaped)
        for step in self.steps:
            value = None if value is None else value.get(step)
        shaped.body = value
        return shaped


def _apply(node: Node, value: Any, shaped: Shaped) -> Any:
    if isinstance(value, list):
        return [_apply(node, part, shaped) for part in value]
    if not isinstance(value, dict):
        return value
    value = dict(value)
    if node.statuses:
        shaped.status = node.statuses.get(value.pop(TYPENAME, None), shaped.status)
    for name, happens in node.fields.items():
        if name not in value:
            continue
        if happens.leaves:
            _leave(happens, value.pop(name), shaped)
            continue
        value[name] = _field(happens, value[name], shaped)
        if happens.omit_null and value[name] is None:
            del value[name]
    return value


def _field(happens: Field, value: Any, shaped: Shaped) -> Any:
    if value is None:
        return None
    if happens.below is not None:
        value = _apply(happens.below, value, shaped)
    for name in happens.renders:
        render = RENDERS[name]
        if isinstance(value, list) and name in ON_EACH:
            value = [None if part is None else render(part) for part in value]
        else:
            value = render(value)
    return value


def _leave(happens: Field, value: Any, shaped: Shaped) -> None:
    text = None if value is None else str(value)
    if happens.cookie is not None:
        shaped.cookies.append((happens.cookie, text))
    elif text is None:
        return
    elif happens.header is not None:
        shaped.headers.append((happens.header.lower(), text))
    elif happens.event:
        shaped.event = text
    else:
        shaped.event_id = text


# Compiling.


@dataclass(slots=True)
class _Found:
    """The one `@body` of a document, when it has been met."""

    steps: tuple[str, ...] | None = None
    type: Any = None


def compile_shape(document: RouteDocument, schema: GraphQLSchema, fragments: Mapping[str, Fragment]) -> Shape:
    """The shape that a document's selection set asks for. Raises CompileError."""
    operation = document.node
    root = schema.get_root_type(operation.operation)
    assert root is not None
    found = _Found()
    node = _node(document, schema, fragments, operation.selection_set, root, (), found, listed=False)
    if found.steps is not None:
        return Shape(found.steps, node, found.type, marked=True)
    fields = [f for f in operation.selection_set.selections if isinstance(f, FieldNode)]
    if not document.rest.get("whole") and len(operation.selection_set.selections) == 1 == len(fields):
        return Shape((response_key(fields[0]),), node, field_type(root, fields[0]))
    return Shape((), node, None)


def response_key(node: FieldNode) -> str:
    """The name of a field in the answer."""
    return node.alias.value if node.alias else node.name.value


def _node(
    document: RouteDocument,
    schema: GraphQLSchema,
    fragments: Mapping[str, Fragment],
    selections: SelectionSetNode,
    type: Any,
    path: tuple[str, ...],
    found: _Found,
    *,
    listed: bool,
) -> Node:
    node = Node()
    for selection in selections.selections:
        if isinstance(selection, FieldNode):
            happens = _compiled(document, schema, fragments, selection, type, path, found, listed=listed)
            if happens is not None:
                node.fields[response_key(selection)] = happens
            continue
        inner, condition = _inner(fragments, selection)
        below_type = schema.type_map.get(condition, type) if condition else type
        below = _node(document, schema, fragments, inner, below_type, path, found, listed=listed)
        node.fields.update(below.fields)
        node.statuses.update(below.statuses)
        status = _argument(selection.directives, "status", "code")
        if status is not None:
            if not is_abstract_type(type) or listed or condition is None:
                raise document.wrong("@status belongs on a member of a union that is not in a list", selection)
            node.statuses[condition] = status
    return node


def _inner(
    fragments: Mapping[str, Fragment], selection: InlineFragmentNode | FragmentSpreadNode | Any
) -> tuple[SelectionSetNode, str | None]:
    if isinstance(selection, FragmentSpreadNode):
        fragment = fragments[selection.name.value].node
        return fragment.selection_set, fragment.type_condition.name.value
    condition = selection.type_condition
    return selection.selection_set, condition.name.value if condition else None


def _compiled(
    document: RouteDocument,
    schema: GraphQLSchema,
    fragments: Mapping[str, Fragment],
    selection: FieldNode,
    parent: Any,
    path: tuple[str, ...],
    found: _Found,
    *,
    listed: bool,
) -> Field | None:
    """What happens to a field's value; None where nothing does."""
    directives = selection.directives
    here = (*path, response_key(selection))
    if _has(directives, "body"):
        if found.steps is not None:
            raise document.wrong("there is one @body at most", selection)
        if listed:
            raise document.wrong("@body cannot be inside a list", selection)
        found.steps, found.type = here, field_type(parent, selection)
    renders = [directive_arguments(d)["as"] for d in directives or () if d.name.value == "render"]
    happens = Field(
        renders=tuple(name for name in renders if name != OMIT_NULL),
        omit_null=OMIT_NULL in renders,
        header=_argument(directives, "header", "name"),
        cookie=next((directive_arguments(d) for d in directives or () if d.name.value == "cookie"), None),
        event=_has(directives, "event"),
        event_id=_has(directives, "eventId"),
    )
    if happens.leaves and listed:
        raise document.wrong("what leaves the body cannot be inside a list", selection)
    if selection.selection_set is not None:
        type: GraphQLOutputType = field_type(parent, selection)
        inside_list = listed or isinstance(get_nullable_type(type), GraphQLList)
        below = _node(
            document, schema, fragments, selection.selection_set, get_named_type(type), here, found, listed=inside_list
        )  # fmt: skip
        happens.below = None if below.plain else below
    return None if happens == Field() else happens


def field_type(parent: Any, selection: FieldNode) -> Any:
    """The type of a field; `__typename` is a string everywhere."""
    assert not isinstance(parent, GraphQLUnionType)
    return parent.fields[selection.name.value].type


def _has(directives: Sequence[DirectiveNode] | None, name: str) -> bool:
    return any(directive.name.value == name for directive in directives or ())


def _argument(directives: Sequence[DirectiveNode] | None, name: str, argument: str) -> Any:
    return next((directive_arguments(d)[argument] for d in directives or () if d.name.value == name), None)
