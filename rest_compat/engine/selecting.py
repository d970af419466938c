"""What a selection set selects of an object of a given type: fragments and conditions are resolved, as executing does.

An interface's or union's value is one of several types; what is selected of it is told for each of them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    DirectiveNode,
    FieldNode,
    FragmentSpreadNode,
    GraphQLAbstractType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    SelectionNode,
    SelectionSetNode,
    is_abstract_type,
)

from rest_compat.engine.documents import Fragment, directive_arguments

CONDITIONAL = frozenset({"skip", "include"})


@dataclass(slots=True)
class Selected:
    """One field of the answer, and the nodes that ask for it."""

    nodes: list[FieldNode] = field(default_factory=list)
    optional: bool = True  # whether @skip and @include may leave it out

    @property
    def node(self) -> FieldNode:
        """Any of the nodes: they agree on name and arguments."""
        return self.nodes[0]

    @property
    def below(self) -> list[SelectionSetNode]:
        """The selection sets of its value, which are one in effect."""
        return [node.selection_set for node in self.nodes if node.selection_set is not None]


@dataclass(slots=True)
class Selection:
    """What is selected of one object: fields by the name they have in the answer, and the `@status` of its type."""

    fields: dict[str, Selected] = field(default_factory=dict)
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Selecting:
    """Reads the selection sets of one schema's operations."""

    schema: GraphQLSchema
    fragments: Mapping[str, Fragment]

    def types(self, type: Any) -> Sequence[GraphQLObjectType]:
        """The types an object of that type may have."""
        return self.schema.get_possible_types(type) if is_abstract_type(type) else [type]

    def of(self, sets: Iterable[SelectionSetNode], type: GraphQLObjectType) -> Selection:
        """What the selection sets together select of an object of that type."""
        selection = Selection()
        for one in sets:
            self._collect(one, type, selection, optional=False)
        return selection

    def _collect(self, set: SelectionSetNode, type: GraphQLObjectType, into: Selection, *, optional: bool) -> None:
        for node in set.selections:
            maybe = optional or bool(CONDITIONAL & {directive.name.value for directive in node.directives or ()})
            if isinstance(node, FieldNode):
                selected = into.fields.setdefault(response_key(node), Selected())
                selected.nodes.append(node)
                selected.optional = selected.optional and maybe
            elif self.applies(node, type):
                status = argument_of(node.directives, "status", "code")
                into.status = into.status if status is None else status
                self._collect(self.inner(node), type, into, optional=maybe)

    def applies(self, node: SelectionNode, type: GraphQLObjectType) -> bool:
        """Whether what the node selects is selected of an object of that type."""
        condition = self.condition(node)
        if condition is None or condition is type:
            return True
        return is_abstract_type(condition) and self.schema.is_sub_type(condition, type)

    def condition(self, node: SelectionNode) -> GraphQLObjectType | GraphQLAbstractType | None:
        """The type that a fragment is for; None for a field, or where it is for any."""
        if isinstance(node, FragmentSpreadNode):
            node = self.fragments[node.name.value].node  # type: ignore[assignment]
        condition = getattr(node, "type_condition", None)
        return None if condition is None else self.schema.type_map[condition.name.value]  # type: ignore[return-value]

    def inner(self, node: SelectionNode) -> SelectionSetNode:
        """The selection set of a fragment."""
        if isinstance(node, FragmentSpreadNode):
            return self.fragments[node.name.value].node.selection_set
        assert isinstance(node, InlineFragmentNode)
        return node.selection_set

    def spread_alone(self, sets: Sequence[SelectionSetNode], type: Any) -> str | None:
        """The named fragment for that very type which is all that is selected of it, if there is one."""
        nodes = [node for one in sets for node in one.selections if self._concerns(node, type)]
        if len(nodes) != 1 or any(directive.name.value in CONDITIONAL for directive in nodes[0].directives or ()):
            return None
        if isinstance(nodes[0], FragmentSpreadNode) and self.condition(nodes[0]) is type:
            return nodes[0].name.value
        if isinstance(nodes[0], FieldNode) or self.condition(nodes[0]) is not type:
            return None
        return self.spread_alone([self.inner(nodes[0])], type)

    def tells_status(self, set: SelectionSetNode) -> bool:
        """Whether there is a `@status` anywhere in a selection set."""
        for node in set.selections:
            inner = node.selection_set if isinstance(node, FieldNode) else self.inner(node)
            if has(node.directives, "status") or (inner is not None and self.tells_status(inner)):
                return True
        return False

    def _concerns(self, node: SelectionNode, type: Any) -> bool:
        """Whether the node selects anything of some object of that type."""
        return any(self.applies(node, member) for member in self.types(type))


def response_key(node: FieldNode) -> str:
    """The name of a field in the answer."""
    return node.alias.value if node.alias else node.name.value


def field_type(type: GraphQLObjectType, node: FieldNode, schema: GraphQLSchema) -> Any:
    """The type of a field's value; `__typename` is a string everywhere."""
    name = node.name.value
    definition = schema.get_field(type, name)
    assert definition is not None
    return definition.type


def directives_named(directives: Sequence[DirectiveNode] | None, name: str) -> Iterator[dict[str, Any]]:
    """The arguments of each directive of that name."""
    return (directive_arguments(directive) for directive in directives or () if directive.name.value == name)


def argument_of(directives: Sequence[DirectiveNode] | None, name: str, argument: str) -> Any:
    """An argument of the first directive of that name, or None."""
    return next((arguments[argument] for arguments in directives_named(directives, name)), None)


def has(directives: Sequence[DirectiveNode] | None, name: str) -> bool:
    """Whether there is a directive of that name."""
    return any(directive.name.value == name for directive in directives or ())
