"""How large a document may be. One pass, linear in the document: what a fragment comes to is remembered.

(The depth and alias limiters that come with Strawberry walk a fragment anew at each spread, so thirty fragments
that each spread the next one twice keep them busy for hours.)

Cost is the number of values an answer may hold: a field costs 1, and a field that takes `first` multiplies
what is selected below it by that.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    DirectiveNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
)

from domain.kernel.errors import TooComplex
from domain.kernel.page import FIRST_DEFAULT

SOURCE_CHARS_MAX = 15_000
TOKENS_MAX = 4_000
TOKENS_MAX_ANONYMOUS = 1_000
COMMENTS_MAX = 100

ENOUGH = 10**9  # counts saturate here: nothing needs to be told apart beyond


@dataclass(frozen=True, slots=True)
class Limits:
    """The most a document may come to."""

    depth: int = 12
    introspection_depth: int = 15
    aliases: int = 30
    fields: int = 500
    directives: int = 20
    inline_fragments: int = 50
    operations: int = 10
    cost: int = 10_000


LIMITS = Limits()
ONCE = frozenset({"login", "register"})  # fields that may be asked once in a document: guesses must not be batched


@dataclass(slots=True)
class Size:
    """What a selection comes to, with its fragments spelled out."""

    depth: int = 0
    aliases: int = 0
    fields: int = 0
    directives: int = 0
    inline_fragments: int = 0
    cost: int = 0
    introspection: bool = False
    once: dict[str, int] = field(default_factory=dict)

    def add(self, other: "Size", levels: int = 0) -> None:
        """Take `other` in, `levels` below this one."""
        self.depth = max(self.depth, other.depth + levels)
        self.aliases = min(self.aliases + other.aliases, ENOUGH)
        self.fields = min(self.fields + other.fields, ENOUGH)
        self.directives = min(self.directives + other.directives, ENOUGH)
        self.inline_fragments = min(self.inline_fragments + other.inline_fragments, ENOUGH)
        self.introspection = self.introspection or other.introspection
        for name, times in other.once.items():
            self.once[name] = min(self.once.get(name, 0) + times, ENOUGH)


class _Measure:
    """Measures the operations of one document."""

    def __init__(self, document: DocumentNode, variables: Mapping[str, Any], paged: Mapping[str, int]) -> None:
        self._paged = paged
        self._fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        self._variables = variables
        self._known: dict[str, Size] = {}
        self._open: set[str] = set()

    def selection(self, selections: SelectionSetNode | None) -> Size:
        size = Size()
        for node in selections.selections if selections else ():
            self._directives(size, node.directives)
            if isinstance(node, FieldNode):
                self._field(size, node)
            elif isinstance(node, InlineFragmentNode):
                size.inline_fragments += 1
                self._merge(size, self.selection(node.selection_set))
            elif isinstance(node, FragmentSpreadNode):
                self._merge(size, self._fragment(node.name.value))
        return size

    @staticmethod
    def _merge(size: Size, other: Size) -> None:
        size.add(other)
        size.cost = min(size.cost + other.cost, ENOUGH)

    @staticmethod
    def _directives(size: Size, directives: "tuple[DirectiveNode, ...] | None") -> None:
        size.directives = min(size.directives + len(directives or ()), ENOUGH)

    def _field(self, size: Size, node: FieldNode) -> None:
        name = node.name.value
        below = self.selection(node.selection_set)
        size.add(below, levels=1)
        size.depth = max(size.depth, 1)
        size.fields = min(size.fields + 1, ENOUGH)
        size.aliases = min(size.aliases + (node.alias is not None), ENOUGH)
        size.cost = min(size.cost + 1 + below.cost * self._times(node), ENOUGH)
        size.introspection = size.introspection or name in ("__schema", "__type")
        if name in ONCE:
            size.once[name] = min(size.once.get(name, 0) + 1, ENOUGH)

    def _times(self, node: FieldNode) -> int:
        """The rows a list field is asked for, its default without `first`; 1 for a field that takes none."""
        for argument in node.arguments or ():
            if argument.name.value != "first":
                continue
            value: Any = argument.value
            if isinstance(value, VariableNode):
                given = self._variables.get(value.name.value)
                return max(1, min(given, ENOUGH)) if isinstance(given, int) else 1
            if isinstance(value, IntValueNode):
                return max(1, int(value.value)) if len(value.value) < 10 else ENOUGH
        return self._paged.get(node.name.value, 1)

    def _fragment(self, name: str) -> Size:
        known = self._known.get(name)
        if known is not None:
            return known
        definition = self._fragments.get(name)
        if definition is None or name in self._open:
            return Size()  # unknown or a cycle: the standard rules say so
        self._open.add(name)
        size = self._known[name] = self.selection(definition.selection_set)
        self._open.discard(name)
        self._directives(size, definition.directives)
        return size


def paged_fields(schema: GraphQLSchema) -> dict[str, int]:
    """The fields that take `first`, by name, with its default."""
    found: dict[str, int] = {}
    for type in schema.type_map.values():
        for name, paged in type.fields.items() if isinstance(type, GraphQLObjectType) else ():
            first = paged.args.get("first")
            if first is not None:
                default = first.default_value if isinstance(first.default_value, int) else FIRST_DEFAULT
                found[name] = max(found.get(name, 1), default)
    return found


def check_limits(
    document: DocumentNode, variables: Mapping[str, Any], paged: Mapping[str, int], limits: Limits = LIMITS
) -> bool:
    """Raises TooComplex with the first limit the document exceeds. Returns whether it asks about the schema."""
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    _within("operations", len(operations), limits.operations)
    introspection = False
    for operation in operations:
        given = {**_defaults(operation), **variables}
        size = _Measure(document, given, paged).selection(operation.selection_set)
        introspection = introspection or size.introspection
        depth_max = limits.introspection_depth if size.introspection else limits.depth
        _within("depth", size.depth, depth_max)
        for name in ("aliases", "fields", "directives", "inline_fragments", "cost"):
            _within(name, getattr(size, name), getattr(limits, name))
        for name, times in size.once.items():
            _within(f"uses of {name}", times, 1)
    return introspection


def _defaults(operation: OperationDefinitionNode) -> dict[str, int]:
    """The variables of an operation that are integers by default."""
    return {
        node.variable.name.value: int(node.default_value.value)
        for node in operation.variable_definitions or ()
        if isinstance(node.default_value, IntValueNode) and len(node.default_value.value) < 10
    }


def _within(what: str, count: int, most: int) -> None:
    if count > most:
        what = what.replace("_", " ")
        counted = f"{count}" if count < ENOUGH else "too many"
        raise TooComplex(
            f"the document is too complex: {what} {counted}, at most {most}",
            details={"limit": what, "most": most, "count": min(count, ENOUGH)},
        )
