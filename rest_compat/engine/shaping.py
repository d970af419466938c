"""From an operation's data to an answer: which value is the body, what goes into headers, how values are spelled.

Compiled once from the selection set. Where a document asks for nothing special, the body is the value as it is:
JSON that PostgreSQL built passes through untouched.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from graphql import (
    FieldNode,
    GraphQLList,
    GraphQLObjectType,
    GraphQLScalarType,
    SelectionSetNode,
    get_named_type,
    get_nullable_type,
    is_composite_type,
    is_leaf_type,
)

from rest_compat.engine import directives
from rest_compat.engine.documents import RouteDocument, directive_arguments
from rest_compat.engine.render import OF_ENTRIES, OMIT_NULL, objection, rendered
from rest_compat.engine.schema import scalar_kind
from rest_compat.engine.selecting import (
    Selected,
    Selecting,
    argument_of,
    directives_named,
    field_type,
    has,
    response_key,
)

TYPENAME = "__rest_typename"  # the hidden alias that tells which type of an interface or union came
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(slots=True)
class Node:
    """What happens to the values of one selection set. `fields` has only those to which something happens."""

    fields: "dict[str, Field]" = field(default_factory=dict)
    status: int | None = None
    members: "dict[str, Node]" = field(default_factory=dict)  # by type, where it makes a difference

    @property
    def plain(self) -> bool:
        """Whether its values are the answer's values as they are."""
        return not self.fields and self.status is None and not self.members

    def everywhere(self) -> "Iterator[Node]":
        """The node and all below it."""
        yield self
        for member in self.members.values():
            yield from member.everywhere()
        for happens in self.fields.values():
            if happens.below is not None:
                yield from happens.below.everywhere()

    def happenings(self) -> "Iterator[Field]":
        """What happens to the fields of the node and all below it."""
        return (happens for node in self.everywhere() for happens in node.fields.values())


@dataclass(slots=True)
class Field:
    """What happens to one value of a selection set."""

    renders: tuple[str, ...] = ()
    omit_null: bool = False
    header: str | None = None
    cookie: Mapping[str, Any] | None = None
    event: bool = False
    event_id: bool = False
    spread: bool = False
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
    marked: bool  # whether the document says what the body is
    asked: frozenset[int]  # ids of the selection sets that must ask for the type's name

    def apply(self, data: Mapping[str, Any]) -> Shaped:
        """The answer that data makes."""
        shaped = Shaped()
        value: Any = data if self.root.plain else _apply(self.root, data, shaped)
        for step in self.steps:
            value = None if value is None else value.get(step)
        shaped.body = value
        return shaped

    @property
    def has_head(self) -> bool:
        """Whether parts of the data are headers or cookies of the answer."""
        return any(happens.header or happens.cookie for happens in self.root.happenings())


def _apply(node: Node, value: Any, shaped: Shaped) -> Any:
    if isinstance(value, list):
        return [_apply(node, part, shaped) for part in value]
    if not isinstance(value, dict):
        return value
    value = dict(value)
    if node.members:
        node = node.members[value.pop(TYPENAME)]
    shaped.status = shaped.status if node.status is None else node.status
    spread = []
    for name, happens in node.fields.items():
        if name not in value:
            continue
        if happens.leaves:
            _leave(happens, value.pop(name), shaped)
            continue
        found = _field(happens, value[name], shaped)
        if happens.spread:
            spread.append(found)
            del value[name]
        elif found is None and happens.omit_null:
            del value[name]
        else:
            value[name] = found
    for inner in spread:
        value = joined(inner, value)
    return value


def _field(happens: Field, value: Any, shaped: Shaped) -> Any:
    if happens.below is not None:
        value = _apply(happens.below, value, shaped)
    for name in happens.renders:
        value = rendered(name, value)
    return value


def _leave(happens: Field, value: Any, shaped: Shaped) -> None:
    text = _text(value)
    if happens.cookie is not None:
        shaped.cookies.append((happens.cookie, text))
    elif text is None:
        return
    elif happens.header is not None:
        shaped.headers.append((happens.header, text))
    elif happens.event:
        shaped.event = text
    else:
        shaped.event_id = text


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return orjson.dumps(value).decode()


def joined(inner: Any, outer: Any) -> Any:
    """The fields of both objects; where both have one of a name, that of `outer`. JSON that is ready stays so."""
    if inner is None:
        return outer
    if isinstance(inner, dict) and isinstance(outer, dict):
        return {**inner, **outer}
    texts = orjson.dumps(inner), orjson.dumps(outer)
    if isinstance(outer, dict) and not any(orjson.dumps(name) in texts[0] for name in outer):
        fields = [text.strip()[1:-1] for text in texts]
        return orjson.Fragment(b"{" + b",".join(text for text in fields if text.strip()) + b"}")
    return {**orjson.loads(texts[0]), **orjson.loads(texts[1])}


# Compiling.


def compile_shape(document: RouteDocument, selecting: Selecting) -> Shape:
    """The shape that a document's selection set asks for. Raises CompileError."""
    root = selecting.schema.get_root_type(document.node.operation)
    assert root is not None
    compiler = _Compiler(document, selecting)
    selections = document.node.selection_set
    node = compiler.node([selections], root, (), listed=False)
    asked = frozenset(compiler.asked)
    if compiler.body is not None:
        compiler.check_way()
        steps, type, _ = compiler.body
        return Shape(steps, node, type, marked=True, asked=asked)
    fields = selecting.of([selections], root).fields
    if len(fields) == 1 and not document.rest.get("whole"):
        key, selected = next(iter(fields.items()))
        return Shape((key,), node, field_type(root, selected.node, selecting.schema), marked=False, asked=asked)
    return Shape((), node, None, marked=False, asked=asked)


class _Compiler:
    def __init__(self, document: RouteDocument, selecting: Selecting) -> None:
        self.asked: set[int] = set()
        self.body: tuple[tuple[str, ...], Any, FieldNode] | None = None
        self._document = document
        self._selecting = selecting

    def node(self, sets: Sequence[SelectionSetNode], type: Any, path: tuple[str, ...], *, listed: bool) -> Node:
        """What happens to objects of that type, of which `sets` are selected."""
        members = {t.name: self._member(sets, t, path, listed=listed) for t in self._selecting.types(type)}
        first, *others = members.values()
        if listed and any(member.status is not None for member in members.values()):
            raise self._document.wrong("@status cannot be inside a list", sets[0])
        if all(other == first for other in others):
            return first
        # Each set by itself: a fragment that is spread at two places asks at both, or at neither.
        alone = [self._differs(one, type, path, listed=listed) for one in sets] if len(sets) > 1 else [True]
        self.asked |= {id(one) for one, differs in zip(sets, alone, strict=True) if differs}
        return Node(members=members)

    def _differs(self, set: SelectionSetNode, type: Any, path: tuple[str, ...], *, listed: bool) -> bool:
        nodes = [self._member([set], t, path, listed=listed) for t in self._selecting.types(type)]
        return any(node != nodes[0] for node in nodes)

    def _member(
        self, sets: Sequence[SelectionSetNode], type: GraphQLObjectType, path: tuple[str, ...], *, listed: bool
    ) -> Node:
        selection = self._selecting.of(sets, type)
        node = Node(status=selection.status)
        for key, selected in selection.fields.items():
            happens = self._field(selected, type, (*path, key), listed=listed)
            if happens != Field():
                node.fields[key] = happens
        return node

    def _field(self, selected: Selected, parent: GraphQLObjectType, path: tuple[str, ...], *, listed: bool) -> Field:
        node = selected.node
        type = field_type(parent, node, self._selecting.schema)
        self._check_agreement(selected)
        if has(node.directives, "body"):
            self._mark(path, type, node, listed=listed)
        renders = [arguments["as"] for arguments in directives_named(node.directives, "render")]
        happens = Field(
            renders=tuple(name for name in renders if name != OMIT_NULL),
            omit_null=OMIT_NULL in renders,
            header=argument_of(node.directives, "header", "name"),
            cookie=next(directives_named(node.directives, "cookie"), None),
            event=has(node.directives, "event"),
            event_id=has(node.directives, "eventId"),
            spread=has(node.directives, "spread"),
        )
        for what in self._nonsense(happens, renders, selected, type, listed=listed):
            raise self._document.wrong(what, node)
        if selected.below:
            inside = listed or isinstance(get_nullable_type(type), GraphQLList)
            below = self.node(selected.below, get_named_type(type), path, listed=inside)
            happens.below = None if below.plain else below
        return happens

    def _mark(self, path: tuple[str, ...], type: Any, node: FieldNode, *, listed: bool) -> None:
        if listed:
            raise self._document.wrong("@body cannot be inside a list", node)
        if self.body is not None and self.body[2] is not node:
            raise self._document.wrong("there is one @body at most", node)
        self.body = path, type, node

    def check_way(self) -> None:
        """Raises CompileError where the way to the body depends on a type, or leads through what is spread."""
        assert self.body is not None
        steps, _, marked = self.body
        sets = [self._document.node.selection_set]
        type: Any = self._selecting.schema.get_root_type(self._document.node.operation)
        for step in steps:
            members = {member: self._selecting.of(sets, member).fields for member in self._selecting.types(type)}
            if any(step not in fields for fields in members.values()):
                raise self._document.wrong("what the body is cannot depend on a type", marked)
            if any(has(one.node.directives, "spread") for fields in members.values() for one in fields.values()):
                raise self._document.wrong("@body cannot be inside what is spread, or beside it", marked)
            member, fields = next(iter(members.items()))
            sets = fields[step].below
            type = get_named_type(field_type(member, fields[step].node, self._selecting.schema))

    def _check_agreement(self, selected: Selected) -> None:
        """Raises CompileError where a field is asked for twice, and other things are to happen to it."""
        for node in selected.nodes:
            if _ways(node) != _ways(selected.node):
                raise self._document.wrong(f"'{response_key(node)}' is selected elsewhere with other directives", node)

    def _nonsense(
        self, happens: Field, renders: Sequence[str], selected: Selected, type: Any, *, listed: bool
    ) -> Iterator[str]:
        """What is wrong with the directives of a field."""
        streams = self._document.rest.get("stream") == "SSE"
        ways = [happens.header, happens.cookie, happens.event, happens.event_id, happens.spread]
        if sum(map(bool, ways)) > 1:
            yield "a value leaves the body one way"
        if happens.leaves and listed:
            yield "what leaves the body cannot be inside a list"
        if happens.leaves and not is_leaf_type(get_nullable_type(type)):
            yield f"{type} is no single value, as what leaves the body must be"
        if (happens.event or happens.event_id) and not streams:
            yield "only a stream has events"
        for name in (happens.header, (happens.cookie or {}).get("name")):
            if name is not None and not TOKEN.fullmatch(name):
                yield f"'{name}' is no name of a header or cookie"
        if happens.spread and not is_object(type):
            yield f"{type} is no object to spread"
        for name in renders:
            why_not = objection(name, type) or self._no_entries(OF_ENTRIES.get(name, ()), selected, type)
            if why_not is not None:
                yield why_not

    def _no_entries(self, needed: Sequence[str], selected: Selected, type: Any) -> str | None:
        """Why nothing can be made of entries, if they are needed."""
        entry = get_named_type(type)
        if not needed or (
            isinstance(get_nullable_type(type), GraphQLList)
            and isinstance(entry, GraphQLObjectType)
            and set(needed) <= self._selecting.of(selected.below, entry).fields.keys()
        ):
            return None
        return f"{type} must be a list of objects, of which {' and '.join(needed)} are selected"


def is_object(type: Any) -> bool:
    """Whether all values of the type are objects, or null."""
    bare = get_nullable_type(type)
    return is_composite_type(bare) or (isinstance(bare, GraphQLScalarType) and scalar_kind(bare) == "object")


def _ways(node: FieldNode) -> list[tuple[str, str]]:
    """The directives of ours that a field has, to compare."""
    ours = (directive for directive in node.directives or () if directive.name.value in directives.NAMES)
    return [(directive.name.value, repr(directive_arguments(directive))) for directive in ours]
