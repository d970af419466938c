"""How large a document may be. One pass, linear in the document: what a fragment comes to is remembered.

(The depth and alias limiters that come with Strawberry walk a fragment anew at each spread, so thirty fragments
that each spread the next one twice keep them busy for hours.)

Cost is the number of values an answer may hold: a field costs 1, and a field that takes `first` multiplies
what is selected below it by that. An argument that has a list look at all its records, and not only at those it
shows, costs as much as a hundred values.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    NullValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
)

from domain.kernel.errors import Invalid, TooComplex
from domain.kernel.page import FIRST_DEFAULT, FIRST_MAX

SOURCE_CHARS_MAX = 15_000
TOKENS_MAX = 4_000
TOKENS_MAX_ANONYMOUS = 1_000
COMMENTS_MAX = 100

ENOUGH = 10**9  # counts saturate here: nothing needs to be told apart beyond
NESTED_MAX = 100  # selection sets we are inside of while measuring, fields or not: our own stack's bound


@dataclass(frozen=True, slots=True)
class Limits:
    """The most a document may come to: one operation in depth and cost, all of them together in the rest."""

    depth: int = 12
    introspection_depth: int = 15
    aliases: int = 30
    fields: int = 500
    repeats: int = 100  # validation compares fields of one name with each other: its work grows by their square
    fragments: int = 200
    directives: int = 20
    operations: int = 10
    cost: int = 10_000


LIMITS = Limits()
WHOLE = frozenset({"search", "near", "distinctOn"})
WHOLE_COST = 100
# Fields that may be asked once in a document: guesses must not be batched.
ONCE = frozenset(
    {
        "login",
        "register",
        "finishSignIn",
        "exchangeIdToken",
        "exchangeNonce",
        "createMagicLink",
        "consumeMagicLink",
        "followMagicLink",
    }
)


@dataclass(slots=True)
class Size:
    """What selections come to, with their fragments spelled out."""

    depth: int = 0
    aliases: int = 0
    fields: int = 0
    fragments: int = 0  # spreads and inline fragments
    directives: int = 0
    cost: int = 0
    introspection: bool = False
    once: dict[str, int] = field(default_factory=dict)

    def add(self, other: "Size", *, levels: int = 0, times: int = 1) -> None:
        """Take `other` in, `levels` below this one and asked for `times` over."""
        self.depth = max(self.depth, other.depth + levels)
        self.aliases = min(self.aliases + other.aliases, ENOUGH)
        self.fields = min(self.fields + other.fields, ENOUGH)
        self.fragments = min(self.fragments + other.fragments, ENOUGH)
        self.directives = min(self.directives + other.directives, ENOUGH)
        self.cost = min(self.cost + other.cost * times, ENOUGH)
        self.introspection = self.introspection or other.introspection
        for name, uses in other.once.items():
            self.once[name] = min(self.once.get(name, 0) + uses, ENOUGH)


Fragments = Mapping[str, FragmentDefinitionNode]


class _Measure:
    """Measures the operations of one document. Raises Invalid for a fragment within itself: it has no size."""

    def __init__(self, fragments: Fragments, paged: Mapping[str, int]) -> None:
        self._fragments = fragments
        self._paged = paged
        self._nested = 0
        self._known: dict[str, Size] = {}
        self._open: set[str] = set()

    def operation(self, node: OperationDefinitionNode, variables: Mapping[str, Any]) -> Size:
        """The size with these variables; those left out have their defaults."""
        self._variables = {**_defaults(node), **variables}
        self._known = {}
        size = Size(directives=len(node.directives or ()))
        size.directives += sum(len(variable.directives or ()) for variable in node.variable_definitions or ())
        size.add(self._selection(node.selection_set))
        return size

    @property
    def spread(self) -> set[str]:
        """The fragments that the last operation came by."""
        return set(self._known)

    def _selection(self, selections: SelectionSetNode | None) -> Size:
        size = Size()
        self._nested += 1
        _within("nesting", self._nested, NESTED_MAX)
        for node in selections.selections if selections else ():
            size.directives += len(node.directives or ())
            if isinstance(node, FieldNode):
                self._field(size, node)
                continue
            size.fragments += 1
            if isinstance(node, InlineFragmentNode):
                size.add(self._selection(node.selection_set))
            elif isinstance(node, FragmentSpreadNode):
                size.add(self._fragment(node.name.value))
        self._nested -= 1
        return size

    def _field(self, size: Size, node: FieldNode) -> None:
        name = node.name.value
        size.add(self._selection(node.selection_set), levels=1, times=self._times(node))
        size.depth = max(size.depth, 1)
        size.fields += 1
        size.cost += 1
        for argument in node.arguments or ():
            if argument.name.value in WHOLE:
                size.cost += WHOLE_COST
        size.aliases += node.alias is not None
        size.introspection = size.introspection or name in ("__schema", "__type")
        if name in ONCE:
            size.once[name] = size.once.get(name, 0) + 1

    def _times(self, node: FieldNode) -> int:
        """The rows a list field is asked for; 1 for a field that takes no `first`."""
        default = self._paged.get(node.name.value)
        if default is None:
            return 1
        given = next((argument.value for argument in node.arguments or () if argument.name.value == "first"), None)
        rows = default if given is None else self._rows(given, default)
        return max(1, min(rows, ENOUGH))

    def _rows(self, given: ValueNode, default: int) -> int:
        if isinstance(given, VariableNode):
            value = self._variables.get(given.name.value, default)
            if value is None:
                return FIRST_MAX  # null asks for all of them
            return int(value) if isinstance(value, int | float) else default
        if isinstance(given, NullValueNode):
            return FIRST_MAX
        return _int(given) if isinstance(given, IntValueNode) else default

    def _fragment(self, name: str) -> Size:
        known = self._known.get(name)
        if known is not None:
            return known
        definition = self._fragments.get(name)
        if definition is None:
            return Size()  # a rule of validation says so
        if name in self._open:
            raise Invalid("query", f"fragment '{name}' spreads itself")
        self._open.add(name)
        size = self._selection(definition.selection_set)
        self._open.discard(name)
        size.directives += len(definition.directives or ())
        self._known[name] = size
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
    """Whether the document asks about the schema.

    Raises TooComplex with the first limit it exceeds; Invalid for fragments that cannot be measured: one that spreads
    itself, that nobody spreads, or that shares its name.
    """
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    fragments = _fragments(document)
    _within("operations", len(operations), limits.operations)
    measure = _Measure(fragments, paged)
    unused = set(fragments)
    whole = Size()
    for operation in operations:
        size = measure.operation(operation, variables)
        _within("depth", size.depth, limits.introspection_depth if size.introspection else limits.depth)
        _within("cost", size.cost, limits.cost)
        whole.add(size)
        unused -= measure.spread
    for name in ("aliases", "fields", "fragments", "directives"):
        _within(name, getattr(whole, name), getattr(limits, name))
    for name, uses in whole.once.items():
        _within(f"uses of {name}", uses, 1)
    if unused:
        raise Invalid("query", f"fragment '{min(unused)}' is never used")
    repeats = sum(_repeats([operation.selection_set], fragments) for operation in operations)
    _within("repeats", repeats, limits.repeats)
    return whole.introspection


def _fragments(document: DocumentNode) -> dict[str, FragmentDefinitionNode]:
    found: dict[str, FragmentDefinitionNode] = {}
    for node in document.definitions:
        if isinstance(node, FragmentDefinitionNode) and found.setdefault(node.name.value, node) is not node:
            raise Invalid("query", f"there are two fragments '{node.name.value}'")
    return found


def _repeats(selections: Sequence[SelectionSetNode], fragments: Fragments) -> int:
    """How many fields are asked for again under the same name, in a document known to be small."""
    below: dict[str, list[SelectionSetNode]] = {}
    again = 0
    for node in (node for one in selections for node in _fields(one, fragments)):
        key = node.alias.value if node.alias else node.name.value
        again += key in below
        below.setdefault(key, []).extend([node.selection_set] if node.selection_set else [])
    return again + sum(_repeats(inner, fragments) for inner in below.values() if inner)


def _fields(selections: SelectionSetNode, fragments: Fragments) -> Iterator[FieldNode]:
    for node in selections.selections:
        if isinstance(node, FieldNode):
            yield node
        elif isinstance(node, InlineFragmentNode):
            yield from _fields(node.selection_set, fragments)
        elif isinstance(node, FragmentSpreadNode) and node.name.value in fragments:
            yield from _fields(fragments[node.name.value].selection_set, fragments)


def _defaults(operation: OperationDefinitionNode) -> dict[str, int | None]:
    """The variables of an operation that are integers, or null, by default."""
    return {
        node.variable.name.value: _int(node.default_value) if isinstance(node.default_value, IntValueNode) else None
        for node in operation.variable_definitions or ()
        if isinstance(node.default_value, IntValueNode | NullValueNode)
    }


def _int(node: IntValueNode) -> int:
    return int(node.value) if len(node.value) < 10 else ENOUGH


def _within(what: str, count: int, most: int) -> None:
    if count > most:
        counted = f"{count}" if count < ENOUGH else "too many"
        raise TooComplex(
            f"the document is too complex: {what} {counted}, at most {most}",
            details={"limit": what, "most": most, "count": min(count, ENOUGH)},
        )
