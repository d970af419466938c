"""Documents on their way to execution: parsed, measured, validated, and remembered."""

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from graphql import (
    DocumentNode,
    ExecutionResult,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    parse,
    specified_rules,
    validate,
)
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule

from domain.kernel.bounded import Bounded
from domain.kernel.ctx import Ctx
from domain.kernel.errors import DomainError, Invalid, TooComplex, Unauthenticated
from graph import limits
from graph.broadcast import Wanted
from graph.compiled import CompiledOperation, compiled
from graph.errors import refusal
from graph.resolving import executed, subscribed
from graph.rules import Level

RULES = (*specified_rules, MaybeNullValidationRule, OneOfInputValidationRule)
REMEMBERED_CHARS_MAX = 250_000  # a parsed document takes some 200 bytes for each of its characters
ERRORS_MAX = 20
# How graphql-core ends what it says of a document beyond its own limits.
TOO_MUCH = ("Parsing aborted.", "Validation aborted.", "Maximum introspection depth exceeded")


class DocumentRefused(Exception):
    """A document that will not be executed, and why."""

    def __init__(self, errors: list[GraphQLError]) -> None:
        super().__init__(str(errors[0]))
        self.errors = errors


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation over the platform's own schema. `label` names it in logs and metrics, where names must be few."""

    schema: GraphQLSchema = field(repr=False)
    document: DocumentNode
    node: OperationDefinitionNode
    public: bool
    kept: bool
    label: str
    source: str = ""  # its document's text, of one that is not stored
    single: bool = False
    compiled: CompiledOperation | None = field(default=None, repr=False)  # of one that is stored, where it can be

    async def execute(self, variables: Mapping[str, Any], ctx: Ctx) -> ExecutionResult:
        """Run the query or mutation."""
        if self.compiled is not None:
            result = await self.compiled.executed(variables, ctx)
            if result is not None:
                return result
        return await executed(self.schema, self.document, self.node, variables, ctx)

    async def subscribe(
        self, variables: Mapping[str, Any], ctx: Ctx
    ) -> ExecutionResult | Wanted | AsyncIterator[ExecutionResult]:
        """Begin the subscription: its events, be they others' too, or the result that says why there are none."""
        return await subscribed(self.schema, self.document, self.node, variables, ctx)

    @property
    def type(self) -> OperationType:
        """Query, mutation or subscription."""
        return self.node.operation

    @property
    def name(self) -> str | None:
        """Its name in its document."""
        return self.node.name.value if self.node.name else None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document that has been parsed, measured and validated."""

    document: DocumentNode
    introspection: bool
    by_variables: bool  # whether its size depends on variables, and must be measured again


class Documents:
    """Prepares documents for one schema, and remembers those that were asked last."""

    def __init__(
        self,
        schema: GraphQLSchema,
        public_fields: Mapping[tuple[str, str], Level],
        concluding_fields: frozenset[str] = frozenset(),
    ) -> None:
        self._schema = schema
        self._public = public_fields
        self._concluding = concluding_fields
        self._paged = limits.paged_fields(schema)
        self._known: Bounded[str, Prepared] = Bounded(REMEMBERED_CHARS_MAX)

    def operation(self, source: str, name: str | None, variables: Mapping[str, Any], *, anonymous: bool) -> Operation:
        """The operation of that name in a caller's document. Raises DocumentRefused."""
        prepared = self._known.get(source)
        if prepared is None:
            prepared = self._prepare(source, variables, anonymous=anonymous)
            self._known.put(source, prepared, len(source))
        elif prepared.by_variables:
            self._measure(prepared.document, variables)
        if prepared.introspection and anonymous:
            raise _introspection_refused()
        node = pick(prepared.document, name)
        return self._operation(prepared.document, node, "ad hoc", source)

    def stored(self, document: DocumentNode, name: str | None, label: str) -> Operation:
        """The operation of that name in a document that is known to be good. Raises DocumentRefused."""
        node = pick(document, name)
        return replace(self._operation(document, node, label), compiled=compiled(self._schema, document, node))

    def _operation(
        self, document: DocumentNode, node: OperationDefinitionNode, label: str, source: str = ""
    ) -> Operation:
        names = list(_root_fields(document, node.selection_set, set()))
        root = node.operation.value.capitalize()
        levels = {self._public.get((root, name)) for name in names}
        return Operation(
            self._schema,
            document,
            node,
            public=None not in levels,
            kept=Level.PUBLIC not in levels,
            label=label,
            source=source,
            single=len(names) == 1 and names[0] in self._concluding,
        )

    def _prepare(self, source: str, variables: Mapping[str, Any], *, anonymous: bool) -> Prepared:
        document = _parsed(source, limits.TOKENS_MAX_ANONYMOUS if anonymous else limits.TOKENS_MAX)
        introspection = self._measure(document, variables)
        if introspection and anonymous:
            raise _introspection_refused()
        # Names that the caller didn't use are told to those who may ask about the schema.
        errors = validate(self._schema, document, RULES, max_errors=ERRORS_MAX, hide_suggestions=anonymous)
        if errors:
            raise DocumentRefused([_told(error) for error in errors])
        return Prepared(document, introspection, by_variables="$" in source)

    def _measure(self, document: DocumentNode, variables: Mapping[str, Any]) -> bool:
        try:
            return limits.check_limits(document, variables, self._paged)
        except DomainError as refused:
            raise _refused(refused) from refused


def _parsed(source: str, tokens_max: int) -> DocumentNode:
    if len(source) > limits.SOURCE_CHARS_MAX:
        raise _refused(TooComplex(f"the document is longer than {limits.SOURCE_CHARS_MAX} characters"))
    try:
        return parse(source, max_lexical_tokens=tokens_max, max_comments=limits.COMMENTS_MAX)
    except GraphQLError as error:
        raise DocumentRefused([_told(error)]) from error


def _told(error: GraphQLError) -> GraphQLError:
    """What graphql-core says, with our code where it says that a document is too large."""
    if error.message.endswith(TOO_MUCH):
        return refusal(TooComplex(error.message.removeprefix("Syntax Error: ")))
    return error


def _introspection_refused() -> DocumentRefused:
    return _refused(Unauthenticated("sign in to ask about the schema"))


def _refused(cause: DomainError) -> DocumentRefused:
    return DocumentRefused([refusal(cause)])


def pick(document: DocumentNode, name: str | None) -> OperationDefinitionNode:
    """The operation of that name, or the only one. Raises DocumentRefused."""
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    if name is None and len(operations) == 1:
        return operations[0]
    for node in operations:
        if name is not None and node.name is not None and node.name.value == name:
            return node
    problem = "the document holds several operations: give operationName" if name is None else "no such operation"
    if not operations:
        problem = "the document holds no operation"
    raise _refused(Invalid("operationName", problem))


def _root_fields(document: DocumentNode, selections: SelectionSetNode, seen: set[str]) -> Iterator[str]:
    """The names of the root fields, those in fragments too."""
    for node in selections.selections:
        if isinstance(node, FieldNode):
            yield node.name.value
        elif isinstance(node, InlineFragmentNode):
            yield from _root_fields(document, node.selection_set, seen)
        elif isinstance(node, FragmentSpreadNode) and node.name.value not in seen:
            seen.add(node.name.value)
            for definition in document.definitions:
                if isinstance(definition, FragmentDefinitionNode) and definition.name.value == node.name.value:
                    yield from _root_fields(document, definition.selection_set, seen)
